//! Pooling: `y = max x` or `y = (Σ x)/count` over sliding windows, each activation map by itself (row G9).
//!
//! `d max = dx at the arg-max`,  `x̄ = ȳ sent there`;  the mean is linear, its adjoint spreads `ȳ/count`

pub(crate) mod cpu;
pub(crate) mod lanes;

use std::fmt;

use super::{
    Attribute, Batch, Cost, Lanes, Mode, Op,
    conv::{Pair, Rounding, padded_size, window_size},
    floats,
};
use crate::{
    apply::{apply, apply_many},
    autodiff::LinearMap,
    device::cpu::Call,
    error::{Error, Result},
    tensor::{DType, Shape, Spec, Tensor},
};

/// How a pooling window slides; PyTorch's defaults: the stride is the kernel.
///
/// ```
/// use cotangent::{ops::Pool, Tensor};
/// let x = Tensor::from([[1.0, 1.0, 2.0, 4.0], [5.0, 6.0, 7.0, 8.0], [3.0, 2.0, 1.0, 0.0], [1.0, 2.0, 3.0, 4.0]]);
/// let x = x.reshape([1, 1, 4, 4]);
/// assert_eq!(x.max_pool2d(Pool::new(2)).to_vec::<f64>(), [6.0, 8.0, 3.0, 4.0]);       // row G10
/// assert_eq!(x.avg_pool2d(Pool::new(2)).to_vec::<f64>(), [3.25, 5.25, 2.0, 2.0]);     // row G12
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    rounding: Rounding,
    count_include_pad: bool,
    divisor: Option<i64>,
}

impl From<usize> for Pool {
    fn from(kernel: usize) -> Self {
        Pool::new(kernel)
    }
}

/// As a summary shows it: `3×3 s2 p1`.
impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let two = |p: [usize; 2]| if p[0] == p[1] { p[0].to_string() } else { format!("{}×{}", p[0], p[1]) };
        write!(f, "{}×{}", self.kernel[0], self.kernel[1])?;
        for (letter, sides, usual) in
            [("s", self.stride, self.kernel), ("p", self.padding, [0, 0]), ("d", self.dilation, [1, 1])]
        {
            if sides != usual {
                write!(f, " {letter}{}", two(sides))?;
            }
        }
        match self.rounding {
            Rounding::Floor => Ok(()),
            other => write!(f, " {}", other.name()),
        }
    }
}

