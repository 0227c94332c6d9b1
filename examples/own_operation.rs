//! An operation and a module of one's own (row E23): what the library does with its own, it does with these.
//!
//! ```text
//! cargo run --release --example own_operation
//! ```

use cotangent::{
    LinearMap, Mode, Op, Param, Parameters, Result, Rng, Spec, Tensor, apply,
    device::cpu::Call,
    dispatch, hessian,
    laws::{self, Case, Report},
    nn::{Call as _, Linear, Module, ParametersExt},
    ops::Batch,
    optim::Adam,
};

/// `y = ln(1 + eˣ)`,  `dy = σ(x)·dx`
pub(crate) struct Softplus;

impl Op for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, x: &[Tensor], _: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        let x = x[0].clone();
        LinearMap::unary(move |t| t * x.sigmoid())
    }
    fn batch(&self, _: &[Spec], axes: &[Option<usize>]) -> Batch {
        axes[0].map_or(Batch::Mixes, |axis| Batch::Each(vec![axis]))
    }
    fn cpu(&self, mut call: Call<'_>) {
        dispatch!(float call.inputs[0].dtype(), T => {
            let x = call.inputs[0].packed::<T>();
            // max(x, 0) + ln(1 + e^−|x|): no exponential of a large positive number.
            call.output::<T>().iter_mut().zip(x).for_each(|(y, x)| *y = x.max(0.0) + (-x.abs()).exp().ln_1p());
        })
    }
}

pub(crate) fn softplus(x: &Tensor) -> Tensor {
    apply(Softplus, &[&x.cast(x.dtype().to_float())])
}

/// `y = g·softplus(Wx + b)`
#[derive(Parameters)]
pub(crate) struct Gated {
    linear: Linear,
    gain: Param,
}

impl Gated {
    pub(crate) fn new(inputs: usize, outputs: usize, rng: &Rng) -> Self {
        Gated { linear: Linear::new(inputs, outputs, rng), gain: Param::new(Tensor::full([outputs], 1.0)) }
    }
}

impl Module for Gated {
    fn forward(&self, x: &Tensor) -> Tensor {
        softplus(&self.linear.call(x)) * self.gain.get()
    }
}

/// Shapes, strides, derivatives to third order, batches, devices: whatever the laws ask.
pub(crate) fn check() -> Result<Report, String> {
    laws::check("softplus", 20, 3, |draw| {
        let shape = [draw.size(0..4), draw.size(1..5)];
        Case::new(Softplus, vec![draw.real(shape)])
    })
}

/// The mean squared error against `max(0, x − 1)`, before and after so many steps.
pub(crate) fn fit(steps: usize) -> [f64; 2] {
    let (net, adam) = (Gated::new(1, 1, &Rng::new(0)), Adam::new(0.05));
    let x = Tensor::linspace(0.0, 3.0, 64).unsqueeze(1);
    let loss = || (net.call(&x) - (&x - 1.0).relu()).square().mean();
    let before = loss().item();
    (0..steps).for_each(|_| adam.step(&net, &loss().backward()));
    [before, loss().item()]
}

fn main() -> Result<(), String> {
    let report = check()?;
    println!("softplus obeys the laws; {} batch rules were put to the test", report.batched);
    let second = hessian(|x| softplus(&x).sum(), &Tensor::from([0.0]));
    println!("its second derivative at 0 is {}, which is σ(0)(1 − σ(0))", second.item());
    let names: Vec<String> =
        Gated::new(1, 1, &Rng::new(0)).parameters().into_iter().map(|(name, _)| name).collect();
    println!("parameters of the module: {}", names.join(", "));
    let [before, after] = fit(500);
    println!("mean squared error against max(0, x − 1): {before:.4}, after 500 steps {after:.6}");
    Ok(())
}
