//! The rules of a GPU on the virtual one: rows B3–B10.

use cotangent::{
    DType, Device, Error, Param, Rng, Tensor, attempt,
    device::Event,
    grad,
    models::LeNet5,
    nn::{Call, ParametersExt},
    no_grad, ops,
};

fn launches(d: &Device) -> usize {
    d.as_virtual_gpu().unwrap().launches()
}

fn transfers(d: &Device) -> (usize, usize) {
    d.as_virtual_gpu().unwrap().transfers()
}

#[test]
fn b3_a_round_trip_keeps_every_bit_and_is_logged() {
    let gpu = Device::virtual_gpu();
    let odd: Vec<f32> = vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 8.0, 1.0 / 3.0];
    let x = Tensor::from(odd.clone());
    let back = x.to(&gpu).to(&Device::cpu());
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(back.to_vec()), bits(odd));
    for dtype in DType::ALL {
        let x = Tensor::arange(0, 6).cast(dtype).reshape([2, 3]);
        for x in [x.clone(), x.t(), x.i((.., 1)), x.narrow(0, 0, 0)] {
            let back = x.to(&gpu).to(&Device::cpu());
            assert_eq!((back.shape(), back.dtype()), (x.shape(), dtype));
            assert_eq!(back.to_vec::<f64>(), x.to_vec::<f64>());
        }
    }
    let log = gpu.as_virtual_gpu().unwrap().log();
    let Event::Transfer { to_device: true, bytes: 24, start, end } = log[0] else { panic!("{:?}", log[0]) };
    // 10 µs and 24 bytes at 16 GB/s.
    assert!((end - start - 10e-6 - 24.0 / 16e9).abs() < 1e-15);
    assert!(matches!(log[1], Event::Transfer { to_device: false, bytes: 24, .. }));
    assert_eq!(transfers(&gpu), (25, 25));
    assert!(x.to(&Device::cpu()).shares_buffer(&x), "no copy where it is already");
    let there = x.to(&gpu);
    assert!(there.to(&gpu).shares_buffer(&there) && transfers(&gpu) == (26, 25));
}

#[test]
fn b4_b5_calls_return_before_they_are_done() {
    let gpu = Device::virtual_gpu();
    let x = Tensor::randn([300, 300], &Rng::new(1)).to(&gpu);
    gpu.synchronize().unwrap();
    let device = gpu.as_virtual_gpu().unwrap();
    let before = device.clock();
    let start = std::time::Instant::now();
    let y = (0..20).fold(x.clone(), |y, _| y.matmul(&x).tanh());
    let returned = start.elapsed();
    let (host, queue) = device.clock();
    gpu.synchronize().unwrap();
    let done = start.elapsed();
    assert!(returned < done / 2, "40 launches took {returned:?} of {done:?}");
    // On the simulated clock the host spent 5 µs a launch, and the device is behind it.
    assert!((host - before.0 - 40.0 * 5e-6).abs() < 1e-12);
    assert!(queue > host, "{queue} {host}");
    let (host, queue) = device.clock();
    assert!(host >= queue, "after a wait both are there");
    assert!(matches!(device.log().last(), Some(Event::Wait { .. })));
    let kernels: Vec<&str> = device
        .log()
        .iter()
        .filter_map(|e| if let Event::Launch { kernel, .. } = e { Some(*kernel) } else { None })
        .collect();
    assert_eq!(kernels, ["matmul", "tanh"].repeat(20));
    let direct = (0..20).fold(x.to(&Device::cpu()), |y, _| y.matmul(&x.to(&Device::cpu())).tanh());
    assert_eq!(y.to_vec::<f32>(), direct.to_vec::<f32>());
}

