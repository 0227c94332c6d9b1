//! `y = x ⋆ w + b`: 2-d convolution, in truth cross-correlation: nothing is flipped.
//!
//! `y[n,o,p,q] = b[o] + Σ_{c,u,v} w[o,c,u,v]·x[n, c, p·s + u·d − pad, q·s + v·d − pad]`
//!
//! The trilinear form `⟨g, x ⋆ w⟩` has three adjoints, one per operand: the output, the input's cotangent, the
//! weight's. Each is bilinear in the other two, so differentiating any of them gives the others.

pub(crate) mod cpu;
mod lanes;
mod sparse;
mod winograd;

use std::{fmt, sync::Arc};

use super::{Attribute, Batch, Cost, Elementwise, Lanes, MaxPool2d, Mode, Op, arithmetic::sum, floats, pool};
use crate::{
    apply::apply,
    autodiff::LinearMap,
    device::cpu::Call,
    error::{Error, Result},
    tensor::{DType, Spec, Tensor},
};

/// What to do when windows do not fill an axis (rows G6, G7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Leave the rest out, as PyTorch does.
    #[default]
    Floor,
    /// Let the last window run over the edge, into more padding.
    Ceil,
    /// Refuse, and say which settings fit.
    Strict,
}

impl Rounding {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Rounding::Floor => "floor",
            Rounding::Ceil => "ceil",
            Rounding::Strict => "strict",
        }
    }
}

/// Padding around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros (before, after) each of the two axes.
    Zeros([[usize; 2]; 2]),
    /// As many as keep the size, for stride 1; an odd one goes after, as PyTorch's.
    Same,
}

impl From<usize> for Padding {
    fn from(p: usize) -> Self {
        Padding::Zeros([[p, p], [p, p]])
    }
}
impl From<[usize; 2]> for Padding {
    fn from([p, q]: [usize; 2]) -> Self {
        Padding::Zeros([[p, p], [q, q]])
    }
}
impl From<[[usize; 2]; 2]> for Padding {
    fn from(p: [[usize; 2]; 2]) -> Self {
        Padding::Zeros(p)
    }
}

/// One number for both axes, or two.
pub trait Pair {
    /// As two numbers: height, width.
    fn pair(self) -> [usize; 2];
}
impl Pair for usize {
    fn pair(self) -> [usize; 2] {
        [self, self]
    }
}
impl Pair for [usize; 2] {
    fn pair(self) -> [usize; 2] {
        self
    }
}
impl Pair for (usize, usize) {
    fn pair(self) -> [usize; 2] {
        [self.0, self.1]
    }
}

/// The most places of a padded image: kernels compute in sizes of memory, which must not overflow.
const LARGEST: usize = 1 << 40;

/// How a convolution slides: stride, padding, dilation, groups, rounding; PyTorch's defaults.
///
/// ```
/// use cotangent::ops::Conv;
/// let c = Conv::default().stride(2).padding(1);
/// assert_eq!(c.output_size([32, 32], [5, 5])?, [15, 15]);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
    rounding: Rounding,
}

impl Default for Conv {
    fn default() -> Self {
        Conv { stride: [1, 1], padding: 0.into(), dilation: [1, 1], groups: 1, rounding: Rounding::Floor }
    }
}

