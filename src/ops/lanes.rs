//! Every kernel of lanes against the operation's own, on every instruction set.

use crate::{
    device::cpu::{
        Call, FaultSlot, View, ViewMut, isa,
        isa::Isa,
        lane::{on_every_isa, on_isas_from},
        memory::Memory,
    },
    ops::*,
    tensor::{Layout, Shape},
};

/// A small generator of numbers.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    /// From `low` to `high`, both included.
    fn of(&mut self, low: usize, high: usize) -> usize {
        low + self.next() as usize % (high - low + 1)
    }
    /// Whole numbers: their sums are exact in any order.
    fn whole(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.of(0, 8) as f32 - 4.0).collect()
    }
}

/// An operand or a result.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I32(Vec<i32>),
}
use Numbers::{F32, I32, U8};

impl Numbers {
    fn memory(&self) -> Memory {
        fn of<T: crate::Element>(v: &[T]) -> Memory {
            let mut m = Memory::zeroed(size_of_val(v).max(64));
            m.slice_mut::<T>()[..v.len()].copy_from_slice(v);
            m
        }
        match self {
            F32(v) => of(v),
            U8(v) => of(v),
            I32(v) => of(v),
        }
    }
    fn of(spec: &Spec, m: &Memory) -> Numbers {
        let n = spec.shape.len();
        match spec.dtype {
            DType::F32 => F32(m.slice()[..n].to_vec()),
            DType::U8 => U8(m.slice()[..n].to_vec()),
            DType::I32 => I32(m.slice()[..n].to_vec()),
            other => unreachable!("{other}"),
        }
    }
    /// Elements `from[i]`, in this order.
    fn pick(&self, from: &[usize]) -> Numbers {
        match self {
            F32(v) => F32(from.iter().map(|i| v[*i]).collect()),
            U8(v) => U8(from.iter().map(|i| v[*i]).collect()),
            I32(v) => I32(from.iter().map(|i| v[*i]).collect()),
        }
    }
    fn f32(&self) -> &[f32] {
        let F32(v) = self else { unreachable!("real numbers") };
        v
    }
}

type Operand = (Spec, Numbers);

fn run(op: &dyn Op, x: &[Operand]) -> Vec<Operand> {
    let specs: Vec<Spec> = x.iter().map(|x| x.0.clone()).collect();
    let outputs = op.outputs(&specs).unwrap();
    let layouts: Vec<Layout> = specs.iter().map(|s| Layout::packed(s.shape)).collect();
    call(x, &layouts, &outputs, op.scratch(&specs), None, |c| op.cpu(c))
}

fn call(
    x: &[Operand],
    layouts: &[Layout],
    outputs: &[Spec],
    scratch: usize,
    onto: Option<&[f32]>,
    f: impl FnOnce(Call<'_>),
) -> Vec<Operand> {
    let memory: Vec<Memory> = x.iter().map(|x| x.1.memory()).collect();
    let inputs: Vec<View<'_>> = (x.iter().zip(layouts).zip(&memory))
        .map(|((x, layout), memory)| View { layout, dtype: x.0.dtype, memory })
        .collect();
    let mut results: Vec<ViewMut> = outputs
        .iter()
        .map(|s| ViewMut { spec: s.clone(), memory: Memory::block(s.bytes().max(64)) })
        .collect();
    let real = results.iter_mut().filter(|r| r.spec.dtype == DType::F32);
    real.for_each(|r| r.slice::<f32>().fill(f32::NAN));
    if let (Some(onto), Some(last)) = (onto, results.last_mut()) {
        last.slice::<f32>().copy_from_slice(onto);
    }
    let mut room = Memory::block(scratch + 64);
    room.slice_mut::<u8>().fill(0xff);
    f(Call {
        inputs: &inputs,
        outputs: &mut results,
        scratch: &mut room.slice_mut::<u8>()[..scratch],
        fault: &FaultSlot::default(),
        first_example: 0,
        accumulate: onto.is_some(),
    });
    results.into_iter().map(|r| (r.spec.clone(), Numbers::of(&r.spec, &r.memory))).collect()
}

/// Where element `[rest.., lane]` of a block lies in the tensor.
fn order(shape: &Shape, axis: usize) -> Vec<usize> {
    let inner: usize = shape[axis + 1..].iter().product();
    let rest = shape.len() / LANES;
    (0..rest * LANES)
        .map(|i| {
            let (e, lane) = (i / LANES, i % LANES);
            (e / inner * LANES + lane) * inner + e % inner
        })
        .collect()
}

/// In lanes: `[rest.., 16]`.
fn to_lanes((spec, x): &Operand, axis: usize) -> Operand {
    let mut dims = spec.shape.without(axis).to_vec();
    dims.push(LANES);
    (spec.with(Shape::new(&dims)), x.pick(&order(&spec.shape, axis)))
}

struct Case<'a> {
    op: &'a dyn Op,
    then: &'a [&'a dyn Op],
    x: Vec<Operand>,
    axes: Vec<Option<usize>>,
    /// Operands of `then`, in lanes along axis 0.
    more: Vec<Operand>,
    /// Largest relative error; 0 asks for the same numbers.
    tolerance: f32,
}

