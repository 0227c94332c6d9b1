//! What a training run leaves behind, for people: [`runs`] reads run folders, [`plot`] draws, [`report`] and
//! [`compare`] make pages that open anywhere, [`tensorboard`] writes event files, and [`serve`]
//! shows all of it live, in a browser.
//!
//! Nothing here computes with a network: it reads and writes files, so that a run can be looked at while it goes on,
//! after it died, or on another machine.

pub mod compare;
pub mod plot;
#[cfg(feature = "png-plots")]
pub mod raster;
pub mod report;
pub mod runs;
pub mod serve;
pub mod tensorboard;
