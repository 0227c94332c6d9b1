//! Layers of differentiation: nesting, confusion, escape, the tape, checkpoints, models as functions.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use cotangent::{
    DType, Param, Parameters, Rng, State, Tensor, attempt, checkpoint, enable_grad, finite, grad, grad_of,
    hessian, hvp, hvp_of, is_grad_enabled, jacfwd, jacobian, jacrev, jvp,
    nn::{Call, Dropout, Linear, Module, ParametersExt, Sequential},
    no_grad, per_example, value_and_grad, value_and_grad_of, vjp, vjp_many,
};

fn t(x: f64) -> Tensor {
    Tensor::from(x)
}

fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs())), "{a} is not {b}");
}

fn all_close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.shape(), b.shape());
    a.to_vec::<f64>().into_iter().zip(b.to_vec::<f64>()).for_each(|(a, b)| close(a, b, tolerance));
}

fn message<T>(f: impl FnOnce() -> T) -> String {
    match attempt(f) {
        Ok(_) => panic!("a mistake was expected"),
        Err(e) => e.to_string(),
    }
}

/// The derivative of a function of one number, forward.
fn fwd(f: impl FnOnce(Tensor) -> Tensor, x: &Tensor) -> Tensor {
    jvp(|[x]| f(x), [x], [&x.ones_like()]).1
}

/// The same, backward.
fn rev(f: impl FnOnce(Tensor) -> Tensor, x: &Tensor) -> Tensor {
    let [g] = grad(|[x]| f(x), [x]);
    g
}

// ---- nesting ----

#[test]
fn c1_two_modes_nest_in_any_order_to_the_third_derivative() {
    // f = x·eˣ·sin x would do; a polynomial has exact answers: f = x⁵, f''' = 60x².
    let f = |x: Tensor| x.square() * x.square() * &x;
    let x = t(1.5);
    type D = fn(&dyn Fn(Tensor) -> Tensor, &Tensor) -> Tensor;
    let modes: [(&str, D); 2] = [("forward", |f, x| fwd(f, x)), ("reverse", |f, x| rev(f, x))];
    for (a, outer) in &modes {
        for (b, middle) in &modes {
            close(outer(&|x| middle(&f, &x), &x).item(), 20.0 * 1.5f64.powi(3), 1e-13);
            for (c, inner) in &modes {
                let third = outer(&|x| middle(&|x| inner(&f, &x), &x), &x).item();
                assert!((third - 60.0 * 2.25).abs() < 1e-10, "{a} over {b} over {c}: {third}");
            }
        }
    }
}

#[test]
fn c1_the_fifth_derivative_of_the_exponential_is_itself() {
    let mut f: Box<dyn Fn(Tensor) -> Tensor> = Box::new(|x| x.exp());
    for i in 0..5 {
        let before = f;
        f = if i % 2 == 0 {
            Box::new(move |x| rev(&before, &x))
        } else {
            Box::new(move |x| fwd(&before, &x))
        };
    }
    close(f(t(0.7)).item(), 0.7f64.exp(), 1e-14);
}

#[test]
fn c1_control_flow_is_differentiated_as_it_runs() {
    let f = |x: Tensor| {
        let mut y = x.clone();
        for i in 0..6 {
            if y.detach().item() > 10.0 {
                break;
            }
            y = if i % 2 == 0 { y.square() } else { &y * &x };
        }
        y
    };
    // 2 → 4 → 8 → 64: x⁶.
    close(rev(f, &t(2.0)).item(), 6.0 * 32.0, 1e-14);
    close(fwd(f, &t(2.0)).item(), 6.0 * 32.0, 1e-14);
}

#[test]
fn perturbations_are_not_confused_in_either_mode() {
    // d/dx (x · d/dy (x + y)) = 1, the classical example of Siskind and Pearlmutter.
    let one = t(1.0);
    for outer in 0..2 {
        for inner in 0..2 {
            let d = |mode: usize, f: &dyn Fn(Tensor) -> Tensor, x: &Tensor| {
                if mode == 0 { fwd(f, x) } else { rev(f, x) }
            };
            let y = d(outer, &|x| &x * d(inner, &|y| &x + &y, &one), &one).item();
            assert_eq!(y, 1.0, "outer {outer}, inner {inner}");
            // d/dx (x · d/dy (x·y)) at y = x: the inner gives x, so 2x.
            let y = d(outer, &|x| &x * d(inner, &|y| &x * &y, &x.detach()), &t(3.0)).item();
            assert_eq!(y, 6.0, "outer {outer}, inner {inner}");
            // The same with the inner point depending on x: d/dx (x · d/dy y² at y = x) = 4x.
            let y = d(outer, &|x| &x * d(inner, &|y| y.square(), &x), &t(3.0)).item();
            assert_eq!(y, 12.0, "outer {outer}, inner {inner}");
            // An inner function that ignores its variable.
            let y = d(outer, &|x| &x + d(inner, &|_| x.square(), &x), &t(3.0)).item();
            assert_eq!(y, 1.0, "outer {outer}, inner {inner}");
        }
    }
}

