//! What a subscription shows its endpoint beside signatures: secrets for its headers, and who
//! it says it is.
//!
//! Owns their types, which never show a secret: not in `Debug`, not as JSON. Whoever must
//! have one in clear asks for it by [`SecretText::reveal`].

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    const SHOWN: &'static str = "(hidden)";

    /// Of a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text in clear.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::SHOWN)
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::SHOWN)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual error would quote what was given.
        String::deserialize(deserializer)
            .map(Self::new)
            .map_err(|_| de::Error::custom("is no text"))
    }
}

/// Everything of a subscription that is kept sealed, its signing secrets aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// What the placeholders `{{secret:NAME}}` in its headers stand for.
    pub header_secrets: BTreeMap<String, SecretText>,
    /// Who its requests come from.
    pub auth: Option<EndpointAuth>,
}

impl Credentials {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.header_secrets.is_empty() && self.auth.is_none()
    }
}

/// How requests tell the endpoint who they come from. As JSON it has no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointAuth {
    /// `Authorization: Bearer …` with a token that stays.
    Bearer(Bearer),
    /// `Authorization: Basic …`.
    Basic(Basic),
    /// `Authorization: Bearer …` with a token from an OAuth 2 server.
    Oauth2(Oauth2),
    /// A client certificate.
    Mtls(Mtls),
}

impl EndpointAuth {
    /// Whether it sets the header `Authorization`.
    pub const fn sets_authorization(&self) -> bool {
        !matches!(self, Self::Mtls(_))
    }
}

/// A token that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// The token; never shown.
    #[serde(skip_serializing)]
    #[schema(value_type = String, write_only)]
    pub token: SecretText,
}

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user name.
    pub username: String,
    /// The password; never shown.
    #[serde(skip_serializing)]
    #[schema(value_type = String, write_only)]
    pub password: SecretText,
}

/// OAuth 2, by the client-credentials grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth2 {
    /// Where tokens are given out.
    #[schema(value_type = String, format = "uri")]
    pub token_url: Url,
    /// Who asks for them.
    pub client_id: String,
    /// The client's secret; never shown.
    #[serde(skip_serializing)]
    #[schema(value_type = String, write_only)]
    pub client_secret: SecretText,
    /// What they are to be good for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whom they are for, where the token endpoint wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How the client shows its secret.
    #[serde(default)]
    pub token_endpoint_auth_method: ClientAuth,
}

/// How an OAuth 2 client shows its secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In the header `Authorization`.
    #[default]
    ClientSecretBasic,
    /// In the request's body.
    ClientSecretPost,
}

/// A client certificate, for mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mtls {
    /// The certificate as PEM, those that vouch for it after it.
    pub certificate: String,
    /// Its private key as PEM, not encrypted; never shown.
    #[serde(skip_serializing)]
    #[schema(value_type = String, write_only)]
    pub private_key: SecretText,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn neither_debug_nor_json_shows_a_secret() {
        let all = [
            json!({"bearer": {"token": "s3cret"}}),
            json!({"basic": {"username": "shop", "password": "s3cret"}}),
            json!({"oauth2": {"token_url": "https://a.example/t", "client_id": "shop",
                "client_secret": "s3cret"}}),
            json!({"mtls": {"certificate": "shop", "private_key": "s3cret"}}),
        ];
        for given in all {
            let auth: EndpointAuth = serde_json::from_value(given).unwrap();
            let credentials = Credentials {
                header_secrets: [("a".to_owned(), SecretText::new("s3cret".into()))].into(),
                auth: Some(auth.clone()),
            };
            assert!(!format!("{credentials:?}").contains("s3cret"));
            assert!(!serde_json::to_string(&auth).unwrap().contains("s3cret"));
        }
        assert_eq!(serde_json::to_value(SecretText::new("x".into())).unwrap(), "(hidden)");
    }

    #[test]
    fn what_is_given_in_the_place_of_a_secret_is_not_quoted() {
        let wrong = json!({"bearer": {"token": 48_151_623}});
        let error = serde_json::from_value::<EndpointAuth>(wrong).unwrap_err().to_string();
        assert_eq!(error, "is no text");
    }
}
