//! Types of mixtures and their printing, as PyTorch gives them.

use cotangent::{DType, DType::*, Tensor, attempt};

/// `torch.result_type` of two tensors with axes, from PyTorch's table (torch 2: `torch.promote_types`).
/// Rows and columns: bool, uint8, int32, int64, float32, float64.
#[rustfmt::skip]
const AXES: [[DType; 6]; 6] = [
    [Bool, U8,  I32, I64, F32, F64],
    [U8,   U8,  I32, I64, F32, F64],
    [I32,  I32, I32, I64, F32, F64],
    [I64,  I64, I64, I64, F32, F64],
    [F32,  F32, F32, F32, F32, F64],
    [F64,  F64, F64, F64, F64, F64],
];

/// A tensor with axes (row) and one without (column): only a higher category of the second counts.
#[rustfmt::skip]
const ZERO: [[DType; 6]; 6] = [
    [Bool, U8,  I32, I64, F32, F64],
    [U8,   U8,  U8,  U8,  F32, F64],
    [I32,  I32, I32, I32, F32, F64],
    [I64,  I64, I64, I64, F32, F64],
    [F32,  F32, F32, F32, F32, F32],
    [F64,  F64, F64, F64, F64, F64],
];

/// A tensor (row) and a plain number: truth value, whole, real. Reals beside integers become the default type.
#[rustfmt::skip]
const NUMBER: [[DType; 2]; 6] = [
    [I64, F32],
    [U8,  F32],
    [I32, F32],
    [I64, F32],
    [F32, F32],
    [F64, F64],
];

fn of(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::ones(shape.to_vec()).cast(dtype)
}

#[test]
fn b1_types_of_all_pairs_are_pytorch_s() {
    for (i, a) in DType::ALL.into_iter().enumerate() {
        for (j, b) in DType::ALL.into_iter().enumerate() {
            let (x, y, z) = (of(a, &[2]), of(b, &[2]), of(b, &[]));
            assert_eq!((&x + &y).dtype(), AXES[i][j], "{a} + {b}");
            assert_eq!((&x * &y).dtype(), AXES[i][j], "{a} · {b}");
            assert_eq!(x.maximum(&y).dtype(), AXES[i][j], "max({a}, {b})");
            assert_eq!(Tensor::cat(&[&x, &y], 0).dtype(), AXES[i][j], "cat({a}, {b})");
            assert_eq!(x.where_(&Tensor::from([true, false]), &y).dtype(), AXES[i][j], "where({a}, {b})");
            assert_eq!(a.promote(b), AXES[i][j]);
            assert_eq!((&x + &z).dtype(), ZERO[i][j], "{a} + 0-d {b}");
            assert_eq!((&z + &x).dtype(), ZERO[i][j], "0-d {b} + {a}");
            assert_eq!((of(a, &[]) + &z).dtype(), AXES[i][j], "0-d {a} + 0-d {b}");
            assert_eq!((&x / &y).dtype(), AXES[i][j].to_float(), "{a} / {b}");
            assert_eq!((&x / &z).dtype(), ZERO[i][j].to_float(), "{a} / 0-d {b}");
            assert_eq!(x.gt(&y).dtype(), Bool, "{a} > {b}");
            if AXES[i][j] == Bool {
                assert!(attempt(|| &x - &y).is_err(), "truth values are not subtracted");
            } else {
                assert_eq!((&x - &y).dtype(), AXES[i][j], "{a} − {b}");
            }
        }
    }
}

#[test]
fn b1_types_beside_plain_numbers_are_pytorch_s() {
    for (i, a) in DType::ALL.into_iter().enumerate() {
        for shape in [&[2][..], &[]] {
            let x = of(a, shape);
            assert_eq!((&x + 2i64).dtype(), NUMBER[i][0], "{a} + 2");
            assert_eq!((2i64 * &x).dtype(), NUMBER[i][0], "2 · {a}");
            assert_eq!((&x + 2.0).dtype(), NUMBER[i][1], "{a} + 2.0");
            assert_eq!((2.0 - &x).dtype(), NUMBER[i][1], "2.0 − {a}");
            assert_eq!((&x / 2i64).dtype(), a.to_float(), "{a} / 2");
            assert_eq!((1i64 / &x).dtype(), a.to_float(), "1 / {a}");
            assert_eq!(x.gt(1).dtype(), Bool, "{a} > 1");
        }
    }
}

#[test]
fn b1_functions_of_one_tensor_have_pytorch_s_types() {
    for d in DType::ALL {
        let x = of(d, &[2, 3]);
        let real = d.to_float();
        assert_eq!(x.exp().dtype(), real);
        assert_eq!(x.sqrt().dtype(), real);
        assert_eq!(x.sigmoid().dtype(), real);
        assert_eq!(x.softmax(1).dtype(), real);
        assert_eq!(x.sum().dtype(), if d.is_float() { d } else { I64 }, "sum of {d}");
        assert_eq!(x.max().dtype(), d);
        assert_eq!(x.argmax(1).dtype(), I64);
        assert_eq!(x.sort(1, false).1.dtype(), I64);
        assert_eq!(x.mean().dtype(), real, "PyTorch refuses the mean of integers; here it is a real number");
    }
    assert_eq!(Tensor::from([1, 2]).one_hot(3).dtype(), I64);
}