impl Pool {
    /// A window of this size, side by side.
    pub fn new(kernel: impl Pair) -> Self {
        let kernel = kernel.pair();
        Pool {
            kernel,
            stride: kernel,
            padding: [0, 0],
            dilation: [1, 1],
            rounding: Rounding::Floor,
            count_include_pad: true,
            divisor: None,
        }
    }
    /// The step of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Pair) -> Self {
        self.stride = stride.pair();
        self
    }
    /// Cells around the image, at most half a kernel: they never win a maximum, and count as 0 in a mean.
    #[must_use]
    pub fn padding(mut self, padding: impl Pair) -> Self {
        self.padding = padding.pair();
        self
    }
    /// The step between a window's cells; maxima only.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Pair) -> Self {
        self.dilation = dilation.pair();
        self
    }
    /// What to do when windows do not fill an axis; `Ceil` is PyTorch's `ceil_mode`.
    #[must_use]
    pub fn rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }
    /// Does padding count in a mean's divisor? It does by default, as PyTorch's.
    #[must_use]
    pub fn count_include_pad(mut self, yes: bool) -> Self {
        self.count_include_pad = yes;
        self
    }
    /// Divide a mean's sum by this instead.
    #[must_use]
    pub fn divisor(mut self, divisor: i64) -> Self {
        self.divisor = Some(divisor);
        self
    }

    /// Height and width of the window.
    pub fn kernel(&self) -> [usize; 2] {
        self.kernel
    }

    /// Sizes of the result for an image.
    ///
    /// # Errors
    /// As [`super::Conv::output_size`]; when padding is more than half the kernel.
    pub fn output_size(&self, image: [usize; 2]) -> Result<[usize; 2]> {
        let axis = |a: usize| {
            let (k, p, s) = (self.kernel[a], self.padding[a], self.stride[a]);
            if p > k / 2 {
                return Err(Error::mistake(format!("padding {p} is more than half the kernel {k}")));
            }
            let d = self.dilation[a];
            let n = window_size(["H", "W"][a], image[a], k, s, [p, p], d, self.rounding).map_err(|e| {
                let most = image[a].saturating_add(k / 2 * 2);
                let fits = k == 0 || d.checked_mul(k - 1).is_some_and(|reach| reach < most);
                if fits || s == 0 || d == 0 {
                    return e;
                }
                e.help(format!(
                    "a smaller window, or a larger image: padding is at most half the kernel, {}",
                    k / 2
                ))
            })?;
            // PyTorch: a window that would begin in the padding behind the image is left out.
            let beyond = self.rounding == Rounding::Ceil && (n - 1) * s >= image[a] + p;
            Ok(n - usize::from(beyond))
        };
        let output = [axis(0)?, axis(1)?];
        padded_size(image, [0, 1].map(|a| [self.padding[a]; 2]))?;
        Ok(output)
    }

    fn attributes(&self, mean: bool) -> Vec<(&'static str, Attribute)> {
        let mut all = vec![
            ("kernel", Attribute::from(self.kernel)),
            ("stride", self.stride.into()),
            ("padding", self.padding.into()),
            ("ceil", (self.rounding == Rounding::Ceil).into()),
        ];
        if mean {
            all.push(("count_include_pad", self.count_include_pad.into()));
            all.push(("divisor", self.divisor.unwrap_or(0).into()));
        } else {
            all.push(("dilation", self.dilation.into()));
        }
        all
    }

    fn geometry(&self, x: &Shape, y: &Shape) -> cpu::Pool {
        cpu::Pool {
            planes: x[0] * x[1],
            h: x[2],
            w: x[3],
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            oh: y[2],
            ow: y[3],
        }
    }

    /// The planes of one example of a block, where a kernel of lanes has them: an image, and what it becomes.
    fn block(
        &self,
        x: &[Spec],
        axes: &[Option<usize>],
        then: &[&dyn Op],
        image: &Spec,
        pooled: &Spec,
    ) -> Option<cpu::Pool> {
        let Batch::Each(_) = planes(axes, 1) else { return None };
        let g = self.geometry(&image.shape, &pooled.shape);
        (then.is_empty() && x[0].dtype == DType::F32)
            .then_some(cpu::Pool { planes: g.planes / super::LANES, ..g })
    }

    fn by(&self) -> cpu::Divisor {
        cpu::Divisor { count_include_pad: self.count_include_pad, divisor_override: self.divisor }
    }

    /// The shape of the result, or why there is none.
    fn pooled(&self, x: &Spec) -> Result<Shape> {
        if x.shape.rank() != 4 {
            return Err(Error::mistake(format!("the input needs 4 axes [n, c, h, w], got {:?}", x.shape)));
        }
        let all = || {
            format!(
                "input {:?}, kernel {:?}, stride {:?}, padding {:?}, rounding {:?}",
                x.shape, self.kernel, self.stride, self.padding, self.rounding
            )
        };
        let [oh, ow] = self.output_size([x.shape[2], x.shape[3]]).map_err(|e| e.operands(all()))?;
        Shape::try_new(&[x.shape[0], x.shape[1], oh, ow])
    }

    /// The type that holds a place in the window.
    fn place(&self) -> DType {
        if self.kernel[0].saturating_mul(self.kernel[1]) <= 256 { DType::U8 } else { DType::I32 }
    }
}

/// Examples or channels: either may be the batch.
fn planes(axes: &[Option<usize>], outputs: usize) -> Batch {
    match super::pointwise(axes) {
        Batch::Each(a) if a[0] < 2 => Batch::Each(vec![a[0]; outputs]),
        _ => Batch::Mixes,
    }
}

/// `x → (y, place in the window)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// How it slides.
    pub pool: Pool,
}

/// `(t, place) → t at the arg-max`: the derivative of [`MaxPool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2dGather {
    /// How it slides.
    pub pool: Pool,
}

