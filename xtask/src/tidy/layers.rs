//! Which module of the server may use which: data moves left to right, and no module calls
//! one on its left.

use super::{Violation, source::Source};

/// A module and those it may use. `telemetry` may be used by all, and uses what it likes.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("nice", &[]),
    ("config", &["model"]),
    ("tail", &["model"]),
    ("notices", &["model", "tail"]),
    ("schema", &["model", "clock"]),
    ("routing", &["model", "clock"]),
    ("seal", &["model"]),
    ("store", &["model", "clock", "seal"]),
    ("retention", &["model", "clock", "store"]),
    ("access", &["model", "clock", "store"]),
    ("plugin", &["model", "clock", "nice", "schema"]),
    ("limits", &["model", "clock"]),
    ("delivery", &["model", "clock", "notices", "store", "plugin", "tail", "limits"]),
    ("catalog", &["model", "clock", "schema", "routing", "store", "plugin", "delivery"]),
    (
        "ingest",
        &[
            "model", "clock", "nice", "schema", "routing", "store", "catalog", "delivery", "tail",
            "limits",
        ],
    ),
    ("sources", &["model", "clock", "store", "plugin", "limits", "delivery", "catalog", "ingest"]),
    ("backtest", &["model", "clock", "schema", "routing", "store", "plugin", "catalog"]),
    ("recovery", &["model", "clock", "routing", "store", "delivery", "catalog"]),
    ("watch", &["model", "clock", "notices", "store", "plugin", "delivery", "catalog", "backtest"]),
    (
        "operational",
        &["model", "clock", "notices", "schema", "store", "catalog", "ingest", "limits"],
    ),
    (
        "api",
        &[
            "model",
            "clock",
            "config",
            "schema",
            "routing",
            "store",
            "access",
            "plugin",
            "delivery",
            "catalog",
            "watch",
            "ingest",
            "backtest",
            "operational",
            "recovery",
            "sources",
            "limits",
            "tail",
        ],
    ),
    (
        "server",
        &[
            "model",
            "clock",
            "config",
            "notices",
            "schema",
            "routing",
            "seal",
            "store",
            "retention",
            "access",
            "plugin",
            "delivery",
            "catalog",
            "watch",
            "ingest",
            "backtest",
            "recovery",
            "sources",
            "operational",
            "limits",
            "api",
        ],
    ),
    (
        "cli",
        &[
            "model", "clock", "config", "schema", "routing", "seal", "store", "plugin", "delivery",
            "catalog", "ingest", "backtest", "api", "server",
        ],
    ),
];

/// Modules without a place in the order.
const FREE: &str = "telemetry";

/// The uses that a file of the server may not have.
pub(super) fn check(file: &Source) -> Vec<Violation> {
    let Some(parts) = module_path(&file.path) else { return Vec::new() };
    let module = parts[0];
    if module == FREE {
        return Vec::new();
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
        let message = format!(
            "the module {module} is not in xtask's table of layers: add it there, with the modules it may use"
        );
        return vec![Violation::new(&file.path, 0, message)];
    };
    let mut found = Vec::new();
    for (line, used) in uses(&file.product, parts.len()) {
        // A name that is no module is an item of the crate's root: there is none.
        let known = ALLOWED.iter().any(|(name, _)| *name == used);
        if known && used != module && !allowed.contains(&used) {
            found.push(Violation::new(
                &file.path,
                line,
                format!(
                    "{module} may not use {used}: modules use those on their left only, so that each \
                     can be understood and tested without what comes after it"
                ),
            ));
        }
    }
    found
}

/// The module's path, `store/sqlite/mod.rs` as `[store, sqlite]`; none for other files.
fn module_path(path: &str) -> Option<Vec<&str>> {
    let path = path.strip_prefix("host/src/")?.strip_suffix(".rs")?;
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    if matches!(parts[..], ["lib" | "main"]) { None } else { Some(parts) }
}

/// The names that follow the path to the crate's root, with their lines: after `crate::`, and
/// after as many `super::` as the module is deep.
fn uses(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let supers = "super::".repeat(depth);
    let mut found = Vec::new();
    for root in ["crate::", &*supers] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            // `$crate::` is the same root; `hookmill_crate::` and one `super::` too many are not.
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let after = at + root.len();
            for (offset, name) in names(&code[after..]) {
                found.push((super::source::line_of(code, after + offset), name));
            }
        }
    }
    found
}

/// The first names of what follows: `a::b` has one, `{a::b, c}` has two.
fn names(text: &str) -> Vec<(usize, &str)> {
    if !text.starts_with('{') {
        return identifier(text, 0).into_iter().collect();
    }
    let (mut depth, mut found, mut expected) = (0usize, Vec::new(), true);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                depth += 1;
                expected = depth == 1;
            }
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            b',' => expected = depth == 1,
            _ if expected && !byte.is_ascii_whitespace() => {
                found.extend(identifier(text, at));
                expected = false;
            }
            _ => {}
        }
    }
    found
}

fn identifier(text: &str, at: usize) -> Option<(usize, &str)> {
    let rest = &text[at..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (end > 0).then_some((at, &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<(usize, String)> {
        let found = check(&Source::new(path.into(), text.into()));
        found
            .into_iter()
            .map(|v| (v.line, v.message.split(':').next().unwrap_or_default().to_owned()))
            .collect()
    }

    #[test]
    fn a_use_of_a_module_on_the_right_is_found() {
        let text = "use crate::{\n    model::{Event, Pattern},\n    api::problem,\n};\nfn f() { crate::cli::main() }";
        assert_eq!(
            violations("host/src/store/mod.rs", text),
            [(3, "store may not use api".to_owned()), (5, "store may not use cli".to_owned())]
        );
        assert_eq!(violations("host/src/cli/mod.rs", text), []);
    }

    #[test]
    fn the_way_over_super_is_no_way_around() {
        let found =
            violations("host/src/plugin/run.rs", "use super::super::store;\nuse super::engine;");
        assert_eq!(found, [(1, "plugin may not use store".to_owned())]);
        let found = violations("host/src/ingest.rs", "use super::api;");
        assert_eq!(found, [(1, "ingest may not use api".to_owned())]);
    }

    #[test]
    fn tests_comments_and_free_modules_are_not_bound() {
        let text =
            "// crate::cli\nuse crate::telemetry;\n#[cfg(test)]\nmod tests { use crate::cli; }";
        assert_eq!(violations("host/src/model/event.rs", text), []);
        assert_eq!(violations("host/src/telemetry.rs", "use crate::api;"), []);
        assert_eq!(violations("host/src/lib.rs", "use crate::api;"), []);
    }

    #[test]
    fn a_new_module_needs_a_place_in_the_order() {
        assert_eq!(violations("host/src/portal/mod.rs", "").len(), 1);
    }
}
