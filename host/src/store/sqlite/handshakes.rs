//! Handshakes: one row for each subscription whose endpoint was asked.

use async_trait::async_trait;
use url::Url;

use super::{
    Result, SqliteStore,
    codec::{col, col_time, damaged, millis},
    failed,
};
use crate::{
    model::{HandshakeRecord, SubscriptionId},
    store::{Handshakes, StoreError},
};

#[async_trait]
impl Handshakes for SqliteStore {
    async fn put_handshake(&self, id: SubscriptionId, record: &HandshakeRecord) -> Result<()> {
        let mut write = self.write().await?;
        let kept = sqlx::query(
            "INSERT OR REPLACE INTO handshakes
                 (subscription_id, endpoint, origin, at, rate, refused, waiting)
             SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM subscriptions WHERE id = ?1",
        )
        .bind(id.as_bytes().as_slice())
        .bind(record.endpoint.as_str())
        .bind(&record.origin)
        .bind(millis(record.at))
        .bind(record.rate)
        .bind(record.refused.as_deref())
        .bind(record.waiting)
        .execute(&mut *write.connection)
        .await
        .map_err(failed)?;
        write.done();
        if kept.rows_affected() == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }

    async fn handshake(&self, id: SubscriptionId) -> Result<Option<HandshakeRecord>> {
        let row = sqlx::query(
            "SELECT endpoint, origin, at, rate, refused, waiting FROM handshakes
             WHERE subscription_id = ?",
        )
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        row.map(|row| {
            Ok(HandshakeRecord {
                endpoint: Url::parse(col(&row, 0)?).map_err(|_| damaged("a URL"))?,
                origin: col(&row, 1)?,
                at: col_time(&row, 2)?,
                rate: col(&row, 3)?,
                refused: col(&row, 4)?,
                waiting: col(&row, 5)?,
            })
        })
        .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            Application, ApplicationId, Policy, Secret, Subscription, SubscriptionState, Timestamp,
        },
        store::Resources,
    };

    #[tokio::test]
    async fn the_last_answer_is_kept_for_as_long_as_its_subscription() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let application =
            Application { id: ApplicationId::new(now), name: "default".into(), created_at: now };
        store.create_application(&application).await.unwrap();
        let subscription = Subscription {
            id: SubscriptionId::new(now),
            application: application.id,
            name: None,
            description: None,
            endpoint: "https://shop.example/hook".parse().unwrap(),
            event_types: vec!["**".parse().unwrap()],
            channels: Vec::new(),
            filter: None,
            pipeline: vec![],
            output_schema: None,
            headers: [].into(),
            policy: Policy::default(),
            credentials: crate::model::Credentials::default(),
            state: SubscriptionState::Paused,
            secrets: vec![
                Secret::from_key(vec![1; 32]).unwrap(),
                Secret::from_seed([2; 32]),
                Secret::named("github", "It's a Secret to Everybody").unwrap(),
            ],
            created_at: now,
            updated_at: now,
        };
        store.create_subscription(&subscription).await.unwrap();
        // Every kind of secret comes back as it went in.
        assert_eq!(store.subscriptions().await.unwrap(), std::slice::from_ref(&subscription));

        let id = subscription.id;
        assert_eq!(store.handshake(id).await.unwrap(), None);
        let refused = HandshakeRecord {
            endpoint: subscription.endpoint,
            origin: "events.example".into(),
            at: now,
            rate: None,
            refused: Some("it said no".into()),
            waiting: true,
        };
        let allowed =
            HandshakeRecord { rate: Some(100), refused: None, waiting: false, ..refused.clone() };
        let late = allowed.clone();
        for record in [refused, allowed] {
            store.put_handshake(id, &record).await.unwrap();
            assert_eq!(store.handshake(id).await.unwrap(), Some(record));
        }
        store.delete_subscription(id, now).await.unwrap();
        assert_eq!(store.handshake(id).await.unwrap(), None);
        // It may answer after that.
        let gone = store.put_handshake(id, &late).await;
        assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    }
}