/// `(ȳ, place) → x̄`, for an image of `size`: its adjoint; windows that overlap add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2dScatter {
    /// How it slides.
    pub pool: Pool,
    /// Height and width of the image.
    pub size: [usize; 2],
}

/// `place in the window → place in the image's plane`, `I64`, as PyTorch's `return_indices`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2dIndices {
    /// How it slides.
    pub pool: Pool,
    /// Height and width of the image.
    pub size: [usize; 2],
}

/// `x → mean over windows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2d {
    /// How it slides.
    pub pool: Pool,
}

/// `ȳ → x̄`, for an image of `size`: the adjoint of [`AvgPool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool2dInput {
    /// How it slides.
    pub pool: Pool,
    /// Height and width of the image.
    pub size: [usize; 2],
}

/// Run `$body` with `$i` the type that holds places.
macro_rules! place {
    ($dtype:expr, $i:ident => $body:expr) => {
        match $dtype {
            DType::U8 => {
                type $i = u8;
                $body
            }
            _ => {
                type $i = i32;
                $body
            }
        }
    };
}

impl MaxPool2d {
    /// Its windows behind an operation that makes `x` for a block, where a kernel of lanes can have both.
    pub(crate) fn windows(&self, x: &Spec) -> Option<lanes::Windows> {
        let pooled = self.pool.pooled(x).ok()?;
        lanes::Windows::following(cpu::Pool { planes: x.shape[1], ..self.pool.geometry(&x.shape, &pooled) })
    }
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        self.pool.attributes(false)
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        if x[0].dtype == DType::Bool {
            return Err(Error::mistake("truth values have no maximum").help("`cast` them first"));
        }
        let y = x[0].with(self.pool.pooled(&x[0])?);
        Ok(vec![y.clone(), y.of(self.pool.place())])
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (pool, at, size) = (self.pool, y[1].clone(), [x[0].shape()[2], x[0].shape()[3]]);
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                vec![t[0].as_ref().map(|t| apply(MaxPool2dGather { pool }, &[t, &at])), None]
            }),
            Mode::Pull => LinearMap::new(move |c| {
                vec![c[0].as_ref().map(|c| apply(MaxPool2dScatter { pool, size }, &[c, &at]))]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        planes(axes, 2)
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = (y[0].shape.len() * self.pool.kernel[0] * self.pool.kernel[1]) as u64;
        Cost { additions: n, saved: y[1].bytes() as u64, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let g = self.pool.geometry(&call.inputs[0].layout.shape, &call.outputs[0].spec.shape);
        crate::dispatch!(number call.inputs[0].dtype, T => place!(self.pool.place(), I => {
            let x = call.inputs[0].packed::<T>();
            let (y, at) = call.outputs2::<T, I>();
            cpu::max_pool2d(&g, x, y, at)
        }))
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let y = self.outputs(x).ok()?;
        lanes::max(self.pool.block(x, axes, then, &x[0], &y[0])?, lanes::What::Max)
    }
}

impl Op for MaxPool2dGather {
    fn name(&self) -> &'static str {
        "max_pool2d_gather"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        self.pool.attributes(false)
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(&x[..1])?;
        places(&self.pool, self.pool.pooled(&x[0])?, &x[1])?;
        Ok(vec![x[0].with(x[1].shape)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (op, at, size) = (*self, x[1].clone(), [x[0].shape()[2], x[0].shape()[3]]);
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(|t| apply(op, &[t, &at]))]),
            Mode::Pull => LinearMap::new(move |c| {
                let back = MaxPool2dScatter { pool: op.pool, size };
                vec![c[0].as_ref().map(|c| apply(back, &[c, &at])), None]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        planes(axes, 1)
    }
    fn cpu(&self, call: Call<'_>) {
        let [t, at] = call.inputs else { unreachable!("tangent and places") };
        let g = self.pool.geometry(&t.layout.shape, &call.outputs[0].spec.shape);
        crate::dispatch!(float t.dtype, T => place!(at.dtype, I => {
            cpu::max_pool2d_gather::<T, I>(&g, t.packed(), at.packed(), call.outputs[0].slice())
        }))
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        lanes::max(self.pool.block(x, axes, then, &x[0], &x[1])?, lanes::What::Gather)
    }
}

impl Op for MaxPool2dScatter {
    fn name(&self) -> &'static str {
        "max_pool2d_scatter"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut all = self.pool.attributes(false);
        all.push(("size", self.size.into()));
        all
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(&x[..1])?;
        let image = image(&x[0], self.size)?;
        places(&self.pool, self.pool.pooled(&image)?, &x[1])?;
        if x[0].shape != x[1].shape {
            return Err(Error::mistake(format!(
                "cotangent {:?} and places {:?} differ",
                x[0].shape, x[1].shape
            )));
        }
        Ok(vec![image])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (op, at) = (*self, x[1].clone());
        match mode {
            Mode::Push => LinearMap::new(move |t| vec![t[0].as_ref().map(|t| apply(op, &[t, &at]))]),
            Mode::Pull => LinearMap::new(move |c| {
                vec![c[0].as_ref().map(|c| apply(MaxPool2dGather { pool: op.pool }, &[c, &at])), None]
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        planes(axes, 1)
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        Cost { additions: x[0].shape.len() as u64, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let [c, at] = call.inputs else { unreachable!("cotangent and places") };
        let g = self.pool.geometry(&call.outputs[0].spec.shape, &c.layout.shape);
        crate::dispatch!(float c.dtype, T => place!(at.dtype, I => {
            cpu::max_pool2d_scatter::<T, I>(&g, c.packed(), at.packed(), call.outputs[0].slice())
        }))
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let y = self.outputs(x).ok()?;
        lanes::max(self.pool.block(x, axes, then, &y[0], &x[0])?, lanes::What::Scatter)
    }
}

impl Op for MaxPool2dIndices {
    fn name(&self) -> &'static str {
        "max_pool2d_indices"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut all = self.pool.attributes(false);
        all.push(("size", self.size.into()));
        all
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        places(&self.pool, self.pool.pooled(&image(&x[0], self.size)?)?, &x[0])?;
        Ok(vec![x[0].of(DType::I64)])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::zero(1)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        planes(axes, 1)
    }
    fn cpu(&self, mut call: Call<'_>) {
        let shape = call.inputs[0].layout.shape;
        let (p, at) = (self.pool, call.inputs[0].to_vec_as_i64());
        for (i, (y, at)) in call.output::<i64>().iter_mut().zip(at).enumerate() {
            let (o, q) = (i / shape[3] % shape[2], i % shape[3]);
            let (u, v) = (at as usize / p.kernel[1], at as usize % p.kernel[1]);
            let cell = |a: usize, o: usize, u: usize| {
                (o * p.stride[a] + u * p.dilation[a]) as i64 - p.padding[a] as i64
            };
            *y = cell(0, o, u) * self.size[1] as i64 + cell(1, q, v);
        }
    }
}

impl Op for AvgPool2d {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        self.pool.attributes(true)
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(x)?;
        if self.pool.dilation != [1, 1] {
            return Err(Error::mistake("a mean's window has no dilation")
                .help("a convolution with fixed weights does it"));
        }
        if self.pool.divisor == Some(0) {
            return Err(Error::mistake("a divisor of 0"));
        }
        Ok(vec![x[0].with(self.pool.pooled(&x[0])?)])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let (op, size) = (*self, [x[0].shape()[2], x[0].shape()[3]]);
        let back = AvgPool2dInput { pool: op.pool, size };
        LinearMap::either(mode, move |t| apply(op, &[t]), move |c| apply(back, &[c]))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        planes(axes, 1)
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = y[0].shape.len() as u64;
        let window = (self.pool.kernel[0] * self.pool.kernel[1]) as u64;
        Cost { additions: n * window, multiplications: n, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let x = &call.inputs[0];
        let g = self.pool.geometry(&x.layout.shape, &call.outputs[0].spec.shape);
        crate::dispatch!(float x.dtype, T => {
            cpu::avg_pool2d::<T>(&g, &self.pool.by(), x.packed(), call.outputs[0].slice())
        })
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let y = self.outputs(x).ok()?;
        lanes::mean(self.pool.block(x, axes, then, &x[0], &y[0])?, &self.pool.by(), false)
    }
}

impl Op for AvgPool2dInput {
    fn name(&self) -> &'static str {
        "avg_pool2d_input"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut all = self.pool.attributes(true);
        all.push(("size", self.size.into()));
        all
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        floats(x)?;
        let image = image(&x[0], self.size)?;
        let y = self.pool.pooled(&image)?;
        if y != x[0].shape {
            return Err(Error::mistake(format!("the cotangent is {:?}, the output {y:?}", x[0].shape)));
        }
        Ok(vec![image])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], mode: Mode, _: &[bool]) -> LinearMap {
        let op = *self;
        LinearMap::either(mode, move |t| apply(op, &[t]), move |c| apply(AvgPool2d { pool: op.pool }, &[c]))
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        planes(axes, 1)
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = x[0].shape.len() as u64;
        let window = (self.pool.kernel[0] * self.pool.kernel[1]) as u64;
        Cost { additions: n * window, multiplications: n, ..Cost::default() }.moving(x, y)
    }
    fn cpu(&self, call: Call<'_>) {
        let c = &call.inputs[0];
        let g = self.pool.geometry(&call.outputs[0].spec.shape, &c.layout.shape);
        crate::dispatch!(float c.dtype, T => {
            cpu::avg_pool2d_backward::<T>(&g, &self.pool.by(), c.packed(), call.outputs[0].slice())
        })
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let y = self.outputs(x).ok()?;
        lanes::mean(self.pool.block(x, axes, then, &y[0], &x[0])?, &self.pool.by(), true)
    }
}

/// The image that a pooled tensor comes from.
fn image(y: &Spec, size: [usize; 2]) -> Result<Spec> {
    if y.shape.rank() != 4 {
        return Err(Error::mistake(format!("needs 4 axes [n, c, h, w], got {:?}", y.shape)));
    }
    Ok(y.with(Shape::try_new(&[y.shape[0], y.shape[1], size[0], size[1]])?))
}

fn places(pool: &Pool, shape: Shape, at: &Spec) -> Result<()> {
    if at.shape == shape && at.dtype == pool.place() {
        return Ok(());
    }
    Err(Error::mistake(format!(
        "the places are {:?} {}, and must be {shape:?} {}",
        at.shape,
        at.dtype,
        pool.place()
    )))
}

impl Tensor {
    /// The largest value of each window (rows G10, G15): `[n, c, h, w]` or `[c, h, w]`. The first one in
    /// row-major order gets the gradient at a tie.
    /// <https://pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html>
    ///
    /// # Panics
    /// When the window does not fit.
    #[must_use]
    #[track_caller]
    pub fn max_pool2d(&self, pool: impl Into<Pool>) -> Tensor {
        if self.rank() == 3 {
            return self.unsqueeze(0).max_pool2d(pool).squeeze(0);
        }
        apply(MaxPool2d { pool: pool.into() }, &[self])
    }

    /// The largest value of each window, and its place in the image's plane, `I64` (`return_indices`).
    ///
    /// # Panics
    /// As [`Tensor::max_pool2d`].
    #[track_caller]
    pub fn max_pool2d_with_indices(&self, pool: impl Into<Pool>) -> (Tensor, Tensor) {
        let pool = pool.into();
        if self.rank() == 3 {
            let (y, i) = self.unsqueeze(0).max_pool2d_with_indices(pool);
            return (y.squeeze(0), i.squeeze(0));
        }
        let y = apply_many(MaxPool2d { pool }, &[self]);
        let size = [self.shape()[2], self.shape()[3]];
        (y[0].clone(), apply(MaxPool2dIndices { pool, size }, &[&y[1]]))
    }

    /// The mean of each window (rows G12–G15): `[n, c, h, w]` or `[c, h, w]`.
    /// <https://pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html>
    ///
    /// # Panics
    /// When the window does not fit.
    #[must_use]
    #[track_caller]
    pub fn avg_pool2d(&self, pool: impl Into<Pool>) -> Tensor {
        if self.rank() == 3 {
            return self.unsqueeze(0).avg_pool2d(pool).squeeze(0);
        }
        apply(AvgPool2d { pool: pool.into() }, &[self])
    }
}
