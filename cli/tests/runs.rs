//! The program as its users run it: whole runs on a tiny data set, looked at from outside.

mod scratch;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use scratch::Scratch;
use serde_json::Value;

impl Scratch {
    /// With a data set `tiny` of four classes of 28 × 28 images.
    fn new() -> Self {
        let scratch = Scratch::empty("runs");
        fs::create_dir_all(scratch.0.join("tiny")).unwrap();
        scratch.split("train", 120, 0);
        scratch.split("t10k", 24, 0);
        scratch
    }

    /// Half of each image is light: the upper, lower, left or right one. Labels count from `first`.
    fn split(&self, part: &str, n: u32, first: u8) {
        let mut noise = 12345_u32;
        let mut random = move |below: u32| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 16) % below
        };
        let (mut images, mut labels) = (vec![0, 0, 8, 3], vec![0, 0, 8, 1]);
        for size in [n, 28, 28] {
            images.extend(size.to_be_bytes());
        }
        labels.extend(n.to_be_bytes());
        for i in 0..n {
            let class = i % 4;
            labels.push(class as u8 + first);
            for row in 0..28 {
                for column in 0..28 {
                    let light = [row < 14, row >= 14, column < 14, column >= 14][class as usize];
                    images.push(if light { 120 + random(136) } else { random(90) } as u8);
                }
            }
        }
        fs::write(self.0.join(format!("tiny/{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(self.0.join(format!("tiny/{part}-labels-idx1-ubyte")), labels).unwrap();
    }

    /// A run that ends well; its events.
    fn events(&self, line: &str) -> Vec<Value> {
        let output = self.run(line);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}\n{text}");
        events(&output.stdout)
    }

    /// The fingerprint of the final weights of a run.
    fn fingerprint(&self, line: &str) -> String {
        print_of(&self.events(line))
    }

    /// A command that must fail: its exit code, and all that it says.
    fn failure(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{line}\n{text}");
        (output.status.code().unwrap(), text)
    }
}

