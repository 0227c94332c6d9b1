//! Where an epoch stands: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::Console;
use crate::numerals::{count, duration};

/// The longest silence where there is no bar.
const SILENCE: Duration = Duration::from_secs(30);
/// How often the bar's figures change.
const REDRAW: Duration = Duration::from_millis(100);

/// The progress of a run.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    epochs: u64,
    steps: u64,
    epoch: u64,
    /// Step of the epoch at which this process began it: not 0 in a resumed run.
    first: u64,
    done: u64,
    examples: u64,
    loss_sum: f64,
    began: Instant,
    shown: Instant,
    /// Wall-clock time and number of the whole epochs so far, evaluations included.
    whole: (Duration, u32),
}

impl Progress {
    /// For a run of `epochs` epochs with `steps` steps each.
    pub(crate) fn new(console: &Console, epochs: u64, steps: u64) -> Self {
        let bar = console.can_draw().then(|| {
            let style = ProgressStyle::with_template("  {prefix} {bar:26} {pos}/{len}  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr())
                .with_style(style.progress_chars("━╸─"))
        });
        Progress::with(bar, epochs, steps, Instant::now())
    }

    fn with(bar: Option<ProgressBar>, epochs: u64, steps: u64, now: Instant) -> Self {
        Progress {
            bar,
            epochs,
            steps,
            epoch: 0,
            first: 0,
            done: 0,
            examples: 0,
            loss_sum: 0.0,
            began: now,
            shown: now,
            whole: (Duration::ZERO, 0),
        }
    }

    /// An epoch begins, or goes on after its step `first`.
    pub(crate) fn begin(&mut self, console: &mut Console, epoch: u64, first: u64, now: Instant) {
        (self.epoch, self.first, self.done) = (epoch, first, first);
        (self.examples, self.loss_sum, self.began) = (0, 0.0, now);
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
            bar.set_position(first);
            bar.set_message("");
            console.attach(bar.clone());
        }
    }

    /// One more step is done, with the mean loss over its examples.
    pub(crate) fn step(&mut self, console: &mut Console, examples: u64, loss: f64, now: Instant) {
        self.done += 1;
        self.examples += examples;
        self.loss_sum += loss * examples as f64;
        let every = if self.bar.is_some() { REDRAW } else { SILENCE };
        if now.saturating_duration_since(self.shown) < every {
            return;
        }
        self.shown = now;
        let figures = self.figures(now);
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                bar.set_message(figures);
            }
            None => {
                let (epoch, epochs, done, steps) = (self.epoch, self.epochs, self.done, self.steps);
                console.say(&format!("  epoch {epoch}/{epochs}  step {done}/{steps}  {figures}"));
            }
        }
    }

    /// Something that has no steps of the epoch takes its time, such as `evaluating on 10,000 test images`.
    pub(crate) fn working(&mut self, console: &mut Console, on: &str, now: Instant) {
        match &self.bar {
            Some(bar) => bar.set_message(on.to_string()),
            None if now.saturating_duration_since(self.shown) >= SILENCE => {
                self.shown = now;
                console.say(&format!("  epoch {}/{}  {on}", self.epoch, self.epochs));
            }
            None => {}
        }
    }

    /// The epoch is over, its evaluation too; the bar disappears.
    pub(crate) fn finish(&mut self, console: &mut Console, now: Instant) {
        if self.first == 0 {
            self.whole.0 += now.saturating_duration_since(self.began);
            self.whole.1 += 1;
        }
        self.shown = now;
        self.clear(console);
    }

    /// Takes the bar away, whatever comes next.
    pub(crate) fn clear(&mut self, console: &mut Console) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        console.detach();
    }

    /// `9,800 img/s  loss 0.214  eta 2.0s (run 19s)`
    fn figures(&self, now: Instant) -> String {
        let spent = now.saturating_duration_since(self.began);
        let steps = (self.done - self.first).max(1);
        let per_step = spent.as_secs_f64() / steps as f64;
        let rate = if spent.is_zero() { 0.0 } else { self.examples as f64 / spent.as_secs_f64() };
        let left = seconds(per_step * self.steps.saturating_sub(self.done) as f64);
        let per_epoch = match self.whole {
            (_, 0) => seconds(per_step * self.steps as f64),
            (time, n) => time / n,
        };
        let run = seconds(
            left.as_secs_f64() + per_epoch.as_secs_f64() * self.epochs.saturating_sub(self.epoch) as f64,
        );
        let loss = self.loss_sum / self.examples.max(1) as f64;
        let rate = count(rate.round() as u64);
        format!("{rate} img/s  loss {loss:.3}  eta {} (run {})", duration(left), duration(run))
    }
}

/// A duration, or the longest there is.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_count_from_where_the_process_began() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut progress = Progress::with(None, 5, 100, start);
        let mut console = Console::silent();
        // The first epoch goes on after step 50: 10 steps of 64 in 2 s leave 40 steps.
        progress.begin(&mut console, 1, 50, start);
        for _ in 0..10 {
            progress.step(&mut console, 64, 0.25, at(1));
        }
        assert_eq!(progress.figures(at(2)), "320 img/s  loss 0.250  eta 8.0s (run 1m28s)");
        progress.finish(&mut console, at(10));
        // Half an epoch says nothing about a whole one; a whole one does, its evaluation included.
        assert_eq!(progress.whole.1, 0);
        progress.begin(&mut console, 2, 0, at(10));
        progress.finish(&mut console, at(40));
        progress.begin(&mut console, 3, 0, at(40));
        progress.step(&mut console, 64, 0.5, at(41));
        assert_eq!(progress.figures(at(41)), "64 img/s  loss 0.500  eta 1m39s (run 2m39s)");
    }

    #[test]
    fn without_a_bar_there_is_a_line_every_30_seconds() {
        let start = Instant::now();
        let (mut console, text) = Console::recorded();
        let mut progress = Progress::with(None, 2, 1000, start);
        progress.begin(&mut console, 1, 0, start);
        for second in 1..=95 {
            progress.step(&mut console, 64, 1.0, start + Duration::from_secs(second));
        }
        progress.working(&mut console, "evaluating", start + Duration::from_secs(130));
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "  epoch 1/2  step 30/1000  64 img/s  loss 1.000  eta 16m10s (run 32m50s)");
        assert_eq!(lines[3], "  epoch 1/2  evaluating");
        assert!(!text.contains(['\r', '\u{1b}']));
    }

    #[test]
    fn hours_and_stalls_do_not_overflow() {
        let start = Instant::now();
        let mut progress = Progress::with(None, u64::MAX, u64::MAX, start);
        progress.begin(&mut Console::silent(), 1, 0, start);
        assert!(progress.figures(start + Duration::from_secs(1 << 40)).contains("loss 0.000"));
    }
}
