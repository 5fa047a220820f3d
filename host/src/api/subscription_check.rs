//! What may be in a subscription.
//!
//! Every mistake of a request is collected, so it takes one round to mend them all. What
//! only the catalog knows (whether a plugin is there, whether its config fits) it checks.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use serde_json::{Map, Value};
use url::Url;

use super::{
    EndpointPolicy,
    explain::token,
    extract::check_text,
    problem::{Code, FieldError, Problem},
    subscription_credentials::{SecretChanges, merge},
    subscription_io::{StepIn, SubscriptionPatch},
};
use crate::{
    model::{
        EndpointAuth, FilterText, MAX_SUBSCRIPTION_CHANNELS, Pattern, Policy, Secret, SecretError,
        SecretKind, Step, Subscription, check_channels,
    },
    routing::Filter,
    schema::Validator,
};

const MAX_DESCRIPTION: usize = 2000;
const MAX_PATTERNS: usize = 100;
const MAX_STEPS: usize = 16;
const MAX_OUTPUT_SCHEMA: usize = 256 << 10;
const MAX_HEADERS: usize = 32;

/// The parts of a request that have been checked; none for what was not given.
#[derive(Debug, Default)]
pub struct Checked {
    pub endpoint: Option<Url>,
    pub event_types: Option<Vec<Pattern>>,
    pub channels: Option<Vec<String>>,
    pub filter: Option<Option<FilterText>>,
    pub pipeline: Option<Vec<Step>>,
    pub output_schema: Option<Option<Value>>,
    pub headers: Option<BTreeMap<String, String>>,
    pub name: Option<Option<String>>,
    pub description: Option<Option<String>>,
    pub policy: Option<Policy>,
    pub header_secrets: Option<SecretChanges>,
    pub auth: Option<Option<EndpointAuth>>,
}

/// Checks a request part by part, and remembers everything that is wrong.
pub struct Checker<'a> {
    pub(super) policy: &'a dyn EndpointPolicy,
    errors: Vec<FieldError>,
}

impl fmt::Debug for Checker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("errors", &self.errors).finish_non_exhaustive()
    }
}

impl<'a> Checker<'a> {
    /// Checks against what deliveries may do.
    pub fn new(policy: &'a dyn EndpointPolicy) -> Self {
        Self { policy, errors: Vec::new() }
    }

    /// Remembers something that was found wrong elsewhere.
    pub fn refuse(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn wrong(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError::new(at, message));
    }

    /// Checks all parts.
    pub fn check(&mut self, patch: SubscriptionPatch) -> Checked {
        if let Some(Some(description)) = &patch.description {
            self.errors.extend(check_text("/description", description, MAX_DESCRIPTION).err());
        }
        if patch.name.iter().flatten().any(|name| !Subscription::is_valid_name(name)) {
            self.wrong(
                "/name",
                "1 to 64 lower-case letters, digits, `-`, `_` or `.`, not as an id",
            );
        }
        for (at, why) in patch.policy.iter().flat_map(|given| self.policy.check_policy(given)) {
            self.wrong(format!("/policy{at}"), why);
        }
        Checked {
            endpoint: patch.endpoint.and_then(|given| self.endpoint(&given)),
            event_types: patch.event_types.map(|given| self.patterns(&given)),
            channels: patch.channels.map(|given| self.channels(given)),
            filter: patch.filter.map(|given| self.filter(given)),
            pipeline: patch.pipeline.map(|given| self.steps(given)),
            output_schema: patch.output_schema.map(|given| self.output_schema(given)),
            headers: patch.headers.map(|given| self.headers(given)),
            name: patch.name,
            description: patch.description,
            policy: patch.policy,
            header_secrets: patch.header_secrets,
            auth: patch.auth,
        }
    }

    fn endpoint(&mut self, given: &str) -> Option<Url> {
        self.policy.check_url(given).map_err(|why| self.wrong("/endpoint", why)).ok()
    }

