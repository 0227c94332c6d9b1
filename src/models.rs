//! Networks: LeNet-5, multilayer perceptrons, softmax regression, ResNet-18.

mod lenet;
mod mlp;
mod resnet;

pub use lenet::LeNet5;
pub use mlp::{Mlp, SoftmaxRegression};
pub use resnet::{BasicBlock, ResNet18};