#[test]
fn b6_a_program_s_log_has_its_three_phases() {
    let gpu = Device::virtual_gpu();
    let (a, b) = (Tensor::ones([8, 8]).to(&gpu), Tensor::ones([8, 8]).to(&gpu));
    let c = a.matmul(&b).sum().to(&Device::cpu());
    assert_eq!(c.item(), 512.0);
    let phases: Vec<u8> = gpu
        .as_virtual_gpu()
        .unwrap()
        .log()
        .iter()
        .map(|e| match e {
            Event::Transfer { to_device: true, .. } => 0,
            Event::Launch { .. } => 1,
            Event::Transfer { .. } => 2,
            Event::Wait { .. } => 3,
        })
        .collect();
    assert!(
        phases.is_sorted() && phases.contains(&0) && phases.contains(&1) && phases.contains(&2),
        "{phases:?}"
    );
    // Times never run backwards.
    let device = gpu.as_virtual_gpu().unwrap();
    let mut now = 0.0;
    for e in device.log() {
        if let Event::Transfer { start, end, .. } | Event::Launch { start, end, .. } = e {
            assert!(start >= now && end > start);
            now = end;
        }
    }
    device.clear_log();
    assert!(device.log().is_empty());
}

#[test]
fn b7_tensors_say_where_they_are_and_memory_is_accounted_for() {
    let gpu = Device::virtual_gpu();
    let device = gpu.as_virtual_gpu().unwrap().clone();
    assert_eq!(device.memory(), (0, 0));
    let x = Tensor::zeros([1000]).to(&gpu);
    assert_eq!(x.device(), gpu);
    assert!(format!("{x:?}").contains(&format!("device='{gpu}'")));
    let y = &x * &x;
    gpu.synchronize().unwrap();
    assert_eq!(device.memory().0, 8000);
    let view = y.narrow(0, 10, 5);
    drop(y);
    gpu.synchronize().unwrap();
    assert_eq!(device.memory().0, 8000, "a view keeps its buffer");
    drop((x, view));
    gpu.synchronize().unwrap();
    assert_eq!(device.memory(), (0, 8000));
    // Two devices are two.
    let other = Device::virtual_gpu();
    assert_ne!(gpu, other);
    assert_eq!(gpu, gpu.clone());
    let moved = Tensor::from([1.0, 2.0]).to(&gpu).to(&other);
    assert_eq!((moved.device() == other, moved.to_vec::<f64>()), (true, vec![1.0, 2.0]));
}

#[test]
fn b8_results_are_where_the_operands_are() {
    let gpu = Device::virtual_gpu();
    let x = Tensor::randn([2, 3, 8, 8], &Rng::new(1));
    let labels = Tensor::from([1, 0]);
    type Function = fn(&Tensor, &Tensor) -> Tensor;
    let functions: [(&str, Function); 24] = [
        ("number", |x, _| 2.0 * x + 1.0 - x / 3.0),
        ("elementwise", |x, _| x.abs().sqrt().exp().ln().tanh().sigmoid().relu()),
        ("compare", |x, _| x.gt(0.0).cast(DType::F32)),
        ("where", |x, _| x.where_(&x.gt(0.0), &(x * 2.0))),
        ("sum", |x, _| x.sum_over([1, -1], true)),
        ("mean", |x, _| x.mean()),
        ("max", |x, _| x.max_over(1, false).0),
        ("argmax", |x, _| x.argmax(1)),
        ("sort", |x, _| x.sort(-1, true).0),
        ("logsumexp", |x, _| x.logsumexp(1, false)),
        ("softmax", |x, _| x.softmax(1)),
        ("log_softmax", |x, _| x.log_softmax(-1)),
        ("reshape", |x, _| x.flatten(1).t().unsqueeze(0)),
        ("slice", |x, _| x.narrow(2, 1, 3).select(0, 1)),
        ("pad", |x, _| x.pad(&[(0, 0), (0, 0), (1, 1), (1, 1)], 0.5)),
        ("cat", |x, _| Tensor::cat(&[x, x], 1)),
        ("matmul", |x, _| x.matmul(x)),
        ("conv2d", |x, _| {
            x.conv2d(&x.narrow(2, 0, 3).narrow(3, 0, 3), None, ops::Conv::default().padding(1))
        }),
        ("max_pool2d", |x, _| x.max_pool2d(2)),
        ("avg_pool2d", |x, _| x.avg_pool2d(2)),
        ("cross_entropy", |x, y| x.flatten(1).cross_entropy(y)),
        ("one_hot", |_, y| y.one_hot(4)),
        ("index_select", |x, y| x.index_select(0, y)),
        ("gather", |x, y| x.flatten(1).gather(1, &y.unsqueeze(1))),
    ];
    for (name, f) in functions {
        let (here, there) = (f(&x, &labels), f(&x.to(&gpu), &labels.to(&gpu)));
        assert_eq!(there.device(), gpu, "{name}");
        assert_eq!(here.to_vec::<f32>(), there.to_vec::<f32>(), "{name}");
    }
    let (y, idx) = x.to(&gpu).max_pool2d_with_indices(2);
    assert!(y.device() == gpu && idx.device() == gpu);
    let rng = Rng::new(3);
    let dropped = x.to(&gpu).dropout(0.5, &rng);
    assert_eq!(dropped.device(), gpu);
    assert_eq!(
        dropped.to_vec::<f32>(),
        x.dropout(0.5, &Rng::new(3)).to_vec::<f32>(),
        "the same mask on every device"
    );
}

