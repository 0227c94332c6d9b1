//! Data sets, the order in which their examples come, and batches loaded ahead on threads.
//!
//! A [`Dataset`] is random access; a [`Sampler`] is a stream of indices; a [`Loader`] puts both together:
//!
//! ```
//! use cotangent::{Tensor, data::{Loader, TensorDataset}};
//! let x = Tensor::arange(0, 10).reshape([10, 1]);
//! let y = Tensor::arange(0, 10);
//! let loader = Loader::new(TensorDataset::new([x, y])?, 4).shuffle(7);     // `shuffle`: row A24
//! for epoch in 0..3 {
//!     for batch in loader.epoch(epoch)? {
//!         let [x, y] = batch?.into_array();
//!         assert_eq!(x.flatten(0).to_vec::<i64>(), y.to_vec::<i64>());
//!     }
//! }
//! # Ok::<(), cotangent::Error>(())
//! ```
//!
//! Whatever is random is computed from (seed, epoch, place), never from what was drawn before: any epoch, and any
//! batch of it, can be had without replaying the earlier ones.

mod augment;
mod dataset;
mod generator;
mod idx;
mod images;
mod loader;
mod sampling;
mod split;

pub use augment::{Draw, Flip, Rotate, Shift, Transform};
pub use dataset::{Dataset, Subset, TensorDataset};
pub use generator::Generator;
pub use idx::{Elements, Idx};
pub use images::{Images, check_labels};
pub use loader::{Batch, Batches, Loader};
pub use sampling::{Cyclic, Endless, Epochs, Iid, Sampler, Shuffled, coverage, permutation};
pub use split::{split, split_stratified};

use crate::Rng;

/// What a random number is for: the same seed must not give two purposes the same numbers.
#[derive(Clone, Copy)]
enum Purpose {
    Shuffle = 1,
    Iid = 2,
    Split = 3,
    Shift = 4,
    Flip = 5,
    Generator = 6,
    Rotate = 7,
}

impl Purpose {
    /// The stream of a purpose; number 0 to 2⁵⁶ − 1.
    fn stream(self, number: u64) -> u64 {
        (self as u64) << 56 | number & ((1 << 56) - 1)
    }
}

/// Uniform in `0..n`, without the bias of a remainder (Lemire 2019); `place` below 2⁴⁸.
fn bounded(n: u64, seed: u64, stream: u64, place: u64) -> u64 {
    // 2⁶⁴ mod n: as many low values must be thrown away.
    let surplus = n.wrapping_neg() % n;
    for attempt in 0.. {
        let wide = u128::from(Rng::bits(seed, stream, place | attempt << 48)) * u128::from(n);
        if wide as u64 >= surplus {
            return (wide >> 64) as u64;
        }
    }
    unreachable!("each attempt succeeds with more than one half")
}
