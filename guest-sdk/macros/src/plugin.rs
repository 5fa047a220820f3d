//! `#[filter]` and `#[transform]`: the function stays as it is, and beside it
//! appears what the component model needs.
//!
//! Owns the checks of the function's shape and the exported glue. Never changes the
//! author's function, so that tests call it like any other.

use crate::{args, doc};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, Item, ItemFn, LitStr, Result, ReturnType, Type};

/// Which of the two worlds a function lives in.
#[derive(Clone, Copy)]
pub(crate) enum World {
    Filter,
    Transform,
}

impl World {
    fn word(self) -> &'static str {
        match self {
            World::Filter => "filter",
            World::Transform => "transform",
        }
    }

    fn answer(self) -> &'static str {
        match self {
            World::Filter => "Verdict",
            World::Transform => "Outcome",
        }
    }

    fn signature(self) -> String {
        format!("fn name(event: &Event, config: YourConfig) -> Result<{}>", self.answer())
    }
}

/// The attribute's output. On a mistake the function is kept beside the error, so
/// that the compiler does not also complain that it is missing.
pub(crate) fn expand(world: World, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let glue = args::parse(arguments)
        .and_then(|arguments| Ok((arguments, function(world, &item)?)))
        .and_then(|(arguments, function)| glue(world, &arguments, &function));
    let mut output = match &glue {
        // The configuration is the function's own, whether or not it takes it apart.
        Ok(_) => {
            quote! { #[allow(clippy::needless_pass_by_value, reason = "the configuration is handed over")] }
        }
        Err(_) => TokenStream::new(),
    };
    output.extend(item);
    output.extend(glue.unwrap_or_else(Error::into_compile_error));
    output
}

fn function(world: World, item: &TokenStream) -> Result<ItemFn> {
    let word = world.word();
    let item: Item = syn::parse2(item.clone())?;
    let Item::Fn(function) = item else {
        return Err(Error::new(
            item.span(),
            format!("#[{word}] goes on a function: {}", world.signature()),
        ));
    };
    let signature = &function.sig;
    let refused = [
        (
            signature.asyncness.map(|token| token.span()),
            "a plugin runs from start to end in one call: remove `async`",
        ),
        (
            unsafe_span(&signature.safety),
            "the plugin's function is called by safe code: remove `unsafe`",
        ),
        (
            signature.abi.as_ref().map(Spanned::span),
            "the plugin's function is an ordinary Rust function: remove `extern`",
        ),
        (
            signature.generics.lt_token.map(|token| token.span()),
            "the plugin's function has no type parameters or lifetimes",
        ),
    ];
    for (span, message) in refused {
        if let Some(span) = span {
            return Err(Error::new(span, message));
        }
    }
    if matches!(signature.output, ReturnType::Default) {
        let message = format!("a {word} answers: add `-> Result<{}>`", world.answer());
        return Err(Error::new(signature.paren_token.span.close(), message));
    }
    Ok(function)
}

fn unsafe_span(safety: &syn::Safety) -> Option<Span> {
    match safety {
        syn::Safety::Unsafe(token) => Some(token.span()),
        _ => None,
    }
}

/// The configuration's type, if the function takes one.
fn config_type(world: World, function: &ItemFn) -> Result<Option<&Type>> {
    let signature = &function.sig;
    let expected = world.signature();
    let mut types = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Typed(argument) => types.push((&*argument.ty, argument.span())),
            FnArg::Receiver(receiver) => {
                let message =
                    format!("the plugin's function stands alone, without `self`: {expected}");
                return Err(Error::new(receiver.span(), message));
            }
        }
    }
    let config = match types.as_slice() {
        [] => {
            let message = format!("the event is missing: {expected}");
            return Err(Error::new(signature.paren_token.span.join(), message));
        }
        [_] => None,
        [_, (config, _)] => Some(*config),
        [_, _, (_, extra), ..] => {
            let message = format!("only an event and a configuration are handed over: {expected}");
            return Err(Error::new(*extra, message));
        }
    };
    if !matches!(types[0].0, Type::Reference(reference) if reference.mutability.is_none()) {
        return Err(Error::new(
            types[0].1,
            format!("the event is lent: write `event: &Event`, as in {expected}"),
        ));
    }
    if let Some(Type::Reference(reference)) = config {
        return Err(Error::new(
            reference.span(),
            "the configuration is handed over, read afresh for every run: take it by value, without `&`",
        ));
    }
    Ok(config)
}

