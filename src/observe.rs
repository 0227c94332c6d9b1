//! Watching a computation: values of operations and modules, gradients on their way back, the first number
//! that is not finite.

use std::sync::{Arc, Mutex};

use crate::{
    apply::{Origin, apply},
    autodiff::LinearMap,
    context,
    device::cpu::{Call, strided},
    error::{Error, Result},
    ops::{Batch, Mode, Op, pointwise},
    tensor::{Spec, Tensor},
};

/// Sees what is computed on this thread, while [`observe`] runs. Values are without layers.
pub trait Observer: Send + Sync {
    /// An operation was applied, in the function or in a derivative.
    ///
    /// # Errors
    /// Stops the computation at this operation.
    fn operation(&self, op: &dyn Op, inputs: &[Tensor], outputs: &[Tensor], origin: &Origin) -> Result<()> {
        let _ = (op, inputs, outputs, origin);
        Ok(())
    }

    /// A module was called; `describe` is its line in a summary.
    fn module(&self, path: &str, describe: &str, input: &Tensor, output: &Tensor) {
        let _ = (path, describe, input, output);
    }
}

/// Run `f` while `observer` watches (PyTorch's forward hooks, for everything at once).
///
/// ```
/// use cotangent::{nn::{Call, Linear}, observe, Observer, Rng, Tensor};
/// use std::sync::{Arc, Mutex};
///
/// #[derive(Default)]
/// struct Shapes(Mutex<Vec<String>>);
/// impl Observer for Shapes {
///     fn module(&self, _path: &str, describe: &str, _x: &Tensor, y: &Tensor) {
///         self.0.lock().unwrap().push(format!("{describe} {:?}", y.shape()));
///     }
/// }
/// let seen = Arc::new(Shapes::default());
/// observe(seen.clone(), || Linear::new(3, 2, &Rng::new(0)).call(&Tensor::zeros([4, 3])));
/// assert_eq!(*seen.0.lock().unwrap(), ["Linear 3→2 [4, 2]"]);
/// ```
pub fn observe<T>(observer: Arc<dyn Observer>, f: impl FnOnce() -> T) -> T {
    let _scope = context::scope(|c| c.observers.push(observer), |c| drop(c.observers.pop()));
    f()
}

/// Tell the observers, who may apply operations of their own unwatched.
fn tell(mut f: impl FnMut(&dyn Observer) -> Result<()>) -> Result<()> {
    let observers = context::with(|c| std::mem::take(&mut c.observers));
    let told = observers.iter().try_for_each(|o| f(&**o));
    context::with(|c| c.observers = observers);
    told
}

pub(crate) fn operation(op: &dyn Op, inputs: &[&Tensor], outputs: &[Tensor], origin: &Origin) -> Result<()> {
    let plain: Vec<Tensor> = inputs.iter().map(|t| t.detach()).collect();
    let results: Vec<Tensor> = outputs.iter().map(Tensor::detach).collect();
    tell(|o| o.operation(op, &plain, &results, origin))
}

pub(crate) fn module(path: &str, describe: &str, x: &Tensor, y: &Tensor) {
    let (x, y) = (x.detach(), y.detach());
    let told = tell(|o| {
        o.module(path, describe, &x, &y);
        Ok(())
    });
    debug_assert!(told.is_ok());
}

/// Run `f`; the first operation with a value that is NaN or infinite, from operands that were all finite, is
/// the error (PyTorch's `detect_anomaly`, for the way forward too).
///
/// ```
/// use cotangent::{finite, Tensor};
/// let x = Tensor::from(0.0);
/// let e = finite(|| (&x + 1.0) * x.ln()).unwrap_err();
/// assert!(e.to_string().starts_with("ln"), "{e}");
/// ```
///
/// # Errors
/// Names the operation, its module and line, and how many values are not finite.
pub fn finite<T>(f: impl FnOnce() -> T) -> Result<T> {
    crate::attempt(|| observe(Arc::new(Finite), f))
}

struct Finite;

