//! Examples changed at random as they are loaded, each by its own numbers.

use super::{Purpose, bounded};
use crate::{
    Rng,
    error::{Error, Result},
    tensor::{DType, Tensor},
};

/// One example of a batch: which, and in which epoch it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Its index in the data set.
    pub index: usize,
}

/// Changes batches on their way from the data set. What is random must depend on seed and [`Draw`] alone: then an
/// example looks the same in any batch, on any thread and after a resume.
pub trait Transform: Send + Sync {
    /// The changed batch; its examples are those of `draws`, in order.
    ///
    /// # Errors
    /// When the batch is not what it can change.
    fn apply(&self, draws: &[Draw], batch: Vec<Tensor>) -> Result<Vec<Tensor>>;
}

/// `y[i, j] = x[i − a, j − b]` with `a, b` uniform in `−max..=max`, for the first tensor of a batch, `F32`
/// `[B, C, H, W]`; what comes in from outside has the value `fill` (of the channel, or one for all).
///
/// ```
/// use cotangent::{Tensor, data::{Draw, Shift, Transform}};
/// let x = Tensor::ones([1, 1, 4, 4]);
/// let y = Shift::new(1, 2).fill([-1.0]).apply(&[Draw { epoch: 0, index: 5 }], vec![x])?;
/// assert_eq!(y[0].shape()[..], [1, 1, 4, 4]);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shift {
    seed: u64,
    max: usize,
    fill: Vec<f32>,
}

impl Shift {
    /// By up to `max` pixels each way; zeros come in.
    pub fn new(seed: u64, max: usize) -> Self {
        Shift { seed, max, fill: vec![0.0] }
    }

    /// What comes in, such as [`super::Images::background`].
    #[must_use]
    pub fn fill(mut self, fill: impl Into<Vec<f32>>) -> Self {
        self.fill = fill.into();
        self
    }

    /// `(a, b)`: down and to the right.
    pub fn of(&self, draw: Draw) -> (isize, isize) {
        let stream = Purpose::Shift.stream(draw.epoch);
        let one = |which: u64| {
            // No image is larger, and twice as much still has room.
            let max = self.max.min(1 << 32);
            bounded(2 * max as u64 + 1, self.seed, stream, 2 * draw.index as u64 + which) as isize
                - max as isize
        };
        (one(0), one(1))
    }
}

impl Transform for Shift {
    fn apply(&self, draws: &[Draw], batch: Vec<Tensor>) -> Result<Vec<Tensor>> {
        each_image("shift", draws, batch, |draw, x, [c, h, w], y| {
            let fill = match self.fill.len() {
                1 => vec![self.fill[0]; c],
                n if n == c => self.fill.clone(),
                n => return Err(Error::other(format!("shift: {n} fill values for {c} channels"))),
            };
            let (a, b) = self.of(draw);
            for (k, y) in y.iter_mut().enumerate() {
                let (ch, i, j) = (k / (h * w), k / w % h, k % w);
                let from = (
                    i.checked_add_signed(-a).filter(|i| *i < h),
                    j.checked_add_signed(-b).filter(|j| *j < w),
                );
                *y = match from {
                    (Some(i), Some(j)) => x[(ch * h + i) * w + j],
                    _ => fill[ch],
                };
            }
            Ok(())
        })
    }
}

/// `y[i, j] = x[i, W − 1 − j]` with a probability, for the first tensor of a batch, `F32` `[B, C, H, W]`.
///
/// ```
/// use cotangent::{Tensor, data::{Draw, Flip, Transform}};
/// let x = Tensor::from([[[[1.0f32, 2.0, 3.0]]]].as_flattened()[0]).reshape([1, 1, 1, 3]);
/// let y = Flip::new(1, 1.0).apply(&[Draw { epoch: 0, index: 5 }], vec![x])?;
/// assert_eq!(y[0].to_vec::<f32>(), [3.0, 2.0, 1.0]);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    seed: u64,
    probability: f64,
}

impl Flip {
    /// Left and right change places with this probability, usually ½. Digits are other digits then.
    pub fn new(seed: u64, probability: f64) -> Self {
        Flip { seed, probability }
    }

    /// Is this one flipped?
    pub fn of(&self, draw: Draw) -> bool {
        let bits = Rng::bits(self.seed, Purpose::Flip.stream(draw.epoch), draw.index as u64);
        ((bits >> 11) as f64) / ((1u64 << 53) as f64) < self.probability
    }
}

impl Transform for Flip {
    fn apply(&self, draws: &[Draw], batch: Vec<Tensor>) -> Result<Vec<Tensor>> {
        each_image("flip", draws, batch, |draw, x, [_, _, w], y| {
            y.copy_from_slice(x);
            if self.of(draw) {
                y.chunks_exact_mut(w.max(1)).for_each(<[f32]>::reverse);
            }
            Ok(())
        })
    }
}

