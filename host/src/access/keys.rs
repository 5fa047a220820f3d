//! The ring of API keys: all of them in memory, found by their hash.
//!
//! Every change goes to the store first. When a key was used is noted in memory and written
//! down now and then, never while a request waits.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use super::{Caller, Kind, Reach};
use crate::{
    clock::Clock,
    model::{ApiKey, ApplicationId, KeyId, Scopes, Timestamp},
    store::{SharedStore, StoreError, StoredKey},
};

/// What an admin key starts with, so leaked ones can be found by searching.
const ADMIN_PREFIX: &str = "hmk_admin_";
/// What an application's starts with.
const APPLICATION_PREFIX: &str = "hmk_app_";
/// How exactly the last use is known, in milliseconds.
const USE_STEP: i64 = 60_000;

/// A new key: its prefix and 256 random bits in 43 characters. Fails if the operating system
/// has no randomness to give.
pub fn generate_key(application: Option<ApplicationId>) -> Result<String, getrandom::Error> {
    let mut bits = [0u8; 32];
    getrandom::fill(&mut bits)?;
    let prefix = if application.is_some() { APPLICATION_PREFIX } else { ADMIN_PREFIX };
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bits)))
}

/// What is stored of a key. Its 256 random bits make a slow hash pointless.
pub fn hash_key(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// Whose it is; none for the platform's.
    pub application: Option<ApplicationId>,
    /// What it may do.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Why a key was not made, replaced or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such key, or it was revoked.
    #[error("not found")]
    NotFound,
    /// Without it nobody could make keys any more.
    #[error("it is the last admin key that may do everything")]
    Last,
    /// The system has no randomness to give.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Held {
    key: ApiKey,
    hash: [u8; 32],
    caller: Arc<Caller>,
    /// In milliseconds; zero for never.
    used: AtomicI64,
    /// What the store knows of that.
    written: AtomicI64,
}

impl Held {
    fn new(stored: StoredKey) -> Arc<Self> {
        let StoredKey { key, hash } = stored;
        let caller = Caller {
            id: key.id.to_string().into(),
            name: key.name.as_str().into(),
            kind: Kind::Key,
            reach: key.application.map_or(Reach::Platform, Reach::Application),
            scopes: key.scopes,
        };
        let used = key.last_used_at.map_or(0, Timestamp::as_millisecond);
        Arc::new(Self {
            key,
            hash,
            caller: Arc::new(caller),
            used: AtomicI64::new(used),
            written: AtomicI64::new(used),
        })
    }

    /// As it is now.
    fn shown(&self) -> ApiKey {
        let used = self.used.load(Ordering::Relaxed);
        let last = Timestamp::from_millisecond(used).ok().filter(|_| used > 0);
        ApiKey { last_used_at: last, ..self.key.clone() }
    }
}

/// See the module.
pub struct Keyring {
    store: SharedStore,
    clock: Clock,
    /// The configured key.
    configured: Option<([u8; 32], Arc<Caller>)>,
    held: RwLock<HashMap<[u8; 32], Arc<Held>>>,
    /// Held through a change, so that two cannot each revoke the last but one.
    changing: Mutex<()>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.read().len())
    }
}

impl Keyring {
    pub(super) async fn load(
        store: SharedStore,
        configured: Option<&str>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let held = store.keys().await?.into_iter().map(|key| (key.hash, Held::new(key)));
        let configured = configured.map(|key| {
            let caller = Caller {
                id: "configured-key".into(),
                name: "configured-key".into(),
                kind: Kind::Key,
                reach: Reach::Platform,
                scopes: Scopes::ALL,
            };
            (hash_key(key), Arc::new(caller))
        });
        Ok(Self {
            held: RwLock::new(held.collect()),
            store,
            clock,
            configured,
            changing: Mutex::default(),
        })
    }

