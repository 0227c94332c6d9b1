//! Recorded steps: what they repeat, what they refuse, and that nothing changes when something goes wrong.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
};

use cotangent::{
    DType, Device, Error, Param, Rng, Scalar, State, Step, Tensor, apply, attempt, checkpoint, grad,
    models::LeNet5,
    nn::{
        BatchNorm2d, Call, Conv2d, Dropout, Flatten, Linear, Module, Parameters, ParametersExt, Sequential,
    },
    no_grad,
    ops::{Conv, Transfer},
    optim::{Adam, Optimizer, Sgd},
    shapes, vjp,
};

fn message<T>(f: impl FnOnce() -> T) -> String {
    match attempt(f) {
        Ok(_) => panic!("a mistake was expected"),
        Err(e) => e.to_string(),
    }
}

/// All cells of a model, bit by bit.
fn bits(model: &(impl Parameters + ?Sized)) -> Vec<(String, Vec<u64>)> {
    let mut all: Vec<(String, Vec<u64>)> = model
        .state_dict()
        .into_iter()
        .map(|(n, t)| (n, t.to_vec::<f64>().into_iter().map(f64::to_bits).collect()))
        .collect();
    all.extend(
        model
            .generators()
            .into_iter()
            .map(|(n, r)| (n, r.state().to_vec::<i64>().into_iter().map(|x| x as u64).collect())),
    );
    all
}

fn batches(n: usize, sizes: &[usize]) -> Vec<(Tensor, Tensor)> {
    let rng = Rng::new(77);
    (0..n)
        .map(|i| {
            let b = sizes[i % sizes.len()];
            (Tensor::randn([b, 2, 6, 6], &rng), Tensor::randint(0, 3, [b], &rng))
        })
        .collect()
}

/// Convolution, batch norm, dropout: all that a step can change besides parameters.
fn network() -> Sequential {
    let rng = Rng::new(5);
    Sequential::new((
        Conv2d::new(2, 4, 3, &rng),
        BatchNorm2d::new(4),
        Tensor::relu,
        Dropout::new(0.3, &rng),
        Flatten,
        Linear::new(4 * 16, 3, &rng),
    ))
}

/// `N` recorded steps against `N` eager ones, from the same start: to the bit when replayed operation by operation;
/// compiled, with batches large enough for blocks, as near as sums in another order are.
fn same_as_eager<O>(
    optimiser: impl Fn() -> O,
    update: impl Fn(&O, &Sequential, &cotangent::Gradients) + Copy + Send + Sync + 'static,
    schedule: impl Fn(&O, usize),
    sizes: &[usize],
) where
    O: Send + Sync + 'static,
{
    let large: Vec<usize> = sizes.iter().map(|n| n * 5).collect();
    for (plain, sizes) in [(true, sizes), (false, &large)] {
        let (eager, recorded) = (network(), network());
        assert_eq!(bits(&eager), bits(&recorded));
        let (a, b) = (Arc::new(optimiser()), Arc::new(optimiser()));
        let (net, inside) = (recorded.clone(), b.clone());
        let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
            let loss = net.call(&x).cross_entropy(&y);
            update(&inside, &net, &loss.backward());
            loss
        });
        if plain {
            step = step.plain();
        }
        for (k, (x, y)) in batches(9, sizes).into_iter().enumerate() {
            schedule(&a, k);
            schedule(&b, k);
            let loss = eager.call(&x).cross_entropy(&y);
            update(&a, &eager, &loss.backward());
            let replayed = step.run([&x, &y]).unwrap();
            let off = (loss.item() - replayed.item()).abs();
            assert!(off <= if plain { 0.0 } else { 1e-5 }, "loss of step {k} is off by {off}");
            for ((n, e), (_, r)) in bits(&eager).into_iter().zip(bits(&recorded)) {
                if plain {
                    assert_eq!(e, r, "{n} after step {k}");
                    continue;
                }
                // A bias before batch norm has no gradient but rounding, which Adam makes whole steps of.
                if n == "0.bias" || n.ends_with("running_mean") {
                    continue;
                }
                let off = |(a, b): (&u64, &u64)| (f64::from_bits(*a) - f64::from_bits(*b)).abs();
                let off = e.iter().zip(&r).map(off).fold(0.0, f64::max);
                assert!(off < 1e-4, "{n} after step {k} is off by {off}");
            }
        }
        let counted =
            |(n, v): &(String, Vec<u64>)| n.ends_with("num_batches_tracked") && f64::from_bits(v[0]) == 9.0;
        assert!(bits(&recorded).iter().any(counted));
    }
}

/// SGD written by hand, with its rate in a cell.
fn by_hand(rate: &Scalar, net: &Sequential, g: &cotangent::Gradients) {
    no_grad(|| {
        for (_, p) in net.parameters() {
            if let Some(g) = p.gradient(g) {
                p.set(&(p.value() - g * rate.value()));
            }
        }
    })
}