impl Case<'_> {
    fn kernel(&self) -> Option<Lanes> {
        let specs: Vec<Spec> = self.x.iter().map(|x| x.0.clone()).collect();
        self.op.lanes(&specs, &self.axes, self.then)
    }

    /// Results of the kernel, as tensors.
    fn in_lanes(&self, x: &[Operand], wanted: &[Operand], onto: Option<&[f32]>) -> Vec<Operand> {
        let kernel = self.kernel().expect("a kernel of lanes");
        let mut operands: Vec<Operand> = (x.iter().zip(&self.axes))
            .map(|(x, axis)| axis.map_or_else(|| x.clone(), |a| to_lanes(x, a)))
            .collect();
        operands.extend(self.more.iter().map(|x| to_lanes(x, 0)));
        let layouts: Vec<Layout> = operands.iter().map(|x| Layout::packed(x.0.shape)).collect();
        let specs: Vec<Spec> = x.iter().map(|x| x.0.clone()).collect();
        let batch = self.op.batch(&specs, &self.axes);
        let place = |i: usize| match &batch {
            Batch::Each(places) => Some(places[i.min(places.len() - 1)]),
            _ => None,
        };
        let outputs: Vec<Spec> = (wanted.iter().enumerate())
            .map(|(i, y)| place(i).map_or_else(|| y.0.clone(), |a| to_lanes(y, a).0))
            .collect();
        let found = call(&operands, &layouts, &outputs, kernel.scratch, onto, |c| (kernel.run)(c));
        (found.into_iter().zip(wanted).enumerate())
            .map(|(i, (found, y))| match place(i) {
                None => found,
                Some(axis) => {
                    let order = order(&y.0.shape, axis);
                    let mut back = vec![0; order.len()];
                    order.iter().enumerate().for_each(|(i, o)| back[*o] = i);
                    (y.0.clone(), found.1.pick(&back))
                }
            })
            .collect()
    }

    fn wanted(&self, x: &[Operand]) -> Vec<Operand> {
        let mut more = self.more.iter();
        let mut y = run(self.op, x);
        for op in self.then {
            let takes = if op.name() == "add" { 1 } else { 0 };
            let operands: Vec<Operand> =
                [y[0].clone()].into_iter().chain(more.by_ref().take(takes).cloned()).collect();
            y = run(*op, &operands);
        }
        y
    }

    fn check(&self) {
        self.check_from(Isa::Plain);
    }

    /// On all instruction sets from this one on.
    fn check_from(&self, least: Isa) {
        let wanted = self.wanted(&self.x);
        // A place counts where its maximum passes ReLU.
        let gated = self.then.len() == 2 && self.then[0].name() == "relu";
        let compare = |found: &[Operand],
                       wanted: &[Operand],
                       live: &dyn Fn(usize, usize) -> bool,
                       what: &str| {
            for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
                let about = || format!("{what}, output {i} of {} {:?}", self.op.name(), self.op.attributes());
                let shapes: Vec<_> = self.x.iter().map(|x| x.0.shape).collect();
                match (&f.1, &w.1) {
                    (F32(f), F32(w)) => f.iter().zip(w).enumerate().for_each(|(e, (f, w))| {
                        let same = f == w || f.is_nan() && w.is_nan();
                        let near = (f - w).abs() <= self.tolerance * w.abs().max(1.0);
                        assert!(same || near || !live(i, e), "{}: {f} for {w} at {e}, {shapes:?}", about());
                    }),
                    (f, w) => (0..f.len()).for_each(|e| {
                        let kept = !gated || wanted[0].1.f32()[e] > 0.0;
                        assert!(
                            f.at(e) == w.at(e) || !kept || !live(i, e),
                            "{}: {} for {} at {e}, {shapes:?}",
                            about(),
                            f.at(e),
                            w.at(e)
                        );
                    }),
                }
            }
        };
        let specs: Vec<Spec> = self.x.iter().map(|x| x.0.clone()).collect();
        let each = match self.op.batch(&specs, &self.axes) {
            Batch::Each(places) => Some(places[0]),
            _ => None,
        };
        on_isas_from(least, || {
            let found = self.in_lanes(&self.x, &wanted, None);
            compare(&found, &wanted, &|_, _| true, "lanes");
            if let Some(axis) = each {
                // Lane 5 stays, the others become NaN, infinite, large.
                let mut other = self.x.clone();
                for (x, axis) in other.iter_mut().zip(&self.axes) {
                    let (Some(axis), F32(v)) = (axis, &mut x.1) else { continue };
                    let inner: usize = x.0.shape[axis + 1..].iter().product();
                    v.iter_mut().enumerate().for_each(|(i, v)| match i / inner % LANES {
                        5 => {}
                        3 => *v = f32::NAN,
                        4 => *v *= 1e30,
                        6 if i % 5 == 0 => *v = f32::INFINITY,
                        l => *v += l as f32,
                    });
                }
                let lane = |i: usize, e: usize| {
                    let inner: usize = wanted[i].0.shape[axis + 1..].iter().product();
                    e / inner % LANES == 5
                };
                let again = self.in_lanes(&other, &wanted, None);
                for (i, (a, b)) in again.iter().zip(&found).enumerate() {
                    for e in (0..a.1.len()).filter(|e| lane(i, *e)) {
                        assert_eq!(
                            a.1.at(e).to_bits(),
                            b.1.at(e).to_bits(),
                            "a lane depends on others: {:?}",
                            self.op.attributes()
                        );
                    }
                }
            } else {
                let onto: Vec<f32> = (0..wanted[0].1.len()).map(|i| (i % 7) as f32).collect();
                let sum = F32(onto.iter().zip(wanted[0].1.f32()).map(|(a, b)| a + b).collect());
                let added = self.in_lanes(&self.x, &wanted, Some(&onto));
                compare(&added, &[(wanted[0].0.clone(), sum)], &|_, _| true, "added");
            }
        });
    }
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            F32(v) => v.len(),
            U8(v) => v.len(),
            I32(v) => v.len(),
        }
    }
    fn at(&self, i: usize) -> f32 {
        match self {
            F32(v) => v[i],
            U8(v) => v[i].into(),
            I32(v) => v[i] as f32,
        }
    }
}

