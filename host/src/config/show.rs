//! The configuration for people: the effective values with where each came from, and a
//! commented sample file. Secrets are never shown.

use serde_json::{Value, json};

use super::{Config, Loaded, SETTINGS, Setting};

/// How the configuration is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a file that could be used.
    Toml,
    /// One JSON object.
    Json,
}

/// What is shown instead of a secret.
const HIDDEN: &str = "(hidden)";

impl Loaded {
    /// The effective settings, with where each came from if `origins`.
    pub fn show(&self, format: Format, origins: bool) -> String {
        let values = serde_json::to_value(&self.config).unwrap_or_default();
        let shown = SETTINGS.iter().map(|setting| (setting, visible(setting, &values)));
        match format {
            Format::Json => {
                let one = |(setting, value): (&Setting, Value)| {
                    let origin = self.origin(setting.name).to_string();
                    let value =
                        if origins { json!({"value": value, "origin": origin}) } else { value };
                    (setting.name.to_owned(), value)
                };
                format!("{:#}", Value::Object(shown.map(one).collect()))
            }
            Format::Toml => {
                let one = |(setting, value): (&Setting, Value)| {
                    let line = line(setting, &value);
                    if origins { format!("{line}  # {}", self.origin(setting.name)) } else { line }
                };
                shown.map(one).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

fn visible(setting: &Setting, values: &Value) -> Value {
    let value = values[setting.name].clone();
    let is_given = !value.is_null() && value != json!([]);
    if setting.facts.is_secret && is_given { HIDDEN.into() } else { value }
}

/// A line of a file. What has no value, and what is hidden, cannot be one: it is a comment.
fn line(setting: &Setting, value: &Value) -> String {
    match value {
        Value::Null => format!("# {} is not set", setting.name),
        value if value == HIDDEN => format!("# {} = {HIDDEN}", setting.name),
        value => format!("{} = {}", setting.name, toml(value)),
    }
}

/// JSON's scalars and lists of them are TOML's, escapes included, but for `\/`, which is not
/// written.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(all) => format!("[{}]", all.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A file with every setting, all of them comments: the defaults, and examples of those that
/// have none.
pub fn sample() -> String {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut text = String::from(
        "# Settings of `hookmill serve --config FILE`, as `hookmill config default` prints them.\n\
         # What is commented out is the default, or an example where there is none.\n\
         # `hookmill config check --config FILE` says what is wrong with a file.\n",
    );
    for setting in SETTINGS {
        text.push('\n');
        for line in setting.doc {
            text += &format!("# {}\n", line.trim());
        }
        let mut facts = Vec::new();
        if let Some(bounds) = setting.facts.bounds {
            let expected = bounds.expected();
            facts.push(expected.trim_end_matches(" are allowed").trim_end_matches(',').to_owned());
        }
        facts.push(setting.variable());
        if setting.facts.is_live {
            facts.push("read again on SIGHUP".to_owned());
        }
        text += &format!("# ({})\n", facts.join("; "));
        let default = toml(&defaults[setting.name]);
        let value = setting.facts.example.unwrap_or(&default);
        text += &format!("#{} = {value}\n", setting.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flag;

    #[test]
    fn every_line_of_the_sample_could_be_used_and_defaults_are_the_defaults() {
        let lines: Vec<String> = sample()
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .map(ToOwned::to_owned)
            .collect();
        assert_eq!(lines.len(), SETTINGS.len());
        for (line, setting) in lines.iter().zip(SETTINGS) {
            let document = line.parse::<toml_edit::ImDocument<String>>();
            assert!(document.is_ok(), "{line}");
            assert!(line.starts_with(setting.name), "{line}");
            let has_default =
                !serde_json::to_value(Config::default()).unwrap()[setting.name].is_null();
            assert!(has_default != setting.facts.example.is_some(), "{line}");
        }
    }

    #[test]
    fn what_is_shown_says_where_it_came_from_and_hides_secrets() {
        let flags = [
            Flag::given("admin_key", "--admin-key", Some("a key of twenty-four characters")),
            Flag::given("max_in_flight", "--x", Some(7)),
        ];
        let flags: Vec<_> = flags.into_iter().flatten().collect();
        let loaded = Config::load_with_origins(None, &flags).unwrap();
        let toml = loaded.show(Format::Toml, true);
        assert!(toml.contains("\nmax_in_flight = 7  # --x\n"), "{toml}");
        assert!(toml.contains("# admin_key = (hidden)  # --admin-key"), "{toml}");
        assert!(toml.contains("# master_key is not set  # default"), "{toml}");
        let json = loaded.show(Format::Json, true);
        assert!(!json.contains("twenty-four") && !toml.contains("twenty-four"));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["max_in_flight"], json!({"value": 7, "origin": "--x"}));
        // What is shown is a file.
        let shown = loaded.show(Format::Toml, false);
        assert!(shown.parse::<toml_edit::ImDocument<String>>().is_ok(), "{shown}");
    }

    #[test]
    fn the_packaged_sample_is_in_step() {
        let packaged = include_str!("../../../packaging/hookmill.toml");
        assert!(
            packaged == sample(),
            "write it again: hookmill config default > packaging/hookmill.toml"
        );
    }
}
