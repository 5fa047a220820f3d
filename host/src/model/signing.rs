//! By which schemes a subscription's requests are signed.
//!
//! Owns the schemes' settings and their bounds. Never signs, never keeps a secret: one that is
//! given with a scheme is taken out before the scheme is saved.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most schemes that sign at once.
pub const MAX_SCHEMES: usize = 5;
const MAX_NAME: usize = 32;
const MAX_TEMPLATE: usize = 256;

/// One way to sign a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "scheme", rename_all = "snake_case")]
pub enum Scheme {
    /// Standard Webhooks' `v1`: HMAC-SHA256 with the subscription's `whsec_` secret.
    Standard(Standard),
    /// Standard Webhooks' `v1a`: Ed25519, so that a receiver needs the public key only.
    StandardAsymmetric(StandardAsymmetric),
    /// As GitHub signs: `sha256=` and the hex HMAC-SHA256 of the body, in `x-hub-signature-256`.
    Github(Preset),
    /// As Stripe signs: `t=…,v1=…` over time and body, in `stripe-signature`.
    Stripe(Preset),
    /// HMAC as it is told.
    Hmac(Template),
}

/// Standard Webhooks' `v1`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Standard {
    /// How the names of its three headers begin.
    #[serde(skip_serializing_if = "HeaderPrefix::is_default")]
    pub header_prefix: HeaderPrefix,
}

/// Standard Webhooks' `v1a`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StandardAsymmetric {
    /// How the names of its three headers begin.
    #[serde(skip_serializing_if = "HeaderPrefix::is_default")]
    pub header_prefix: HeaderPrefix,
    /// A private key to take over, `whsk_…`; one is made if there is none. Never shown.
    #[serde(skip_serializing)]
    #[schema(value_type = Option<String>, write_only)]
    pub secret: Option<GivenSecret>,
}

/// A scheme with one header of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Preset {
    /// What tells it from others of its kind; the scheme's own name if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another header than the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Its secret, as the receiver has it; left out, the one it has stays. Never shown.
    #[serde(skip_serializing)]
    #[schema(value_type = Option<String>, write_only)]
    pub secret: Option<GivenSecret>,
}

/// HMAC of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What tells it from others of its kind; `hmac` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The header with the signature.
    pub header: String,
    /// The hash below the HMAC.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What stands before the signature.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What is signed: text with `{body}`, `{timestamp}` and `{id}` in it.
    #[serde(default = "body")]
    pub content: String,
    /// Another header for the seconds since 1970 beside `webhook-timestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// Another header for the message's id beside `webhook-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// How the secret's text becomes the key.
    #[serde(default, skip_serializing_if = "KeyForm::is_default")]
    pub key: KeyForm,
    /// Its secret, as the receiver has it; left out, the one it has stays. Never shown.
    #[serde(default, skip_serializing)]
    #[schema(value_type = Option<String>, write_only)]
    pub secret: Option<GivenSecret>,
}

fn body() -> String {
    "{body}".into()
}

/// How the names of Standard Webhooks' headers begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderPrefix {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    #[default]
    Webhook,
    /// `svix-id`, `svix-timestamp`, `svix-signature`.
    Svix,
}

impl HeaderPrefix {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A hash to make an HMAC with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// SHA-1: for receivers that know nothing better.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// How a secret's text becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// Its bytes as they are.
    #[default]
    Text,
    /// It is hexadecimal.
    Hex,
    /// It is base64.
    Base64,
}

impl KeyForm {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A secret in a request. Its `Debug` never shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct GivenSecret(String);

impl GivenSecret {
    /// Its text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GivenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenSecret(hidden)")
    }
}

impl Default for Scheme {
    fn default() -> Self {
        Self::Standard(Standard::default())
    }
}