fn operand(draw: &mut Draw, shape: &[usize]) -> Operand {
    let spec = Spec { shape: Shape::new(shape), dtype: DType::F32, device: Device::cpu() };
    let numbers = F32(draw.whole(spec.shape.len()));
    (spec, numbers)
}

struct Sizes {
    x: [usize; 4],
    w: [usize; 4],
    y: [usize; 4],
}

fn draw_conv(draw: &mut Draw) -> (Conv, Sizes) {
    loop {
        let wide = draw.of(0, 5) == 0;
        let groups = [1, 1, 1, 2, 3, 4][draw.of(0, 5)];
        let (c, o) = match draw.of(0, 4) {
            0 => (groups * draw.of(1, 5), 0),
            _ if wide => (groups * draw.of(1, 40 / groups), groups * draw.of(1, 40 / groups)),
            _ => (groups * draw.of(1, 3), groups * draw.of(1, 9)),
        };
        // Depthwise, perhaps with several outputs a channel.
        let (groups, o) = if o == 0 { (c, c * draw.of(1, 2)) } else { (groups, o) };
        let kernel = if wide { [draw.of(1, 3), draw.of(1, 3)] } else { [draw.of(1, 7), draw.of(1, 7)] };
        let image = if wide { [draw.of(1, 6), draw.of(1, 6)] } else { [draw.of(1, 14), draw.of(1, 14)] };
        let padding = [[draw.of(0, 3), draw.of(0, 3)], [draw.of(0, 3), draw.of(0, 3)]];
        let padding = if draw.of(0, 2) == 0 { [[0; 2]; 2] } else { padding };
        let conv = Conv::default()
            .stride([draw.of(1, 3), draw.of(1, 3)])
            .padding(padding)
            .dilation([draw.of(1, 2), draw.of(1, 2)])
            .groups(groups)
            .rounding([Rounding::Floor, Rounding::Ceil][draw.of(0, 1)]);
        let Ok([oh, ow]) = conv.output_size(image, kernel) else { continue };
        let sizes = Sizes {
            x: [LANES, c, image[0], image[1]],
            w: [o, c / groups, kernel[0], kernel[1]],
            y: [LANES, o, oh, ow],
        };
        return (conv, sizes);
    }
}

