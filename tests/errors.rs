//! Wording, place and path of mistakes: called directly, through modules, pointers and functions, and on the way back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cotangent::{
    DType, Device, Error, Layout, LinearMap, Mode, Op, Parameters, Result, Rng, Spec, Step, Tensor, apply,
    attempt,
    device::cpu::Call as Kernel,
    grad,
    nn::{Call, Conv2d, Flatten, Linear, MaxPool2d, Module, Relu, Sequential},
    ops::{Conv, MatMul, Pool, Rounding, Slice},
    try_apply,
};

fn message<T>(f: impl FnOnce() -> T) -> String {
    match attempt(f) {
        Ok(_) => panic!("a mistake was expected"),
        Err(e) => e.to_string(),
    }
}

/// What the same code prints when nobody attempts it: a panic with the same words.
fn panic_text<T>(f: impl FnOnce() -> T) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let caught = catch_unwind(AssertUnwindSafe(|| drop(f())));
    std::panic::set_hook(hook);
    *caught.expect_err("a panic was expected").downcast::<String>().expect("words")
}

/// `file:line:` of this file.
fn at(line: u32) -> String {
    format!("      at tests/errors.rs:{line}:")
}

#[test]
fn a_direct_call_names_verb_shapes_place_and_repair() {
    let (a, b) = (Tensor::zeros([2, 3]), Tensor::zeros([2, 3]));
    let line = line!() + 1;
    let text = message(|| a.matmul(&b));
    assert!(
        text.starts_with("matmul: ") && text.contains("3 and 2 differ") && text.contains(&at(line)),
        "{text}"
    );
    assert!(text.contains("[2, 3]") && text.contains("\n  help: "), "{text}");
    for (f, verb, words) in [
        ((|| Tensor::zeros([2, 3]) + Tensor::zeros([2, 4])) as fn() -> Tensor, "add", "3 and 4"),
        (|| Tensor::zeros([2, 3]).reshape([4, 2]), "reshape", "[4, 2]"),
        (|| Tensor::zeros([2, 3]).permute([0, 0]), "permute", "[0, 0]"),
        (|| Tensor::zeros([2, 3]).expand([4, 3]), "expand", "[4, 3]"),
        (|| Tensor::zeros([2, 3]).softmax(2), "softmax", "2"),
        (|| Tensor::zeros([2, 3]).narrow(1, 2, 2), "slice", "3"),
        (|| Tensor::cat(&[&Tensor::zeros([2, 3]), &Tensor::zeros([3, 3])], 1), "cat", "[3, 3]"),
        (|| Tensor::zeros([2, 3]).gather(1, &Tensor::zeros([2, 1])), "gather", "float32"),
        (|| Tensor::zeros([2, 3]).cross_entropy(&Tensor::from([0, 1, 2])), "cross_entropy", "[3]"),
        (
            || Tensor::zeros([2, 3]).conv2d(&Tensor::zeros([1, 1, 2, 2]), None, Conv::default()),
            "conv2d",
            "4 axes",
        ),
        (
            || Tensor::zeros([1, 3, 4, 4]).conv2d(&Tensor::zeros([1, 2, 2, 2]), None, Conv::default()),
            "conv2d",
            "3",
        ),
        (
            || Tensor::from([1.0, 2.0]).where_(&Tensor::from([1.0, 0.0]), &Tensor::from([1.0, 0.0])),
            "where",
            "truth values",
        ),
        (|| Tensor::from([true]) - Tensor::from([true]), "sub", "truth values"),
        (|| Tensor::zeros([2, 3]).sum_over([0, 0], false), "sum", "0"),
        (|| Tensor::zeros([2, 3]).sum_over([2], false), "sum", "2"),
        (|| Tensor::zeros([0]).argmax(0), "max", "0"),
        (|| Tensor::zeros([2, 3]).i((2, 0)), "index", "2"),
        (|| Tensor::from_vec(vec![1.0f32; 5], [2, 3]), "from_vec", "5 elements"),
    ] {
        let text = attempt(f).map(|_| ()).expect_err(verb).to_string();
        assert!(text.starts_with(verb) && text.contains(words), "{verb}, {words}: {text}");
        assert!(text.contains("at tests/errors.rs:"), "{text}");
        assert_eq!(text, panic_text(f), "the panic says the same");
    }
}