#[test]
fn a25_recorded_steps_are_eager_steps_bit_for_bit() {
    same_as_eager(|| Scalar::new(0.1), by_hand, |_, _| (), &[8]);
}

#[test]
fn recorded_steps_follow_a_schedule_and_retrace_for_the_last_batch() {
    same_as_eager(|| Scalar::new(0.1), by_hand, |rate, k| rate.put(0.1 / (k + 1) as f64), &[8, 8, 5]);
}

#[test]
fn e15_recorded_steps_with_momentum_are_eager_ones_from_the_first_on() {
    let sgd = || Sgd::new(0.05).momentum(0.9).dampening(0.1).weight_decay(1e-3);
    same_as_eager(sgd, |o, net, g| o.step(net, g), |o, k| o.set_rate(0.05 * 0.9f64.powi(k as i32)), &[8, 3]);
    let nesterov = || Sgd::new(0.05).momentum(0.9).nesterov(true);
    same_as_eager(nesterov, |o, net, g| o.step(net, g), |_, _| (), &[4]);
}

#[test]
fn e15_recorded_steps_with_adam_are_eager_ones_from_the_first_on() {
    same_as_eager(
        || Adam::new(1e-2),
        |o, net, g| o.step(net, g),
        |o, k| o.set_rate(1e-2 / (k + 1) as f64),
        &[8, 3],
    );
    let boxed = || Box::new(Adam::new(1e-2).amsgrad(true)) as Box<dyn Optimizer>;
    same_as_eager(boxed, |o, net, g| o.step(net, g), |_, _| (), &[8]);
}

#[test]
fn e22_recorded_checkpoints_draw_the_same_masks() {
    let made = || (Linear::new(4, 4, &Rng::new(1)), Dropout::new(0.5, &Rng::new(2)));
    let run = |(net, drop): (Linear, Dropout), recorded: bool| {
        let (n, d) = (net.clone(), drop.clone());
        let f = move |[x]: [Tensor; 1]| {
            let (inner, noise) = (n.clone(), d.clone());
            let y = checkpoint(move |[x]| noise.call(&inner.call(&x)).tanh(), [&x.square()]);
            let loss = y.square().mean();
            let g = loss.backward();
            n.parameters().iter().for_each(|(_, p)| p.set(&(p.value() - p.gradient(&g).unwrap() * 0.5)));
            loss
        };
        let x = Tensor::randn([6, 4], &Rng::new(3));
        let mut step = Step::record(f.clone());
        let losses: Vec<f64> =
            (0..5).map(|_| if recorded { step.run([&x]).unwrap() } else { f([x.clone()]) }.item()).collect();
        (losses, bits(&(net, drop)))
    };
    assert_eq!(run(made(), false), run(made(), true));
}

#[test]
fn transforms_are_recorded_like_everything_else() {
    let w = Param::new(Tensor::from([1.0, 2.0]));
    let f = |w: &Param, x: &Tensor| {
        let [g] = grad(|[x]| (w.get() * x.square() * x).sum(), [x]);
        g.square().sum()
    };
    let (inside, x) = (w.clone(), Tensor::from([0.5, -1.0]));
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let loss = f(&inside, &x);
        let g = loss.backward();
        [loss, inside.gradient(&g).unwrap().clone()]
    });
    let [loss, g] = step.run([&x]).unwrap();
    let direct = f(&w, &x);
    assert_eq!(loss.item(), direct.item());
    assert_eq!(g.to_vec::<f64>(), w.gradient(&direct.backward()).unwrap().to_vec::<f64>());
}

// ---- recording ----

#[test]
fn the_closure_runs_twice_a_shape_and_never_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let inside = count.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        inside.fetch_add(1, SeqCst);
        x * 2.0
    });
    assert_eq!(count.load(SeqCst), 0, "record only keeps it");
    let (a, b) = (Tensor::ones([3]), Tensor::ones([2]));
    for x in [&a, &a, &b, &a, &b] {
        assert_eq!(step.run([x]).unwrap().to_vec::<f64>(), vec![2.0; x.numel()]);
    }
    assert_eq!(count.load(SeqCst), 4);
    step.run([&a.cast(DType::F64)]).unwrap();
    assert_eq!(count.load(SeqCst), 6, "another type is another program");
}

