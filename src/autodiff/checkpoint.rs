//! Recompute instead of remember.

use std::{collections::HashMap, sync::Arc};

use super::{Kind, LinearMap, Node, TAPE, reverse};
use crate::{
    apply::{Few, Origin},
    context::{self, Overlay},
    error::OrRaise,
    ops::Mode,
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
    if at.iter().any(|x| x.layer().is_some_and(|l| !l.is_alive())) {
        super::escaped().verb("checkpoint").raise()
    }
    // The innermost transform is the one whose memory `f` would fill; those around it see it computed as ever.
    let (level, tag, mode) = context::with(|c| match c.transforms.last() {
        Some((tag, mode)) => (c.transforms.len(), *tag, *mode),
        None => (TAPE, 0, if c.paused { Mode::Push } else { Mode::Pull }),
    });
    if mode == Mode::Push {
        return f(at.map(Tensor::clone)); // nothing is remembered here
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
    let floor = reverse::new_key();
    let (y, seen) = overlaid(first, || f(doors(&below)));
    let Some(Kind::Tracked(root, output)) = y.layer_at(level).map(|l| &l.kind) else { return y };

    // Where going back ends: a door leads to its input; anything else, a parameter or what `f` captured, is
    // outside already. A parameter read twice is one end.
    let (mut ends, mut sources) = (Vec::new(), Few::new());
    for (node, output) in root.ends(*output, floor) {
        let name = reverse::end(&node, output);
        if ends.contains(&name) {
            continue;
        }
        let outside = match keys.iter().position(|k| name == (*k, None)) {
            None => Some((node, output)),
            Some(i) => match at[i].layer_at(level).map(|l| &l.kind) {
                Some(Kind::Tracked(node, output)) => Some((node.clone(), *output)),
                _ => None,
            },
        };
        if outside.is_some() {
            ends.push(name);
            sources.push(outside);
        }
    }
    if ends.is_empty() {
        return y.below(level);
    }
    let surroundings = context::with(|c| (c.transforms.clone(), c.substitutions.clone(), c.paused));
    let seen = Arc::new(seen);
    let map = LinearMap::new(move |cotangent| {
        let Some(c) = &cotangent[0] else { return vec![None; ends.len()] };
        let replay = Overlay { replay: true, values: (*seen).clone(), written: Vec::new() };
        let x = doors(&below);
        // What stood around the first evaluation stands again while `f` runs.
        let mut then = surroundings.clone();
        context::with(|c| swap(c, &mut then));
        let restore = context::scope(|_| (), move |c| swap(c, &mut then));
        let floor = reverse::new_key();
        let (y, _) = overlaid(replay, || f(x));
        drop(restore);
        let grads = reverse::pull_to(&[(&y, c.clone())], level, false, floor).or_raise();
        ends.iter().map(|end| grads.get(end).cloned()).collect()
    });
    let origin = Origin::here("checkpoint", line);
    let node = Node::new(sources, 1, map, origin);
    y.below(level).with_layer(level, tag, Kind::Tracked(node, 0))
}

type Surroundings = (Vec<(u64, Mode)>, Vec<HashMap<u64, Tensor>>, bool);

fn swap(c: &mut context::Context, then: &mut Surroundings) {
    std::mem::swap(&mut c.transforms, &mut then.0);
    std::mem::swap(&mut c.substitutions, &mut then.1);
    std::mem::swap(&mut c.paused, &mut then.2);
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
