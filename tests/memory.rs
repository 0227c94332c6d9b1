//! Memory and overhead, by an allocator that counts: what a step keeps, what it frees, what it never stores.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use cotangent::{
    Param, Rng, Step, Tensor, checkpoint,
    device::cpu::threads,
    enable_grad, grad,
    models::LeNet5,
    nn::{Call, Linear, ParametersExt},
    no_grad,
    optim::Sgd,
    shapes,
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TIMES: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)]
// SAFETY: everything is passed on to the system's allocator; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TIMES.fetch_add(1, Relaxed);
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        TIMES.fetch_add(1, Relaxed);
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the test harness may allocate beside us; a byte a step would be more.
const FLAT: usize = 16 << 10;

/// Freed blocks that may stand beside what is in use, ready for the next one, in processes of less than 128 MiB.
const KEPT: usize = 4 << 20;

/// One test at a time, or the counts would mix.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    let guard = LOCK.lock().unwrap_or_else(|e| e.into_inner());
    // The harness reports the last test and starts the next one's thread meanwhile.
    std::thread::sleep(std::time::Duration::from_millis(100));
    guard
}

/// What is in use: blocks that were freed and kept for the next use are given back first.
fn live() -> usize {
    cotangent::device::cpu::empty_cache();
    LIVE.load(Relaxed)
}

/// The most that was alive while `f` ran, above what was before.
fn peak_of<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = live();
    PEAK.store(before, Relaxed);
    let y = f();
    (y, PEAK.load(Relaxed).saturating_sub(before))
}

/// What `f` leaves behind besides its result's owner.
fn kept_by<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = live();
    let y = f();
    (y, live().saturating_sub(before))
}

fn one_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(f)
}

fn batch(n: usize) -> (Tensor, Tensor) {
    let rng = Rng::new(1);
    (Tensor::randn([n, 1, 28, 28], &rng), Tensor::randint(0, 10, [n], &rng))
}

#[test]
fn a_loop_of_a_million_tracked_steps_keeps_a_flat_footprint() {
    let _alone = alone();
    let w = Param::new(Tensor::from(0.5));
    let x = Tensor::from(2.0);
    let mut step = |i: u32| {
        let loss = (w.get() * &x - 1.0).square();
        // Losses are dropped, some with their tape unused, some consumed.
        if i.is_multiple_of(2) {
            let g = loss.backward();
            assert!(w.gradient(&g).is_some());
        }
    };
    (0..1000).for_each(&mut step);
    let before = live();
    let (_, peak) = peak_of(|| (0..1_000_000).for_each(&mut step));
    assert!(live() <= before + FLAT, "grew by {} bytes", live() - before);
    assert!(peak < 16 << 10, "a step of numbers took {peak} bytes");
}

#[test]
fn a_replayed_step_keeps_a_flat_footprint() {
    let _alone = alone();
    let w = Param::new(Tensor::from(0.5));
    let cell = w.clone();
    let mut step = Step::record(move |[x]: [Tensor; 1]| {
        let loss = (cell.get() * x - 1.0).square();
        let g = loss.backward();
        cell.set(&(cell.value() - cell.gradient(&g).unwrap() * 0.01));
        loss
    });
    let x = Tensor::from(2.0);
    (0..10).for_each(|_| drop(step.run([&x]).unwrap()));
    let before = live();
    (0..20_000).for_each(|_| drop(step.run([&x]).unwrap()));
    assert!(live() <= before + FLAT, "grew by {} bytes", live() - before);
}

#[test]
fn replay_allocates_the_handles_of_its_results_and_nothing_else() {
    let _alone = alone();
    let times = |n: usize| {
        one_thread(move || {
            let (net, sgd) = (LeNet5::new(&Rng::new(0)), Sgd::new(0.05).momentum(0.9));
            let model = net.clone();
            let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
                let loss = model.call(&x).cross_entropy(&y);
                sgd.step(&model, &loss.backward());
                loss
            });
            let (x, y) = batch(n);
            // The first runs make what is kept: arenas, and memory that cells and the step exchange.
            (0..3).for_each(|_| drop(step.run([&x, &y]).unwrap()));
            let runs = 20;
            let before = TIMES.load(Relaxed);
            (0..runs).for_each(|_| drop(step.run([&x, &y]).unwrap()));
            (TIMES.load(Relaxed) - before) as f64 / runs as f64
        })
    };
    // A list of one, its tensor, and the buffer behind it.
    assert_eq!([64, 256, 1024].map(times), [3.0; 3]);
    // A last, smaller block is computed with the kernels of whole values, which take a little more; once a step.
    let [one, other] = [100, 228].map(times);
    println!("allocations in a step with four examples left over: {one}");
    assert!(one == other && one < 90.0, "{one} and {other}");
}

