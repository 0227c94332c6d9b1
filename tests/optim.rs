//! Optimisers, schedules, step sizes and clipping against PyTorch's pseudo-code and the lecture's rows.

#[path = "pytorch/golden.rs"]
#[rustfmt::skip]
mod golden;

use std::collections::HashMap;

use cotangent::{
    DType, Gradients, Param, Step, Tensor, attempt,
    nn::ParametersExt,
    optim::{
        Adagrad, Adam, AdamW, Anneal, Optimizer, Plateau, RmsProp, Schedule, Sgd, Stepsize, Threshold,
        clip_grad_norm, clip_grad_value,
    },
};

/// Two parameters, `[2]` and `[]`, starting at (1, −2) and ¼.
fn model(dtype: DType) -> Vec<Param> {
    [Tensor::from([1.0, -2.0]), Tensor::from(0.25)].map(|t| Param::new(t.cast(dtype))).into()
}

/// Σ ½cθ² + dθ
fn loss(m: &[Param]) -> Tensor {
    let (a, b) = (m[0].get(), m[1].get());
    let (c, d) = (Tensor::from([1.0, 0.5]).cast(a.dtype()), Tensor::from([0.2, -0.3]).cast(a.dtype()));
    (c * a.square() * 0.5 + d * &a).sum() + b.square() * 1.5
}

fn values(m: &[Param]) -> Vec<f64> {
    m.iter().flat_map(|p| p.value().to_vec::<f64>()).collect()
}

fn bits(m: &[Param]) -> Vec<u64> {
    values(m).iter().map(|x| x.to_bits()).collect()
}

#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance * b.abs().max(1.0)), "{a:?}\n{b:?}");
}

/// The optimisers of `golden::OPTIMISERS`, in its order.
fn all() -> Vec<Box<dyn Optimizer>> {
    vec![
        Box::new(Sgd::new(0.1)),
        Box::new(Sgd::new(0.1).momentum(0.9)),
        Box::new(Sgd::new(0.1).momentum(0.9).dampening(0.5)),
        Box::new(Sgd::new(0.1).momentum(0.9).weight_decay(0.01).nesterov(true)),
        Box::new(Sgd::new(0.1).momentum(0.9).dampening(0.25).weight_decay(0.01).maximize(true)),
        Box::new(Adam::new(0.1)),
        Box::new(Adam::new(0.3).betas(0.4, 0.8).eps(1e-3).weight_decay(0.1).amsgrad(true)),
        Box::new(Adam::new(0.1).maximize(true)),
        Box::new(AdamW::new(0.1)),
        Box::new(AdamW::new(0.3).betas(0.8, 0.5).weight_decay(0.2).amsgrad(true)),
        Box::new(RmsProp::new(0.01)),
        Box::new(RmsProp::new(0.02).alpha(0.8).eps(1e-3).weight_decay(0.1).momentum(0.9).centered(true)),
        Box::new(RmsProp::new(0.01).momentum(0.5).maximize(true)),
        Box::new(Adagrad::new(0.1)),
        Box::new(Adagrad::new(0.3).lr_decay(0.1).weight_decay(0.1).initial_accumulator_value(0.5).eps(1e-3)),
        Box::new(Adagrad::new(0.1).maximize(true)),
    ]
}

#[test]
fn e15_optimisers_give_pytorchs_numbers() {
    assert_eq!(all().len(), golden::OPTIMISERS.len());
    for dtype in [DType::F64, DType::F32] {
        for (optimiser, (name, f64s, f32s)) in all().iter().zip(golden::OPTIMISERS) {
            let m = model(dtype);
            for _ in 0..10 {
                optimiser.step(&m, &loss(&m).backward());
            }
            // Also a parameter without axes keeps its type beside the F64 rate.
            assert!(m.iter().all(|p| p.value().dtype() == dtype), "{name}");
            println!("{name}: {dtype}");
            match dtype {
                DType::F64 => close(&values(&m), &f64s, 1e-13),
                _ => close(&values(&m), &f32s, 1e-6),
            }
        }
    }
}

/// A step of F32 is made in F32: with the rate cast first, not the parameter.
#[test]
fn a_rate_of_f64_leaves_f32_arithmetic_alone() {
    let w = Param::new(Tensor::from([1.0f32, 3.0]));
    Sgd::new(0.1).step(&w, &w.get().square().sum().backward());
    assert_eq!(w.value().to_vec::<f32>(), [1.0f32 - 2.0 * 0.1f32, 3.0f32 - 6.0 * 0.1f32]);
}