#[test]
fn tangents_may_be_differentiated_too() {
    // s ↦ Df(x)·(s·v) is linear in s, with slope Df(x)·v.
    let (x, v) = (t(2.0), t(5.0));
    let slope = rev(|s| jvp(|[x]| x.square() * &x, [&x], [&(&v * &s)]).1, &t(1.0));
    close(slope.item(), 12.0 * 5.0, 1e-14);
    // And cotangents: c ↦ c·Df(x).
    let (_, pull) = vjp(|[x]| x.square() * &x, [&x]);
    close(rev(|c| pull(&c)[0].clone(), &t(1.0)).item(), 12.0, 1e-14);
    close(fwd(|c| pull(&c)[0].clone(), &t(1.0)).item(), 12.0, 1e-14);
}

#[test]
fn transforms_work_on_tensors_of_the_tape() {
    // A gradient penalty: p = ‖∇ₓ(w·x³)‖² = 9w²x⁴; dp/dw = 18wx⁴, dp/dx = 36w²x³.
    let (w, x) = (t(0.5).tracked(), t(2.0).tracked());
    let penalty = rev(|x| &w * x.square() * &x, &x).square();
    let g = penalty.backward();
    close(g.get(&w).unwrap().item(), 18.0 * 0.5 * 16.0, 1e-13);
    close(g.get(&x).unwrap().item(), 36.0 * 0.25 * 8.0, 1e-13);
    let penalty = fwd(|x| &w * x.square() * &x, &x).square();
    let g = penalty.backward();
    close(g.get(&w).unwrap().item(), 18.0 * 0.5 * 16.0, 1e-13);
    close(g.get(&x).unwrap().item(), 36.0 * 0.25 * 8.0, 1e-13);
}

// ---- escape ----

#[test]
fn an_escaped_tensor_says_so() {
    for mode in 0..2 {
        let stolen: Mutex<Option<Tensor>> = Mutex::new(None);
        let steal = |x: Tensor| {
            *stolen.lock().unwrap() = Some(&x * 2.0);
            x.square()
        };
        let _ = if mode == 0 { fwd(steal, &t(1.0)) } else { rev(steal, &t(1.0)) };
        let thing = stolen.into_inner().unwrap().unwrap();
        assert!(message(|| &thing + 1.0).contains("escaped from the transform"));
        assert!(message(|| rev(|x| x * &thing, &t(1.0))).contains("escaped from the transform"));
        assert!(message(|| fwd(|x| &thing * x, &t(1.0))).contains("escaped from the transform"));
        assert!(message(|| rev(|x| x.square(), &thing)).contains("escaped from the transform"));
        assert!(message(|| fwd(|x| x.square(), &thing)).contains("escaped from the transform"));
        assert!(message(|| checkpoint(|[x]| x.exp(), [&thing])).contains("escaped from the transform"));
        let text = message(|| thing.exp());
        assert!(
            text.starts_with("exp") && text.contains("tests/autodiff.rs") && text.contains("help:"),
            "{text}"
        );
        assert_eq!(thing.detach().item(), 2.0); // its value is still there
    }
}

#[test]
fn tracked_is_refused_inside_a_transform() {
    assert!(message(|| rev(|x| x.tracked(), &t(1.0))).contains("already inside a transform"));
    assert!(message(|| fwd(|x| x.tracked(), &t(1.0))).contains("already inside a transform"));
    assert!(message(|| Tensor::from(1i64).tracked()).contains("only real numbers have gradients"));
    // A tensor that the transform does not hold is none of its business.
    let y = rev(
        |x| {
            let w = t(3.0).tracked();
            let g = w.square().backward();
            x * g.get(&w).unwrap()
        },
        &t(1.0),
    );
    assert_eq!(y.item(), 6.0);
}

// ---- the tape ----

#[test]
fn c8_c10_the_lecture_s_numbers_to_nine_digits() {
    let f = |x: &Tensor, y: &Tensor| {
        let a = x.ln();
        let b = y * &a;
        let c = b.sqrt();
        (a, b.clone(), c.clone(), &c + &b)
    };
    let (x, y) = (t(3.0), t(2.0));
    let (a, b, c, v) = f(&x, &y);
    let nine = |x: &Tensor, v: f64| assert!((x.item() - v).abs() < 5e-10, "{} is not {v}", x.item());
    nine(&a, 1.098612289);
    nine(&b, 2.197224577);
    nine(&c, 1.482303807);
    nine(&v, 3.679528385);
    // C8: forward, both seeds, of every node.
    let push = |sx: f64, sy: f64, pick: fn((Tensor, Tensor, Tensor, Tensor)) -> Tensor| {
        jvp(|[x, y]| pick(f(&x, &y)), [&x, &y], [&t(sx), &t(sy)]).1
    };
    nine(&push(1.0, 0.0, |n| n.1), 2.0 / 3.0);
    nine(&push(0.0, 1.0, |n| n.1), 1.098612289);
    nine(&push(1.0, 0.0, |n| n.2), 0.224875179);
    nine(&push(0.0, 1.0, |n| n.2), 0.370575952);
    nine(&push(1.0, 0.0, |n| n.3), 0.891541845);
    nine(&push(0.0, 1.0, |n| n.3), 1.469188241);
    // C10: reverse, every adjoint.
    let [gc, gb] = grad(|[c, b]| &c + &b, [&c, &b]);
    nine(&gc, 1.0);
    nine(&gb, 1.0);
    nine(&rev(|b| b.sqrt() + &b, &b), 1.337312768);
    nine(
        &rev(
            |a| {
                let b = &y * a;
                b.sqrt() + b
            },
            &a,
        ),
        2.674625536,
    );
    let (x, y) = (x.tracked(), y.tracked());
    let g = f(&x, &y).3.backward();
    nine(g.get(&x).unwrap(), 0.891541845);
    nine(g.get(&y).unwrap(), 1.469188241);
    close(g.get(&x).unwrap().item(), push(1.0, 0.0, |n| n.3).item(), 1e-15);
    close(g.get(&y).unwrap().item(), push(0.0, 1.0, |n| n.3).item(), 1e-15);
}

