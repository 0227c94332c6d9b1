//! Forward mode: a dual number `x + ε·dx` an element.

use super::Kind;
use crate::{
    apply::{Few, few},
    tensor::Tensor,
};

/// Put tangents on outputs; one that is zero needs no layer.
pub(crate) fn lift(y: Few<Tensor>, dy: Vec<Option<Tensor>>, level: usize, tag: u64) -> Few<Tensor> {
    few(y.into_iter().zip(dy).map(|(y, dy)| match dy {
        Some(dy) if y.dtype().is_float() => {
            debug_assert_eq!(y.shape(), dy.shape(), "a tangent has its value's shape");
            y.with_layer(level, tag, Kind::Dual(dy))
        }
        _ => y,
    }))
}