impl Observer for Finite {
    fn operation(&self, _: &dyn Op, inputs: &[Tensor], outputs: &[Tensor], origin: &Origin) -> Result<()> {
        let bad = |t: &Tensor| -> usize {
            let real = t.dtype().is_float() && !t.is_recorded();
            if real { t.to_vec::<f64>().iter().filter(|x| !x.is_finite()).count() } else { 0 }
        };
        let Some((t, n)) = outputs.iter().map(|t| (t, bad(t))).find(|(_, n)| *n > 0) else { return Ok(()) };
        let from = if inputs.iter().any(|x| bad(x) > 0) {
            ", from operands that were not finite either"
        } else {
            ""
        };
        let values = t.to_vec::<f64>();
        let first = values.iter().position(|x| !x.is_finite()).expect("there is one");
        Err(Error::NonFinite {
            message: format!(
                "{origin} gave {n} of {} values that are not finite, the first {} at position {first}{from}",
                values.len(),
                values[first]
            ),
        })
    }
}

/// Run `f`; a cross entropy that is given probabilities instead of raw scores is the error (row E3): rows of numbers
/// that are not negative and sum to 1. Off by default, since scores may happen to look so.
///
/// ```
/// use cotangent::{raw_scores, Tensor};
/// let (x, y) = (Tensor::from([[8.0, 0.0, -3.0]]), Tensor::from([0i64]));
/// assert!(raw_scores(|| x.cross_entropy(&y)).is_ok());
/// let e = raw_scores(|| x.softmax(1).cross_entropy(&y)).unwrap_err();
/// assert!(e.to_string().contains("probabilities"), "{e}");
/// ```
///
/// # Errors
/// Names the loss's line, and what to leave out.
pub fn raw_scores<T>(f: impl FnOnce() -> T) -> Result<T> {
    crate::attempt(|| observe(Arc::new(RawScores), f))
}

struct RawScores;

impl Observer for RawScores {
    fn operation(&self, op: &dyn Op, inputs: &[Tensor], _: &[Tensor], origin: &Origin) -> Result<()> {
        if op.name() != "cross_entropy" || inputs[0].is_recorded() || inputs[0].numel() == 0 {
            return Ok(());
        }
        let classes = inputs[0].shape()[1];
        let likely =
            |row: &[f64]| row.iter().all(|p| *p >= 0.0) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-3;
        if classes < 2 || !inputs[0].to_vec::<f64>().chunks_exact(classes).all(likely) {
            return Ok(());
        }
        Err(Error::other(format!(
            "{origin} is given probabilities: no number is negative, and each row sums to 1"
        ))
        .help("it takes raw scores and does the softmax itself: leave out the softmax before it"))
    }
}

type Hook = dyn Fn(&Tensor) -> Option<Tensor> + Send + Sync;

/// `y = x`; on the way back a function sees the cotangent, and may replace it.
struct OnGradient(Arc<Hook>);

impl Op for OnGradient {
    fn name(&self) -> &'static str {
        "on_gradient"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let hook = self.0.clone();
        LinearMap::either(mode, Tensor::clone, move |c| hook(c).unwrap_or_else(|| c.clone()))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        pointwise(axes)
    }
    fn packed(&self, _: usize) -> bool {
        false
    }
    fn view(&self, x: &crate::tensor::Layout) -> Option<crate::tensor::Layout> {
        Some(*x)
    }
    fn cpu(&self, mut call: Call<'_>) {
        crate::dispatch!(float call.inputs[0].dtype, T => strided::copy::<T>(&call.inputs[0], call.output()))
    }
}

impl Tensor {
    /// The same values; when a gradient flows back through here, `f` sees it and may replace it
    /// (PyTorch's `register_hook`).
    ///
    /// ```
    /// use cotangent::Tensor;
    /// let x = Tensor::from(3.0).tracked();
    /// let y = x.on_gradient(|g| Some(g * 10.0)).square();
    /// assert_eq!(y.backward().get(&x).unwrap().item(), 60.0);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn on_gradient(&self, f: impl Fn(&Tensor) -> Option<Tensor> + Send + Sync + 'static) -> Tensor {
        apply(OnGradient(Arc::new(f)), &[self])
    }
}

/// Keeps every operation's origin and output sizes, in order; for tests and teaching.
#[derive(Default)]
pub struct Log(Mutex<Vec<(String, Vec<Spec>)>>);

impl Log {
    /// Origin and outputs of each operation so far.
    pub fn entries(&self) -> Vec<(String, Vec<Spec>)> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Observer for Log {
    fn operation(&self, op: &dyn Op, _: &[Tensor], outputs: &[Tensor], origin: &Origin) -> Result<()> {
        let line = (format!("{} · {origin}", op.name()), outputs.iter().map(Tensor::spec).collect());
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(line);
        Ok(())
    }
}