#[test]
fn recorded_steps_are_eager_steps_bit_for_bit() {
    for (i, (eager, recorded)) in all().into_iter().zip(all()).enumerate() {
        let (m, n) = (model(DType::F32), model(DType::F32));
        let recorded: std::sync::Arc<dyn Optimizer> = recorded.into();
        let mut step = {
            let (n, recorded) = (n.clone(), recorded.clone());
            Step::record(move |[x]: [Tensor; 1]| {
                let y = loss(&n) * x;
                recorded.step(&n, &y.backward());
                y
            })
        };
        for k in 0..6 {
            // A schedule: the rate is a cell.
            let rate = Schedule::cosine(0.1, 10).at(k);
            eager.rate().put(rate);
            recorded.rate().put(rate);
            let x = Tensor::from(1.0f32 + k as f32);
            let y = loss(&m) * &x;
            eager.step(&m, &y.backward());
            assert_eq!(
                step.run([&x]).unwrap().item().to_bits(),
                y.item().to_bits(),
                "optimiser {i}, step {k}"
            );
            assert_eq!(bits(&m), bits(&n), "optimiser {i}, step {k}");
        }
    }
}

#[test]
fn resumed_is_uninterrupted_bit_for_bit() {
    for (i, (through, (before, after))) in all().into_iter().zip(all().into_iter().zip(all())).enumerate() {
        let (m, n) = (model(DType::F32), model(DType::F32));
        for _ in 0..6 {
            through.step(&m, &loss(&m).backward());
        }
        for _ in 0..3 {
            before.step(&n, &loss(&n).backward());
        }
        let saved: HashMap<String, Tensor> = before.state().into_iter().collect();
        let again = model(DType::F32);
        again.iter().zip(&n).for_each(|(to, from)| to.set(&from.value()));
        after.load_state(&again, &saved).unwrap();
        for _ in 0..3 {
            after.step(&again, &loss(&again).backward());
        }
        assert_eq!(bits(&m), bits(&again), "optimiser {i}");
    }
}

#[test]
fn state_has_names_and_bad_state_is_refused_whole() {
    let m = model(DType::F32);
    let adam = Adam::new(0.1);
    adam.step(&m, &loss(&m).backward());
    let mut names: Vec<String> = adam.state().into_iter().map(|(n, _)| n).collect();
    names.sort();
    assert_eq!(names, ["exp_avg.0", "exp_avg.1", "exp_avg_sq.0", "exp_avg_sq.1", "step.0", "step.1"]);
    let good: HashMap<String, Tensor> = adam.state().into_iter().collect();
    assert_eq!(good["step.0"].item(), 1.0);

    let changed = |f: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let mut bad = good.clone();
        f(&mut bad);
        let e = adam.load_state(&m, &bad).unwrap_err().to_string();
        let now: HashMap<String, Tensor> = adam.state().into_iter().collect();
        assert!(
            good.iter().all(|(k, v)| now[k].to_vec::<f64>() == v.to_vec::<f64>()),
            "unchanged after: {e}"
        );
        e
    };
    assert!(changed(&|s| drop(s.remove("exp_avg.1"))).contains("lacks `exp_avg.1`"));
    assert!(
        changed(&|s| drop(s.insert("exp_avg.7".into(), Tensor::zeros(()))))
            .contains("no place for exp_avg.7")
    );
    assert!(changed(&|s| drop(s.insert("exp_avg.0".into(), Tensor::zeros([3])))).contains("shape [3]"));
    let momentum = HashMap::from([("momentum.0".to_string(), Tensor::zeros([2]))]);
    assert!(adam.load_state(&m, &momentum).is_err());
    adam.load_state(&m, &HashMap::new()).unwrap();
    assert!(adam.state().is_empty());
}

#[test]
fn parameters_without_gradient_and_frozen_ones_stay_with_their_state() {
    let m = model(DType::F64);
    let adam = Adam::new(0.1).weight_decay(0.1);
    adam.step(&m, &m[0].get().sum().backward());
    assert_eq!(m[1].value().item(), 0.25);
    assert_eq!(adam.state().len(), 3);
    m[0].freeze(true);
    let before = bits(&m[..1]);
    adam.step(&m, &(m[0].get().sum() + m[1].get()).backward());
    assert_eq!(bits(&m[..1]), before);
    assert!(m[1].value().item() != 0.25);
    // Gradients taken before the freeze do not move it either.
    m[0].freeze(false);
    let g = loss(&m).backward();
    m[0].freeze(true);
    adam.step(&m, &g);
    assert_eq!(bits(&m[..1]), before);
}