#[test]
fn recording_computes_nothing_and_refuses_to_read() {
    let w = Param::new(Tensor::from([1.0, 2.0]));
    let inside = w.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let y = inside.get() * x;
        assert!(y.is_recorded() && cotangent::is_recording());
        assert_eq!(y.shape()[..], [2], "shapes are known");
        y
    });
    step.run([&Tensor::from([1.0, 1.0])]).unwrap();
    assert!(!cotangent::is_recording());
    let reads: [fn(Tensor) -> Tensor; 4] = [
        |x| Tensor::from(x.sum().item()),
        |x| Tensor::from(x.to_vec::<f64>()),
        |x| if x.sum().gt(0.0).item() > 0.0 { x } else { -x },
        |x| x.masked_select(&x.gt(0.0)),
    ];
    for (i, read) in reads.into_iter().enumerate() {
        let mut step = Step::record(move |[x]: [Tensor; 1]| read(x));
        let text = message(|| step.run([&Tensor::from([1.0, 2.0])]));
        assert!(text.contains("record") && text.contains("help:"), "{i}: {text}");
    }
    let mut step = Step::record(|[x]: [Tensor; 1]| x.masked_select(&x.gt(0.0)));
    let text = message(|| step.run([&Tensor::from([1.0, 2.0])]));
    assert!(text.contains("where_"), "names the alternative: {text}");
    let rate = Scalar::new(0.1);
    let mut step = Step::record(move |[x]: [Tensor; 1]| x * rate.number());
    assert!(message(|| step.run([&Tensor::from(1.0)])).contains("while a step is being recorded"));
    // Printing is no reading: it says what it is.
    let mut step = Step::record(|[x]: [Tensor; 1]| {
        assert!(format!("{x}").contains("recorded"));
        x
    });
    step.run([&Tensor::from(1.0)]).unwrap();
}

#[test]
fn a_shape_mistake_panics_at_its_line_and_changes_no_cell() {
    let (w, s, rng) = (Param::new(Tensor::from([1.0, 2.0])), State::new(Tensor::from(1.0)), Rng::new(1));
    let (p, q, r) = (w.clone(), s.clone(), rng.clone());
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        p.set(&(p.value() * 3.0));
        q.set(&(q.value() + 1.0));
        let noise = Tensor::rand([2], &r);
        x.matmul(&noise) // two and three
    });
    let line = line!() - 2;
    let text = message(|| step.run([&Tensor::zeros([3, 3])]));
    assert!(text.contains(&format!("tests/step.rs:{line}")) && text.starts_with("matmul: "), "{text}");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let caught = catch_unwind(AssertUnwindSafe(|| step.run([&Tensor::zeros([3, 3])]).map(drop)));
    std::panic::set_hook(hook);
    assert!(caught.is_err());
    assert_eq!((w.value().to_vec::<f64>(), s.value().item()), (vec![1.0, 2.0], 1.0));
    assert_eq!(rng.state().to_vec::<i64>(), [1, 0, 0]);
    assert!(!cotangent::is_recording());
    // With shapes that fit it works, once a run.
    step.run([&Tensor::zeros([3, 2])]).unwrap();
    assert_eq!((w.value().to_vec::<f64>(), s.value().item()), (vec![3.0, 6.0], 2.0));
    assert_eq!(rng.state().to_vec::<i64>(), [1, 0, 1], "a block of four is the unit");
}

#[test]
fn a_number_that_changes_between_traces_names_its_line_and_the_scalar() {
    let k = Arc::new(AtomicUsize::new(0));
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let rate = 0.1 / (k.fetch_add(1, SeqCst) + 1) as f64;
        x * rate
    });
    let line = line!() - 2;
    let text = message(|| step.run([&Tensor::from(1.0)]));
    assert!(text.contains("this number changed between two recordings"), "{text}");
    assert!(text.contains(&format!("tests/step.rs:{line}")) && text.contains("0.1 became 0.05"), "{text}");
    assert!(text.contains("`Scalar`"), "{text}");
    // A different operation, a different attribute, a different number of operations.
    type F = fn(Tensor, usize) -> Tensor;
    let changing: [F; 3] = [
        |x, k| if k.is_multiple_of(2) { x.exp() } else { x.sin() },
        |x, k| x.narrow(0, k % 2, 1),
        |x, k| (0..k % 2).fold(x.exp(), |x, _| x.exp()),
    ];
    for f in changing {
        let k = AtomicUsize::new(0);
        let mut step = Step::record(move |[x]: [Tensor; 1]| f(x, k.fetch_add(1, SeqCst)));
        assert!(
            message(|| step.run([&Tensor::from([1.0, 2.0])])).contains("two recordings of one step differ")
        );
    }
    // A larger constant that changes somewhere in the middle.
    let k = AtomicUsize::new(0);
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let k = k.fetch_add(1, SeqCst) as f64;
        x + Tensor::from([5.0, k, 5.0])
    });
    let text = message(|| step.run([&Tensor::zeros([3])]));
    assert!(text.contains("0 became 1"), "{text}");
}

// ---- what is refused ----

