//! What a run tells machines: JSON Lines, one object an event, each with its schema version `v`.
//!
//! A figure that is not finite is `null`; a figure that does not exist (no validation split) is absent.
//! Fields may be added within a version; one that changes its meaning makes a new version.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// The version of the schema below.
pub(crate) const VERSION: u32 = 1;

/// One line of the stream.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Event<'a> {
    /// Before the first step.
    RunStart(RunStart<'a>),
    /// After each pass over the training examples, with its evaluation.
    Epoch(Figures),
    /// After every so many steps, as `log.every` says.
    Step(Stride),
    /// A checkpoint is complete on the disk.
    Checkpoint(Saved<'a>),
    /// The last line of every run that started, whatever ended it.
    RunEnd(RunEnd<'a>),
}

/// What is about to be trained, where and with what.
#[derive(Debug, Serialize)]
pub(crate) struct RunStart<'a> {
    /// Version of the program.
    pub(crate) version: &'a str,
    /// The run folder.
    pub(crate) run: &'a Path,
    /// Name of the model.
    pub(crate) model: &'a str,
    /// Trainable numbers in it.
    pub(crate) parameters: usize,
    /// Name of the data set.
    pub(crate) data: &'a str,
    /// Examples that are fitted.
    pub(crate) train_examples: usize,
    /// Examples that are held out of the training set.
    pub(crate) val_examples: usize,
    /// Examples that are only shown.
    pub(crate) test_examples: usize,
    /// The device's name.
    pub(crate) device: &'a str,
    /// Worker threads.
    pub(crate) threads: usize,
    /// The instruction set of the kernels.
    pub(crate) isa: &'a str,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// Epochs in all.
    pub(crate) epochs: u64,
    /// Steps in an epoch.
    pub(crate) steps_per_epoch: u64,
    /// The step after which a resumed run goes on; 0 for a new one.
    pub(crate) resumed_at_step: u64,
    /// The merged configuration.
    pub(crate) config: &'a serde_json::Value,
}

/// The figures of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// 1, 2, 3, …
    pub(crate) epoch: u64,
    /// Optimiser steps since the run began.
    pub(crate) step: u64,
    /// The learning rate of the epoch's last step.
    pub(crate) lr: f64,
    /// Seconds spent on training steps, evaluation not counted.
    pub(crate) train_seconds: f64,
    /// Mean loss over the examples, each at the time of its step.
    pub(crate) train_loss: f64,
    /// Share of them classified rightly, likewise.
    pub(crate) train_acc: f64,
    /// Mean loss on the held-out examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val_loss: Option<f64>,
    /// Accuracy on the held-out examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val_acc: Option<f64>,
    /// Mean of the classes' F1 on the held-out examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val_macro_f1: Option<f64>,
    /// Mean of the classes' recalls on the held-out examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) val_balanced_acc: Option<f64>,
    /// Mean loss on the test examples: shown, never used.
    pub(crate) test_loss: f64,
    /// Accuracy on the test examples: shown, never used.
    pub(crate) test_acc: f64,
    /// Mean of the classes' F1 on the test examples: shown, never used.
    pub(crate) test_macro_f1: f64,
    /// Mean of the classes' recalls on the test examples: shown, never used.
    pub(crate) test_balanced_acc: f64,
}

/// The figures of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Stride {
    /// Steps since the run began, this one included.
    pub(crate) step: u64,
    /// 1, 2, 3, …
    pub(crate) epoch: u64,
    /// The learning rate.
    pub(crate) lr: f64,
    /// Mean loss over the examples of the step.
    pub(crate) loss: f64,
    /// Share of them classified rightly.
    pub(crate) acc: f64,
    /// Training examples a second since the last such event.
    pub(crate) examples_per_second: f64,
}

/// A checkpoint that was written.
#[derive(Debug, Serialize)]
pub(crate) struct Saved<'a> {
    /// `last` or `best`.
    pub(crate) kind: &'a str,
    /// The file.
    pub(crate) path: &'a Path,
    /// Complete epochs in it.
    pub(crate) epoch: u64,
    /// Optimiser steps in it.
    pub(crate) step: u64,
}