#[test]
fn c18_backward_says_why_it_cannot() {
    let x = Tensor::from([1.0, 2.0]).tracked();
    let text = message(|| x.square().backward());
    assert!(text.contains("single number, got shape [2]") && text.contains("help: reduce it"), "{text}");
    assert!(message(|| t(1.0).backward()).contains("nothing here was computed from tracked tensors"));
    assert!(message(|| no_grad(|| x.sum()).backward()).contains("nothing here was computed"));
    assert!(message(|| no_grad(|| x.sum().backward())).contains("paused by `no_grad`"));
    let loss = x.square().sum();
    let _ = loss.backward();
    let text = message(|| loss.backward());
    assert!(text.contains("consumed by an earlier call") && text.contains("backward_keep"), "{text}");
    // Two losses over one consumed part: the second says the same.
    let shared = x.exp();
    let (a, b) = (shared.sum(), shared.square().sum());
    let _ = a.backward();
    assert!(message(|| b.backward()).contains("consumed"));
}

#[test]
fn c18_backward_keep_can_be_called_again() {
    let x = Tensor::from([1.0, 2.0]).tracked();
    let loss = x.square().sum();
    for _ in 0..3 {
        assert_eq!(loss.backward_keep().get(&x).unwrap().to_vec::<f64>(), [2.0, 4.0]);
    }
    assert_eq!(loss.backward().get(&x).unwrap().to_vec::<f64>(), [2.0, 4.0]);
    assert!(message(|| loss.backward()).contains("consumed"));
}

#[test]
fn gradients_are_found_by_leaf_alone() {
    let (x, other) = (t(3.0).tracked(), t(3.0).tracked());
    let y = x.square();
    let g = y.backward();
    assert_eq!(g.len(), 1);
    assert!(g.get(&other).is_none() && g.get(&y).is_none() && g.get(&x.detach()).is_none());
    // A leaf that is the loss itself.
    assert_eq!(x.backward().get(&x).unwrap().item(), 1.0);
}

#[test]
fn c21_no_grad_nests_and_survives_panics() {
    let x = t(2.0).tracked();
    assert!(is_grad_enabled());
    no_grad(|| {
        assert!(!is_grad_enabled() && !x.square().is_tracked());
        enable_grad(|| {
            assert!(x.square().is_tracked());
            no_grad(|| assert!(!x.square().is_tracked()));
            assert!(x.square().is_tracked());
        });
        assert!(!x.square().is_tracked());
    });
    assert!(is_grad_enabled());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let caught = std::panic::catch_unwind(|| no_grad(|| panic!("on purpose")));
    std::panic::set_hook(hook);
    assert!(caught.is_err() && is_grad_enabled());
    let _ = attempt(|| no_grad(|| Tensor::zeros([2]) + Tensor::zeros([3]))).unwrap_err();
    assert!(is_grad_enabled() && x.square().is_tracked());
    let _ = attempt(|| rev(|x| x + Tensor::zeros([3]).matmul(&Tensor::zeros([2])), &t(1.0))).unwrap_err();
    assert_eq!(rev(|x| x.square(), &t(3.0)).item(), 6.0);
    // Another thread has its own.
    no_grad(|| std::thread::scope(|s| assert!(s.spawn(is_grad_enabled).join().unwrap())));
}

#[test]
fn c21_transforms_work_under_no_grad_and_values_are_the_same_bits() {
    let net = Linear::new(3, 2, &Rng::new(1));
    let x = Tensor::randn([4, 3], &Rng::new(2));
    let f = |net: &Linear| net.call(&x).tanh().square().mean();
    let (v, g) = value_and_grad_of(&net, f);
    let (w, h) = no_grad(|| value_and_grad_of(&net, f));
    assert_eq!(v.to_vec::<f32>(), w.to_vec::<f32>());
    g.iter().zip(&h).for_each(|(g, h)| assert_eq!(g.to_vec::<f32>(), h.to_vec::<f32>()));
    assert!(h.iter().all(|h| !h.is_tracked()));
    assert_eq!(no_grad(|| rev(|x| x.square(), &t(3.0))).item(), 6.0);
    assert_eq!(no_grad(|| hvp(|x| x.square() * x, &t(3.0), &t(1.0))).item(), 18.0);
    assert_eq!(no_grad(|| f(&net)).to_vec::<f32>(), f(&net).to_vec::<f32>());
}

