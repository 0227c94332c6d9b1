//! What an operation costs beside its arithmetic: tiny operations, eager.

use cotangent::{Tensor, jvp, no_grad};

use crate::Row;
use crate::timing::repeat;

/// Operations in a chain.
const CHAIN: usize = 100;

fn chain(x: &Tensor) -> Tensor {
    (0..CHAIN).fold(x.clone(), |y, _| y * 1.01)
}

/// A row for something that is done with one number.
fn row<T: 'static>(name: &str, about: &str, tracked: bool, work: fn(&Tensor) -> T) -> Row {
    Row::new(format!("overhead/{name}"), about, move |budget| {
        let x = Tensor::ones([1]).contiguous();
        let x = if tracked { x.tracked() } else { x };
        repeat(budget, || Ok(work(&x)))
    })
}

/// Products of two numbers that may both be tracked.
fn products(x: &Tensor) -> Tensor {
    (0..CHAIN).fold(x.clone(), |y, _| &y * x)
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("add", "x + x of one number", false, |x| x + x),
        row("add-tracked", "x + x of one number, kept for backward", true, |x| x + x),
        row("chain-100", "100 products of one number, without derivatives", false, |x| no_grad(|| chain(x))),
        row("chain-100-tracked", "the same, kept for backward", true, chain),
        row("chain-100-backward", "the same, forward and backward", true, |x| chain(x).backward()),
        row("products-100-tracked", "100 products of two tracked numbers", true, products),
        row("products-100-backward", "the same, forward and backward", true, |x| products(x).backward()),
        row("chain-100-forward-mode", "the chain with a tangent", false, |x| jvp(|[x]| chain(&x), [x], [x])),
    ]
}
