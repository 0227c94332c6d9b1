//! Dependencies point down, and the core is read in an evening: both are counted here.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file without its tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The module of a file below `src`: `autodiff/reverse.rs` belongs to `autodiff`.
fn module(src: &Path, file: &Path) -> String {
    let first = file.strip_prefix(src).expect("below src").components().next().expect("a name");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string()
}

/// Heights: a module may use those at its own height or below.
const HEIGHTS: &[(&str, u8)] = &[
    ("device", 0),
    ("tensor", 1),
    ("cell", 1),
    ("apply", 1),
    ("ops", 1),
    ("autodiff", 1),
    ("context", 1),
    ("error", 1),
    ("observe", 1),
    ("laws", 2),
    ("step", 2),
    ("nn", 3),
    ("data", 3),
    ("optim", 4),
    ("models", 5),
    ("lib", 6),
];

/// Arrows that point up, and why each has to.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A kernel is given views, and buffers are filled by device queues: elements and layouts are theirs too.
    ("device", "tensor"),
    ("device", "error"),
    ("device", "context"), // a waiting thread's context is swapped out
    // Recording sits below autodiff: the one road forks there, and cells are slots.
    ("apply", "step"),
    ("cell", "step"),
    ("context", "step"),
    ("autodiff", "step"),
    // Origins name modules; models are differentiated as functions of their parameters.
    ("context", "nn"),
    ("autodiff", "nn"),
];

/// The modules that a piece of code names after `crate::`, in nested imports too.
fn named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` in a macro, or `my_crate::`.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut start) = (1, true);
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => start = true,
                c if start && !c.is_whitespace() => {
                    found.insert(word(&list[i..]));
                    start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn no_arrow_points_up() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let height = |m: &str| HEIGHTS.iter().find(|h| h.0 == m).map(|h| h.1);
    let (mut up, mut used, mut arrows) = (BTreeSet::new(), BTreeSet::new(), 0);
    for file in sources(&src) {
        let from = module(&src, &file);
        let own =
            height(&from).unwrap_or_else(|| panic!("`{from}` has no height: give it one in {}", file!()));
        for to in named(&code(&file)) {
            // Other names are re-exports and macros of the front page.
            let Some(other) = height(&to) else { continue };
            arrows += 1;
            if other > own {
                match EXCEPTIONS.iter().find(|(a, b)| *a == from && *b == to) {
                    Some(e) => drop(used.insert(e)),
                    None => drop(up.insert(format!("{from} → {to} in {}", file.display()))),
                }
            }
        }
    }
    assert!(arrows > 100, "the imports were not read: {arrows}");
    assert!(up.is_empty(), "arrows that point up:\n{}", up.into_iter().collect::<Vec<_>>().join("\n"));
    let idle: Vec<_> = EXCEPTIONS.iter().filter(|e| !used.contains(e) && height(e.0) < height(e.1)).collect();
    assert!(idle.is_empty(), "exceptions that nothing needs any more: {idle:?}");
}

#[test]
fn imports_are_read_as_they_are_written() {
    let code = "use crate::{\n    apply::{Few, nn::Inner},\n    context,\n    tensor::Tensor,\n};\nlet x = crate::step::f();";
    let found: Vec<String> = named(code).into_iter().collect();
    assert_eq!(found, ["apply", "context", "step", "tensor"]);
    assert!(named("my_crate::nn::x").is_empty());
}

#[test]
fn the_core_is_read_in_an_evening() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // What is followed from `x.mul(&y)` to its gradient.
    let core = ["tensor", "cell", "apply", "autodiff"];
    let mut total = 0;
    for file in sources(&src) {
        let whole = core.contains(&module(&src, &file).as_str());
        if whole || file == src.join("ops.rs") {
            total += code(&file).lines().filter(|l| !l.trim().is_empty()).count();
        }
    }
    println!("{total} lines of core");
    assert!((1000..=3000).contains(&total), "{total} lines: a reader's evening has 3,000");
}
