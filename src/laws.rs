//! What every operation must satisfy, whatever it computes; for users' own operations too.
//!
//! A law's entry is a generator: it draws attributes, sizes, values. For each draw, in `f64`:
//!
//! * push = finite difference, and ⟨c, push t⟩ = ⟨pull c, t⟩, to second order or more (row C5);
//! * operands may be transposed, stepped, expanded, and nothing changes;
//! * where the batch rule says that examples are treated alike, they are;
//! * `f32` gives what `f64` gives, within its precision; a virtual GPU gives the same bits, and keeps the
//!   results (row B8).
//!
//! ```
//! use cotangent::{laws, ops::MatMul, Op};
//! laws::check("matmul", 20, 2, |draw| {
//!     let [m, k, n] = [draw.size(0..4), draw.size(0..4), draw.size(1..4)];
//!     laws::Case::new(MatMul, vec![draw.real([m, k]), draw.real([k, n])])
//! })?;
//! # Ok::<(), String>(())
//! ```

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use crate::{
    DType, Device, Op, Shape, Tensor,
    apply::{Applied, layered, run_kernel},
    attempt, jvp_many,
    ops::Batch,
    tensor::Buffer,
    vjp_many,
};

/// An operation with its attributes, and operands for it.
pub struct Case {
    op: Arc<dyn Op>,
    inputs: Vec<Tensor>,
}

impl Case {
    /// An operation and its operands.
    pub fn new(op: impl Op, inputs: Vec<Tensor>) -> Self {
        Case { op: op.shared(), inputs }
    }

    /// The same operands for another operation, such as one with a fault planted in it.
    #[must_use]
    pub fn map_op(self, f: impl FnOnce(Arc<dyn Op>) -> Arc<dyn Op>) -> Self {
        Case { op: f(self.op), ..self }
    }
}

/// A source of random choices, the same in every run.
pub struct Draw(u64);

impl Draw {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Draw(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 += 1;
        crate::Rng::bits(0x1A35, 0, self.0)
    }

    /// A size within a range; 0 and 1 come often when they are in it.
    pub fn size(&mut self, range: Range<usize>) -> usize {
        let n = range.end - range.start;
        match self.bits() % 8 {
            0 if range.start <= 1 && range.end > 1 => 1,
            _ => range.start + (self.bits() % n as u64) as usize,
        }
    }