#[test]
fn c4_fifty_fold_nesting_has_a_linear_tape() {
    // x ← x·sin x: the derivative by a recurrence, d ← d·(sin x + x·cos x).
    let x = t(1.1).tracked();
    let (mut y, mut v, mut d) = (x.clone(), 1.1f64, 1.0f64);
    let log = Arc::new(cotangent::Log::default());
    cotangent::observe(log.clone(), || {
        for _ in 0..50 {
            y = &y * y.sin();
            d *= v.sin() + v * v.cos();
            v *= v.sin();
        }
    });
    assert_eq!(log.entries().len(), 100, "two operations a fold");
    close(y.item(), v, 1e-12);
    close(y.backward().get(&x).unwrap().item(), d, 1e-10);
}

#[test]
fn c4_a_chain_of_a_million_nodes_builds_goes_back_and_drops() {
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let work = || {
        let x = t(0.0).tracked();
        let mut y = x.clone();
        for _ in 0..1_000_000 {
            y = y + 1.0;
        }
        let unused = &y * 2.0;
        drop(unused);
        assert_eq!(y.backward().get(&x).unwrap().item(), 1.0);
        drop(y); // consumed
        let mut z = x.clone();
        for _ in 0..1_000_000 {
            z = -z;
        }
        drop(z); // never consumed
    };
    small.spawn(work).unwrap().join().unwrap();
}

#[test]
fn c17_what_is_not_tracked_gets_no_gradient() {
    let (w, x) = (t(2.0).tracked(), t(5.0));
    let g = (&w * &x).backward();
    assert_eq!((g.len(), g.get(&w).unwrap().item()), (1, 5.0));
    // Integers carry no layer, whatever they come from.
    let v = Tensor::from([3.0, 1.0]).tracked();
    assert!(!v.argmax(0).is_tracked() && !v.cast(DType::I64).is_tracked() && !v.gt(2.0).is_tracked());
    let (values, places) = v.sort(0, false);
    assert!(values.is_tracked() && !places.is_tracked());
}

#[test]
fn hooks_see_and_replace_gradients() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let x = t(3.0).tracked();
    let y = x.on_gradient(move |g| {
        log.lock().unwrap().push(g.item());
        None
    });
    let g = (y.square() + &y).backward();
    assert_eq!(g.get(&x).unwrap().item(), 7.0);
    assert_eq!(*seen.lock().unwrap(), [7.0], "once, with the whole gradient");
    let clipped = x.on_gradient(|g| Some(g.minimum(&t(1.0)))).square().backward();
    assert_eq!(clipped.get(&x).unwrap().item(), 1.0);
    // In a transform too, and untouched by a push.
    assert_eq!(rev(|x| x.on_gradient(|g| Some(g * 2.0)).square(), &t(3.0)).item(), 12.0);
    assert_eq!(fwd(|x| x.on_gradient(|g| Some(g * 2.0)).square(), &t(3.0)).item(), 6.0);
}

#[test]
fn the_first_number_that_is_not_finite_is_named() {
    let e = finite(|| (Tensor::from([1.0, 0.0, 2.0]).ln() + 1.0).exp()).unwrap_err().to_string();
    assert!(e.starts_with("ln at tests/autodiff.rs") && e.contains("-inf at position 1"), "{e}");
    // On the way back: √ at 0 has an infinite slope; the forward operation's name and place are given.
    let x = t(0.0).tracked();
    let e = finite(|| x.sqrt().backward()).unwrap_err().to_string();
    assert!(e.contains("sqrt (pullback) at tests/autodiff.rs"), "{e}");
    assert!(finite(|| x.exp().backward()).is_ok());
    // Through a module: its path.
    let net = Sequential::new((Tensor::ln, Tensor::exp));
    let e = finite(|| net.call(&t(0.0))).unwrap_err().to_string();
    assert!(e.starts_with("ln in 0 at tests/autodiff.rs"), "{e}");
}

#[test]
fn state_is_stripped_of_every_layer() {
    let s = State::new(t(1.0).tracked());
    assert!(!s.value().is_tracked());
    s.set(&(t(2.0).tracked() * 3.0));
    assert!(!s.value().is_tracked());
    let y = rev(
        |x| {
            s.set(&(&x * 2.0));
            x.square() * s.value()
        },
        &t(3.0),
    );
    assert_eq!(y.item(), 36.0, "the state is a constant: 2x·6");
    assert_eq!((s.value() + 1.0).item(), 7.0, "and nothing escaped into it");
    let _ = fwd(
        |x| {
            s.set(&x);
            x
        },
        &t(8.0),
    );
    assert_eq!(s.value().exp().ln().item(), 8.0);
    assert!(message(|| s.set(&Tensor::zeros([2]))).contains("the cell holds"));
}

// ---- Jacobians ----

