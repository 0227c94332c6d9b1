//! Threads: what runs beside something else on one pool does not disturb it, and their number changes no bit.

use std::sync::Arc;

use cotangent::{
    Gradients, Rng, Step, Tensor, attempt, checkpoint, grad, grad_of, is_grad_enabled,
    models::LeNet5,
    nn::{Call, Dropout, Linear, ParametersExt, Sequential},
    no_grad,
};
use rayon::prelude::*;

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_vec::<f32>().into_iter().map(f32::to_bits).collect()
}

fn update(net: &impl ParametersExt, g: &Gradients) {
    no_grad(|| net.parameters().iter().for_each(|(_, p)| p.set(&(p.value() - p.gradient(g).unwrap() * 0.05))))
}

/// A few eager steps of LeNet-5 on its own data; all parameters in the end, and the losses.
fn lenet(seed: u64, steps: usize, n: usize) -> Vec<Vec<u32>> {
    let rng = Rng::new(seed);
    let net = LeNet5::new(&rng);
    let mut out = Vec::new();
    for _ in 0..steps {
        let (x, y) = (Tensor::randn([n, 1, 28, 28], &rng), Tensor::randint(0, 10, [n], &rng));
        let loss = net.call(&x).cross_entropy(&y);
        update(&net, &loss.backward());
        out.push(bits(&loss));
    }
    out.extend(net.values().iter().map(bits));
    out
}

#[test]
fn a5_a_step_gives_the_same_bits_on_any_number_of_threads() {
    for n in [1, 17, 96] {
        let one = pool(1).install(|| lenet(3, 2, n));
        for threads in [2, 3, 4, 7] {
            assert_eq!(one, pool(threads).install(|| lenet(3, 2, n)), "{threads} threads, batch {n}");
        }
    }
}

#[test]
fn a5_large_operations_give_the_same_bits_on_any_number_of_threads() {
    let work = || {
        let rng = Rng::new(1);
        let x = Tensor::randn([700, 300], &rng);
        let w = Tensor::randn([300, 500], &rng);
        let [gx, gw] =
            grad(|[x, w]| (x.matmul(&w).tanh().softmax(1).ln().mean() + x.square().sum()).sum(), [&x, &w]);
        let y = Tensor::randn([40, 8, 33, 31], &rng);
        let k = Tensor::randn([12, 8, 3, 5], &rng);
        let [gk] = grad(
            |[k]| y.conv2d(&k, None, cotangent::ops::Conv::default().stride(2)).max_pool2d(2).square().mean(),
            [&k],
        );
        let sorted = Tensor::randn([50_000], &rng).sort(0, false).1.cast(cotangent::DType::F32);
        let (n, m, v) = y.batch_norm(&Tensor::ones([8]), &Tensor::zeros([8]), 1e-5);
        [gx, gw, gk, sorted, n, m, v, y.sum(), y.mean_over([0, 2], false)]
            .iter()
            .map(bits)
            .collect::<Vec<_>>()
    };
    let one = pool(1).install(work);
    for threads in [2, 3, 4, 7] {
        assert!(one == pool(threads).install(work), "{threads} threads");
    }
}

/// What one seed does, with everything that lives in a thread's context.
fn everything(seed: u64, shared: &Sequential) -> Vec<Vec<u32>> {
    let rng = Rng::new(seed);
    let net = Sequential::new((
        Linear::new(20, 64, &rng),
        Tensor::tanh,
        Dropout::new(0.2, &rng),
        Linear::new(64, 5, &rng),
    ));
    let x = Tensor::randn([300, 20], &rng);
    let y = Tensor::randint(0, 5, [300], &rng);
    let mut out = Vec::new();
    // Recording, then replays.
    let inside = net.clone();
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = inside.call(&x).cross_entropy(&y);
        update(&inside, &loss.backward());
        loss
    });
    for round in 0..4 {
        out.push(bits(&step.run([&x, &y]).unwrap()));
        // Evaluating: nothing is tracked in here, whoever's job the thread ran meanwhile.
        no_grad(|| {
            let logits = shared.call(&x);
            assert!(!is_grad_enabled() && !logits.is_tracked(), "the tape was paused");
            out.push(bits(&logits));
        });
        assert!(is_grad_enabled() && !cotangent::is_recording());
        // A transform, a tape on the shared model, a model as a function, a checkpoint.
        let [g] = grad(|[x]| shared.call(&x).square().mean(), [&x]);
        out.push(bits(&g));
        let loss = shared.call(&x).cross_entropy(&y);
        out.extend(shared.gradients(&loss.backward()).iter().map(bits));
        out.extend(grad_of(shared, |m| m.call(&x).logsumexp(1, false).mean()).iter().map(bits));
        let inner = shared.clone();
        let tracked = x.tracked();
        let y = checkpoint(move |[x]| inner.call(&x), [&tracked]).square().sum();
        out.push(bits(y.backward().get(&tracked).unwrap()));
        // A mistake, caught here and nowhere else.
        let e = attempt(|| shared.call(&Tensor::zeros([3, 7 + round]))).unwrap_err().to_string();
        assert!(e.starts_with("matmul in 0: ") && e.contains(&format!("[3, {}]", 7 + round)), "{e}");
    }
    out.extend(net.values().iter().map(bits));
    out
}

#[test]
fn seeds_trained_in_parallel_on_one_pool_do_not_disturb_each_other() {
    let shared = Sequential::new((
        Linear::new(20, 128, &Rng::new(100)),
        Tensor::relu,
        Linear::new(128, 5, &Rng::new(101)),
    ));
    let alone: Vec<_> = (0..12).map(|s| pool(1).install(|| everything(s, &shared))).collect();
    for threads in [2, 4] {
        let together: Vec<_> =
            pool(threads).install(|| (0..12u64).into_par_iter().map(|s| everything(s, &shared)).collect());
        for (s, (a, b)) in alone.iter().zip(&together).enumerate() {
            assert_eq!(a.len(), b.len());
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                assert!(a == b, "seed {s}, value {i}, {threads} threads");
            }
        }
    }
}

#[test]
fn two_steps_of_two_models_run_at_once() {
    let results: Vec<Vec<u32>> = std::thread::scope(|s| {
        let work = |seed: u64| {
            move || {
                let net = Arc::new(LeNet5::new(&Rng::new(seed)));
                let inside = net.clone();
                let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
                    let loss = inside.call(&x).cross_entropy(&y);
                    update(&*inside, &loss.backward());
                    loss
                });
                let rng = Rng::new(9);
                let (x, y) = (Tensor::randn([16, 1, 28, 28], &rng), Tensor::randint(0, 10, [16], &rng));
                (0..5).for_each(|_| drop(step.run([&x, &y]).unwrap()));
                net.values().iter().flat_map(bits).collect::<Vec<u32>>()
            }
        };
        let both = [s.spawn(work(1)), s.spawn(work(1)), s.spawn(work(2))];
        both.map(|t| t.join().unwrap()).into()
    });
    assert!(results[0] == results[1], "the same seed");
    assert!(results[0] != results[2], "another seed");
}

#[test]
fn a_tensor_is_read_and_differentiated_from_many_threads() {
    let x = Tensor::randn([1000], &Rng::new(4)).tracked();
    let loss = x.square().sum();
    let direct = bits(&(x.detach() * 2.0));
    (0..16).into_par_iter().for_each(|_| assert_eq!(bits(loss.backward_keep().get(&x).unwrap()), direct));
}
