//! Ctrl-C and SIGTERM: the first asks for a clean stop, the second ends the program at once.
//!
//! `signal-hook` rather than `ctrlc`, because the exit code (130 or 143) depends on which signal it was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::diagnostic::Exit;

/// Whether somebody asked the program to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// From now on the first signal is remembered, and the second ends the program with its exit code.
    pub(crate) fn install() -> io::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let armed = Arc::new(AtomicBool::new(false));
        for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
            // In this order: the shutdown must see the flag as the signals before left it.
            flag::register_conditional_shutdown(signal, exit.code().into(), armed.clone())?;
            flag::register(signal, armed.clone())?;
            flag::register_usize(signal, received.clone(), exit.code().into())?;
        }
        Ok(Signals { received })
    }

    /// How to end, if a signal has come.
    pub(crate) fn received(&self) -> Option<Exit> {
        let code = self.received.load(Ordering::SeqCst);
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
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.received(), Some(Exit::Terminated));
    }
}
