//! Over the network: into a file aside that a broken connection leaves and the next try goes on with, checked, and only
//! then moved to its name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};
use std::time::Duration;

use flate2::read::GzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig};

use super::{Public, Wish};
use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::numerals;
use crate::shell;

/// Bytes of a file of another origin at most.
const MOST: u64 = 1 << 30;
/// Bytes of all that an archive holds at most.
const MOST_UNPACKED: u64 = 1 << 30;
/// How long a server may think.
const PATIENCE: Duration = Duration::from_secs(60);

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Diagnostic {
    move |error| Diagnostic::io(Exit::Failure, doing, path, &error)
}

/// Brings what is not there yet.
pub(super) fn brought(
    public: &Public,
    wish: &Wish<'_>,
    folder: &Path,
    console: &mut Console,
) -> Result<(), Diagnostic> {
    let from = wish.url.unwrap_or(public.from).trim_end_matches('/');
    if !["http://", "https://"].iter().any(|scheme| from.starts_with(scheme)) {
        let title = format!("`{from}` is no address of the web");
        return Err(Diagnostic::new(Exit::Usage, title).help("it begins with https:// or http://"));
    }
    let target = public.inside.map_or_else(|| folder.to_path_buf(), |(inside, _)| folder.join(inside));
    let names: Vec<&str> = match public.inside {
        Some((_, files)) => files.to_vec(),
        None => public.files.iter().map(|f| f.name).collect(),
    };
    let whole = names.iter().all(|name| target.join(name).is_file());
    if !whole {
        console.say(&format!("{}: {}", public.name, public.about));
        fs::create_dir_all(folder).map_err(failed("cannot make", folder))?;
        let agent = agent();
        for file in public.files {
            let path = folder.join(file.name);
            let expected = wish.sha256.unwrap_or(file.sha256).to_lowercase();
            // Of another origin the length is not known.
            let length = wish.sha256.is_none().then_some(file.bytes);
            if path.is_file() && checksum(&path)? == expected {
                continue;
            }
            one(&agent, &format!("{from}/{}", file.name), &path, length, &expected, console)?;
        }
        if let Some((inside, files)) = public.inside {
            unpack(&folder.join(public.files[0].name), folder, inside, files)?;
            remove(&folder.join(public.files[0].name));
        }
    }
    let bytes: u64 = names.iter().filter_map(|name| Some(target.join(name).metadata().ok()?.len())).sum();
    if console.json() {
        let data = format!("{}:{}", public.kind, target.display());
        return console.print_json(&json!({
            "name": public.name, "folder": target, "data": data, "bytes": bytes, "was_there": whole,
        }));
    }
    console.print(&target.display().to_string())?;
    if whole {
        console.say("  it was there already");
    }
    console.say(&format!("  next: cotangent train --data {}:{}", public.kind, shell::word(&target)));
    Ok(())
}

/// Proxies are those of the environment, certificates those of the system: a company's own are among them.
fn agent() -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        .user_agent(concat!("cotangent/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

fn unreachable(url: &str, error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new(Exit::Failure, format!("cannot fetch {url}: {error}"))
        .help("is there a network? A proxy is taken from HTTPS_PROXY or ALL_PROXY")
        .help("`--url URL` names another folder of the web with the same files")
}

/// One file.
fn one(
    agent: &Agent,
    url: &str,
    path: &Path,
    length: Option<u64>,
    expected: &str,
    console: &mut Console,
) -> Result<(), Diagnostic> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let refused = || failed("cannot write", part);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part);
    let file = file.as_mut().map_err(|e| Diagnostic::io(Exit::Failure, "cannot write", part, e))?;
    file.try_lock().map_err(|_| {
        Diagnostic::new(Exit::Failure, format!("{} is being fetched by another process", part.display()))
            .help("wait until it is done")
    })?;
    let most = length.unwrap_or(MOST);
    let mut there = file.metadata().map_err(refused())?.len();
    if there > most {
        file.set_len(0).map_err(refused())?;
        there = 0;
    }
    if length != Some(there) {
        let mut request = agent.get(url);
        if there > 0 {
            request = request.header("Range", format!("bytes={there}-"));
        }
        let mut response = request.call().map_err(|e| unreachable(url, e))?;
        let status = response.status();
        let begins = response.headers().get("content-range").and_then(|v| v.to_str().ok());
        let goes_on = status == StatusCode::PARTIAL_CONTENT
            && begins.is_some_and(|v| v.starts_with(&format!("bytes {there}-")));
        // What was there may be whole, of a length that nobody knew.
        let nothing_more = status == StatusCode::RANGE_NOT_SATISFIABLE && there > 0;
        if !goes_on && status != StatusCode::OK && !nothing_more {
            return Err(unreachable(url, format!("the server answers {status}")));
        }
        if !nothing_more {
            if !goes_on {
                file.set_len(0).map_err(refused())?;
                there = 0;
            }
            file.seek(SeekFrom::Start(there)).map_err(refused())?;
            let bar = bar(console, length.unwrap_or(0), there);
            let mut body = response.body_mut().as_reader();
            let mut block = vec![0; 1 << 16];
            loop {
                let n = body.read(&mut block).map_err(|e| {
                    Diagnostic::new(Exit::Failure, format!("{url} broke off after {there} bytes: {e}"))
                        .help("run the same command again: it goes on from there")
                })?;
                if n == 0 {
                    break;
                }
                there += n as u64;
                if there > most {
                    remove(part);
                    let title = format!("{url} is longer than the {most} bytes that are expected");
                    return Err(Diagnostic::new(Exit::Data, title).help("is it the right address?"));
                }
                file.write_all(&block[..n]).map_err(refused())?;
                bar.set_position(there);
            }
            bar.finish_and_clear();
        }
        if length.is_some_and(|length| there < length) {
            let title = format!("{url} broke off after {there} of {} bytes", length.unwrap_or(0));
            let help = "run the same command again: it goes on from there";
            return Err(Diagnostic::new(Exit::Failure, title).help(help));
        }
        file.sync_all().map_err(refused())?;
    }
    let found = checksum(part)?;
    if found != expected {
        remove(part);
        let title = format!("{url} is not the file that was published");
        return Err(Diagnostic::new(Exit::Data, title)
            .note(format!("SHA-256 {found}\nexpected {expected}"))
            .help("nothing of it was kept; try again, or another `--url`"));
    }
    fs::rename(part, path).map_err(failed("cannot write", path))?;
    console.say(&format!("  {}, {}, SHA-256 as published", url, numerals::bytes(there)));
    Ok(())
}