#[test]
fn what_is_being_differentiated_is_refused() {
    let x = Tensor::from(2.0);
    let mut step = Step::record(|[x]: [Tensor; 1]| x.square());
    assert!(message(|| step.run([&x.tracked()])).contains("input 0 is being differentiated"));
    assert!(
        message(|| grad(|[x]| step.run([&x]).unwrap(), [&x])).contains("input 0 is being differentiated")
    );
    // Captured: a leaf, something computed from one, something of a transform, a loss.
    let leaf = x.tracked();
    let refused = |f: Box<dyn Fn(&Tensor) -> Tensor + Send>| {
        let mut step = Step::record(move |[x]: [Tensor; 1]| f(&x));
        let text = message(|| step.run([&x]));
        assert!(text.contains("captured by a recorded step") && text.contains("help: `detach()`"), "{text}");
        text
    };
    let (a, b, c) = (leaf.clone(), leaf.exp(), leaf.clone());
    let text = refused(Box::new(move |x| x * &a));
    assert!(text.starts_with("mul") && text.contains("tests/step.rs"), "{text}");
    refused(Box::new(move |x| x * &b));
    refused(Box::new(move |x| no_grad(|| x * &c)));
    let loss = leaf.square();
    refused(Box::new(move |x| {
        let _ = loss.backward();
        x.clone()
    }));
    let w = Tensor::from(1.0);
    let _ = vjp(
        |[w]| {
            let captured = w.clone();
            refused(Box::new(move |x| x * &captured));
            w
        },
        [&w],
    );
    // Detached it is a constant; made inside, a tape of its own.
    let d = leaf.detach();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let x = x.tracked();
        let loss = x.square() * &d;
        loss.backward().get(&x).unwrap().clone()
    });
    assert_eq!(step.run([&x]).unwrap().item(), 8.0);
}

#[test]
fn a_run_inside_a_recording_is_refused() {
    let inner = std::sync::Mutex::new(Step::record(|[x]: [Tensor; 1]| x.square()));
    let mut outer = Step::record(move |[x]: [Tensor; 1]| inner.lock().unwrap().run([&x]).unwrap());
    let text = message(|| outer.run([&Tensor::from(1.0)]));
    assert!(
        text.contains("cannot be run inside a recording") && text.contains("help: call its closure"),
        "{text}"
    );
}

#[test]
fn a_value_that_leaves_its_recording_says_so() {
    let kept = Arc::new(std::sync::Mutex::new(None));
    let inside = kept.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        *inside.lock().unwrap() = Some(&x * 2.0);
        x
    });
    step.run([&Tensor::from(1.0)]).unwrap();
    let stray = kept.lock().unwrap().take().unwrap();
    assert!(message(|| &stray + 1.0).contains("outside its recording"));
    assert!(message(|| stray.item()).contains("there is none yet"));
    assert!(message(|| State::new(Tensor::from(0.0)).set(&stray)).contains("outside its recording"));
    let mut other = Step::record(move |[x]: [Tensor; 1]| x * &stray);
    assert!(message(|| other.run([&Tensor::from(1.0)])).contains("another recording"));
}

// ---- faults and sharing ----

#[test]
fn a_fault_in_a_run_changes_no_cell() {
    let (net, sgd) = (network(), Arc::new(Sgd::new(0.1).momentum(0.9)));
    let (inside, o) = (net.clone(), sgd.clone());
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = inside.call(&x).cross_entropy(&y);
        o.step(&inside, &loss.backward());
        loss
    });
    let (x, y) = batches(1, &[4]).remove(0);
    step.run([&x, &y]).unwrap();
    let (before, momenta) = (bits(&net), sgd.state());
    let bad = Tensor::from([0, 1, 3, 2]);
    let e = step.run([&x, &bad]).unwrap_err();
    let Error::Fault(fault) = &e else { panic!("{e}") };
    assert_eq!((fault.position, fault.value, fault.verb), (2, 3.0, "cross_entropy"));
    assert!(e.to_string().contains("tests/step.rs") && e.to_string().contains("are yours 1..3?"), "{e}");
    assert_eq!(bits(&net), before);
    for ((n, a), (_, b)) in momenta.iter().zip(sgd.state()) {
        assert_eq!(a.to_vec::<f32>(), b.to_vec::<f32>(), "{n}");
    }
    step.run([&x, &y]).unwrap();
    assert_ne!(bits(&net), before, "and the step goes on");
}

#[test]
fn a_cell_that_has_moved_to_another_device_is_spoken_of() {
    let w = Param::new(Tensor::from([1.0, 2.0]));
    let cell = w.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| &x * cell.value());
    let x = Tensor::from([3.0, 4.0]);
    assert_eq!(step.run([&x]).unwrap().to_vec::<f64>(), [3.0, 8.0]);
    w.to_device(&cotangent::Device::virtual_gpu());
    let said = step.run([&x]).unwrap_err().to_string();
    assert!(said.contains("two devices"), "{said}");
}

