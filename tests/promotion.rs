//! Types of mixtures and their printing, as PyTorch gives them.

#[path = "pytorch/golden.rs"]
#[rustfmt::skip]
mod golden;

use cotangent::{DType, DType::*, Tensor, attempt};
use golden::{AXES, NUMBER, PRINTED, ZERO};

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

/// The tensors of `golden::PRINTED`, in its order.
fn printed() -> Vec<Tensor> {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let to = |end: i64| Tensor::arange(0, end);
    vec![
        Tensor::from(3f32),
        Tensor::from(0.5f32),
        Tensor::from(-7i64),
        Tensor::from(true),
        Tensor::from(nan),
        Tensor::from(-inf),
        Tensor::from(1e10f32),
        Tensor::from(1e-5f32),
        Tensor::from(2.5),
        Tensor::from(-7i32),
        Tensor::from(7u8),
        Tensor::from([1f32, 2.0, 3.0]),
        Tensor::from([0f32, 0.0]),
        Tensor::from([1f32, -2.5, 100.0]),
        Tensor::from([nan, 1.0]),
        Tensor::from([inf, 10.0, -1.0]),
        Tensor::from([nan, 0.5]),
        Tensor::from([1f32, 10_000.0]),
        Tensor::from([0.001f32, 2.0]),
        Tensor::from([0.002f32, 2.0]),
        Tensor::from([true, false]),
        Tensor::from([1i64, -20, 300]),
        Tensor::from([[1f32, 2.0], [3.0, 4.0]]),
        Tensor::from([[[1i64, 2], [3, 4]], [[5, 6], [7, 8]]]),
        Tensor::zeros([0]),
        Tensor::zeros([0, 3]),
        Tensor::zeros([0]).cast(I64),
        to(4).reshape([2, 2]).t(),
        to(30),
        to(1001),
        Tensor::zeros([100, 100]),
        to(9).cast(F64) + 0.5,
        Tensor::eye(3),
        Tensor::from([1e-8f32, 1.0]),
        Tensor::from([123456f32, 0.1]),
        Tensor::from([1e8f32, 1.0]),
        Tensor::from([16777216f32]),
        Tensor::from([-0f32, 0.0]),
        to(24).cast(F32).reshape([2, 3, 4]) / 8.0,
        to(2000).cast(F32).reshape([2, 1000]),
        Tensor::from([0.5, inf]),
        Tensor::from([1e-5, nan]),
        Tensor::from([[0.1f32], [12.25]]),
        to(40).cast(F32).reshape([1, 40]) * 1.5,
        Tensor::zeros([2, 0, 3]),
        Tensor::from([255u8, 0]),
        Tensor::from([99999f32]),
        Tensor::from([100000f32]),
        Tensor::from([1.5f32, 1234.5]),
        Tensor::from([1e4f32, 1.5]),
    ]
}

#[test]
fn b1_tensors_print_as_pytorch_s() {
    assert_eq!(printed().len(), PRINTED.len());
    let differ: Vec<String> = printed()
        .iter()
        .zip(PRINTED)
        .filter(|(x, text)| x.to_string() != *text)
        .map(|(x, text)| format!("ours:\n{x}\nPyTorch's:\n{text}\n"))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    // What PyTorch calls `requires_grad=True`.
    assert_eq!(Tensor::from([1f32]).tracked().to_string(), "tensor([1.], tracked)");
}
