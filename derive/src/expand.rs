//! From the declaration of a type to its `impl Parameters`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Error, Field, Fields, Generics, Index, LitStr, Member, Result,
    Token, Type, parse_quote,
};

const EXPECTED: &str = "expected `skip` or `rename = \"…\"`";

/// The `impl` of `Parameters` for the type, or what is wrong with its declaration.
pub(crate) fn expand(input: DeriveInput) -> Result<TokenStream> {
    let mut errors = Errors::default();
    errors.refuse_attributes(&input.attrs);
    let (children, body) = match &input.data {
        Data::Struct(data) => {
            let children = errors.children(&data.fields);
            let calls = children.iter().map(|child| {
                let member = &child.member;
                child.call(quote_spanned! {child.span()=> &self.#member})
            });
            let body = quote! { #(#calls)* };
            (children, body)
        }
        Data::Enum(data) => match_variants(data, &mut errors),
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "`#[derive(Parameters)]` is for structs and enums: which field of a union is live is not known",
            ));
        }
    };
    errors.none()?;

    let name = &input.ident;
    let visitor = if children.is_empty() { quote!(_) } else { quote!(visitor) };
    let generics = with_bounds(input.generics, &children);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::cotangent::nn::Parameters for #name #type_generics #where_clause {
            fn visit(&self, #visitor: &mut ::cotangent::nn::Visitor<'_>) {
                #body
            }
        }
    })
}

/// A field that is visited.
struct Child {
    name: String,
    /// Where the name was written.
    name_span: Span,
    member: Member,
    ty: Type,
}

impl Child {
    /// Makes rustc's complaint about a type without `Parameters` point at that type in the user's code.
    fn span(&self) -> Span {
        Span::call_site().located_at(self.ty.span())
    }