/// PyTorch's buffer begins as the gradient itself in a parameter's own first step, however late it comes.
#[test]
fn the_first_momentum_is_the_gradient_also_of_a_late_parameter() {
    let m = model(DType::F64);
    let sgd = Sgd::new(1.0).momentum(0.9).dampening(0.5);
    sgd.step(&m, &m[0].get().sum().backward());
    sgd.step(&m, &(m[0].get().sum() + m[1].get()).backward());
    assert_eq!(m[1].value().item(), -0.75);
    close(&m[0].value().to_vec::<f64>(), &[1.0 - 1.0 - 1.4, -2.0 - 1.0 - 1.4], 1e-15);
}

/// A clone shares what is remembered, so its options must remember the same.
#[test]
fn a_clone_that_remembers_something_else_is_refused() {
    let w = Param::new(Tensor::from([1.0, 2.0]));
    let step = |o: &dyn Optimizer| attempt(|| o.step(&w, &w.get().square().sum().backward()));
    let rmsprop = RmsProp::new(0.1);
    step(&rmsprop).unwrap();
    let before = (bits(std::slice::from_ref(&w)), rmsprop.state()[0].1.to_vec::<f64>());
    for other in [rmsprop.clone().momentum(0.9), rmsprop.clone().centered(true)] {
        let error = step(&other).unwrap_err().to_string();
        assert!(error.contains("square_avg") && error.contains("a new optimiser"), "{error}");
    }
    assert_eq!(before, (bits(std::slice::from_ref(&w)), rmsprop.state()[0].1.to_vec::<f64>()));
    step(&rmsprop.clone().eps(0.1)).unwrap();
    let (sgd, adam) = (Sgd::new(0.1), Adam::new(0.1));
    step(&sgd).unwrap();
    // Plain SGD remembers nothing, so there is nothing to mistake.
    step(&sgd.clone().momentum(0.9)).unwrap();
    step(&adam).unwrap();
    step(&adam.clone().amsgrad(true)).unwrap_err();
}

#[test]
fn mistakes_have_words() {
    for bad in [f64::NAN, f64::INFINITY, -0.1] {
        assert!(attempt(|| Sgd::new(bad)).unwrap_err().to_string().contains("must be a finite number"));
        assert!(attempt(|| Adam::new(0.1).set_rate(bad)).is_err());
        assert!(attempt(|| AdamW::new(0.1).weight_decay(bad)).is_err());
        assert!(attempt(|| RmsProp::new(0.1).momentum(bad)).is_err());
        assert!(attempt(|| RmsProp::new(0.1).alpha(bad)).is_err());
        assert!(attempt(|| Adagrad::new(bad)).is_err());
        assert!(attempt(|| Adagrad::new(0.1).lr_decay(bad)).is_err());
    }
    assert!(attempt(|| Adam::new(0.1).betas(0.9, 1.0)).is_err());
    let w = Param::new(Tensor::from(1.0));
    let g = w.get().backward();
    assert!(
        attempt(|| Sgd::new(0.1).nesterov(true).step(&w, &g)).unwrap_err().to_string().contains("momentum")
    );
    let (a, b) = (model(DType::F32), model(DType::F32));
    let sgd = Sgd::new(0.1).momentum(0.9);
    sgd.step(&a, &loss(&a).backward());
    let e = attempt(|| sgd.step(&b, &loss(&b).backward())).unwrap_err().to_string();
    assert!(e.contains("a second parameter is called `0`"), "{e}");
    sgd.step(&b[..0], &Gradients::default());
}

/// A25: plain SGD is θ − αg and nothing else, to the bit.
#[test]
fn a25_plain_sgd_is_the_hand_formula_bitwise() {
    let start = [0.1, -3.7, 1e-300, 12345.678, -0.0];
    let w = Param::new(Tensor::from(start));
    let sgd = Sgd::new(0.037);
    let c = Tensor::from([1.1, -2.3, 1e-5, 7e7, 0.0]);
    sgd.step(&w, &(w.get().square() * &c).sum().backward());
    let want: Vec<u64> =
        start.iter().zip(c.to_vec::<f64>()).map(|(x, c)| (x - 0.037 * (c * x * 2.0)).to_bits()).collect();
    assert_eq!(w.value().to_vec::<f64>().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), want);
    assert!(sgd.state().is_empty());
}

