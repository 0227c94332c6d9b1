//! Networks: LeNet-5 today and in 1998, multilayer perceptrons, softmax regression, ResNet-18.

mod lenet;
mod lenet_1998;
mod mlp;
mod resnet;

pub use lenet::LeNet5;
pub use lenet_1998::{C3_TABLE, LeNet1998, PartialConv2d, Rbf, Subsampling, scaled_tanh};
pub use mlp::{Mlp, SoftmaxRegression};
pub use resnet::{BasicBlock, ResNet18};
