//! What the derived `visit` visits, with a miniature of `cotangent::nn` in the place of the library.

#![allow(dead_code)]

extern crate self as cotangent;

use std::marker::PhantomData;

use cotangent_derive::Parameters;

mod nn {
    pub(crate) trait Parameters {
        fn visit(&self, visitor: &mut Visitor<'_>);
    }

    /// Lists the paths of the parameters it is shown.
    pub(crate) struct Visitor<'a> {
        path: Vec<String>,
        found: &'a mut Vec<String>,
    }

    impl Visitor<'_> {
        pub(crate) fn child<T: Parameters + ?Sized>(&mut self, name: &str, child: &T) {
            self.path.push(name.to_string());
            child.visit(self);
            self.path.pop();
        }

        pub(crate) fn parameter(&mut self) {
            self.found.push(self.path.join("."));
        }
    }

    pub(crate) fn paths(model: &impl Parameters) -> Vec<String> {
        let mut found = Vec::new();
        model.visit(&mut Visitor { path: Vec::new(), found: &mut found });
        found
    }
}

struct Param;

impl nn::Parameters for Param {
    fn visit(&self, visitor: &mut nn::Visitor<'_>) {
        visitor.parameter();
    }
}

impl<T: nn::Parameters> nn::Parameters for Vec<T> {
    fn visit(&self, visitor: &mut nn::Visitor<'_>) {
        for (k, child) in self.iter().enumerate() {
            visitor.child(&k.to_string(), child);
        }
    }
}

impl<T: nn::Parameters, const N: usize> nn::Parameters for [T; N] {
    fn visit(&self, visitor: &mut nn::Visitor<'_>) {
        for (k, child) in self.iter().enumerate() {
            visitor.child(&k.to_string(), child);
        }
    }
}

impl<T: nn::Parameters + ?Sized> nn::Parameters for Box<T> {
    fn visit(&self, visitor: &mut nn::Visitor<'_>) {
        (**self).visit(visitor);
    }
}

impl<T: nn::Parameters + ?Sized> nn::Parameters for &T {
    fn visit(&self, visitor: &mut nn::Visitor<'_>) {
        (**self).visit(visitor);
    }
}

#[derive(Parameters)]
struct Linear {
    weight: Param,
    bias: Param,
    #[parameters(skip)]
    features: usize,
}

fn linear() -> Linear {
    Linear { weight: Param, bias: Param, features: 3 }
}

#[test]
fn fields_are_children_in_order_of_declaration() {
    assert_eq!(nn::paths(&linear()), ["weight", "bias"]);
}

#[test]
fn children_of_children_have_dotted_paths() {
    #[derive(Parameters)]
    struct Net {
        features: Vec<Linear>,
        #[parameters(rename = "classifier")]
        last: Linear,
    }
    assert_eq!(
        nn::paths(&Net { features: vec![linear(), linear()], last: linear() }),
        [
            "features.0.weight",
            "features.0.bias",
            "features.1.weight",
            "features.1.bias",
            "classifier.weight",
            "classifier.bias"
        ]
    );
}

