//! The live page: a server for this machine alone, which reads run folders and asks a [`Network`] what only a network
//! can say.
//!
//! It listens on 127.0.0.1, answers only to that name (so that no page of another site reaches it through a name of
//! its own), and takes a run by its name in the list of runs, never by a path.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oxhttp::Server;
use oxhttp::model::{Body, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::report;
use crate::runs::{self, Run, Table};

/// The port that is taken where none is asked for; the next twenty where it is in use.
pub const PORT: u16 = 7878;
/// A drawing is no larger.
const LONGEST: u64 = 4 << 20;
/// Pictures in an answer.
const PAGE: usize = 60;
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What a page wants to know of a run's network and of its examples. Errors are words for the person who asked.
pub trait Network: Send + Sync {
    /// Weights layer by layer: filters as pictures, and how they are spread.
    ///
    /// # Errors
    /// The run has no checkpoint yet, or a damaged one.
    fn layers(&self, run: &Path) -> Result<Value, String>;

    /// What the network makes of a grey picture, from 0 (black) to 1 (white), row by row: probabilities, and the
    /// output of every layer as a picture.
    ///
    /// # Errors
    /// As of [`Network::layers`], or the picture does not fit.
    fn draw(&self, run: &Path, pixels: &[f64]) -> Result<Value, String>;

    /// A test example as a PNG file.
    ///
    /// # Errors
    /// There is no such example, or its data set cannot be read any more.
    fn picture(&self, run: &Path, index: usize) -> Result<Vec<u8>, String>;
}

/// A server that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The page's address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// Serves the runs in `root` on threads of its own until the process ends.
///
/// # Errors
/// The port that was asked for, or every one that was tried, is in use.
pub fn start(root: &Path, port: Option<u16>, network: Arc<dyn Network>) -> io::Result<Listening> {
    let mut last = None;
    let tried: Vec<u16> = port.map_or_else(|| (PORT..PORT + 20).collect(), |port| vec![port]);
    for port in tried {
        // Port 0 is any that is free.
        let port = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|l| l.local_addr()) {
            Ok(address) => address.port(),
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        let site = Site { root: root.to_path_buf(), network: network.clone() };
        let server = Server::new(move |request| site.answer(request))
            .bind((Ipv4Addr::LOCALHOST, port))
            // Whoever says nothing for so long makes room for others.
            .with_global_timeout(Duration::from_secs(20))
            .with_max_concurrent_connections(64);
        match server.spawn() {
            Ok(_) => return Ok(Listening { address: format!("http://127.0.0.1:{port}/"), port }),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// A file of the page as the build packed it.
macro_rules! page {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")).to_vec()
    };
}

struct Site {
    root: PathBuf,
    network: Arc<dyn Network>,
}

/// An answer that is not the one hoped for.
struct Refusal(StatusCode, String);

type Answer = Result<(&'static str, Vec<u8>), Refusal>;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

impl Site {
    fn answer(&self, request: &mut Request<Body>) -> Response<Body> {
        let (status, kind, body) = match self.route(request) {
            Ok((kind, body)) => (StatusCode::OK, kind, body),
            Err(Refusal(status, words)) => (status, "text/plain; charset=utf-8", words.into_bytes()),
        };
        let mut response = Response::builder();
        // What browsers unpack begins so; nothing else that is answered does.
        if body.starts_with(&[0x1f, 0x8b]) {
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        let response = response
            .status(status)
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(header::REFERRER_POLICY, "no-referrer")
            .header(header::CACHE_CONTROL, "no-store")
            .header("cross-origin-resource-policy", "same-origin")
            .body(Body::from(body));
        // Every header above is a constant.
        response.unwrap_or_else(|_| Response::new(Body::empty()))
    }

    fn route(&self, request: &mut Request<Body>) -> Answer {
        guard(request)?;
        let path = request.uri().path().to_string();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let post = path == "/api/draw";
        let wanted = if post { Method::POST } else { Method::GET };
        if *request.method() != wanted {
            return Err(Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{wanted} is what is understood here"),
            ));
        }
        let value = |v: &Value| Ok((JSON, v.to_string().into_bytes()));
        match path.as_str() {
            "/" => Ok((HTML, page!("index.html"))),
            "/page.css" => Ok(("text/css", page!("page.css"))),
            "/page.js" => Ok(("text/javascript", page!("page.js"))),
            "/uplot.css" => Ok(("text/css", page!("uplot.css"))),
            "/uplot.js" => Ok(("text/javascript", page!("uplot.js"))),
            "/favicon.ico" => Ok(("image/svg+xml", page!("icon.svg"))),
            "/api/runs" => value(&self.runs()?),
            "/api/run" => value(&whole(&Run::read(&self.run(&query)?), query.number("after")?)),
            "/api/cell" => value(&self.cell(&query)?),
            "/api/picture" => {
                let index = query.number("index")?.unwrap_or_default();
                Ok(("image/png", self.network.picture(&self.run(&query)?, index).map_err(unanswered)?))
            }
            "/api/layers" => value(&self.network.layers(&self.run(&query)?).map_err(unanswered)?),
            "/api/draw" => {
                let run = self.run(&query)?;
                let bad = |what: String| Refusal(StatusCode::BAD_REQUEST, what);
                let mut bytes = Vec::new();
                let read = request.body_mut().take(LONGEST + 1).read_to_end(&mut bytes);
                read.map_err(|e| bad(e.to_string()))?;
                if bytes.len() as u64 > LONGEST {
                    return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, "a drawing is smaller".into()));
                }
                let pixels: Vec<f64> = serde_json::from_slice(&bytes)
                    .map_err(|e| bad(format!("expected a list of numbers: {e}")))?;
                value(&self.network.draw(&run, &pixels).map_err(unanswered)?)
            }
            "/report" => Ok((HTML, report::html(&Run::read(&self.run(&query)?)).into_bytes())),
            _ => Err(Refusal(StatusCode::NOT_FOUND, "there is nothing here".into())),
        }
    }

    /// The folder of the run that `name` names: one of the list, whatever else the name might mean to a file system.
    fn run(&self, query: &Query) -> Result<PathBuf, Refusal> {
        let name = query.get("name").unwrap_or_default();
        let all = runs::list(&self.root).unwrap_or_default();
        let found =
            all.into_iter().find(|path| path.file_name().is_some_and(|n| n.to_string_lossy() == name));
        found.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "there is no such run".into()))
    }

    fn runs(&self) -> Result<Value, Refusal> {
        let found = runs::list(&self.root).map_err(|e| {
            Refusal(StatusCode::NOT_FOUND, format!("cannot read {}: {e}", self.root.display()))
        })?;
        let rows: Vec<Value> = found
            .iter()
            .map(|path| {
                let run = Run::outline(path);
                let epochs: Vec<f64> = run.epochs.column("epoch").unwrap_or_default();
                json!({
                    "name": run.name,
                    "status": run.status(),
                    "epochs": run.last("epoch"),
                    "test_acc": run.last("test_acc"),
                    "best": run.greatest("test_acc"),
                    "test_loss": run.last("test_loss"),
                    "seconds": run.seconds(),
                    "started": run.text("started"),
                    "epoch": epochs,
                    "accuracy": run.epochs.column("test_acc").unwrap_or_default(),
                    "loss": run.epochs.column("test_loss").unwrap_or_default(),
                    "settings": run.settings(),
                    "damage": run.damage,
                })
            })
            .collect();
        Ok(
            json!({ "root": self.root.display().to_string(), "latest": runs::latest(&self.root), "runs": rows }),
        )
    }

    /// The places of the test examples of one cell of the table.
    fn cell(&self, query: &Query) -> Result<Value, Refusal> {
        let run = Run::read(&self.run(query)?);
        let (truth, predicted) =
            (query.number("truth")?.unwrap_or_default(), query.number("predicted")?.unwrap_or_default());
        let from = query.number("from")?.unwrap_or_default();
        let found = run.evaluation.unwrap_or_default();
        let pairs = found.truth.iter().zip(&found.predicted).enumerate();
        let all: Vec<usize> = pairs
            .filter(|(_, (t, p))| (**t as usize, **p as usize) == (truth, predicted))
            .map(|(i, _)| i)
            .collect();
        let some: Vec<usize> = all.iter().copied().skip(from).take(PAGE).collect();
        Ok(json!({ "total": all.len(), "from": from, "indices": some }))
    }
}