#[test]
fn c13_c14_c15_jacobians_agree_and_have_their_shapes() {
    let w = Tensor::from([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]]);
    let x = Tensor::from([0.2, -0.4, 0.9]);
    let f = |x: Tensor| w.matmul(&x).tanh();
    let (a, b, c) = (jacfwd(f, &x), jacrev(f, &x), jacobian(f, &x));
    assert_eq!(a.shape()[..], [2, 3]);
    all_close(&a, &b, 1e-14);
    all_close(&a, &c, 1e-14);
    // diag(1 − tanh²)·W.
    let slope = f(x.clone()).square() * -1.0 + 1.0;
    all_close(&a, &(slope.unsqueeze(1) * &w), 1e-14);
    // Of a matrix, by a matrix; of a number; of an integer-free constant.
    let m = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(jacobian(|m| m.matmul(&m), &m).shape()[..], [2, 2, 2, 2]);
    all_close(&jacfwd(|m| m.matmul(&m), &m), &jacrev(|m| m.matmul(&m), &m), 1e-14);
    assert_eq!(jacobian(|m| m.sum(), &m).shape()[..], [2, 2]);
    assert_eq!(jacobian(|_| t(1.0), &m).to_vec::<f64>(), [0.0; 4]);
    assert_eq!(jacrev(|x| x, &Tensor::zeros([0]).cast(DType::F64)).shape()[..], [0, 0]);
    assert_eq!(jacfwd(|x| x, &Tensor::zeros([0]).cast(DType::F64)).shape()[..], [0, 0]);
}

#[test]
fn hessians_agree_however_they_are_made() {
    let f = |x: Tensor| (x.exp() * x.roll_sum()).sum();
    trait RollSum {
        fn roll_sum(&self) -> Tensor;
    }
    impl RollSum for Tensor {
        fn roll_sum(&self) -> Tensor {
            self.sum() - self
        }
    }
    let x = Tensor::from([0.1, -0.5, 0.8]);
    let h = hessian(f, &x);
    all_close(&h, &h.t(), 1e-13);
    all_close(&h, &jacrev(|x| rev(f, &x), &x), 1e-13);
    all_close(&h, &jacfwd(|x| jacfwd(f, &x), &x), 1e-13);
    all_close(&h, &jacrev(|x| jacfwd(f, &x), &x), 1e-13);
    let v = Tensor::from([1.0, 2.0, -1.0]);
    all_close(&hvp(f, &x, &v), &h.matmul(&v), 1e-13);
    // A gradient of an hvp, checked by a difference.
    let third = |x: &Tensor| hvp(f, x, &v).sum();
    let g = rev(|x| third(&x), &x);
    let e = Tensor::from([0.0, 1.0, 0.0]) * 1e-5;
    close(g.to_vec::<f64>()[1], (third(&(&x + &e)).item() - third(&(&x - &e)).item()) / 2e-5, 1e-7);
}

#[test]
fn mistakes_of_the_transforms_are_named() {
    assert!(message(|| rev(|x| x, &Tensor::from([1.0, 2.0]))).contains("single number, got shape [2]"));
    assert!(message(|| jvp(|[x]| x, [&t(1.0)], [&Tensor::from([1.0])])).contains("tangent"));
    assert!(message(|| rev(|x| x, &Tensor::from(1i64))).contains("only real numbers have derivatives"));
    let (_, pull) = vjp(|[x]| x.square(), [&Tensor::from([1.0, 2.0])]);
    assert!(message(|| pull(&t(1.0))).contains("cotangent [] must have its value's shape [2]"));
    let two = [t(1.0), t(2.0)];
    assert!(
        message(|| cotangent::jvp_many(|x| x.to_vec(), &two, &two[..1])).contains("1 tangents for 2 inputs")
    );
    let (_, back) = vjp_many(|x| x.to_vec(), &two);
    assert!(message(|| back(&two[..1])).contains("1 cotangents for 2 values"));
}

// ---- models as functions ----

#[derive(Parameters)]
struct Tied {
    a: Linear,
    b: Linear,
}
impl Module for Tied {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.b.call(&self.a.call(x).tanh())
    }
}

#[test]
fn e39_tied_weights_are_found_once_and_sum_their_gradients() {
    let a = Linear::new(3, 3, &Rng::new(3));
    let tied = Tied { a: a.clone(), b: a.clone() };
    assert_eq!(tied.parameters().len(), 2);
    assert_eq!(tied.parameter_count(), 12);
    let free = Tied { a: Linear::new(3, 3, &Rng::new(3)), b: Linear::new(3, 3, &Rng::new(3)) };
    let x = Tensor::randn([5, 3], &Rng::new(4));
    let (l, m) = (tied.call(&x).square().mean(), free.call(&x).square().mean());
    assert_eq!(l.item(), m.item());
    let (g, h) = (tied.gradients(&l.backward()), free.gradients(&m.backward()));
    for i in 0..2 {
        all_close(&g[i], &(&h[i] + &h[i + 2]), 1e-6);
    }
    // Functionally too.
    let k = grad_of(&tied, |net| net.call(&x).square().mean());
    for i in 0..2 {
        all_close(&g[i], &k[i], 1e-6);
    }
    let moved: Vec<Tensor> = tied.values().iter().map(|v| v * 0.0).collect();
    assert_eq!(tied.with(&moved, |net| net.call(&x)).to_vec::<f32>(), [0.0; 15]);
    assert!(tied.call(&x).square().sum().item() > 0.0, "the cells keep their values");
}