impl Conv {
    /// The step of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Pair) -> Self {
        self.stride = stride.pair();
        self
    }
    /// Zeros around the image: one number, one an axis, (before, after) each axis, or [`Padding::Same`].
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }
    /// The step between a window's cells.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Pair) -> Self {
        self.dilation = dilation.pair();
        self
    }
    /// Groups of channels that do not see each other; as many as channels is depthwise.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
    /// What to do when windows do not fill an axis.
    #[must_use]
    pub fn rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    pub(crate) fn group_count(&self) -> usize {
        self.groups
    }

    /// Zeros (before, after) each axis for a kernel.
    fn zeros(&self, kernel: [usize; 2]) -> Result<[[usize; 2]; 2]> {
        match self.padding {
            Padding::Zeros(z) => Ok(z),
            Padding::Same if self.stride != [1, 1] => Err(Error::mistake(format!(
                "padding `same` keeps the size only for stride 1, not {:?}",
                self.stride
            ))),
            Padding::Same => Ok([0, 1].map(|a| {
                let total = self.dilation[a].saturating_mul(kernel[a].saturating_sub(1));
                [total / 2, total - total / 2]
            })),
        }
    }

    /// `(W − F + 2P)/S + 1` for both axes (row G6), with `F` the dilated filter.
    ///
    /// # Errors
    /// When the filter is larger than the padded image, a setting is 0, or, with [`Rounding::Strict`], the
    /// division leaves a rest (row G7).
    pub fn output_size(&self, image: [usize; 2], kernel: [usize; 2]) -> Result<[usize; 2]> {
        let zeros = self.zeros(kernel)?;
        let size = |a: usize| {
            let axis = ["H", "W"][a];
            window_size(axis, image[a], kernel[a], self.stride[a], zeros[a], self.dilation[a], self.rounding)
        };
        let width = size(1)?;
        let output = [size(0)?, width];
        padded_size(image, zeros)?;
        Ok(output)
    }

    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let padding = match self.padding {
            Padding::Zeros([[a, b], [c, d]]) => Attribute::from(&[a, b, c, d][..]),
            Padding::Same => Attribute::Text("same"),
        };
        vec![
            ("stride", self.stride.into()),
            ("padding", padding),
            ("dilation", self.dilation.into()),
            ("groups", self.groups.into()),
            ("rounding", Attribute::Text(self.rounding.name())),
        ]
    }

    /// Sizes for the kernels, from the shapes of image, weight and output.
    fn geometry(&self, x: &[usize], w: &[usize], y: &[usize]) -> cpu::Conv {
        cpu::Conv {
            n: x[0],
            c: x[1],
            h: x[2],
            w: x[3],
            o: w[0],
            kh: w[2],
            kw: w[3],
            stride: self.stride,
            padding: self.zeros([w[2], w[3]]).unwrap_or([[0; 2]; 2]),
            dilation: self.dilation,
            groups: self.groups,
            oh: y[2],
            ow: y[3],
        }
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let two = |p: [usize; 2]| if p[0] == p[1] { p[0].to_string() } else { format!("{}×{}", p[0], p[1]) };
        let mut parts = Vec::new();
        if self.stride != [1, 1] {
            parts.push(format!("s{}", two(self.stride)));
        }
        match self.padding {
            Padding::Zeros([[0, 0], [0, 0]]) => {}
            Padding::Zeros([[a, b], [c, d]]) if a == b && c == d => parts.push(format!("p{}", two([a, c]))),
            Padding::Zeros(z) => parts.push(format!("p{z:?}")),
            Padding::Same => parts.push("p=same".into()),
        }
        if self.dilation != [1, 1] {
            parts.push(format!("d{}", two(self.dilation)));
        }
        if self.groups != 1 {
            parts.push(format!("g{}", self.groups));
        }
        f.write_str(&parts.join(" "))
    }
}

/// Kernels compute in places of the padded image: refused where those cannot be numbered. `zeros` are (before, after)
/// each axis, and were added before without an overflow.
pub(crate) fn padded_size(image: [usize; 2], zeros: [[usize; 2]; 2]) -> Result<()> {
    let [h, w] = [0, 1].map(|a| image[a] + zeros[a][0] + zeros[a][1]);
    match h.checked_mul(w).is_some_and(|n| n <= LARGEST) {
        true => Ok(()),
        false => Err(Error::mistake(format!("an image padded to {h}×{w} fits into no memory"))
            .help("less padding: it should not be larger than the filter")),
    }
}