/// A3: on ½‖θ − c‖² a constant step size shrinks the error by exactly 1 − α.
#[test]
fn a3_gradient_descent_matches_its_closed_form() {
    let w = Param::new(Tensor::from([5.0, -1.0]));
    let c = Tensor::from([1.0, 2.0]);
    let gd = Sgd::new(0.1);
    for _ in 0..100 {
        gd.step(&w, &((w.get() - &c).square().sum() * 0.5).backward());
    }
    let shrink = 0.9f64.powi(100);
    close(&w.value().to_vec::<f64>(), &[1.0 + 4.0 * shrink, 2.0 - 3.0 * shrink], 1e-12);
}

/// A4: step sizes from a constant, a list, an iterator, a function of (k, epoch), a schedule.
#[test]
fn a4_step_sizes_come_from_anywhere_and_must_be_finite() {
    let samples = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0];
    let sources: Vec<Stepsize> = vec![
        Stepsize::from(|k: u64, _: u64| 1.0 / (k + 1) as f64),
        Stepsize::from((0..6).map(|k| 1.0 / (k + 1) as f64).collect::<Vec<_>>()),
        Stepsize::from(&[1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0, 1.0 / 5.0, 1.0 / 6.0][..]),
        Stepsize::iter((1..).map(|k| 1.0 / k as f64)),
    ];
    for mut alpha in sources {
        let w = Param::new(Tensor::from(100.0));
        let sgd = Sgd::new(0.0);
        for (k, x) in samples.iter().enumerate() {
            sgd.set_rate(alpha.at(k as u64, 0).unwrap());
            sgd.step(&w, &((w.get() - *x).square() * 0.5).backward());
            let mean = samples[..=k].iter().sum::<f64>() / (k + 1) as f64;
            assert!((w.value().item() - mean).abs() < 1e-12, "θ is the running mean of the samples");
        }
    }
    assert_eq!(Stepsize::from(0.5).at(1_000_000, 7).unwrap(), 0.5);
    assert_eq!(Stepsize::from(|_: u64, epoch: u64| epoch as f64).at(0, 3).unwrap(), 3.0);
    assert_eq!(Stepsize::from(Schedule::step(1.0, 2)).at(2, 0).unwrap(), 0.1);
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(Stepsize::from(bad).at(0, 0).unwrap_err().to_string().contains("step 0"));
        assert!(Stepsize::iter([0.1, bad]).at(1, 0).is_err());
    }
    assert!(Stepsize::from([0.1, 0.2]).at(2, 0).unwrap_err().to_string().contains("only 2"));
    assert!(Stepsize::iter([0.1, 0.2]).at(2, 0).unwrap_err().to_string().contains("only 2"));
    let mut once = Stepsize::iter([0.1, 0.2, 0.3]);
    assert_eq!((once.at(1, 0).unwrap(), once.at(1, 0).unwrap()), (0.2, 0.2));
    assert!(once.at(0, 0).unwrap_err().to_string().contains("cannot go back"));
}

/// A13: B gradients of single examples at the same θ, scaled by 1/B, are the batch's.
#[test]
fn a13_accumulated_gradients_are_the_batchs() {
    let w = Param::new(Tensor::from([0.5f32, -1.5]));
    let x = [[1.0f32, 2.0], [-0.5, 3.0], [0.25, 0.125], [7.0, -4.0]];
    let one = |x: [f32; 2]| (w.get() * Tensor::from(x)).sum().square();
    let mut g = Gradients::default();
    x.iter().for_each(|x| g.accumulate(one(*x).backward().map(|g| g / 4.0)));
    let batch = (x.iter().map(|x| one(*x)).reduce(|a, b| a + b).unwrap() / 4.0).backward();
    let (a, b) = (w.gradient(&g).unwrap().to_vec::<f64>(), w.gradient(&batch).unwrap().to_vec::<f64>());
    close(&a, &b, 1e-6);
}

