//! Functions to functions: derivatives forward, backward, and nested.

use super::{Kind, Node, escaped, reverse};
use crate::{
    context,
    error::{Error, OrRaise},
    ops::Mode,
    tensor::Tensor,
};

/// Run `f` one level above everything it can see.
fn one_level_up<T>(mode: Mode, f: impl FnOnce(usize, u64) -> T) -> T {
    let tag = reverse::new_key();
    let _down =
        context::scope(|c| c.transforms.push((tag, mode)), |c| c.transforms.truncate(c.transforms.len() - 1));
    f(context::with(|c| c.transforms.len()), tag)
}

#[track_caller]
fn lift(x: &Tensor, verb: &str) {
    if x.layer().is_some_and(|l| !l.is_alive()) {
        escaped().verb(verb).raise()
    }
    if !x.dtype().is_float() {
        Error::mistake(format!("{verb}: only real numbers have derivatives, and this input is {}", x.dtype()))
            .help("`cast` it, or capture it in the closure")
            .raise()
    }
}

/// Forward mode over lists: `f` at a point, and its derivative along a direction.
///
/// # Panics
/// When a tangent has not its input's shape.
#[track_caller]
pub fn jvp_many(
    f: impl FnOnce(&[Tensor]) -> Vec<Tensor>,
    at: &[Tensor],
    along: &[Tensor],
) -> (Vec<Tensor>, Vec<Tensor>) {
    push(&mut once(f), at, along)
}

/// A function of lists behind a pointer, so that what stands around it is compiled once.
type Function<'a> = &'a mut dyn FnMut(&[Tensor]) -> Vec<Tensor>;

/// A function that is called once, as one that could be called again.
fn once<F: FnOnce(&[Tensor]) -> Vec<Tensor>>(f: F) -> impl FnMut(&[Tensor]) -> Vec<Tensor> {
    let mut f = Some(f);
    move |x| f.take().expect("called once")(x)
}

#[track_caller]
fn push(f: Function<'_>, at: &[Tensor], along: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    if at.len() != along.len() {
        Error::mistake(format!("jvp: {} tangents for {} inputs", along.len(), at.len())).raise()
    }
    for (x, t) in at.iter().zip(along) {
        lift(x, "jvp");
        if x.shape() != t.shape() || x.dtype() != t.dtype() {
            Error::mistake(format!(
                "jvp: the tangent {:?} {} must be like its input {:?} {}",
                t.shape(),
                t.dtype(),
                x.shape(),
                x.dtype()
            ))
            .raise()
        }
    }
    one_level_up(Mode::Push, |level, tag| {
        let x: Vec<Tensor> = at
            .iter()
            .zip(along)
            .map(|(x, t)| x.clone().with_layer(level, tag, Kind::Dual(t.clone())))
            .collect();
        let y = f(&x);
        let dy = y.iter().map(|y| match y.layer_at(level).map(|l| &l.kind) {
            Some(Kind::Dual(dy)) => dy.clone(),
            _ => y.detach().zeros_like(),
        });
        let dy = dy.collect();
        (y.iter().map(|y| y.below(level)).collect(), dy)
    })
}

/// Reverse mode over lists: `f` at a point, and the map that pulls cotangents of its values back to its inputs.
#[track_caller]
pub fn vjp_many<F: FnOnce(&[Tensor]) -> Vec<Tensor>>(
    f: F,
    at: &[Tensor],
) -> (Vec<Tensor>, impl Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync + use<F>) {
    pull(&mut once(f), at)
}

#[track_caller]
fn pull(
    f: Function<'_>,
    at: &[Tensor],
) -> (Vec<Tensor>, impl Fn(&[Tensor]) -> Vec<Tensor> + Send + Sync + use<>) {
    at.iter().for_each(|x| lift(x, "vjp"));
    one_level_up(Mode::Pull, |level, tag| {
        let keys: Vec<u64> = at.iter().map(|_| reverse::new_key()).collect();
        let leaf =
            |(x, key): (&Tensor, &u64)| x.clone().with_layer(level, tag, Kind::Tracked(Node::leaf(*key), 0));
        let y = f(&at.iter().zip(&keys).map(leaf).collect::<Vec<_>>());
        let values = y.iter().map(|y| y.below(level)).collect();
        let like: Vec<_> = at.iter().map(|x| x.spec()).collect();
        let back = move |cotangents: &[Tensor]| {
            if y.len() != cotangents.len() {
                Error::mistake(format!("vjp: {} cotangents for {} values", cotangents.len(), y.len())).raise()
            }
            for (y, c) in y.iter().zip(cotangents) {
                if y.shape() != c.shape() {
                    Error::mistake(format!(
                        "vjp: the cotangent {:?} must have its value's shape {:?}",
                        c.shape(),
                        y.shape()
                    ))
                    .raise()
                }
            }
            let seeds: Vec<(&Tensor, Tensor)> = y.iter().zip(cotangents.iter().cloned()).collect();
            let grads = reverse::pull_many(&seeds, level, true).or_raise();
            keys.iter()
                .zip(&like)
                .map(|(key, spec)| grads.of(*key).cloned().unwrap_or_else(|| Tensor::constant(spec, 0)))
                .collect()
        };
        (values, back)
    })
}