/// Places of a sliding window on one axis, or why there are none. `zeros` are (before, after).
pub(crate) fn window_size(
    axis: &str,
    size: usize,
    kernel: usize,
    stride: usize,
    zeros: [usize; 2],
    dilation: usize,
    rounding: Rounding,
) -> Result<usize> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err(Error::mistake(format!(
            "kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1"
        )));
    }
    let reach = (kernel - 1).checked_mul(dilation).and_then(|k| k.checked_add(1));
    let padded = zeros[0].checked_add(zeros[1]).and_then(|z| size.checked_add(z));
    let (Some(reach), Some(padded)) = (reach, padded) else {
        return Err(Error::mistake(format!(
            "sizes overflow: {axis} {size}, kernel {kernel}, dilation {dilation}"
        )));
    };
    let padding = if zeros[0] == zeros[1] {
        format!("2·{}", zeros[0])
    } else {
        format!("{} + {}", zeros[0], zeros[1])
    };
    let formula =
        format!("{axis}_out = ({axis} − F + 2P)/S + 1 = ({size} − {reach} + {padding})/{stride} + 1");
    let Some(room) = padded.checked_sub(reach) else {
        let need = (reach - size).div_ceil(2);
        let (apart, filter) = match dilation {
            1 => (String::new(), format!("a filter of at most {padded}")),
            _ => {
                let (widest, furthest) =
                    (padded.saturating_sub(1) / dilation + 1, padded.saturating_sub(1) / (kernel - 1).max(1));
                let closer = if furthest > 0 {
                    format!(", or a dilation of at most {furthest}")
                } else {
                    String::new()
                };
                (
                    format!(" ({kernel} with dilation {dilation})"),
                    format!("a filter of at most {widest}{closer}"),
                )
            }
        };
        // As many zeros as a filter is wide are more than it can use.
        let more = if need < kernel { format!("padding {need} makes room; or ") } else { String::new() };
        return Err(Error::mistake(format!(
            "the filter of {reach}{apart} is larger than the padded input of {padded}: {formula} has no place for it"
        ))
        .help(format!("{more}take {filter}, or a larger image")));
    };
    match rounding {
        _ if room.is_multiple_of(stride) => Ok(room / stride + 1),
        Rounding::Floor => Ok(room / stride + 1),
        Rounding::Ceil => Ok(room.div_ceil(stride) + 1),
        Rounding::Strict => {
            let exact = room as f64 / stride as f64 + 1.0;
            let mut fits = Vec::new();
            let smaller = (1..stride).rev().find(|s| room.is_multiple_of(*s)).unwrap_or(1);
            fits.push(format!("stride {smaller} gives {}", room / smaller + 1));
            if zeros[0] == zeros[1] {
                // Padding comes in pairs: an odd rest and an even stride need another stride with it.
                let fit = |s: usize| (1..=reach).find(|p| (room + 2 * p).is_multiple_of(s)).map(|p| (p, s));
                if let Some((p, s)) = (1..=stride).rev().find_map(fit) {
                    let total = (room + 2 * p) / s + 1;
                    fits.push(format!("padding {} with stride {s} gives {total}", zeros[0] + p));
                }
            }
            if let Some(crop) = size.checked_sub(room % stride).filter(|crop| *crop > 0) {
                fits.push(format!("crop the input to {crop} for {}", room / stride + 1));
            }
            Err(Error::mistake(format!("{formula} = {} is not an integer", trimmed(exact)))
                .help(format!("{}; or `.rounding(Floor)`, PyTorch's rule", fits.join("; "))))
        }
    }
}

