//! The laws' entries, operation by operation: each draws every attribute, sizes, values and layouts.

use cotangent::{
    DType, apply_many,
    laws::{Case, Draw},
    ops::*,
};

pub(crate) type Generator = fn(&mut Draw) -> Case;

/// Type of the operation → (draws, order, generator).
pub(crate) const ENTRIES: &[(&str, u64, usize, Generator)] = &[
    ("Elementwise", 80, 3, |d| {
        let op = d.pick(&Elementwise::ALL);
        let shape = [d.size(0..4), d.size(1..5)];
        let x = match op {
            Elementwise::Not => d.truth(shape),
            Elementwise::Ln | Elementwise::Sqrt | Elementwise::Recip => d.between(0.2, 3.0, shape),
            _ => d.real(shape),
        };
        Case::new(op, vec![x])
    }),
    ("Arithmetic", 60, 3, |d| {
        let op = d.pick(&Arithmetic::ALL);
        let shape = [d.size(0..4), d.size(1..5)];
        // Offset grids: no ties for max and min, no division by nearly 0.
        Case::new(op, vec![d.between(-2.0, 2.1, shape), d.between(0.3, 2.0, shape)])
    }),
    ("Cast", 10, 2, |d| {
        let to = d.pick(&[DType::F64, DType::I64, DType::Bool]);
        let shape = [d.size(0..4), d.size(1..5)];
        Case::new(Cast { to }, vec![d.real(shape)])
    }),
    ("Compare", 20, 1, |d| {
        let op = d.pick(&[Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge]);
        let shape = [d.size(0..4), d.size(1..5)];
        Case::new(op, vec![d.whole(0..3, shape), d.whole(0..3, shape)])
    }),
    ("Gate", 20, 2, |d| {
        let shape = [d.size(0..4), d.size(1..5)];
        Case::new(Gate, vec![d.real(shape), d.real(shape)])
    }),
    ("ExpectFinite", 10, 2, |d| {
        let shape = [d.size(0..4), d.size(1..5)];
        Case::new(ExpectFinite, vec![d.real(shape)])
    }),
    ("Where", 20, 2, |d| {
        let shape = [d.size(0..4), d.size(1..5)];
        Case::new(Where, vec![d.truth(shape), d.real(shape), d.real(shape)])
    }),
    ("MatMul", 40, 3, |d| {
        let [b, m, k, n] = [d.size(0..4), d.size(0..5), d.size(0..5), d.size(1..5)];
        if d.coin() {
            Case::new(MatMul, vec![d.real([m, k]), d.real([k, n])])
        } else {
            Case::new(MatMul, vec![d.real([b, m, k]), d.real([b, k, n])])
        }
    }),
    ("Sum", 30, 2, |d| {
        let shape = [d.size(0..4), d.size(1..5), d.size(1..4)];
        let axes = (0..3).filter(|_| d.coin()).collect();
        Case::new(Sum { axes }, vec![d.real(shape)])
    }),
    ("Reshape", 20, 2, |d| {
        let [a, b, c] = [d.size(0..4), d.size(1..4), d.size(1..4)];
        let shape = d.pick(&[vec![a * b, c], vec![c, b, a], vec![a, b * c], vec![a * b * c]]);
        Case::new(Reshape { shape: shape.into() }, vec![d.real([a, b, c])])
    }),
    ("Permute", 20, 2, |d| {
        let order = d.pick(&[vec![0, 1, 2], vec![2, 0, 1], vec![1, 0, 2], vec![2, 1, 0]]);
        let shape = [d.size(0..4), d.size(1..4), d.size(1..4)];
        Case::new(Permute { order }, vec![d.real(shape)])
    }),
    ("Expand", 20, 2, |d| {
        let (n, m) = (d.size(1..4), d.size(0..4));
        let from = d.pick(&[vec![1, n], vec![n], vec![m, n]]);
        Case::new(Expand { shape: [d.size(1..3), m, n].into() }, vec![d.real(from)])
    }),
    ("Pack", 20, 2, |d| {
        let shape = [d.size(0..4), d.size(1..4), d.size(1..4)];
        Case::new(Pack, vec![d.real(shape)])
    }),
    ("Slice", 30, 2, |d| {
        let dims = [d.size(1..7), d.size(1..7)];
        let (start, step) = ([d.size(0..dims[0]), d.size(0..dims[1])], [d.size(1..4), d.size(1..4)]);
        let room = |a: usize| (dims[a] - start[a]).div_ceil(step[a]);
        let len = vec![d.size(0..room(0) + 1), d.size(0..room(1) + 1)];
        Case::new(Slice { start: start.to_vec(), step: step.to_vec(), len }, vec![d.real(dims)])
    }),
    ("Pad", 30, 2, |d| {
        let mut sizes = |low| vec![d.size(low..4), d.size(low..4)];
        let (before, step, after) = (sizes(0), sizes(1), sizes(0));
        let value = d.number().into();
        let shape = [d.size(0..4), d.size(1..4)];
        Case::new(Pad { before, step, after, value }, vec![d.real(shape)])
    }),
    ("Cat", 20, 2, |d| {
        let axis = d.size(0..2);
        let (n, m) = (d.size(1..4), d.size(0..4));
        let mut part = |_| {
            let size = d.size(0..4);
            d.real(if axis == 0 { [size, n] } else { [m, size] })
        };
        let parts = (0..3).map(&mut part).collect();
        Case::new(Cat { axis }, parts)
    }),
    ("Gather", 20, 2, |d| {
        let (axis, dims) = (d.size(0..2), [d.size(1..5), d.size(1..5)]);
        let index = d.whole(0..dims[axis] as i64, if axis == 0 { [4, dims[1]] } else { [dims[0], 3] });
        Case::new(Gather { axis }, vec![d.real(dims), index])
    }),
    ("ScatterAdd", 20, 2, |d| {
        let (axis, dims) = (d.size(0..2), [d.size(1..5), d.size(1..5)]);
        let shape = if axis == 0 { [4, dims[1]] } else { [dims[0], 3] };
        let index = d.whole(0..dims[axis] as i64, shape);
        Case::new(ScatterAdd { axis, shape: dims.into() }, vec![d.real(shape), index])
    }),
    ("OneHot", 10, 1, |d| {
        let classes = d.size(1..5);
        let shape = [d.size(0..4), d.size(1..3)];
        Case::new(OneHot { classes }, vec![d.whole(0..classes as i64, shape)])
    }),
    ("Sort", 20, 2, |d| {
        let (axis, descending, shape) = (d.size(0..2), d.coin(), [d.size(0..4), d.size(1..5)]);
        Case::new(Sort { axis, descending }, vec![d.real(shape)])
    }),
    ("Extremum", 20, 2, |d| {
        let (axis, smallest, shape) = (d.size(0..2), d.coin(), [d.size(1..4), d.size(1..5)]);
        Case::new(Extremum { axis, smallest }, vec![d.real(shape)])
    }),
    ("Softmax", 20, 3, |d| {
        let (log, shape) = (d.coin(), [d.size(0..4), d.size(1..5)]);
        Case::new(Softmax { log }, vec![d.real(shape)])
    }),
    ("CrossEntropy", 20, 3, |d| {
        let (n, c) = (d.size(0..4), d.size(1..5));
        let ignore = d.pick(&[-100, 0]);
        Case::new(CrossEntropy { ignore }, vec![d.real([n, c]), d.whole(0..c as i64, [n])])
    }),
    ("CrossEntropySlope", 20, 2, |d| {
        let (n, c) = (d.size(0..4), d.size(1..5));
        let ignore = d.pick(&[-100, 0]);
        let inputs = vec![d.real([n, c]), d.whole(0..c as i64, [n]), d.real([n])];
        Case::new(CrossEntropySlope { ignore }, inputs)
    }),
    ("Conv2d", 60, 2, |d| {
        let (conv, x, w, _) = convolution(d);
        let mut inputs = vec![d.real(x), d.real(w)];
        if d.coin() {
            inputs.push(d.real([w[0]]));
        }
        Case::new(Conv2d { conv }, inputs)
    }),
    ("Conv2dInput", 40, 2, |d| {
        let (conv, x, w, y) = convolution(d);
        Case::new(Conv2dInput { conv, size: [x[2], x[3]] }, vec![d.real(y), d.real(w)])
    }),
    ("Conv2dWeight", 40, 2, |d| {
        let (conv, x, w, y) = convolution(d);
        Case::new(Conv2dWeight { conv, kernel: [w[2], w[3]] }, vec![d.real(x), d.real(y)])
    }),
    ("MaxPool2d", 40, 2, |d| {
        let (pool, x) = pooling(d, false);
        Case::new(MaxPool2d { pool }, vec![d.real(x)])
    }),
    ("MaxPool2dGather", 30, 2, |d| {
        let (pool, x) = pooling(d, false);
        let at = apply_many(MaxPool2d { pool }, &[&d.real(x)]).remove(1);
        let at = d.layout(&at);
        Case::new(MaxPool2dGather { pool }, vec![d.real(x), at])
    }),
    ("MaxPool2dScatter", 30, 2, |d| {
        let (pool, x) = pooling(d, false);
        let at = apply_many(MaxPool2d { pool }, &[&d.real(x)]).remove(1);
        let (c, at) = (d.real(*at.shape()), d.layout(&at));
        Case::new(MaxPool2dScatter { pool, size: [x[2], x[3]] }, vec![c, at])
    }),
    ("MaxPool2dIndices", 30, 1, |d| {
        let (pool, x) = pooling(d, false);
        let at = apply_many(MaxPool2d { pool }, &[&d.real(x)]).remove(1);
        let at = d.layout(&at);
        Case::new(MaxPool2dIndices { pool, size: [x[2], x[3]] }, vec![at])
    }),
    ("AvgPool2d", 40, 2, |d| {
        let (pool, x) = pooling(d, true);
        Case::new(AvgPool2d { pool }, vec![d.real(x)])
    }),
    ("AvgPool2dInput", 40, 2, |d| {
        let (pool, x) = pooling(d, true);
        let [oh, ow] = pool.output_size([x[2], x[3]]).unwrap();
        Case::new(AvgPool2dInput { pool, size: [x[2], x[3]] }, vec![d.real([x[0], x[1], oh, ow])])
    }),
    ("Dropout", 20, 2, |d| {
        let (p, shape) = (d.pick(&[0.0, 0.3, 0.8]), [d.size(0..4), d.size(1..5)]);
        Case::new(Dropout { p }, vec![d.real(shape), d.whole(0..100, [3])])
    }),
    ("BatchNorm", 30, 2, |d| {
        let (eps, c, rank) = (d.pick(&[1e-5, 0.1]), d.size(1..4), d.size(2..5));
        let shape = [vec![d.size(3..5), c], (2..rank).map(|_| d.size(1..4)).collect()].concat();
        Case::new(BatchNorm { eps }, vec![d.real(shape), d.real([c]), d.real([c])])
    }),
    ("Random", 20, 1, |d| {
        let (span, low) = (d.size(1..9) as u64, d.size(0..5) as i64);
        let (distribution, dtype) = match d.size(0..5) {
            0 => (Distribution::Uniform, DType::F32),
            1 => (Distribution::Uniform, DType::F64),
            2 => (Distribution::Normal, DType::F32),
            3 => (Distribution::Normal, DType::F64),
            _ => (Distribution::Whole { low, span }, DType::I64),
        };
        let shape = [d.size(0..4), d.size(1..5)].into();
        Case::new(Random { distribution, shape, dtype }, vec![d.whole(0..100, [3])])
    }),
];