/// Refuses what comes by another name than this machine's own, or from a page of another site.
fn guard(request: &Request<Body>) -> Result<(), Refusal> {
    let text = |name| request.headers().get(name).and_then(|v: &header::HeaderValue| v.to_str().ok());
    let host_of = |authority: &str| -> String {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        host.to_ascii_lowercase()
    };
    let own = |host: &str| ["127.0.0.1", "localhost", "::1"].contains(&host);
    let host = text(header::HOST).map(host_of).unwrap_or_default();
    let origin = text(header::ORIGIN).map(|o| host_of(o.trim_start_matches("http://")));
    let fetch = |what| text(header::HeaderName::from_static(what));
    let site = fetch("sec-fetch-site");
    // A link on another page may open the front page, which holds no data.
    let followed = request.uri().path() == "/" && fetch("sec-fetch-mode") == Some("navigate");
    if own(&host)
        && origin.is_none_or(|o| own(&o))
        && (followed || site.is_none_or(|s| ["same-origin", "none"].contains(&s)))
    {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::FORBIDDEN,
        "this page is for the machine it runs on: open http://127.0.0.1".into(),
    ))
}

fn unanswered(words: String) -> Refusal {
    Refusal(StatusCode::UNPROCESSABLE_ENTITY, words)
}

/// Everything about a run; of its steps those after `after`.
fn whole(run: &Run, after: Option<usize>) -> Value {
    let rows = |table: &Table, key: &str, after: f64| -> Value {
        let place = table.columns.iter().position(|c| c == key);
        let kept = table.rows.iter().filter(|row| place.is_none_or(|i| row[i] > after));
        let kept: Vec<&Vec<f64>> = kept.collect();
        let column = |i: usize| kept.iter().map(|row| row[i]).collect::<Vec<f64>>();
        let columns = table.columns.iter().enumerate().map(|(i, name)| (name.clone(), json!(column(i))));
        Value::Object(columns.collect())
    };
    let evaluation = run.evaluation.as_ref().map(|found| {
        let by_class: Vec<Value> = found
            .by_class()
            .iter()
            .map(|c| json!({ "examples": c.examples, "precision": c.precision, "recall": c.recall, "f1": c.f1 }))
            .collect();
        json!({
            "epoch": found.epoch,
            "classes": found.classes,
            "confusion": found.confusion,
            "by_class": by_class,
            "mistakes": found.mistakes,
            "listed": !found.predicted.is_empty(),
        })
    });
    json!({
        "name": run.name,
        "path": run.path.display().to_string(),
        "status": run.status(),
        "reason": run.text("reason"),
        "record": run.record,
        "settings": run.settings(),
        "epochs": rows(&run.epochs, "epoch", f64::NEG_INFINITY),
        "newest": run.steps.column("step").and_then(|all| all.last().copied()),
        "steps": rows(&run.steps, "step", after.map_or(f64::NEG_INFINITY, |n| n as f64)),
        "evaluation": evaluation,
        "model": run.model,
        "config": run.config,
        "log": run.log(12),
        "damage": run.damage,
    })
}

