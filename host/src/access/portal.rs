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
        if self.clock.now().as_millisecond() >= i64::from_be_bytes(*end)
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