#[test]
fn b1_integers_divide_to_reals_and_wrap_as_pytorch_s() {
    assert_eq!((Tensor::from([7, -7]) / 2i64).to_vec::<f64>(), [3.5, -3.5]);
    assert_eq!((Tensor::from([7]) / Tensor::from([2])).dtype(), F32);
    assert_eq!((1i64 / Tensor::from([0])).item(), f64::INFINITY);
    assert_eq!((Tensor::from([200u8]) + Tensor::from([100u8])).to_vec::<i64>(), [44]);
    assert_eq!((Tensor::from([i32::MAX]) + 1i64).to_vec::<i64>(), [i64::from(i32::MIN)]);
    assert_eq!((Tensor::from([i64::MIN]) * -1i64).to_vec::<i64>(), [i64::MIN]);
    assert_eq!((-Tensor::from([1u8])).to_vec::<i64>(), [255]);
    assert_eq!((Tensor::from([true, true]) + Tensor::from([true, false])).to_vec::<i64>(), [1, 1]);
    assert_eq!((Tensor::from([true, true]) * Tensor::from([true, false])).to_vec::<bool>(), [true, false]);
    assert_eq!(Tensor::from([true, true, false]).sum().item(), 2.0);
    assert_eq!(Tensor::from([-1.5f64, 2.9, 300.0]).cast(U8).to_vec::<i64>(), [255, 2, 44]);
    assert_eq!(
        Tensor::from([0.5, 0.0, -0.0, f64::NAN]).cast(Bool).to_vec::<bool>(),
        [true, false, false, true]
    );
    assert_eq!(Tensor::from([-3, 0, 300]).cast(U8).to_vec::<i64>(), [253, 0, 44]);
    assert_eq!(Tensor::from([1i64 << 40]).cast(I32).to_vec::<i64>(), [0]);
}

// ---- printing: what `print(torch.tensor(..))` shows, with types without `torch.` ----

fn shows(x: impl Into<Tensor>, text: &str) {
    assert_eq!(x.into().to_string(), text);
}

#[test]
fn b1_numbers_print_as_pytorch_s() {
    shows(Tensor::from(3.0f32), "tensor(3.)");
    shows(Tensor::from(0.5f32), "tensor(0.5000)");
    shows(Tensor::from(-7i64), "tensor(-7)");
    shows(Tensor::from(true), "tensor(True)");
    shows(Tensor::from(f32::NAN), "tensor(nan)");
    shows(Tensor::from(-f32::INFINITY), "tensor(-inf)");
    shows(Tensor::from(1e10f32), "tensor(1.0000e+10)");
    shows(Tensor::from(1e-5f32), "tensor(1.0000e-05)");
    shows(Tensor::from(2.5), "tensor(2.5000, dtype=float64)");
    shows(Tensor::from(-7i32), "tensor(-7, dtype=int32)");
    shows(Tensor::from(7u8), "tensor(7, dtype=uint8)");
}

#[test]
fn b1_tensors_print_as_pytorch_s() {
    shows([1f32, 2.0, 3.0], "tensor([1., 2., 3.])");
    shows([0f32, 0.0], "tensor([0., 0.])");
    shows([1f32, -2.5, 100.0], "tensor([  1.0000,  -2.5000, 100.0000])");
    shows([f32::NAN, 1.0], "tensor([nan, 1.])");
    shows([f32::INFINITY, 10.0, -1.0], "tensor([inf, 10., -1.])");
    shows([f32::NAN, 0.5], "tensor([   nan, 0.5000])");
    shows([1f32, 10_000.0], "tensor([1.0000e+00, 1.0000e+04])");
    shows([0.001f32, 2.0], "tensor([1.0000e-03, 2.0000e+00])");
    shows([0.002f32, 2.0], "tensor([0.0020, 2.0000])");
    shows([true, false], "tensor([ True, False])");
    shows([1i64, -20, 300], "tensor([  1, -20, 300])");
    shows([[1f32, 2.0], [3.0, 4.0]], "tensor([[1., 2.],\n        [3., 4.]])");
    shows(
        [[[1i64, 2], [3, 4]], [[5, 6], [7, 8]]],
        "tensor([[[1, 2],\n         [3, 4]],\n\n        [[5, 6],\n         [7, 8]]])",
    );
    shows(Tensor::zeros([0]), "tensor([])");
    shows(Tensor::zeros([0, 3]), "tensor([], size=(0, 3))");
    shows(Tensor::zeros([0]).cast(I64), "tensor([], dtype=int64)");
    shows(Tensor::arange(0, 4).reshape([2, 2]).t(), "tensor([[0, 2],\n        [1, 3]])");
    assert_eq!(Tensor::from([1f32]).tracked().to_string(), "tensor([1.], tracked)");
}

#[test]
fn b1_long_tensors_wrap_and_large_ones_are_summarised() {
    let lines = Tensor::arange(0, 30).to_string();
    // 80 columns less 7 for `tensor(`, 4 a number: 18 a line.
    assert_eq!(
        lines.lines().next().unwrap(),
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,"
    );
    assert_eq!(lines.lines().nth(1).unwrap(), "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])");
    shows(Tensor::arange(0, 1001), "tensor([   0,    1,    2,  ...,  998,  999, 1000])");
    let square = Tensor::zeros([100, 100]).to_string();
    let row = "[0., 0., 0.,  ..., 0., 0., 0.]";
    assert_eq!(
        square,
        format!(
            "tensor([{row},\n        {row},\n        {row},\n        ...,\n        {row},\n        {row},\n        {row}])"
        )
    );
    // Types that do not fit on the line go to the next.
    let text = (Tensor::arange(0, 9).cast(F64) + 0.5).to_string();
    assert_eq!(
        text,
        "tensor([0.5000, 1.5000, 2.5000, 3.5000, 4.5000, 5.5000, 6.5000, 7.5000, 8.5000],\n       dtype=float64)"
    );
}