fn unpack<const N: usize>(v: Vec<Tensor>) -> [Tensor; N] {
    v.try_into().unwrap_or_else(|_| unreachable!("as many as went in"))
}

fn pack<const N: usize>(x: [&Tensor; N]) -> Vec<Tensor> {
    x.into_iter().cloned().collect()
}

fn only(y: Vec<Tensor>) -> Tensor {
    y.into_iter().next().expect("one output")
}

/// Forward mode: `(f(x), Df(x)·t)`, no tape (rows C8, C14).
///
/// ```
/// use cotangent::{jvp, Tensor};
/// let (y, dy) = jvp(|[x]| x.square(), [&Tensor::from(3.0)], [&Tensor::from(1.0)]);
/// assert_eq!((y.item(), dy.item()), (9.0, 6.0));
/// ```
///
/// # Panics
/// When a tangent has not its input's shape and type.
#[track_caller]
pub fn jvp<const N: usize>(
    f: impl FnOnce([Tensor; N]) -> Tensor,
    at: [&Tensor; N],
    along: [&Tensor; N],
) -> (Tensor, Tensor) {
    let (y, dy) = jvp_many(|x| vec![f(unpack(x.to_vec()))], &pack(at), &pack(along));
    (only(y), only(dy))
}

/// Reverse mode: `f(x)` and the map `c ↦ c·Df(x)`, which may be called any number of times (row C15).
///
/// ```
/// use cotangent::{vjp, Tensor};
/// let (_, pull) = vjp(|[x, y]| x * y, [&Tensor::from(3.0), &Tensor::from(2.0)]);
/// let [dx, dy] = pull(&Tensor::from(1.0));
/// assert_eq!((dx.item(), dy.item()), (2.0, 3.0));
/// ```
#[track_caller]
pub fn vjp<const N: usize, F: FnOnce([Tensor; N]) -> Tensor>(
    f: F,
    at: [&Tensor; N],
) -> (Tensor, impl Fn(&Tensor) -> [Tensor; N] + Send + Sync + use<N, F>) {
    let (y, back) = vjp_many(|x| vec![f(unpack(x.to_vec()))], &pack(at));
    (only(y), move |c: &Tensor| unpack(back(std::slice::from_ref(c))))
}

/// `f(x)` and `∇f(x)`, of a function with a single number as its value.
///
/// ```
/// use cotangent::{value_and_grad, Tensor};
/// let (y, [g]) = value_and_grad(|[x]| x.square().sum(), [&Tensor::from([1.0, 2.0])]);
/// assert_eq!((y.item(), g.to_vec::<f64>()), (5.0, vec![2.0, 4.0]));
/// ```
///
/// # Panics
/// When the value is not a single number.
#[track_caller]
pub fn value_and_grad<const N: usize>(
    f: impl FnOnce([Tensor; N]) -> Tensor,
    at: [&Tensor; N],
) -> (Tensor, [Tensor; N]) {
    let (y, g) = pull_one(&mut once(|x| vec![f(unpack(x.to_vec()))]), &pack(at));
    (y, unpack(g))
}

/// The one number that `f` gives, and its gradients.
#[track_caller]
fn pull_one(f: Function<'_>, at: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let (y, back) = pull(f, at);
    let y = only(y);
    if y.numel() != 1 {
        Error::mistake(format!("grad: the function must give a single number, got shape {:?}", y.shape()))
            .help("reduce it with `.sum()` or `.mean()`, or use `vjp` or `jacobian`")
            .raise()
    }
    let g = back(&[y.detach().ones_like()]);
    (y, g)
}

/// `∇f(x)`, of a function with a single number as its value.
///
/// ```
/// use cotangent::{grad, Tensor};
/// let [g] = grad(|[x]| x.exp().sum(), [&Tensor::from([0.0, 0.0])]);
/// assert_eq!(g.to_vec::<f64>(), [1.0, 1.0]);
/// ```
///
/// # Panics
/// When the value is not a single number.
#[track_caller]
pub fn grad<const N: usize>(f: impl FnOnce([Tensor; N]) -> Tensor, at: [&Tensor; N]) -> [Tensor; N] {
    value_and_grad(f, at).1
}

