//! The secrets of a subscription as one sealed document.
//!
//! Owns the document's form, the one place where secrets are written in clear: into a buffer
//! that is sealed, and cleared, at once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Result, StoreError, codec::damaged};
use crate::{
    model::{ClientAuth, Credentials, EndpointAuth, Secret, SecretText, Subscription},
    seal::{Place, SealError, Vault},
};

#[derive(Serialize)]
struct WrittenSecret<'a> {
    secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Written<'a> {
    secrets: Vec<WrittenSecret<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header_secrets: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<AuthInClear<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum AuthInClear<'a> {
    Bearer {
        token: &'a str,
    },
    Basic {
        username: &'a str,
        password: &'a str,
    },
    Oauth2 {
        token_url: &'a str,
        client_id: &'a str,
        client_secret: &'a str,
        scopes: &'a [String],
        audience: Option<&'a str>,
        token_endpoint_auth_method: ClientAuth,
    },
    Mtls {
        certificate: &'a str,
        private_key: &'a str,
    },
}

impl<'a> From<&'a EndpointAuth> for AuthInClear<'a> {
    fn from(auth: &'a EndpointAuth) -> Self {
        match auth {
            EndpointAuth::Bearer(bearer) => Self::Bearer { token: bearer.token.reveal() },
            EndpointAuth::Basic(basic) => {
                Self::Basic { username: &basic.username, password: basic.password.reveal() }
            }
            EndpointAuth::Oauth2(oauth2) => Self::Oauth2 {
                token_url: oauth2.token_url.as_str(),
                client_id: &oauth2.client_id,
                client_secret: oauth2.client_secret.reveal(),
                scopes: &oauth2.scopes,
                audience: oauth2.audience.as_deref(),
                token_endpoint_auth_method: oauth2.token_endpoint_auth_method,
            },
            EndpointAuth::Mtls(mtls) => Self::Mtls {
                certificate: &mtls.certificate,
                private_key: mtls.private_key.reveal(),
            },
        }
    }
}

#[derive(Deserialize)]
struct ReadSecret {
    secret: SecretText,
    #[serde(default)]
    created_at: Option<Timestamp>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Read {
    secrets: Vec<ReadSecret>,
    #[serde(default)]
    header_secrets: BTreeMap<String, SecretText>,
    #[serde(default)]
    auth: Option<EndpointAuth>,
}

/// Where a subscription's document stands.
pub(super) const fn place(id: &[u8]) -> Place<'_> {
    Place { column: "subscriptions.sealed", row: id }
}

/// A seal that does not close or open is a failure of the database, for whoever calls.
pub(super) fn closed(error: &SealError) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// A subscription's secrets, sealed for its row.
pub(super) fn seal(vault: &Vault, subscription: &Subscription) -> Result<Vec<u8>> {
    let texts: Vec<_> =
        subscription.secrets.iter().map(|secret| Zeroizing::new(secret.reveal())).collect();
    let secrets = subscription.secrets.iter().zip(&texts).map(|(secret, text)| WrittenSecret {
        secret: text,
        created_at: secret.created_at,
        expires_at: secret.expires_at,
    });
    let credentials = &subscription.credentials;
    let header_secrets = credentials.header_secrets.iter();
    let written = Written {
        secrets: secrets.collect(),
        header_secrets: header_secrets.map(|(name, text)| (name.as_str(), text.reveal())).collect(),
        auth: credentials.auth.as_ref().map(Into::into),
    };
    seal_written(vault, subscription.id.as_bytes(), &written)
}

/// The clear text of the column `secrets`, as it was before there were seals, sealed.
pub(super) fn seal_plain(vault: &Vault, id: &[u8], text: &str) -> Result<Vec<u8>> {
    let read: Vec<ReadSecret> = serde_json::from_str(text).map_err(|_| damaged("a secret"))?;
    let secrets = read.iter().map(|read| WrittenSecret {
        secret: read.secret.reveal(),
        created_at: read.created_at,
        expires_at: read.expires_at,
    });
    let secrets = secrets.collect();
    let written = Written { secrets, header_secrets: BTreeMap::new(), auth: None };
    seal_written(vault, id, &written)
}

fn seal_written(vault: &Vault, id: &[u8], written: &Written<'_>) -> Result<Vec<u8>> {
    // serde_json's own errors may quote what they stumble over.
    let text = serde_json::to_vec(written).map_err(|_| damaged("a secret"))?;
    vault.seal(&place(id), &Zeroizing::new(text)).map_err(|error| closed(&error))
}

/// The secrets that were sealed for a row.
pub(super) fn open(vault: &Vault, id: &[u8], sealed: &[u8]) -> Result<(Vec<Secret>, Credentials)> {
    let text = vault.open(&place(id), sealed).map_err(|error| closed(&error))?;
    let read: Read = serde_json::from_slice(&text).map_err(|_| damaged("a secret"))?;
    let secrets = read.secrets.into_iter().map(|stored| {
        let mut secret: Secret = stored.secret.reveal().parse().map_err(|_| damaged("a secret"))?;
        secret.created_at = stored.created_at;
        secret.expires_at = stored.expires_at;
        Ok(secret)
    });
    let credentials = Credentials { header_secrets: read.header_secrets, auth: read.auth };
    Ok((secrets.collect::<Result<_>>()?, credentials))
}