fn trimmed(x: f64) -> String {
    let text = format!("{x:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn four(x: &Spec, what: &str, axes: &str) -> Result<()> {
    match x.shape.rank() {
        4 => Ok(()),
        r => Err(Error::mistake(format!("{what} needs 4 axes {axes}, got {r}: {:?}", x.shape))),
    }
}

fn operands(x: &Spec, w: &Spec, conv: &Conv) -> String {
    let padding = match conv.padding {
        Padding::Zeros([[a, b], [c, d]]) if a == b && c == d && a == c => a.to_string(),
        Padding::Zeros(z) => format!("{z:?}"),
        Padding::Same => "same".into(),
    };
    let stride = if conv.stride[0] == conv.stride[1] {
        conv.stride[0].to_string()
    } else {
        format!("{:?}", conv.stride)
    };
    format!(
        "input {:?}, weight {:?}, stride {stride}, padding {padding}, rounding {:?}",
        x.shape, w.shape, conv.rounding
    )
}

/// `(x, w[, b]) → y`: `[n, c, h, w]`, `[o, c/groups, kh, kw]`, `[o]` → `[n, o, oh, ow]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// How it slides.
    pub conv: Conv,
}

/// `(ȳ, w) → x̄`, for an image of `size`: the adjoint in the input (a transposed convolution).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dInput {
    /// How it slides.
    pub conv: Conv,
    /// Height and width of the image.
    pub size: [usize; 2],
}

/// `(x, ȳ) → w̄`, for a kernel of `kernel`: the adjoint in the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dWeight {
    /// How it slides.
    pub conv: Conv,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

/// Bilinear: push adds both, pull hands each operand the adjoint with the other.
fn bilinear(
    mode: Mode,
    wanted: &[bool],
    x: &[Tensor],
    forth: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
    first: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
    second: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
) -> LinearMap {
    let a = wanted[1].then(|| x[0].clone());
    let b = wanted[0].then(|| x[1].clone());
    match mode {
        Mode::Push => LinearMap::new(move |t| {
            let left = t[0].as_ref().zip(b.as_ref()).map(|(da, b)| forth(da, b));
            let right = t[1].as_ref().zip(a.as_ref()).map(|(db, a)| forth(a, db));
            vec![sum([left, right])]
        }),
        Mode::Pull => LinearMap::new(move |c| {
            let Some(c) = &c[0] else { return vec![None, None] };
            vec![b.as_ref().map(|b| first(c, b)), a.as_ref().map(|a| second(a, c))]
        }),
    }
}

fn size(t: &Tensor) -> [usize; 2] {
    [t.shape()[2], t.shape()[3]]
}