#[test]
fn through_a_sequential_the_path_is_the_index_and_the_place_is_the_call() {
    let rng = Rng::new(0);
    let net = Sequential::new((Linear::new(4, 3, &rng), Linear::new(2, 1, &rng)));
    let line = line!() + 1;
    let text = message(|| net.call(&Tensor::zeros([5, 4])));
    assert!(text.starts_with("matmul in 1: ") && text.contains(&at(line)), "{text}");
    assert!(text.contains("[5, 3]"), "{text}");
    let nested = Sequential::new((Tensor::relu, net.clone()));
    assert!(message(|| nested.call(&Tensor::zeros([5, 4]))).starts_with("matmul in 1.1: "));
}

#[derive(Parameters)]
struct Net {
    features: Sequential,
    relu: Relu,
    flat: Flatten,
    head: Box<dyn Module>,
    heads: Vec<Linear>,
}
impl Module for Net {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.features.call(x);
        let x = self.relu.call(&x);
        let x = self.head.call(&self.flat.call(&x));
        self.heads[1].call(&x)
    }
}

fn net(second: usize, head: usize, last: usize) -> Net {
    let rng = Rng::new(0);
    Net {
        features: Sequential::new((
            Conv2d::new(1, 2, 3, &rng),
            Tensor::relu,
            MaxPool2d::new(2),
            Conv2d::new(second, 2, 3, &rng),
        )),
        relu: Relu,
        flat: Flatten,
        head: Box::new(Linear::new(head, 4, &rng)),
        heads: vec![Linear::new(7, 7, &rng), Linear::new(last, 2, &rng)],
    }
}

#[test]
fn through_structs_pointers_and_lists_the_path_is_the_field_s() {
    let x = Tensor::zeros([1, 1, 10, 10]); // → [1, 2, 8, 8] → [1, 2, 4, 4] → [1, 2, 2, 2] → [1, 8]
    assert_eq!(net(2, 8, 4).call(&x).shape()[..], [1, 2]);
    let line = line!() + 1;
    let text = message(|| net(3, 8, 4).call(&x));
    assert!(text.starts_with("conv2d in features.3: "), "{text}");
    // The innermost line outside the crate that called a module: the one in `forward`.
    assert!(text.contains("at tests/errors.rs:") && !text.contains(&at(line)), "{text}");
    let text = message(|| net(2, 9, 4).call(&x));
    assert!(text.starts_with("matmul in head: "), "{text}");
    let text = message(|| net(2, 8, 5).call(&x));
    assert!(text.starts_with("matmul in heads.1: "), "{text}");
    // The whole behind a pointer.
    let boxed: Box<dyn Module> = Box::new(net(2, 9, 4));
    assert!(message(|| boxed.call(&x)).starts_with("matmul in head: "));
    let shared: std::sync::Arc<dyn Module> = std::sync::Arc::new(net(2, 8, 5));
    assert!(message(|| shared.call(&x)).starts_with("matmul in heads.1: "));
}

#[derive(Parameters)]
struct Plain {
    relu: Relu,
    flat: Flatten,
    pool: MaxPool2d,
}
impl Module for Plain {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.flat.call(&self.relu.call(x));
        self.pool.call(&x)
    }
}

#[test]
fn modules_without_fields_are_told_apart_by_their_type() {
    // Relu and Flatten have no size, so they may share an address.
    let seen = std::sync::Arc::new(cotangent::Log::default());
    let m = Plain { relu: Relu, flat: Flatten, pool: MaxPool2d::new(2) };
    let _ = cotangent::observe(seen.clone(), || attempt(|| m.call(&Tensor::zeros([1, 1, 2, 2]))));
    let lines: Vec<String> = seen.entries().into_iter().map(|(l, _)| l).collect();
    assert!(lines[0].contains("relu in relu at"), "{lines:?}");
    assert!(lines[1].contains("reshape in flat at"), "{lines:?}");
}

const CROOKED: u32 = line!() + 3;

fn crooked(x: &Tensor) -> Tensor {
    x.matmul(&Tensor::zeros([9, 9]))
}

