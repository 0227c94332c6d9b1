//! Data sets of the public that `cotangent data get` brings: where they lie, what they must be, where they go.

#[cfg(feature = "download")]
mod fetch;

use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit, nearest};

/// A file of a data set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote {
    /// Its name, below the data set's address and on the disk.
    pub(crate) name: &'static str,
    /// Its length.
    pub(crate) bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub(crate) sha256: &'static str,
}

/// A data set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Public {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is, and by whom.
    pub(crate) about: &'static str,
    /// The folder of its files.
    pub(crate) from: &'static str,
    /// Its files.
    pub(crate) files: &'static [Remote],
    /// The kind before the colon in `--data`.
    pub(crate) kind: &'static str,
    /// What an archive must hold: a folder, and files in it.
    pub(crate) inside: Option<(&'static str, &'static [&'static str])>,
}

/// All of them.
pub(crate) const PUBLIC: [Public; 2] = [
    Public {
        name: "cifar10",
        about: "60,000 colour pictures of 32×32 in ten classes, by Alex Krizhevsky",
        from: "https://www.cs.toronto.edu/~kriz",
        files: &[Remote {
            name: "cifar-10-binary.tar.gz",
            bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
        kind: "cifar10",
        inside: Some((
            "cifar-10-batches-bin",
            &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
                "test_batch.bin",
            ],
        )),
    },
    Public {
        name: "fashion-mnist",
        about: "70,000 grey pictures of clothes of 28×28 in ten classes, by Zalando Research (MIT)",
        from: "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        files: &[
            Remote {
                name: "train-images-idx3-ubyte.gz",
                bytes: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            },
            Remote {
                name: "train-labels-idx1-ubyte.gz",
                bytes: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            },
            Remote {
                name: "t10k-images-idx3-ubyte.gz",
                bytes: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            },
            Remote {
                name: "t10k-labels-idx1-ubyte.gz",
                bytes: 5_148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ],
        kind: "idx",
        inside: None,
    },
];

/// What is asked for.
pub(crate) struct Wish<'a> {
    /// The data set.
    pub(crate) name: &'a str,
    /// The folder for data sets; else that of the user.
    pub(crate) out: Option<&'a Path>,
    /// Another folder with the same files.
    pub(crate) url: Option<&'a str>,
    /// What the one file is there, where it is another one.
    pub(crate) sha256: Option<&'a str>,
}

/// The folder for data sets: `COTANGENT_DATA`, or `cotangent` where programs of a user keep their data.
fn root(out: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let found = out
        .map(Path::to_path_buf)
        .or_else(|| set("COTANGENT_DATA"))
        .or_else(|| Some(set("XDG_DATA_HOME").filter(|p| p.is_absolute())?.join("cotangent")))
        .or_else(|| Some(set("HOME")?.join(".local/share/cotangent")));
    found.ok_or_else(|| {
        Diagnostic::new(
            Exit::Usage,
            "there is no folder for data sets: neither COTANGENT_DATA nor HOME is set",
        )
        .help("name one with `--out DIR`")
    })
}

/// Brings a data set, or says how to do it by hand where this build cannot.
pub(crate) fn get(wish: &Wish<'_>, console: &mut Console) -> Result<(), Diagnostic> {
    let Some(public) = PUBLIC.iter().find(|p| p.name == wish.name) else {
        let names = PUBLIC.map(|p| p.name);
        let found = Diagnostic::new(Exit::Usage, format!("no data set `{}` can be fetched", wish.name));
        return Err(match nearest(wish.name, names) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("there are {}; mnist and wafer are in the program", names.join(", "))),
        });
    };
    if wish.sha256.is_some() && public.files.len() > 1 {
        let title = format!("`--sha256` is for one file, and {} has {}", public.name, public.files.len());
        return Err(Diagnostic::new(Exit::Usage, title));
    }
    let folder = root(wish.out)?.join(public.name);
    brought(public, wish, &folder, console)
}

#[cfg(feature = "download")]
use fetch::brought;

#[cfg(not(feature = "download"))]
fn brought(public: &Public, wish: &Wish<'_>, folder: &Path, _: &mut Console) -> Result<(), Diagnostic> {
    let title = format!("this program was built without downloads, so it cannot fetch {}", public.name);
    let mut found = Diagnostic::new(Exit::Usage, title).note(public.about);
    for file in public.files {
        let (from, sum) = (wish.url.unwrap_or(public.from), wish.sha256.unwrap_or(file.sha256));
        found = found.note(format!("{from}/{}\n{} bytes, SHA-256 {sum}", file.name, file.bytes));
    }
    let word = crate::shell::word(folder);
    let how = match public.inside {
        Some(_) => {
            format!(
                "fetch it, check it (`sha256sum`), then `mkdir -p {word}` and `tar -xzf {} -C {word}`",
                public.files[0].name
            )
        }
        None => format!("fetch them into {word}, and check them (`sha256sum`)"),
    };
    Err(found
        .help(how)
        .help(format!("train with `--data {}:{word}`", public.kind))
        .help("or build with downloads: `cargo build --release --features download`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_says_all_that_is_needed() {
        for public in PUBLIC {
            assert!(public.from.starts_with("https://") && !public.from.ends_with('/'));
            for file in public.files {
                assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
                assert!(file.bytes > 1000 && !file.name.contains('/'));
            }
            assert_eq!(public.inside.is_some(), public.files[0].name.ends_with(".tar.gz"));
        }
        assert_eq!(PUBLIC[0].inside.unwrap().1.len(), 6);
    }
}