#[test]
fn e56_norms_and_values_are_clipped_as_pytorchs() {
    let m = model(DType::F32);
    let g = (m[0].get() * Tensor::from([3.0f32, 0.0]) + m[1].get() * 2.0).sum().backward();
    // ‖g‖ = √(3² + 0² + 4²): the scalar meets both elements.
    let (clipped, norm) = clip_grad_norm(&m, &g, 1.0);
    assert_eq!((norm.item(), norm.dtype()), (5.0, DType::F32));
    let got: Vec<f64> = m.gradients(&clipped).iter().flat_map(|t| t.to_vec::<f64>()).collect();
    close(&got, &[3.0 / (5.0 + 1e-6), 0.0, 4.0 / (5.0 + 1e-6)], 1e-7);
    let (same, _) = clip_grad_norm(&m, &g, 100.0);
    assert_eq!(m.gradients(&same)[0].to_vec::<f64>(), [3.0, 0.0]);
    let cut = clip_grad_value(&m, &g.map(|t| -t), 2.5);
    assert_eq!(m.gradients(&cut)[0].to_vec::<f64>(), [-2.5, 0.0]);
    assert_eq!(m.gradients(&cut)[1].to_vec::<f64>(), [-2.5]);
    assert!(attempt(|| clip_grad_norm(&m, &Gradients::default(), f64::NAN)).is_err());
    assert_eq!(clip_grad_norm(&m, &Gradients::default(), 1.0).1.item(), 0.0);
    let nan = m[1].get().ln().backward().map(|t| t * f64::NAN);
    assert!(m.gradients(&clip_grad_value(&m, &nan, 1.0))[1].item().is_nan());
}

#[test]
fn clipping_can_be_recorded() {
    let w = Param::new(Tensor::from([3.0, 4.0]));
    let (cell, sgd) = (w.clone(), Sgd::new(1.0));
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let (g, norm) = clip_grad_norm(&cell, &((cell.get() * x).square().sum() * 0.5).backward(), 1.0);
        sgd.step(&cell, &g);
        norm
    });
    assert_eq!(step.run([&Tensor::from(1.0)]).unwrap().item(), 5.0);
    close(&w.value().to_vec::<f64>(), &[2.4, 3.2], 1e-6);
}

// PyTorch's own recurrences (torch/optim/lr_scheduler.py), step by step, not the closed forms under test:
//   cosine: lr = (1 + cos(pi*k/T)) / (1 + cos(pi*(k-1)/T)) * (lr - eta) + eta, and at k - 1 = T
//           lr += (base - eta) * (1 - cos(pi/T)) / 2                              with base .5, T 4, eta .1
//   linear: lr *= 1 + (b - a) / (T*a + (k-1)*(b - a)) for 0 < k <= T              with base .3, 1/3 → 1, T 4
//   cycle:  phases [(pct*T-1, init, mx), (T-1, mx, mn)]; three: [.., (2*pct*T-2, mx, init), (T-1, init, mn)]
#[test]
fn e15_schedules_give_pytorchs_numbers() {
    let rates = |s: &Schedule, n: u64| (0..n).map(|k| s.at(k)).collect::<Vec<_>>();
    let cosine = Schedule::Cosine { rate: 0.5, total: 4, eta_min: 0.1 };
    let want =
        [0.5, 0.4414213562373095, 0.3, 0.15857864376269054, 0.1, 0.1585786437626905, 0.3, 0.4414213562373096];
    close(&rates(&cosine, 8), &want, 1e-15);
    let linear = Schedule::linear(0.3, 1.0 / 3.0, 1.0, 4);
    close(&rates(&linear, 7), &[0.1, 0.15, 0.2, 0.25, 0.3, 0.3, 0.3], 1e-15);
    let cycle = [
        0.0040000000000000036,
        0.052000000000000005,
        0.1,
        0.09504846320134738,
        0.0811745653949763,
        0.06112620219362893,
        0.03887419780637107,
        0.0188258346050237,
        0.004951936798652629,
        4e-07,
    ];
    close(&rates(&Schedule::one_cycle(0.1, 10), 10), &cycle, 1e-15);
    assert!((Schedule::one_cycle(0.1, 10).at(99) - 4e-7).abs() < 1e-15);
    let three = Schedule::OneCycle {
        max_rate: 0.1,
        total: 10,
        pct_start: 0.4,
        anneal: Anneal::Linear,
        div_factor: 10.0,
        final_div_factor: 100.0,
        three_phase: true,
    };
    close(&rates(&three, 10), &[0.01, 0.04, 0.07, 0.1, 0.07, 0.04, 0.01, 0.0067, 0.0034, 0.0001], 1e-15);
    close(&rates(&Schedule::step(1.0, 2), 6), &[1.0, 1.0, 0.1, 0.1, 0.01, 0.01], 1e-15);
    let multi = Schedule::MultiStep { rate: 8.0, milestones: vec![4, 1, 4], gamma: 0.5 };
    close(&rates(&multi, 6), &[8.0, 4.0, 4.0, 4.0, 1.0, 1.0], 1e-15);
    close(&rates(&Schedule::exponential(1.0, 0.5), 4), &[1.0, 0.5, 0.25, 0.125], 1e-15);
    close(&rates(&Schedule::constant(0.3), 2), &[0.3, 0.3], 0.0);
    // SequentialLR([LinearLR(start_factor=1/3, total_iters=2), StepLR(2)], milestones=[2])
    close(&rates(&Schedule::step(3.0, 2).warm_up(2), 6), &[1.0, 2.0, 3.0, 3.0, 0.3, 0.3], 1e-15);
}