#[test]
fn b9_what_lives_on_two_devices_does_not_meet() {
    let gpu = Device::virtual_gpu();
    let (a, b) = (Tensor::zeros([2, 2]), Tensor::zeros([2, 2]).to(&gpu));
    let before = transfers(&gpu);
    let mistakes: [(&str, &dyn Fn() -> Tensor); 7] = [
        ("add", &|| &a + &b),
        ("matmul", &|| b.matmul(&a)),
        ("cat", &|| Tensor::cat(&[&a, &b], 0)),
        ("where", &|| a.where_(&b.gt(0.0), &a)),
        ("cross_entropy", &|| b.cross_entropy(&Tensor::from([0, 1]))),
        ("gather", &|| b.index_select(0, &Tensor::from([0]))),
        ("conv2d", &|| a.reshape([1, 1, 2, 2]).conv2d(&b.reshape([1, 1, 2, 2]), None, ops::Conv::default())),
    ];
    for (verb, f) in mistakes {
        let e = attempt(f).unwrap_err();
        assert!(matches!(e, Error::Mistake(_)));
        let text = e.to_string();
        assert!(
            text.starts_with(verb) && text.contains("cpu") && text.contains(&gpu.to_string()),
            "{verb}: {text}"
        );
        assert!(text.contains(".to("), "{text}");
    }
    assert_eq!(transfers(&gpu), before, "nothing was copied silently");
    assert!(Device::named("cuda").unwrap_err().to_string().contains("no device `cuda`"));
}

#[test]
fn b5_a_fault_surfaces_at_the_next_wait_and_once() {
    let gpu = Device::virtual_gpu();
    let x = Tensor::zeros([3, 4]).to(&gpu);
    let line = line!() + 1;
    let loss = x.cross_entropy(&Tensor::from([0, 4, 9]).to(&gpu));
    let e = gpu.synchronize().unwrap_err().to_string();
    assert!(
        e.starts_with("cross_entropy: position 1 holds 4") && e.contains(&format!("tests/devices.rs:{line}")),
        "{e}"
    );
    assert!(gpu.synchronize().is_ok(), "it is told once");
    drop(loss);
    let again = x.index_select(0, &Tensor::from([7]).to(&gpu));
    assert!(again.try_to_vec::<f32>().is_err());
    assert_eq!((&x + 1.0).sum().item(), 12.0, "the device goes on");
    // On a queue of its own: other devices do not hear of it.
    let other = Device::virtual_gpu();
    let _bad = x.index_select(0, &Tensor::from([7]).to(&gpu));
    assert!(other.synchronize().is_ok());
    assert!(gpu.synchronize().is_err());
}

