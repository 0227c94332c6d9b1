//! The book: every `console` block of its chapters is run, and must say what stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn book() {
    trycmd::TestCases::new().env("LC_ALL", "C").case("../book/src/*.md");
}

/// Every picture is drawn by a command that stands above it in its chapter, and is what that command draws.
/// `TRYCMD=overwrite` draws them again.
#[test]
fn pictures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src");
    let work = std::env::temp_dir().join(format!("cotangent-pictures-{}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    let overwrite = std::env::var("TRYCMD").is_ok_and(|v| v == "overwrite");
    let mut drawn = BTreeSet::new();
    for chapter in fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension() == Some("md".as_ref()))
    {
        let source = fs::read_to_string(&chapter).unwrap();
        for (above, name) in
            source.match_indices("](pictures/").map(|(i, m)| (&source[..i], &source[i + m.len()..]))
        {
            let name = name.split(')').next().unwrap();
            let block = above.rsplit("```sh\n").next().unwrap().split("\n```").next().unwrap();
            let words = shell(block);
            assert_eq!((words[0].as_str(), words.last().unwrap().as_str()), ("cotangent", name), "{block}");
            let run = Command::new(env!("CARGO_BIN_EXE_cotangent"))
                .args(&words[1..])
                .current_dir(&work)
                .env("LC_ALL", "C")
                .output()
                .unwrap();
            assert!(run.status.success(), "{block}: {}", String::from_utf8_lossy(&run.stderr));
            let found = fs::read_to_string(work.join(name)).unwrap();
            let there = folder.join("pictures").join(name);
            if overwrite {
                fs::write(&there, &found).unwrap();
            }
            alike(&found, &fs::read_to_string(&there).unwrap(), block);
            drawn.insert(name.to_string());
        }
    }
    fs::remove_dir_all(&work).unwrap();
    let files = fs::read_dir(folder.join("pictures")).unwrap();
    let files: BTreeSet<String> = files.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(drawn, files);
}

/// Words of a command, some of them in single quotes.
fn shell(line: &str) -> Vec<String> {
    let parts = line.trim().split('\'').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(String::from).collect(),
            _ => vec![part.to_string()],
        })
        .collect()
}

/// The same but for less than a hundredth of a number: instruction sets round differently.
fn alike(found: &str, there: &str, what: &str) {
    let parts = |text: &str| -> (String, Vec<f64>) {
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let numbers = text.split(|c| !number(c)).filter_map(|n| n.parse().ok()).collect();
        (text.split(number).collect::<Vec<_>>().join("#"), numbers)
    };
    let ((a, m), (b, n)) = (parts(found), parts(there));
    let near = |(x, y): (&f64, &f64)| (x - y).abs() <= 0.01 * (1.0 + y.abs());
    assert!(
        a.split('#').filter(|p| !p.is_empty()).eq(b.split('#').filter(|p| !p.is_empty()))
            && m.len() == n.len()
            && m.iter().zip(&n).all(near),
        "{what} draws another picture than the book's; `TRYCMD=overwrite cargo test --test book` draws it again"
    );
}

#[test]
fn other_pictures_are_noticed() {
    alike("<a x=\"1.25\">", "<a x=\"1.251\">", "");
    for other in ["<a x=\"2.25\">", "<b x=\"1.25\">", "<a x=\"1.25\" y=\"1\">"] {
        assert!(std::panic::catch_unwind(|| alike("<a x=\"1.25\">", other, "")).is_err(), "{other}");
    }
    assert_eq!(shell("a 'b c' -d"), ["a", "b c", "-d"]);
}
