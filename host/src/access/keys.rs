//! The ring of API keys: all of them in memory, found by their hash.
//!
//! Every change goes to the store first. When a key was used is noted in memory and written
//! down now and then, never while a request waits.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
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

/// Most keys of an application that can be used.
pub const MAX_KEYS: u32 = 200;
/// Most keys of an application that ended and are still shown, the last to end first.
const MAX_ENDED: usize = 50;
/// How long one that ended is shown.
const ENDED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

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
    /// It is no longer what the change was meant for.
    #[error("was changed meanwhile")]
    Changed,
    /// Without it nobody could make keys any more.
    #[error("it is the last admin key that may do everything")]
    Last,
    /// The application has as many as it may.
    #[error("the application has {0} keys")]
    TooMany(usize),
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
            until: key.expires_at,
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
                until: None,
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
        if let Some(before) = all.get(&held.hash) {
            // When it was used may not be written down yet.
            held.written.store(before.written.load(Ordering::Relaxed), Ordering::Relaxed);
        }
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

    /// The keys of an application, or all, the newest first.
    pub fn list(&self, of: Option<ApplicationId>) -> Vec<ApiKey> {
        let is_its = |held: &&Arc<Held>| of.is_none() || held.key.application == of;
        let mut all: Vec<_> =
            self.read().values().filter(is_its).map(|held| held.shown()).collect();
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
        self.one_more(new.application, None)?;
        let (stored, text) = self.make(new)?;
        self.store.create_key(&stored).await?;
        Ok((self.put(stored), text))
    }

    /// Whether an application may have one more, `replaced` left out. The platform may have as
    /// many as it makes.
    fn one_more(
        &self,
        application: Option<ApplicationId>,
        replaced: Option<KeyId>,
    ) -> Result<(), KeyError> {
        if application.is_none() {
            return Ok(());
        }
        let now = self.clock.now();
        let all = self.read();
        let of_its = all.values().filter(|held| held.key.application == application);
        let used = of_its.filter(|held| Some(held.key.id) != replaced && held.key.is_usable(now));
        match used.count() {
            used if used < MAX_KEYS as usize => Ok(()),
            used => Err(KeyError::TooMany(used)),
        }
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

    /// Makes a key in place of another, which goes on until `end`, if that is still what the
    /// caller takes it for.
    pub async fn rotate(
        &self,
        id: KeyId,
        expected: impl FnOnce(&ApiKey) -> bool + Send,
        end: Timestamp,
    ) -> Result<(ApiKey, String), KeyError> {
        let _changing = self.changing.lock().await;
        let old = self.usable(id)?;
        if !expected(&old.key) {
            return Err(KeyError::Changed);
        }
        self.one_more(old.key.application, Some(id))?;
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

    /// Lets a key in no more, if it is still what the caller takes it for.
    pub async fn revoke(
        &self,
        id: KeyId,
        expected: impl FnOnce(&ApiKey) -> bool + Send,
    ) -> Result<(), KeyError> {
        let _changing = self.changing.lock().await;
        let now = self.clock.now();
        let held = self.read().values().find(|held| held.key.id == id).cloned();
        let held = held.filter(|held| held.key.revoked_at.is_none()).ok_or(KeyError::NotFound)?;
        if !expected(&held.key) {
            return Err(KeyError::Changed);
        }
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

    /// Deletes keys that ended long ago, and those of an application that ended before many
    /// others: what anybody may make and end again must not fill memory.
    pub async fn purge(&self) {
        let _changing = self.changing.lock().await;
        let gone = overdue(self.read().values().map(|held| &held.key), self.clock.now());
        if gone.is_empty() {
            return;
        }
        match self.store.delete_keys(&gone).await {
            Ok(()) => {
                let gone: HashSet<KeyId> = gone.into_iter().collect();
                let mut all = self.held.write().unwrap_or_else(PoisonError::into_inner);
                all.retain(|_, held| !gone.contains(&held.key.id));
            }
            Err(error) => tracing::warn!(%error, "keys that ended stay"),
        }
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

/// Keys that ended and are not shown any more.
fn overdue<'a>(keys: impl Iterator<Item = &'a ApiKey>, now: Timestamp) -> Vec<KeyId> {
    let mut ended: HashMap<Option<ApplicationId>, Vec<(Timestamp, KeyId)>> = HashMap::new();
    for key in keys {
        if let Some(end) = key.revoked_at.or(key.expires_at).filter(|_| !key.is_usable(now)) {
            ended.entry(key.application).or_default().push((end, key.id));
        }
    }
    let mut gone = Vec::new();
    for mut of_one in ended.into_values() {
        of_one.sort_unstable_by_key(|ended| std::cmp::Reverse(*ended));
        let is_old = |&(end, _): &(Timestamp, KeyId)| end + ENDED_FOR < now;
        let kept = of_one.iter().take(MAX_ENDED).take_while(|ended| !is_old(ended)).count();
        gone.extend(of_one.drain(kept..).map(|(_, id)| id));
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{model::KeyScope, store::sqlite::SqliteStore};

    async fn ring(configured: Option<&str>) -> (tempfile::TempDir, Keyring, ApplicationId) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let store: SharedStore = Arc::new(SqliteStore::open(&path).await.unwrap());
        let clock = Clock::starting_at(Timestamp::from_second(1_800_000_000).unwrap());
        let application = crate::model::Application {
            id: ApplicationId::new(clock.now()),
            name: "shop".into(),
            created_at: clock.now(),
        };
        store.create_application(&application).await.unwrap();
        let ring = Keyring::load(store, configured, clock).await.unwrap();
        (directory, ring, application.id)
    }

    fn new(application: Option<ApplicationId>) -> NewKey {
        NewKey { name: "a key".into(), application, scopes: Scopes::ALL, expires_at: None }
    }

    #[tokio::test]
    async fn a_key_is_let_in_until_it_is_revoked_or_replaced() {
        let (_directory, ring, shop) = ring(None).await;
        let (key, text) = ring.create(new(Some(shop))).await.unwrap();
        let caller = ring.identify(&text).unwrap();
        assert_eq!((&*caller.id, &caller.reach), (&*key.id.to_string(), &Reach::Application(shop)));
        let (next, newer) = ring.rotate(key.id, |_| true, ring.clock.now()).await.unwrap();
        assert!(ring.identify(&text).is_none() && ring.identify(&newer).is_some());
        ring.revoke(next.id, |_| true).await.unwrap();
        assert!(ring.identify(&newer).is_none());
        assert!(matches!(ring.revoke(next.id, |_| true).await, Err(KeyError::NotFound)));
        assert!(matches!(
            ring.rotate(next.id, |_| true, ring.clock.now()).await,
            Err(KeyError::NotFound)
        ));
    }

    #[tokio::test]
    async fn the_last_key_that_may_do_everything_stays() {
        let (_directory, alone, _) = ring(None).await;
        let (first, _) = alone.create(new(None)).await.unwrap();
        let reader = NewKey { scopes: [KeyScope::Read].into_iter().collect(), ..new(None) };
        alone.create(reader).await.unwrap();
        assert!(matches!(alone.revoke(first.id, |_| true).await, Err(KeyError::Last)));
        let (second, _) = alone.create(new(None)).await.unwrap();
        alone.revoke(first.id, |_| true).await.unwrap();
        assert!(matches!(alone.revoke(second.id, |_| true).await, Err(KeyError::Last)));
        let (_directory, beside, _) = ring(Some("configured")).await;
        assert!(beside.identify("configured").is_some_and(|it| it.reach == Reach::Platform));
        let (key, _) = beside.create(new(None)).await.unwrap();
        beside.revoke(key.id, |_| true).await.unwrap();
    }

    #[tokio::test]
    async fn an_application_has_only_so_many_keys_and_ended_ones_go() {
        let (_directory, ring, shop) = ring(None).await;
        let (first, _) = ring.create(new(Some(shop))).await.unwrap();
        for _ in 1..MAX_KEYS {
            ring.create(new(Some(shop))).await.unwrap();
        }
        assert!(matches!(ring.create(new(Some(shop))).await, Err(KeyError::TooMany(200))));
        ring.create(new(None)).await.unwrap();
        ring.rotate(first.id, |_| true, ring.clock.now()).await.unwrap();
        for key in ring.list(None).into_iter().filter(|key| key.application.is_some()) {
            // The replaced one may be ended as well.
            ring.revoke(key.id, |_| true).await.unwrap();
        }
        ring.purge().await;
        let left = ring.list(None);
        assert_eq!(left.iter().filter(|key| key.application == Some(shop)).count(), MAX_ENDED);
        assert_eq!(ring.store.keys().await.unwrap().len(), left.len());
        ring.create(new(Some(shop))).await.unwrap();
    }

    #[tokio::test]
    async fn when_a_key_was_used_is_not_forgotten_when_it_is_revoked() {
        let (_directory, ring, shop) = ring(None).await;
        let (key, text) = ring.create(new(Some(shop))).await.unwrap();
        ring.identify(&text).unwrap();
        ring.revoke(key.id, |_| true).await.unwrap();
        ring.write_uses().await;
        let stored = ring.store.keys().await.unwrap();
        assert!(stored[0].key.last_used_at.is_some());
    }

    #[test]
    fn what_ended_long_ago_goes_and_what_can_be_used_stays() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let month = i64::try_from(ENDED_FOR.as_secs()).unwrap();
        let key = |n, expires_at, revoked_at| ApiKey {
            id: KeyId::first_of(at(n)),
            name: "x".into(),
            application: None,
            scopes: Scopes::ALL,
            created_at: at(0),
            expires_at,
            last_used_at: None,
            revoked_at,
        };
        let keys = [
            key(1, None, None),
            key(2, Some(at(10)), None),
            key(3, None, Some(at(10))),
            key(4, None, Some(at(20))),
            key(5, Some(at(month * 9)), None),
        ];
        let mut gone = overdue(keys.iter(), at(month + 15));
        gone.sort_unstable();
        assert_eq!(gone, [keys[1].id, keys[2].id]);
    }
}