#[test]
fn two_steps_on_the_same_cells_at_once_are_an_error() {
    let w = Param::new(Tensor::zeros([1]).contiguous());
    // A step that lasts long enough to be met: many products of matrices.
    let cell = w.clone();
    let mut slow = Step::record(move |[x]: [Tensor; 1]| {
        let y = (0..40).fold(x.clone(), |y, _| (y.matmul(&x)).tanh());
        cell.set(&(cell.value() + y.sum_over([0, 1], false).reshape([1])));
        y
    });
    let cell = w.clone();
    let mut quick = Step::record(move |[x]: [Tensor; 1]| {
        cell.set(&(cell.value() + x));
        cell.value()
    });
    let one = Tensor::ones([1]);
    quick.run([&one]).unwrap(); // traced
    let x = Tensor::zeros([400, 400]).contiguous();
    let (started, wait) = mpsc::channel();
    let mut refused = 0;
    std::thread::scope(|s| {
        let other = s.spawn(move || {
            slow.plan([&x]); // traced
            started.send(()).unwrap();
            slow.run([&x]).map(drop)
        });
        wait.recv().unwrap();
        while !other.is_finished() {
            if let Err(e) = quick.run([&one]) {
                assert!(e.to_string().contains("another recorded step is running on the same cells"), "{e}");
                refused += 1;
            }
        }
        // It may itself have met the quick one.
        if let Err(e) = other.join().unwrap() {
            assert!(e.to_string().contains("another recorded step is running"), "{e}");
            refused += 1;
        }
    });
    assert!(refused > 0, "they never met");
    quick.run([&one]).unwrap();
}

#[test]
fn a_snapshot_keeps_its_bits_over_a_hundred_replays() {
    let w = Param::new(Tensor::randn([1000], &Rng::new(1)));
    let cell = w.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        cell.set(&(cell.value() * 0.9 + x));
        cell.value().sum()
    });
    let snapshot = w.value();
    let bits: Vec<u32> = snapshot.to_vec::<f32>().into_iter().map(f32::to_bits).collect();
    let view = snapshot.narrow(0, 10, 5);
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            for _ in 0..200 {
                let now: Vec<u32> = snapshot.to_vec::<f32>().into_iter().map(f32::to_bits).collect();
                assert_eq!(now, bits);
            }
        });
        let mut outputs = Vec::new();
        for i in 0..100 {
            outputs.push((step.run([&Tensor::full([1000], 0.01 * i as f64)]).unwrap(), w.value()));
        }
        reader.join().unwrap();
        for (sum, value) in outputs {
            let (sum, again) = (sum.item(), value.sum().item());
            assert!((sum - again).abs() < 1e-4 * again.abs().max(1.0), "outputs and snapshots are their own");
        }
    });
    assert_eq!(view.to_vec::<f32>(), bits[10..15].iter().map(|b| f32::from_bits(*b)).collect::<Vec<_>>());
    assert_ne!(w.value().to_vec::<f32>(), snapshot.to_vec::<f32>());
}

#[test]
fn c20_training_evaluating_and_freezing_select_another_program() {
    let net = network();
    let inside = net.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| no_grad(|| inside.call(&x)));
    let (x, _) = batches(1, &[4]).remove(0);
    let first = step.run([&x]).unwrap();
    let second = step.run([&x]).unwrap();
    assert_ne!(first.to_vec::<f32>(), second.to_vec::<f32>(), "dropout draws anew");
    net.eval();
    let before = bits(&net);
    let (a, b) = (step.run([&x]).unwrap(), step.run([&x]).unwrap());
    assert_eq!(a.to_vec::<f32>(), b.to_vec::<f32>());
    assert_eq!(a.to_vec::<f32>(), no_grad(|| net.call(&x)).to_vec::<f32>());
    assert_eq!(bits(&net), before, "nothing was drawn or tracked");
    net.train();
    step.run([&x]).unwrap();
    assert_ne!(bits(&net), before);

    let w = Param::new(Tensor::from(1.0));
    let cell = w.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let g = (cell.get() * &x + x.tracked()).backward();
        if let Some(g) = cell.gradient(&g) {
            cell.set(&(cell.value() - g));
        }
    });
    let one = Tensor::from(1.0);
    step.run([&one]).unwrap();
    assert_eq!(w.value().item(), 0.0);
    w.freeze(true);
    step.run([&one]).unwrap();
    assert_eq!(w.value().item(), 0.0, "frozen: left alone");
    w.freeze(false);
    step.run([&one]).unwrap();
    assert_eq!(w.value().item(), -1.0);
}