#[test]
fn c21_no_grad_stores_nothing() {
    let _alone = alone();
    one_thread(|| {
        let net = LeNet5::new(&Rng::new(0));
        let (x, _) = batch(512);
        drop(no_grad(|| net.call(&x)));
        let (y, stored) = kept_by(|| net.call(&x));
        drop(y);
        let (z, nothing) = kept_by(|| no_grad(|| net.call(&x)));
        let logits = 512 * 10 * 4;
        println!("kept by a tracked forward: {stored} bytes, under no_grad: {nothing}");
        assert!(stored > 512 * (6 * 28 * 28) * 4, "the tape keeps at least what max-pool reads");
        assert!(nothing <= logits + 8192, "no_grad kept {nothing} bytes, the logits are {logits}");
        drop(z);
        let back_on = no_grad(|| kept_by(|| enable_grad(|| net.call(&x))).1);
        assert!(back_on > stored / 2, "enable_grad stores again");
    });
}

#[test]
fn c21_no_grad_lowers_the_peak_of_lenet_s_test_loop() {
    let _alone = alone();
    one_thread(|| {
        let net = LeNet5::new(&Rng::new(0));
        let (x, y) = batch(512);
        // As it is often written: losses are added up, and one that is tracked holds its whole forward pass.
        let test = || {
            let mut total = Tensor::from(0f32);
            (0..6).for_each(|_| total = &total + net.call(&x).cross_entropy(&y));
            total.item()
        };
        test();
        let (_, stored) = kept_by(|| net.call(&x).cross_entropy(&y));
        let (a, tracked) = peak_of(test);
        let (b, untracked) = peak_of(|| no_grad(test));
        println!("peak of a test loop of LeNet-5: {tracked} bytes tracked, {untracked} under no_grad");
        assert_eq!(a.to_bits(), b.to_bits(), "the same values to the bit");
        assert!(tracked - untracked > 4 * stored, "{tracked} − {untracked}, a pass stores {stored}");
        // One batch's widest moment is an expression: what conv1 gave, what ReLU makes of it, and the pool of that,
        // with the places of its maxima.
        let (wide, pooled) = (512 * 6 * 28 * 28, 512 * 6 * 14 * 14);
        assert!(untracked <= 4 * (2 * wide + pooled) + pooled + KEPT + (1 << 20), "{untracked}");
    });
}

#[test]
fn c21_no_grad_lowers_the_peak_of_a_forward_to_three_activations() {
    let _alone = alone();
    one_thread(|| {
        let (layers, n, width) = (12, 4096, 512);
        let one = n * width * 4;
        let rng = Rng::new(0);
        let net: Vec<Linear> = (0..layers).map(|_| Linear::new(width, width, &rng)).collect();
        let x = Tensor::randn([n, width], &rng);
        // From nothing each time: what the product keeps for itself was made before.
        let forward = || drop(net.iter().fold(x.clone(), |x, layer| layer.call(&x).relu()));
        forward();
        let ((), tracked) = peak_of(forward);
        let ((), untracked) = peak_of(|| no_grad(forward));
        println!("peak of {layers} layers of {one} bytes: {tracked} tracked, {untracked} under no_grad");
        // Tracked, each layer leaves what its ReLU gave. Paused, there is what `fold` holds, the product, and its
        // ReLU, whose blocks serve the next layer.
        assert!(tracked >= layers * one, "{tracked}");
        assert!(untracked <= 3 * one + (1 << 20), "{untracked}");
        assert!(untracked * 3 < tracked, "{untracked} of {tracked}");
    });
}

#[test]
fn c17_a_frozen_operand_keeps_nothing() {
    let _alone = alone();
    // On one thread: each has a workspace of its own for products, made when it first has a part in one.
    threads::with(1, frozen_operands).unwrap();
}

