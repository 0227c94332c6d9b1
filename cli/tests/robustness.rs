//! Runs that are killed, that meet a full disk or a folder that cannot be written, and those that meet each other.
#![cfg(target_os = "linux")]

mod scratch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scratch::Scratch;
use serde_json::Value;

impl Scratch {
    /// With a data set `tiny` of four classes of 8 × 8 images.
    fn new() -> Self {
        let scratch = Scratch::empty("robust");
        let path = &scratch.0;
        fs::create_dir_all(path.join("tiny")).unwrap();
        for (part, n) in [("train", 400_u32), ("t10k", 40)] {
            let (mut images, mut labels) = (vec![0, 0, 8, 3], vec![0, 0, 8, 1]);
            for size in [n, 8, 8] {
                images.extend(size.to_be_bytes());
            }
            labels.extend(n.to_be_bytes());
            for i in 0..n {
                labels.push((i % 4) as u8);
                let light = |p: u32| [p < 32, p >= 32, p % 8 < 4, p % 8 >= 4][(i % 4) as usize];
                images.extend(
                    (0..64).map(|p| if light(p) { 150 + (i * 7 + p) % 100 } else { (i * p) % 90 } as u8),
                );
            }
            fs::write(path.join(format!("tiny/{part}-images-idx3-ubyte")), images).unwrap();
            fs::write(path.join(format!("tiny/{part}-labels-idx1-ubyte")), labels).unwrap();
        }
        scratch
    }

    /// A run that ends well; the fingerprint of its weights.
    fn fingerprint(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        let end = output.stdout.split(|b| *b == b'\n').rfind(|l| !l.is_empty()).unwrap();
        let end: Value = serde_json::from_slice(end).unwrap();
        end["fingerprint"].as_str().unwrap().to_string()
    }

    /// The same command in a shell that limits it first.
    fn limited(&self, limit: &str, line: &str) -> (Option<i32>, String) {
        let script = format!("{limit}; exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_cotangent")])
            .args(line.split_whitespace())
            .current_dir(&self.0)
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A table of a run without its columns of seconds and speeds.
    fn table(&self, run: &str, name: &str, timed: usize) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("runs").join(run).join(name)).unwrap();
        let cells = |row: &str| -> String {
            let cells = row.split(',').enumerate().filter(|(i, _)| *i != timed);
            cells.map(|(_, cell)| format!("{cell},")).collect()
        };
        text.lines().map(cells).collect()
    }
}

/// The steps of all events that TensorBoard would read.
fn event_steps(run: &Path) -> Vec<i64> {
    let entries = fs::read_dir(run).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|p| p.to_string_lossy().contains("events.out.tfevents.")).collect();
    files.sort();
    files.iter().flat_map(|p| cotangent_board::tensorboard::steps(&fs::read(p).unwrap())).collect()
}

/// Files that were being written when the process died, or were left by an error.
fn left_aside(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [run.to_path_buf(), run.join("checkpoints"), run.join("plots")] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') && name != ".lock" {
                found.push(path);
            }
        }
    }
    found
}

const LINE: &str = "train --data idx:tiny --model softmax --batch 4 --epochs 30 --json --set log.every=7";