#[test]
fn cells_written_before_they_are_read_and_read_after_they_are_written() {
    let (a, b) = (State::new(Tensor::from(1.0)), State::new(Tensor::from(10.0)));
    let (p, q) = (a.clone(), b.clone());
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        // A swap, then an update of what was swapped in.
        let (u, v) = (p.value(), q.value());
        p.set(&v);
        q.set(&u);
        p.set(&(p.value() + x));
        (p.value(), q.value())
    });
    let (u, v) = step.run([&Tensor::from(0.5)]).unwrap();
    assert_eq!((u.item(), v.item()), (10.5, 1.0));
    assert_eq!((a.value().item(), b.value().item()), (10.5, 1.0));
    step.run([&Tensor::from(0.5)]).unwrap();
    assert_eq!((a.value().item(), b.value().item()), (1.5, 10.5));
    // An input straight into a cell, an output that is an input, no output at all.
    let (s, t) = (State::new(Tensor::from(0.0)), State::new(Tensor::from(0.0)));
    let cell = s.clone();
    let mut keep = Step::record(move |[x]: [Tensor; 1]| {
        cell.set(&x);
        x
    });
    assert_eq!(keep.run([&Tensor::from(7.0)]).unwrap().item(), 7.0);
    assert_eq!(s.value().item(), 7.0);
    let cell = t.clone();
    let mut silent = Step::record(move |[]: [Tensor; 0]| cell.set(&(cell.value() + 1.0)));
    (0..3).for_each(|_| silent.run([]).unwrap());
    assert_eq!(t.value().item(), 3.0);
}

#[test]
fn steps_run_under_any_surroundings() {
    let w = Param::new(Tensor::from(2.0));
    let cell = w.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let g = (cell.get() * x).square().backward();
        cell.gradient(&g).unwrap().clone()
    });
    let x = Tensor::from(3.0);
    assert_eq!(
        no_grad(|| step.run([&x]).unwrap()).item(),
        36.0,
        "traced under no_grad, it still has its tape"
    );
    let [g] = grad(|[z]| z * step.run([&x]).unwrap(), [&Tensor::from(1.0)]);
    assert_eq!(g.item(), 36.0);
}

// ---- shapes ----

#[test]
fn shapes_builds_and_calls_with_checked_sizes_alone() {
    let net = shapes(|| {
        let net = LeNet5::new(&Rng::new(0));
        assert_eq!(net.call(&Tensor::zeros([64, 1, 28, 28])).shape()[..], [64, 10]);
        net
    })
    .unwrap();
    assert_eq!(net.parameter_count(), 61_706);
    let e =
        shapes(|| LeNet5::new(&Rng::new(0)).call(&Tensor::zeros([64, 1, 10, 10]))).unwrap_err().to_string();
    assert!(e.contains("help:"), "{e}");
    // Sizes that no machine has are errors, never wrapped: 2⁶⁶ numbers.
    for n in [1usize << 33, 1 << 40, usize::MAX / 2] {
        let outcome = shapes(|| Linear::new(n, n, &Rng::new(0)));
        assert!(outcome.is_err(), "{n}² numbers fit into nothing");
    }
    let outcome = shapes(|| {
        Tensor::zeros([1 << 31, 1 << 31]).matmul(&Tensor::zeros([1 << 31, 1 << 31])).unsqueeze(0).expand([
            16,
            1 << 31,
            1 << 31,
        ])
    });
    assert!(outcome.is_err());
    assert!(!cotangent::is_recording());
}

#[test]
fn a_chain_in_one_pass_has_the_bits_of_its_operations() {
    let all = |[x, y]: [Tensor; 2]| {
        let a = -(&x + &y).square() * 0.9 + &x / &y;
        let b = (&a - &x).relu();
        (&b * &y).sqrt() + b + a
    };
    for n in [2, 130, 4096, 20_001] {
        let mut values = [0, 1].map(|i| Tensor::randn([n], &Rng::new(i)).to_vec::<f32>());
        let odd = [-0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX, 1e-45];
        for (i, x) in odd.into_iter().enumerate() {
            values[0][(7 * i) % n] = x;
            values[1][(3 * i + 1) % n] = x;
        }
        let [x, y] = values.map(Tensor::from);
        let mut step = Step::record(all);
        let plan = step.plan([&x, &y]).to_string();
        assert_eq!(plan.matches("  pass ").count(), 12, "{plan}");
        let bits = |t: Tensor| t.to_vec::<f32>().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(step.run([&x, &y]).unwrap()), bits(all([x, y])), "{n} elements");
    }
}

