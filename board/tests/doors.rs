//! Who is let in by the live page, and who is not.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cotangent_board::serve::{self, Network};
use serde_json::{Value, json};

/// A network that repeats what it was asked.
struct Echo;

impl Network for Echo {
    fn layers(&self, run: &Path) -> Result<Value, String> {
        Ok(json!({ "run": run }))
    }
    fn draw(&self, _: &Path, pixels: &[f64]) -> Result<Value, String> {
        if pixels.is_empty() {
            Err("nothing was drawn".into())
        } else {
            Ok(json!({ "sum": pixels.iter().sum::<f64>() }))
        }
    }
    fn picture(&self, _: &Path, index: usize) -> Result<Vec<u8>, String> {
        Ok(vec![index as u8])
    }
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The whole answer to a request as it is written on the wire.
fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn only_this_machine_is_answered_and_only_about_runs() {
    let root = std::env::temp_dir().join(format!("cotangent-doors-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    let scratch = Scratch(root.clone());
    for run in ["runs/mine", "runs/ä b", "secret"] {
        fs::create_dir_all(root.join(run)).unwrap();
        fs::write(root.join(run).join("run.json"), r#"{"status":"finished","device":"</script>"}"#).unwrap();
    }
    let listening = serve::start(&root.join("runs"), Some(0), Arc::new(Echo)).unwrap();
    let port = listening.port;
    assert_eq!(listening.address, format!("http://127.0.0.1:{port}/"));
    // The port is in use now.
    assert!(serve::start(&root, Some(port), Arc::new(Echo)).is_err());
    let get = |path: &str, more: &str| {
        let host = if more.contains("Host:") { "" } else { "Host: localhost\r\n" };
        ask(port, &format!("GET {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n"))
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_string();
    let whole = get("/", "");
    assert_eq!(status(&whole), "200");
    for header in ["default-src 'none'", "frame-ancestors 'none'", "nosniff", "no-store", "no-referrer"] {
        assert!(whole.contains(header), "{header}");
    }
    for path in ["/page.js", "/page.css", "/uplot.js", "/uplot.css", "/favicon.ico", "/api/runs"] {
        assert_eq!(status(&get(path, "")), "200", "{path}");
    }
    for name in ["mine", "%C3%A4%20b"] {
        for path in ["/api/run", "/report", "/api/layers", "/api/cell", "/api/picture"] {
            assert_eq!(status(&get(&format!("{path}?name={name}"), "")), "200", "{path} {name}");
        }
    }
    assert!(get("/report?name=mine", "").contains("&lt;/script&gt;"));
    for name in [
        "..",
        ".",
        "../secret",
        "..%2Fsecret",
        "%2e%2e/secret",
        "mine/../../secret",
        "mine%00",
        "mi%+6e",
        "",
        "/",
    ] {
        assert_eq!(status(&get(&format!("/api/run?name={name}"), "")), "404", "{name}");
    }
    for (headers, expected) in [
        ("Host: evil.example\r\n", "403"),
        (&format!("Host: evil.example:{port}\r\n"), "403"),
        ("Host: 127.0.0.1.evil.example\r\n", "403"),
        ("Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n", "403"),
        ("Host: 127.0.0.1\r\nOrigin: null\r\n", "403"),
        ("Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n", "403"),
        ("Host: [::1]:80\r\nOrigin: http://localhost:9\r\nSec-Fetch-Site: same-origin\r\n", "200"),
    ] {
        assert_eq!(status(&get("/api/runs", headers)), expected, "{headers}");
    }
    // A link that somebody follows, from the page of a web terminal such as.
    let followed = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    assert_eq!([get("/", followed), get("/report?name=mine", followed)].map(|a| status(&a)), ["200", "403"]);
    let post = |body: &str| {
        let n = body.len();
        ask(
            port,
            &format!(
                "POST /api/draw?name=mine HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"
            ),
        )
    };
    assert!(post("[0.5, 0.25]").ends_with("{\"sum\":0.75}"));
    assert_eq!([post("[]"), post("{"), post("[\"x\"]")].map(|a| status(&a)), ["422", "400", "400"]);
    assert_eq!(status(&get("/api/draw?name=mine", "")), "405");
    assert_eq!(status(&get("/api/cell?name=mine&truth=-1", "")), "400");
    drop(scratch);
}
