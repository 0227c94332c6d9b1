//! Single operations, eager and recorded.

use cotangent::ops::{Conv, Conv2dInput, Conv2dWeight};
use cotangent::optim::Sgd;
use cotangent::{Param, Rng, Step, Tensor, apply, vjp};

use crate::Row;
use crate::timing::repeat;

/// `[n, inputs, size, size]` → outputs, with kernel, stride and padding.
#[derive(Clone, Copy)]
struct Convolution {
    n: usize,
    inputs: usize,
    size: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

const fn conv(sizes: [usize; 7]) -> Convolution {
    let [n, inputs, size, outputs, kernel, stride, padding] = sizes;
    Convolution { n, inputs, size, outputs, kernel, stride, padding }
}

/// Those of LeNet-5, of the stages of a ResNet, and the stem of one for large images.
const CONVOLUTIONS: [Convolution; 6] = [
    conv([64, 1, 28, 6, 5, 1, 2]),
    conv([64, 6, 14, 16, 5, 1, 0]),
    conv([32, 64, 32, 64, 3, 1, 1]),
    conv([32, 128, 16, 128, 3, 1, 1]),
    conv([32, 256, 8, 256, 3, 1, 1]),
    conv([8, 3, 224, 64, 7, 2, 3]),
];

/// Products of two matrices `[m, k]` and `[k, n]`: square ones, and those of LeNet-5 at batch 64.
const PRODUCTS: [[usize; 3]; 8] = [
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [64, 400, 120],
    [64, 120, 84],
    [64, 84, 10],
    [400, 64, 120],
];

/// `[n, channels, size, size]`
const POOLS: [[usize; 3]; 4] = [[64, 6, 28], [64, 16, 10], [32, 64, 32], [8, 64, 112]];

/// `[n, classes]`
const LOSSES: [[usize; 2]; 2] = [[1024, 1000], [64, 10]];

/// Numbers of the long elementwise rows.
const LONG: usize = 10_000_000;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for [m, k, n] in PRODUCTS {
        let inputs = move || [normal([m, k]), normal([k, n])];
        both(&mut rows, format!("matmul/{m}x{k}x{n}"), "a product of two matrices", inputs, |[a, b]| {
            vec![a.matmul(b)]
        });
    }
    CONVOLUTIONS.into_iter().for_each(|c| convolution(&mut rows, c));
    for [n, c, h] in POOLS {
        let (shape, about) = (format!("{n}x{c}x{h}x{h}"), "2×2 max pooling");
        both(
            &mut rows,
            format!("maxpool2/{shape}"),
            about,
            move || [normal([n, c, h, h])],
            |[x]| vec![x.max_pool2d(2)],
        );
        let inputs = move || [normal([n, c, h, h]), normal([n, c, h / 2, h / 2])];
        let about = "2×2 max pooling and its derivative";
        both(&mut rows, format!("maxpool2-backward/{shape}"), about, inputs, |[x, g]| {
            vjp(|[x]| x.max_pool2d(2), [x]).1(g).into()
        });
    }
    for [n, c] in LOSSES {
        let inputs = move || [normal([n, c]), Tensor::randint(0, c as i64, [n], &Rng::new(1))];
        both(
            &mut rows,
            format!("cross-entropy/{n}x{c}"),
            "mean cross-entropy of logits",
            inputs,
            |[x, y]| vec![x.cross_entropy(y)],
        );
        let about = "the same and its derivative";
        both(&mut rows, format!("cross-entropy-backward/{n}x{c}"), about, inputs, |[x, y]| {
            let y = y.clone();
            let (loss, pull) = vjp(move |[x]| x.cross_entropy(&y), [x]);
            pull(&loss.ones_like()).into()
        });
    }
    let conv1 = || [normal([64, 6, 28, 28])];
    both(&mut rows, "relu/64x6x28x28".into(), "max(0, x)", conv1, |[x]| vec![x.relu()]);
    let about = "a sum for each channel, the derivative of a bias";
    both(&mut rows, "sum-of-channel/64x6x28x28".into(), about, conv1, |[x]| {
        vec![x.sum_over([0, 2, 3], false)]
    });
    let long = || normal([LONG]);
    both(
        &mut rows,
        "add-relu/1e7".into(),
        "relu(x + y)",
        move || [long(), long()],
        |[x, y]| vec![(x + y).relu()],
    );
    both(&mut rows, "sum/1e7".into(), "a sum of ten million numbers", move || [long()], |[x]| vec![x.sum()]);
    // Values never change, so nobody copies them; two halves put together read and write every number once.
    let halves = || [Tensor::randn([LONG / 2], &Rng::new(0)), Tensor::randn([LONG / 2], &Rng::new(1))];
    let about = "ten million numbers copied: two halves put together";
    both(&mut rows, "copy/1e7".into(), about, halves, |[a, b]| vec![Tensor::cat(&[a, b], 0)]);
    momentum(&mut rows, "1e7", || vec![vec![LONG]]);
    momentum(&mut rows, "lenet5", || {
        let shapes: [&[usize]; 10] = [
            &[6, 1, 5, 5],
            &[6],
            &[16, 6, 5, 5],
            &[16],
            &[120, 400],
            &[120],
            &[84, 120],
            &[84],
            &[10, 84],
            &[10],
        ];
        shapes.map(<[usize]>::to_vec).into()
    });
    rows
}