const CASES: usize = if cfg!(debug_assertions) { 120 } else { 600 };

#[test]
fn convolution_agrees() {
    let mut draw = Draw(1);
    for _ in 0..CASES {
        let (conv, s) = draw_conv(&mut draw);
        let mut x = vec![operand(&mut draw, &s.x), operand(&mut draw, &s.w)];
        let mut axes = vec![Some(0), None];
        if draw.of(0, 1) == 0 {
            x.push(operand(&mut draw, &s.w[..1]));
            axes.push(None);
        }
        let op = Conv2d { conv };
        let case = |then: &[&dyn Op]| {
            Case { op: &op, then, x: x.clone(), axes: axes.clone(), more: vec![], tolerance: 0.0 }.check()
        };
        case(&[]);
        case(&[&Elementwise::Relu]);
        for pool in [Pool::new(2), Pool::new([3, 2]).stride([1, 2]), Pool::new(1).stride(2)] {
            if pool.output_size([s.y[2], s.y[3]]).is_ok() {
                case(&[&MaxPool2d { pool }]);
                case(&[&Elementwise::Relu, &MaxPool2d { pool }]);
            }
        }
    }
}

#[test]
fn convolution_adjoint_in_the_input_agrees() {
    let mut draw = Draw(2);
    for _ in 0..CASES {
        let (conv, s) = draw_conv(&mut draw);
        let op = Conv2dInput { conv, size: [s.x[2], s.x[3]] };
        let x = vec![operand(&mut draw, &s.y), operand(&mut draw, &s.w)];
        Case { op: &op, then: &[], x, axes: vec![Some(0), None], more: vec![], tolerance: 0.0 }.check();
    }
}

