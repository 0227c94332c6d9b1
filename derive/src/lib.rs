//! `#[derive(Parameters)]`: a layer or model lists its children, so that optimisers, checkpoints and
//! summaries find every parameter under the name PyTorch would give it.
//!
//! The crate is used through `cotangent`, which re-exports the macro.

mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `cotangent::nn::Parameters`: visits the fields as children, in the order of their declaration.
///
/// A child's name is the field's name, in a tuple struct its index; joined by dots the names make the path of
/// a parameter, such as `features.0.weight`. Of an enum the fields of the live variant are visited; the
/// variant's name is no part of the path. A type parameter that occurs in a visited field gets the bound
/// `Parameters`.
///
/// | attribute of a field | meaning |
/// | --- | --- |
/// | `#[parameters(skip)]` | the field holds no parameters and is not visited |
/// | `#[parameters(rename = "name")]` | the child has this name |
///
/// A field whose type does not implement `Parameters`, such as `usize`, does not compile unless it is
/// skipped, so that nothing silently stays untrained.
///
/// # Errors
///
/// The macro reports, at the place in question: a union; an unknown key; a name that is empty or contains a
/// dot; two children of one name.
///
/// ```standalone_crate
/// use cotangent_derive::Parameters;
/// # extern crate self as cotangent;
/// # mod nn {
/// #     pub trait Parameters { fn visit(&self, visitor: &mut Visitor<'_>); }
/// #     pub struct Visitor<'a>(pub &'a mut Vec<String>);
/// #     impl Visitor<'_> {
/// #         pub fn child<T: Parameters + ?Sized>(&mut self, name: &str, child: &T) {
/// #             self.0.push(name.to_string());
/// #             child.visit(self);
/// #         }
/// #     }
/// # }
/// # struct Linear;
/// # impl nn::Parameters for Linear { fn visit(&self, _: &mut nn::Visitor<'_>) {} }
///
/// #[derive(Parameters)]
/// struct Perceptron {
///     hidden: Linear,
///     #[parameters(rename = "classifier")]
///     output: Linear,
///     #[parameters(skip)]
///     classes: usize,
/// }
/// # fn main() {
/// #     let mut names = Vec::new();
/// #     let model = Perceptron { hidden: Linear, output: Linear, classes: 10 };
/// #     nn::Parameters::visit(&model, &mut nn::Visitor(&mut names));
/// #     assert_eq!(names, ["hidden", "classifier"]);
/// #     assert_eq!(model.classes, 10);
/// # }
/// ```
#[proc_macro_derive(Parameters, attributes(parameters))]
pub fn derive_parameters(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::expand(input).unwrap_or_else(syn::Error::into_compile_error).into()
}
