//! Against PyTorch itself: the numbers in tests/pytorch/golden.rs were written by it, and golden.py says how.

#[path = "pytorch/golden.rs"]
#[rustfmt::skip]
mod golden;

use cotangent::{
    Tensor,
    ops::{CrossEntropyOptions, Reduction},
};

/// `f(0), f(1), …` in this shape.
fn made(shape: &[usize], f: impl Fn(usize) -> f64) -> Tensor {
    Tensor::from_vec((0..shape.iter().product()).map(f).collect::<Vec<_>>(), shape)
}

#[test]
fn e1_to_e12_cross_entropy_and_its_gradient_under_every_option_are_pytorch_s() {
    let (mut seen, mut nothing, mut differ) = (0, 0, Vec::new());
    for &(shape, probabilities, weighted, ignore_index, reduction, label_smoothing, value, gradient) in
        golden::CROSS_ENTROPY
    {
        // As `loss` in golden.py makes them.
        let axis = usize::from(shape.len() > 1);
        let classes = shape[axis];
        let places: Vec<usize> = (0..shape.len()).filter(|a| *a != axis).map(|a| shape[a]).collect();
        let x = made(shape, |i| ((7 * i % 11) as f64 - 5.0) / 4.0).tracked();
        let y = match probabilities {
            true => made(shape, |i| (3 * i % 5 + 1) as f64 / 8.0),
            false => made(&places, |i| ((5 * i + 1) % classes) as f64).cast(cotangent::DType::I64),
        };
        let options = CrossEntropyOptions {
            weight: weighted.then(|| Tensor::from(&[1.0, 0.5, 2.0, 0.25][..classes])),
            ignore_index,
            reduction: match reduction {
                "none" => Reduction::None,
                "mean" => Reduction::Mean,
                _ => Reduction::Sum,
            },
            label_smoothing,
        };
        let v = x.cross_entropy_with(&y, &options);
        let g = (v.flatten(0) * made(&[v.numel()], |i| i as f64 + 1.0)).sum().backward();
        let case = format!(
            "{shape:?}, probabilities {probabilities}, weighted {weighted}, ignore {ignore_index}, {reduction}, \
             smoothing {label_smoothing}"
        );
        let same = |a: &f64, b: &f64| (a - b).abs() <= 1e-14 * b.abs().max(1.0) || a.is_nan() && b.is_nan();
        let mut close = |what: &str, ours: Vec<f64>, theirs: &[f64]| {
            if ours.len() != theirs.len() || !ours.iter().zip(theirs).all(|(a, b)| same(a, b)) {
                differ.push(format!("{what}: {case}\nours     {ours:?}\nPyTorch's {theirs:?}"));
            }
        };
        close("losses", v.to_vec(), value);
        let g: Vec<f64> = g.get(&x).map_or_else(|| vec![0.0; x.numel()], |g| g.to_vec());
        // Where nothing counts, the mean is 0/0, and its gradient 0.
        close("gradient", g, gradient);
        nothing += usize::from(v.numel() == 1 && value[0].is_nan());
        seen += 1;
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(seen >= 150 && nothing > 0, "{seen} cases, {nothing} of them without a label that counts");
}