#[test]
fn convolution_adjoint_in_the_weight_agrees() {
    let mut draw = Draw(4);
    for _ in 0..CASES {
        let (conv, s) = draw_conv(&mut draw);
        let op = Conv2dWeight { conv, kernel: [s.w[2], s.w[3]] };
        let x = vec![operand(&mut draw, &s.x), operand(&mut draw, &s.y)];
        Case { op: &op, then: &[], x, axes: vec![Some(0), Some(0)], more: vec![], tolerance: 0.0 }.check();
    }
}

#[test]
fn convolution_passes_nan_on_as_the_operations_one_by_one() {
    let mut draw = Draw(3);
    for pool in [Pool::new(2), Pool::new(3)] {
        let mut x = vec![operand(&mut draw, &[LANES, 2, 8, 9]), operand(&mut draw, &[7, 2, 1, 1])];
        let F32(v) = &mut x[0].1 else { unreachable!() };
        (0..v.len()).step_by(13).for_each(|i| v[i] = f32::NAN);
        let op = Conv2d { conv: Conv::default() };
        for then in [&[&MaxPool2d { pool } as &dyn Op][..], &[&Elementwise::Relu, &MaxPool2d { pool }]] {
            let axes = vec![Some(0), None];
            Case { op: &op, then, x: x.clone(), axes, more: vec![], tolerance: 0.0 }.check();
        }
    }
}

fn draw_pool(draw: &mut Draw, mean: bool) -> (Pool, [usize; 2], [usize; 2]) {
    loop {
        let kernel = if draw.of(0, 9) == 0 { [17, 16] } else { [draw.of(1, 4), draw.of(1, 4)] };
        let kernel = if draw.of(0, 2) == 0 { [2, 2] } else { kernel };
        let mut pool = Pool::new(kernel);
        if draw.of(0, 2) > 0 {
            pool = pool.stride([draw.of(1, 4), draw.of(1, 4)]);
        }
        if draw.of(0, 1) == 0 {
            pool = pool.padding(kernel.map(|k| draw.of(0, k / 2)));
            pool = pool.rounding([Rounding::Floor, Rounding::Ceil][draw.of(0, 1)]);
        }
        pool = match (mean, draw.of(0, 2)) {
            (true, 0) => pool.count_include_pad(false),
            (true, 1) => pool.divisor(3),
            (false, 0) => pool.dilation([draw.of(1, 2), draw.of(1, 2)]),
            _ => pool,
        };
        let size = [draw.of(1, 12) + kernel[0] / 8 * 12, draw.of(1, 12) + kernel[0] / 8 * 12];
        if let Ok(out) = pool.output_size(size) {
            return (pool, size, out);
        }
    }
}

#[test]
fn pooling_agrees() {
    let mut draw = Draw(5);
    for _ in 0..CASES {
        let (pool, [h, w], _) = draw_pool(&mut draw, false);
        // Examples are the first axis, or the second, where channels stand.
        let (axis, c) = (draw.of(0, 1), draw.of(1, 5));
        let shape = |h: usize, w: usize| if axis == 0 { [LANES, c, h, w] } else { [c, LANES, h, w] };
        let check = |op: &dyn Op, x: Vec<Operand>| {
            let axes = vec![Some(axis); x.len()];
            Case { op, then: &[], x, axes, more: vec![], tolerance: 0.0 }.check();
        };
        let x = operand(&mut draw, &shape(h, w));
        let [y, at] = run(&MaxPool2d { pool }, std::slice::from_ref(&x)).try_into().unwrap();
        check(&MaxPool2d { pool }, vec![x.clone()]);
        check(&MaxPool2dGather { pool }, vec![x, at.clone()]);
        check(&MaxPool2dScatter { pool, size: [h, w] }, vec![y, at]);
        let (pool, [h, w], [oh, ow]) = draw_pool(&mut draw, true);
        let (x, y) = (operand(&mut draw, &shape(h, w)), operand(&mut draw, &shape(oh, ow)));
        let check = |op: &dyn Op, x: Operand| {
            let axes = vec![Some(axis)];
            Case { op, then: &[], x: vec![x], axes, more: vec![], tolerance: 1e-6 }.check();
        };
        check(&AvgPool2d { pool }, x);
        check(&AvgPool2dInput { pool, size: [h, w] }, y);
    }
}

