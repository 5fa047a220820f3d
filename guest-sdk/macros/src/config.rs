//! `#[derive(Config)]`: serde's and schemars' derives through the SDK's re-exports.
//!
//! A derive can't add another derive to its item, so the item is copied into a
//! hidden twin that serde derives "remotely" for the original: the author needs
//! neither crate in `Cargo.toml`. Owns that expansion; never reads a configuration.

use crate::doc;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Fields, LitStr, Result, parse_quote};

/// The derive's output, or a compile error in its place.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    syn::parse2(item).and_then(|item| derive(&item)).unwrap_or_else(Error::into_compile_error)
}

fn derive(item: &DeriveInput) -> Result<TokenStream> {
    check(item)?;
    let name = &item.ident;
    let text = LitStr::new(&name.to_string(), name.span());
    let summary = doc::summary(&item.attrs);
    // Only named fields can be unknown; serde refuses the attribute elsewhere.
    let says_itself =
        ["transparent", "deny_unknown_fields"].iter().any(|flag| has_flag(&item.attrs, flag));
    let strict =
        (has_named_fields(&item.data) && !says_itself).then(|| quote! { , deny_unknown_fields });

    let mut twin = item.clone();
    twin.vis = syn::Visibility::Inherited;
    twin.ident = syn::Ident::new("__Twin", name.span());
    keep_helpers(&mut twin.attrs);
    match &mut twin.data {
        Data::Struct(data) => {
            data.fields.iter_mut().for_each(|field| keep_helpers(&mut field.attrs))
        }
        Data::Enum(data) => {
            for variant in &mut data.variants {
                keep_helpers(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| keep_helpers(&mut field.attrs));
            }
        }
        // Refused by `check`.
        Data::Union(_) => {}
    }
    // A derive's helper attributes come after it.
    twin.attrs.insert(
        0,
        parse_quote! {
            #[derive(::hookmill_sdk::__private::serde::Deserialize, ::hookmill_sdk::__private::schemars::JsonSchema)]
        },
    );
    twin.attrs.push(parse_quote! {
        #[serde(crate = "::hookmill_sdk::__private::serde", remote = #text #strict)]
    });
    twin.attrs.push(parse_quote! {
        #[schemars(crate = "::hookmill_sdk::__private::schemars", rename = #text)]
    });

    let twin_default = twin_default(item)?;
    Ok(quote! {
        const _: () = {
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            #twin
            #twin_default

            impl<'de> ::hookmill_sdk::__private::serde::Deserialize<'de> for #name {
                fn deserialize<D>(deserializer: D) -> ::core::result::Result<Self, D::Error>
                where
                    D: ::hookmill_sdk::__private::serde::Deserializer<'de>,
                {
                    __Twin::deserialize(deserializer)
                }
            }

            impl ::hookmill_sdk::__private::schemars::JsonSchema for #name {
                fn schema_name() -> ::std::borrow::Cow<'static, str> {
                    <__Twin as ::hookmill_sdk::__private::schemars::JsonSchema>::schema_name()
                }
                fn schema_id() -> ::std::borrow::Cow<'static, str> {
                    ::std::borrow::Cow::Borrowed(::core::concat!(::core::module_path!(), "::", #text))
                }
                fn json_schema(
                    generator: &mut ::hookmill_sdk::__private::schemars::SchemaGenerator,
                ) -> ::hookmill_sdk::__private::schemars::Schema {
                    <__Twin as ::hookmill_sdk::__private::schemars::JsonSchema>::json_schema(generator)
                }
            }

            impl ::hookmill_sdk::Config for #name {
                const SUMMARY: &'static str = #summary;
            }
        };
    })
}