#[test]
fn killed_at_any_moment_and_resumed_is_uninterrupted() {
    let scratch = Scratch::new();
    let began = Instant::now();
    let whole = scratch.fingerprint(&format!("{LINE} --name whole"));
    let span = began.elapsed();
    for (round, line) in ["--threads 1", "--threads 2"].iter().enumerate() {
        let name = format!("cut{round}");
        let start = |line: &str| -> Child {
            scratch.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let run = scratch.0.join("runs").join(&name);
        let mut child = start(&format!("{LINE} --name {name} {line}"));
        // A different moment each time, some before the first checkpoint.
        for kill in 0..8_u32 {
            let wait = span.mul_f64(0.04 + 0.11 * f64::from((kill * 5 + round as u32 * 3) % 8) / 8.0);
            std::thread::sleep(wait);
            child.kill().unwrap();
            child.wait().unwrap();
            if run.join("checkpoints/last.safetensors").is_file() {
                child = start(&format!("train --resume runs/{name} --json"));
            } else {
                let output = scratch.run(&format!("train --resume runs/{name}"));
                assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
                child = start(&format!("{LINE} --name {name} --force {line}"));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(scratch.fingerprint(&format!("train --resume runs/{name} --json")), whole);
        assert_eq!(scratch.table(&name, "metrics.csv", 3), scratch.table("whole", "metrics.csv", 3));
        assert_eq!(scratch.table(&name, "steps.csv", 5), scratch.table("whole", "steps.csv", 5));
        assert_eq!(scratch.table(&name, "layers.csv", 9), scratch.table("whole", "layers.csv", 9));
        assert_eq!(event_steps(&run), event_steps(&scratch.0.join("runs/whole")));
        assert_eq!(left_aside(&run), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_full_disk_is_one_error_and_harms_nothing() {
    let scratch = Scratch::new();
    let whole = scratch.fingerprint(&format!("{LINE} --name whole"));
    let run = scratch.0.join("runs/x");
    let mut cut_short = 0;
    // RLIMIT_FSIZE, in blocks of 512 bytes: the files of a run reach their limits at different moments.
    for blocks in [2, 4, 6, 8, 12, 16, 24, 40] {
        let _ = fs::remove_dir_all(&run);
        // Such a limit is told of by a signal, which the shell ignores for the program.
        let (code, text) =
            scratch.limited(&format!("trap '' XFSZ; ulimit -f {blocks}"), &format!("{LINE} --name x"));
        assert!(!text.contains("panicked"), "{text}");
        assert_eq!(text.matches("error:").count(), usize::from(code != Some(0)), "{blocks}: {text}");
        assert_eq!(left_aside(&run), Vec::<PathBuf>::new(), "{blocks}");
        if code == Some(0) {
            continue;
        }
        cut_short += 1;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("cannot write"), "{text}");
        for (name, columns) in [("metrics.csv", 14), ("steps.csv", 6)] {
            let table = fs::read_to_string(run.join(name)).unwrap_or_default();
            let whole = |row: &str| row.ends_with('\n') && row.split(',').count() == columns;
            assert!(table.split_inclusive('\n').all(whole), "{name} {table}");
        }
        if run.join("checkpoints/last.safetensors").is_file() {
            assert_eq!(scratch.fingerprint("train --resume runs/x --json"), whole, "{blocks}");
            assert_eq!(event_steps(&run), event_steps(&scratch.0.join("runs/whole")));
        }
    }
    assert!(cut_short >= 3);
}

#[test]
fn a_folder_that_cannot_be_written_is_one_error() {
    let scratch = Scratch::new();
    // Nobody, not even root, can make folders there.
    for out in ["/proc/1", "/sys/kernel"] {
        let output = scratch.run(&format!("train --data idx:tiny --model softmax --epochs 1 --out {out}"));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.matches("error:").count() == 1 && text.contains("cannot create"), "{text}");
    }
}

#[test]
fn two_processes_cannot_go_on_with_one_run() {
    let scratch = Scratch::new();
    let line = "train --data idx:tiny --model softmax --batch 1 --epochs 100000 --name x --json";
    let mut child = scratch.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let last = scratch.0.join("runs/x/checkpoints/last.safetensors");
    let began = Instant::now();
    while !last.is_file() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    for line in
        ["train --resume runs/x", "runs rm runs/x", "train --data idx:tiny --model softmax --name x --force"]
    {
        let output = scratch.run(line);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line} {text}");
        assert!(text.contains("another process is training runs/x"), "{text}");
    }
    assert!(last.is_file());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn runs_that_start_at_once_are_numbered_apart() {
    let scratch = Scratch::new();
    let start = |_| {
        let line = "train --data idx:tiny --model softmax --epochs 1 --threads 1 --quiet";
        scratch.command(line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let all: Vec<Child> = (0..6).map(start).collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let runs = cotangent_board::runs::list(&scratch.0.join("runs")).unwrap();
    assert_eq!(runs.len(), 6);
    assert!(runs.iter().all(|run| run.join("report.html").is_file()));
    let latest = cotangent_board::runs::latest(&scratch.0.join("runs")).unwrap();
    assert!(latest.starts_with("softmax-tiny-00"), "{latest}");
}

#[test]
#[cfg(unix)]
fn a_pipe_in_a_run_folder_is_not_waited_for() {
    let scratch = Scratch::new();
    scratch.fingerprint("train --data idx:tiny --model softmax --epochs 1 --json --name x");
    for file in ["metrics.csv", "steps.csv", "layers.csv", "log.txt"] {
        let path = scratch.0.join("runs/x").join(file);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let output = scratch.run("train --resume runs/x --epochs 2");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("no regular file") && text.contains("help:"), "{text}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, kept).unwrap();
    }
    // What is written whole takes the place of a pipe.
    let path = scratch.0.join("runs/x/run.json");
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    scratch.fingerprint("train --resume runs/x --epochs 2 --json");
    assert!(path.is_file());
    assert!(Command::new("mkfifo").arg(scratch.0.join("pipe.toml")).status().unwrap().success());
    let output = scratch.run("train -c pipe.toml");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("pipe.toml: is not a regular file") && text.contains("help:"), "{text}");
}

#[test]
fn what_no_run_wrote_is_refused_before_it_is_read() {
    let scratch = Scratch::new();
    scratch.fingerprint("train --data idx:tiny --model softmax --epochs 1 --json --name x");
    // Sparse: 8 TiB that take no room.
    for (file, words) in
        [("metrics.csv", "too large"), ("checkpoints/last.safetensors", "8796093022208 bytes")]
    {
        let path = scratch.0.join("runs/x").join(file);
        let kept = fs::read(&path).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(8 << 40).unwrap();
        let output = scratch.run("train --resume runs/x --epochs 2");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains(file) && text.contains(words) && text.contains("help:"), "{text}");
        fs::write(&path, kept).unwrap();
    }
    let latest = scratch.0.join("runs/latest");
    fs::remove_file(&latest).unwrap();
    fs::write(&latest, b"\xff\xfe").unwrap();
    let output = scratch.run("eval");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("runs/latest") && text.contains("remove it"), "{text}");
}

#[test]
fn data_that_vanished_is_one_error_and_the_run_stays() {
    let scratch = Scratch::new();
    scratch.fingerprint("train --data idx:tiny --model softmax --epochs 1 --name x --json");
    let last = scratch.0.join("runs/x/checkpoints/last.safetensors");
    let before = fs::read(&last).unwrap();
    let metrics = fs::read(scratch.0.join("runs/x/metrics.csv")).unwrap();
    fs::remove_file(scratch.0.join("tiny/train-images-idx3-ubyte")).unwrap();
    for line in ["train --resume runs/x --epochs 3", "eval runs/x --split train"] {
        let output = scratch.run(line);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.matches("error:").count() == 1 && text.contains("train-images-idx3-ubyte"), "{text}");
    }
    assert_eq!(fs::read(&last).unwrap(), before);
    assert_eq!(fs::read(scratch.0.join("runs/x/metrics.csv")).unwrap(), metrics);
}

#[test]
fn too_little_memory_for_anything_ends_with_5() {
    let scratch = Scratch::new();
    // From what the system can load the program with, to what is enough.
    let loads = |kib: &usize| scratch.limited(&format!("ulimit -v {kib}"), "--version").0 == Some(0);
    let least = (20_000..200_000).step_by(3_000).find(loads).expect("the program starts with 200 MB");
    let mut codes = Vec::new();
    for kib in (least + 3_000..least + 60_000).step_by(3_000) {
        let line = format!("train --data idx:tiny --model mlp --epochs 1 --threads 1 --name x{kib}");
        let (code, text) = scratch.limited(&format!("ulimit -v {kib}"), &line);
        assert!(!text.contains("panicked"), "{kib} {text}");
        assert!(matches!(code, Some(0 | 1 | 5)), "{kib} {code:?} {text}");
        codes.push(code);
    }
    assert!(codes.contains(&Some(5)), "{codes:?}");
}
