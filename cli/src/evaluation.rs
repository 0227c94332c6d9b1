//! How good a network is on some examples: its loss, and which class was taken for which.

use cotangent::data::{Dataset, Loader};
use cotangent::nn::{Call, ParametersExt};
use cotangent::{DType, Device, Plan, Step, Tensor, attempt, no_grad};

use crate::data::{Examples, count};
use crate::diagnostic::Diagnostic;
use crate::model::Model;
use crate::numerals;

/// Examples in a step of an evaluation during training.
pub(crate) const CHUNK: usize = 1000;

/// What an evaluation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Evaluation {
    /// Mean loss over the examples.
    pub(crate) loss: f64,
    /// Row: the true class; column: the predicted one.
    pub(crate) confusion: Vec<Vec<u64>>,
    /// The true class of each example, in their order.
    pub(crate) truth: Vec<u32>,
    /// The predicted one.
    pub(crate) predicted: Vec<u32>,
}

/// A true class, another that was predicted, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confusion {
    /// The label.
    pub(crate) truth: usize,
    /// What was predicted.
    pub(crate) predicted: usize,
    /// How often.
    pub(crate) count: u64,
}

impl Evaluation {
    /// How many examples were looked at.
    pub(crate) fn examples(&self) -> u64 {
        self.confusion.iter().flatten().sum()
    }

    /// How many of them were classified rightly.
    pub(crate) fn correct(&self) -> u64 {
        (0..self.confusion.len()).map(|c| self.confusion[c][c]).sum()
    }

    /// The share of them that was classified rightly.
    pub(crate) fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.examples() as f64
    }

    /// The mean over the classes of 2PR/(P + R), of precision P and recall R; classes that are neither there nor
    /// predicted do not count.
    pub(crate) fn macro_f1(&self) -> f64 {
        let of_class = |c: usize| {
            let (there, taken) = (self.confusion[c].iter().sum::<u64>(), self.taken(c));
            (there + taken > 0).then(|| 2.0 * self.confusion[c][c] as f64 / (there + taken) as f64)
        };
        mean((0..self.confusion.len()).filter_map(of_class))
    }

    /// The mean of the classes' recalls; classes without an example do not count.
    pub(crate) fn balanced_accuracy(&self) -> f64 {
        let of_class = |c: usize| {
            let there = self.confusion[c].iter().sum::<u64>();
            (there > 0).then(|| self.confusion[c][c] as f64 / there as f64)
        };
        mean((0..self.confusion.len()).filter_map(of_class))
    }

    /// How many were taken for this class.
    fn taken(&self, class: usize) -> u64 {
        self.confusion.iter().map(|row| row[class]).sum()
    }

    /// The mistakes that were made most often.
    pub(crate) fn hardest(&self, most: usize) -> Vec<Confusion> {
        let cells = self.confusion.iter().enumerate().flat_map(|(truth, row)| {
            let cells = row.iter().enumerate();
            cells.map(move |(predicted, count)| Confusion { truth, predicted, count: *count })
        });
        let mut wrong: Vec<Confusion> = cells.filter(|c| c.truth != c.predicted && c.count > 0).collect();
        // Stable: of equal counts the lower class comes first.
        wrong.sort_by_key(|c| std::cmp::Reverse(c.count));
        wrong.truncate(most);
        wrong
    }

    /// `hardest: 9→4 (11), 7→2 (9)`, or nothing where nothing was wrong.
    pub(crate) fn hardest_line(&self, classes: &[String]) -> Option<String> {
        let words: Vec<String> = self
            .hardest(3)
            .iter()
            .map(|c| format!("{}→{} ({})", classes[c.truth], classes[c.predicted], numerals::count(c.count)))
            .collect();
        (!words.is_empty()).then(|| format!("hardest: {}", words.join(", ")))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), x| (sum + x, n + 1.0));
    sum / n
}

/// Evaluates networks; what it learns about their shapes is kept for the next time.
pub(crate) struct Evaluator {
    model: Model,
    device: Device,
    step: Step<2, (Tensor, Tensor)>,
}

