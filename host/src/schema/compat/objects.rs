//! Objects: which members there may be, must be, and what they satisfy.

use serde_json::{Map, Value};

use std::collections::HashSet;

use super::{Comparison, Narrow, Place, witness::Step};

impl<'a> Narrow<'a> {
    /// What the member `name` satisfies, if it is there.
    pub(super) fn member(&self, name: &str) -> Vec<Place<'a>> {
        self.each()
            .filter_map(|(place, members)| {
                let own = members.get("properties").and_then(|all| all.get(name));
                match own {
                    Some(schema) => Some(place.named("properties", name, schema)),
                    None => others(place, members),
                }
            })
            .collect()
    }

    /// What members satisfy that no schema names.
    pub(super) fn other_members(&self) -> Vec<Place<'a>> {
        self.each().filter_map(|(place, members)| others(place, members)).collect()
    }

    /// The names of members that must be there.
    pub(super) fn required(&self) -> HashSet<&'a str> {
        let lists = self.all("required").filter_map(Value::as_array);
        lists.flatten().filter_map(Value::as_str).collect()
    }
}

/// Patterns may take names out of what is additional.
fn others<'a>(place: &Place<'a>, members: &'a Map<String, Value>) -> Option<Place<'a>> {
    if members.contains_key("patternProperties") {
        return None;
    }
    members.get("additionalProperties").map(|schema| place.under("additionalProperties", schema))
}

impl<'a> Comparison<'a> {
    pub(super) fn objects(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        if !narrow.types().has_objects() {
            return;
        }
        self.counted(narrow, at, wide, members, ["minProperties", "maxProperties"]);
        let required = members.get("required").and_then(Value::as_array);
        let present = narrow.required();
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !present.contains(name) {
                self.report(
                    true,
                    at,
                    &format!("{}/required", wide.at),
                    format!("`{name}` is required here, and may be missing"),
                );
            }
        }
        let properties = members.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            let step = Step::Member(name.clone());
            self.check_inside(step, narrow.member(name), &wide.named("properties", name, schema));
        }
        self.patterns(narrow, at, wide, members);
        if let Some(additional) = members.get("additionalProperties") {
            let place = wide.under("additionalProperties", additional);
            let mut named: Vec<&'a String> = narrow
                .all("properties")
                .filter_map(Value::as_object)
                .flat_map(Map::keys)
                .filter(|name| properties.is_none_or(|known| !known.contains_key(*name)))
                .collect();
            named.sort_unstable();
            named.dedup();
            if !self.spend(named.len() as u64) {
                // The next step says so.
                named.clear();
            }
            for name in named {
                self.check_inside(Step::Member(name.clone()), narrow.member(name), &place);
            }
            self.check_inside(Step::Other, narrow.other_members(), &place);
        }
    }

    fn patterns(
        &mut self,
        narrow: &Narrow<'a>,
        at: &str,
        wide: &Place<'a>,
        members: &'a Map<String, Value>,
    ) {
        let patterns = members.get("patternProperties").and_then(Value::as_object);
        for (pattern, schema) in patterns.into_iter().flatten() {
            let place = wide.named("patternProperties", pattern, schema);
            let own: Vec<Place<'a>> = narrow
                .each()
                .filter_map(|(place, members)| {
                    let schema = members.get("patternProperties")?.get(pattern)?;
                    Some(place.named("patternProperties", pattern, schema))
                })
                .collect();
            if own.is_empty() {
                let why =
                    format!("which members are of the pattern {pattern:?} is not looked into");
                self.report(false, at, &place.at, why);
            } else {
                // Many patterns are a beginning or an end, and that is of the pattern.
                let name = pattern.trim_start_matches('^').trim_end_matches('$').to_owned();
                self.check_inside(Step::Member(name), own, &place);
            }
        }
    }
}