#[test]
fn tuple_structs_number_their_children() {
    #[derive(Parameters)]
    struct Pair(Param, #[parameters(skip)] f64, #[parameters(rename = "second")] Param, Param);
    assert_eq!(nn::paths(&Pair(Param, 0.5, Param, Param)), ["0", "second", "3"]);
}

#[test]
fn unit_and_empty_types_have_no_children() {
    #[derive(Parameters)]
    struct Unit;
    #[derive(Parameters)]
    struct Empty {}
    #[derive(Parameters)]
    struct Skipped {
        #[parameters(skip)]
        rate: f64,
    }
    #[derive(Parameters)]
    enum Never {}
    #[derive(Parameters)]
    struct OrNever(#[parameters(skip)] Option<Never>);
    assert!(nn::paths(&Unit).is_empty());
    assert!(nn::paths(&Empty {}).is_empty());
    assert!(nn::paths(&Skipped { rate: 0.1 }).is_empty());
    assert!(nn::paths(&OrNever(None)).is_empty());
}

#[test]
fn enums_visit_the_live_variant() {
    #[derive(Parameters)]
    enum Layer {
        Dense(Linear),
        Scaled(#[parameters(skip)] f64, Param),
        Conv {
            weight: Param,
            #[parameters(rename = "offset")]
            bias: Param,
            #[parameters(skip)]
            stride: usize,
        },
        Relu,
        Flatten {},
    }
    assert_eq!(nn::paths(&Layer::Dense(linear())), ["0.weight", "0.bias"]);
    assert_eq!(nn::paths(&Layer::Scaled(2.0, Param)), ["1"]);
    assert_eq!(nn::paths(&Layer::Conv { weight: Param, bias: Param, stride: 1 }), ["weight", "offset"]);
    assert!(nn::paths(&Layer::Relu).is_empty());
    assert!(nn::paths(&Layer::Flatten {}).is_empty());
}

#[test]
fn raw_identifiers_lose_their_mark() {
    #[derive(Parameters)]
    struct Raw {
        r#type: Param,
    }
    #[derive(Parameters)]
    enum RawVariant {
        V { r#fn: Param },
    }
    assert_eq!(nn::paths(&Raw { r#type: Param }), ["type"]);
    assert_eq!(nn::paths(&RawVariant::V { r#fn: Param }), ["fn"]);
}

#[test]
fn generics_bounds_lifetimes_constants_and_defaults_are_kept() {
    struct NoParameters;

    #[derive(Parameters)]
    struct Block<'a, A, B = Param, F = NoParameters, const N: usize = 2>
    where
        A: Sized,
        B: 'a + ?Sized,
    {
        first: [A; N],
        shared: &'a B,
        #[parameters(skip)]
        map: PhantomData<F>,
    }
    let shared = linear();
    let block: Block<'_, Box<Param>, Linear> =
        Block { first: [Box::new(Param), Box::new(Param)], shared: &shared, map: PhantomData };
    assert_eq!(nn::paths(&block), ["first.0", "first.1", "shared.weight", "shared.bias"]);
}

#[test]
fn associated_types_of_a_parameter_are_bound() {
    trait Family {
        type Layer;
    }
    struct Dense;
    impl Family for Dense {
        type Layer = Linear;
    }

    #[derive(Parameters)]
    struct Net<F: Family> {
        short: F::Layer,
        long: <F as Family>::Layer,
    }
    // `Dense` itself has no parameters, only its layers have.
    assert_eq!(
        nn::paths(&Net::<Dense> { short: linear(), long: linear() }),
        ["short.weight", "short.bias", "long.weight", "long.bias"]
    );
}

#[test]
fn unsized_children_are_visited() {
    #[derive(Parameters)]
    struct Erased {
        layer: Box<dyn nn::Parameters>,
    }
    assert_eq!(nn::paths(&Erased { layer: Box::new(linear()) }), ["layer.weight", "layer.bias"]);
}

// The generated code names nothing that a user's own names could hide, and works on a type made by a macro.
#[test]
fn names_of_the_user_do_not_interfere() {
    macro_rules! model {
        ($name:ident { $($field:ident: $ty:ty),* }) => {
            #[derive(Parameters)]
            struct $name { $($field: $ty),* }
        };
    }
    model!(Odd { visitor: Param, child_0: Linear });
    assert_eq!(
        nn::paths(&Odd { visitor: Param, child_0: linear() }),
        ["visitor", "child_0.weight", "child_0.bias"]
    );

    #[derive(Parameters)]
    enum OddVariant {
        Some { visitor: Param, child_1: Param },
    }
    assert_eq!(nn::paths(&OddVariant::Some { visitor: Param, child_1: Param }), ["visitor", "child_1"]);
}
