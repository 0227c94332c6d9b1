//! Networks: LeNet-5, multilayer perceptrons, softmax regression.

mod lenet;
mod mlp;

pub use lenet::LeNet5;
pub use mlp::{Mlp, SoftmaxRegression};
