//! What signatures are checked with on the command line: a scheme and a secret.
//!
//! Owns the flags that name them, and guessing the scheme from the secret's form. Never
//! prints a secret.

use std::path::PathBuf;

use super::{input, output::Failure, signing::scheme_json};
use crate::{
    delivery::Key,
    model::{
        Scheme,
        signing::{HeaderPrefix, StandardAsymmetric},
    },
};
use clap::Args;
use http::HeaderMap;

/// A secret, and the scheme it is for.
#[derive(Debug, Clone, Args)]
pub(super) struct Trust {
    /// The signing secret, or the public key: whsec_…, whpk_…, or what the scheme's sender has
    #[arg(long, env = "HOOKMILL_SECRET", hide_env_values = true, value_name = "SECRET")]
    secret: Option<String>,
    /// Read the secret from a file
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// How it is signed: standard, standard_asymmetric, github, stripe, or a scheme of a
    /// policy's `signing` as JSON [default: by the secret's form]
    #[arg(long, value_name = "NAME|JSON|@FILE")]
    scheme: Option<String>,
}

impl Trust {
    /// The secret's text; none if none was given.
    fn text(&self) -> Result<Option<String>, Failure> {
        match &self.secret_file {
            Some(path) => Ok(Some(input::text(path)?.trim_end_matches(['\r', '\n']).to_owned())),
            None => Ok(self.secret.clone()),
        }
    }

    /// What to check with; none if there is no secret.
    pub(super) fn read(&self) -> Result<Option<Check>, Failure> {
        let Some(text) = self.text()? else {
            return match self.scheme {
                Some(_) => Err(Failure::usage("--scheme says nothing without a secret")
                    .hint("give --secret, --secret-file or HOOKMILL_SECRET")),
                None => Ok(None),
            };
        };
        let scheme = match &self.scheme {
            Some(named) => parse(named)?,
            None => guess(&text)?,
        };
        let key = Key::parse(&scheme, &text)
            .map_err(|why| Failure::usage(format!("the secret of {} {why}", scheme.name())))?;
        Ok(Some(Check { scheme, key, guessed: self.scheme.is_none() }))
    }
}

/// A scheme and the key that checks its signatures.
#[derive(Debug)]
pub(super) struct Check {
    scheme: Scheme,
    pub key: Key,
    /// Whether nobody said which names the headers have.
    guessed: bool,
}

impl Check {
    /// The scheme, under the header names that a request has.
    pub(super) fn scheme(&self, headers: &HeaderMap) -> Scheme {
        let mut scheme = self.scheme.clone();
        let svix =
            !headers.contains_key("webhook-signature") && headers.contains_key("svix-signature");
        if self.guessed && svix {
            match &mut scheme {
                Scheme::Standard(standard) => standard.header_prefix = HeaderPrefix::Svix,
                Scheme::StandardAsymmetric(standard) => {
                    standard.header_prefix = HeaderPrefix::Svix;
                }
                Scheme::Github(_) | Scheme::Stripe(_) | Scheme::Hmac(_) => {}
            }
        }
        scheme
    }
}

fn parse(named: &str) -> Result<Scheme, Failure> {
    serde_json::from_value(scheme_json(named)?).map_err(|error| {
        Failure::usage(format!("--scheme {named}: {error}"))
            .hint("for example github, or '{\"scheme\":\"hmac\",\"header\":\"x-signature\"}'")
    })
}

fn guess(text: &str) -> Result<Scheme, Failure> {
    if text.starts_with("whsec_") {
        return Ok(Scheme::default());
    }
    if text.starts_with("whpk_") || text.starts_with("whsk_") {
        return Ok(Scheme::StandardAsymmetric(StandardAsymmetric::default()));
    }
    Err(Failure::usage("the secret's form does not say how it signs")
        .hint("name the scheme: --scheme github"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(secret: &str, scheme: Option<&str>) -> Result<String, String> {
        let trust = Trust {
            secret: Some(secret.into()),
            secret_file: None,
            scheme: scheme.map(Into::into),
        };
        match trust.read() {
            Ok(found) => Ok(found.unwrap().scheme.name().to_owned()),
            Err(failure) => Err(failure.text()),
        }
    }

    #[test]
    fn the_secrets_form_or_a_word_or_json_says_the_scheme() {
        let whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let public = crate::model::Secret::from_seed([1; 32]).public_key().unwrap().to_string();
        assert_eq!(read(whsec, None).unwrap(), "standard");
        assert_eq!(read(&public, None).unwrap(), "standard_asymmetric");
        assert_eq!(read("hunter2", Some("github")).unwrap(), "github");
        let json = r#"{"scheme":"hmac","header":"x-s","name":"old"}"#;
        assert_eq!(read("hunter2", Some(json)).unwrap(), "old");
        for (secret, scheme) in
            [("hunter2", None), ("hunter2", Some("standard")), (whsec, Some("rsa"))]
        {
            let why = read(secret, scheme).unwrap_err();
            assert!(why.starts_with("error: ") && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn svix_names_are_recognised() {
        let mut headers = HeaderMap::new();
        let trust = Trust {
            secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
            secret_file: None,
            scheme: None,
        };
        let check = trust.read().unwrap().unwrap();
        assert_eq!(check.scheme(&headers).signature_header(), "webhook-signature");
        headers.insert("svix-signature", http::HeaderValue::from_static("v1,x"));
        assert_eq!(check.scheme(&headers).signature_header(), "svix-signature");
    }
}