/// Multiplications and additions of all three.
fn work(y: &[usize], w: &[usize]) -> u64 {
    let all: usize = y.iter().product::<usize>() * w[1..].iter().product::<usize>();
    all as u64
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        self.conv.attributes()
    }
    fn outputs(&self, s: &[Spec]) -> Result<Vec<Spec>> {
        let (x, w) = (&s[0], &s[1]);
        let all = || operands(x, w, &self.conv);
        four(x, "the input", "[n, c, h, w]")?;
        four(w, "the weight", "[out, in/groups, kh, kw]")?;
        floats(s)?;
        if x.dtype != w.dtype {
            return Err(Error::mistake(format!("input is {}, weight {}", x.dtype, w.dtype))
                .operands(all())
                .help("`cast` one of them"));
        }
        let (c, o, g) = (x.shape[1], w.shape[0], self.conv.groups);
        if g == 0 || c % g != 0 || o % g != 0 {
            return Err(Error::mistake(format!(
                "{g} groups do not divide {c} input and {o} output channels"
            ))
            .operands(all()));
        }
        if w.shape[1] != c / g {
            let per = if g == 1 { String::new() } else { format!(" a group of {g}") };
            return Err(Error::mistake(format!(
                "the input has {c} channels, the weight expects {}{per}",
                w.shape[1] * g
            ))
            .operands(all())
            .help(format!("a layer for this input is `Conv2d::new({c}, {o}, ..)`")));
        }
        if let Some(b) = s.get(2)
            && (b.shape[..] != [o] || b.dtype != x.dtype)
        {
            return Err(Error::mistake(format!(
                "the bias is {:?} {}, and must be [{o}] {}",
                b.shape, b.dtype, x.dtype
            ))
            .operands(all()));
        }
        let out = self.conv.output_size([x.shape[2], x.shape[3]], [w.shape[2], w.shape[3]]);
        let [oh, ow] = out.map_err(|e| e.operands(all()))?;
        Ok(vec![x.with(crate::Shape::try_new(&[x.shape[0], o, oh, ow])?)])
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (conv, image, kernel, out) = (self.conv, size(&x[0]), size(&x[1]), *y[0].shape());
        let forth = move |x: &Tensor, w: &Tensor| apply(Conv2d { conv }, &[x, w]);
        let first = move |c: &Tensor, w: &Tensor| apply(Conv2dInput { conv, size: image }, &[c, w]);
        let second = move |x: &Tensor, c: &Tensor| apply(Conv2dWeight { conv, kernel }, &[x, c]);
        let both = bilinear(mode, wanted, x, forth, first, second);
        if x.len() == 2 {
            return both;
        }
        let bias = wanted[2];
        match mode {
            Mode::Push => LinearMap::new(move |t| {
                let product = both.apply(&t[..2]).remove(0);
                vec![sum([product, t[2].as_ref().map(|b| b.reshape([1, b.numel(), 1, 1]).expand(out))])]
            }),
            Mode::Pull => LinearMap::new(move |c| {
                let mut back = both.apply(c);
                back.push(c[0].as_ref().filter(|_| bias).map(|c| c.sum_over([0, 2, 3], false)));
                back
            }),
        }
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        match axes {
            [Some(0), rest @ ..] if rest.iter().all(Option::is_none) => Batch::Each(vec![0]),
            _ => Batch::Mixes,
        }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = work(&y[0].shape, &x[1].shape);
        let saved = (x[0].bytes() + x[1].bytes()) as u64;
        Cost { additions: n, multiplications: n, saved, ..Cost::default() }.moving(x, y)
    }
    fn scratch(&self, x: &[Spec]) -> usize {
        let Ok(y) = self.outputs(x) else { return 0 };
        let g = self.conv.geometry(&x[0].shape, &x[1].shape, &y[0].shape);
        crate::dispatch!(float x[0].dtype, T => cpu::forward_scratch::<T>(&g))
    }
    fn cpu(&self, call: Call<'_>) {
        let [x, w, ..] = call.inputs else { unreachable!("image and weight") };
        let g = self.conv.geometry(&x.layout.shape, &w.layout.shape, &call.outputs[0].spec.shape);
        crate::dispatch!(float x.dtype, T => {
            let bias = call.inputs.get(2).map(|b| b.packed::<T>());
            cpu::forward(&g, x.packed::<T>(), w.packed(), bias, call.outputs[0].slice(), call.scratch)
        })
    }
    fn recorded(&self, x: &[Spec]) -> Option<(Arc<dyn Op>, &'static str)> {
        Winograd::Forward(*self).suits(x)
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        let ([Some(0), rest @ ..], DType::F32) = (axes, x[0].dtype) else { return None };
        let (relu, then) = match then {
            [first, then @ ..] if first.is_a() == Some(&Elementwise::Relu) => (true, then),
            _ => (false, then),
        };
        let y = self.outputs(x).ok()?;
        let pool = match then {
            [] => None,
            [max] => Some(max.is_a::<MaxPool2d>()?.windows(&y[0])?),
            _ => return None,
        };
        let g = self.conv.geometry(&x[0].shape, &x[1].shape, &y[0].shape);
        rest.iter().all(Option::is_none).then(|| lanes::forward(g, lanes::Then { relu, pool }))?
    }
}