/// A convolution that fits, with shapes of image, weight and output.
fn convolution(d: &mut Draw) -> (Conv, [usize; 4], [usize; 4], [usize; 4]) {
    let groups = d.pick(&[1, 1, 2, 3]);
    let (c, o) = (groups * d.size(1..3), groups * d.size(1..3));
    let kernel = [d.size(1..4), d.size(1..4)];
    let dilation = [d.size(1..3), d.size(1..3)];
    let mut conv = Conv::default().groups(groups).dilation(dilation);
    conv = match d.coin() {
        true => conv.padding(Padding::Same),
        false => {
            let mut side = || [d.size(0..3), d.size(0..2)];
            let padding = [side(), side()];
            conv.padding(padding).stride([d.size(1..4), d.size(1..3)])
        }
    };
    let reach = [0, 1].map(|a| (kernel[a] - 1) * dilation[a] + 1);
    let image = [reach[0] + d.size(0..4), reach[1] + d.size(0..4)];
    let mut rounding = d.pick(&[Rounding::Floor, Rounding::Ceil, Rounding::Strict]);
    if conv.rounding(rounding).output_size(image, kernel).is_err() {
        rounding = Rounding::Floor;
    }
    let conv = conv.rounding(rounding);
    let [oh, ow] = conv.output_size(image, kernel).unwrap();
    // Every ninth batch is wide enough for the road of sixteen examples side by side.
    let n = if d.size(0..9) == 8 { 9 } else { d.size(0..3) };
    (conv, [n, c, image[0], image[1]], [o, c / groups, kernel[0], kernel[1]], [n, o, oh, ow])
}

/// A pooling window that fits, and an image for it.
fn pooling(d: &mut Draw, mean: bool) -> (Pool, [usize; 4]) {
    let kernel = [d.size(1..4), d.size(1..4)];
    let mut pool = Pool::new(kernel).padding([d.size(0..kernel[0] / 2 + 1), d.size(0..kernel[1] / 2 + 1)]);
    if d.coin() {
        pool = pool.stride([d.size(1..4), d.size(1..3)]);
    }
    pool = pool.rounding(d.pick(&[Rounding::Floor, Rounding::Ceil]));
    let mut reach = kernel;
    if mean {
        pool = pool.count_include_pad(d.coin());
        if d.coin() {
            pool = pool.divisor(d.size(1..5) as i64);
        }
    } else {
        let dilation = [d.size(1..3), d.size(1..3)];
        reach = [0, 1].map(|a| (kernel[a] - 1) * dilation[a] + 1);
        pool = pool.dilation(dilation);
    }
    (pool, [d.size(0..3), d.size(1..3), reach[0] + d.size(0..4), reach[1] + d.size(0..4)])
}