#[test]
fn matrix_products_agree() {
    let mut draw = Draw(6);
    for _ in 0..CASES {
        let [m, k, n] = [draw.of(1, 70), draw.of(1, 50), draw.of(1, 70)];
        let (x, w) = (operand(&mut draw, &[LANES, k]), operand(&mut draw, &[k, n]));
        let more = vec![operand(&mut draw, &[LANES, n])];
        let add = Arithmetic::Add;
        for (then, more) in [
            (&[][..], vec![]),
            (&[&Elementwise::Relu as &dyn Op], vec![]),
            (&[&add], more.clone()),
            (&[&add, &Elementwise::Relu], more),
        ] {
            let (x, axes) = (vec![x.clone(), w.clone()], vec![Some(0), None]);
            Case { op: &MatMul, then, x, axes, more, tolerance: 0.0 }.check();
        }
        let x = vec![operand(&mut draw, &[m, k]), operand(&mut draw, &[k, LANES])];
        Case { op: &MatMul, then: &[], x, axes: vec![None, Some(1)], more: vec![], tolerance: 0.0 }.check();
        let x = vec![operand(&mut draw, &[m, LANES]), operand(&mut draw, &[LANES, n])];
        Case { op: &MatMul, then: &[], x, axes: vec![Some(1), Some(0)], more: vec![], tolerance: 0.0 }
            .check();
    }
}

#[test]
fn a_shared_matrix_may_lie_anyhow() {
    let mut draw = Draw(7);
    for _ in 0..CASES {
        let (k, n) = (draw.of(1, 30), draw.of(1, 40));
        let (x, w) = (operand(&mut draw, &[LANES, k]), operand(&mut draw, &[k, n]));
        let wanted = run(&MatMul, &[x.clone(), w.clone()]);
        let [y, (_, turned)] = [to_lanes(&wanted[0], 0), (w.0.clone(), w.1.clone())];
        let specs = [x.0.clone(), w.0.clone()];
        // Transposed; then every second column backwards, behind an offset.
        let transposed = turned.pick(&(0..k * n).map(|i| i % k * n + i / k).collect::<Vec<_>>());
        let mut sparse = vec![f32::NAN; 2 * k * n + 3];
        (0..k * n).for_each(|i| sparse[2 * (i / n * n + n - 1 - i % n) + 3] = turned.at(i));
        let ways = [
            (transposed, Layout::new(w.0.shape, &[1, k as isize], 0)),
            (F32(sparse), Layout::new(w.0.shape, &[2 * n as isize, -2], 2 * (n - 1) + 3)),
        ];
        for (numbers, layout) in ways {
            on_every_isa(|| {
                let kernel = MatMul.lanes(&specs, &[Some(0), None], &[]).unwrap();
                let operands = [to_lanes(&x, 0), (w.0.clone(), numbers.clone())];
                let layouts = [Layout::packed(operands[0].0.shape), layout];
                let found =
                    call(&operands, &layouts, std::slice::from_ref(&y.0), kernel.scratch, None, |c| {
                        (kernel.run)(c)
                    });
                assert_eq!(found[0].1, y.1);
            });
        }
    }
}

#[test]
fn sums_agree() {
    let mut draw = Draw(8);
    for _ in 0..CASES {
        let rank = draw.of(1, 5);
        let batch = draw.of(0, rank - 1);
        let shape: Vec<usize> = (0..rank).map(|a| if a == batch { LANES } else { draw.of(1, 9) }).collect();
        let axes: Vec<usize> = (0..rank).filter(|_| draw.of(0, 1) == 0).collect();
        let x = vec![operand(&mut draw, &shape)];
        let op = Sum { axes };
        Case { op: &op, then: &[], x, axes: vec![Some(batch)], more: vec![], tolerance: 0.0 }.check();
    }
}