    /// One of several.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.size(0..from.len())].clone()
    }

    /// A coin.
    pub fn coin(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    /// A real number of [−1, 1).
    pub fn number(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Real numbers of (−2, 2), `F64`, all at least 4/n apart from each other and from 0 by half of that, in a
    /// random layout. So no draw is near a kink.
    pub fn real(&mut self, shape: impl Into<Shape>) -> Tensor {
        self.between(-2.0, 2.0, shape)
    }

    /// Real numbers between two bounds, evenly apart, in random order and a random layout.
    pub fn between(&mut self, low: f64, high: f64, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let n = shape.len();
        // An odd grid would contain the middle, which is 0 for symmetric bounds.
        let grid = n + n % 2;
        let mut order: Vec<usize> = (0..grid).collect();
        for i in (1..grid).rev() {
            order.swap(i, self.size(0..i + 1));
        }
        let values =
            order[..n].iter().map(|i| low + (high - low) * (*i as f64 + 0.5) / grid as f64).collect();
        let x = Tensor::from_vec::<f64>(values, shape);
        self.layout(&x)
    }

    /// Whole numbers of a range, `I64`, in a random layout.
    pub fn whole(&mut self, range: Range<i64>, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let n = (range.end - range.start).max(1) as u64;
        let values = (0..shape.len()).map(|_| range.start + (self.bits() % n) as i64).collect::<Vec<i64>>();
        let x = Tensor::from_vec(values, shape);
        self.layout(&x)
    }

    /// Truth values.
    pub fn truth(&mut self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let values = (0..shape.len()).map(|_| self.coin()).collect::<Vec<bool>>();
        let x = Tensor::from_vec(values, shape);
        self.layout(&x)
    }

    /// The same values behind other strides: as they are, transposed, stepped, or behind an offset.
    pub fn layout(&mut self, x: &Tensor) -> Tensor {
        let rank = x.rank();
        if rank == 0 {
            return x.clone();
        }
        match self.size(0..4) {
            1 if rank > 1 => {
                let back: Vec<usize> = (0..rank).rev().collect();
                x.permute(&back).contiguous().permute(&back)
            }
            2 => {
                let mut dims = x.shape().to_vec();
                dims.push(2);
                let wide = x.unsqueeze(-1).expand(dims).contiguous();
                wide.select(-1, 1)
            }
            3 => {
                let wide = Tensor::cat(&[&x.narrow(0, 0, x.size(0).min(1)), x], 0);
                wide.narrow(0, x.size(0).min(1), x.size(0))
            }
            _ => x.clone(),
        }
    }
}

/// What the draws of one entry have touched.
#[derive(Debug, Default)]
pub struct Report {
    /// Attribute → the different values it took.
    pub attributes: BTreeMap<&'static str, Vec<String>>,
    /// For each input: was it ever behind strides?
    pub strided: Vec<bool>,
    /// Batch rules that were put to the test.
    pub batched: usize,
}

impl Report {
    /// Did every attribute take at least two values, and was every input behind strides at least once?
    pub fn is_thorough(&self) -> Result<(), String> {
        let lazy: Vec<&str> = self.attributes.iter().filter(|(_, v)| v.len() < 2).map(|(k, _)| *k).collect();
        let plain: Vec<usize> = (0..self.strided.len()).filter(|i| !self.strided[*i]).collect();
        match (lazy.is_empty(), plain.is_empty()) {
            (true, true) => Ok(()),
            _ => Err(format!(
                "attributes that never changed: {lazy:?}; inputs that were never strided: {plain:?}"
            )),
        }
    }
}

/// Check the laws on `draws` draws, to derivatives of order `order`.
///
/// # Errors
/// The first law that is broken, with the draw that broke it.
pub fn check(
    name: &str,
    draws: u64,
    order: usize,
    generate: impl Fn(&mut Draw) -> Case,
) -> Result<Report, String> {
    let mut report = Report::default();
    for seed in 0..draws {
        let case = generate(&mut Draw::new(seed * 1000));
        let outcome = attempt(|| one(&case, order, seed, &mut report)).unwrap_or_else(|e| Err(e.to_string()));
        outcome.map_err(|e| {
            let shapes: Vec<String> =
                case.inputs.iter().map(|x| format!("{:?}{:?}", x.shape(), x.layout().strides())).collect();
            format!(
                "{name}: {e}\n  draw {seed}: operands {}, attributes {:?}",
                shapes.join(", "),
                case.op.attributes()
            )
        })?;
    }
    Ok(report)
}

fn apply(op: &Arc<dyn Op>, x: &[Tensor]) -> Vec<Tensor> {
    let origin = crate::apply::Origin::here(op.name(), std::panic::Location::caller());
    match layered(Applied::kept(op), &x.iter().collect::<Vec<_>>(), &origin) {
        Ok(y) => y.into_vec(),
        Err(e) => e.raise(),
    }
}

/// One example by itself, told its place in the batch.
fn example(op: &Arc<dyn Op>, x: &[Tensor], place: usize) -> Vec<Tensor> {
    let specs: Vec<_> = x.iter().map(Tensor::spec).collect();
    let y = op.outputs(&specs).unwrap_or_else(|e| e.raise());
    let values: Vec<Tensor> = x.iter().map(Tensor::contiguous).collect();
    let views: Vec<_> = values.iter().map(|x| x.value().view()).collect();
    let (results, _) = run_kernel(&**op, &views, &specs, &y, place);
    let made = |(m, s): (_, &crate::Spec)| {
        Tensor::from_buffer(Buffer::filled(m), crate::Layout::packed(s.shape), s.dtype, Device::cpu())
    };
    results.into_iter().zip(&y).map(made).collect()
}

fn one(case: &Case, order: usize, seed: u64, report: &mut Report) -> Result<(), String> {
    let (op, x) = (&case.op, &case.inputs);
    for (k, v) in op.attributes() {
        let (seen, v) = (report.attributes.entry(k).or_default(), format!("{v:?}"));
        if !seen.contains(&v) {
            seen.push(v)
        }
    }
    report.strided.resize(x.len().max(report.strided.len()), false);
    x.iter().enumerate().for_each(|(i, x)| report.strided[i] |= !x.layout().is_packed() || x.rank() == 0);

    let y = apply(op, x);
    let packed: Vec<Tensor> = x.iter().map(Tensor::contiguous).collect();
    let straight = apply(op, &packed);
    same("strides change nothing", &y, &straight, 1e-12)?;

    let gpu = Device::virtual_gpu();
    let there: Vec<Tensor> = x.iter().map(|x| x.to(&gpu)).collect();
    let results = apply(op, &there);
    if !x.is_empty() && results.iter().any(|y| y.device() != gpu) {
        return Err("a result lives where its operands do".into());
    }
    let back: Vec<Tensor> = results.iter().map(|y| y.to(&Device::cpu())).collect();
    // A transfer packs, and sums over packed operands may run in another order than over strided ones.
    same("a virtual GPU gives the same", &straight, &back, 0.0)?;

    let narrow: Vec<Tensor> =
        x.iter().map(|x| if x.dtype() == DType::F64 { x.cast(DType::F32) } else { x.clone() }).collect();
    let specs: Vec<_> = narrow.iter().map(Tensor::spec).collect();
    if op.outputs(&specs).is_ok() {
        let z: Vec<Tensor> = apply(op, &narrow);
        let z: Vec<Tensor> = z.iter().zip(&y).map(|(z, y)| z.cast(y.dtype())).collect();
        let real: Vec<usize> = (0..y.len()).filter(|i| y[*i].dtype().is_float()).collect();
        let pick = |v: &[Tensor]| real.iter().map(|i| v[*i].clone()).collect::<Vec<_>>();
        same("f32 gives what f64 gives", &pick(&y), &pick(&z), 2e-4)?;
    }
    batches(op, x, &y, report)?;

    let real: Vec<usize> = (0..x.len()).filter(|i| x[*i].dtype().is_float()).collect();
    if real.is_empty() || !y.iter().any(|y| y.dtype().is_float()) {
        return Ok(());
    }
    let f = |v: &[Tensor]| -> Vec<Tensor> {
        let mut full = x.clone();
        real.iter().zip(v).for_each(|(i, v)| full[*i] = v.clone());
        apply(op, &full).into_iter().filter(|y| y.dtype().is_float()).collect()
    };
    let at: Vec<Tensor> = real.iter().map(|i| x[*i].clone()).collect();
    derivatives(order, &f, &at, seed)?;

    // Each operand alone: what is not wanted must not be needed.
    for i in 0..real.len().min(4) {
        let alone = |v: &[Tensor]| -> Vec<Tensor> {
            let mut full = at.clone();
            full[i] = v[0].clone();
            f(&full)
        };
        derivatives(1, &alone, &at[i..=i], seed).map_err(|e| format!("input {} alone: {e}", real[i]))?;
    }
    Ok(())
}

/// Derivatives of any function of real tensors: pushes against differences, pulls against pushes, and the same
/// of its derivatives, to order `order`.
///
/// # Errors
/// The law that is broken, with both numbers.
pub fn derivatives(
    order: usize,
    f: &dyn Fn(&[Tensor]) -> Vec<Tensor>,
    at: &[Tensor],
    seed: u64,
) -> Result<(), String> {
    let mut draw = Draw::new(seed * 1000 + 500 + order as u64);
    let along: Vec<Tensor> = at.iter().map(|x| noise(&mut draw, x)).collect();
    let (y, dy) = jvp_many(f, at, &along);
    let c: Vec<Tensor> = y.iter().map(|y| noise(&mut draw, y)).collect();
    let pushed = dot(&c, &dy);
    let moved = |h: f64| dot(&c, &f(&at.iter().zip(&along).map(|(x, t)| x + t * h).collect::<Vec<_>>()));
    // Richardson: two central differences, whose errors of order h² cancel.
    let central = |h: f64| (moved(h) - moved(-h)) / (2.0 * h);
    let h = 1e-3;
    let (wide, narrow) = (central(h), central(h / 2.0));
    agree("push = finite difference", pushed, (4.0 * narrow - wide) / 3.0, 1e-6)?;
    let (_, pull) = vjp_many(f, at);
    let back = pull(&c);
    agree("⟨c, push t⟩ = ⟨pull c, t⟩", pushed, dot(&back, &along), 1e-10)?;
    for (x, g) in at.iter().zip(&back) {
        if x.shape() != g.shape() || x.dtype() != g.dtype() {
            return Err(format!(
                "the cotangent of {:?} {} is {:?} {}",
                x.shape(),
                x.dtype(),
                g.shape(),
                g.dtype()
            ));
        }
    }
    if order > 1 {
        derivatives(order - 1, &|x| jvp_many(f, x, &along).1, at, seed)
            .map_err(|e| format!("of the push: {e}"))?;
        derivatives(order - 1, &|x| vjp_many(f, x).1(&c), at, seed)
            .map_err(|e| format!("of the pull: {e}"))?;
    }
    Ok(())
}

fn noise(draw: &mut Draw, like: &Tensor) -> Tensor {
    let v: Vec<f64> = (0..like.numel()).map(|_| draw.number()).collect();
    Tensor::from_vec(v, *like.shape())
}

fn dot(a: &[Tensor], b: &[Tensor]) -> f64 {
    let product = |(a, b): (&Tensor, &Tensor)| -> f64 {
        a.to_vec::<f64>().iter().zip(b.to_vec::<f64>()).map(|(a, b)| a * b).sum()
    };
    a.iter().zip(b).map(product).sum()
}

fn agree(law: &str, a: f64, b: f64, tolerance: f64) -> Result<(), String> {
    let close = (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()));
    if close { Ok(()) } else { Err(format!("{law}: {a} is not {b}")) }
}

