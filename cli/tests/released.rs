//! What released programs can besides: public data sets from the network, here from a server of the test's own, and
//! plots as PNG.
#![cfg(all(feature = "download", feature = "png-plots"))]

mod scratch;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use scratch::Scratch;
use sha2::{Digest, Sha256};

impl Scratch {
    fn new() -> Self {
        Scratch::empty("released")
    }

    /// Without the proxies of whoever runs the tests.
    fn direct(&self, line: &str) -> Command {
        let mut command = self.command(line);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env("COTANGENT_DATA", self.0.join("sets"));
        command
    }

    fn get(&self, line: &str) -> Output {
        self.direct(line).output().unwrap()
    }

    /// A command that fails with this code; what it says.
    fn refused(&self, line: &str, code: i32) -> String {
        let output = self.get(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}\n{text}");
        assert!(text.contains("help:") && !text.contains("panicked"), "{text}");
        text
    }
}

/// How a server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Ends every answer after so many bytes.
    Broken(usize),
    /// Knows no ranges.
    Whole,
    Missing,
}

/// A server for one file; the address, and the first lines of what it was asked with their ranges.
fn server(file: Vec<u8>, manner: Manner) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &file, manner, &log);
        }
    });
    (address, asked)
}

fn answer(
    mut stream: TcpStream,
    file: &[u8],
    manner: Manner,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let (mut first, mut from) = (String::new(), None);
        if lines.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse::<usize>().ok();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let range = from.map_or(String::new(), |n| format!(" from {n}"));
        asked.lock().unwrap().push(format!("{}{range}", first.trim()));
        if first.starts_with("CONNECT") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            continue;
        }
        if manner == Manner::Missing {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        }
        let from = from.filter(|_| manner != Manner::Whole);
        let rest = &file[from.unwrap_or(0).min(file.len())..];
        let status = match from {
            Some(from) => format!(
                "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
                file.len() - 1,
                file.len()
            ),
            None => "200 OK".into(),
        };
        stream
            .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", rest.len()).as_bytes())?;
        let most = if let Manner::Broken(most) = manner { most } else { usize::MAX };
        return stream.write_all(&rest[..rest.len().min(most)]);
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// An archive as CIFAR-10's, of `n` pictures a file; `more` are put into it too, under any name.
fn archive(n: usize, more: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        // As bytes: names that lead elsewhere are refused by the crate's own way.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    let names = (1..=5).map(|i| format!("data_batch_{i}")).chain(["test_batch".to_string()]);
    for (f, name) in names.enumerate() {
        let record = |i: usize| {
            let class = (i % 10) as u8;
            let pixel = move |p: usize| {
                if (p / 100) % 10 == class as usize { 250 } else { (p * 7 + i + f) as u8 % 50 }
            };
            std::iter::once(class).chain((0..3072).map(pixel))
        };
        let bytes: Vec<u8> = (0..n).flat_map(record).collect();
        add(&format!("cifar-10-batches-bin/{name}.bin"), &bytes);
    }
    add("cifar-10-batches-bin/readme.html", b"<html>");
    for (name, bytes) in more {
        add(name, bytes);
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_set_is_fetched_once_checked_and_trained_on() {
    let scratch = Scratch::new();
    let file = archive(10, &[]);
    let (address, asked) = server(file.clone(), Manner::Honest);
    let line = format!("data get cifar10 --url http://{address}/sets --sha256 {}", sha256(&file));
    let output = scratch.get(&line);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let folder = scratch.0.join("sets/cifar10/cifar-10-batches-bin");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), folder.display().to_string());
    assert!(text.contains("next: cotangent train --data cifar10:"), "{text}");
    let mut there: Vec<_> =
        fs::read_dir(folder.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["cifar-10-batches-bin"], "nothing else is left");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 6, "and nothing else was taken out");
    assert_eq!(asked.lock().unwrap()[..], ["GET /sets/cifar-10-binary.tar.gz HTTP/1.1"]);
    // Again: from the disk.
    let again = scratch.get(&format!("{line} --json"));
    let said: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((said["was_there"].as_bool(), said["bytes"].as_u64()), (Some(true), Some(60 * 3073)));
    assert_eq!(asked.lock().unwrap().len(), 1);
    let train = format!("train --data {} --epochs 1 --model softmax", said["data"].as_str().unwrap());
    let output = scratch.get(&train);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // Plots of a run are there as PNG too.
    let plots = scratch.0.join("runs/latest/plots");
    for name in ["loss", "accuracy", "confusion"] {
        assert!(fs::read(plots.join(format!("{name}.png"))).unwrap().starts_with(b"\x89PNG"), "{name}");
        assert!(plots.join(format!("{name}.svg")).is_file());
    }
}