impl Evaluator {
    /// Of this network, whose weights may change meanwhile.
    pub(crate) fn new(model: &Model, device: &Device) -> Self {
        let network = model.clone();
        let step = Step::record(move |[x, y]: [Tensor; 2]| {
            no_grad(|| {
                let logits = network.call(&x);
                (logits.cross_entropy(&y), logits.argmax(1).cast(DType::I64))
            })
        });
        Evaluator { model: model.clone(), device: device.clone(), step }
    }

    /// Looks at all examples, `chunk` at once; `None` when `stop` says so meanwhile.
    pub(crate) fn run(
        &mut self,
        examples: &Examples,
        classes: usize,
        chunk: usize,
        stop: impl Fn() -> bool,
    ) -> Result<Option<Evaluation>, Diagnostic> {
        self.model.eval();
        let found = self.look(examples, classes, chunk, stop);
        self.model.train();
        found
    }

    /// How the step is done for such images and labels.
    pub(crate) fn plan(&mut self, x: &Tensor, y: &Tensor) -> Result<Plan, Diagnostic> {
        self.model.eval();
        let plan = attempt(|| self.step.plan([x, y]));
        self.model.train();
        Ok(plan?)
    }

    fn look(
        &mut self,
        examples: &Examples,
        classes: usize,
        chunk: usize,
        stop: impl Fn() -> bool,
    ) -> Result<Option<Evaluation>, Diagnostic> {
        let mut found = Evaluation {
            loss: 0.0,
            confusion: vec![vec![0; classes]; classes],
            truth: Vec::with_capacity(count(examples)),
            predicted: Vec::with_capacity(count(examples)),
        };
        let mut loss_sum = 0.0;
        for batch in Loader::new(examples.clone(), chunk.min(count(examples)).max(1)).epoch(0)? {
            if stop() {
                return Ok(None);
            }
            let [x, y] = batch?.into_array();
            let (there, labels) = (x.to(&self.device), y.to(&self.device));
            let (loss, predicted) = attempt(|| self.step.run([&there, &labels])).flatten()?;
            let (truth, predicted) = (y.try_to_vec::<i64>()?, predicted.try_to_vec::<i64>()?);
            loss_sum += loss.item() * truth.len() as f64;
            for (truth, predicted) in truth.into_iter().zip(predicted) {
                found.confusion[truth as usize][predicted as usize] += 1;
                found.truth.push(truth as u32);
                found.predicted.push(predicted as u32);
            }
        }
        found.loss = loss_sum / examples.len().unwrap_or_default() as f64;
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_count_as_much_in_the_means() {
        // scikit-learn: f1_score(average="macro") and balanced_accuracy_score of 8 a's, 1 b taken for an a, no c.
        let confusion = vec![vec![8, 0, 0], vec![1, 1, 0], vec![0, 0, 0]];
        let found = Evaluation { loss: 0.0, confusion, ..Evaluation::default() };
        let f1 = (16.0 / 17.0 + 2.0 / 3.0) / 2.0;
        assert!((found.macro_f1() - f1).abs() < 1e-12);
        assert!((found.balanced_accuracy() - 0.75).abs() < 1e-12);
    }

    #[test]
    fn figures_follow_from_the_table() {
        let confusion = vec![vec![5, 1, 2], vec![0, 7, 0], vec![2, 3, 0]];
        let found = Evaluation { confusion, ..Evaluation::default() };
        assert_eq!((found.examples(), found.correct()), (20, 12));
        assert_eq!(found.accuracy(), 0.6);
        let classes = ["a", "b", "c"].map(String::from);
        assert_eq!(found.hardest_line(&classes).unwrap(), "hardest: c→b (3), a→c (2), c→a (2)");
        let perfect = Evaluation { confusion: vec![vec![1]], ..Evaluation::default() };
        assert_eq!(perfect.hardest_line(&classes), None);
    }
}