    fn patterns(&mut self, given: &[String]) -> Vec<Pattern> {
        if given.is_empty() || given.len() > MAX_PATTERNS {
            let why = format!("has {} patterns; 1 to {MAX_PATTERNS} are allowed", given.len());
            self.wrong("/event_types", why);
            return Vec::new();
        }
        let mut patterns = Vec::with_capacity(given.len());
        for (index, text) in given.iter().enumerate() {
            match text.parse::<Pattern>() {
                Ok(pattern) if patterns.contains(&pattern) => {
                    self.wrong(format!("/event_types/{index}"), "is there twice");
                }
                Ok(pattern) => patterns.push(pattern),
                Err(why) => self.wrong(format!("/event_types/{index}"), why.to_string()),
            }
        }
        patterns
    }

    fn channels(&mut self, given: Vec<String>) -> Vec<String> {
        if let Some((at, why)) = check_channels(&given, MAX_SUBSCRIPTION_CHANNELS) {
            self.wrong(format!("/channels{at}"), why);
        }
        given
    }

    fn filter(&mut self, given: Option<FilterText>) -> Option<FilterText> {
        if let Some(Err(error)) = given.as_ref().map(|text| Filter::compile(text.as_str())) {
            self.wrong(format!("/filter{}", error.at), error.message);
        }
        given
    }

    fn steps(&mut self, given: Vec<StepIn>) -> Vec<Step> {
        if given.len() > MAX_STEPS {
            let why = format!("has {} steps; at most {MAX_STEPS} are allowed", given.len());
            self.wrong("/pipeline", why);
            return Vec::new();
        }
        let mut steps = Vec::with_capacity(given.len());
        for (index, step) in given.into_iter().enumerate() {
            match step.plugin.parse() {
                Ok(plugin) => steps.push(Step {
                    plugin,
                    config: step.config.unwrap_or_else(|| Value::Object(Map::new())),
                    on_error: step.on_error,
                }),
                Err(why) => self.wrong(format!("/pipeline/{index}/plugin"), why),
            }
        }
        steps
    }

    fn output_schema(&mut self, given: Option<Value>) -> Option<Value> {
        let schema = given?;
        let size = schema.to_string().len();
        if size > MAX_OUTPUT_SCHEMA {
            let why = format!("is {size} bytes; at most {MAX_OUTPUT_SCHEMA} are allowed");
            self.wrong("/output_schema", why);
        } else if let Err(error) = Validator::compile(&schema) {
            self.wrong(format!("/output_schema{}", error.at), error.message);
        }
        Some(schema)
    }

    fn headers(&mut self, given: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if given.len() > MAX_HEADERS {
            let why = format!("has {} headers; at most {MAX_HEADERS} are allowed", given.len());
            self.wrong("/headers", why);
        }
        let mut names = HashSet::new();
        for (name, value) in &given {
            let at = format!("/headers/{}", token(name));
            if let Err(why) = self.policy.check_header(name, value) {
                self.wrong(at, why);
            } else if !names.insert(name.to_ascii_lowercase()) {
                self.wrong(at, "is there twice, header names being the same in either case");
            }
        }
        given
    }

    /// Checks a secret that is given at `/secret`.
    pub fn secret(&mut self, given: &str) -> Option<Secret> {
        let secret: Result<Secret, _> = given.parse();
        let symmetric = |secret: &Secret| *secret.kind() == SecretKind::Symmetric;
        let found = secret.ok().filter(symmetric);
        if found.is_none() {
            self.wrong("/secret", SecretError::Symmetric.to_string());
        }
        found
    }

    /// A problem, if anything was wrong.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Code::InvalidSubscription, "The subscription cannot be saved as given")
            .errors(self.errors))
    }
}

