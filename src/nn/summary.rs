//! What a network is made of: output sizes, parameters, work, memory; computed, nothing is run.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use super::{Call, Module, ParametersExt};
use crate::{
    Cost, Error, Observer, Op, Origin, Pass, Result, Shape, Spec, Tensor, no_grad, observe, step::shapes,
};

/// The layers of a network for one input (rows D3, G8, C19).
///
/// ```
/// use cotangent::{models::LeNet5, nn::Summary, Rng, Spec, Tensor};
/// let s = Summary::of(&LeNet5::new(&Rng::new(0)), &Tensor::zeros([64, 1, 28, 28]).spec())?;
/// assert_eq!((s.parameters, s.macs), (61_706, 416_520));
/// assert_eq!(s.rows[0].output[..], [64, 6, 28, 28]);
/// println!("{s}");
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Summary {
    /// One an innermost module, in the order they are called.
    pub rows: Vec<Row>,
    /// Trainable numbers, shared ones counted once.
    pub parameters: usize,
    /// Multiply-adds of one example.
    pub macs: u64,
    /// Bytes kept for the way back, for the whole batch, when every parameter is trained.
    pub saved: u64,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its path, such as `conv1`.
    pub path: String,
    /// What it is: `Conv2d 1→6 5×5 p2`.
    pub layer: String,
    /// The shape of its output.
    pub output: Shape,
    /// Its own trainable numbers.
    pub parameters: usize,
    /// Multiply-adds of one example.
    pub macs: u64,
    /// Bytes kept for the way back, for the whole batch.
    pub saved: u64,
}

#[derive(Default)]
struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    modules: Vec<(String, String, Shape)>,
    work: Vec<(String, Cost)>,
}

impl Observer for Watch {
    fn operation(&self, op: &dyn Op, inputs: &[Tensor], outputs: &[Tensor], origin: &Origin) -> Result<()> {
        if origin.pass == Pass::Forward {
            let specs = |t: &[Tensor]| t.iter().map(Tensor::spec).collect::<Vec<Spec>>();
            let cost = op.cost(&specs(inputs), &specs(outputs));
            self.0.lock().unwrap_or_else(|e| e.into_inner()).work.push((origin.path.to_string(), cost));
        }
        Ok(())
    }
    fn module(&self, path: &str, describe: &str, _: &Tensor, output: &Tensor) {
        let row = (path.to_string(), describe.to_string(), *output.shape());
        self.0.lock().unwrap_or_else(|e| e.into_inner()).modules.push(row);
    }
}

impl Summary {
    /// Of a network for an input of this kind; the first axis is the batch.
    ///
    /// # Errors
    /// When the network does not take such an input: the layer and what clashes.
    pub fn of<M: Module + ?Sized>(model: &M, input: &Spec) -> Result<Summary> {
        let watch = Arc::new(Watch::default());
        let batch = input.shape.first().copied().unwrap_or(1).max(1) as u64;
        shapes(|| observe(watch.clone(), || no_grad(|| drop(model.call(&Tensor::constant(input, 0))))))?;
        let seen =
            std::mem::take(&mut *watch.0.lock().map_err(|_| Error::other("the walk was interrupted"))?);
        let parameters = model.parameters();
        let below =
            |path: &str, name: &str| path.is_empty() || name == path || name.starts_with(&format!("{path}."));
        // A module that calls others is shown through them.
        let innermost = |path: &str| !seen.modules.iter().any(|(p, ..)| p != path && below(path, p));
        let total = |path: &str, f: fn(&Cost) -> u64| -> u64 {
            seen.work.iter().filter(|(p, _)| p == path).map(|(_, c)| f(c)).sum()
        };
        let own = |path: &str| -> usize {
            let mine = parameters.iter().filter(|(name, _)| below(path, name));
            mine.map(|(_, p)| p.spec().shape.len()).sum()
        };
        let mut rows: Vec<Row> = Vec::new();
        for (path, layer, output) in seen.modules.iter().filter(|(p, ..)| innermost(p)) {
            // A layer that is called twice is one row.
            if !rows.iter().any(|r| r.path == *path) {
                rows.push(Row {
                    path: path.clone(),
                    layer: layer.clone(),
                    output: *output,
                    parameters: own(path),
                    macs: total(path, |c| c.multiplications) / batch,
                    saved: total(path, |c| c.saved),
                });
            }
        }
        Ok(Summary {
            macs: rows.iter().map(|r| r.macs).sum(),
            saved: seen.work.iter().map(|(_, c)| c.saved).sum(),
            parameters: model.parameter_count(),
            rows,
        })
    }
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|c| std::str::from_utf8(c).ok()).collect();
    groups.join(",")
}

fn short(n: u64, base: f64, units: [&str; 4]) -> String {
    let (mut x, mut u) = (n as f64, 0);
    while x >= base && u < 3 {
        (x, u) = (x / base, u + 1);
    }
    if u == 0 { format!("{n}{}", units[0]) } else { format!("{x:.1}{}", units[u]) }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |n: usize, s: String| if n == 0 { "–".to_string() } else { s };
        let names = self.rows.iter().map(|r| r.path.chars().count()).max().unwrap_or(0);
        let cells = |r: &Row| -> [String; 5] {
            [
                format!("{:<names$}  {}", r.path, r.layer),
                format!("{:?}", r.output),
                some(r.parameters, thousands(r.parameters)),
                some(r.macs as usize, short(r.macs, 1e3, ["", "k", "M", "G"])),
                some(r.saved as usize, short(r.saved, 1024.0, ["B", "kB", "MB", "GB"])),
            ]
        };
        let head = ["Layer", "Output", "Params", "MACs", "Stored"].map(String::from);
        let macs = short(self.macs, 1e3, ["", "k", "M", "G"]);
        let saved = short(self.saved, 1024.0, ["B", "kB", "MB", "GB"]);
        let total = ["total".into(), String::new(), thousands(self.parameters), macs, saved];
        let rows: Vec<[String; 5]> =
            [head].into_iter().chain(self.rows.iter().map(cells)).chain([total]).collect();
        let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
        for (i, r) in rows.iter().enumerate() {
            let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
            let line = format!("  {:<a$}  {:<b$}  {:>c$}  {:>d$}  {:>e$}", r[0], r[1], r[2], r[3], r[4]);
            let end = if i + 1 == rows.len() { "" } else { "\n" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}
