//! Power iteration on the processor and on a GPU (row B10): send `A` and `x⁰`, iterate, receive `x`.
//!
//! The slide iterates `x ← A·x`. With the largest eigenvalue 10 that leaves `f32` after 39 steps; with
//! `x ← A·x/‖A·x‖` it never does, and the Rayleigh quotient `xᵀA·x` gives the eigenvalue.
//!
//! ```text
//! cargo run --release --example power_iteration
//! ```

use cotangent::{Device, Result, Tensor, device::Event, finite};

const STEPS: usize = 100;

/// `A = VΛVᵀ` with eigenvalues 10, 8, 3, 1 and `V = I − ½·1·1ᵀ`, whose first column is the answer.
pub(crate) fn matrix() -> (Tensor, Tensor) {
    let v = Tensor::eye(4) - 0.5;
    let a = (&v * Tensor::from([10f32, 8.0, 3.0, 1.0])).matmul(&v.t());
    (a, v.select(1, 0))
}

/// `x ← A·x/‖A·x‖` on a device: three phases, (i) send, (ii) compute, (iii) receive (row B6).
pub(crate) fn eigenvector(a: &Tensor, device: &Device) -> Tensor {
    let (a, mut x) = (a.to(device), Tensor::ones([4]).to(device));
    for _ in 0..STEPS {
        let y = a.matmul(&x);
        x = &y / y.norm();
    }
    x.to(&Device::cpu())
}

/// The step at which the slide's `x ← A·x` is no longer finite, and what is said of it.
pub(crate) fn overflow(a: &Tensor) -> Option<(usize, String)> {
    let mut x = Tensor::ones([4]);
    for step in 1..=STEPS {
        match finite(|| a.matmul(&x)) {
            Ok(y) => x = y,
            Err(e) => return Some((step, e.to_string())),
        }
    }
    None
}

/// `‖±x − v‖`: a direction has no sign.
pub(crate) fn distance(x: &Tensor, v: &Tensor) -> f64 {
    (x * x.matmul(v).sign() - v).norm().item()
}

fn main() -> Result<()> {
    let (a, v) = matrix();
    let gpu = Device::virtual_gpu();
    for device in [Device::cpu(), gpu.clone()] {
        let x = eigenvector(&a, &device);
        let eigenvalue = x.matmul(&a.matmul(&x)).item();
        println!("{device}: λ = {eigenvalue:.6}, ‖x − v‖ = {:.1e}", distance(&x, &v));
    }
    if let Some(gpu) = gpu.as_virtual_gpu() {
        let (there, back) = gpu.transfers();
        let products =
            gpu.log().iter().filter(|e| matches!(e, Event::Launch { kernel: "matmul", .. })).count();
        println!(
            "{there} transfers to the device, {back} back; {} launches, {products} of them A·x",
            gpu.launches()
        );
        println!("simulated time: {:.0} µs", gpu.clock().0 * 1e6);
    }
    if let Some((step, message)) = overflow(&a) {
        println!("without the norm, step {step}: {message}");
    }
    Ok(())
}