/// A convolution's adjoint of which one operand is a max pool's cotangent, spread: as one operation.
struct Spreading {
    op: Arc<dyn Op>,
    operand: usize,
    maker: MaxPool2dScatter,
}

impl Spreading {
    fn own<T: Clone>(&self, x: &[T], made: T) -> Vec<T> {
        let mut own = x.to_vec();
        own.splice(self.operand..self.operand + 2, [made]);
        own
    }
    fn specs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(self.own(x, self.maker.outputs(&x[self.operand..][..2])?.remove(0)))
    }
    fn axes(&self, axes: &[Option<usize>]) -> Vec<Option<usize>> {
        self.own(axes, axes[self.operand])
    }
}

impl Op for Spreading {
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        [self.op.attributes(), self.maker.attributes()].concat()
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        self.op.outputs(&self.specs(x)?)
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        unreachable!("nobody differentiates it")
    }
    fn batch(&self, x: &[Spec], axes: &[Option<usize>]) -> Batch {
        self.op.batch(&self.specs(x).unwrap(), &self.axes(axes))
    }
    fn cpu(&self, call: Call<'_>) {
        let spec = |v: &View<'_>| Spec { shape: v.layout.shape, dtype: v.dtype, device: Device::cpu() };
        let x: Vec<Operand> =
            call.inputs.iter().map(|v| (spec(v), Numbers::of(&spec(v), v.memory))).collect();
        let made = run(&self.maker, &x[self.operand..][..2]).remove(0);
        let y = run(&*self.op, &self.own(&x, made)).remove(0);
        call.outputs[0].slice::<f32>().copy_from_slice(y.1.f32());
    }
    fn lanes(&self, x: &[Spec], axes: &[Option<usize>], _: &[&dyn Op]) -> Option<Lanes> {
        self.op.lanes_from(&self.specs(x).ok()?, &self.axes(axes), self.operand, &self.maker)
    }
}

#[test]
fn convolution_adjoints_behind_a_max_pool_agree() {
    let mut draw = Draw(9);
    let (mut checked, mut pairs) = (0, 0);
    while isa() >= Isa::Avx2 && (checked < CASES / 4 || pairs < CASES / 10) {
        let Some((conv, s, pool)) = draw_pooled(&mut draw) else { continue };
        let maker = MaxPool2dScatter { pool, size: [s.y[2], s.y[3]] };
        let y = operand(&mut draw, &s.y);
        let [g, at] = run(&MaxPool2d { pool }, &[y]).try_into().unwrap();
        // As after a ReLU: half of them, or all but a few, are 0.
        let (most, mut g) = (draw.of(0, 8), g);
        let F32(v) = &mut g.1 else { unreachable!() };
        v.iter_mut().for_each(|v| *v = if draw.of(0, 8) <= most { *v } else { 0.0 });
        let (x, w) = (operand(&mut draw, &s.x), operand(&mut draw, &s.w));
        let weight: Arc<dyn Op> = Conv2dWeight { conv, kernel: [s.w[2], s.w[3]] }.shared();
        let input: Arc<dyn Op> = Conv2dInput { conv, size: [s.x[2], s.x[3]] }.shared();
        // In the weight's, such a number meets the border's zeros.
        let mut wild = g.clone();
        if draw.of(0, 3) == 0 {
            let (F32(v), odd) = (&mut wild.1, [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]) else {
                unreachable!()
            };
            (0..2).for_each(|_| v[draw.of(0, g.1.len() - 1)] = odd[draw.of(0, 2)]);
        }
        pairs += pair_agrees(&input, &weight, &maker, [&wild, &at, &w, &x]);
        for (op, operand, x, axes) in [
            (weight, 1, vec![x, g, at.clone()], vec![Some(0); 3]),
            (input, 0, vec![wild, at, w], vec![Some(0), Some(0), None]),
        ] {
            let op = Spreading { op, operand, maker };
            let specs: Vec<Spec> = x.iter().map(|x| x.0.clone()).collect();
            if op.lanes(&specs, &axes, &[]).is_some() {
                Case { op: &op, then: &[], x, axes, more: vec![], tolerance: 0.0 }.check_from(Isa::Avx2);
                checked += 1;
            }
        }
    }
}