fn glue(world: World, arguments: &args::Args, function: &ItemFn) -> Result<TokenStream> {
    let config = match config_type(world, function)? {
        Some(config) => quote! { #config },
        None => quote! { ::hookmill_sdk::NoConfig },
    };
    let takes_config = function.sig.inputs.len() == 2;
    let plugin = &function.sig.ident;
    let answer = Ident::new(world.answer(), Span::call_site());
    let export = Ident::new(world.word(), Span::call_site());
    let run = Ident::new(&format!("run_{}", world.word()), Span::call_site());
    let name = name(world, arguments)?;
    let version = or_package(arguments.version.as_ref(), "CARGO_PKG_VERSION");
    let summary = match &arguments.summary {
        Some(summary) => summary.value(),
        None => doc::summary(&function.attrs),
    };
    let event_types = &arguments.event_types;
    // The author's types, so that a mismatch is reported on the function.
    let (parameters, call) = if takes_config {
        (quote! { &::hookmill_sdk::Event, #config }, quote! { #plugin })
    } else {
        (
            quote! { &::hookmill_sdk::Event },
            quote! { |event, _: ::hookmill_sdk::NoConfig| #plugin(event) },
        )
    };
    // Said natively too, and about the argument.
    let is_config = quote_spanned! { config.span() =>
        const _: () = {
            const fn is_config<C: ::hookmill_sdk::Config>() {}
            is_config::<#config>()
        };
    };
    Ok(quote! {
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        struct __hookmill_one_plugin_per_crate;

        const _: fn(#parameters) -> ::hookmill_sdk::Result<::hookmill_sdk::#answer> = #plugin;
        #is_config

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, clippy::all, clippy::pedantic)]
        const _: () = {
            use ::hookmill_sdk::__private as __sdk;
            struct __Plugin;
            impl __sdk::#export::Guest for __Plugin {
                fn #export(
                    event: &__sdk::#export::Event,
                    config: ::std::string::String,
                ) -> ::core::result::Result<__sdk::#export::#answer, __sdk::#export::Fault> {
                    __sdk::#run::<#config>(event, &config, #call)
                }
                fn describe() -> __sdk::#export::Manifest {
                    __sdk::manifest::<#config>(#name, #version, #summary, &[#(#event_types),*])
                }
            }
            __sdk::#export::export!(__Plugin with_types_in __sdk::#export);
        };
    })
}

/// The plugin's name: the one given, or the package's if it can be one.
fn name(world: World, arguments: &args::Args) -> Result<TokenStream> {
    if arguments.name.is_none()
        && let Ok(package) = std::env::var("CARGO_PKG_NAME")
        && let Some(problem) = args::name_problem(&package)
    {
        let message =
            format!("{problem}; rename the package or write #[{}(name = \"...\")]", world.word());
        return Err(Error::new(Span::call_site(), message));
    }
    Ok(or_package(arguments.name.as_ref(), "CARGO_PKG_NAME"))
}

fn or_package(given: Option<&LitStr>, variable: &str) -> TokenStream {
    match given {
        Some(given) => quote! { #given },
        None => quote! { ::core::env!(#variable) },
    }
}

#[cfg(test)]
mod tests {
    use super::{World, expand};
    use proc_macro2::TokenStream;
    use quote::quote;

    fn filter(item: TokenStream) -> String {
        expand(World::Filter, TokenStream::new(), item).to_string()
    }

    #[test]
    fn keeps_the_function_and_adds_the_export() {
        let output =
            filter(quote! { fn f(event: &Event, config: C) -> Result<Verdict> { body() } });
        assert!(
            output
                .contains("fn f (event : & Event , config : C) -> Result < Verdict > { body () }"),
            "{output}"
        );
        assert!(output.contains("__sdk :: filter :: export !"), "{output}");
        assert!(!output.contains("compile_error"), "{output}");
    }

    #[test]
    fn without_a_configuration_uses_the_empty_one() {
        let output = filter(quote! { fn f(event: &Event) -> Result<Verdict> { Ok(pass()) } });
        assert!(output.contains("hookmill_sdk :: NoConfig"), "{output}");
        assert!(!output.contains("compile_error"), "{output}");
    }

    #[test]
    fn arguments_reach_the_manifest() {
        let output = expand(
            World::Transform,
            quote! { name = "n", version = "9.9.9", summary = "S", event_types = ["a.*"] },
            quote! { fn f(event: &Event) -> Result<Outcome> { Ok(pass()) } },
        )
        .to_string();
        assert!(output.contains(r#"("n" , "9.9.9" , "S" , & ["a.*"])"#), "{output}");
    }

    #[test]
    fn says_what_is_wrong_with_the_function() {
        for (item, message) in [
            (quote! { struct S; }, "#[filter] goes on a function"),
            (quote! { async fn f(event: &Event) -> Result<Verdict> {} }, "remove `async`"),
            (quote! { unsafe fn f(event: &Event) -> Result<Verdict> {} }, "remove `unsafe`"),
            (quote! { extern "C" fn f(event: &Event) -> Result<Verdict> {} }, "remove `extern`"),
            (quote! { fn f<T>(event: &Event) -> Result<Verdict> {} }, "no type parameters"),
            (quote! { fn f(event: &Event) {} }, "add `-> Result<Verdict>`"),
            (quote! { fn f() -> Result<Verdict> {} }, "the event is missing"),
            (quote! { fn f(self) -> Result<Verdict> {} }, "without `self`"),
            (quote! { fn f(event: Event) -> Result<Verdict> {} }, "write `event: &Event`"),
            (quote! { fn f(event: &Event, c: &C) -> Result<Verdict> {} }, "take it by value"),
            (
                quote! { fn f(event: &Event, c: C, d: D) -> Result<Verdict> {} },
                "only an event and a configuration",
            ),
        ] {
            let output = filter(item);
            assert!(output.contains("compile_error"), "{output}");
            assert!(output.contains(message), "expected {message:?} in {output}");
        }
    }

    #[test]
    fn a_mistake_in_the_arguments_keeps_the_function() {
        let output = expand(World::Filter, quote! { colour = "red" }, quote! { fn f() {} });
        assert!(output.to_string().starts_with("fn f () { }"));
    }
}
