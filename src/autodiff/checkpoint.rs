//! Recompute instead of remember.

use std::{collections::HashMap, sync::Arc};

use super::{Kind, LinearMap, Node, TAPE, reverse};
use crate::{
    apply::{Few, Origin},
    context::{self, Overlay},
    error::OrRaise,
    tensor::Tensor,
};

/// `y = f(x)`, keeping only `x`: what is inside is computed again on the way back (row E22).
///
/// `f` is evaluated exactly twice when a gradient is asked for. The second time it sees cells, random
/// generators included, as the first time, and writes none; so dropout draws the same mask.
///
/// ```
/// use cotangent::{checkpoint, Tensor};
/// let x = Tensor::from([1.0, 2.0]).tracked();
/// let y = checkpoint(|[x]| x.exp().sin(), [&x]).sum();
/// let direct = x.exp().sin().sum();
/// assert_eq!(y.backward().get(&x).unwrap().to_vec::<f64>(), direct.backward().get(&x).unwrap().to_vec::<f64>());
/// ```
#[track_caller]
pub fn checkpoint<const N: usize>(
    f: impl Fn([Tensor; N]) -> Tensor + Send + Sync + 'static,
    at: [&Tensor; N],
) -> Tensor {
    let line = std::panic::Location::caller();
    let top = at.iter().filter_map(|x| x.layer()).max_by_key(|l| l.level);
    let (level, tag) = match top {
        // Forward mode stores nothing anyway.
        Some(l) if matches!(l.kind, Kind::Dual(_)) => return f(at.map(Tensor::clone)),
        Some(l) => (l.level, l.tag),
        None => (TAPE, 0),
    };
    if level == TAPE && context::with(|c| c.paused) {
        return f(at.map(Tensor::clone));
    }
    let keys: [u64; N] = std::array::from_fn(|_| reverse::new_key());
    let below: [Tensor; N] = at.map(|x| x.below(level));
    let doors = move |below: &[Tensor; N]| {
        std::array::from_fn(|i| match below[i].dtype().is_float() {
            true => below[i].clone().with_layer(level, tag, Kind::Tracked(Node::leaf(keys[i]), 0)),
            false => below[i].clone(),
        })
    };
    let first = Overlay { replay: false, values: HashMap::new(), written: Vec::new() };
    let (y, seen) = overlaid(first, || f(doors(&below)));
    let Some(Kind::Tracked(root, _)) = y.layer_at(level).map(|l| &l.kind) else { return y };

    // Every leaf reached: a door leads to its input outside, any other (a parameter) is outside already.
    let mut keys_out = Vec::new();
    let mut sources = Few::new();
    for leaf in root.leaves() {
        let key = leaf.leaf.expect("leaves have keys");
        let outside = match keys.iter().position(|k| *k == key) {
            None => Some((leaf, 0)),
            Some(i) => match at[i].layer_at(level).map(|l| &l.kind) {
                Some(Kind::Tracked(node, output)) => Some((node.clone(), *output)),
                _ => None,
            },
        };
        if outside.is_some() {
            keys_out.push(key);
            sources.push(outside);
        }
    }
    let surroundings = context::with(|c| (c.transforms.clone(), c.substitutions.clone()));
    let seen = Arc::new(seen);
    let map = LinearMap::new(move |cotangent| {
        let Some(c) = &cotangent[0] else { return vec![None; keys_out.len()] };
        let replay = Overlay { replay: true, values: (*seen).clone(), written: Vec::new() };
        let x = doors(&below);
        // The transforms and substitutions of the first evaluation stand again while `f` runs.
        let mut then = surroundings.clone();
        context::with(|c| swap(c, &mut then));
        let restore = context::scope(|_| (), move |c| swap(c, &mut then));
        let (y, _) = overlaid(replay, || super::enable_grad(|| f(x)));
        drop(restore);
        let grads = reverse::pull(&y, level, c.clone(), false).or_raise();
        keys_out.iter().map(|k| grads.of(*k).cloned()).collect()
    });
    let origin = Origin::here("checkpoint", line);
    let node = Node::new(sources, 1, map, origin);
    y.below(level).with_layer(level, tag, Kind::Tracked(node, 0))
}

type Surroundings = (Vec<u64>, Vec<HashMap<u64, Tensor>>);

fn swap(c: &mut context::Context, then: &mut Surroundings) {
    std::mem::swap(&mut c.transforms, &mut then.0);
    std::mem::swap(&mut c.substitutions, &mut then.1);
}

/// Run `f` while an overlay stands between it and the cells; gives back what was read.
fn overlaid<T>(overlay: Overlay, f: impl FnOnce() -> T) -> (T, HashMap<u64, Tensor>) {
    context::with(|c| c.overlays.push(overlay));
    let depth = context::with(|c| c.overlays.len());
    let mut guard = Some(context::scope(|_| (), move |c| c.overlays.truncate(depth - 1)));
    let y = f();
    let values = context::with(|c| c.overlays[depth - 1].values.clone());
    guard.take();
    (y, values)
}