/// Both adjoints by one kernel, from the pool's cotangent, places, weight and image: are they those of two? How many
/// there are of it.
fn pair_agrees(
    input: &Arc<dyn Op>,
    weight: &Arc<dyn Op>,
    maker: &MaxPool2dScatter,
    [g, at, w, x]: [&Operand; 4],
) -> usize {
    let made = run(maker, &[g.clone(), at.clone()]).remove(0);
    let specs = [made.0.clone(), w.0.clone()];
    let dx = to_lanes(&run(&**input, &[made.clone(), w.clone()]).remove(0), 0);
    let dw = run(&**weight, &[x.clone(), made]).remove(0);
    let finite = g.1.f32().iter().all(|g| g.is_finite());
    let operands = [to_lanes(g, 0), to_lanes(at, 0), w.clone(), to_lanes(x, 0)];
    let layouts = operands.each_ref().map(|o| Layout::packed(o.0.shape));
    let kernel = || input.lanes_from_with(&specs, &[Some(0), None], 0, maker, &**weight);
    if kernel().is_none() {
        return 0;
    }
    on_isas_from(Isa::Avx2, || {
        let k = kernel().expect("on every instruction set from this one on");
        for onto in [None, Some(vec![3.0; dw.1.f32().len()])] {
            let outputs = [dx.0.clone(), dw.0.clone()];
            let y = call(&operands, &layouts, &outputs, k.scratch, onto.as_deref(), |c| (k.run)(c));
            let alike = |a: &f32, b: &f32| a == b || a.is_nan() && b.is_nan();
            assert!(
                y[0].1.f32().iter().zip(dx.1.f32()).all(|(a, b)| alike(a, b)),
                "{:?} {maker:?}",
                input.attributes()
            );
            let more = if onto.is_some() { 3.0 } else { 0.0 };
            // What is not finite meets the border's zeros in one order or the other.
            let same = y[1].1.f32().iter().zip(dw.1.f32()).all(|(a, b)| *a == b + more);
            assert!(same || !finite, "{:?} {maker:?}", weight.attributes());
        }
    });
    1
}

/// A convolution that may have such a kernel, its sizes, and a pool of windows that do not overlap.
fn draw_pooled(draw: &mut Draw) -> Option<(Conv, Sizes, Pool)> {
    let most = if draw.of(0, 3) == 0 { 40 } else { 9 };
    let [c, o] = [draw.of(1, most), draw.of(1, 20)];
    let c = if draw.of(0, 7) == 0 { LANES } else { c };
    let (kernel, image) = ([draw.of(1, 7), draw.of(1, 7)], [draw.of(1, 14), draw.of(1, 14)]);
    let padding = [[draw.of(0, 3), draw.of(0, 3)], [draw.of(0, 3), draw.of(0, 3)]];
    let conv = Conv::default().padding(if draw.of(0, 1) == 0 { [[0; 2]; 2] } else { padding });
    let [oh, ow] = conv.output_size(image, kernel).ok()?;
    let window = if draw.of(0, 1) == 0 { [2, 2] } else { [draw.of(1, 4), draw.of(1, 4)] };
    let pool = Pool::new(window).stride(window.map(|w| w + draw.of(0, 3) / 3));
    let pool = pool.rounding([Rounding::Floor, Rounding::Ceil][draw.of(0, 1)]);
    pool.output_size([oh, ow]).ok()?;
    let x = [LANES, c, image[0], image[1]];
    Some((conv, Sizes { x, w: [o, c, kernel[0], kernel[1]], y: [LANES, o, oh, ow] }, pool))
}
