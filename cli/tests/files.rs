//! Whole runs on files as people have them, and what the program says of files that are bad: one error that names the
//! file and how to mend it, with code 2 or 3, in bounded time, and never a panic.

mod scratch;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use scratch::Scratch;
use serde_json::Value;

/// A grey PNG.
fn png(height: u32, width: u32, level: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = png::Encoder::new(&mut bytes, width, height);
    let data: Vec<u8> = (0..height * width).map(|i| level(i / width, i % width)).collect();
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    bytes
}

impl Scratch {
    fn new() -> Self {
        Scratch::empty("files")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A folder of stripes along and across, in four lots.
    fn pictures(&self, folder: &str, n: u32) {
        for i in 0..n {
            let wave = |along: u32| if (along + i) % 4 < 2 { 40 } else { 200 + (i % 50) as u8 };
            self.write(&format!("{folder}/rows/L{}_{i}.png", i % 4), png(12, 12, |r, _| wave(r)));
            self.write(&format!("{folder}/columns/L{}_{i}.png", i % 4), png(12, 12, |_, c| wave(c)));
        }
    }

    /// The last event of a run that ends well.
    fn end(&self, line: &str) -> Value {
        let output = self.run(line);
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

#[test]
fn a_changed_picture_is_the_same_after_a_resume_and_on_any_number_of_threads() {
    let s = Scratch::new();
    s.pictures("stripes", 24);
    let plain = "train --data folder:stripes --model cnn --batch 8 --json --no-plots --set optim.schedule=constant \
                 --set train.class_weights=balanced";
    let line = format!("{plain} --set data.augment={{shift=2,rotate=15,flip=0.5}}");
    let whole = s.end(&format!("{line} --epochs 3 --threads 1 --name whole"));
    s.end(&format!("{line} --epochs 2 --threads 2 --name parts"));
    let parts = s.end("train --resume runs/parts --epochs 3 --json");
    assert_eq!(whole["fingerprint"], parts["fingerprint"]);
    assert!(whole["fingerprint"].is_string());
    // Something was changed.
    let plain = s.end(&format!("{plain} --epochs 3 --name plain"));
    assert_ne!(whole["fingerprint"], plain["fingerprint"]);
}

#[test]
fn stripes_are_learned_and_what_was_learned_is_in_the_checkpoint() {
    let s = Scratch::new();
    s.pictures("stripes", 40);
    let line = "train --data folder:stripes --epochs 6 --batch 8 --set data.split.by={lot}_* --val-split 0.25 \
                --set train.best=macro_f1 --json --no-plots --name a";
    assert_eq!(s.end(line)["test_acc"], 1.0);
    // The pictures are not needed any more, and a larger one is brought to the size.
    fs::remove_dir_all(s.0.join("stripes")).unwrap();
    s.write("new.png", png(24, 24, |r, _| if r % 8 < 4 { 40 } else { 210 }));
    let answer = s.end("predict runs/a new.png --json");
    assert_eq!(answer["class"], "rows", "{answer}");
    assert_eq!(answer["prepared"][0], "24×24 scaled to 12×12");
    let output = s.run("eval runs/a");
    assert_eq!(output.status.code(), Some(3));
    let output = s.run("train --resume runs/a --epochs 9");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_damaged_picture_keeps_no_other_from_its_answer() {
    let s = Scratch::new();
    s.pictures("stripes", 10);
    s.end("train --data folder:stripes --epochs 1 --batch 8 --json --no-plots --name a");
    let whole = png(12, 12, |r, _| (20 * r) as u8);
    for (name, bytes) in
        [("a.png", &whole[..]), ("b.png", &whole[..60]), ("c.png", &whole), ("d.png", b"\x89PNG")]
    {
        s.write(&format!("new/{name}"), bytes);
    }
    for (asked, answers, errors) in [("new", 2, 2), ("new/b.png new/a.png nowhere.png new/c.png", 2, 2)] {
        let output = s.run(&format!("predict runs/a {asked} --format csv"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(3), "{err}");
        assert_eq!(
            (out.lines().count(), err.matches("error: ").count()),
            (1 + answers, errors),
            "{out}{err}"
        );
        assert!(err.contains("new/b.png: is a damaged"), "{err}");
    }
    // Whoever mends one file of a folder hears of the others.
    s.write("stripes/rows/zz.png", &whole[..60]);
    s.write("stripes/rows/z.png", &whole[..60]);
    let output = s.run("data info folder:stripes");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        err.contains("rows/z.png: ") && err.contains("1 more file is wrong, such as stripes/rows/zz.png"),
        "{err}"
    );
}

#[test]
fn what_would_fail_late_is_refused_before_anything_is_written() {
    let s = Scratch::new();
    s.pictures("stripes", 10);
    // 16 are left to train on: batches of 5 and one of 1, which has no variance behind the pool.
    s.write(
        "net.toml",
        "[data]\nname = \"folder:stripes\"\nbatch = 5\n[[layers]]\navg_pool2d = {}\n[[layers]]\nbatch_norm2d = {}\n\
         [[layers]]\nflatten = {}\n[[layers]]\nlinear = {}\n",
    );
    for line in
        ["train -c net.toml", "train -c net.toml --dry-run", "config check net.toml", "lr-find -c net.toml"]
    {
        let output = s.run(line);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {err}");
        assert!(err.contains("the last batch of an epoch has 1 of 16 examples"), "{line}: {err}");
        assert!(err.contains("data.drop_last=true"), "{line}: {err}");
    }
    s.end("train -c net.toml --set data.drop_last=true --epochs 1 --json --no-plots --name dropped");
    let output =
        s.run("train --data folder:stripes --model softmax --batch 4 --optim sgd --dry-run --lr 1e38");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    // Two pictures that change places leave sizes, classes and mean as they were.
    let [a, b] = ["rows/L0_0.png", "columns/L0_0.png"].map(|name| s.0.join("stripes").join(name));
    let (first, second) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(&a, second).unwrap();
    fs::write(&b, &first).unwrap();
    let output = s.run("train --resume runs/dropped --epochs 2");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && err.contains("has changed since the run began"), "{err}");
    // A user's file is replaced by nothing but its own kind.
    for (line, name) in [
        ("lr-find -c net.toml --plot", "notes.toml"),
        ("lr-find -c net.toml --plot", "notes.svg"),
        ("data show folder:stripes --out", "notes.png"),
        ("explain x*x --at x=1 --format html --out", "notes.html"),
        ("book --out", "notes.html"),
    ] {
        s.write(name, "mine");
        let output = s.run(&format!("{line} {name}"));
        assert_eq!(output.status.code(), Some(2), "{line} {name}");
        assert_eq!(fs::read_to_string(s.0.join(name)).unwrap(), "mine", "{line}");
    }
    s.run("data show folder:stripes --out sheet.png");
    assert!(s.run("data show folder:stripes --out sheet.png").status.success());
}

#[test]
fn predict_takes_the_records_of_cifar_that_train_took() {
    let s = Scratch::new();
    let record = |label: u8| [&[label][..], &[40 + 20 * label; 3072]].concat();
    for i in 1..=5 {
        s.write(&format!("c/data_batch_{i}.bin"), [record(0), record(1), record(2)].concat());
    }
    s.write("c/test_batch.bin", [record(2), record(0)].concat());
    s.end("train --data cifar10:c --model softmax --epochs 30 --batch 4 --json --no-plots --name a");
    let asked = s.run("predict runs/a c/test_batch.bin --format csv");
    let text = String::from_utf8(asked.stdout).unwrap();
    let rows: Vec<&str> = text.lines().map(|l| l.split(',').nth(2).unwrap()).collect();
    assert_eq!(rows, ["class", "bird", "airplane"], "{text}");
    // The folder itself, as `train` and `eval` take it: file by file.
    let asked = s.run("predict runs/a c --format csv");
    let text = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(text.lines().count(), 1 + 5 * 3 + 2, "{text}");
    assert!(text.contains("\nc/data_batch_5.bin,2,bird,") && text.contains("\nc/test_batch.bin,1,airplane,"));
    s.write("cut.bin", &record(0)[1..]);
    let output = s.run("predict runs/a cut.bin");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && text.contains("3072 are left over"), "{text}");
}

#[test]
fn predict_takes_the_folders_that_train_took() {
    let s = Scratch::new();
    let line = "--model softmax --epochs 1 --batch 4 --json --no-plots";
    let rows: String = (0..20).map(|i| format!("{i},{}\n", ["a", "b"][i % 2])).collect();
    s.write("table/train.csv", format!("x,class\n{rows}"));
    s.write("table/test.csv", "x,class\n1,a\n1,b\n");
    s.write("other.csv", "x\n1\n");
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 2), }";
    let npy = |header: &str, data: &[u8]| {
        [b"\x93NUMPY\x01\0", &[header.len() as u8, 0][..], header.as_bytes(), data].concat()
    };
    s.write("arrays/x.npy", npy(header, &[7; 16]));
    s.write("arrays/y.npy", npy(&header.replace("(8, 2)", "(8,)"), &[0, 1, 0, 1, 0, 1, 0, 1]));
    let sizes = |sizes: &[u32]| sizes.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
    for part in ["train", "t10k"] {
        s.write(
            &format!("idx/{part}-images-idx3-ubyte"),
            [&[0, 0, 8, 3][..], &sizes(&[6, 3, 3]), &[9; 54]].concat(),
        );
        s.write(
            &format!("idx/{part}-labels-idx1-ubyte"),
            [&[0, 0, 8, 1][..], &sizes(&[6]), &[0, 1, 2, 0, 1, 2]].concat(),
        );
    }
    for (name, data, folder, answers) in
        [("t", "csv:table", "table", 22), ("n", "npz:arrays", "arrays", 8), ("i", "idx:idx", "idx", 12)]
    {
        s.end(&format!("train --data {data} {line} --name {name}"));
        let asked = s.run(&format!("predict runs/{name} {folder} --json"));
        let text = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{text}");
        assert_eq!(asked.stdout.iter().filter(|b| **b == b'\n').count(), answers);
    }
    assert!(s.run("predict runs/t other.csv").status.success());
    // Of two equal examples of different classes one is taken for the other, and it is said which.
    s.end("train --data csv:table --model softmax --epochs 1 --json --name drawn");
    let found = fs::read(s.0.join("runs/drawn/evaluation.json")).unwrap();
    let found: Value = serde_json::from_slice(&found).unwrap();
    let mistakes = found["mistakes"].as_array().unwrap();
    assert!(
        mistakes.len() == 1 && ["line 2", "line 3"].iter().any(|n| mistakes[0]["name"] == **n),
        "{mistakes:?}"
    );
    let none = s.run("predict runs/t idx");
    let text = String::from_utf8_lossy(&none.stderr);
    assert!(none.status.code() == Some(2) && text.contains("the network takes 1 numbers"), "{text}");
}

