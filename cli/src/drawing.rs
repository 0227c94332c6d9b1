//! Drawings as files: SVG, and PNG where the program was built with `png-plots`.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Exit};
use crate::run_folder::{is_stream, write_file, write_unsynced};
use crate::shell;

/// What an SVG file begins with, and a PNG file.
const SVG: &[u8] = b"<svg";
pub(crate) const PNG: &[u8] = b"\x89PNG";

/// A file of the user's is replaced only by one of its own kind, which begins with the same bytes; its folder is there.
pub(crate) fn must_be_its_kind(path: &Path, start: &[u8]) -> Result<(), Diagnostic> {
    let folder = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let title = format!("there is no folder {}", folder.display());
        return Err(Diagnostic::new(Exit::Usage, title).help(format!("mkdir -p {}", shell::word(folder))));
    }
    let Ok(about) = fs::metadata(path) else { return Ok(()) };
    if !about.is_file() && !is_stream(path) {
        let title = format!("{} is no regular file", path.display());
        return Err(Diagnostic::new(Exit::Usage, title).help("name a file that may be written"));
    }
    if !about.is_file() || about.len() == 0 {
        return Ok(());
    }
    let mut there = Vec::new();
    let read = File::open(path).and_then(|file| file.take(start.len() as u64).read_to_end(&mut there));
    if read.is_ok() && there == start {
        return Ok(());
    }
    let title = format!("{} exists already, and is another kind of file", path.display());
    Err(Diagnostic::new(Exit::Usage, title).help("choose another name, or remove it"))
}

fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))
}

/// Refuses a file that this build cannot draw, before anything is computed for it.
pub(crate) fn can_be(path: &Path) -> Result<(), Diagnostic> {
    let is_svg = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"));
    if !is_svg && !is_png(path) && !is_stream(path) {
        let title = format!("{} does not end as a drawing does", path.display());
        return Err(Diagnostic::new(Exit::Usage, title).help("end it with .svg"));
    }
    if !is_png(path) || cfg!(feature = "png-plots") {
        return must_be_its_kind(path, if is_png(path) { PNG } else { SVG });
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