#[test]
fn gradients_flow_through_transfers_and_stay_on_the_device() {
    let gpu = Device::virtual_gpu();
    let x = Tensor::from([1.0, 2.0]).tracked();
    let g = (x.to(&gpu).square()).sum().backward();
    assert_eq!(g.get(&x).unwrap().device(), Device::cpu());
    assert_eq!(g.get(&x).unwrap().to_vec::<f64>(), [2.0, 4.0]);
    let there = Tensor::from([1.0, 2.0]).to(&gpu).tracked();
    let before = transfers(&gpu);
    let g = there.exp().sum().backward();
    assert_eq!(g.get(&there).unwrap().device(), gpu);
    assert_eq!(transfers(&gpu), before, "a gradient crosses nothing");
    let w = Param::new(Tensor::from(2.0));
    w.to_device(&gpu);
    let [d] = grad(|[x]| (x * w.get()).sum(), [&there.detach()]);
    assert_eq!((d.device() == gpu, d.to_vec::<f64>()), (true, vec![2.0, 2.0]));
}

#[test]
fn a_training_step_on_the_device_gives_the_processor_s_bits() {
    let (here, there) = (LeNet5::new(&Rng::new(1)), LeNet5::new(&Rng::new(1)));
    let gpu = Device::virtual_gpu();
    there.to_device(&gpu);
    let rng = Rng::new(2);
    let (x, y) = (Tensor::randn([8, 1, 28, 28], &rng), Tensor::randint(0, 10, [8], &rng));
    let (xg, yg) = (x.to(&gpu), y.to(&gpu));
    let sgd = || cotangent::optim::Sgd::new(0.1).momentum(0.9);
    let (a, b) = (sgd(), sgd());
    let before = transfers(&gpu).1;
    for _ in 0..3 {
        a.step(&here, &here.call(&x).cross_entropy(&y).backward());
        b.step(&there, &there.call(&xg).cross_entropy(&yg).backward());
    }
    assert_eq!(transfers(&gpu).1, before, "B6: nothing comes back inside the loop");
    for ((n, p), (_, q)) in here.parameters().iter().zip(there.parameters()) {
        assert_eq!(q.value().device(), gpu, "{n}");
        assert_eq!(p.value().to_vec::<f32>(), q.value().to_vec::<f32>(), "{n}");
    }
}

#[test]
fn b10_power_iteration_crosses_three_times_and_launches_a_hundred_products() {
    let gpu = Device::virtual_gpu();
    // Symmetric, eigenvalues 1 and 0.5 and 0.1: the gap ratio is 0.5.
    let q = {
        let (c, s) = (0.6, 0.8);
        Tensor::from([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    };
    let a = q.matmul(&Tensor::from([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.1]])).matmul(&q.t());
    no_grad(|| {
        let a_there = a.to(&gpu);
        let mut x = Tensor::from([1.0, 1.0, 1.0]).to(&gpu);
        for _ in 0..100 {
            x = a_there.matmul(&x);
        }
        let x = x.to(&Device::cpu());
        let direction = &x / x.norm();
        let error = (direction - q.i((.., 0))).norm().item();
        assert!(error < 1e-6, "{error}");
    });
    assert_eq!(transfers(&gpu), (2, 1));
    let device = gpu.as_virtual_gpu().unwrap();
    let products =
        device.log().iter().filter(|e| matches!(e, Event::Launch { kernel: "matmul", .. })).count();
    assert_eq!((products, launches(&gpu)), (100, 100));
    // B10's warning: with λ = 10, f32 overflows after 38 steps, and `finite` names the product.
    let a = (&a * 10.0).cast(DType::F32).to(&gpu);
    let mut steps = 0;
    let e = cotangent::finite(|| {
        let mut x = Tensor::ones([3]).contiguous().to(&gpu);
        for _ in 0..100 {
            x = a.matmul(&x);
            steps += 1;
        }
    })
    .unwrap_err();
    assert!(e.to_string().starts_with("matmul at tests/devices.rs"), "{e}");
    assert!((37..=39).contains(&steps), "{steps}");
    // Normalised, with the Rayleigh quotient, it does not.
    let mut x = Tensor::ones([3]).contiguous().to(&gpu);
    for _ in 0..100 {
        x = a.matmul(&x);
        x = &x / x.norm();
    }
    assert!(((&x * a.matmul(&x)).sum().item() - 10.0).abs() < 1e-4);
}