/// What stands behind the `?`.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Query(pairs.map(|(k, v)| (k.to_string(), decoded(v))).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn number(&self, key: &str) -> Result<Option<usize>, Refusal> {
        let parse =
            |v: &str| v.parse().map_err(|_| Refusal(StatusCode::BAD_REQUEST, format!("`{key}` is a number")));
        self.get(key).map(parse).transpose()
    }
}

/// `%C3%A4` → `ä`; what is no such code stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes
            .get(i + 1..i + 3)
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (bytes[i], code) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The line that brings the page to one's own screen, where the program was started over SSH: `connection` is
/// `SSH_CONNECTION`, which names both ends.
///
/// ```
/// use cotangent_board::serve::forwarding;
/// let line = forwarding(7878, Some("10.0.0.2 50000 10.0.0.9 22"), Some("ada")).unwrap();
/// assert_eq!(line, "ssh -L 7878:127.0.0.1:7878 ada@10.0.0.9");
/// assert_eq!(forwarding(7878, None, Some("ada")), None);
/// ```
#[must_use]
pub fn forwarding(port: u16, connection: Option<&str>, user: Option<&str>) -> Option<String> {
    let words: Vec<&str> = connection?.split_whitespace().collect();
    let [_, _, host, ssh] = words[..] else { return None };
    let user = user.map_or_else(String::new, |u| format!("{u}@"));
    let option = if ssh == "22" { String::new() } else { format!(" -p {ssh}") };
    Some(format!("ssh -L {port}:127.0.0.1:{port}{option} {user}{host}"))
}