/// With `#[serde(default)]` on the struct, both derives want the twin's default: it is
/// the original's, moved over.
fn twin_default(item: &DeriveInput) -> Result<TokenStream> {
    if !has_flag(&item.attrs, "default") {
        return Ok(TokenStream::new());
    }
    let Data::Struct(syn::DataStruct { fields: Fields::Named(fields), .. }) = &item.data else {
        return Err(Error::new_spanned(
            &item.ident,
            "`#[serde(default)]` goes on a struct with named fields",
        ));
    };
    let name = &item.ident;
    let fields: Vec<_> = fields.named.iter().filter_map(|field| field.ident.as_ref()).collect();
    Ok(quote! {
        impl ::core::default::Default for __Twin {
            fn default() -> Self {
                let #name { #(#fields),* } = <#name as ::core::default::Default>::default();
                __Twin { #(#fields),* }
            }
        }
    })
}

fn check(item: &DeriveInput) -> Result<()> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "a configuration has no type parameters or lifetimes: it owns plain values read from JSON",
        ));
    }
    let fields: Vec<&syn::Field> = match &item.data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data.variants.iter().flat_map(|variant| &variant.fields).collect(),
        Data::Union(_) => {
            return Err(Error::new_spanned(&item.ident, "a configuration is a struct or an enum"));
        }
    };
    match fields.into_iter().find(|field| has_flag(&field.attrs, "flatten")) {
        Some(field) => Err(Error::new_spanned(
            field,
            "`flatten` doesn't work here: a configuration refuses fields it doesn't know, and serde can't do both",
        )),
        None => Ok(()),
    }
}

/// Leaves the attributes that mean something to the twin's derives; `#[default]`, for
/// one, belongs to another.
fn keep_helpers(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| {
        ["cfg", "doc", "serde", "schemars"].iter().any(|kept| attribute.path().is_ident(kept))
    });
}

fn has_named_fields(data: &Data) -> bool {
    match data {
        Data::Struct(data) => matches!(data.fields, Fields::Named(_)),
        Data::Enum(data) => {
            data.variants.iter().any(|variant| matches!(variant.fields, Fields::Named(_)))
        }
        Data::Union(_) => false,
    }
}

/// Whether one of the `#[serde(...)]` attributes has this word at its top level.
fn has_flag(attributes: &[Attribute], flag: &str) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("serde")).any(|attribute| {
        let mut found = false;
        let read = attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident(flag);
            // Values are serde's business; skip them.
            if let Ok(value) = meta.value() {
                value.parse::<syn::Expr>()?;
            } else if meta.input.peek(syn::token::Paren) {
                let skipped;
                syn::parenthesized!(skipped in meta.input);
                skipped.parse::<TokenStream>()?;
            }
            Ok(())
        });
        // What can't be read here is reported by serde's own derive.
        found && read.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::expand;
    use quote::quote;

    #[test]
    fn refuses_unknown_fields_of_a_struct() {
        let output = expand(quote! { struct C { a: f64 } }).to_string();
        assert!(output.contains("deny_unknown_fields"), "{output}");
        assert!(output.contains("remote = \"C\""), "{output}");
    }

    #[test]
    fn leaves_tuple_structs_and_transparent_ones_alone() {
        for item in
            [quote! { struct C(f64); }, quote! { #[serde(transparent)] struct C { a: f64 } }]
        {
            let output = expand(item).to_string();
            assert!(!output.contains("deny_unknown_fields"), "{output}");
        }
    }

    #[test]
    fn other_derives_attributes_stay_behind() {
        let output =
            expand(quote! { enum C { #[default] #[serde(rename = "x")] A, B } }).to_string();
        assert!(!output.contains("default") && output.contains("rename = \"x\""), "{output}");
    }

    #[test]
    fn says_what_a_configuration_cannot_be() {
        for (item, message) in [
            (quote! { struct C<T> { a: T } }, "no type parameters"),
            (quote! { union C { a: u8 } }, "a struct or an enum"),
            (
                quote! { struct C { #[serde(default, flatten)] a: D } },
                "`flatten` doesn't work here",
            ),
        ] {
            let output = expand(item).to_string();
            assert!(output.contains("compile_error") && output.contains(message), "{output}");
        }
    }
}