/// Files that never end, or that nobody writes into.
#[cfg(target_os = "linux")]
#[test]
fn nobody_waits_for_a_file_that_never_ends() {
    let s = Scratch::new();
    s.pictures("good", 4);
    s.write("table.csv", (0..20).fold("x,class\n".into(), |t, i| format!("{t}{i},{}\n", ["a", "b"][i % 2])));
    s.end("train --data csv:table.csv --model softmax --epochs 1 --json --no-plots --name table");
    s.end("train --data folder:good --model softmax --epochs 1 --json --no-plots --name pictures");
    assert!(std::process::Command::new("mkfifo").arg(s.0.join("pipe")).status().unwrap().success());
    let link = |to: &str, at: &str| {
        let at = s.0.join(at);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&at);
        std::os::unix::fs::symlink(to, at).unwrap();
    };
    // The first of them is a regular file by its own account, of 0 bytes.
    let pipe = s.0.join("pipe");
    for to in ["/proc/kmsg", "/dev/zero", "/dev/tty", pipe.to_str().unwrap()] {
        for at in [
            "x.csv",
            "x.npz",
            "x.png",
            "x.toml",
            "x.safetensors",
            "x.onnx",
            "p/a/1.png",
            "p/b/1.png",
            "n/x.npy",
            "n/y.npy",
            "c/data_batch_1.bin",
            "runs/broken/checkpoints/last.safetensors",
            "i/train-images-idx3-ubyte",
            "i/train-labels-idx1-ubyte",
            "i/t10k-images-idx3-ubyte",
            "i/t10k-labels-idx1-ubyte",
            "out/latest",
        ] {
            link(to, at);
        }
        for (code, line) in [
            (3, "train --data csv:x.csv"),
            (3, "train --data npz:x.npz"),
            (3, "train --data npz:n"),
            (3, "train --data folder:p"),
            (3, "train --data cifar10:c"),
            (3, "train --data idx:i"),
            (2, "train -c x.toml"),
            (2, "config check x.toml"),
            (3, "eval x.safetensors"),
            (3, "train --resume runs/broken"),
            (3, "train --resume out/latest"),
            (3, "eval runs/table --data csv:x.csv"),
            (3, "predict runs/table x.csv"),
            (3, "predict runs/pictures x.png"),
            (3, "predict runs/pictures x.npz"),
            (3, "predict runs/pictures p"),
            (3, "export x.safetensors"),
            (3, "import x.onnx --model lenet5"),
            (3, "data info folder:p"),
            (3, "lr-find --data csv:x.csv"),
            (3, "bench --filter overhead/add-tracked --seconds 0 --baseline x.csv"),
        ] {
            let began = Instant::now();
            let mut child = s.command(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                if began.elapsed() > Duration::from_secs(30) {
                    child.kill().unwrap();
                    panic!("{line} waits for {to}");
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{line}, {to}\n{text}");
            assert!(text.starts_with("error: ") && text.contains("help: "), "{line}, {to}\n{text}");
        }
    }
    // Tables of runs are read as far as they say that they go.
    link("/proc/kmsg", "runs/table/config.toml");
    link("/proc/kmsg", "runs/table/metrics.csv");
    assert!(s.run("runs list").status.success());
}

/// A valid zip archive with one stored entry.
fn stored(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let (crc, size, length) =
        ((!crc).to_le_bytes(), (bytes.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
    let about = [&crc[..], &size, &size, &length, &[0, 0]].concat();
    let local = [b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0", &about[..], name.as_bytes(), bytes].concat();
    let central = [b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0", &about[..], &[0; 14], name.as_bytes()].concat();
    let (at, long) = ((local.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    [&local[..], &central, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &long, &at, &[0, 0]].concat()
}

#[test]
fn bad_files_end_in_one_error_that_says_how_to_mend_it() {
    let s = Scratch::new();
    s.pictures("good", 4);
    let whole = png(12, 12, |_, _| 9);
    let rows: String = (0..20).map(|i| format!("{i},{},{}\n", i % 7, ["a", "b"][i % 2])).collect();
    let npy = |header: &str, data: &[u8]| {
        [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let x = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
    let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 4000000000), }";
    let y = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", &[0, 1]);
    let picture = |name: &str, bytes: &[u8]| {
        let folder = format!("p{name}");
        s.write(&format!("{folder}/a/1.png"), &whole);
        s.write(&format!("{folder}/b/{name}"), bytes);
        format!("folder:{folder}")
    };
    let arrays = |name: &str, bytes: Vec<u8>| {
        s.write(&format!("n{name}/x.npy"), bytes);
        s.write(&format!("n{name}/y.npy"), &y);
        format!("npz:n{name}")
    };
    let table = |name: &str, bytes: &[u8]| {
        s.write(name, bytes);
        format!("csv:{name}")
    };
    s.write("bad.npz", stored("../../x.npy", b"no array"));
    s.write("text.npz", stored("readme.txt", b"hello"));
    s.write("cifar/data_batch_1.bin", vec![7; 3072]);
    fs::create_dir_all(s.0.join("empty/a")).unwrap();
    let cases = [
        (picture("cut.png", &whole[..50]), "ends within its piece \"IDAT\" (at byte 50)", 3),
        (picture("sum.png", &[&whole[..20], &[9], &whole[21..]].concat()), "\"IHDR\" does not fit (at byte 8)", 3),
        (picture("text.png", b"hello, world"), "begins with 68 65 6c 6c", 3),
        (picture("none.png", b""), "is empty", 3),
        (picture("anim.gif", b"GIF89a\0\0\0\0\0\0\0\0\0\0"), "GIF", 3),
        (picture("head.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"), "it ends early (at byte 20)", 3),
        (picture("far.tif", b"II*\0\xff\xff\xff\xff"), "TIFF", 3),
        (picture("wide.bmp", &[&b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f\x01\0\x18\0\0\0\0\0"[..], &[0; 24]].concat()), "declares", 3),
        (picture("other.png", &png(9, 12, |_, _| 0)), "resize = [", 2),
        ("folder:empty".into(), "holds no picture", 3),
        ("folder:nowhere".into(), "nowhere", 3),
        ("folder:bad.npz".into(), "is no folder", 3),
        (arrays("nan", npy(x, &[0, 0, 0, 0, 0, 0, 0xc0, 0x7f])), "holds NaN (example 1, number 0)", 3),
        (arrays("short", npy(x, &[0, 0, 0, 0])), "4 of them are there", 3),
        (arrays("long", npy(x, &[0; 9])), "goes on behind its last number", 3),
        (arrays("huge", npy(huge, &[0; 9])), "or can be taken", 3),
        (arrays("magic", b"hello, world".to_vec()), "does not begin as an NPY file", 3),
        (arrays("object", npy(&x.replace("<f4", "|O"), &[0; 16])), "type `|O`", 3),
        (arrays("axes", npy(&x.replace("(2, 1)", "(2, 1, 1, 1, 1)"), &[0; 8])), "has shape [2, 1, 1, 1, 1]", 3),
        ("npz:bad.npz".into(), "holds no array", 2),
        ("npz:text.npz".into(), "none of them NPY", 3),
        (table("e.csv", b""), "is empty", 3),
        (table("h.csv", b"x,y,class\n"), "no example below", 3),
        (table("n.csv", rows.as_bytes()), "(at line 1)", 3),
        (table("r.csv", b"x,y,class\n1,2,a\n1,b\n"), "2 fields, and the first line names 3 columns (at line 3)", 3),
        (table("t.csv", b"x,y,class\n1,two,a\n"), "`two` is no number (at line 2, column `y`)", 3),
        (table("m.csv", b"x,y,class\n1,,a\n"), "missing number (at line 2, column `y`)", 3),
        (table("i.csv", b"x,y,class\n1,inf,a\n"), "`inf` is not finite", 3),
        (table("o.csv", b"x,y,class\n1,2,a\n2,3,a\n"), "one class only, `a`", 3),
        (table("u.csv", b"x,y,class\n1,2,\xff\n"), "no UTF-8 (at line 2)", 3),
        (table("d.csv", b"x;class\n1,5;a\n"), "decimal comma", 3),
        (table("z.csv", b"\x1f\x8b\x08\0"), "compressed with gzip", 3),
        (table("w.csv", b"\xff\xfex\0,\0"), "no CSV file in UTF-8", 3),
        (table("p.csv", &whole), "is a picture", 3),
        ("csv:empty".into(), "without train.csv", 3),
        ("cifar10:cifar".into(), "3072 are left over", 3),
        ("cifar10:empty".into(), "data_batch_1.bin", 3),
        ("idx:empty".into(), "train-images-idx3-ubyte", 3),
        ("folder:".into(), "lacks its path", 2),
        ("parquet:x".into(), "unknown data set", 2),
    ];
    for (data, words, code) in cases {
        let began = Instant::now();
        let output = s.run(&format!("train --epochs 1 --data {data}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{data}\n{text}");
        assert!(text.contains(words), "{data}: {words}\n{text}");
        assert_eq!(text.lines().filter(|l| l.starts_with("error:")).count(), 1, "{data}\n{text}");
        assert!(text.contains("help: ") || text.contains("expected"), "{data}\n{text}");
        assert!(!text.contains("panicked") && output.stdout.is_empty(), "{data}\n{text}");
        assert!(began.elapsed() < Duration::from_secs(20), "{data}");
    }
    assert!(!Path::new(&s.0).join("runs").exists(), "nothing was begun");
}
