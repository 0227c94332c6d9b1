//! Drawings as files: SVG, and PNG where the program was built with `png-plots`.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Exit};
use crate::run_folder::{write_file, write_unsynced};

fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))
}

/// Refuses a file that this build cannot draw, before anything is computed for it.
pub(crate) fn can_be(path: &Path) -> Result<(), Diagnostic> {
    if !is_png(path) || cfg!(feature = "png-plots") {
        return Ok(());
    }
    let title = format!("{} cannot be drawn: this program was built without PNG plots", path.display());
    Err(Diagnostic::new(Exit::Usage, title)
        .help(format!("name an SVG file, such as {}", path.with_extension("svg").display()))
        .help("or build it with them: `cargo build --release --features png-plots`"))
}

#[cfg(feature = "png-plots")]
fn png(svg: &str) -> Option<Vec<u8>> {
    cotangent_board::raster::png(svg)
}

#[cfg(not(feature = "png-plots"))]
fn png(_: &str) -> Option<Vec<u8>> {
    None
}

/// Writes an SVG document into a file of the user's, as what its name says.
pub(crate) fn write(path: &Path, svg: &str) -> Result<(), Diagnostic> {
    can_be(path)?;
    if !is_png(path) {
        return write_file(path, svg.as_bytes());
    }
    let bytes = png(svg).ok_or_else(|| {
        let title = format!("cannot draw {}", path.display());
        Diagnostic::new(Exit::Failure, title).help("name an SVG file instead")
    })?;
    write_file(path, &bytes)
}

/// Writes `NAME.svg` into the folder of a run's plots, and `NAME.png` where this build can.
pub(crate) fn beside(plots: &Path, name: &str, svg: &str) -> Result<(), Diagnostic> {
    write_unsynced(&plots.join(format!("{name}.svg")), svg.as_bytes())?;
    png(svg).map_or(Ok(()), |bytes| write_unsynced(&plots.join(format!("{name}.png")), &bytes))
}
