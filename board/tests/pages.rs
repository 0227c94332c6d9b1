//! Run folders, whole and damaged, and the pages that are made of them.

use std::fs;
use std::path::PathBuf;

use cotangent_board::runs::{self, Evaluation, Mistake, Run};
use cotangent_board::{compare, report};

/// A folder of runs, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cotangent-pages-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// A finished run with everything, whose names try to become markup.
    fn run(&self, name: &str, lr: f64) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.join("checkpoints")).unwrap();
        fs::create_dir_all(path.join("plots")).unwrap();
        let write = |file: &str, text: &str| fs::write(path.join(file), text).unwrap();
        write(
            "run.json",
            r#"{"status":"finished","reason":null,"version":"0.1.0","device":"<img src=x>","pid":1,"seed":0}"#,
        );
        write(
            "metrics.csv",
            "epoch,step,lr,train_seconds,train_loss,train_acc,val_loss,val_acc,test_loss,test_acc\n1,10,0.1,1.5,0.9,0.7,,,0.8,0.75\n2,20,0.05,1.5,0.4,0.9,,,0.5,0.85\n",
        );
        write("steps.csv", "step,epoch,lr,loss,acc\n10,1,0.1,0.9,0.7\n20,2,0.05,0.4,0.9\n");
        write("config.toml", &format!("# <script>alert(1)</script>\nseed = 0\n[optim]\nlr = {lr}\n"));
        write("model.txt", "fc1  Linear\n");
        let picture =
            cotangent_board::plot::Picture { channels: 1, height: 2, width: 2, bytes: vec![0, 80, 160, 255] };
        let found = Evaluation {
            v: 1,
            epoch: 2,
            classes: vec!["<b>cat".into(), "dog".into()],
            confusion: vec![vec![8, 2], vec![1, 9]],
            predicted: vec![0, 1],
            truth: vec![0, 0],
            mistakes: vec![Mistake {
                index: 1,
                name: "<i>deep/er/picture-0001.png".into(),
                truth: 0,
                predicted: 1,
                probability: 0.9,
                loss: 2.3,
                png: report::base64(&picture.png(1)),
            }],
        };
        fs::write(path.join("evaluation.json"), serde_json::to_vec(&found).unwrap()).unwrap();
        fs::write(path.join("plots/filters-conv1.png"), picture.png(4)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_report_holds_everything_and_nothing_becomes_markup() {
    let scratch = Scratch::new("whole");
    let run = Run::read(&scratch.run("a", 0.1));
    assert_eq!(run.damage, [""; 0]);
    let page = report::html(&run);
    for words in [
        "85.00%",
        "&lt;b&gt;cat",
        "&lt;img src=x&gt;",
        "&lt;script&gt;alert(1)",
        "filters of conv1",
        "data:image/png;base64,",
        "Learning rate",
        "80.00%",
        "taken for",
        "90% · &lt;i&gt;deep/er/picture-0001.png",
        "prefers-color-scheme",
    ] {
        assert!(page.contains(words), "{words}");
    }
    for markup in
        ["<script", "<b>cat", "<img src=x", "http://www.w3.org/1999", "src=\"http", "@import", "url("]
    {
        assert!(!page.contains(markup), "{markup}");
    }
    let picture = report::mistakes(run.evaluation.as_ref().unwrap());
    assert!(
        picture.contains("&lt;b&gt;cat taken for dog") && picture.contains("90% · …e-0001.png"),
        "{picture}"
    );
}

#[test]
fn damage_is_named_and_the_rest_is_shown() {
    let scratch = Scratch::new("damaged");
    let path = scratch.run("a", 0.1);
    for (file, bytes, expected) in [
        ("run.json", &b"{\"status\":"[..], "run.json: EOF"),
        ("run.json", b"[]", "run.json: no JSON object"),
        ("metrics.csv", b"epoch,test_acc\n1,0.5\n2,0.\xff\n", "metrics.csv: row 2"),
        ("steps.csv", b"step,loss\n1\n", "steps.csv: row 1"),
        ("config.toml", b"[optim", "config.toml: unclosed table"),
        ("evaluation.json", b"{}", "evaluation.json: missing field"),
        ("evaluation.json", br#"{"v":1,"epoch":1,"classes":["a"],"confusion":[[1,2]]}"#, "sizes do not fit"),
        (
            "evaluation.json",
            br#"{"v":1,"epoch":1,"classes":["a"],"confusion":[[18446744073709551615]]}"#,
            "sizes do not fit",
        ),
        (
            "evaluation.json",
            br#"{"v":1,"epoch":1,"classes":["a"],"confusion":[[1]],"truth":[5],"predicted":[0]}"#,
            "sizes do not fit",
        ),
    ] {
        let whole = fs::read(path.join(file)).unwrap();
        fs::write(path.join(file), bytes).unwrap();
        let run = Run::read(&path);
        assert!(run.damage.iter().any(|d| d.contains(expected)), "{expected}: {:?}", run.damage);
        assert!(report::html(&run).contains("Missing or damaged"));
        fs::write(path.join(file), whole).unwrap();
    }
    // A folder under a file's name, and nothing at all.
    fs::remove_file(path.join("metrics.csv")).unwrap();
    fs::create_dir(path.join("metrics.csv")).unwrap();
    assert!(Run::read(&path).damage.iter().any(|d| d.contains("no regular file")));
    let nothing = Run::read(&scratch.0.join("none"));
    assert_eq!(nothing.status(), "unknown");
    assert!(report::html(&nothing).contains("</html>"));
}

#[test]
fn runs_are_listed_without_links_and_strangers() {
    let scratch = Scratch::new("list");
    let (b, a) = (scratch.run("b", 0.1), scratch.run("a", 0.2));
    fs::create_dir(scratch.0.join("other")).unwrap();
    fs::write(scratch.0.join("file"), "").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("b", scratch.0.join("latest")).unwrap();
    assert_eq!(runs::list(&scratch.0).unwrap(), [a, b]);
    #[cfg(unix)]
    assert_eq!(runs::latest(&scratch.0).as_deref(), Some("b"));
    assert!(runs::list(&scratch.0.join("none")).is_err());
}

#[test]
fn runs_beside_each_other_show_what_differs() {
    let scratch = Scratch::new("compare");
    let runs = [Run::read(&scratch.run("a", 0.1)), Run::read(&scratch.run("<i>b", 0.2))];
    let found = compare::compare(&runs);
    assert_eq!(found.settings, [("optim.lr".to_string(), vec!["0.1".to_string(), "0.2".into()])]);
    let text = found.text(None);
    assert!(text.contains("85.00%") && text.lines().all(|l| !l.ends_with(' ')), "{text}");
    let page = compare::html(&runs);
    assert!(page.contains("&lt;i&gt;b") && !page.contains("<i>b") && page.contains("optim.lr"), "{page}");
}

#[test]
fn a_run_whose_process_is_gone_died() {
    let scratch = Scratch::new("died");
    let path = scratch.run("a", 0.1);
    let status = |pid: u32| {
        fs::write(path.join("run.json"), format!("{{\"status\":\"running\",\"pid\":{pid}}}")).unwrap();
        Run::outline(&path).status().to_string()
    };
    assert_eq!(status(std::process::id()), "running");
    if cfg!(target_os = "linux") {
        // Beyond the greatest id that Linux gives.
        assert_eq!(status(u32::MAX), "died");
        // Another process has the number now: it began long after the run's settings were written.
        let settings = fs::File::options().write(true).open(path.join("config.toml")).unwrap();
        settings.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(status(std::process::id()), "died");
    }
}