impl Op for Conv2dInput {
    fn name(&self) -> &'static str {
        "conv2d_input"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut all = self.conv.attributes();
        all.push(("size", self.size.into()));
        all
    }
    fn outputs(&self, s: &[Spec]) -> Result<Vec<Spec>> {
        let (g, w) = (&s[0], &s[1]);
        four(g, "the cotangent", "[n, out, oh, ow]")?;
        four(w, "the weight", "[out, in/groups, kh, kw]")?;
        let x = g.with(crate::Shape::try_new(&[
            g.shape[0],
            w.shape[1] * self.conv.groups,
            self.size[0],
            self.size[1],
        ])?);
        conforms(&self.conv, &x, w, g)?;
        Ok(vec![x])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (op, conv, kernel) = (*self, self.conv, size(&x[1]));
        let forth = move |g: &Tensor, w: &Tensor| apply(op, &[g, w]);
        let first = move |c: &Tensor, w: &Tensor| apply(Conv2d { conv }, &[c, w]);
        let second = move |g: &Tensor, c: &Tensor| apply(Conv2dWeight { conv, kernel }, &[c, g]);
        bilinear(mode, wanted, x, forth, first, second)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        if *axes == [Some(0), None] { Batch::Each(vec![0]) } else { Batch::Mixes }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = work(&x[0].shape, &x[1].shape);
        Cost {
            additions: n,
            multiplications: n,
            saved: (x[0].bytes() + x[1].bytes()) as u64,
            ..Cost::default()
        }
        .moving(x, y)
    }
    fn scratch(&self, x: &[Spec]) -> usize {
        let Ok(y) = self.outputs(x) else { return 0 };
        let g = self.conv.geometry(&y[0].shape, &x[1].shape, &x[0].shape);
        crate::dispatch!(float x[0].dtype, T => cpu::input_gradient_scratch::<T>(&g))
    }
    fn cpu(&self, call: Call<'_>) {
        let [g, w] = call.inputs else { unreachable!("cotangent and weight") };
        let sizes = self.conv.geometry(&call.outputs[0].spec.shape, &w.layout.shape, &g.layout.shape);
        crate::dispatch!(float g.dtype, T => {
            cpu::input_gradient(&sizes, g.packed::<T>(), w.packed(), call.outputs[0].slice(), call.scratch)
        })
    }
    fn recorded(&self, x: &[Spec]) -> Option<(Arc<dyn Op>, &'static str)> {
        Winograd::Input(*self).suits(x)
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        if *axes != [Some(0), None] || !then.is_empty() || x[0].dtype != DType::F32 {
            return None;
        }
        let y = self.outputs(x).ok()?;
        lanes::input_gradient(self.conv.geometry(&y[0].shape, &x[1].shape, &x[0].shape))
    }
    fn lanes_from(
        &self,
        x: &[Spec],
        axes: &[Option<usize>],
        operand: usize,
        maker: &dyn Op,
    ) -> Option<Lanes> {
        sparse::input_gradient(self.behind(x, axes, operand)?, pool::lanes::Spread::by(maker, &x[0].shape)?)
    }
    fn lanes_from_with(
        &self,
        x: &[Spec],
        axes: &[Option<usize>],
        operand: usize,
        maker: &dyn Op,
        other: &dyn Op,
    ) -> Option<Lanes> {
        let (weight, w) = (other.is_a::<Conv2dWeight>()?, &x[1].shape);
        if weight.conv != self.conv || weight.kernel != [w[2], w[3]] {
            return None;
        }
        sparse::gradients(self.behind(x, axes, operand)?, pool::lanes::Spread::by(maker, &x[0].shape)?)
    }
}

impl Conv2dInput {
    /// The sizes for a kernel behind the maker of the cotangent.
    fn behind(&self, x: &[Spec], axes: &[Option<usize>], operand: usize) -> Option<cpu::Conv> {
        if *axes != [Some(0), None] || operand != 0 || x[0].dtype != DType::F32 {
            return None;
        }
        let y = self.outputs(x).ok()?;
        Some(self.conv.geometry(&y[0].shape, &x[1].shape, &x[0].shape))
    }
}