fn events(stdout: &[u8]) -> Vec<Value> {
    stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

fn print_of(events: &[Value]) -> String {
    let end = events.last().unwrap();
    assert_eq!(end["event"], "run_end");
    end["fingerprint"].as_str().unwrap().to_string()
}

#[test]
fn a_run_tells_its_story_in_events_and_files() {
    let scratch = Scratch::new();
    let events = scratch.events("train --data idx:tiny --epochs 3 --batch 16 --json");
    let kinds: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    let epoch = ["epoch", "checkpoint", "checkpoint"];
    assert_eq!(kinds, [&["run_start"][..], &epoch, &epoch, &epoch, &["run_end"]].concat());
    assert!(events.iter().all(|e| e["v"] == 1));
    assert_eq!(events[0]["train_examples"], 120);
    assert_eq!(events[0]["parameters"], 61_196);
    for key in ["train_seconds", "train_loss", "test_loss", "test_acc"] {
        assert!(events[1][key].is_number(), "{key}");
    }
    // It learns: four halves are easy.
    assert!(events[7]["train_loss"].as_f64() < events[1]["train_loss"].as_f64());
    assert_eq!(events[10]["status"], "finished");
    let run = scratch.0.join("runs/lenet5-tiny-001");
    for file in [
        "config.toml",
        "run.json",
        "metrics.csv",
        "steps.csv",
        "layers.csv",
        "evaluation.json",
        "log.txt",
        "model.txt",
        "report.html",
        "plots/loss.svg",
        "plots/accuracy.svg",
        "plots/rate.svg",
        "plots/confusion.svg",
        "plots/filters-conv1.png",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let names: Vec<_> = fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().any(|n| n.to_string_lossy().starts_with("events.out.tfevents.")), "{names:?}");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    for words in ["test accuracy", "finished", "data:image/png;base64,", "Loss", "conv1"] {
        assert!(report.contains(words), "{words}");
    }
    assert!(!report.contains("<script") && !report.contains("Missing or damaged"));
    assert_eq!(fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count(), 4);
    // Weights and gradients of each of the ten parameters after each of the three epochs.
    let layers = fs::read_to_string(run.join("layers.csv")).unwrap();
    let rows: Vec<Vec<&str>> = layers.lines().skip(1).map(|l| l.split(',').collect()).collect();
    assert_eq!(rows.len(), 30, "{layers}");
    assert_eq!(rows[10][..2], ["2", "conv1.weight"]);
    for row in &rows {
        let ratio: f64 = row[2].parse().unwrap();
        assert!(ratio > 1e-7 && ratio < 1.0, "{row:?}");
        let of = |i: usize| row[i].split(' ').map(|n| n.parse::<u64>().unwrap()).sum::<u64>();
        assert_eq!(of(5), of(8), "as many gradients as weights: {row:?}");
    }
    let record: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    assert_eq!((&record["status"], &record["fingerprint"]), (&"finished".into(), &events[10]["fingerprint"]));
    // PyTorch's names and layouts; without validation `best` is `last`.
    let last = fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    assert_eq!(last, fs::read(run.join("checkpoints/best.safetensors")).unwrap());
    let tensors = safetensors::SafeTensors::deserialize(&last).unwrap();
    assert_eq!(tensors.tensor("conv1.weight").unwrap().shape(), [6, 1, 5, 5]);
    assert_eq!(tensors.tensor("fc3.bias").unwrap().shape(), [4]);
    assert!(tensors.tensor("optim.momentum.fc3.bias").is_ok(), "{:?}", tensors.names());
    // The configuration that it wrote makes the same run again.
    let again = scratch.events("train -c runs/lenet5-tiny-001/config.toml --json");
    assert_eq!(print_of(&again), print_of(&events));
    assert!(scratch.0.join("runs/lenet5-tiny-002").is_dir());
    assert_eq!(scratch.0.join("runs/latest").canonicalize().unwrap().file_name().unwrap(), "lenet5-tiny-002");
}

#[test]
fn the_weights_do_not_depend_on_threads() {
    let scratch = Scratch::new();
    let line = "train --data idx:tiny --epochs 2 --batch 32 --json";
    // A compiled step adds over a batch block by block; operation by operation it is added in another order.
    let (one, eager) = (
        scratch.fingerprint(&format!("{line} --threads 1")),
        scratch.fingerprint(&format!("{line} --threads 1 --eager")),
    );
    for other in ["--threads 2", "--threads 3", "--threads 4", "--threads 7"] {
        assert_eq!(scratch.fingerprint(&format!("{line} {other}")), one, "{other}");
    }
    for other in ["--threads 2 --eager", "--device virtual"] {
        assert_eq!(scratch.fingerprint(&format!("{line} {other}")), eager, "{other}");
    }
    assert_ne!(scratch.fingerprint(&format!("{line} --seed 1")), one);
}

/// Starts a run, sends the signal after its first epoch, and gives its exit code and events.
#[cfg(unix)]
fn interrupted(scratch: &Scratch, line: &str, signal: &str) -> (i32, Vec<Value>, String) {
    let mut child = scratch.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"event\":\"epoch\"") {
        assert!(stdout.read_until(b'\n', &mut seen).unwrap() > 0, "the run ended before its first epoch");
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    while stdout.read_until(b'\n', &mut seen).unwrap() > 0 {}
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), events(&seen), text)
}

#[cfg(unix)]
#[test]
fn interrupted_and_resumed_is_uninterrupted() {
    let scratch = Scratch::new();
    let settings = [
        "--epochs 12 --batch 4",
        "--epochs 12 --batch 4 --optim adam --lr 0.001 --val-split 0.2 --set data.sampler=iid \
         --set optim.schedule.name=plateau --set optim.schedule.patience=0 --set train.clip_norm=1",
    ];
    for (i, settings) in settings.iter().enumerate() {
        let line = format!("train --data idx:tiny --json {settings}");
        let whole = scratch.fingerprint(&format!("{line} --threads 1 --name whole{i}"));
        let (code, seen, text) = interrupted(&scratch, &format!("{line} --threads 2 --name cut{i}"), "-INT");
        assert_eq!(code, 130, "{text}");
        let resume = format!("continue with: cotangent train --resume runs/cut{i}");
        assert!(text.contains("interrupted: finished step ") && text.contains(&resume), "{text}");
        let end = seen.last().unwrap();
        assert_eq!((&end["status"], &end["exit_code"]), (&"interrupted".into(), &130.into()));
        assert!(end["epochs"].as_u64().unwrap() < 12);
        let resumed = scratch.events(&format!("train --resume runs/cut{i} --threads 3 --json"));
        assert_eq!(resumed[0]["resumed_at_step"], end["step"]);
        assert_eq!(print_of(&resumed), whole, "{settings}");
        let figures = |name: &str| -> Vec<String> {
            let text = fs::read_to_string(scratch.0.join(format!("runs/{name}{i}/metrics.csv"))).unwrap();
            // All but the seconds.
            let cells = |row: &str| {
                row.split(',')
                    .enumerate()
                    .filter(|(i, _)| *i != 3)
                    .map(|(_, c)| c.to_string() + ",")
                    .collect()
            };
            text.lines().map(cells).collect()
        };
        assert_eq!(figures("cut"), figures("whole"));
    }
}