fn bar(console: &Console, length: u64, there: u64) -> ProgressBar {
    if !console.can_draw() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {bar:26} {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr()).with_style(style);
    bar.with_position(there)
}

/// A file that is left over is no harm.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn checksum(path: &Path) -> Result<String, Diagnostic> {
    let mut file = File::open(path).map_err(failed("cannot read", path))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut block).map_err(failed("cannot read", path))?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes `inside/file` for each of `files` out of an archive into a folder aside, which then gets its name. Nothing else
/// is written, whatever the archive names.
fn unpack(archive: &Path, folder: &Path, inside: &str, files: &[&str]) -> Result<(), Diagnostic> {
    let bad = |what: String| {
        remove(archive);
        let title = format!("{} {what}", archive.display());
        Diagnostic::new(Exit::Data, title)
            .help("nothing of it was kept; fetch it again, or from another `--url`")
    };
    let aside = folder.join(format!(".{inside}-{}", std::process::id()));
    let clean = |found: Diagnostic| {
        let _ = fs::remove_dir_all(&aside);
        found
    };
    fs::create_dir_all(&aside).map_err(failed("cannot make", &aside))?;
    let read = || -> Result<usize, Diagnostic> {
        let file = File::open(archive).map_err(failed("cannot read", archive))?;
        let whole = GzDecoder::new(io::BufReader::new(file)).take(MOST_UNPACKED);
        let mut tar = tar::Archive::new(whole);
        let damaged = |e: io::Error| bad(format!("is no whole archive: {e}"));
        let mut taken = 0;
        for entry in tar.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let path = entry.path().map_err(damaged)?.into_owned();
            let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
            if !path.components().all(plain) {
                return Err(bad(format!("holds `{}`, which leads out of its folder", path.display())));
            }
            let Some(name) = files.iter().find(|name| path == Path::new(inside).join(name)) else { continue };
            if !entry.header().entry_type().is_file() {
                return Err(bad(format!("holds `{}`, which is no file", path.display())));
            }
            let to = aside.join(name);
            let mut out = File::create(&to).map_err(failed("cannot write", &to))?;
            let mut block = vec![0; 1 << 16];
            loop {
                let n = entry.read(&mut block).map_err(damaged)?;
                if n == 0 {
                    break;
                }
                out.write_all(&block[..n]).map_err(failed("cannot write", &to))?;
            }
            taken += 1;
        }
        Ok(taken)
    };
    let taken = read().map_err(clean)?;
    if !files.iter().all(|name| aside.join(name).is_file()) {
        return Err(clean(bad(format!("holds {taken} of the {} files that are needed", files.len()))));
    }
    let to = folder.join(inside);
    // What is there is not whole, or it would not have been fetched.
    if to.is_dir() {
        fs::remove_dir_all(&to).map_err(failed("cannot replace", &to))?;
    }
    fs::rename(&aside, &to).map_err(failed("cannot write", &to)).map_err(clean)
}
