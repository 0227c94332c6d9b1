//! The lecture's function, `f(x, y) = y·ln x + √(y·ln x)`, differentiated in both modes (rows C6–C12).
//!
//! The slides write `d√b/db = 1/√b`; it is `1/(2√b)`. Here the slip is an operation of its own, so that the
//! slides' numbers come out beside the right ones, and the laws that every operation must obey find it.
//!
//! ```text
//! cargo run --release --example two_modes
//! ```

use cotangent::{
    LinearMap, Mode, Op, Result, Spec, Tensor, apply,
    device::cpu::Call,
    dispatch, grad, jvp,
    laws::{self, Case},
};

/// Four nodes: `a = ln x`, `b = y·a`, `c = √b`, `f = b + c`; `b` is used twice (row C6).
fn f([x, y]: [Tensor; 2], sqrt: fn(&Tensor) -> Tensor) -> Tensor {
    let a = x.ln();
    let b = y * a;
    let c = sqrt(&b);
    b + c
}

/// `c = √b` with the slides' derivative `dc = db/√b` (row C12).
struct SlideSqrt;

impl Op for SlideSqrt {
    fn name(&self) -> &'static str {
        "slide_sqrt"
    }
    fn outputs(&self, x: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![x[0].clone()])
    }
    fn linearize(&self, _: &[Tensor], y: &[Tensor], _: Mode, _: &[bool]) -> LinearMap {
        let y = y[0].clone();
        LinearMap::unary(move |t| t / &y)
    }
    fn cpu(&self, mut call: Call<'_>) {
        dispatch!(float call.inputs[0].dtype(), T => {
            let x = call.inputs[0].packed::<T>();
            call.output::<T>().iter_mut().zip(x).for_each(|(y, x)| *y = x.sqrt());
        })
    }
}

pub(crate) fn slide_sqrt(b: &Tensor) -> Tensor {
    apply(SlideSqrt, &[b])
}

fn point() -> [Tensor; 2] {
    [3.0, 2.0].map(Tensor::from)
}

/// Forward: one push a direction, `(1, 0)` and `(0, 1)` (row C8).
pub(crate) fn forward(sqrt: fn(&Tensor) -> Tensor) -> [f64; 2] {
    let ([x, y], one, zero) = (point(), Tensor::from(1.0), Tensor::from(0.0));
    let along = |direction| jvp(|at| f(at, sqrt), [&x, &y], direction).1.item();
    [along([&one, &zero]), along([&zero, &one])]
}

/// Reverse: one pull gives all of them (row C10).
pub(crate) fn reverse(sqrt: fn(&Tensor) -> Tensor) -> [f64; 2] {
    let [x, y] = point();
    grad(|at| f(at, sqrt), [&x, &y]).map(|g| g.item())
}

/// The judge: `(f(x + h) − f(x − h))/2h`.
pub(crate) fn differences() -> [f64; 2] {
    let ([x, y], h) = (point(), 1e-5);
    let at = |dx: f64, dy: f64| f([&x + dx, &y + dy], Tensor::sqrt).item();
    [(at(h, 0.0) - at(-h, 0.0)) / (2.0 * h), (at(0.0, h) - at(0.0, -h)) / (2.0 * h)]
}

/// What the laws say of the slip.
pub(crate) fn verdict() -> Option<String> {
    laws::check("slide_sqrt", 5, 1, |draw| Case::new(SlideSqrt, vec![draw.between(0.5, 3.0, [4])])).err()
}

fn main() -> Result<()> {
    println!("f(3, 2) = {:.9}", f(point(), Tensor::sqrt).item());
    let show = |what: &str, [x, y]: [f64; 2]| println!("{what:<24} ∂f/∂x = {x:.9}   ∂f/∂y = {y:.9}");
    show("forward", forward(Tensor::sqrt));
    show("reverse", reverse(Tensor::sqrt));
    show("differences", differences());
    show("forward, as the slides", forward(slide_sqrt));
    show("reverse, as the slides", reverse(slide_sqrt));
    println!("the laws: {}", verdict().unwrap_or_else(|| "nothing to complain".into()));
    Ok(())
}