#[cfg(unix)]
#[test]
fn sigterm_saves_too() {
    let scratch = Scratch::new();
    let (code, seen, text) =
        interrupted(&scratch, "train --data idx:tiny --json --epochs 12 --batch 4 --name x", "-TERM");
    assert_eq!(code, 143, "{text}");
    assert_eq!(seen.last().unwrap()["status"], "interrupted");
    assert!(scratch.0.join("runs/x/checkpoints/last.safetensors").is_file());
}

#[test]
fn a_run_that_is_done_goes_on_with_more_epochs() {
    let scratch = Scratch::new();
    scratch.events("train --data idx:tiny --epochs 1 --name x --json");
    let done = scratch.run("train --resume runs/x");
    assert_eq!(done.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&done.stderr).contains("has its 1 epoch already"));
    let more = scratch.events("train --resume runs/x --epochs 3 --json");
    assert_eq!(more.iter().filter(|e| e["event"] == "epoch").count(), 2);
    assert_eq!(more.last().unwrap()["epochs"], 3);
}

#[test]
fn a_run_that_diverges_says_where_and_ends_with_4() {
    let scratch = Scratch::new();
    for way in ["", "--eager"] {
        let (code, text) = scratch.failure(&format!(
            "train --data idx:tiny --optim sgd --lr 1e30 --set optim.schedule=constant --batch 8 --out out{way} {way}"
        ));
        assert_eq!(code, 4, "{text}");
        assert!(text.contains("the run has diverged") && text.contains("help: a lower rate"), "{text}");
        assert!(["conv1", "conv2", "fc1", "fc2", "fc3"].iter().any(|layer| text.contains(layer)), "{text}");
        let run = scratch.0.join(format!("out{way}/lenet5-tiny-001"));
        assert!(!run.join("checkpoints/last.safetensors").exists());
        assert!(fs::read_to_string(run.join("run.json")).unwrap().contains("\"diverged\""));
    }
}

#[test]
fn a_last_step_that_ruins_the_weights_ends_with_4() {
    let scratch = Scratch::new();
    let line =
        "train --data idx:tiny --optim sgd --lr 1e30 --set optim.schedule=constant --batch 4000 --epochs 1";
    let (code, text) = scratch.failure(line);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("test loss of the final weights is not finite"), "{text}");
    let record = fs::read_to_string(scratch.0.join("runs/lenet5-tiny-001/run.json")).unwrap();
    assert!(record.contains("\"diverged\""), "{record}");
}

#[test]
fn damaged_data_is_an_error_with_3() {
    let scratch = Scratch::new();
    let (code, text) = scratch.failure("train --data idx:nowhere");
    assert_eq!(code, 3);
    assert!(text.contains("there is no train-images-idx3-ubyte in nowhere"), "{text}");
    let images = scratch.0.join("tiny/train-images-idx3-ubyte");
    let whole = fs::read(&images).unwrap();
    fs::write(&images, &whole[..5000]).unwrap();
    let (code, text) = scratch.failure("train --data idx:tiny");
    assert_eq!(code, 3);
    assert!(text.contains("train-images-idx3-ubyte"), "{text}");
    fs::write(&images, &whole).unwrap();
    // D13: labels that count from 1.
    scratch.split("train", 120, 1);
    scratch.split("t10k", 24, 1);
    let (code, text) = scratch.failure("train --data idx:tiny");
    assert_eq!(code, 3);
    assert!(text.contains("label 4 at position 3") && text.contains("from 1 to 4"), "{text}");
    assert!(!scratch.0.join("runs").exists(), "nothing is begun before the data is known to be good");
}