#[test]
fn e39_frozen_parameters_get_no_gradient() {
    let net = Linear::new(2, 2, &Rng::new(0));
    net.parameters()[0].1.freeze(true);
    let g = net.call(&Tensor::ones([1, 2])).sum().backward();
    assert_eq!(g.len(), 1);
    net.freeze(true);
    assert!(!net.call(&Tensor::ones([1, 2])).is_tracked());
    net.freeze(false);
    assert_eq!(net.call(&Tensor::ones([1, 2])).sum().backward().len(), 2);
}

#[test]
fn hvp_of_a_model_equals_the_hessian_of_its_function() {
    let net = Linear::new(2, 1, &Rng::new(5));
    let x = Tensor::randn([6, 2], &Rng::new(6));
    let f = |net: &Linear| net.call(&x).tanh().square().mean();
    let v = [Tensor::from([[0.3f32, -1.0]]), Tensor::from([0.7f32])];
    let hv = hvp_of(&net, f, &v);
    // The same by differences of gradients.
    let h = 1e-2;
    let at = |s: f64| -> Vec<Tensor> {
        let moved: Vec<Tensor> = net.values().iter().zip(&v).map(|(p, v)| p + v * s).collect();
        net.with(&moved, |net| grad_of(net, f))
    };
    for ((a, b), hv) in at(h).iter().zip(&at(-h)).zip(&hv) {
        all_close(&((a - b) / (2.0 * h)), hv, 2e-3);
    }
}

#[test]
fn grad_of_nests_in_itself() {
    // One inner gradient step, differentiated through (as MAML does): θ' = θ − α·2θ, L = θ'², dL/dθ = 2θ(1−2α)².
    let theta = Param::new(t(3.0));
    let alpha = 0.1;
    let g = grad_of(&theta, |p| {
        let inner = grad_of(p, |p| p.get().square());
        (p.get() - &inner[0] * alpha).square()
    });
    close(g[0].item(), 2.0 * 3.0 * (1.0 - 2.0 * alpha) * (1.0 - 2.0 * alpha), 1e-14);
}

#[test]
fn a9_the_mean_of_the_gradients_of_examples_is_the_gradient_of_the_batch() {
    let net =
        Sequential::new((Linear::new(4, 5, &Rng::new(1)), Tensor::tanh, Linear::new(5, 3, &Rng::new(2))));
    let net64 = net.values().iter().map(|v| v.cast(DType::F64)).collect::<Vec<_>>();
    let (x, y) = (Tensor::randn([7, 4], &Rng::new(3)).cast(DType::F64), Tensor::from([0, 1, 2, 0, 1, 2, 1]));
    net.with(&net64, |net| {
        let each = per_example(net, |net, [x, y]| net.call(x).cross_entropy(y), [&x, &y]);
        let batch = grad_of(net, |net| net.call(&x).cross_entropy(&y));
        assert_eq!(each.len(), 4);
        for (e, b) in each.iter().zip(&batch) {
            assert_eq!(e.size(0), 7);
            all_close(&e.mean_over([0], false), b, 1e-12);
        }
    });
    assert!(
        message(|| per_example(&net, |net, [x, _]| net.call(x).sum(), [&x, &x.narrow(0, 0, 3)]))
            .contains("one size")
    );
}

#[test]
fn with_names_what_does_not_fit() {
    let net = Linear::new(3, 2, &Rng::new(0));
    let v = net.values();
    assert!(message(|| net.with(&v[..1], |_| ())).contains("1 values for 2 parameters"));
    assert!(
        message(|| net.with(&[v[1].clone(), v[0].clone()], |_| ())).contains("`weight` has shape [2, 3]")
    );
    let _ = attempt(|| net.with(&[&v[0] * 0.0, &v[1] * 0.0], |_| Tensor::zeros([2]) + Tensor::zeros([3])));
    assert_eq!(
        net.parameters()[0].1.get().detach().to_vec::<f32>(),
        v[0].to_vec::<f32>(),
        "undone while unwinding"
    );
}

// ---- checkpoints ----

fn counted(
    f: impl Fn([Tensor; 1]) -> Tensor + Send + Sync + 'static,
) -> (Arc<AtomicUsize>, impl Fn([Tensor; 1]) -> Tensor + Send + Sync + Clone + 'static) {
    let (count, f) = (Arc::new(AtomicUsize::new(0)), Arc::new(f));
    let inside = count.clone();
    (count, move |x| {
        inside.fetch_add(1, SeqCst);
        f(x)
    })
}

