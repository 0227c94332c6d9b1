//! The operations of LeNet-5 at batch 64, one by one, and whole eager and recorded steps.
//!
//! `cargo bench --bench lenet`; `RAYON_NUM_THREADS=1` for one thread. Quote ratios of runs side by side.

use std::{hint::black_box, time::Instant};

use cotangent::{
    Rng, Step, Tensor, apply,
    models::LeNet5,
    nn::Call,
    no_grad,
    ops::{Conv, Conv2dInput, Conv2dWeight, MaxPool2d, MaxPool2dScatter},
    optim::Sgd,
};

/// Median over runs, in microseconds.
fn time(name: &str, mut f: impl FnMut()) {
    (0..20).for_each(|_| f());
    let mut times: Vec<f64> = (0..201)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:28} {:9.1} µs   (fastest {:.1}, slowest {:.1})", times[100], times[0], times[200]);
}

fn measure() {
    let rng = Rng::new(0);
    let random = |shape: [usize; 4]| Tensor::randn(shape, &rng);
    let (x1, w1, y1) = (random([64, 1, 28, 28]), random([6, 1, 5, 5]), random([64, 6, 28, 28]));
    let (x2, w2, y2) = (random([64, 6, 14, 14]), random([16, 6, 5, 5]), random([64, 16, 10, 10]));
    let (c1, c2) = (Conv::default().padding(2), Conv::default());
    time("conv1", || drop(black_box(x1.conv2d(&w1, None, c1))));
    time("conv1, weight", || drop(black_box(apply(Conv2dWeight { conv: c1, kernel: [5, 5] }, &[&x1, &y1]))));
    time("conv2", || drop(black_box(x2.conv2d(&w2, None, c2))));
    time("conv2, weight", || drop(black_box(apply(Conv2dWeight { conv: c2, kernel: [5, 5] }, &[&x2, &y2]))));
    time("conv2, input", || drop(black_box(apply(Conv2dInput { conv: c2, size: [14, 14] }, &[&y2, &w2]))));
    time("relu of conv1", || drop(black_box(y1.relu())));
    time("max pool of conv1", || drop(black_box(y1.max_pool2d(2))));
    let pool = cotangent::ops::Pool::new(2);
    let pooled = cotangent::apply_many(MaxPool2d { pool }, &[&y1]);
    let scatter = MaxPool2dScatter { pool, size: [28, 28] };
    time("its adjoint", || drop(black_box(apply(scatter, &[&pooled[0], &pooled[1]]))));
    time("bias gradient of conv1", || drop(black_box(y1.sum_over([0, 2, 3], false))));
    let (f, w) = (Tensor::randn([64, 400], &rng), Tensor::randn([120, 400], &rng));
    time("fc1", || drop(black_box(f.matmul(&w.t()))));

    let (net, labels) = (LeNet5::new(&rng), Tensor::randint(0, 10, [64], &rng));
    let sgd = Sgd::new(0.01).momentum(0.9);
    time("LeNet-5, forward", || drop(black_box(no_grad(|| net.call(&x1)))));
    time("LeNet-5, eager step", || {
        let loss = net.call(&x1).cross_entropy(&labels);
        sgd.step(&net, &loss.backward());
    });
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = net.call(&x).cross_entropy(&y);
        sgd.step(&net, &loss.backward());
        loss.detach()
    });
    time("LeNet-5, recorded step", || drop(black_box(step.run([&x1, &labels]))));
}

fn main() -> Result<(), rayon::ThreadPoolBuildError> {
    // Entered once: what is spread inside costs no entry.
    rayon::ThreadPoolBuilder::new().build()?.install(measure);
    Ok(())
}