    fn call(&self, value: TokenStream) -> TokenStream {
        let name = &self.name;
        quote_spanned! {self.span()=> visitor.child(#name, #value); }
    }
}

fn match_variants(data: &DataEnum, errors: &mut Errors) -> (Vec<Child>, TokenStream) {
    let mut all = Vec::new();
    let mut arms = Vec::new();
    for variant in &data.variants {
        errors.refuse_attributes(&variant.attrs);
        let children = errors.children(&variant.fields);
        let ident = &variant.ident;
        let members = children.iter().map(|child| &child.member);
        let bindings: Vec<Ident> =
            (0..children.len()).map(|k| format_ident!("child_{k}", span = Span::mixed_site())).collect();
        let calls = children.iter().zip(&bindings).map(|(child, binding)| {
            let mut value = binding.clone();
            value.set_span(Span::mixed_site().located_at(child.ty.span()));
            child.call(value.into_token_stream())
        });
        // `Variant { 0: child, .. }` is a pattern for tuple and unit variants too.
        arms.push(quote! { Self::#ident { #(#members: #bindings,)* .. } => { #(#calls)* } });
        all.extend(children);
    }
    let body = if arms.is_empty() { quote!(match *self {}) } else { quote!(match self { #(#arms)* }) };
    (all, body)
}

/// Everything that is wrong with a declaration, so that all of it is told at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn none(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }

    /// `#[parameters(..)]` says nothing about a whole type or variant.
    fn refuse_attributes(&mut self, attributes: &[Attribute]) {
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("parameters")) {
            self.push(Error::new_spanned(attribute, "`#[parameters(..)]` belongs before a field"));
        }
    }

    /// The fields to visit, each with a name of its own.
    fn children(&mut self, fields: &Fields) -> Vec<Child> {
        let mut children: Vec<Child> = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let child = match child(index, field) {
                Ok(Some(child)) => child,
                Ok(None) => continue,
                Err(error) => {
                    self.push(error);
                    continue;
                }
            };
            if let Some(first) = children.iter().find(|first| first.name == child.name) {
                let name = &child.name;
                let mut error = Error::new(child.name_span, format!("two children are named `{name}`"));
                error.combine(Error::new(first.name_span, format!("the first child named `{name}` is here")));
                self.push(error);
            }
            children.push(child);
        }
        children
    }
}

/// The child that a field is, `None` where it is skipped.
fn child(index: usize, field: &Field) -> Result<Option<Child>> {
    let keys = Keys::of(&field.attrs)?;
    if keys.skip {
        return Ok(None);
    }
    let (name, name_span, member) = match &field.ident {
        Some(ident) => (ident.unraw().to_string(), ident.span(), Member::Named(ident.clone())),
        None => (
            index.to_string(),
            field.ty.span(),
            Member::Unnamed(Index { index: index as u32, span: Span::call_site() }),
        ),
    };
    let (name, name_span) = match keys.rename {
        Some(rename) => (rename.value(), rename.span()),
        None => (name, name_span),
    };
    Ok(Some(Child { name, name_span, member, ty: field.ty.clone() }))
}

/// What `#[parameters(..)]` says about a field.
#[derive(Default)]
struct Keys {
    skip: bool,
    rename: Option<LitStr>,
}

impl Keys {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut keys = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("parameters")) {
            let mut found = false;
            if let syn::Meta::List(_) = attribute.meta {
                attribute.parse_nested_meta(|key| {
                    found = true;
                    keys.read(&key)
                })?;
            }
            if !found {
                return Err(Error::new_spanned(
                    attribute,
                    "`#[parameters]` says nothing, expected `#[parameters(skip)]` or `#[parameters(rename = \"…\")]`",
                ));
            }
        }
        if let (true, Some(rename)) = (keys.skip, &keys.rename) {
            return Err(Error::new(
                rename.span(),
                "a skipped field has no name: leave out `skip` or `rename`",
            ));
        }
        Ok(keys)
    }

    fn read(&mut self, key: &ParseNestedMeta<'_>) -> Result<()> {
        if key.path.is_ident("skip") {
            if !key.input.is_empty() && !key.input.peek(Token![,]) {
                return Err(key.error("`skip` takes no value"));
            }
            if self.skip {
                return Err(key.error("`skip` is given twice"));
            }
            self.skip = true;
            return Ok(());
        }
        if key.path.is_ident("rename") {
            if !key.input.peek(Token![=]) {
                return Err(key.error("`rename` needs a name: `rename = \"…\"`"));
            }
            let name: LitStr = key.value()?.parse()?;
            if self.rename.is_some() {
                return Err(key.error("`rename` is given twice"));
            }
            check_name(&name)?;
            self.rename = Some(name);
            return Ok(());
        }
        let found = key.path.to_token_stream().to_string().replace(' ', "");
        let help = match nearest(&found) {
            Some(known) => format!("; did you mean `{known}`?"),
            None => String::new(),
        };
        Err(key.error(format!("unknown key `{found}`, {EXPECTED}{help}")))
    }
}

fn check_name(name: &LitStr) -> Result<()> {
    let value = name.value();
    let wrong = match value.as_str() {
        "" => "the name of a child cannot be empty".to_string(),
        dotted if dotted.contains('.') => {
            format!("the name of a child is one part of a parameter's path, but `{dotted}` contains a dot")
        }
        _ => return Ok(()),
    };
    Err(Error::new(name.span(), wrong))
}

/// The known key that at most two edits, and less than half of its letters, turn into the one found.
fn nearest(found: &str) -> Option<&'static str> {
    ["skip", "rename"].into_iter().find(|known| {
        let edits = edit_distance(known, found);
        edits <= 2 && 2 * edits < known.len() + 1
    })
}

/// Levenshtein's distance, row by row.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Adds `T: Parameters` for each type parameter that occurs in a child, and for a child of type `T::Name` the
/// bound on that type itself.
fn with_bounds(mut generics: Generics, children: &[Child]) -> Generics {
    let parameters: Vec<Ident> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    let (projected, plain): (Vec<_>, Vec<_>) =
        children.iter().map(|child| &child.ty).partition(|ty| is_projection(ty, &parameters));
    let mut bounds: Vec<Type> = parameters
        .iter()
        .filter(|parameter| plain.iter().any(|ty| mentions(ty.to_token_stream(), parameter)))
        .map(|parameter| parse_quote!(#parameter))
        .collect();
    bounds.extend(projected.into_iter().cloned());
    if !bounds.is_empty() {
        let predicates = &mut generics.make_where_clause().predicates;
        for ty in bounds {
            predicates.push(parse_quote!(#ty: ::cotangent::nn::Parameters));
        }
    }
    generics
}

/// Is the type `T::Name` or `<T as Trait>::Name` of one of the parameters?
fn is_projection(ty: &Type, parameters: &[Ident]) -> bool {
    let Type::Path(path) = ty else { return false };
    match &path.qself {
        Some(of) => parameters.iter().any(|parameter| mentions(of.ty.to_token_stream(), parameter)),
        None => path.path.segments.len() > 1 && parameters.contains(&path.path.segments[0].ident),
    }
}

/// Does the identifier occur, other than as a lifetime or behind `::`?
fn mentions(tokens: TokenStream, ident: &Ident) -> bool {
    let mut before = [' ', ' '];
    for token in tokens {
        let mut last = ' ';
        match token {
            TokenTree::Ident(found) if found == *ident && before != [':', ':'] && before[1] != '\'' => {
                return true;
            }
            TokenTree::Group(group) if mentions(group.stream(), ident) => return true,
            TokenTree::Punct(punct) => last = punct.as_char(),
            _ => {}
        }
        before = [before[1], last];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(source: &str) -> String {
        let input = syn::parse_str(source).expect("the test's source is Rust");
        expand(input).expect("the declaration is right").to_string()
    }

    /// The messages, joined by " | ".
    fn refused(source: &str) -> String {
        let input = syn::parse_str(source).expect("the test's source is Rust");
        let errors = expand(input).expect_err("the declaration is wrong");
        errors.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn a_struct_visits_its_fields_in_order() {
        assert_eq!(
            expanded(
                "struct S { conv1: Conv2d, #[parameters(skip)] n: usize, #[parameters(rename = \"b\")] a: A }"
            ),
            quote! {
                #[automatically_derived]
                impl ::cotangent::nn::Parameters for S {
                    fn visit(&self, visitor: &mut ::cotangent::nn::Visitor<'_>) {
                        visitor.child("conv1", &self.conv1);
                        visitor.child("b", &self.a);
                    }
                }
            }
            .to_string()
        );
    }

    #[test]
    fn only_type_parameters_of_children_are_bound() {
        let code = expanded(
            "struct S<'T, T: Copy, U, V, W: Tr, const N: usize> where V: Clone {
                 a: &'T [Vec<U>; N], #[parameters(skip)] t: T, b: other::V, c: W::Out }",
        );
        let clause = code.split(" where ").nth(1).unwrap().split(" {").next().unwrap();
        let expected = quote!(
            V: Clone,
            U: ::cotangent::nn::Parameters,
            W::Out: ::cotangent::nn::Parameters
        );
        assert_eq!(clause, expected.to_string());
    }

    #[test]
    fn a_union_is_refused() {
        assert!(refused("union U { a: f32, b: u32 }").contains("for structs and enums"));
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        assert_eq!(
            refused("struct S { #[parameters(skp)] n: usize }"),
            "unknown key `skp`, expected `skip` or `rename = \"…\"`; did you mean `skip`?"
        );
        assert_eq!(
            refused("struct S { #[parameters(renam = \"x\")] n: usize }"),
            "unknown key `renam`, expected `skip` or `rename = \"…\"`; did you mean `rename`?"
        );
        assert_eq!(
            refused("struct S { #[parameters(frozen)] n: usize }"),
            "unknown key `frozen`, expected `skip` or `rename = \"…\"`"
        );
        assert_eq!(
            refused("struct S { #[parameters(serde::skip)] n: usize }"),
            "unknown key `serde::skip`, expected `skip` or `rename = \"…\"`"
        );
    }

    #[test]
    fn an_attribute_that_says_nothing_or_too_much_is_refused() {
        for empty in ["#[parameters]", "#[parameters()]", "#[parameters = \"skip\"]"] {
            assert!(refused(&format!("struct S {{ {empty} n: A }}")).contains("says nothing"), "{empty}");
        }
        let of = |attributes: &str| refused(&format!("struct S {{ {attributes} n: A }}"));
        assert_eq!(of("#[parameters(skip = true)]"), "`skip` takes no value");
        assert_eq!(of("#[parameters(skip, skip)]"), "`skip` is given twice");
        assert_eq!(of("#[parameters(skip)] #[parameters(skip)]"), "`skip` is given twice");
        assert_eq!(of("#[parameters(rename)]"), "`rename` needs a name: `rename = \"…\"`");
        assert_eq!(of("#[parameters(rename(\"a\"))]"), "`rename` needs a name: `rename = \"…\"`");
        assert_eq!(of("#[parameters(rename = 3)]"), "expected string literal");
        assert_eq!(of("#[parameters(rename = \"a\", rename = \"b\")]"), "`rename` is given twice");
        assert!(of("#[parameters(skip, rename = \"a\")]").contains("leave out `skip` or `rename`"));
    }

    #[test]
    fn an_attribute_before_a_type_or_variant_is_refused() {
        assert_eq!(refused("#[parameters(skip)] struct S;"), "`#[parameters(..)]` belongs before a field");
        assert_eq!(
            refused("enum E { #[parameters(rename = \"a\")] V(A) }"),
            "`#[parameters(..)]` belongs before a field"
        );
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(
            refused("struct S { #[parameters(rename = \"\")] a: A }"),
            "the name of a child cannot be empty"
        );
        assert_eq!(
            refused("struct S { #[parameters(rename = \"conv.1\")] a: A }"),
            "the name of a child is one part of a parameter's path, but `conv.1` contains a dot"
        );
    }

    #[test]
    fn two_children_of_one_name_are_refused() {
        let twice = "two children are named `a` | the first child named `a` is here";
        assert_eq!(refused("struct S { a: A, #[parameters(rename = \"a\")] b: A }"), twice);
        assert_eq!(refused("struct S { #[parameters(rename = \"a\")] b: A, r#a: A }"), twice);
        assert!(refused("struct S(#[parameters(rename = \"1\")] A, A);").contains("named `1`"));
        assert!(refused("enum E { V { a: A, #[parameters(rename = \"a\")] b: A } }").contains("named `a`"));
        // A skipped field has no name, and variants do not share theirs.
        expanded("struct S { #[parameters(skip)] a: A, #[parameters(rename = \"a\")] b: A }");
        expanded("enum E { V { a: A }, W { a: A } }");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        assert_eq!(
            refused("struct S { #[parameters(skp)] a: A, #[parameters(rename = \"\")] b: A }")
                .split(" | ")
                .count(),
            2
        );
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in
            [("", "", 0), ("skip", "skip", 0), ("skip", "skp", 1), ("rename", "name", 2), ("ab", "ba", 2)]
        {
            assert_eq!((edit_distance(a, b), edit_distance(b, a)), (edits, edits), "{a} {b}");
        }
    }
}