fn frozen_operands() {
    let (n, bytes) = (512, 512 * 512 * 4);
    let rng = Rng::new(2);
    let made = || Tensor::randn([n, n], &rng);
    // y = h·w with h computed inside and dropped: with w frozen nothing needs h.
    let forward = |w: &Tensor, x: &Tensor| {
        let h = x * 2.0;
        h.matmul(w)
    };
    drop(forward(&made(), &made())); // the product's own workspace, made once
    let (w, x) = (made(), made().tracked());
    let (_y, frozen) = kept_by(|| forward(&w, &x));
    let (w, x) = (made().tracked(), made().tracked());
    let (_z, both) = kept_by(|| forward(&w, &x));
    println!("kept with w frozen: {frozen} bytes; with both: {both}");
    assert!(frozen < bytes + bytes / 16, "the result alone: {frozen} of {bytes}");
    assert!(both >= 2 * bytes, "h is needed for w's gradient");
    // And the other way: with x plain, w's gradient needs h, nothing needs a copy of w.
    let (w, x) = (made().tracked(), made());
    let (_u, plain) = kept_by(|| forward(&w, &x));
    assert!(plain < 2 * bytes + bytes / 16, "{plain}");
}

#[test]
fn c11_additions_keep_nothing_and_products_keep_their_operands() {
    let _alone = alone();
    let bytes = 1 << 20;
    let x = Tensor::zeros([bytes / 4]).contiguous().tracked();
    let keeps = |f: &dyn Fn(&Tensor) -> Tensor| kept_by(|| f(&x)).1;
    let one = |got: usize, what: &str, times: usize| {
        assert!(got.abs_diff(times * bytes) < bytes / 8, "{what} keeps {got} bytes, not {times} of {bytes}");
    };
    one(keeps(&|x| &(x + 1.0) + x), "addition", 1);
    one(keeps(&|x| (x + 1.0) - (x + 2.0)), "subtraction", 1);
    one(keeps(&|x| -(x + 1.0)), "negation", 1);
    one(keeps(&|x| (x + 1.0) * (x + 2.0)), "product", 3);
    one(keeps(&|x| (x + 1.0).exp()), "exp keeps its value alone", 1);
    one(keeps(&|x| (x + 1.0).sqrt()), "sqrt keeps its value alone", 1);
    one(keeps(&|x| (x + 1.0).tanh()), "tanh keeps its value alone", 1);
    one(keeps(&|x| (x + 1.0).sigmoid()), "sigmoid keeps its value alone", 1);
    one(keeps(&|x| (x + 1.0).relu()), "relu keeps its value alone", 1);
    one(keeps(&|x| (x + 1.0).ln()), "ln keeps its operand", 2);
    one(keeps(&|x| (x + 1.0).reshape([2, bytes / 8])), "reshape", 1);
    one(keeps(&|x| (x + 1.0).sum()), "sum", 0);
    one(keeps(&|x| (x + 1.0).mean()), "mean", 0);
}

#[test]
fn an_eager_step_s_peak_is_its_saved_bytes_gradients_the_widest_cotangent_and_a_tenth() {
    let _alone = alone();
    one_thread(|| {
        let net = LeNet5::new(&Rng::new(0));
        let (x, y) = batch(4096);
        let step = || {
            let loss = net.call(&x).cross_entropy(&y);
            loss.backward()
        };
        drop(step());
        let (loss, saved) = kept_by(|| net.call(&x).cross_entropy(&y));
        let gradients: usize = net.gradients(&loss.backward()).iter().map(|g| g.numel() * 4).sum();
        drop(loss);
        let mut peaks = Vec::new();
        live();
        for _ in 0..3 {
            let before = LIVE.load(Relaxed);
            PEAK.store(before, Relaxed);
            drop(step());
            peaks.push(PEAK.load(Relaxed) - before.min(PEAK.load(Relaxed)));
            // The blocks kept belong to the step; the next one is measured from nothing again.
            live();
        }
        println!("saved {saved}, gradients {gradients}, peaks {peaks:?}");
        // Cotangents of activations are gradients too, and there is more than one only where it is widest: ReLU
        // after conv1 is given one while it makes the next, when half of what was saved is freed already. The
        // tenth holds the freed blocks that are kept for the next step, too.
        let cotangent = 4096 * (6 * 28 * 28) * 4;
        let allowed = (saved + gradients + cotangent) * 11 / 10;
        assert!(peaks.iter().all(|p| *p <= allowed), "peaks {peaks:?} exceed {allowed}");
    });
}