impl Checked {
    /// Puts what was given into a subscription.
    pub fn apply(self, subscription: &mut Subscription) {
        fn put<T>(target: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *target = given;
            }
        }
        put(&mut subscription.endpoint, self.endpoint);
        put(&mut subscription.event_types, self.event_types);
        put(&mut subscription.channels, self.channels);
        put(&mut subscription.filter, self.filter);
        put(&mut subscription.pipeline, self.pipeline);
        put(&mut subscription.output_schema, self.output_schema);
        put(&mut subscription.headers, self.headers);
        put(&mut subscription.name, self.name);
        put(&mut subscription.description, self.description);
        put(&mut subscription.policy, self.policy);
        let credentials = &mut subscription.credentials;
        merge(&mut credentials.header_secrets, self.header_secrets.unwrap_or_default());
        put(&mut credentials.auth, self.auth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct HttpsOnly;

    impl EndpointPolicy for HttpsOnly {
        fn check_url(&self, url: &str) -> Result<Url, String> {
            if url.starts_with("https://") {
                url.parse().map_err(|_| "is not a URL".into())
            } else {
                Err("must be https".into())
            }
        }

        fn check_header(&self, name: &str, _: &str) -> Result<(), String> {
            if name.contains(' ') { Err("is not a header name".into()) } else { Ok(()) }
        }
    }

    fn check(text: &str) -> Result<Checked, Vec<String>> {
        let patch: SubscriptionPatch = serde_json::from_str(text).unwrap();
        let mut checker = Checker::new(&HttpsOnly);
        let checked = checker.check(patch);
        match checker.finish() {
            Ok(()) => Ok(checked),
            Err(problem) => {
                assert_eq!(problem.code(), Code::InvalidSubscription);
                Err(problem.into_body().errors.into_iter().map(|error| error.at).collect())
            }
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let wrong = check(
            r#"{"endpoint":"http://x","event_types":["ok","or*der"],
                "pipeline":[{"plugin":"redact"},{"plugin":"Redact"}],
                "headers":{"a b":"c","X-A":"1","x-a":"2"},"policy":{"concurrency":0,
                "retry":{"schedule":[]}},"description":""}"#,
        )
        .unwrap_err();
        assert_eq!(
            wrong,
            [
                "/description",
                "/policy/retry/schedule",
                "/policy/concurrency",
                "/endpoint",
                "/event_types/1",
                "/pipeline/1/plugin",
                "/headers/a b",
                "/headers/x-a"
            ]
        );
    }

    #[test]
    fn a_list_of_no_patterns_or_the_same_twice_is_refused() {
        assert_eq!(check(r#"{"event_types":[]}"#).unwrap_err(), ["/event_types"]);
        assert_eq!(check(r#"{"event_types":["a","a"]}"#).unwrap_err(), ["/event_types/1"]);
    }

    #[test]
    fn what_is_left_out_stays_and_null_removes() {
        let checked =
            check(r#"{"description":null,"pipeline":[{"plugin":"redact@1.0.0"}]}"#).unwrap();
        assert_eq!(checked.description, Some(None));
        assert_eq!(checked.policy, None);
        assert_eq!(checked.endpoint, None);
        assert_eq!(checked.pipeline.unwrap()[0].config, serde_json::json!({}));
    }

    #[test]
    fn an_output_schema_that_cannot_be_used_says_where() {
        let wrong = check(r#"{"output_schema":{"properties":{"a":{"type":"strnig"}}}}"#);
        assert_eq!(wrong.unwrap_err(), ["/output_schema/properties/a/type"]);
        assert_eq!(check(r#"{"output_schema":null}"#).unwrap().output_schema, Some(None));
    }

    #[test]
    fn a_secret_has_its_form() {
        let mut checker = Checker::new(&HttpsOnly);
        assert!(checker.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_some());
        for other in ["hunter2", "github:hunter2", "whsk_AAAA"] {
            assert!(checker.secret(other).is_none(), "{other}");
        }
        assert_eq!(checker.finish().unwrap_err().body().errors[0].at, "/secret");
    }
}
