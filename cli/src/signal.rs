//! Ctrl-C, SIGTERM and a closed terminal: the first asks for a clean stop, the second ends the program at once.
//!
//! `signal-hook` rather than `ctrlc`, because the exit code (130 or 143) depends on which signal it was.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator;

use crate::diagnostic::Exit;

/// Signals this close together are one request: `timeout` and batch systems send each to the process and its group.
const ECHO: Duration = Duration::from_millis(250);

/// What is remembered where the time is up; no signal's exit code.
const EXPIRED: usize = 1000;

/// Rust aborts where a small allocation fails, after it has said `memory allocation of N bytes failed`. From now on
/// such an end has the exit code of memory that has no room.
pub(crate) fn no_memory_is_exit_5() {
    let always = Arc::new(AtomicBool::new(true));
    // Without it the end is an abort, as it would be anyhow.
    let _ = signal_hook::flag::register_conditional_shutdown(SIGABRT, Exit::Device.code().into(), always);
}

/// Whether somebody asked the program to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

/// Was the program started with `nohup`, so that it outlives its terminal?
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

impl Signals {
    /// From now on the first signal is remembered, and the second ends the program with its exit code.
    pub(crate) fn install() -> io::Result<Self> {
        let signals = Signals::default();
        let received = signals.received.clone();
        let mut arrivals = iterator::Signals::new([SIGINT, SIGTERM])?;
        if !hangup_is_ignored() {
            arrivals.add_signal(SIGHUP)?;
        }
        let listen = move || {
            let mut first: Option<Instant> = None;
            for signal in arrivals.forever() {
                let exit = if signal == SIGINT { Exit::Interrupted } else { Exit::Terminated };
                match first {
                    None => {
                        first = Some(Instant::now());
                        received.store(exit.code().into(), Ordering::SeqCst);
                    }
                    Some(first) if first.elapsed() < ECHO => {}
                    Some(_) => process::exit(exit.code().into()),
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen)?;
        Ok(signals)
    }

    /// From now on there is so much time, after which it is as if a signal came whose exit is a success.
    pub(crate) fn expire(&self, after: Duration) -> io::Result<()> {
        let received = self.received.clone();
        let wait = move || {
            std::thread::sleep(after);
            // A signal that came before says how to end.
            let _ = received.compare_exchange(0, EXPIRED, Ordering::SeqCst, Ordering::SeqCst);
        };
        std::thread::Builder::new().name("time".into()).spawn(wait).map(drop)
    }

    /// How to end, if a signal has come.
    pub(crate) fn received(&self) -> Option<Exit> {
        let code = self.received.load(Ordering::SeqCst);
        if code == EXPIRED {
            return Some(Exit::Success);
        }
        [Exit::Interrupted, Exit::Terminated].into_iter().find(|exit| usize::from(exit.code()) == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_is_remembered_with_its_code() {
        let signals = Signals::install().unwrap();
        assert_eq!(signals.received(), None);
        // The second comes too soon to be meant as one of its own.
        signal_hook::low_level::raise(SIGTERM).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let began = Instant::now();
        while signals.received().is_none() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(signals.received(), Some(Exit::Terminated));
    }
}