#[test]
fn freed_blocks_that_are_kept_never_cost_much() {
    let _alone = alone();
    live();
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    // Ever other sizes, one at a time: without a rule 256 MiB of them would pile up.
    for i in 0..200 {
        drop(Tensor::zeros([100_000 + 10_000 * i]).contiguous());
    }
    let most = (100_000 + 10_000 * 200) * 4;
    let peak = PEAK.load(Relaxed) - before;
    assert!(peak <= most + KEPT + (1 << 20), "{peak}");
    live();
    assert!(LIVE.load(Relaxed) <= before + 4096);
}

#[test]
fn backward_frees_on_the_way() {
    let _alone = alone();
    one_thread(|| {
        let (n, layers) = (1 << 20, 16);
        let bytes = n * 4;
        let x = Tensor::zeros([n]).contiguous().tracked();
        let forward = || (0..layers).fold(x.clone(), |x, _| x.sin()).sum();
        let (loss, saved) = kept_by(forward);
        assert!(saved > layers * bytes * 9 / 10);
        let (_, more) = peak_of(|| loss.backward());
        println!("{layers} layers of {bytes} bytes: saved {saved}, backward added at most {more}");
        assert!(more < 5 * bytes, "backward holds {more} bytes more than the forward left");
        let loss = forward();
        let (_, keeping) = kept_by(|| drop(loss.backward_keep()));
        let _ = loss.backward();
        let left = kept_by(|| drop(loss.clone())).1;
        assert!(left == 0 && keeping < 5 * bytes);
    });
}

#[test]
fn e22_a_checkpoint_keeps_its_input_alone() {
    let _alone = alone();
    one_thread(|| {
        let n = 1 << 20;
        let x = Tensor::zeros([n]).contiguous().tracked();
        let f = |[x]: [Tensor; 1]| (0..8).fold(x, |x, _| x.sin());
        let (_direct, all) = kept_by(|| f([x.clone()]));
        let (_saved, few) = kept_by(|| checkpoint(f, [&x]));
        println!("eight layers: {all} bytes stored, {few} with a checkpoint");
        assert!(all > 8 * n * 4 * 9 / 10 && few < 2 * n * 4);
    });
}

#[test]
fn c9_forward_mode_keeps_nothing_behind() {
    let _alone = alone();
    one_thread(|| {
        let n = 1 << 20;
        let x = Tensor::zeros([n]).contiguous();
        let run = || cotangent::jvp(|[x]| (0..16).fold(x, |x, _| x.sin()), [&x], [&x.ones_like()]);
        drop(run());
        let (_, peak) = peak_of(run);
        assert!(peak < 8 * n * 4, "sixteen layers took {peak} bytes at a time");
        let before = live();
        drop(grad(|[x]| x.sin().sum(), [&x]));
        assert!(live() <= before + 8 * n * 4);
    });
}

#[test]
fn shapes_allocate_nothing_for_four_billion_units() {
    let _alone = alone();
    let (outcome, peak) = peak_of(|| {
        shapes(|| {
            let net = Linear::new(1 << 32, 1 << 20, &Rng::new(0));
            let y = net.call(&Tensor::zeros([64, 1 << 32]));
            let loss = y.square().mean();
            let g = loss.backward();
            (net.parameter_count(), net.gradients(&g)[0].shape().len())
        })
    });
    assert_eq!(outcome.unwrap(), ((1 << 52) + (1 << 20), 1 << 52));
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn recording_allocates_no_values() {
    let _alone = alone();
    let net = LeNet5::new(&Rng::new(0));
    let inner = net.clone();
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = inner.call(&x).cross_entropy(&y);
        let _ = loss.backward();
        loss
    });
    let (x, y) = batch(256);
    let (plan, peak) = peak_of(|| step.plan([&x, &y]));
    println!("recording took {peak} bytes; the values of a run are {}", plan.bytes);
    assert!(peak < plan.bytes / 20, "{peak} of {}", plan.bytes);
    assert!(plan.cost.bytes > plan.bytes as u64);
}
