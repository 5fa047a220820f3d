//! Limits are kept for whom there is, follow a key that is replaced, and go with their holder.

use super::*;
use crate::{
    model::{ApiKey, Holder, KeyId, Limits, Scopes},
    store::{Keys, LimitDocuments, StoredKey},
};

fn key(application: ApplicationId, hash: u8) -> StoredKey {
    let key = ApiKey {
        id: KeyId::new(at(0)),
        name: "a key".into(),
        application: Some(application),
        scopes: Scopes::ALL,
        created_at: at(0),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    StoredKey { key, hash: [hash; 32] }
}

fn holder(key: &StoredKey) -> Holder {
    Holder::Key(key.key.id.to_string().into())
}

impl Bench {
    async fn holders(&self) -> Vec<Holder> {
        let all = self.store.limits().await.unwrap();
        all.into_iter().map(|(holder, _)| holder).collect()
    }
}

#[tokio::test]
async fn limits_follow_a_key_and_go_with_their_holder() {
    let bench = Bench::new().await;
    let shop =
        Application { id: ApplicationId::new(at(0)), name: "shop".into(), created_at: at(0) };
    bench.store.create_application(&shop).await.unwrap();
    let [old, new, unlimited] = [1, 2, 3].map(|hash| key(shop.id, hash));
    bench.store.create_key(&old).await.unwrap();
    bench.store.create_key(&unlimited).await.unwrap();
    let limits = Limits { subscriptions: Some(3), ..Limits::default() };
    // Nobody has any who is not there.
    let event_type = Holder::EventType("never.made".parse().unwrap());
    let nobody = Holder::Application(ApplicationId::new(at(1)));
    for absent in [holder(&new), event_type, nobody, Holder::Key("configured-key".into())] {
        let refused = bench.store.put_limits(&absent, &limits).await;
        assert!(matches!(refused, Err(StoreError::NotFound)), "{absent}");
    }
    let of_shop = Holder::Application(shop.id);
    for there in [&of_shop, &holder(&old)] {
        bench.store.put_limits(there, &limits).await.unwrap();
    }
    bench.store.replace_key(old.key.id, at(9), &new).await.unwrap();
    let mut found = bench.store.limits().await.unwrap();
    found.retain(|(of, _)| *of == holder(&new));
    assert_eq!(found, [(holder(&new), limits)]);
    bench.store.delete_keys(&[old.key.id, unlimited.key.id]).await.unwrap();
    let left = bench.holders().await;
    assert!(left.len() == 2 && left.contains(&of_shop) && left.contains(&holder(&new)));
    // None of one's own is no document.
    bench.store.put_limits(&of_shop, &Limits::default()).await.unwrap();
    assert_eq!(bench.holders().await, [holder(&new)]);
    bench.store.delete_application(shop.id).await.unwrap();
    assert_eq!(bench.holders().await, []);
}
