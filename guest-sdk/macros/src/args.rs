//! The arguments of `#[filter(...)]` and `#[transform(...)]`.
//!
//! Owns their syntax and the checks that need no more than the text. Never looks at
//! the function.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitStr, Result, Token, bracketed};

/// What an author may override in the manifest.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) name: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) summary: Option<LitStr>,
    pub(crate) event_types: Vec<LitStr>,
}

/// Reads and checks the arguments.
pub(crate) fn parse(tokens: TokenStream) -> Result<Args> {
    syn::parse2(tokens)
}

impl Parse for Args {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut args = Args::default();
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            if seen.iter().any(|earlier| key == earlier) {
                return Err(Error::new(key.span(), format!("`{key}` is given twice")));
            }
            seen.push(key.to_string());
            input.parse::<Token![=]>()?;
            match seen.last().map(String::as_str) {
                Some("name") => args.name = Some(checked(input, name_problem)?),
                Some("version") => args.version = Some(input.parse()?),
                Some("summary") => args.summary = Some(input.parse()?),
                Some("event_types") => args.event_types = event_types(input)?,
                _ => {
                    return Err(Error::new(
                        key.span(),
                        format!(
                            "there is no argument `{key}`: expected `name`, `version`, `summary` or `event_types`"
                        ),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(args)
    }
}

fn event_types(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let list;
    bracketed!(list in input);
    let list = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
    for pattern in &list {
        if let Some(problem) = pattern_problem(&pattern.value()) {
            return Err(Error::new(pattern.span(), problem));
        }
    }
    Ok(list.into_iter().collect())
}

fn checked(input: ParseStream<'_>, problem: fn(&str) -> Option<String>) -> Result<LitStr> {
    let text: LitStr = input.parse()?;
    match problem(&text.value()) {
        Some(problem) => Err(Error::new(text.span(), problem)),
        None => Ok(text),
    }
}

/// Why a text can't be a plugin's name, if it can't.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits {
        return None;
    }
    Some(format!(
        "`{name}` can't be a plugin's name: it must be 1 to 64 lower-case letters, digits and hyphens"
    ))
}

fn pattern_problem(pattern: &str) -> Option<String> {
    let fits = !pattern.is_empty()
        && pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte));
    if fits {
        return None;
    }
    Some(format!(
        "`{pattern}` is not an event type pattern: expected a name such as `order.created`, or `order.*`"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Args, parse};
    use quote::quote;

    fn problem(tokens: proc_macro2::TokenStream) -> String {
        match parse(tokens) {
            Ok(_) => "no problem".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn reads_every_argument() {
        let Args { name, version, summary, event_types } = match parse(quote! {
            name = "big-orders", version = "2.0.0", summary = "Big ones.", event_types = ["order.*", "invoice.paid"],
        }) {
            Ok(args) => args,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(name.map(|text| text.value()).as_deref(), Some("big-orders"));
        assert_eq!(version.map(|text| text.value()).as_deref(), Some("2.0.0"));
        assert_eq!(summary.map(|text| text.value()).as_deref(), Some("Big ones."));
        let event_types: Vec<String> = event_types.iter().map(syn::LitStr::value).collect();
        assert_eq!(event_types, ["order.*", "invoice.paid"]);
    }

    #[test]
    fn names_an_unknown_argument_and_what_there_is() {
        assert_eq!(
            problem(quote! { nmae = "x" }),
            "there is no argument `nmae`: expected `name`, `version`, `summary` or `event_types`"
        );
    }

    #[test]
    fn refuses_a_bad_name_pattern_or_repetition() {
        assert!(
            problem(quote! { name = "Big Orders" })
                .contains("lower-case letters, digits and hyphens")
        );
        assert!(
            problem(quote! { event_types = ["order created"] })
                .contains("not an event type pattern")
        );
        assert_eq!(problem(quote! { name = "a", name = "b" }), "`name` is given twice");
    }
}