impl Scheme {
    /// What it is called: of those that share the subscription's secrets, their kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Standard(_) => "standard",
            Self::StandardAsymmetric(_) => "standard_asymmetric",
            Self::Github(preset) => preset.name.as_deref().unwrap_or("github"),
            Self::Stripe(preset) => preset.name.as_deref().unwrap_or("stripe"),
            Self::Hmac(template) => template.name.as_deref().unwrap_or("hmac"),
        }
    }

    /// Whether its secret is its own.
    pub fn has_own_secret(&self) -> bool {
        !matches!(self, Self::Standard(_) | Self::StandardAsymmetric(_))
    }

    /// The secret that came with it, which is not to be kept in it.
    pub fn take_secret(&mut self) -> Option<GivenSecret> {
        match self {
            Self::Standard(_) => None,
            Self::StandardAsymmetric(StandardAsymmetric { secret, .. })
            | Self::Github(Preset { secret, .. })
            | Self::Stripe(Preset { secret, .. })
            | Self::Hmac(Template { secret, .. }) => secret.take(),
        }
    }

    /// The headers it is told to set, each with the member that names it.
    pub fn own_headers(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Standard(_) | Self::StandardAsymmetric(_) => Vec::new(),
            Self::Github(preset) | Self::Stripe(preset) => {
                preset.header.iter().map(|header| ("header", header.as_str())).collect()
            }
            Self::Hmac(template) => [
                ("header", Some(&template.header)),
                ("timestamp_header", template.timestamp_header.as_ref()),
                ("id_header", template.id_header.as_ref()),
            ]
            .into_iter()
            .filter_map(|(member, header)| Some((member, header?.as_str())))
            .collect(),
        }
    }

    /// The header its signature is in.
    pub fn signature_header(&self) -> Cow<'_, str> {
        match self {
            Self::Standard(Standard { header_prefix })
            | Self::StandardAsymmetric(StandardAsymmetric { header_prefix, .. }) => {
                match header_prefix {
                    HeaderPrefix::Webhook => "webhook-signature".into(),
                    HeaderPrefix::Svix => "svix-signature".into(),
                }
            }
            Self::Github(preset) => {
                preset.header.as_deref().unwrap_or("x-hub-signature-256").into()
            }
            Self::Stripe(preset) => preset.header.as_deref().unwrap_or("stripe-signature").into(),
            Self::Hmac(template) => template.header.as_str().into(),
        }
    }

    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let name = self.name();
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if self.has_own_secret()
            && (name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain))
        {
            let why = format!("is {name:?}; 1 to {MAX_NAME} of a-z, 0-9 and - are needed");
            wrong.push(("name", why));
        }
        if let Self::Hmac(template) = self {
            if let Err(why) = Piece::parse(&template.content) {
                wrong.push(("content", why));
            }
            let visible = template.prefix.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
            if template.prefix.len() > MAX_TEMPLATE || !visible {
                let why = format!("is not visible ASCII of at most {MAX_TEMPLATE} bytes");
                wrong.push(("prefix", why));
            }
        }
        wrong
    }
}

/// Everything about a list of schemes that cannot be used: where in the list, and why.
pub fn check(schemes: &[Scheme]) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    if schemes.is_empty() || schemes.len() > MAX_SCHEMES {
        let count = schemes.len();
        wrong.push((String::new(), format!("has {count} schemes; 1 to {MAX_SCHEMES} are allowed")));
    }
    let (mut names, mut headers, mut shared) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, scheme) in schemes.iter().enumerate() {
        for (member, why) in scheme.check() {
            wrong.push((format!("/{index}/{member}"), why));
        }
        if scheme.has_own_secret() {
            if !names.insert(scheme.name()) {
                let why = format!("is {:?}, as of a scheme before it", scheme.name());
                wrong.push((format!("/{index}/name"), why));
            }
        } else if !shared.insert((scheme.name(), scheme.signature_header())) {
            wrong.push((format!("/{index}"), "is there twice".into()));
            continue;
        }
        // The two standard ones put their signatures into one header.
        let header = scheme.signature_header().to_ascii_lowercase();
        if scheme.has_own_secret() && !headers.insert(header.clone()) {
            let why = format!("is {header:?}, as of a scheme before it");
            wrong.push((format!("/{index}/header"), why));
        }
    }
    wrong
}

/// A part of what an HMAC template signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// The request's body.
    Body,
    /// The seconds since 1970 at which it is signed.
    Timestamp,
    /// The message's id.
    Id,
}