#[test]
fn a_bare_function_is_named_by_its_index_and_its_own_line() {
    let net = Sequential::new((Tensor::relu, crooked));
    let text = message(|| net.call(&Tensor::zeros([2, 3])));
    assert!(text.starts_with("matmul in 1: ") && text.contains(&at(CROOKED)), "{text}");
    let net = Sequential::new((Tensor::relu, |x: &Tensor| x.reshape([7])));
    assert!(message(|| net.call(&Tensor::zeros([2, 3]))).starts_with("reshape in 1: "));
    // A method as a function: its line is in the standard library; the call's is given.
    let net = Sequential::new((Tensor::t, Tensor::t));
    let line = line!() + 1;
    let text = message(|| net.call(&Tensor::zeros([2, 3, 4])));
    assert!(text.contains(&at(line)), "{text}");
}

/// `y = x`, with a pull that multiplies matrices that do not fit.
#[derive(Clone)]
struct Wrong;
impl Op for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::unary(|c| c.matmul(&Tensor::zeros([5, 5]).cast(c.dtype())))
    }
    fn cpu(&self, mut call: Kernel<'_>) {
        let x = call.inputs[0].packed::<f64>();
        call.output::<f64>().copy_from_slice(x);
    }
}

/// `y = x`, with a pull that adds what does not broadcast.
struct Wide;
impl Op for Wide {
    fn name(&self) -> &'static str {
        "wide"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        LinearMap::unary(|c| c + Tensor::zeros([5, 5]).cast(c.dtype()))
    }
    fn cpu(&self, mut call: Kernel<'_>) {
        let x = call.inputs[0].packed::<f64>();
        call.output::<f64>().copy_from_slice(x);
    }
}

#[test]
fn a_mistake_on_the_way_back_shows_the_forward_operation_and_its_place() {
    let x = Tensor::from([[1.0, 2.0]]).tracked();
    let line = line!() + 1;
    let loss = apply(Wrong, &[&x]).sum();
    let text = message(|| loss.backward());
    assert!(text.starts_with("matmul of wrong (pullback): ") && text.contains(&at(line)), "{text}");
    assert!(text.contains("2 and 5 differ"), "{text}");
    let text = message(|| cotangent::jvp(|[x]| apply(Wrong, &[&x]), [&x.detach()], [&x.detach()]));
    assert!(text.starts_with("matmul of wrong (pushforward): "), "{text}");
    // A mistake that is found before there is an operation, such as shapes that do not broadcast.
    let wide = Wide;
    let loss = apply(wide, &[&x]).sum();
    let text = message(|| loss.backward());
    assert!(text.starts_with("add of wide (pullback): ") && text.contains(&at(line!() - 2)), "{text}");
    // From inside a module: its path too.
    let net = Sequential::new((Tensor::exp, |x: &Tensor| apply(Wrong, &[x])));
    let text = message(|| net.call(&x).sum().backward());
    assert!(text.starts_with("matmul of wrong (pullback) in 1: "), "{text}");
    let text = message(|| grad(|[x]| net.call(&x).sum(), [&x.detach()]));
    assert!(text.starts_with("matmul of wrong (pullback) in 1: "), "{text}");
}

// ---- sizes ----

#[derive(Parameters)]
struct Strict {
    conv1: Conv2d,
    conv2: Conv2d,
}
impl Module for Strict {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.conv2.call(&self.conv1.call(x))
    }
}

#[test]
fn g7_strict_rounding_gives_the_formula_and_settings_that_fit() {
    let rng = Rng::new(0);
    let m = Strict {
        conv1: Conv2d::new(1, 6, 5, &rng).padding(2).stride(2),
        conv2: Conv2d::new(6, 16, 5, &rng).stride(2).rounding(Rounding::Strict),
    };
    let text = message(|| m.call(&Tensor::zeros([64, 1, 28, 28])));
    let lines: Vec<&str> = text.lines().collect();
    let formula = "conv2d in conv2: W_out = (W − F + 2P)/S + 1 = (14 − 5 + 2·0)/2 + 1 = 5.5 is not an integer      at tests/errors.rs:";
    assert!(lines[0].starts_with(formula), "{text}");
    assert_eq!(
        lines[1],
        "  input [64, 6, 14, 14], weight [16, 6, 5, 5], stride 2, padding 0, rounding Strict"
    );
    assert_eq!(
        lines[2],
        "  help: stride 1 gives 10; padding 1 with stride 1 gives 12; crop the input to 13 for 5; or `.rounding(Floor)`, PyTorch's rule"
    );
    assert_eq!(lines.len(), 3);
    // The lecture's example: (7 − 3)/3 + 1.
    let e = Conv::default()
        .stride(3)
        .rounding(Rounding::Strict)
        .output_size([7, 7], [3, 3])
        .unwrap_err()
        .to_string();
    assert!(e.contains("(7 − 3 + 2·0)/3 + 1 = 2.3333 is not an integer"), "{e}");
    assert!(
        e.contains("stride 2 gives 3; padding 1 with stride 3 gives 3; crop the input to 6 for 2"),
        "{e}"
    );
}