impl Op for Conv2dWeight {
    fn name(&self) -> &'static str {
        "conv2d_weight"
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut all = self.conv.attributes();
        all.push(("kernel", self.kernel.into()));
        all
    }
    fn outputs(&self, s: &[Spec]) -> Result<Vec<Spec>> {
        let (x, g) = (&s[0], &s[1]);
        four(x, "the input", "[n, c, h, w]")?;
        four(g, "the cotangent", "[n, out, oh, ow]")?;
        let [kh, kw] = self.kernel;
        let w = x.with(crate::Shape::try_new(&[g.shape[1], x.shape[1] / self.conv.groups.max(1), kh, kw])?);
        conforms(&self.conv, x, &w, g)?;
        Ok(vec![w])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        let (op, conv, image) = (*self, self.conv, size(&x[0]));
        let forth = move |x: &Tensor, g: &Tensor| apply(op, &[x, g]);
        let first = move |c: &Tensor, g: &Tensor| apply(Conv2dInput { conv, size: image }, &[g, c]);
        let second = move |x: &Tensor, c: &Tensor| apply(Conv2d { conv }, &[x, c]);
        bilinear(mode, wanted, x, forth, first, second)
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        if *axes == [Some(0), Some(0)] { Batch::Sums } else { Batch::Mixes }
    }
    fn cost(&self, x: &[Spec], y: &[Spec]) -> Cost {
        let n = work(&x[1].shape, &y[0].shape);
        Cost {
            additions: n,
            multiplications: n,
            saved: (x[0].bytes() + x[1].bytes()) as u64,
            ..Cost::default()
        }
        .moving(x, y)
    }
    fn scratch(&self, x: &[Spec]) -> usize {
        let Ok(y) = self.outputs(x) else { return 0 };
        let g = self.conv.geometry(&x[0].shape, &y[0].shape, &x[1].shape);
        crate::dispatch!(float x[0].dtype, T => cpu::weight_gradient_scratch::<T>(&g))
    }
    fn cpu(&self, call: Call<'_>) {
        let [x, g] = call.inputs else { unreachable!("image and cotangent") };
        let sizes = self.conv.geometry(&x.layout.shape, &call.outputs[0].spec.shape, &g.layout.shape);
        crate::dispatch!(float x.dtype, T => {
            cpu::weight_gradient(&sizes, x.packed::<T>(), g.packed(), call.outputs[0].slice(), call.scratch)
        })
    }
    fn recorded(&self, x: &[Spec]) -> Option<(Arc<dyn Op>, &'static str)> {
        Winograd::Weight(*self).suits(x)
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], then: &[&dyn Op]) -> Option<Lanes> {
        if *axes != [Some(0), Some(0)] || !then.is_empty() || x[0].dtype != DType::F32 {
            return None;
        }
        let w = self.outputs(x).ok()?;
        lanes::weight_gradient(self.conv.geometry(&x[0].shape, &w[0].shape, &x[1].shape))
    }
    fn lanes_from(
        &self,
        x: &[Spec],
        axes: &[Option<usize>],
        operand: usize,
        maker: &dyn Op,
    ) -> Option<Lanes> {
        if *axes != [Some(0), Some(0)] || operand != 1 || x[0].dtype != DType::F32 {
            return None;
        }
        let w = self.outputs(x).ok()?;
        let conv = self.conv.geometry(&x[0].shape, &w[0].shape, &x[1].shape);
        sparse::weight_gradient(conv, pool::lanes::Spread::by(maker, &x[1].shape)?)
    }
}

/// A convolution or an adjoint by Winograd's algorithm: what recorded steps put in its place.
enum Winograd {
    Forward(Conv2d),
    Input(Conv2dInput),
    Weight(Conv2dWeight),
}

impl Winograd {
    fn suits(self, x: &[Spec]) -> Option<(Arc<dyn Op>, &'static str)> {
        let y = self.outputs(x).ok()?;
        let suits = x[0].dtype == DType::F32 && winograd::suits(&self.sizes(x, &y[0]));
        suits.then(|| (self.shared(), "by Winograd's algorithm"))
    }
    fn plain(&self) -> &dyn Op {
        match self {
            Winograd::Forward(op) => op,
            Winograd::Input(op) => op,
            Winograd::Weight(op) => op,
        }
    }
    fn sizes(&self, x: &[Spec], y: &Spec) -> cpu::Conv {
        let (a, b, y) = (&x[0].shape, &x[1].shape, &y.shape);
        match self {
            Winograd::Forward(op) => op.conv.geometry(a, b, y),
            Winograd::Input(op) => op.conv.geometry(y, b, a),
            Winograd::Weight(op) => op.conv.geometry(a, y, b),
        }
    }
}

