//! Links the program at a fixed address, and packs the book for `cotangent book`: chapters in the order of the table of
//! contents, then pictures.

use std::{env, fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};

fn main() {
    // At a fixed address the program needs no table of its 30,000 pointers: 0.6 MB less, and nothing to move at start.
    let system = env::var("CARGO_CFG_TARGET_OS").expect("cargo says for what");
    if system == "linux" {
        println!("cargo::rustc-link-arg-bin=cotangent=-no-pie");
    }
    let book = Path::new("../book/src");
    println!("cargo::rerun-if-changed={}", book.display());
    let read = |name: &str| {
        let path = book.join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let mut text = String::new();
    // A name in a line after a character that stands in no text, then what it names.
    let mut add = |name: &str, content: &str| text.extend(["\u{1}", name, "\n", content]);
    for line in read("SUMMARY.md").lines() {
        if let Some(name) = line.split_once("](").and_then(|(_, rest)| rest.strip_suffix(".md)")) {
            add(name, &read(&format!("{name}.md")));
        }
    }
    let mut pictures: Vec<String> = fs::read_dir(book.join("pictures"))
        .expect("the book has pictures")
        .map(|e| format!("pictures/{}", e.expect("it can be read").file_name().display()))
        .collect();
    pictures.sort();
    pictures.iter().for_each(|name| add(name, &read(name)));
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes()).expect("memory takes it");
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&out).join("book.gz"), packed.finish().expect("memory takes it"))
        .expect("it can be written");
}