#[test]
fn devices_and_settings_that_cannot_be_end_before_anything_is_written() {
    let scratch = Scratch::new();
    for (line, expected, words) in [
        ("train --device cuda:0", 5, "no CUDA device 0"),
        ("train --data idx:tiny --val-split 500", 2, "holds out 500 of 120"),
        (
            "train --data idx:tiny --epochs 1 --set optim.schedule.name=cosine --set optim.schedule.warmup_steps=99",
            2,
            "2 steps",
        ),
        ("train --resume runs/none", 3, "no run and no checkpoint"),
        ("eval runs/none", 3, "no run and no checkpoint"),
        ("summary --model lenet", 2, "did you mean `lenet5`"),
    ] {
        let (code, text) = scratch.failure(line);
        assert_eq!(code, expected, "{line}\n{text}");
        assert!(text.contains(words), "{line}\n{text}");
    }
    assert!(!scratch.0.join("runs").exists());
}

#[test]
fn a_closed_stdout_ends_no_run() {
    let scratch = Scratch::new();
    let mut child = scratch
        .command("train --data idx:tiny --epochs 2 --json --name x")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(scratch.0.join("runs/x/metrics.csv")).unwrap().lines().count(), 3);
}

fn write_png(path: &Path, width: u32, height: u32, level: impl Fn(u32, u32) -> u8) {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> =
        (0..height).flat_map(|r| (0..width).map(move |c| (r, c))).map(|(r, c)| level(r, c)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_trained_network_is_evaluated_and_used() {
    let scratch = Scratch::new();
    scratch.events("train --data idx:tiny --epochs 8 --batch 16 --val-split 0.1 --name x --json");
    for split in ["train", "val", "test"] {
        let found = &scratch.events(&format!("eval runs/x --split {split} --json"))[0];
        let expected =
            [("train", 108), ("val", 12), ("test", 24)].iter().find(|(s, _)| *s == split).unwrap().1;
        assert_eq!(found["examples"], expected);
        let right: u64 = (0..4).map(|c| found["confusion"][c][c].as_u64().unwrap()).sum();
        assert_eq!(found["wrong"].as_u64().unwrap() + right, expected);
        assert!(found["accuracy"].as_f64().unwrap() > 0.5, "{found}");
    }
    // The same figures whatever the size of a step.
    let accuracy = |line: &str| scratch.events(line)[0]["accuracy"].clone();
    assert_eq!(accuracy("eval runs/x --json --batch 1"), accuracy("eval runs/x --json --threads 1"));

    // The upper half light: class 0. A larger picture is scaled.
    write_png(&scratch.0.join("up.png"), 56, 56, |r, _| if r < 28 { 200 } else { 20 });
    let found = &scratch.events("predict runs/x up.png --invert never --json")[0];
    assert_eq!((&found["class"], &found["prepared"][0]), (&"0".into(), &"56×56 scaled to 28×28".into()));
    assert_eq!(found["guesses"].as_array().unwrap().len(), 3);
    let many = scratch.events("predict runs/x tiny/t10k-images-idx3-ubyte --json --top 1");
    assert_eq!(many.len(), 24);
    assert_eq!(many[23]["index"], 23);
    let mut child = scratch
        .command("predict runs/x - --invert never")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(scratch.0.join("up.png")).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("-: 0  (0 "));

    fs::write(scratch.0.join("not.png"), "GIF89a").unwrap();
    let (code, text) = scratch.failure("predict runs/x not.png");
    assert_eq!(code, 3, "{text}");
    let last = scratch.0.join("runs/x/checkpoints/last.safetensors");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let (code, text) = scratch.failure("predict runs/x/checkpoints/last.safetensors up.png");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no whole safetensors file"), "{text}");
}

/// What a run that ends well says to people.
fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

/// A link to a run elsewhere is that run, whatever stands beside it under the same name; and it is not removed by it.
#[cfg(unix)]
#[test]
fn a_link_to_a_run_is_that_run() {
    let scratch = Scratch::new();
    let line = "train --data idx:tiny --model softmax --epochs 1 --json --no-plots";
    scratch.events(&format!("{line} --out far --name a"));
    scratch.events(&format!("{line} --name a --seed 1"));
    std::os::unix::fs::symlink(scratch.0.join("far/a"), scratch.0.join("runs/link")).unwrap();
    let loss = |run: &str| scratch.events(&format!("eval {run} --json"))[0]["loss"].clone();
    assert!(loss("runs/link") == loss("far/a") && loss("runs/link") != loss("runs/a"));
    let (code, text) = scratch.failure("runs rm runs/link");
    assert!(code == 2 && text.contains("runs/link is a link") && text.contains("far/a"), "{text}");
    assert!(scratch.0.join("far/a").is_dir() && scratch.0.join("runs/a").is_dir());
}

/// As it is where links are refused.
#[test]
fn latest_may_be_a_text_file() {
    let scratch = Scratch::new();
    for name in ["a", "b"] {
        scratch.events(&format!(
            "train --data idx:tiny --model softmax --epochs 1 --json --no-plots --name {name}"
        ));
    }
    let latest = scratch.0.join("runs/latest");
    fs::remove_file(&latest).unwrap();
    fs::write(&latest, "a").unwrap();
    write_png(&scratch.0.join("up.png"), 28, 28, |r, _| if r < 14 { 200 } else { 20 });
    let evaluated = &scratch.events("eval --json")[0];
    assert_eq!(evaluated["checkpoint"], "runs/a/checkpoints/best.safetensors");
    for line in [
        "predict runs/latest up.png --json",
        "predict runs/latest/checkpoints/last.safetensors up.png --json",
        "summary runs/latest --json",
        "export runs/latest --json",
        "report",
        "runs show",
        "train --resume runs/latest --epochs 2 --json --no-plots",
    ] {
        let output = scratch.run(line);
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    // The run that went on is the newest still, and its epochs are its own.
    let listed = scratch.run("runs list");
    assert!(String::from_utf8(listed.stdout).unwrap().contains("a *  finished       2"));
    fs::remove_file(&latest).unwrap();
    fs::write(&latest, "a").unwrap();
    let mut dashboard = scratch.command("dashboard runs/latest --json");
    let mut child = dashboard.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("\"port\""), "{line}");
    scratch.run("runs rm runs/latest");
    assert!(!scratch.0.join("runs/a").exists() && scratch.0.join("runs/b").exists());
    assert!(scratch.run("runs show").status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn memory_that_has_no_room_ends_in_words_with_5() {
    let scratch = Scratch::new();
    scratch.split("train", 20_000, 0);
    // Each of the first activations takes 376 MB.
    let line = "train --data idx:tiny --eager --batch 20000 --epochs 1 --threads 1 --name x";
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 700000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_cotangent")])
        .args(line.split_whitespace())
        .current_dir(&scratch.0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.contains("the memory has no room for") && text.contains("help: take smaller batches"),
        "{text}"
    );
    let record = fs::read_to_string(scratch.0.join("runs/x/run.json")).unwrap();
    assert!(record.contains("\"failed\"") && record.contains("no room"), "{record}");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_under_a_file_s_name_is_said() {
    let scratch = Scratch::new();
    let labels = scratch.0.join("tiny/t10k-labels-idx1-ubyte");
    fs::remove_file(&labels).unwrap();
    fs::create_dir(&labels).unwrap();
    let (code, text) = scratch.failure("train --data idx:tiny");
    assert!(
        code == 3 && text.contains("tiny/t10k-labels-idx1-ubyte: is a folder, and a file was expected"),
        "{text}"
    );
    fs::remove_dir(&labels).unwrap();
    assert!(Command::new("mkfifo").arg(&labels).status().unwrap().success());
    let (code, text) = scratch.failure("train --data idx:tiny");
    assert!(code == 3 && text.contains("t10k-labels-idx1-ubyte: is not a regular file"), "{text}");
    let (code, text) = scratch.failure("train --data idx:tiny/train-images-idx3-ubyte");
    assert!(code == 3 && text.contains("train-images-idx3-ubyte is no folder"), "{text}");
}

#[test]
fn commands_to_copy_are_words_of_a_shell() {
    let scratch = Scratch::new();
    let mut command = scratch.command("train --data idx:tiny --epochs 1 --out");
    command.arg("my runs");
    let text = said(command);
    assert!(text.contains("cotangent eval 'my runs/lenet5-tiny-001'"), "{text}");
    let config = fs::read_to_string(scratch.0.join("my runs/lenet5-tiny-001/config.toml")).unwrap();
    assert!(
        config.starts_with("# Run it again: cotangent train -c 'my runs/lenet5-tiny-001/config.toml'"),
        "{config}"
    );
}

#[test]
fn run_json_follows_the_epochs() {
    let scratch = Scratch::new();
    let mut child = scratch
        .command("train --data idx:tiny --epochs 200 --json --name x")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The third is told of after the second was written.
    let third = lines.map_while(Result::ok).filter(|l| l.contains("\"event\":\"epoch\"")).nth(2);
    let record = fs::read_to_string(scratch.0.join("runs/x/run.json")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(third.is_some());
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["status"], "running");
    assert!(record["epochs"].as_u64() >= Some(2) && record["test_acc"].is_number(), "{record}");
}

#[test]
fn what_is_odd_about_data_is_remarked_on() {
    let scratch = Scratch::new();
    scratch.split("train", 400, 0);
    let path = scratch.0.join("tiny/train-labels-idx1-ubyte");
    let mut labels = fs::read(&path).unwrap();
    labels[8 + 17] = 200;
    fs::write(&path, &labels).unwrap();
    fs::write(scratch.0.join("tiny/train-labels-idx1-ubyte.gz"), "another").unwrap();
    let text = said(scratch.command("train --data idx:tiny --epochs 1"));
    let stray = "note: 196 of 201 classes have no training example: label 200 stands in \
                 tiny/train-labels-idx1-ubyte once, first at position 17";
    assert!(text.contains(stray), "{text}");
    let both = "note: tiny/train-labels-idx1-ubyte is read, and not tiny/train-labels-idx1-ubyte.gz";
    assert!(text.contains(both), "{text}");
    // A whole data set gets no remark.
    let whole = Scratch::new();
    assert!(!said(whole.command("train --data idx:tiny --batch 16 --epochs 1")).contains("note:"));
    // Two steps an epoch are few.
    let few = said(whole.command("train --data idx:tiny --batch 60 --epochs 1"));
    assert!(few.contains("in batches of 60 are 2 steps an epoch; `--batch 8` takes more"), "{few}");
}

#[test]
fn folders_that_are_no_runs_and_files_that_are_no_folders_are_named() {
    let scratch = Scratch::new();
    scratch.events("train --data idx:tiny --epochs 1 --name x --json");
    let (code, text) = scratch.failure("train --resume tiny");
    assert!(code == 3 && text.contains("tiny is no run folder: it has no folder `checkpoints`"), "{text}");
    let (code, text) = scratch.failure("train --resume runs");
    assert!(
        code == 3 && text.contains("runs is no run folder") && text.contains("runs in runs: x"),
        "{text}"
    );
    fs::write(scratch.0.join("file"), "mine").unwrap();
    for (out, words) in [
        ("file", "file is a file, and run folders need a folder to lie in"),
        ("file/deep", "file in `--out file/deep` is a file"),
    ] {
        let (code, text) = scratch.failure(&format!("train --data idx:tiny --epochs 1 --out {out}"));
        assert!(code == 2 && text.contains(words), "{code} {text}");
    }
    assert_eq!(fs::read_to_string(scratch.0.join("file")).unwrap(), "mine");
}

#[test]
fn more_epochs_plan_a_schedule_anew_and_that_is_said() {
    let scratch = Scratch::new();
    let one_cycle = "--set optim.schedule=one-cycle";
    said(scratch.command(&format!("train --data idx:tiny --epochs 2 --name x {one_cycle}")));
    let text = said(scratch.command("train --resume runs/x --epochs 4"));
    assert!(text.contains("note: the one-cycle schedule is planned anew for 4 epochs"), "{text}");
    said(scratch.command("train --data idx:tiny --epochs 2 --name y --set optim.schedule=constant"));
    assert!(!said(scratch.command("train --resume runs/y --epochs 4")).contains("planned anew"));
}

#[test]
fn what_is_not_wanted_is_not_written_and_changes_nothing() {
    let scratch = Scratch::new();
    let line = "train --data idx:tiny --epochs 2 --batch 8 --json --set log.every=4";
    let events = scratch.events(&format!("{line} --name all"));
    let steps: Vec<u64> =
        events.iter().filter(|e| e["event"] == "step").map(|e| e["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [4, 8, 12, 16, 20, 24, 28]);
    let table = fs::read_to_string(scratch.0.join("runs/all/steps.csv")).unwrap();
    assert_eq!(table.lines().count(), 8, "{table}");
    let less = scratch.events(&format!("{line} --name less --no-plots --no-tensorboard"));
    assert_eq!(print_of(&less), print_of(&events));
    let mut names: Vec<String> = fs::read_dir(scratch.0.join("runs/less"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        ".lock",
        "checkpoints",
        "config.toml",
        "evaluation.json",
        "layers.csv",
        "log.txt",
        "metrics.csv",
        "model.txt",
        "run.json",
        "steps.csv",
    ];
    assert_eq!(names, expected);
    // A run in the place of another begins anew.
    let again = scratch.events(&format!("{line} --name all --force"));
    assert_eq!(print_of(&again), print_of(&events));
    assert_eq!(fs::read_to_string(scratch.0.join("runs/all/steps.csv")).unwrap().lines().count(), 8);
}

/// Whoever always says `none` is right half of the time, and has a macro-F1 of 2·0.49/1.49/9 = 0.07.
#[test]
fn wafers_are_learned_class_by_class() {
    let scratch = Scratch::new();
    let train = "train --data wafer --epochs 4 --name w --no-plots --set train.class_weights=balanced --json";
    let events = scratch.events(train);
    assert_eq!(events[0]["train_examples"], 1600);
    let report = scratch.run("eval runs/w --json");
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert!(report["macro_f1"].as_f64().unwrap() > 0.7, "{report}");
    // Digits have a tenth class, for which this network has no place.
    let (code, text) = scratch.failure("eval runs/w --data mnist");
    assert!(code == 2 && text.contains("classes"), "{code} {text}");
}

#[test]
fn what_comes_from_stdin_is_read_as_files_are() {
    let scratch = Scratch::new();
    scratch.events("train --data idx:tiny --model softmax --epochs 1 --json --name pictures --no-plots");
    let table: String =
        (0..40).map(|i| format!("{},{}\n", i % 2 * 7, if i % 2 == 0 { "good" } else { "bad" })).collect();
    fs::write(scratch.0.join("t.csv"), format!("x,label\n{table}")).unwrap();
    scratch.events("train --data csv:t.csv --model softmax --epochs 1 --json --name rows --no-plots");
    let from = |file: &str, line: &str| {
        let mut command = scratch.command(line);
        let output = command.stdin(fs::File::open(scratch.0.join(file)).unwrap()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text, String::from_utf8(output.stderr).unwrap())
    };
    for (file, line, same) in [
        (
            "tiny/t10k-images-idx3-ubyte",
            "predict runs/pictures - --format csv",
            "predict runs/pictures FILE --format csv",
        ),
        ("t.csv", "predict runs/rows - --format csv", "predict runs/rows FILE --format csv"),
        ("t.csv", "eval runs/rows --data csv:- --json", "eval runs/rows --data csv:FILE --json"),
    ] {
        let (code, text, error) = from(file, line);
        assert_eq!(code, 0, "{error}");
        let whole = scratch.run(&same.replace("FILE", file));
        let whole = String::from_utf8(whole.stdout).unwrap();
        assert_eq!(
            text.replace("\n-,", &format!("\n{file},")).replace("csv:-", &format!("csv:{file}")),
            whole
        );
    }
    fs::write(scratch.0.join("cut"), [0, 0, 8, 3, 0]).unwrap();
    let (code, _, error) = from("cut", "predict runs/pictures -");
    assert!(code == 3 && error.starts_with("error: -: "), "{error}");
    fs::write(scratch.0.join("none"), "").unwrap();
    let (code, _, error) = from("none", "eval runs/rows --data csv:-");
    assert!(code == 3 && error.contains("nothing comes from the standard input"), "{error}");
}
