//! A few replayed training steps of LeNet-5, always the same: what `.ci/instructions` counts, and whose kernels
//! `.ci/disassembly` reads.

use cotangent::{Rng, Step, Tensor, models::LeNet5, nn::Call, optim::Sgd};

fn main() -> cotangent::Result<()> {
    let (rng, sgd) = (Rng::new(0), Sgd::new(0.05).momentum(0.9));
    let net = LeNet5::new(&rng);
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = net.call(&x).cross_entropy(&y);
        sgd.step(&net, &loss.backward());
        loss
    });
    let (x, y) = (Tensor::randn([64, 1, 28, 28], &rng), Tensor::randint(0, 10, [64], &rng));
    let mut loss = f64::NAN;
    for _ in 0..3 {
        loss = step.run([&x, &y])?.item();
    }
    println!("{loss:.4}");
    Ok(())
}
