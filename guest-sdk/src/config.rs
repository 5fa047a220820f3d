//! A step's configuration: read from JSON for every run, described by a schema once.
//!
//! Owns the trait and the reading. Never caches: an instance lives for one run.

use crate::{Error, Result, explain};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// What a plugin can be configured with. Derive it:
///
/// ```
/// use hookmill_sdk::prelude::*;
///
/// /// Passes orders at or above a total.
/// #[derive(Config)]
/// struct BigOrders {
///     /// Smallest total that is passed.
///     at_least: f64,
///     /// Only this currency, if given.
///     currency: Option<String>,
/// }
/// ```
///
/// The doc comments are what the users of the plugin see. Fields it doesn't know are
/// refused: a misspelt setting is an error, not a setting that never works.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a plugin configuration",
    label = "not a plugin configuration",
    note = "put `#[derive(Config)]` on `{Self}`"
)]
pub trait Config: DeserializeOwned + JsonSchema {
    /// The type's doc comment, as one line.
    const SUMMARY: &'static str = "";

    /// The JSON Schema, as text. Called once, at upload.
    fn schema() -> String {
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        let schema = settings.into_generator().into_root_schema_for::<Self>();
        schema.as_value().to_string()
    }

    /// Reads a configuration; the error names the place that is wrong.
    fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|error| Error::invalid_config(explain::sentence("", Some(json), &error)))
    }
}

/// The configuration of a plugin that takes none: any object without properties.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, schemars::JsonSchema)]
pub struct NoConfig {}

impl Config for NoConfig {
    fn schema() -> String {
        r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{},"additionalProperties":false}"#.to_owned()
    }

    // The server has checked it against the schema; there is nothing to learn from it.
    fn read(_json: &str) -> Result<Self> {
        Ok(NoConfig {})
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    /// Passes orders
    /// at or above a total.
    #[derive(Config, Debug, PartialEq)]
    struct Orders {
        /// Smallest total.
        at_least: f64,
        #[serde(default = "euro")]
        currency: String,
        #[serde(default)]
        nested: Vec<Nested>,
    }

    #[derive(Config, Debug, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Nested {
        First { size: u8 },
        Second(Option<bool>),
    }

    fn euro() -> String {
        "EUR".to_owned()
    }

    fn read(json: &str) -> Result<Orders> {
        <Orders as crate::Config>::read(json)
    }

    #[test]
    fn reads_what_serde_reads() {
        let config = read(r#"{"at_least":1,"nested":[{"first":{"size":3}},{"second":null}]}"#);
        let nested = vec![Nested::First { size: 3 }, Nested::Second(None)];
        assert_eq!(config, Ok(Orders { at_least: 1.0, currency: "EUR".to_owned(), nested }));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (json, message) in [
            (r#"{"at_least":"x"}"#, r#"/at_least is the string "x", expected a number"#),
            (r#"{"at_least":1,"currency":{"a":[1]}}"#, "/currency is an object, expected a string"),
            (r#"{"at_least":1,"currency":null}"#, "/currency is null, expected a string"),
            (r#"{"currency":"EUR"}"#, "/at_least is missing"),
            (
                r#"{"at_lest":1}"#,
                "/at_lest is not known: expected one of `at_least`, `currency`, `nested`",
            ),
            (
                r#"{"at_least":1,"nested":[{"first":{"size":3}},{"first":{}}]}"#,
                "/nested/1/first/size is missing",
            ),
            (
                r#"{"at_least":1,"nested":[{"first":{"size":300}}]}"#,
                "/nested/0/first/size is the number 300, expected a whole number from 0 to 255",
            ),
            (
                r#"{"at_least":1,"nested":["third"]}"#,
                "/nested/0: unknown variant `third`, expected `first` or `second`",
            ),
            (r#"[]"#, "it is an array, expected an object"),
            (
                r#"{"at_least":1"#,
                "it is not valid JSON: EOF while parsing an object at line 1 column 13",
            ),
        ] {
            let error = read(json).map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("invalid-config: {message}")), "{json}");
        }
    }

    #[test]
    fn the_schema_is_strict_and_documented() {
        let schema: Value =
            serde_json::from_str(&<Orders as crate::Config>::schema()).unwrap_or_default();
        assert_eq!(schema["title"], "Orders");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], json!(["at_least"]));
        assert_eq!(schema["properties"]["at_least"]["description"], "Smallest total.");
        assert_eq!(<Orders as crate::Config>::SUMMARY, "Passes orders at or above a total.");
    }
}
