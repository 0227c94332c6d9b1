//! What an operation costs beside its arithmetic: nanoseconds per tracked scalar operation, forward and backward.
//!
//! `cargo bench --bench overhead`
//!
//! The chain of a hundred products is PyTorch's `a = x`, a hundred times `a = a * x`, then `a.backward()`, with
//! `x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)` and `torch.set_num_threads(1)`.

use std::{hint::black_box, time::Instant};

use cotangent::{Tensor, jvp, no_grad};

/// Median over runs of the time of one of `n` operations, in nanoseconds.
fn per_operation(name: &str, n: usize, mut f: impl FnMut()) {
    let mut times: Vec<f64> = (0..201)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e9 / n as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:44} {:8.0} ns   (fastest {:.0}, slowest {:.0})", times[100], times[0], times[200]);
}

fn main() {
    let s = Tensor::from(1.0);
    let tracked = s.tracked();
    let chain = |x: &Tensor| (0..100).fold(x.clone(), |a, _| &a * x);
    per_operation("scalar, not tracked", 100, || drop(black_box(no_grad(|| chain(&s)))));
    per_operation("scalar, tracked, forward", 100, || drop(black_box(chain(&tracked))));
    per_operation("scalar, tracked, forward + backward", 100, || drop(black_box(chain(&tracked).backward())));
    per_operation("the whole chain of a hundred, both ways", 1, || {
        drop(black_box(chain(&tracked).backward()))
    });
    per_operation("scalar, forward mode", 100, || drop(black_box(jvp(|[x]| chain(&x), [&s], [&s]))));
    let v = Tensor::ones([1000]).contiguous();
    per_operation("1000 numbers, not tracked", 100, || drop(black_box(chain(&v))));
}