    /// The map is whole between any two statements that change it.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<[u8; 32], Arc<Held>>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: StoredKey) -> ApiKey {
        let held = Held::new(key);
        let shown = held.shown();
        let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(held.hash, held);
        shown
    }

    /// Whose key this is. The look-up compares hashes: how long it takes may tell something of
    /// a hash, and nothing of a key with 256 random bits behind it. A configured key may have
    /// fewer, so its hash is compared to its end.
    pub(super) fn identify(&self, text: &str) -> Option<Arc<Caller>> {
        let hash = hash_key(text);
        if let Some((configured, caller)) = &self.configured
            && bool::from(configured.ct_eq(&hash))
        {
            return Some(Arc::clone(caller));
        }
        let now = self.clock.now();
        let all = self.read();
        let held = all.get(&hash).filter(|held| held.key.is_usable(now))?;
        let now = now.as_millisecond();
        if now - held.used.load(Ordering::Relaxed) >= USE_STEP {
            held.used.store(now, Ordering::Relaxed);
        }
        Some(Arc::clone(&held.caller))
    }

    /// All keys, the newest first.
    pub fn list(&self) -> Vec<ApiKey> {
        let mut all: Vec<_> = self.read().values().map(|held| held.shown()).collect();
        all.sort_unstable_by_key(|key| std::cmp::Reverse(key.id));
        all
    }

    /// One key.
    pub fn get(&self, id: KeyId) -> Option<ApiKey> {
        self.read().values().find(|held| held.key.id == id).map(|held| held.shown())
    }

    /// Whether there is any, or one is configured.
    pub fn is_empty(&self) -> bool {
        self.configured.is_none() && self.read().is_empty()
    }

    /// Makes a key; answers its text, which nobody will see again.
    pub async fn create(&self, new: NewKey) -> Result<(ApiKey, String), KeyError> {
        let _changing = self.changing.lock().await;
        let (stored, text) = self.make(new)?;
        self.store.create_key(&stored).await?;
        Ok((self.put(stored), text))
    }

    fn make(&self, new: NewKey) -> Result<(StoredKey, String), KeyError> {
        let text = generate_key(new.application).map_err(KeyError::Random)?;
        let now = self.clock.now();
        let key = ApiKey {
            id: KeyId::new(now),
            name: new.name,
            application: new.application,
            scopes: new.scopes,
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        Ok((StoredKey { key, hash: hash_key(&text) }, text))
    }

    /// Makes a key in place of another, which goes on until `end`.
    pub async fn rotate(&self, id: KeyId, end: Timestamp) -> Result<(ApiKey, String), KeyError> {
        let _changing = self.changing.lock().await;
        let old = self.usable(id)?;
        let (stored, text) = self.make(NewKey {
            name: old.key.name.clone(),
            application: old.key.application,
            scopes: old.key.scopes,
            expires_at: old.key.expires_at,
        })?;
        self.store.replace_key(id, end, &stored).await?;
        let end = old.key.expires_at.map_or(end, |already| already.min(end));
        let key = ApiKey { expires_at: Some(end), ..old.shown() };
        self.put(StoredKey { key, hash: old.hash });
        Ok((self.put(stored), text))
    }

    /// Lets a key in no more.
    pub async fn revoke(&self, id: KeyId) -> Result<(), KeyError> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let held = self.read().values().find(|held| held.key.id == id).cloned();
        let held = held.filter(|held| held.key.revoked_at.is_none()).ok_or(KeyError::NotFound)?;
        let keeps_open = |held: &Arc<Held>| {
            // One that ends by itself is no key to rely on.
            held.key.is_usable(now) && held.key.is_administrators() && held.key.expires_at.is_none()
        };
        if keeps_open(&held)
            && self.configured.is_none()
            && self.read().values().filter(|held| keeps_open(held)).count() == 1
        {
            return Err(KeyError::Last);
        }
        self.store.revoke_key(id, now).await?;
        let key = ApiKey { revoked_at: Some(now), ..held.shown() };
        self.put(StoredKey { key, hash: held.hash });
        Ok(())
    }

    fn usable(&self, id: KeyId) -> Result<Arc<Held>, KeyError> {
        let now = self.clock.now();
        let found = self.read().values().find(|held| held.key.id == id).cloned();
        found.filter(|held| held.key.is_usable(now)).ok_or(KeyError::NotFound)
    }

    /// Forgets an application's keys; the store deleted them with it.
    pub fn forget(&self, application: ApplicationId) {
        let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, held| held.key.application != Some(application));
    }

    /// Writes down when keys were last used.
    pub async fn write_uses(&self) {
        let new: Vec<(Arc<Held>, i64)> = self
            .read()
            .values()
            .map(|held| (Arc::clone(held), held.used.load(Ordering::Relaxed)))
            .filter(|(held, used)| held.written.load(Ordering::Relaxed) != *used)
            .collect();
        let used: Vec<_> = new
            .iter()
            .filter_map(|(held, used)| {
                Some((held.key.id, Timestamp::from_millisecond(*used).ok()?))
            })
            .collect();
        if used.is_empty() {
            return;
        }
        match self.store.touch_keys(&used).await {
            Ok(()) => {
                for (held, used) in new {
                    held.written.store(used, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::warn!(%error, "when keys were last used was not written down"),
        }
    }
}
