//! Which epoch was the best, and when to give up waiting for a better one.

use crate::checkpoint::Best;

/// What an epoch's validation loss means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The best so far: keep its weights.
    Better,
    /// Not the best, and there is still time.
    Wait,
    /// Not the best for as many epochs as the patience allows.
    GiveUp,
}

/// Watches a validation figure; never the test figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Patience {
    /// Epochs to wait; 0 is for ever.
    pub(crate) limit: u64,
    /// The best epoch so far.
    pub(crate) best: Option<Best>,
    /// Epochs since then.
    pub(crate) waited: u64,
}

impl Patience {
    /// Looks at an epoch: its loss, and where another figure decides, that one. A figure that is not a number is never
    /// better.
    pub(crate) fn look(&mut self, epoch: u64, val_loss: f64, score: Option<f64>) -> Verdict {
        let (is_better, is_number) = match score {
            None => (self.best.is_none_or(|best| val_loss < best.val_loss), val_loss.is_finite()),
            Some(score) => {
                // Of equal figures the lower loss is better.
                let better = |best: Best| {
                    let before = best.score.unwrap_or(f64::NEG_INFINITY);
                    score > before || (score == before && val_loss < best.val_loss)
                };
                (self.best.is_none_or(better), score.is_finite())
            }
        };
        if is_better && is_number {
            (self.best, self.waited) = (Some(Best { epoch, val_loss, score }), 0);
            return Verdict::Better;
        }
        self.waited += 1;
        if self.limit > 0 && self.waited >= self.limit { Verdict::GiveUp } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::*;
    use super::*;

    fn verdicts(limit: u64, losses: &[f64]) -> Vec<Verdict> {
        let mut patience = Patience { limit, best: None, waited: 0 };
        losses.iter().zip(1..).map(|(loss, epoch)| patience.look(epoch, *loss, None)).collect()
    }

    #[test]
    fn waiting_starts_anew_with_every_better_epoch() {
        let losses = [0.5, 0.6, 0.4, 0.4, 0.45, 0.3, f64::NAN, 0.3];
        assert_eq!(verdicts(2, &losses), [Better, Wait, Better, Wait, GiveUp, Better, Wait, GiveUp]);
    }

    #[test]
    fn another_figure_may_decide_and_higher_is_better() {
        let mut patience = Patience { limit: 2, best: None, waited: 0 };
        let scores = [0.5, 0.5, 0.6, f64::NAN, 0.6];
        let verdicts: Vec<_> = scores.iter().zip(1..).map(|(s, e)| patience.look(e, 1.0, Some(*s))).collect();
        assert_eq!(verdicts, [Better, Wait, Better, Wait, GiveUp]);
        assert_eq!(patience.look(6, 0.9, Some(0.6)), Better);
    }

    #[test]
    fn without_a_limit_it_waits_for_ever() {
        assert_eq!(verdicts(0, &[0.1, 0.2, 0.2, 0.2, f64::NAN]), [Better, Wait, Wait, Wait, Wait]);
    }
}
