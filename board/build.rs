//! Compresses the files of the live page, which browsers unpack.

use std::io::{self, Write};
use std::path::Path;
use std::{env, fs};

use flate2::{Compression, write::GzEncoder};

fn main() -> io::Result<()> {
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo names no folder to write to"))?;
    for name in ["index.html", "page.css", "page.js", "uplot.css", "uplot.js", "icon.svg"] {
        let file = Path::new("page").join(name);
        println!("cargo::rerun-if-changed={}", file.display());
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&fs::read(&file)?)?;
        fs::write(Path::new(&out).join(format!("{name}.gz")), packed.finish()?)?;
    }
    Ok(())
}
