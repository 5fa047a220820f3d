//! Portal tokens: for a while, one application's own people may look after its webhooks.
//!
//! Not stored: what a token says stands in it, under a MAC of this installation. All of an
//! application's are revoked by beginning its next epoch.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Caller, Kind, Reach};
use crate::{
    clock::Clock,
    model::{ApplicationId, KeyScope, Scopes, Timestamp},
    store::{SharedStore, StoreError},
};

/// What every portal token starts with.
pub(super) const PREFIX: &str = "hmk_portal_";
/// What the key of the MAC is derived for, so that no other use of the installation's key
/// comes to the same.
const PURPOSE: &[u8] = b"hookmill portal tokens, version 1";
/// Application, token, epoch, end, whether it may change anything.
const CLAIMS: usize = 16 + 16 + 8 + 8 + 1;
const MAC: usize = 32;

type HmacSha256 = Hmac<Sha256>;

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalToken {
    /// Its text.
    pub text: String,
    /// What the audit log calls whoever uses it.
    pub id: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// See the module.
pub struct Portal {
    store: SharedStore,
    clock: Clock,
    mac: HmacSha256,
    epochs: RwLock<HashMap<ApplicationId, u64>>,
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").finish_non_exhaustive()
    }
}

fn mac(key: &[u8]) -> HmacSha256 {
    // HMAC takes keys of any length.
    HmacSha256::new_from_slice(key).unwrap_or_else(|_| HmacSha256::new(&Default::default()))
}

impl Portal {
    pub(super) async fn load(
        store: SharedStore,
        installation_key: &[u8; 32],
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let epochs = RwLock::new(store.portal_epochs().await?.into_iter().collect());
        let derived = mac(installation_key).chain_update(PURPOSE).finalize().into_bytes();
        let derived = Zeroizing::new(<[u8; MAC]>::from(derived));
        Ok(Self { store, clock, mac: mac(&*derived), epochs })
    }

    fn epoch(&self, application: ApplicationId) -> u64 {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.get(&application).copied().unwrap_or_default()
    }

    /// Makes a token.
    pub fn issue(
        &self,
        application: ApplicationId,
        lifetime: Duration,
        may_change: bool,
    ) -> PortalToken {
        let expires_at = self.clock.now() + lifetime;
        let id = Uuid::new_v4();
        let mut bytes = Vec::with_capacity(CLAIMS + MAC);
        bytes.extend_from_slice(application.as_bytes());
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&self.epoch(application).to_be_bytes());
        bytes.extend_from_slice(&expires_at.as_millisecond().to_be_bytes());
        bytes.push(u8::from(may_change));
        let tag = self.mac.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        PortalToken {
            text: format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)),
            id: actor(id),
            expires_at,
        }
    }

    /// Whose token this is.
    pub(super) fn identify(&self, text: &str) -> Option<Arc<Caller>> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (claims, tag) = bytes.split_at_checked(CLAIMS)?;
        // In constant time.
        self.mac.clone().chain_update(claims).verify_slice(tag).ok()?;
        let (application, rest) = claims.split_first_chunk::<16>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (end, may_change) = rest.split_first_chunk::<8>()?;
        let application = ApplicationId::from_bytes(*application);
        let end = i64::from_be_bytes(*end);
        if self.clock.now().as_millisecond() >= end
            || u64::from_be_bytes(*epoch) != self.epoch(application)
        {
            return None;
        }
        let scope = if may_change == [1] { KeyScope::Manage } else { KeyScope::Read };
        Some(Arc::new(Caller {
            id: actor(Uuid::from_bytes(*id)).into(),
            name: "portal".into(),
            kind: Kind::Portal,
            reach: Reach::Application(application),
            scopes: Scopes::from_iter([scope]),
            until: Timestamp::from_millisecond(end).ok(),
        }))
    }

    /// Voids every token that an application has.
    pub async fn revoke(&self, application: ApplicationId) -> Result<(), StoreError> {
        let epoch = self.store.next_portal_epoch(application).await?;
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        // Two at once may come back in another order than they were counted.
        let known = epochs.entry(application).or_default();
        *known = epoch.max(*known);
        Ok(())
    }
}

fn actor(id: Uuid) -> String {
    format!("portal:{}", id.simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Application, store::sqlite::SqliteStore};

    #[tokio::test]
    async fn a_token_is_good_for_its_application_until_it_ends_or_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("portal.db")).await.unwrap();
        let store: SharedStore = Arc::new(store);
        let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).unwrap());
        let id = ApplicationId::new(clock.now());
        let application = Application { id, name: "shop".into(), created_at: clock.now() };
        store.create_application(&application).await.unwrap();
        let portal = Portal::load(store.clone(), &[1; 32], clock).await.unwrap();
        let hour = Duration::from_secs(3600);
        let (changes, reads) = (portal.issue(id, hour, true), portal.issue(id, hour, false));
        let caller = portal.identify(&changes.text).unwrap();
        assert_eq!((&caller.reach, &*caller.id), (&Reach::Application(id), &*changes.id));
        assert!(caller.scopes.allow(KeyScope::Manage) && !caller.scopes.allow(KeyScope::Publish));
        let reader = portal.identify(&reads.text).unwrap();
        assert!(reader.scopes.allow(KeyScope::Read) && !reader.scopes.allow(KeyScope::Manage));
        assert_eq!(portal.identify(&portal.issue(id, Duration::ZERO, true).text), None);
        // No byte of it can be another, and another installation's is none here.
        let bytes = URL_SAFE_NO_PAD.decode(&changes.text[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(forged));
            assert_eq!(portal.identify(&forged), None, "{at}");
        }
        for cut in 0..changes.text.len() {
            assert_eq!(portal.identify(&changes.text[..cut]), None, "{cut}");
        }
        let elsewhere = Portal::load(store.clone(), &[2; 32], clock).await.unwrap();
        assert_eq!(elsewhere.identify(&changes.text), None);
        portal.revoke(id).await.unwrap();
        assert_eq!(portal.identify(&changes.text), None);
        let later = portal.issue(id, hour, true);
        assert!(portal.identify(&later.text).is_some());
        // A restart brings none of them back.
        let again = Portal::load(store, &[1; 32], clock).await.unwrap();
        assert!(again.identify(&changes.text).is_none() && again.identify(&later.text).is_some());
    }
}
