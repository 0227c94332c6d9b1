//! LeNet-5 learns MNIST (row H12): the network, a recorded training step, two epochs, the test accuracy.
//!
//! ```text
//! cargo run --release --example lenet5
//! ```

use std::time::Instant;

use cotangent::{
    Error, Result, Rng, Step, Tensor,
    data::{Dataset, Images, Loader},
    models::LeNet5,
    nn::{Call, Summary},
    no_grad,
    optim::Sgd,
};
use cotangent_mnist::{CLASSES, COLS, MEAN, ROWS, STD, Split};

/// `x = (pixel/255 − μ)/σ` and labels.
pub(crate) fn images(split: Result<Split, cotangent_mnist::Error>) -> Result<Images> {
    let Split { images, labels } = split.map_err(|e| Error::other(e.to_string()))?;
    Images::new(images, [1, ROWS, COLS], labels, CLASSES)?.normalize(&[MEAN], &[STD])
}

/// Train on a data set; after each epoch `report` sees its number and its mean loss.
pub(crate) fn train(data: impl Dataset + 'static, epochs: u64, report: impl Fn(u64, f64)) -> Result<LeNet5> {
    let net = LeNet5::new(&Rng::new(0));
    let sgd = Sgd::new(0.05).momentum(0.9);
    let loader = Loader::new(data, 64).shuffle(0);

    let model = net.clone(); // cells are shared: the step trains `net`
    let mut step = Step::record(move |[x, y]: [Tensor; 2]| {
        let loss = model.call(&x).cross_entropy(&y);
        sgd.step(&model, &loss.backward());
        loss
    });
    for epoch in 0..epochs {
        let (mut total, mut steps) = (0.0, 0.0);
        for batch in loader.epoch(epoch)? {
            let [x, y] = batch?.into_array();
            total += step.run([&x, &y])?.item();
            steps += 1.0;
        }
        report(epoch, total / steps);
    }
    Ok(net)
}

/// The share of the images that are classified rightly; nothing is kept for a way back (row C21).
pub(crate) fn accuracy(net: &LeNet5, data: Images) -> Result<f64> {
    let (mut right, n) = (0.0, data.labels().len() as f64);
    for batch in Loader::new(data, 1000).epoch(0)? {
        let [x, y] = batch?.into_array();
        let guess = no_grad(|| net.call(&x)).argmax(1);
        right += guess.eq(&y).sum().item();
    }
    Ok(right / n)
}

fn main() -> Result<()> {
    println!("{}", Summary::of(&LeNet5::new(&Rng::new(0)), &Tensor::zeros([64, 1, ROWS, COLS]).spec())?);
    let (data, test) = (images(cotangent_mnist::train())?, images(cotangent_mnist::test())?);
    let start = Instant::now();
    let report =
        |epoch, loss| println!("epoch {}: loss {loss:.4}, {:.1} s", epoch + 1, start.elapsed().as_secs_f64());
    let net = train(data, 2, report)?;
    println!("{:.2} % of 10,000 test images", 100.0 * accuracy(&net, test)?);
    Ok(())
}
