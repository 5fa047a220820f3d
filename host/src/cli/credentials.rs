//! What a subscription shows its endpoint, and what signs for it: `hookmill subscription auth`,
//! `header-secret`, `secrets`, `add-secret` and `remove-secret`, and the flags of `subscribe`.
//!
//! Owns how secrets are named on the command line: by a file or stdin, so that they are in no
//! history of commands and no list of processes. Never prints one that was given.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Global, input,
    output::{self, Failure, field},
};

const PATH: &str = "subscriptions";

/// Credentials that `subscribe` and `subscription auth` take.
#[derive(Debug, Default, Args)]
#[group(id = "credentials", multiple = true)]
pub(super) struct AuthFlags {
    /// Send `Authorization: Bearer` with the token in this file
    #[arg(long, value_name = "@FILE|-", conflicts_with_all = ["basic", "oauth2", "mtls_certificate"])]
    bearer: Option<String>,
    /// Send `Authorization: Basic` with this user name and the password in this file
    #[arg(long, value_name = "USER:@FILE", conflicts_with_all = ["oauth2", "mtls_certificate"])]
    basic: Option<String>,
    /// Send tokens of an OAuth 2 server: {"token_url", "client_id", "client_secret", "scopes"}
    #[arg(long, value_name = "@FILE|-", conflicts_with = "mtls_certificate")]
    oauth2: Option<String>,
    /// Connect with this client certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "mtls_key")]
    mtls_certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", requires = "mtls_certificate")]
    mtls_key: Option<PathBuf>,
}

impl AuthFlags {
    /// The field `auth` that the flags stand for; none without flags.
    fn auth(&self) -> Result<Option<Value>, Failure> {
        if let Some(bearer) = &self.bearer {
            return Ok(Some(json!({"bearer": {"token": input::secret(bearer)?}})));
        }
        if let Some(basic) = &self.basic {
            let (username, password) = basic.split_once(':').ok_or_else(|| {
                Failure::usage("--basic has no password").hint("write USER:@FILE or USER:-")
            })?;
            let password = input::secret(password)?;
            return Ok(Some(json!({"basic": {"username": username, "password": password}})));
        }
        if let Some(oauth2) = &self.oauth2 {
            return Ok(Some(json!({"oauth2": input::parse(&input::secret(oauth2)?, "--oauth2")?})));
        }
        if let (Some(certificate), Some(key)) = (&self.mtls_certificate, &self.mtls_key) {
            let (certificate, key) = (input::text(certificate)?, input::text(key)?);
            return Ok(Some(json!({"mtls": {"certificate": certificate, "private_key": key}})));
        }
        Ok(None)
    }
}

/// What `subscribe` takes.
#[derive(Debug, Default, Args)]
pub(super) struct CredentialFlags {
    /// A secret for {{secret:NAME}} in a header; repeat for more
    #[arg(long = "header-secret", value_name = "NAME=@FILE", value_parser = named)]
    header_secrets: Vec<(String, String)>,
    #[command(flatten)]
    auth: AuthFlags,
}

impl CredentialFlags {
    /// Puts what the flags say into a subscription's JSON.
    pub(super) fn apply(&self, body: &mut Map<String, Value>) -> Result<(), Failure> {
        if !self.header_secrets.is_empty() {
            body.insert("header_secrets".into(), secrets(&self.header_secrets)?.into());
        }
        if let Some(auth) = self.auth.auth()? {
            body.insert("auth".into(), auth);
        }
        Ok(())
    }
}

/// `NAME=@FILE`. A parser for clap.
fn named(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=@FILE")?;
    Ok((name.trim().into(), value.into()))
}

fn secrets(named: &[(String, String)]) -> Result<Map<String, Value>, Failure> {
    named
        .iter()
        .map(|(name, argument)| Ok((name.clone(), input::secret(argument)?.into())))
        .collect()
}

/// Say who its requests come from
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookmill subscription auth sub_01jd… --bearer @token.txt
  vault read -field=password shop | hookmill subscription auth sub_01jd… --basic hookmill:-
  hookmill subscription auth sub_01jd… --oauth2 @client.json
  hookmill subscription auth sub_01jd… --remove

What is given is kept sealed and never shown again.")]
pub(super) struct Auth {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    #[command(flatten)]
    auth: AuthFlags,
    /// Say nothing any more
    #[arg(long, conflicts_with = "credentials")]
    remove: bool,
}

impl Auth {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let auth = match self.auth.auth()? {
            Some(auth) => auth,
            None if self.remove => Value::Null,
            None => {
                return Err(Failure::usage("nothing is said about who requests come from")
                    .hint("give --bearer, --basic, --oauth2, --mtls-certificate or --remove"));
            }
        };
        let body = json!({ "auth": auth });
        let changed = global.client()?.patch(&[PATH, &self.id], &body).await?;
        if global.json {
            output::json(&changed);
        } else {
            output::data(format_args!("{}  auth {}", self.id, kind(&changed)));
        }
        Ok(())
    }
}