impl Op for Winograd {
    fn name(&self) -> &'static str {
        self.plain().name()
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        self.plain().attributes()
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        self.plain().outputs(x)
    }
    fn linearize(&self, x: &[Tensor], y: &[Tensor], mode: Mode, wanted: &[bool]) -> LinearMap {
        self.plain().linearize(x, y, mode, wanted)
    }
    fn scratch(&self, x: &[Spec]) -> usize {
        let Ok(y) = self.outputs(x) else { return 0 };
        let sizes = self.sizes(x, &y[0]);
        match self {
            Winograd::Forward(_) => winograd::forward_scratch(&sizes),
            Winograd::Input(_) => winograd::input_gradient_scratch(&sizes),
            Winograd::Weight(_) => winograd::weight_gradient_scratch(&sizes),
        }
    }
    fn cpu(&self, call: Call<'_>) {
        let [a, b, ..] = call.inputs else { unreachable!("two operands") };
        let specs =
            [a, b].map(|v| Spec { shape: v.layout.shape, dtype: v.dtype, device: crate::Device::cpu() });
        let sizes = self.sizes(&specs, &call.outputs[0].spec);
        let bias = call.inputs.get(2).map(|b| b.packed::<f32>());
        let (a, b, y) = (a.packed::<f32>(), b.packed::<f32>(), call.outputs[0].slice());
        match self {
            Winograd::Forward(_) => winograd::forward(&sizes, a, b, bias, y, call.scratch),
            Winograd::Input(_) => winograd::input_gradient(&sizes, a, b, y, call.scratch),
            Winograd::Weight(_) => winograd::weight_gradient(&sizes, a, b, y, call.scratch),
        }
    }
}

/// Would this image and weight give a cotangent of this shape?
fn conforms(conv: &Conv, x: &Spec, w: &Spec, g: &Spec) -> Result<()> {
    let y = Conv2d { conv: *conv }.outputs(&[x.clone(), w.clone()])?;
    if y[0].shape == g.shape && y[0].dtype == g.dtype {
        return Ok(());
    }
    Err(Error::mistake(format!(
        "the cotangent is {:?} {}, the output {:?} {}",
        g.shape, g.dtype, y[0].shape, y[0].dtype
    ))
    .operands(operands(x, w, conv)))
}

impl Tensor {
    /// `y = self ⋆ weight + bias` (rows G2–G8): `[n, c, h, w]` or `[c, h, w]`, with a weight
    /// `[out, c/groups, kh, kw]`. <https://pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html>
    ///
    /// ```
    /// use cotangent::{ops::Conv, Tensor};
    /// let (x, w) = (Tensor::ones([1, 3, 32, 32]), Tensor::ones([6, 3, 5, 5]));
    /// assert_eq!(x.conv2d(&w, None, Conv::default()).shape()[..], [1, 6, 28, 28]);
    /// assert_eq!(x.conv2d(&w, None, Conv::default().padding(2)).shape()[..], [1, 6, 32, 32]);
    /// ```
    ///
    /// # Panics
    /// When channels, groups or sizes do not fit; the message holds the formula with the numbers put in.
    #[must_use]
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, conv: Conv) -> Tensor {
        if self.rank() == 3 {
            return self.unsqueeze(0).conv2d(weight, bias, conv).squeeze(0);
        }
        match bias {
            Some(bias) => apply(Conv2d { conv }, &[self, weight, bias]),
            None => apply(Conv2d { conv }, &[self, weight]),
        }
    }
}
