//! What values there may be, and arrays of them: types, numbers, texts, items.

use serde_json::{Map, Value};

use super::{
    Comparison,
    document::{Place, REFERENCES, mentions},
    narrow::{Narrow, Types},
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
            if members.contains_key(keyword) && !narrow.has_same(keyword, &members[keyword]) {
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
            let Some(bound) = bound.as_f64() else {
                self.report(
                    false,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("`{keyword}` is not looked into"),
                );
                continue;
            };
            let lower = keyword.ends_with("inimum");
            let within = |value: f64, proper: bool| {
                if lower {
                    value > bound || (value == bound && !proper)
                } else {
                    value < bound || (value == bound && !proper)
                }
            };
            // A bound that is itself allowed is no bound that excludes it.
            let proper = keyword == strict;
            let plain = if lower { "minimum" } else { "maximum" };
            let implied = narrow.numbers(plain).any(|value| within(value, proper))
                || narrow.numbers(strict).any(|value| within(value, false));
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("numbers beyond `{keyword}` {bound} may be here"),
                );
            }
        }
        if let Some(step) = members.get("multipleOf") {
            let whole = step.as_f64() == Some(1.0) && !narrow.types().has_fractions();
            let implied = whole
                || narrow.all("multipleOf").any(|own| match (own.as_i64(), step.as_i64()) {
                    (Some(own), Some(step)) => step > 0 && own % step == 0,
                    _ => own == step,
                });
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
            if !narrow.has_same(keyword, wanted) {
                // Two patterns may accept the same; none accepts everything.
                let certain = narrow.all(keyword).next().is_none();
                self.report(
                    certain,
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
            let Some(bound) = members.get(keyword).and_then(Value::as_f64) else { continue };
            let mut own = narrow.numbers(keyword);
            let implied = if lower {
                bound <= 0.0 || own.any(|own| own >= bound)
            } else {
                own.any(|own| own <= bound)
            };
            if !implied {
                self.report(
                    true,
                    at,
                    &format!("{}/{keyword}", wide.at),
                    format!("`{keyword}` is stricter: {bound}"),
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
            && !narrow.has_same("uniqueItems", &Value::Bool(true))
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
                if narrow.has_same("items", items) && !mentions(items, &REFERENCES) => {}
            Some(Value::Array(_)) => self.report(
                false,
                at,
                &format!("{}/items", wide.at),
                "a list of schemas for items is not looked into",
            ),
            Some(items) => self.check_inside(narrow.items(), &wide.under("items", items)),
        }
    }
}