#[test]
fn a_broken_download_is_gone_on_with() {
    let scratch = Scratch::new();
    let file = archive(10, &[]);
    let sum = sha256(&file);
    let (broken, _) = server(file.clone(), Manner::Broken(1000));
    let text = scratch.refused(&format!("data get cifar10 --url http://{broken} --sha256 {sum}"), 1);
    assert!(
        text.contains("broke off after 1000 bytes") && text.contains("run the same command again"),
        "{text}"
    );
    let part = scratch.0.join("sets/cifar10/cifar-10-binary.tar.gz.part");
    assert_eq!(fs::read(&part).unwrap(), file[..1000]);
    assert!(!scratch.0.join("sets/cifar10/cifar-10-batches-bin").exists());
    let (honest, asked) = server(file.clone(), Manner::Honest);
    assert!(scratch.get(&format!("data get cifar10 --url http://{honest} --sha256 {sum}")).status.success());
    assert_eq!(asked.lock().unwrap()[..], ["GET /cifar-10-binary.tar.gz HTTP/1.1 from 1000"]);
    // A server that knows no ranges sends all of it.
    let other = Scratch::new();
    fs::create_dir_all(other.0.join("sets/cifar10")).unwrap();
    fs::write(other.0.join("sets/cifar10/cifar-10-binary.tar.gz.part"), &file[..500]).unwrap();
    let (whole, _) = server(file, Manner::Whole);
    assert!(other.get(&format!("data get cifar10 --url http://{whole} --sha256 {sum}")).status.success());
}

#[test]
fn what_is_not_the_published_file_leaves_nothing() {
    let scratch = Scratch::new();
    let set = scratch.0.join("sets/cifar10");
    let left = || fs::read_dir(&set).map_or(0, Iterator::count);
    let (other, _) = server(b"another file".to_vec(), Manner::Honest);
    let wrong =
        scratch.refused(&format!("data get cifar10 --url http://{other} --sha256 {}", sha256(b"x")), 3);
    assert!(
        wrong.contains("not the file that was published") && wrong.contains(&sha256(b"another file")),
        "{wrong}"
    );
    assert_eq!(left(), 0);
    // The right checksum of what is no archive, and of archives that lead elsewhere, or are not whole.
    let traversals: [&[(&str, &[u8])]; 2] = [&[("../evil", b"x")], &[("/tmp/cotangent-evil", b"x")]];
    for bytes in traversals.iter().map(|more| archive(1, more)).chain([b"another file".to_vec()]) {
        let (address, _) = server(bytes.clone(), Manner::Honest);
        let text = scratch
            .refused(&format!("data get cifar10 --url http://{address} --sha256 {}", sha256(&bytes)), 3);
        assert!(text.contains("leads out of its folder") || text.contains("no whole archive"), "{text}");
        assert_eq!(left(), 0, "{text}");
    }
    assert!(!scratch.0.join("sets/evil").exists() && !scratch.0.join("evil").exists());
    // Of the published length nothing is taken beyond.
    let (short, _) = server(vec![0; 10_000], Manner::Honest);
    let text = scratch.refused(&format!("data get fashion-mnist --url http://{short}"), 1);
    assert!(text.contains("broke off after 10000 of 26421880 bytes"), "{text}");
}

#[test]
fn what_cannot_be_reached_is_said() {
    let scratch = Scratch::new();
    let (missing, _) = server(Vec::new(), Manner::Missing);
    assert!(scratch.refused(&format!("data get cifar10 --url http://{missing}"), 1).contains("404"));
    // Nobody listens there.
    assert!(scratch.refused("data get cifar10 --url http://127.0.0.1:9", 1).contains("127.0.0.1:9"));
    assert!(scratch.refused("data get cifar10 --url ftp://x", 2).contains("no address of the web"));
    assert!(scratch.refused("data get cifar1", 2).contains("did you mean `cifar10`?"));
    assert!(scratch.refused("data get nothing", 2).contains("cifar10, fashion-mnist"));
}

#[test]
fn proxies_of_the_environment_are_taken() {
    let scratch = Scratch::new();
    let file = archive(1, &[]);
    let (proxy, asked) = server(file.clone(), Manner::Honest);
    let line = format!("data get cifar10 --url http://nowhere.invalid --sha256 {}", sha256(&file));
    let output = scratch.direct(&line).env("ALL_PROXY", format!("http://{proxy}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(asked.lock().unwrap()[0].contains("nowhere.invalid"), "{:?}", asked.lock().unwrap());
}
