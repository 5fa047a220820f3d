//! What values there may be, and arrays of them: types, numbers, texts, items.

use std::cmp::Ordering::{Equal, Greater, Less};

use serde_json::{Map, Value};

use super::{
    Comparison,
    document::Place,
    exact::Exact,
    narrow::{Narrow, Types},
    witness::Step,
};

impl<'a> Comparison<'a> {
    pub(super) fn types(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if members.contains_key("type") {
            let lost = narrow.types().without(Types::of(members));
            if !lost.is_empty() {
                self.report(
                    true,
                    at,
                    &format!("{}/type", wide.at),
                    format!("{lost} may be here, and is not accepted"),
                );
            }
        }
        for keyword in ["enum", "const"] {
            // Draft 4 has no `const`.
            let Some(wanted) = members.get(keyword) else { continue };
            let counts = keyword == "enum" || !self.wide.is_draft_4;
            if counts && !self.has_same(narrow, keyword, wanted) {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("other values than `{keyword}` lists may be here"),
                );
            }
        }
    }

    pub(super) fn numbers(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_numbers() {
            return;
        }
        for (keyword, strict) in [
            ("minimum", "exclusiveMinimum"),
            ("exclusiveMinimum", "exclusiveMinimum"),
            ("maximum", "exclusiveMaximum"),
            ("exclusiveMaximum", "exclusiveMaximum"),
        ] {
            let Some(bound) = members.get(keyword) else { continue };
            // In draft 4 this is a word on `minimum`, told with it.
            let Some(bound) = Exact::of(bound) else {
                self.report(
                    false,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("`{keyword}` is not looked into"),
                );
                continue;
            };
            let lower = keyword.ends_with("inimum");
            let within = |value: Exact, proper: bool| match value.order(bound) {
                Equal => !proper,
                Greater => lower,
                Less => !lower,
            };
            // A bound that is itself allowed is no bound that excludes it.
            let proper = keyword == strict;
            let plain = if lower { "minimum" } else { "maximum" };
            let own = narrow.numbers(plain).map(|value| (value, false));
            let mut own = own.chain(narrow.numbers(strict).map(|value| (value, true)));
            let whole = !narrow.types().has_fractions();
            let implied = own.any(|(value, excluded)| match (whole, lower) {
                (true, true) => within(value.whole_from(excluded), proper),
                (true, false) => within(value.whole_to(excluded), proper),
                (false, _) => within(value, proper && !excluded),
            });
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("numbers beyond `{keyword}` {} may be here", members[keyword]),
                );
            }
        }
        if let Some(step) = members.get("multipleOf") {
            let whole = Exact::of(step).is_some_and(|step| step.float() == 1.0)
                && !narrow.types().has_fractions();
            let implied = whole || narrow.all("multipleOf").any(|own| is_multiple(own, step));
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/multipleOf", wide.at),
                    format!("numbers that are no multiple of {step} may be here"),
                );
            }
        }
    }

    pub(super) fn strings(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_strings() {
            return;
        }
        self.counted(narrow, at, wide, members, ["minLength", "maxLength"]);
        for keyword in ["pattern", "format", "contentEncoding", "contentMediaType"] {
            let Some(wanted) = members.get(keyword) else { continue };
            if !self.has_same(narrow, keyword, wanted) {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("texts that are not of `{keyword}` {wanted} may be here"),
                );
            }
        }
    }

    /// Bounds on how many there are of something.
    pub(super) fn counted(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
        [least, most]: [&str; 2],
    ) {
        for (keyword, lower) in [(least, true), (most, false)] {
            let Some(bound) = members.get(keyword).and_then(Exact::of) else { continue };
            let mut own = narrow.numbers(keyword).map(|own| own.order(bound));
            let implied = if lower {
                let required = keyword == "minProperties";
                let there = if required { narrow.required().len() as i128 } else { 0 };
                bound.order(Exact::Whole(there)) != Greater || own.any(|order| order != Less)
            } else {
                own.any(|order| order != Greater)
            };
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("`{keyword}` is stricter: {}", members[keyword]),
                );
            }
        }
    }

    pub(super) fn arrays(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_arrays() {
            return;
        }
        self.counted(narrow, at, wide, members, ["minItems", "maxItems"]);
        if members.get("uniqueItems") == Some(&Value::Bool(true))
            && !narrow.all("uniqueItems").any(|own| *own == Value::Bool(true))
            && !narrow.numbers("maxItems").any(|most| most.float() <= 1.0)
        {
            self.report(
                true,
                at,
                &format!("{}/uniqueItems", wide.at),
                "the same item may be here twice",
            );
        }
        match members.get("items") {
            None => {}
            Some(items @ Value::Array(_))
                if narrow.all("items").any(|own| self.same(own, items)) => {}
            Some(Value::Array(_)) => self.report(
                false,
                at,
                &format!("{}/items", wide.at),
                "a list of schemas for items is not looked into",
            ),
            Some(items) => {
                self.check_inside(Step::Item, narrow.items(), &wide.under("items", items))
            }
        }
    }
}

/// Whether every multiple of `own` surely is one of `step`. What is not whole is divided in
/// floating point when instances are checked: only halves, quarters and so on are exact there.
fn is_multiple(own: &Value, step: &Value) -> bool {
    if own == step {
        return true;
    }
    let small = |whole: i128| whole.unsigned_abs() < 1 << 40;
    match (Exact::of(own), Exact::of(step)) {
        (Some(Exact::Whole(own)), Some(Exact::Whole(step))) => {
            step > 0 && small(own) && small(step) && own % step == 0
        }
        (Some(Exact::Whole(own)), Some(Exact::Float(step))) => {
            let parts = step * 1_024.0;
            parts > 0.0
                && parts.fract() == 0.0
                && parts < 1e9
                && small(own)
                && (own << 10) % (parts as i128) == 0
        }
        _ => false,
    }
}