/// Momentum and weights are written over their old values, and who has taken those keeps them.
#[test]
fn cells_change_in_place_and_their_snapshots_do_not() {
    let n = 10_000;
    let start = Tensor::randn([n], &Rng::new(1));
    let (w, v) = (Param::new(start.clone()), State::new(Tensor::zeros([n])));
    let update = |w: &Tensor, v: &Tensor, x: &Tensor| {
        let v = v * 0.9 + (x - w);
        (w + &v * 0.1, v)
    };
    let cells = (w.clone(), v.clone());
    let x = Tensor::randn([n], &Rng::new(2));
    let target = x.clone();
    let mut step = Step::record(move |[]: [Tensor; 0]| {
        let (w, v) = update(&cells.0.value(), &cells.1.value(), &target);
        cells.0.set(&w);
        cells.1.set(&v);
    });
    let plan = step.plan([]).to_string();
    assert!(plan.contains("2 cells get their new values in place of the old"), "{plan}");
    let bits = |t: &Tensor| t.to_vec::<f32>().into_iter().map(f32::to_bits).collect::<Vec<_>>();
    // What a cell is after k steps; a snapshot is one of these, whenever it is taken.
    let mut states = vec![(start, Tensor::zeros([n]))];
    for k in 0..40 {
        let (w, v) = &states[k];
        states.push(update(w, v, &x));
    }
    let (done, states) = (AtomicUsize::new(0), &states);
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let mut kept = Vec::new();
            while done.load(SeqCst) == 0 {
                let snapshot = w.value();
                kept.push((bits(&snapshot), snapshot));
                kept.truncate(50);
            }
            for (then, snapshot) in kept {
                assert_eq!(bits(&snapshot), then, "it stays as it was");
                assert!(states.iter().any(|(w, _)| bits(w) == then), "it is one of the states");
            }
        });
        let mut held = Vec::new();
        for (k, state) in states.iter().enumerate().skip(1) {
            step.run([]).unwrap();
            assert_eq!((bits(&w.value()), bits(&v.value())), (bits(&state.0), bits(&state.1)), "{k}");
            // Some steps find a snapshot, some none.
            if k % 3 == 0 {
                held.push((k, w.value()));
            }
        }
        done.store(1, SeqCst);
        reader.join().unwrap();
        held.iter().for_each(|(k, w)| assert_eq!(bits(w), bits(&states[*k].0), "step {k}"));
    });
}

#[test]
fn a_plan_lists_what_a_step_does() {
    let net = Linear::new(3, 2, &Rng::new(0));
    let inside = net.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| inside.call(&x).square().mean());
    let plan = step.plan([&Tensor::zeros([4, 3])]);
    let text = plan.to_string();
    assert!(text.contains("matmul") && text.contains("tests/step.rs") && plan.len() >= 4, "{text}");
    assert!(plan.peak <= plan.bytes && plan.cost.multiplications >= 4 * 3 * 2);
}

/// A module of its own, called through `call` while recording: names are there too.
struct Twice(Linear);
impl Parameters for Twice {
    fn visit(&self, visitor: &mut cotangent::nn::Visitor<'_>) {
        visitor.child("inner", &self.0)
    }
}
impl Module for Twice {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.0.call(&self.0.call(x))
    }
}

#[test]
fn a_plan_names_modules() {
    let net = Arc::new(Twice(Linear::new(2, 2, &Rng::new(0))));
    let mut step = Step::record(move |[x]: [Tensor; 1]| net.call(&x));
    assert!(step.plan([&Tensor::zeros([1, 2])]).to_string().contains("in inner"));
}

/// `y = 2x`, under a name that the library uses for something else.
struct Impostor;

impl cotangent::Op for Impostor {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn outputs(&self, x: &[cotangent::Spec]) -> cotangent::Result<Vec<cotangent::Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], _: &[Tensor], _: cotangent::Mode, _: &[bool]) -> cotangent::LinearMap {
        cotangent::LinearMap::unary(|t| t * 2.0)
    }
    fn batch(&self, _: &[cotangent::Spec], axes: &[Option<usize>]) -> cotangent::ops::Batch {
        cotangent::ops::Batch::Each(vec![axes[0].unwrap()])
    }
    fn cpu(&self, mut call: cotangent::device::cpu::Call<'_>) {
        let x = call.inputs[0].packed::<f32>();
        call.output::<f32>().iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
    }
}

#[test]
fn a_kernel_is_shared_by_what_an_operation_is_and_not_by_its_name() {
    let rng = Rng::new(3);
    let w = Tensor::randn([4, 2, 3, 3], &rng);
    let x = Tensor::randn([32, 2, 8, 8], &rng);
    let f = move |[x]: [Tensor; 1]| cotangent::apply(Impostor, &[&x.conv2d(&w, None, Default::default())]);
    let want = f([x.clone()]).to_vec::<f32>();
    let mut step = Step::record(f);
    assert!(step.plan([&x]).to_string().contains("blocks of 16"), "{}", step.plan([&x]));
    let got = step.run([&x]).unwrap().to_vec::<f32>();
    assert!(want.iter().any(|y| *y < -0.1));
    assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + a.abs())));
}