#[test]
fn schedules_give_pytorchs_rates() {
    let one_cycle = |anneal| Schedule::OneCycle {
        max_rate: 0.1,
        total: 13,
        pct_start: 0.3,
        anneal,
        div_factor: 25.0,
        final_div_factor: 1e4,
        three_phase: false,
    };
    let ours = [
        Schedule::Step { rate: 0.1, step_size: 4, gamma: 0.5 },
        Schedule::cosine(0.1, 12),
        one_cycle(Anneal::Cosine),
        one_cycle(Anneal::Linear),
    ];
    assert_eq!(ours.len(), golden::SCHEDULES.len());
    for (schedule, (name, rates)) in ours.iter().zip(golden::SCHEDULES) {
        println!("{name}");
        close(&(0..12).map(|k| schedule.at(k)).collect::<Vec<_>>(), &rates, 1e-15);
    }
}

#[test]
fn schedules_are_finite_everywhere_or_refused() {
    let good = [
        Schedule::one_cycle(0.1, 1),
        Schedule::one_cycle(0.1, 2),
        Schedule::OneCycle {
            max_rate: 0.1,
            total: 10,
            pct_start: 0.1,
            anneal: Anneal::Cosine,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        },
        Schedule::cosine(0.1, 1),
        Schedule::constant(0.1).warm_up(0),
    ];
    for s in good {
        s.check().unwrap();
        assert!((0..30).chain([u64::MAX]).all(|k| s.at(k).is_finite() && s.at(k) >= 0.0), "{s:?}");
    }
    let bad = [
        (Schedule::constant(f64::NAN), "rate"),
        (Schedule::step(0.1, 0), "step_size"),
        (Schedule::exponential(0.1, f64::INFINITY), "gamma"),
        (Schedule::cosine(-1.0, 5), "rate"),
        (Schedule::cosine(0.1, 0).warm_up(3), "total"),
        (Schedule::linear(0.1, -0.5, 1.0, 3), "start_factor"),
        (Schedule::one_cycle(f64::INFINITY, 3), "max_rate"),
    ];
    for (s, name) in bad {
        assert!(s.check().unwrap_err().to_string().contains(name), "{s:?}");
    }
}

#[test]
fn plateau_lowers_the_rate_as_pytorchs_and_resumes() {
    // ReduceLROnPlateau(factor=0.5, patience=1, cooldown=1), by hand along its source.
    let figures = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, f64::NAN, 1.0, 1.0];
    let want = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25];
    let mut plateau = Plateau::new().factor(0.5).patience(1).cooldown(1);
    let mut rate = 1.0;
    for (k, (figure, want)) in figures.iter().zip(want).enumerate() {
        if k == 5 {
            let saved: HashMap<String, Tensor> = plateau.state().into_iter().collect();
            plateau = Plateau::new().factor(0.5).patience(1).cooldown(1);
            plateau.load_state(&saved).unwrap();
        }
        rate = plateau.step(*figure, rate);
        assert_eq!(rate, want, "look {k}");
    }
    let mut accuracy =
        Plateau::new().larger_is_better().patience(0).threshold(Threshold::Absolute(0.1)).min_rate(0.05);
    assert_eq!(
        [0.5, 0.55, 0.7, 0.7, 0.7].map(|a| {
            rate = accuracy.step(a, rate);
            rate
        }),
        [0.25, 0.05, 0.05, 0.05, 0.05]
    );
    let bad =
        HashMap::from([("best".to_string(), Tensor::from(1.0)), ("bad".to_string(), Tensor::from(-1.0))]);
    assert!(plateau.load_state(&bad).is_err());
}