/// `y(p) = x(R p)` with a rotation about the centre by an angle uniform in `−max..=max` degrees, between pixels along
/// lines (bilinear), for the first tensor of a batch, `F32` `[B, C, H, W]`; what comes in from outside has the value
/// `fill` (of the channel, or one for all).
///
/// ```
/// use cotangent::{Tensor, data::{Draw, Rotate, Transform}};
/// let x = Tensor::ones([1, 1, 5, 5]);
/// let draw = Draw { epoch: 0, index: 5 };
/// let y = Rotate::new(1, 45.0).apply(&[draw], vec![x.clone()])?;
/// assert_eq!(y[0].to_vec::<f32>()[12], 1.0);                      // the centre stays
/// assert_eq!(Rotate::new(1, 0.0).apply(&[draw], vec![x.clone()])?[0].to_vec::<f32>(), x.to_vec::<f32>());
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rotate {
    seed: u64,
    max: f64,
    fill: Vec<f32>,
}

impl Rotate {
    /// By up to `max` degrees either way; zeros come in.
    pub fn new(seed: u64, max: f64) -> Self {
        Rotate { seed, max, fill: vec![0.0] }
    }

    /// What comes in, such as [`super::Images::background`].
    #[must_use]
    pub fn fill(mut self, fill: impl Into<Vec<f32>>) -> Self {
        self.fill = fill.into();
        self
    }

    /// The angle in degrees; counterclockwise is positive.
    pub fn of(&self, draw: Draw) -> f64 {
        let bits = Rng::bits(self.seed, Purpose::Rotate.stream(draw.epoch), draw.index as u64);
        (((bits >> 11) as f64) / ((1u64 << 53) as f64) * 2.0 - 1.0) * self.max
    }
}

impl Transform for Rotate {
    fn apply(&self, draws: &[Draw], batch: Vec<Tensor>) -> Result<Vec<Tensor>> {
        each_image("rotate", draws, batch, |draw, x, [c, h, w], y| {
            let fill = match self.fill.len() {
                1 => vec![self.fill[0]; c],
                n if n == c => self.fill.clone(),
                n => return Err(Error::other(format!("rotate: {n} fill values for {c} channels"))),
            };
            let (sin, cos) = (self.of(draw).to_radians() as f32).sin_cos();
            let (mid_i, mid_j) = ((h as f32 - 1.0) / 2.0, (w as f32 - 1.0) / 2.0);
            for (k, y) in y.iter_mut().enumerate() {
                let (ch, i, j) = (k / (h * w), k / w % h, k % w);
                let (down, right) = (i as f32 - mid_i, j as f32 - mid_j);
                let (a, b) = (mid_i + cos * down + sin * right, mid_j + cos * right - sin * down);
                let (top, left) = (a.floor(), b.floor());
                let (p, q) = (a - top, b - left);
                let at = |i: f32, j: f32| match i >= 0.0 && j >= 0.0 && i < h as f32 && j < w as f32 {
                    true => x[(ch * h + i as usize) * w + j as usize],
                    false => fill[ch],
                };
                let above = (1.0 - q) * at(top, left) + q * at(top, left + 1.0);
                let below = (1.0 - q) * at(top + 1.0, left) + q * at(top + 1.0, left + 1.0);
                *y = (1.0 - p) * above + p * below;
            }
            Ok(())
        })
    }
}

fn each_image(
    verb: &str,
    draws: &[Draw],
    mut batch: Vec<Tensor>,
    f: impl Fn(Draw, &[f32], [usize; 3], &mut [f32]) -> Result<()>,
) -> Result<Vec<Tensor>> {
    let spec = batch.first().map(Tensor::spec);
    let Some((spec, [n, c, h, w])) =
        spec.and_then(|s| <[usize; 4]>::try_from(&s.shape[..]).ok().map(|d| (s, d)))
    else {
        return Err(Error::other(format!("{verb}: the first tensor of a batch must be images [B, C, H, W]"))
            .help("reshape the data set's first tensor to four axes"));
    };
    if spec.dtype != DType::F32 || n != draws.len() {
        let text =
            format!("{verb}: needs {} float32 images, got {:?} {}", draws.len(), spec.shape, spec.dtype);
        return Err(Error::other(text).help("cast the data set's images, `x.cast(DType::F32)`"));
    }
    let (x, size) = (batch[0].try_to_vec::<f32>()?, c * h * w);
    let mut y = vec![0.0; x.len()];
    if size > 0 {
        for ((draw, x), y) in draws.iter().zip(x.chunks_exact(size)).zip(y.chunks_exact_mut(size)) {
            f(*draw, x, [c, h, w], y)?;
        }
    }
    batch[0] = Tensor::from_vec(y, spec.shape);
    Ok(batch)
}
