//! Reads doc comments. Owns joining them into one line of text; never changes them.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The first paragraph of an item's doc comment on one line; empty without one.
pub(crate) fn summary(attributes: &[Attribute]) -> String {
    let mut summary = String::new();
    for attribute in attributes {
        let Some(line) = doc_line(attribute) else { continue };
        // A block comment is one attribute of several lines.
        for line in line.split('\n') {
            let line = line.trim().trim_start_matches('*').trim();
            if line.is_empty() {
                if summary.is_empty() {
                    continue;
                }
                return summary;
            }
            if !summary.is_empty() {
                summary.push(' ');
            }
            summary.push_str(line);
        }
    }
    summary
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    if !meta.path.is_ident("doc") {
        return None;
    }
    match &meta.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::summary;
    use syn::{ItemFn, parse_quote};

    #[test]
    fn takes_the_first_paragraph_as_one_line() {
        let item: ItemFn = parse_quote! {
            /// Passes orders
            /// at or above a total.
            ///
            /// More for those who read on.
            fn f() {}
        };
        assert_eq!(summary(&item.attrs), "Passes orders at or above a total.");
    }

    #[test]
    fn is_empty_without_a_comment() {
        let item: ItemFn = parse_quote! { #[inline] fn f() {} };
        assert_eq!(summary(&item.attrs), "");
    }
}