#[test]
fn wide_convolutions_by_winograd_s_algorithm_are_the_plain_ones_forward_and_backward() {
    // Odd sides and unequal paddings leave tiles that stand out; 19 examples fill no register.
    for (n, sides, padding) in [(16, [8, 8], 1), (19, [7, 10], 0), (9, [5, 3], 2)] {
        let rng = Rng::new(n as u64);
        let net = Sequential::new((
            Conv2d::new(33, 48, 3, &rng).padding(padding),
            Conv2d::new(48, 32, 3, &rng).padding(1),
        ));
        let both = {
            let net = net.clone();
            move |[x]: [Tensor; 1]| -> Vec<Tensor> {
                let x = x.tracked();
                let y = net.call(&x);
                let g = y.square().mean().backward();
                let mut all = vec![y.detach(), g.get(&x).unwrap().clone()];
                all.extend(net.gradients(&g));
                all
            }
        };
        let x = Tensor::randn([n, 33, sides[0], sides[1]], &rng);
        let mut step = Step::record(both.clone());
        let plan = step.plan([&x]).to_string();
        assert_eq!(
            plan.matches("by Winograd's algorithm").count(),
            6,
            "two layers, three ways each:\n{plan}"
        );
        let (eager, recorded) = (both([x.clone()]), step.run([&x]).unwrap());
        assert_eq!(recorded.len(), 6);
        for (a, b) in eager.iter().zip(&recorded) {
            let (a, b) = (a.to_vec::<f64>(), b.to_vec::<f64>());
            let largest = a.iter().fold(0f64, |m, x| m.max(x.abs()));
            let off = a.iter().zip(&b).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(off <= 5e-6 * largest && off > 0.0, "{off} of {largest}");
        }
    }
}

/// An old value that is read after the new one is made: the new one waits beside it.
#[test]
fn cells_in_place_are_read_before_they_are_written() {
    let n = 10_001;
    let first = [1, 2].map(|seed| Tensor::randn([n], &Rng::new(seed)));
    let cells = first.clone().map(State::new);
    let [a, b] = cells.clone();
    let mut step = Step::record(move |[]: [Tensor; 0]| {
        let (old_a, old_b) = (a.value(), b.value());
        a.set(&(&old_b * 0.5));
        b.set(&(old_a * &old_b));
    });
    let [mut a, mut b] = first;
    for _ in 0..3 {
        step.run([]).unwrap();
        (a, b) = (&b * 0.5, a * &b);
        for (cell, expected) in cells.iter().zip([&a, &b]) {
            assert_eq!(cell.value().to_vec::<f32>(), expected.to_vec::<f32>());
        }
    }
}

/// Windows that ReLU makes equal keep the first cell, as they do one operation after the other.
#[test]
fn places_of_maxima_behind_relu_are_those_of_eager_code() {
    let x = Tensor::from([4.0f32, 3.0, 2.0, 1.0, 1.0, -3.0, -2.0, 5.0]).reshape([2, 1, 2, 2]);
    let x = Tensor::cat(&[&x; 9], 0);
    for (pool, bias) in [(2, 0.0), (2, 2.5), (1, 0.0)] {
        let f = move |x: &Tensor| {
            let (w, b) = (Tensor::full([1, 1, 1, 1], -1.0f32), Tensor::full([1], bias as f32));
            x.conv2d(&w, Some(&b), Conv::default()).relu().max_pool2d_with_indices(pool)
        };
        let mut step = Step::record(move |[x]: [Tensor; 1]| f(&x));
        let (y, i) = step.run([&x]).unwrap();
        let (eager, places) = f(&x);
        assert_eq!(y.to_vec::<f32>(), eager.to_vec::<f32>());
        assert_eq!(i.to_vec::<i64>(), places.to_vec::<i64>(), "pool {pool}, bias {bias}");
    }
}

/// One number for all places, where a kernel wants its elements side by side.
#[test]
fn an_expanded_number_in_a_chain_is_packed_for_who_asks() {
    let mut step = Step::record(|[x]: [Tensor; 1]| x.sum().expand([8]).expect_finite() + 1.0);
    assert_eq!(step.run([&Tensor::ones([4])]).unwrap().to_vec::<f32>(), [5.0; 8]);
}

/// A cell that moved to a device as a view is replayed, whether or not its queue is done.
#[test]
fn a_cell_that_moved_as_a_view_is_not_read_too_early() {
    let gpu = Device::virtual_gpu();
    let cell = State::new(Tensor::zeros([600, 500]));
    let read = cell.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| (read.value() * x).sum());
    let one = Tensor::from(1.0f32);
    step.run([&one]).unwrap();
    for _ in 0..20 {
        cell.set(&Tensor::zeros([500, 600]).to(&gpu).t());
        let text = step.run([&one]).map_or_else(|e| e.to_string(), |y| y.item().to_string());
        assert!(text.contains("two devices"), "{text}");
    }
}

#[test]
fn a_transfer_to_where_a_value_is_copies_it() {
    let mut step = Step::record(|[x]: [Tensor; 1]| apply(Transfer { to: Device::cpu() }, &[&x]) + 1.0);
    assert_eq!(step.run([&Tensor::from([1.0f32, 2.0])]).unwrap().to_vec::<f32>(), [2.0, 3.0]);
}