fn normal<const N: usize>(shape: [usize; N]) -> Tensor {
    Tensor::randn(shape, &Rng::new(0))
}

/// A row for the eager operation, and one for the same as a recorded step.
fn both<const N: usize, F>(
    rows: &mut Vec<Row>,
    name: String,
    about: &str,
    inputs: impl Fn() -> [Tensor; N] + Copy + Send + Sync + 'static,
    f: F,
) where
    F: Fn([&Tensor; N]) -> Vec<Tensor> + Copy + Send + Sync + 'static,
{
    rows.push(Row::new(format!("op/{name}"), about, move |budget| {
        let x = inputs();
        repeat(budget, || Ok(f(x.each_ref())))
    }));
    rows.push(Row::new(format!("op-recorded/{name}"), format!("{about}, recorded"), move |budget| {
        let x = inputs();
        let mut step = Step::record(move |x: [Tensor; N]| f(x.each_ref()));
        repeat(budget, || Ok(step.run(x.each_ref())?))
    }));
}

fn convolution(rows: &mut Vec<Row>, c: Convolution) {
    let Convolution { n, inputs: d, size, outputs: k, kernel, stride, padding } = c;
    let options = Conv::default().stride(stride).padding(padding);
    let out = (size + 2 * padding - kernel) / stride + 1;
    let shape = format!("{n}x{d}x{size}x{size}-to{k}-k{kernel}s{stride}p{padding}");
    let inputs = move || {
        [normal([n, d, size, size]), normal([k, d, kernel, kernel]), normal([k]), normal([n, k, out, out])]
    };
    both(rows, format!("conv2d/{shape}"), "a convolution with bias", inputs, move |[x, w, b, _]| {
        vec![x.conv2d(w, Some(b), options)]
    });
    let about = "a convolution with bias, and the derivatives of image, weight and bias";
    both(rows, format!("conv2d-backward/{shape}"), about, inputs, move |[x, w, b, g]| {
        vjp(move |[x, w, b]| x.conv2d(&w, Some(&b), options), [x, w, b]).1(g).into()
    });
    // The first layer of a network needs no derivative of its image.
    if d == 1 || d == 3 {
        let about = "a convolution with bias, and the derivatives of weight and bias";
        both(rows, format!("conv2d-backward-weight/{shape}"), about, inputs, move |[x, w, b, g]| {
            let x = x.clone();
            vjp(move |[w, b]| x.conv2d(&w, Some(&b), options), [w, b]).1(g).into()
        });
    }
    let about = "the derivative of a convolution's weight alone";
    both(rows, format!("conv2d-weight/{shape}"), about, inputs, move |[x, _, _, g]| {
        vec![apply(Conv2dWeight { conv: options, kernel: [kernel; 2] }, &[x, g])]
    });
    let about = "the derivative of a convolution's image alone";
    both(rows, format!("conv2d-input/{shape}"), about, inputs, move |[_, w, _, g]| {
        vec![apply(Conv2dInput { conv: options, size: [size; 2] }, &[g, w])]
    });
}

/// `b ← μb + g`, `θ ← θ − αb` for parameters of these shapes.
fn momentum(rows: &mut Vec<Row>, name: &str, shapes: fn() -> Vec<Vec<usize>>) {
    let ready = move || {
        let parameters: Vec<Param> =
            shapes().into_iter().map(|shape| Param::new(Tensor::randn(&shape[..], &Rng::new(0)))).collect();
        // The derivative of Σ θ·g is g.
        let terms = parameters.iter().map(|p| (p.get() * p.value().randn_like(&Rng::new(1))).sum());
        let sum = terms.reduce(|a, b| a + b).unwrap_or_else(|| Tensor::from(0.0));
        let gradients = sum.backward();
        (parameters, gradients, Sgd::new(1e-3).momentum(0.9))
    };
    let about = "a step of SGD with momentum";
    rows.push(Row::new(format!("op/sgd-momentum/{name}"), about, move |budget| {
        let (parameters, gradients, sgd) = ready();
        repeat(budget, || {
            sgd.step(&parameters, &gradients);
            Ok(())
        })
    }));
    rows.push(Row::new(
        format!("op-recorded/sgd-momentum/{name}"),
        format!("{about}, recorded"),
        move |budget| {
            let (parameters, gradients, sgd) = ready();
            let mut step = Step::record(move |[]: [Tensor; 0]| sgd.step(&parameters, &gradients));
            repeat(budget, || Ok(step.run([])?))
        },
    ));
}