impl<'a> Piece<'a> {
    /// The parts of a template; else why it is none.
    pub fn parse(template: &'a str) -> Result<Vec<Self>, String> {
        if template.len() > MAX_TEMPLATE {
            return Err(format!("has {} bytes; {MAX_TEMPLATE} are allowed", template.len()));
        }
        let (mut pieces, mut rest) = (Vec::new(), template);
        while !rest.is_empty() {
            let Some(after) = rest.strip_prefix('{') else {
                let end = rest.find('{').unwrap_or(rest.len());
                pieces.push(Piece::Text(&rest[..end]));
                rest = &rest[end..];
                continue;
            };
            let Some((name, after)) = after.split_once('}') else {
                return Err("has a { that no } follows".into());
            };
            pieces.push(match name {
                "body" => Piece::Body,
                "timestamp" => Piece::Timestamp,
                "id" => Piece::Id,
                _ => {
                    return Err(format!(
                        "has {{{name}}} in it; {{body}}, {{timestamp}} and {{id}} are known"
                    ));
                }
            });
            rest = after;
        }
        if pieces.contains(&Piece::Body) {
            Ok(pieces)
        } else {
            Err("has no {body} in it: a signature that leaves the body out protects nothing".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schemes(json: serde_json::Value) -> Vec<Scheme> {
        serde_json::from_value(json).unwrap()
    }

    fn wrong(json: serde_json::Value) -> Vec<String> {
        check(&schemes(json)).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn a_secret_comes_in_with_a_scheme_and_never_goes_out() {
        let mut all = schemes(json!([
            {"scheme": "standard"}, {"scheme": "standard_asymmetric", "header_prefix": "svix"},
            {"scheme": "github", "secret": "hunter2"},
            {"scheme": "hmac", "header": "x-sign", "algorithm": "sha512", "secret": "hunter3"},
        ]));
        assert!(!format!("{all:?}").contains("hunter"));
        assert!(!serde_json::to_string(&all).unwrap().contains("hunter"));
        let taken: Vec<_> = all.iter_mut().filter_map(Scheme::take_secret).collect();
        assert_eq!(taken[0].reveal(), "hunter2");
        let shown = serde_json::to_value(&all).unwrap();
        assert_eq!(shown[0], json!({"scheme": "standard"}));
        assert_eq!(shown[1], json!({"scheme": "standard_asymmetric", "header_prefix": "svix"}));
        assert_eq!(shown[3]["content"], "{body}");
        assert_eq!(schemes(shown), all);
        assert_eq!(check(&all), []);
    }

    #[test]
    fn unknown_members_are_refused() {
        for bad in [
            json!({"scheme": "standard", "header": "x"}),
            json!({"scheme": "github", "algorithm": "sha1"}),
            json!({"scheme": "hmac"}),
            json!({"scheme": "rsa"}),
        ] {
            assert!(serde_json::from_value::<Scheme>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_twice_or_not_usable_is_named() {
        assert_eq!(wrong(json!([])), [""]);
        assert_eq!(wrong(json!([{"scheme": "standard"}, {"scheme": "standard"}])), ["/1"]);
        let migrating = json!([{"scheme": "standard"}, {"scheme": "standard", "header_prefix": "svix"},
            {"scheme": "standard_asymmetric"}, {"scheme": "github"},
            {"scheme": "github", "name": "old", "header": "x-old"}]);
        assert_eq!(wrong(migrating), [""; 0]);
        let twice =
            json!([{"scheme": "github"}, {"scheme": "github", "header": "X-Hub-Signature-256"}]);
        assert_eq!(wrong(twice), ["/1/name", "/1/header"]);
        let odd = json!([{"scheme": "hmac", "name": "A b", "header": "x", "content": "{id}",
            "prefix": "a b"}]);
        assert_eq!(wrong(odd), ["/0/name", "/0/content", "/0/prefix"]);
    }

    #[test]
    fn a_template_is_text_and_three_known_names() {
        let pieces = Piece::parse("v0:{timestamp}:{body}").unwrap();
        assert_eq!(pieces, [Piece::Text("v0:"), Piece::Timestamp, Piece::Text(":"), Piece::Body]);
        for bad in ["", "{id}", "{body", "{body}{url}", "{", &"{body}".repeat(43)] {
            assert!(Piece::parse(bad).is_err(), "{bad}");
        }
    }
}