fn same(law: &str, a: &[Tensor], b: &[Tensor], tolerance: f64) -> Result<(), String> {
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        if a.shape() != b.shape() || a.dtype() != b.dtype() {
            return Err(format!(
                "{law}: output {i} is {:?} {} and {:?} {}",
                a.shape(),
                a.dtype(),
                b.shape(),
                b.dtype()
            ));
        }
        for (p, (a, b)) in a.to_vec::<f64>().into_iter().zip(b.to_vec::<f64>()).enumerate() {
            let equal = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1.0 + a.abs());
            if !equal {
                return Err(format!("{law}: output {i} at {p}: {a} is not {b}"));
            }
        }
    }
    Ok(())
}

/// Every batch rule that is not `Mixes`: example by example, or summed, it gives the whole.
fn batches(op: &Arc<dyn Op>, x: &[Tensor], y: &[Tensor], report: &mut Report) -> Result<(), String> {
    let specs: Vec<_> = x.iter().map(Tensor::spec).collect();
    let choices: Vec<Vec<Option<usize>>> =
        x.iter().map(|x| [None].into_iter().chain((0..x.rank()).map(Some)).collect()).collect();
    let mut pick = vec![0; x.len()];
    for _ in 0..256 {
        let axes: Vec<Option<usize>> = pick.iter().zip(&choices).map(|(p, c)| c[*p]).collect();
        let sizes: Vec<usize> = axes.iter().zip(x).filter_map(|(a, x)| a.map(|a| x.shape()[a])).collect();
        if let Some(n) = sizes.first().copied().filter(|n| *n > 0 && sizes.iter().all(|m| m == n)) {
            let part = |i: usize| -> Vec<Tensor> {
                let one = |(x, a): (&Tensor, &Option<usize>)| {
                    a.map_or_else(|| x.clone(), |a| x.narrow(a as isize, i, 1))
                };
                let op = op.for_examples(&specs, &axes, 1).unwrap_or_else(|| op.clone());
                example(&op, &x.iter().zip(&axes).map(one).collect::<Vec<_>>(), i)
            };
            match op.batch(&specs, &axes) {
                Batch::Mixes => {}
                Batch::Each(out) => {
                    report.batched += 1;
                    let parts: Vec<Vec<Tensor>> = (0..n).map(part).collect();
                    for (o, a) in out.iter().enumerate() {
                        let whole =
                            Tensor::cat(&parts.iter().map(|p| &p[o]).collect::<Vec<_>>(), *a as isize);
                        same(&format!("examples alike along {axes:?}"), &y[o..=o], &[whole], 1e-12)?;
                    }
                }
                Batch::Sums => {
                    report.batched += 1;
                    let whole =
                        (0..n).map(part).reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect());
                    same(&format!("sums over {axes:?}"), y, &whole.unwrap_or_default(), 1e-10)?;
                }
            }
        }
        // The next combination, as a number counts up.
        let Some(i) = (0..pick.len()).find(|i| pick[*i] + 1 < choices[*i].len()) else { break };
        pick[..i].fill(0);
        pick[i] += 1;
    }
    Ok(())
}