#[test]
fn e22_a_checkpoint_gives_the_same_bits_and_evaluates_twice() {
    let net =
        Sequential::new((Linear::new(3, 4, &Rng::new(1)), Tensor::tanh, Linear::new(4, 2, &Rng::new(2))));
    let x = Tensor::randn([5, 3], &Rng::new(3)).tracked();
    let inner = net.clone();
    let (count, f) = counted(move |[x]| inner.call(&x));
    let direct = net.call(&x).square().mean();
    let saved = checkpoint(f, [&x]).square().mean();
    assert_eq!(count.load(SeqCst), 1);
    assert_eq!(direct.item(), saved.item());
    let (g, h) = (direct.backward(), saved.backward());
    assert_eq!(count.load(SeqCst), 2);
    assert_eq!(g.get(&x).unwrap().to_vec::<f32>(), h.get(&x).unwrap().to_vec::<f32>());
    for (a, b) in net.gradients(&g).iter().zip(net.gradients(&h)) {
        assert_eq!(a.to_vec::<f32>(), b.to_vec::<f32>());
    }
    assert_eq!(h.len(), 5);
}

#[test]
fn e22_a_checkpoint_without_gradient_evaluates_once() {
    let (count, f) = counted(|[x]| x.exp());
    let x = t(1.0).tracked();
    let y = no_grad(|| checkpoint(f.clone(), [&x]));
    assert!(!y.is_tracked() && count.load(SeqCst) == 1);
    let y = checkpoint(f.clone(), [&t(1.0)]);
    assert!(!y.is_tracked(), "nothing inside is tracked");
    assert_eq!(count.load(SeqCst), 2);
}

#[test]
fn e22_parameters_used_twice_and_captured_tensors_get_their_whole_gradient() {
    let w = Param::new(t(3.0));
    let (x, h) = (t(2.0).tracked(), t(5.0).tracked());
    let k = &h * 2.0; // captured, computed outside: used inside and outside
    let f = {
        let (w, k) = (w.clone(), k.clone());
        move |[x]: [Tensor; 1]| w.get() * w.get() * &x * &k + &k
    };
    let direct = (f([x.clone()]) + &k).backward_keep();
    let saved = (checkpoint(f, [&x]) + &k).backward();
    for leaf in [&x, &h] {
        assert_eq!(direct.get(leaf).unwrap().item(), saved.get(leaf).unwrap().item());
    }
    assert_eq!(direct.get(&x).unwrap().item(), 90.0);
    assert_eq!(w.gradient(&direct).unwrap().item(), 2.0 * 3.0 * 2.0 * 10.0);
    assert_eq!(w.gradient(&saved).unwrap().item(), w.gradient(&direct).unwrap().item());
}

#[test]
fn e22_e50_dropout_in_a_checkpoint_draws_the_same_mask_and_the_generator_moves_once() {
    let (a, b) = (Rng::new(9), Rng::new(9));
    let x = Tensor::randn([64], &Rng::new(1)).tracked();
    let layer = |rng: &Rng| Dropout::new(0.5, rng);
    let (direct_layer, saved_layer) = (layer(&a), layer(&b));
    let direct = direct_layer.call(&x).square().sum();
    let inner = saved_layer.clone();
    let saved = checkpoint(move |[x]| inner.call(&x), [&x]).square().sum();
    assert_eq!(direct.item(), saved.item());
    let (g, h) = (direct.backward(), saved.backward());
    assert_eq!(g.get(&x).unwrap().to_vec::<f32>(), h.get(&x).unwrap().to_vec::<f32>());
    let state = |d: &Dropout| d.generators()[0].1.state().to_vec::<i64>();
    assert_eq!(state(&direct_layer), state(&saved_layer), "advanced once, not twice");
}

#[test]
fn e22_checkpoints_read_cells_as_first_seen_and_write_none_again() {
    let (count, w) = (State::new(t(0.0)), Param::new(t(2.0)));
    let x = t(3.0).tracked();
    let (c, p) = (count.clone(), w.clone());
    let y = checkpoint(
        move |[x]| {
            c.set(&(c.value() + 1.0)); // written before it is read: its own from then on
            x * p.get() * c.value()
        },
        [&x],
    );
    assert_eq!(count.value().item(), 1.0);
    w.set(&t(100.0)); // changed between forward and backward
    count.set(&t(50.0));
    let g = y.backward();
    assert_eq!(g.get(&x).unwrap().item(), 2.0);
    assert_eq!(w.gradient(&g).unwrap().item(), 3.0);
    assert_eq!((count.value().item(), w.value().item()), (50.0, 100.0));
}

#[test]
fn e22_checkpoints_nest() {
    let w = Param::new(t(1.5));
    let x = t(0.7).tracked();
    let rng = Rng::new(4);
    let p = w.clone();
    let inner = move |[x]: [Tensor; 1]| (x * p.get()).sin();
    let (i, r) = (inner.clone(), rng.clone());
    let saved = checkpoint(
        move |[x]| checkpoint(i.clone(), [&(&x * 2.0)]) * &x * (Tensor::rand([], &r).cast(DType::F64) + 1.0),
        [&x],
    );
    let u = Tensor::rand([], &Rng::new(4)).cast(DType::F64) + 1.0;
    let direct = inner([&x * 2.0]) * &x * u;
    assert_eq!(direct.item(), saved.item());
    let (g, h) = (direct.backward(), saved.backward());
    close(g.get(&x).unwrap().item(), h.get(&x).unwrap().item(), 1e-15);
    close(w.gradient(&g).unwrap().item(), w.gradient(&h).unwrap().item(), 1e-15);
    assert_eq!(rng.state().to_vec::<i64>()[2], 1);
}