/// `∇²f(x)·v`, forward over reverse.
///
/// ```
/// use cotangent::{hvp, Tensor};
/// let (x, v) = (Tensor::from([1.0, 2.0]), Tensor::from([1.0, 0.0]));
/// assert_eq!(hvp(|x| (x.square() * &x).sum(), &x, &v).to_vec::<f64>(), [6.0, 0.0]);
/// ```
#[track_caller]
pub fn hvp(f: impl FnOnce(Tensor) -> Tensor, x: &Tensor, v: &Tensor) -> Tensor {
    jvp(|[x]| grad(|[x]| f(x), [&x])[0].clone(), [x], [v]).1
}

/// One-hot directions of a tensor's space.
fn basis(like: &Tensor) -> impl Iterator<Item = Tensor> + use<> {
    let (spec, n) = (like.spec(), like.numel());
    (0..n).map(move |i| {
        let mut e = vec![0f64; n];
        e[i] = 1.0;
        Tensor::from_vec(e, spec.shape).cast(spec.dtype).to(&spec.device)
    })
}

fn joined(a: &Tensor, b: &Tensor) -> Vec<usize> {
    a.shape().iter().chain(b.shape().iter()).copied().collect()
}

/// The Jacobian by columns, one push an input element: `[..y, ..x]` (row C14).
///
/// ```
/// use cotangent::{jacfwd, Tensor};
/// assert_eq!(jacfwd(|x| x.square(), &Tensor::from([1.0, 2.0])).to_vec::<f64>(), [2.0, 0.0, 0.0, 4.0]);
/// ```
#[track_caller]
pub fn jacfwd(f: impl Fn(Tensor) -> Tensor, x: &Tensor) -> Tensor {
    let mut y = None;
    let columns: Vec<Tensor> = basis(x)
        .map(|e| {
            let (value, dy) = jvp(|[x]| f(x), [x], [&e]);
            y = Some(value);
            dy.flatten(0)
        })
        .collect();
    let y = y.unwrap_or_else(|| f(x.clone()));
    if columns.is_empty() {
        return Tensor::constant(&y.spec().with(joined(&y, x)), 0);
    }
    Tensor::stack(&columns.iter().collect::<Vec<_>>(), 1).reshape(joined(&y, x))
}

/// The Jacobian by rows, one pull an output element: `[..y, ..x]` (row C15).
#[track_caller]
pub fn jacrev(f: impl FnOnce(Tensor) -> Tensor, x: &Tensor) -> Tensor {
    let (y, back) = vjp(|[x]| f(x), [x]);
    let rows: Vec<Tensor> = basis(&y).map(|e| back(&e)[0].flatten(0)).collect();
    if rows.is_empty() {
        return Tensor::constant(&x.spec().with(joined(&y, x)), 0);
    }
    Tensor::stack(&rows.iter().collect::<Vec<_>>(), 0).reshape(joined(&y, x))
}

/// The Jacobian `∂y_i/∂x_j`, `[..y, ..x]`, in the mode that takes fewer passes (row C13).
///
/// ```
/// use cotangent::{jacobian, Tensor};
/// let j = jacobian(|x| x.sum(), &Tensor::from([1.0, 2.0, 3.0]));
/// assert_eq!(j.to_vec::<f64>(), [1.0, 1.0, 1.0]);
/// ```
#[track_caller]
pub fn jacobian(f: impl Fn(Tensor) -> Tensor, x: &Tensor) -> Tensor {
    let (y, back) = vjp(|[x]| f(x), [x]);
    if y.numel() > x.numel() {
        drop(back);
        return jacfwd(f, x);
    }
    let rows: Vec<Tensor> = basis(&y).map(|e| back(&e)[0].flatten(0)).collect();
    if rows.is_empty() {
        return Tensor::constant(&x.spec().with(joined(&y, x)), 0);
    }
    Tensor::stack(&rows.iter().collect::<Vec<_>>(), 0).reshape(joined(&y, x))
}

/// The Hessian `∂²f/∂x_i∂x_j`, `[..x, ..x]`, forward over reverse.
///
/// ```
/// use cotangent::{hessian, Tensor};
/// let h = hessian(|x| x.square().sum(), &Tensor::from([1.0, 2.0]));
/// assert_eq!(h.to_vec::<f64>(), [2.0, 0.0, 0.0, 2.0]);
/// ```
#[track_caller]
pub fn hessian(f: impl Fn(Tensor) -> Tensor, x: &Tensor) -> Tensor {
    jacfwd(|x| grad(|[x]| f(x), [&x])[0].clone(), x)
}