/// The kind of a subscription's credentials, in a word.
fn kind(subscription: &Value) -> &str {
    let kind = subscription["auth"].as_object().and_then(|auth| auth.keys().next());
    kind.map_or("none", String::as_str)
}

/// Give or remove a secret for its headers
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hookmill subscription header-secret sub_01jd… shop=@key.txt

A header of the subscription has it where its value says {{secret:shop}}.")]
pub(super) struct HeaderSecret {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// The secrets
    #[arg(value_name = "NAME=@FILE|-", value_parser = named, required_unless_present = "remove")]
    secrets: Vec<(String, String)>,
    /// Remove one that no header needs any more; repeat for more
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
}

impl HeaderSecret {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let mut changes = secrets(&self.secrets)?;
        changes.extend(self.remove.into_iter().map(|name| (name, Value::Null)));
        let body = json!({ "header_secrets": changes });
        let changed = global.client()?.patch(&[PATH, &self.id], &body).await?;
        if global.json {
            output::json(&changed);
            return Ok(());
        }
        let names = field(&changed, "header_secrets");
        let names = if names.is_empty() { "none".into() } else { names };
        output::data(format_args!("{}  header secrets {names}", self.id));
        Ok(())
    }
}

/// List what tells its signing secrets apart
#[derive(Debug, Args)]
pub(super) struct Secrets {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
}

impl Secrets {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let answer = global.client()?.get(&[PATH, &self.id, "secrets"], &[]).await?;
        if global.json {
            output::json(&answer["data"]);
            return Ok(());
        }
        let items = answer["data"].as_array().into_iter().flatten();
        let rows = items.map(|item| {
            let expires = field(item, "expires_at");
            [
                field(item, "fingerprint"),
                field(item, "created_at"),
                if expires.is_empty() { "never".into() } else { expires },
            ]
        });
        output::table(["FINGERPRINT", "CREATED", "EXPIRES"], rows.collect());
        Ok(())
    }
}

/// Add a signing secret that signs beside those there are
#[derive(Debug, Args)]
pub(super) struct AddSecret {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// One of your own instead of a new one
    #[arg(long, value_name = "@FILE|-")]
    secret: Option<String>,
}

impl AddSecret {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let body = match &self.secret {
            Some(secret) => json!({"secret": input::secret(secret)?}),
            None => json!({}),
        };
        let added = global.client()?.post(&[PATH, &self.id, "secrets"], &body).await?;
        if global.json {
            output::json(&added);
        } else {
            let (fingerprint, secret) = (field(&added, "fingerprint"), field(&added, "secret"));
            output::data(format_args!("{fingerprint}  secret {secret}"));
            output::say("(shown once; it signs beside the others from now on)");
        }
        Ok(())
    }
}

/// Remove a signing secret: it stops signing at once
#[derive(Debug, Args)]
pub(super) struct RemoveSecret {
    /// The subscription
    #[arg(value_name = "sub_…")]
    id: String,
    /// Which, by its fingerprint
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: String,
}

impl RemoveSecret {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let path = [PATH, &self.id, "secrets", &self.fingerprint];
        global.client()?.delete(&path, &[]).await?;
        output::say(format_args!("removed {}", self.fingerprint));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let argument = format!("@{}", file.path().display());
        (file, argument)
    }

    #[test]
    fn flags_become_the_auth_of_a_subscription() {
        let auth = |flags: AuthFlags| flags.auth().unwrap().unwrap_or_default();
        let (_token, at) = file("t0ken\n");
        let bearer = AuthFlags { bearer: Some(at.clone()), ..AuthFlags::default() };
        assert_eq!(auth(bearer), json!({"bearer": {"token": "t0ken"}}));
        let basic = AuthFlags { basic: Some(format!("shop:{at}")), ..AuthFlags::default() };
        let expected = json!({"basic": {"username": "shop", "password": "t0ken"}});
        assert_eq!(auth(basic), expected);
        let (_client, at) = file(r#"{"client_id": "a"}"#);
        let oauth2 = AuthFlags { oauth2: Some(at), ..AuthFlags::default() };
        assert_eq!(auth(oauth2), json!({"oauth2": {"client_id": "a"}}));
        assert_eq!(auth(AuthFlags::default()), Value::Null);
        let bad = AuthFlags { basic: Some("shop".into()), ..AuthFlags::default() };
        assert!(bad.auth().is_err());
    }

    #[test]
    fn header_secrets_are_named() {
        assert_eq!(named("shop=@a=b"), Ok(("shop".into(), "@a=b".into())));
        assert!(named("shop").is_err());
    }
}