/// How the run ended.
#[derive(Debug, Serialize)]
pub(crate) struct RunEnd<'a> {
    /// See [`Status`].
    pub(crate) status: Status,
    /// The program's exit code.
    pub(crate) exit_code: u8,
    /// Complete epochs.
    pub(crate) epochs: u64,
    /// Optimiser steps.
    pub(crate) step: u64,
    /// Wall-clock seconds of this process.
    pub(crate) seconds: f64,
    /// Accuracy of the last evaluation on the test examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test_acc: Option<f64>,
    /// Loss of the last evaluation on the test examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test_loss: Option<f64>,
    /// SHA-256 of the final weights: equal weights, equal fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<&'a str>,
    /// What went wrong, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It goes on, or its process died without a word.
    Running,
    /// All epochs are done.
    Finished,
    /// Patience ran out.
    StoppedEarly,
    /// Ctrl-C or SIGTERM; saved.
    Interrupted,
    /// A loss was not finite.
    Diverged,
    /// Anything else.
    Failed,
    /// Its weights are another program's; nothing is trained yet.
    Imported,
}

/// Writes events to a stream until nobody reads it any more.
pub(crate) struct Events {
    out: Option<Box<dyn Write + Send>>,
}

impl Events {
    /// Events go to `out`, or nowhere.
    pub(crate) fn new(out: Option<Box<dyn Write + Send>>) -> Self {
        Events { out }
    }

    /// Write one line, at once. A reader that went away ends the stream silently; any other error ends it too
    /// and is returned once: a run must not die of its listeners.
    pub(crate) fn emit(&mut self, event: &Event<'_>) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let result = line(event).and_then(|line| out.write_all(line.as_bytes())).and_then(|()| out.flush());
        match result {
            Ok(()) => Ok(()),
            Err(error) => {
                self.out = None;
                if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// The event's line, with its newline.
fn line(event: &Event<'_>) -> io::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        event: &'static str,
        v: u32,
        #[serde(flatten)]
        body: &'a Event<'a>,
    }
    let name = match event {
        Event::RunStart(_) => "run_start",
        Event::Epoch(_) => "epoch",
        Event::Step(_) => "step",
        Event::Checkpoint(_) => "checkpoint",
        Event::RunEnd(_) => "run_end",
    };
    let mut text = serde_json::to_string(&Line { event: name, v: VERSION, body: event })?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A pipe that breaks after a number of writes.
    struct Pipe {
        seen: Arc<Mutex<Vec<u8>>>,
        left: usize,
        error: io::ErrorKind,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(self.error.into());
            }
            self.left -= 1;
            self.seen.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn epoch() -> Event<'static> {
        Event::Epoch(Figures { epoch: 3, step: 2814, lr: 0.05, train_loss: f64::NAN, ..Figures::default() })
    }

    #[test]
    fn an_epoch_is_one_line_of_json() {
        let text = line(&epoch()).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["event"], "epoch");
        assert_eq!(value["v"], 1);
        assert_eq!(value["epoch"], 3);
        assert!(value["train_loss"].is_null());
        assert!(value.get("val_loss").is_none());
        for key in ["train_seconds", "test_loss", "test_acc", "lr", "step", "train_acc"] {
            assert!(value[key].is_number(), "{key}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let pipe = |error| Pipe { seen: seen.clone(), left: 1, error };
        let mut events = Events::new(Some(Box::new(pipe(io::ErrorKind::BrokenPipe))));
        for _ in 0..3 {
            events.emit(&epoch()).unwrap();
        }
        assert_eq!(seen.lock().unwrap().iter().filter(|b| **b == b'\n').count(), 1);
        let mut events = Events::new(Some(Box::new(pipe(io::ErrorKind::StorageFull))));
        events.emit(&epoch()).unwrap();
        assert!(events.emit(&epoch()).is_err());
        events.emit(&epoch()).unwrap();
    }
}