#[test]
fn e22_checkpoints_work_under_every_transform() {
    let f = |[x]: [Tensor; 1]| x.exp() * x.sin();
    let plain = |x: Tensor| f([x]);
    let saved = |x: Tensor| checkpoint(f, [&x]);
    let x = t(0.8);
    close(fwd(saved, &x).item(), fwd(plain, &x).item(), 1e-15);
    close(rev(saved, &x).item(), rev(plain, &x).item(), 1e-15);
    close(hvp(saved, &x, &t(2.0)).item(), hvp(plain, &x, &t(2.0)).item(), 1e-15);
    close(rev(|x| fwd(saved, &x), &x).item(), rev(|x| fwd(plain, &x), &x).item(), 1e-15);
    close(rev(|x| rev(saved, &x), &x).item(), rev(|x| rev(plain, &x), &x).item(), 1e-15);
    close(
        fwd(|x| rev(|x| fwd(saved, &x), &x), &x).item(),
        fwd(|x| rev(|x| fwd(plain, &x), &x), &x).item(),
        1e-14,
    );
    // A pull may be asked several times.
    let (_, pull) = vjp(|[x]| saved(x).square(), [&x]);
    assert_eq!(pull(&t(1.0))[0].item(), pull(&t(1.0))[0].item());
}

#[test]
fn e22_a_checkpoint_inside_another_transform_keeps_the_tape_connected() {
    // The tape's tensor goes in as input; the transform's is captured.
    let x = t(2.0).tracked();
    for mode in 0..2 {
        let f = |w: Tensor| {
            let v = w.clone();
            checkpoint(move |[x]| x.square() * &v * &v, [&x])
        };
        let dy = if mode == 0 { fwd(f, &t(3.0)) } else { rev(f, &t(3.0)) };
        assert_eq!(dy.item(), 24.0); // 2x²w
        assert_eq!(dy.backward().get(&x).unwrap().item(), 24.0, "4xw, mode {mode}");
    }
    // Nothing of the tape is left on what a transform of plain things gives.
    let g = rev(|w| checkpoint(move |[x]| x * &w, [&t(5.0)]), &t(3.0));
    assert!(g.item() == 5.0 && !g.is_tracked());
}

#[test]
fn e22_a_model_in_a_checkpoint_is_a_function_of_its_parameters_too() {
    let net = Linear::new(2, 2, &Rng::new(8));
    let x = Tensor::randn([3, 2], &Rng::new(7));
    let inner = net.clone();
    let (count, f) = counted(move |[x]| inner.call(&x).tanh());
    let plain = grad_of(&net, |net| net.call(&x).tanh().square().sum());
    let saved = grad_of(&net, |_| checkpoint(f.clone(), [&x]).square().sum());
    assert_eq!(count.load(SeqCst), 2);
    for (a, b) in plain.iter().zip(&saved) {
        assert_eq!(a.to_vec::<f32>(), b.to_vec::<f32>());
        assert!(!b.is_tracked());
    }
    let v: Vec<Tensor> = net.values().iter().map(Tensor::ones_like).collect();
    let plain = hvp_of(&net, |net| net.call(&x).tanh().square().sum(), &v);
    let saved = hvp_of(&net, |_| checkpoint(f.clone(), [&x]).square().sum(), &v);
    plain.iter().zip(&saved).for_each(|(a, b)| all_close(a, b, 1e-6));
}

#[test]
fn values_and_gradients_come_together() {
    let (y, [a, b]) = value_and_grad(|[a, b]| a.square() * &b, [&t(3.0), &t(2.0)]);
    assert_eq!((y.item(), a.item(), b.item()), (18.0, 12.0, 9.0));
    assert!(!y.is_tracked());
}

#[test]
fn c10_a_cotangent_that_two_ways_share_is_added_to_for_one_alone() {
    // The sum hands one tensor to both of its operands; what more reaches `x` must not reach `y`.
    let x = Tensor::from([1.0, 2.0]).tracked();
    let (y, p) = (x.exp(), &x * 5.0);
    let s = (&x + &y) * 2.0;
    let g = (s.sum() + p.sum()).backward();
    let expected = [1.0f64, 2.0].map(|x| 2.0 + 5.0 + 2.0 * x.exp());
    let got = g.get(&x).unwrap().to_vec::<f64>();
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {expected:?}");
    // What a hook has kept stays as it was when more is added.
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let into = kept.clone();
    let keep = move |g: &Tensor| {
        *into.lock().unwrap() = Some(g.clone());
        None
    };
    let early = &x * 7.0;
    let late = x.on_gradient(keep) * 3.0;
    let g = (late.sum() + early.sum()).backward();
    assert_eq!(g.get(&x).unwrap().to_vec::<f64>(), [10.0, 10.0]);
    assert_eq!(kept.lock().unwrap().as_ref().unwrap().to_vec::<f64>(), [3.0, 3.0]);
}