#[test]
fn g7_every_setting_the_help_lists_fits() {
    let number = |text: &str, before: &str| -> usize {
        let rest = &text[text.find(before).unwrap_or_else(|| panic!("{before} in {text}")) + before.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let mut told = 0;
    for (size, kernel, stride, pad, dilation) in (1..20).flat_map(|s| {
        (1..6).flat_map(move |k| {
            (1..6).flat_map(move |t| (0..3).flat_map(move |p| (1..3).map(move |d| (s, k, t, p, d))))
        })
    }) {
        let strict =
            Conv::default().stride(stride).padding(pad).dilation(dilation).rounding(Rounding::Strict);
        let fits = |c: Conv, size: usize| c.output_size([size, size], [kernel, kernel]).map(|o| o[0]).ok();
        let Err(e) = strict.output_size([size, size], [kernel, kernel]) else { continue };
        let text = e.to_string();
        if !text.contains("is not an integer") {
            continue;
        }
        told += 1;
        let help = &text[text.find("help: ").unwrap()..];
        let s = number(help, "help: stride ");
        assert_eq!(fits(strict.stride(s), size), Some(number(help, &format!("stride {s} gives "))), "{text}");
        if help.contains("; padding ") {
            let p = number(help, "; padding ");
            let s = number(help, &format!("; padding {p} with stride "));
            let gives = number(help, &format!("; padding {p} with stride {s} gives "));
            assert_eq!(fits(strict.padding(p).stride(s), size), Some(gives), "{text}");
        }
        if !help.contains("crop") {
            assert!(size < stride, "only what is padding cannot be cropped: {text}");
            continue;
        }
        let crop = number(help, "crop the input to ");
        assert_eq!(
            fits(strict, crop),
            Some(number(help, &format!("crop the input to {crop} for "))),
            "{text}"
        );
        assert!(fits(strict.rounding(Rounding::Floor), size).is_some());
    }
    assert!(told > 500, "{told}");
}

#[test]
fn g6_the_formula_holds_for_every_setting_that_fits() {
    for (size, kernel, stride, pad, dilation) in (1..16).flat_map(|s| {
        (1..5).flat_map(move |k| {
            (1..5).flat_map(move |t| (0..3).flat_map(move |p| (1..4).map(move |d| (s, k, t, p, d))))
        })
    }) {
        let c = Conv::default().stride(stride).padding(pad).dilation(dilation);
        let reach = (kernel - 1) * dilation + 1;
        let places =
            (0..(size + 2 * pad)).step_by(stride).filter(|from| from + reach <= size + 2 * pad).count();
        match c.output_size([size, size], [kernel, kernel]) {
            Ok([h, w]) => assert_eq!((h, w), (places, places)),
            Err(_) => assert_eq!(places, 0),
        }
    }
}

#[test]
fn g7_a_filter_larger_than_its_padded_input_is_an_error_everywhere() {
    for rounding in [Rounding::Floor, Rounding::Ceil, Rounding::Strict] {
        let conv = Conv::default().padding(1).rounding(rounding);
        let run = || Tensor::zeros([1, 1, 3, 3]).conv2d(&Tensor::zeros([1, 1, 7, 7]), None, conv);
        let text = message(run);
        assert!(
            text.starts_with("conv2d: ") && text.contains("filter of 7 is larger than the padded input of 5"),
            "{text}"
        );
        assert!(text.contains("help: padding 2 makes room"), "{text}");
        assert_eq!(text, panic_text(run));
        assert_eq!(conv.padding(2).output_size([3, 3], [7, 7]).unwrap(), [1, 1], "and it does");
        let pool = Pool::new(7).rounding(rounding);
        assert!(
            message(|| Tensor::zeros([1, 1, 3, 3]).max_pool2d(pool)).contains("larger than the padded input")
        );
        assert!(
            message(|| Tensor::zeros([1, 1, 3, 3]).avg_pool2d(pool)).contains("larger than the padded input")
        );
    }
    // Sizes near the end of the numbers do not wrap.
    for conv in [
        Conv::default().padding(usize::MAX),
        Conv::default().padding(usize::MAX / 2 + 1),
        Conv::default().dilation(usize::MAX),
        Conv::default().stride(0),
        Conv::default().dilation(0),
    ] {
        assert!(conv.output_size([8, 8], [3, 3]).is_err());
    }
    assert!(Conv::default().output_size([8, 8], [0, 3]).is_err());
    assert!(Conv::default().output_size([0, 0], [1, 1]).is_err());
    let mut all: Vec<usize> =
        (0..5).map(|p| Conv::default().padding(p).output_size([0, 0], [3, 3]).map_or(0, |o| o[0])).collect();
    all.dedup();
    assert_eq!(all, [0, 2, 4, 6], "an empty image has its padding alone");
}

// ---- labels ----

#[test]
fn e5_a_label_out_of_range_names_position_value_and_classes() {
    let x = Tensor::zeros([4, 10]);
    let line = line!() + 1;
    let e = attempt(|| x.cross_entropy(&Tensor::from([3, 0, 10, 2]))).unwrap_err();
    let text = e.to_string();
    assert!(
        text.starts_with("cross_entropy: position 2 holds 10: labels of 10 classes run from 0 to 9"),
        "{text}"
    );
    assert!(
        text.contains("are yours 1..10? Subtract 1: `&labels - 1`") && text.contains(&at(line)),
        "{text}"
    );
    let Error::Fault(fault) = e else { panic!("{text}") };
    assert_eq!((fault.position, fault.value), (2, 10.0));
    // Others: no guess. Negative ones, except the ignored.
    let text = message(|| x.cross_entropy(&Tensor::from([3, 0, 11, 2])));
    assert!(text.contains("position 2 holds 11") && !text.contains("Subtract"), "{text}");
    assert!(message(|| x.cross_entropy(&Tensor::from([-1, 0, 1, 2]))).contains("position 0 holds -1"));
    assert!(x.cross_entropy(&Tensor::from([-100, 0, 1, 2])).item().is_finite());
    assert!(message(|| Tensor::from([0, 3]).one_hot(3)).contains("position 1 holds 3"));
    assert!(message(|| x.index_select(0, &Tensor::from([0, 4]))).contains("holds 4"));
    assert!(message(|| x.gather(1, &Tensor::from([[0], [1], [-1], [2]]))).contains("position 2 holds -1"));
    // The same through a module, and as a panic.
    let text = panic_text(|| x.cross_entropy(&Tensor::from([3, 0, 10, 2])));
    assert!(text.contains("position 2 holds 10"), "{text}");
    // The first one, however many there are and whichever thread finds it.
    let mut labels = vec![0i64; 50_000];
    labels[40_001] = 77;
    labels[40_000] = 99;
    let big = Tensor::zeros([50_000, 3]);
    assert!(message(|| big.cross_entropy(&Tensor::from(labels))).contains("position 40000 holds 99"));
}

// ---- doors ----

#[test]
fn b9_operands_on_two_devices_name_both_and_the_repair() {
    let gpu = Device::virtual_gpu();
    let (a, b) = (Tensor::zeros([2, 2]), Tensor::zeros([2, 2]).to(&gpu));
    let text = message(|| a.matmul(&b));
    assert!(text.starts_with("matmul: operands live on two devices: cpu and virtual:"), "{text}");
    assert!(
        text.contains(".to(&") && text.contains("help:") && text.contains("at tests/errors.rs"),
        "{text}"
    );
    let e = try_apply(MatMul, &[&b, &a]).unwrap_err().to_string();
    assert!(e.contains(&format!("{gpu} and cpu")), "{e}");
}

#[test]
fn attempt_catches_mistakes_silently_and_lets_other_panics_pass() {
    let printed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = printed.clone();
    let hook = std::panic::take_hook();
    let here = std::thread::current().id();
    std::panic::set_hook(Box::new(move |_| {
        if std::thread::current().id() == here {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }));
    let bad = || Tensor::zeros([2]) + Tensor::zeros([3]);
    let mistake = attempt(bad);
    let silent = printed.load(std::sync::atomic::Ordering::SeqCst);
    let nested = attempt(|| (attempt(bad).is_err(), attempt(|| 5).unwrap(), bad()));
    let passed = catch_unwind(|| attempt(|| panic!("not ours")));
    let after = catch_unwind(|| drop(bad()));
    std::panic::set_hook(hook);
    assert!(matches!(mistake, Err(Error::Mistake(_))) && silent == 0);
    assert!(nested.is_err());
    assert_eq!(*passed.unwrap_err().downcast::<&str>().unwrap(), "not ours");
    assert!(after.is_err(), "outside it panics as ever");
    let Err(Error::Mistake(m)) = attempt(bad) else { panic!() };
    assert_eq!((m.verb.as_str(), m.path.as_str(), m.pass), ("add", "", "forward"));
    assert!(!m.help.is_empty() && !m.what.is_empty() && m.place.starts_with("tests/errors.rs:"));
}

#[test]
fn attempts_work_from_other_threads_and_inside_each_other() {
    std::thread::scope(|s| {
        for n in 2..6 {
            s.spawn(move || {
                for _ in 0..50 {
                    let e = attempt(|| Tensor::zeros([1, n]).matmul(&Tensor::zeros([n + 1, 1]))).unwrap_err();
                    assert!(e.to_string().contains(&format!("{n} and {} differ", n + 1)));
                }
            });
        }
    });
}

#[test]
fn numbers_that_do_not_fit_their_type_are_refused() {
    let x = Tensor::from([1u8, 2]);
    assert!(message(|| &x + 300).contains("300 does not fit into uint8"));
    assert_eq!((&x + -1).to_vec::<i64>(), [0, 1], "bytes wrap below zero, as PyTorch's");
    let y = Tensor::from([1, 2]).cast(DType::I32);
    assert!(message(|| &y * (1i64 << 40)).contains("does not fit into int32"));
}

#[test]
fn sizes_that_overflow_are_mistakes() {
    let x = Tensor::ones([1, 1]);
    let slice = || Slice { start: vec![0, 0], step: vec![1 << 54, 1], len: vec![1025, 1] };
    let text = message(|| apply(slice(), &[&x]));
    assert!(text.contains("run past the end of axis 0"), "{text}");
    let (x, w) = (Tensor::ones([8, 1, 1, 1]), Tensor::ones([1, 1, 1, 1]));
    let conv = Conv::default().stride([1, 1 << 57]).padding([[0, 0], [1 << 57, 1 << 57]]);
    let text = message(|| x.conv2d(&w, None, conv));
    assert!(text.contains("fits into no memory") && text.contains("help: less padding"), "{text}");
}

/// A view that is not what the operation says, or leaves its operand, is a bug of the operation, and is not believed.
#[test]
fn a_view_is_checked() {
    #[derive(Debug)]
    struct Pun(DType, Layout);
    impl Op for Pun {
        fn name(&self) -> &'static str {
            "pun"
        }
        fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
            Ok(vec![x[0].with(self.1.shape).of(self.0)])
        }
        fn linearize(&self, _: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
            LinearMap::new(|_| vec![None])
        }
        fn view(&self, _: &Layout) -> Option<Layout> {
            Some(self.1)
        }
        fn cpu(&self, _: Kernel<'_>) {}
    }
    let x = Tensor::from([2.0f32, 3.0]);
    let text = panic_text(|| apply(Pun(DType::Bool, Layout::packed([2].into())), &[&x]));
    assert!(text.contains("operation pun gives [2] bool, and views [2] float32"), "{text}");
    for layout in
        [Layout::packed([3].into()), Layout::new([2].into(), &[2], 0), Layout::new([2].into(), &[-1], 0)]
    {
        let text = panic_text(|| apply(Pun(DType::F32, layout), &[&x]));
        assert!(text.contains("`view` of operation pun leaves its operand"), "{text}");
        let mut step = Step::record(move |[x]: [Tensor; 1]| apply(Pun(DType::F32, layout), &[&x]) + 1.0);
        assert!(panic_text(|| step.run([&x])).contains("leaves its operand"));
    }
    let good = Layout::new([2].into(), &[-1], 1);
    assert_eq!(apply(Pun(DType::F32, good), &[&x]).to_vec::<f32>(), [3.0, 2.0]);
}
