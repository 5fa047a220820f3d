//! Who is let in, and what they may do: keys, tokens of an identity provider, portal tokens.
//!
//! Owns what is known of each and how it is checked. Never decides what a route needs, and
//! never writes a secret anywhere: of keys it knows hashes only.

mod jwks;
mod jwt;
mod keys;
mod portal;
mod ring;
mod token;

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    model::{ApplicationId, Scopes, Timestamp},
    store::{SharedStore, StoreError},
};

pub use jwks::JwksSource;
pub use jwt::{JwtError, JwtSettings, Jwts};
pub use keys::{KeyError, Keyring, MAX_KEYS, NewKey, generate_key, hash_key};
pub use portal::{Portal, PortalToken};

/// How often what is known of use is written down, and old entries of the audit log go.
const UPKEEP: Duration = Duration::from_secs(60);
/// Most entries of the audit log deleted in one transaction.
const PURGE: u32 = 1_000;

/// What a caller can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every application, and what belongs to none.
    Platform,
    /// One application.
    Application(ApplicationId),
    /// One application, by its name or id as a token says it.
    Claimed(Arc<str>),
}

/// By what a caller is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A key of this server, stored or configured.
    Key,
    /// A token of an identity provider.
    Jwt,
    /// A portal token: for a few routes only.
    Portal,
}

/// Whoever is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What the audit log and the history call it.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// By what it is known.
    pub kind: Kind,
    /// What it can reach.
    pub reach: Reach,
    /// What it may do there.
    pub scopes: Scopes,
    /// When it is let in no more, if that is known.
    pub until: Option<Timestamp>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No such key, or one that was revoked or has expired.
    #[error("The key is not one of this server's, or was revoked, or has expired")]
    Key,
    /// A portal token that is not this server's, was revoked or has expired.
    #[error("The portal token is not one of this server's, or was revoked, or has expired")]
    Portal,
    /// A token of an identity provider.
    #[error("The token is not accepted: {0}")]
    Jwt(#[from] JwtError),
}

/// Everybody who is let in.
#[derive(Debug)]
pub struct Access {
    /// By keys.
    pub keys: Keyring,
    /// By portal tokens.
    pub portal: Portal,
    jwts: Option<Jwts>,
    clock: Clock,
}

impl Access {
    /// Reads who is let in.
    pub async fn load(
        store: SharedStore,
        configured: Option<&str>,
        installation_key: &[u8; 32],
        jwts: Option<Jwts>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            keys: Keyring::load(store.clone(), configured, clock).await?,
            portal: Portal::load(store, installation_key, clock).await?,
            jwts,
            clock,
        })
    }

    /// Whose credential this is. Asks no database; asks an identity provider for its keys at
    /// most now and then.
    pub async fn identify(&self, credential: &str) -> Result<Arc<Caller>, Denied> {
        if credential.starts_with(portal::PREFIX) {
            return self.portal.identify(credential).ok_or(Denied::Portal);
        }
        if let Some(caller) = self.keys.identify(credential) {
            return Ok(caller);
        }
        match &self.jwts {
            Some(jwts) if jwt::looks_like_one(credential) => {
                Ok(jwts.identify(credential, self.clock.now()).await?)
            }
            _ => Err(Denied::Key),
        }
    }

    /// Writes down what was used, and lets old entries of the audit log go, until it is dropped.
    /// `audit_for` says how long those are kept.
    pub async fn keep(
        self: Arc<Self>,
        store: SharedStore,
        audit_for: impl Fn() -> Option<Duration>,
    ) {
        let reading = async {
            match &self.jwts {
                Some(jwts) => jwts.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(reading, self.tidy_up(&store, audit_for));
    }

    async fn tidy_up(&self, store: &SharedStore, audit_for: impl Fn() -> Option<Duration>) {
        let mut round = tokio::time::interval(UPKEEP);
        loop {
            round.tick().await;
            self.keys.write_uses().await;
            self.keys.purge().await;
            let Some(keep) = audit_for() else { continue };
            let now = self.clock.now();
            let Ok(before) = now.checked_sub(keep) else { continue };
            loop {
                match store.purge_audit(before, PURGE).await {
                    Ok(gone) if gone == u64::from(PURGE) => tokio::task::yield_now().await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "old entries of the audit log stay");
                        break;
                    }
                }
            }
        }
    }
}
