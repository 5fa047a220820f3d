//! Replays and the events that are not delivered everywhere, on a real file.

use super::*;
use crate::{
    model::{Pattern, Replay, ReplayFilter, ReplayId, ReplayMode, ReplayProgress, ReplayState},
    store::{Candidate, Recovery, Scope, Switch, Take},
};

impl Bench {
    /// Events at these seconds, each with one delivery that is dead.
    async fn dead(&self, seconds: std::ops::Range<i64>) -> Vec<NewEvent> {
        let events: Vec<_> = seconds.map(|second| self.event(second)).collect();
        self.store.append(&events, lease(0)).await.unwrap();
        for claimed in self.claim(OWNER, 1_000).await {
            self.record(&claimed, Next::Dead("no".into())).await;
        }
        events
    }

    fn replay(&self, mode: ReplayMode, filter: ReplayFilter) -> Replay {
        Replay {
            id: ReplayId::new(at(2_000)),
            application: self.application.id,
            mode,
            filter,
            per_second: None,
            state: ReplayState::Running,
            cursor: [0; 16],
            total: 0,
            taken: 0,
            created_at: at(2_000),
            finished_at: None,
        }
    }

    async fn candidates(&self, replay: &Replay, limit: u32) -> Vec<Candidate> {
        let listening: [Pattern; 1] = ["order.**".parse().unwrap()];
        let scope = Scope {
            application: replay.application,
            mode: replay.mode,
            filter: &replay.filter,
            listening: &listening,
            end: replay.created_at,
        };
        let found = self.store.candidates(&scope, replay.cursor, limit).await.unwrap();
        if limit > 100 {
            let count = self.store.count_candidates(&scope).await.unwrap();
            assert_eq!(count, found.len() as u64);
        }
        found
    }

    /// Takes these, as new deliveries where the mode says so; moves the cursor.
    async fn take(&self, replay: &mut Replay, found: &[Candidate]) -> Option<u64> {
        let fresh =
            |mode| (mode != ReplayMode::Original).then(|| (DeliveryId::new(at(2_001)), None));
        let takes: Vec<_> = found
            .iter()
            .map(|&candidate| Take {
                candidate,
                fresh: fresh(replay.mode),
                ordering: crate::model::Ordering::None,
            })
            .collect();
        let taken = self.store.take(replay, &takes, at(2_001)).await.unwrap();
        replay.cursor = found.last().unwrap().place;
        taken
    }

    async fn progress(&self, replay: &Replay) -> ReplayProgress {
        let stored = self.store.replay(self.application.id, replay.id).await.unwrap();
        self.store.replay_progress(replay.id).await.unwrap().of(&stored)
    }

    async fn undelivered(&self, filter: &EventFilter, before: Option<EventId>) -> Vec<EventId> {
        let page = self.store.undelivered(self.application.id, filter, before, 2).await.unwrap();
        page.items.iter().map(|event| event.id).collect()
    }
}

#[tokio::test]
async fn a_replay_takes_each_delivery_once_and_goes_on_after_a_restart() {
    let bench = Bench::new().await;
    bench.dead(0..5).await;
    let mut replay = bench.replay(ReplayMode::Original, ReplayFilter::default());
    replay.total = bench.candidates(&replay, 1_000).await.len() as u64;
    bench.store.create_replay(&replay, 10).await.unwrap();
    let found = bench.candidates(&replay, 2).await;
    let stale = replay.clone();
    assert_eq!(bench.take(&mut replay, &found).await, Some(2));
    // A task that thinks it is where it was takes nothing.
    assert_eq!(bench.take(&mut stale.clone(), &found).await, None);

    let bench = bench.reopened().await;
    let running = bench.store.running_replays().await.unwrap();
    assert_eq!((running[0].cursor, running[0].taken), (replay.cursor, 2));
    let mut replay = running[0].clone();
    let rest = bench.candidates(&replay, 1_000).await;
    assert_eq!(rest.len(), 3);
    let paused = [ReplayState::Running];
    let moved = bench.store.move_replay(replay.id, &paused, ReplayState::Paused, at(1)).await;
    assert!(moved.unwrap());
    assert_eq!(bench.take(&mut replay.clone(), &rest).await, None);
    let running = [ReplayState::Paused];
    bench.store.move_replay(replay.id, &running, ReplayState::Running, at(1)).await.unwrap();
    assert_eq!(bench.take(&mut replay, &rest).await, Some(3));
    assert!(bench.candidates(&replay, 1_000).await.is_empty());
    bench.store.move_replay(replay.id, &paused, ReplayState::Done, at(1)).await.unwrap();

    let mut claimed = bench.claim(OWNER, 3_000).await;
    assert_eq!(claimed.len(), 5);
    bench.record(&claimed.pop().unwrap(), Next::Succeeded).await;
    bench.record(&claimed.pop().unwrap(), Next::Dead("no".into())).await;
    bench.record(&claimed.pop().unwrap(), Next::Retry(at(9_000))).await;
    assert_eq!(bench.store.replay_waiting(replay.id).await.unwrap(), 2);
    let progress = bench.progress(&replay).await;
    let expected = ReplayProgress {
        total: 5,
        taken: 5,
        succeeded: 1,
        failed: 1,
        retrying: 1,
        waiting: 2,
        ..ReplayProgress::default()
    };
    assert_eq!(progress, expected);
    let filter = DeliveryFilter { replay: Some(replay.id), ..DeliveryFilter::default() };
    let page = bench.store.deliveries(bench.application.id, &filter, None, 9).await.unwrap();
    assert_eq!(page.items.len(), 5);
}

#[tokio::test]
async fn a_replay_finds_what_its_filter_says() {
    let bench = Bench::new().await;
    bench.dead(0..5).await;
    let patterns = |pattern: &str| vec![pattern.parse().unwrap()];
    let none = ReplayFilter::default;
    let cases = [
        (none(), 5),
        (ReplayFilter { event_types: patterns("order.*"), ..none() }, 5),
        (ReplayFilter { event_types: patterns("user.*"), ..none() }, 0),
        (ReplayFilter { error: Some(AttemptOutcome::HttpStatus), ..none() }, 5),
        (ReplayFilter { error: Some(AttemptOutcome::Timeout), ..none() }, 0),
        (ReplayFilter { since: Some(at(1)), until: Some(at(3)), ..none() }, 2),
        (ReplayFilter { states: vec![DeliveryState::Succeeded], ..none() }, 0),
        (ReplayFilter { subscription_ids: vec![bench.subscription], ..none() }, 5),
        (ReplayFilter { subscription_ids: vec![SubscriptionId::new(at(1)); 2], ..none() }, 0),
    ];
    for (filter, expected) in cases {
        let replay = bench.replay(ReplayMode::Original, filter);
        let found = bench.candidates(&replay, 1_000).await;
        assert_eq!(found.len(), expected, "{:?}", replay.filter);
    }
    // What came after the replay is none of its business.
    let mut early = bench.replay(ReplayMode::Original, none());
    early.created_at = at(3);
    assert_eq!(bench.candidates(&early, 1_000).await.len(), 3);
    let filter = DeliveryFilter {
        event_type: Some("order.**".parse().unwrap()),
        outcome: Some(AttemptOutcome::HttpStatus),
        state: Some(DeliveryState::Dead),
        ..DeliveryFilter::default()
    };
    let page = bench.store.deliveries(bench.application.id, &filter, None, 9).await.unwrap();
    assert_eq!(page.items.len(), 5);
    assert_eq!(page.items[0].last_outcome, Some(AttemptOutcome::HttpStatus));
}

#[tokio::test]
async fn what_is_run_again_is_a_new_delivery_in_the_place_of_the_old() {
    let bench = Bench::new().await;
    let events = bench.dead(0..2).await;
    let mut replay = bench.replay(ReplayMode::Rerun, ReplayFilter::default());
    bench.store.create_replay(&replay, 10).await.unwrap();
    let found = bench.candidates(&replay, 1_000).await;
    assert_eq!(bench.take(&mut replay, &found).await, Some(2));
    let old = events[0].deliveries[0].id;
    let delivery = bench.store.delivery(bench.application.id, old).await.unwrap();
    assert_eq!(delivery.state, DeliveryState::Cancelled);
    assert!(delivery.reason.unwrap().starts_with("run again as dlv_"));
    let claimed = bench.claim(OWNER, 3_000).await;
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|new| new.id != old && new.attempts == 0));
    for new in &claimed {
        bench.record(new, Next::Succeeded).await;
    }
    assert!(bench.undelivered(&EventFilter::default(), None).await.is_empty());
    // One that was done with stays as it is; one under way stays alone.
    let (done, fresh) = (claimed[0].id, DeliveryId::new(at(2_002)));
    let application = bench.application.id;
    assert!(bench.store.rerun(application, done, (fresh, None), at(3_000)).await.unwrap());
    assert_eq!(bench.state(done).await, DeliveryState::Succeeded);
    assert_eq!(bench.claim(OWNER, 4_000).await[0].id, fresh);
    let another = (DeliveryId::new(at(2_003)), None);
    assert!(!bench.store.rerun(application, fresh, another, at(3_000)).await.unwrap());
    let peeked = bench.store.peek(application, fresh).await.unwrap();
    assert_eq!((peeked.id, peeked.attempts), (fresh, 0));
}

#[tokio::test]
async fn what_was_missed_is_delivered_once() {
    let bench = Bench::new().await;
    let mut missed: Vec<_> = (0..4).map(|second| bench.event(second)).collect();
    for event in &mut missed[1..] {
        event.deliveries.clear();
    }
    let own = Event { event_type: "hookmill.test".parse().unwrap(), ..(*missed[3].event).clone() };
    missed[3].event = Arc::new(own);
    bench.store.append(&missed, lease(0)).await.unwrap();
    let filter = ReplayFilter {
        subscription_ids: vec![bench.subscription],
        since: Some(at(0)),
        ..ReplayFilter::default()
    };
    let mut replay = bench.replay(ReplayMode::Missing, filter);
    bench.store.create_replay(&replay, 10).await.unwrap();
    let found = bench.candidates(&replay, 1_000).await;
    assert_eq!(found.len(), 2);
    assert_eq!(bench.take(&mut replay, &found).await, Some(2));
    // Another job that found the same at the same time adds nothing.
    let mut other = bench.replay(ReplayMode::Missing, replay.filter.clone());
    bench.store.create_replay(&other, 10).await.unwrap();
    assert_eq!(bench.take(&mut other, &found).await, Some(0));
    let event = bench.store.event(bench.application.id, missed[1].event.id).await.unwrap();
    assert_eq!(event.deliveries, 1);
    assert_eq!(bench.claim(OWNER, 3_000).await.len(), 3);
}

#[tokio::test]
async fn events_are_listed_until_they_are_delivered_everywhere() {
    let bench = Bench::new().await;
    let events: Vec<_> = (0..4).map(|second| bench.event(second)).collect();
    bench.store.append(&events, lease(0)).await.unwrap();
    let ids: Vec<_> = events.iter().rev().map(|new| new.event.id).collect();
    let all = EventFilter::default();
    assert_eq!(bench.undelivered(&all, None).await, ids[..2]);
    assert_eq!(bench.undelivered(&all, Some(ids[1])).await, ids[2..]);
    // Retention may take the event that a page ended with.
    for (gone, rest) in [(at(2), &ids[2..]), (at(9), &ids[..2]), (at(0), &[])] {
        let place = EventId::first_of(gone);
        assert_eq!(bench.undelivered(&all, Some(place)).await, rest, "{gone}");
    }
    let late = EventFilter { since: Some(at(3)), ..EventFilter::default() };
    assert_eq!(bench.undelivered(&late, None).await, ids[..1]);
    let claimed = bench.claim(OWNER, 10).await;
    let ends = [
        Next::Succeeded,
        Next::Dead("no".into()),
        Next::Filtered("small".into()),
        Next::Held("paused".into()),
    ];
    for (claimed, next) in claimed.iter().zip(ends) {
        bench.record(claimed, next).await;
    }
    assert_eq!(bench.undelivered(&all, None).await, [ids[0], ids[2]]);
}

#[tokio::test]
async fn old_replays_are_forgotten_and_running_ones_are_not() {
    let bench = Bench::new().await;
    let (application, mut first) = (bench.application.id, None);
    for second in 0..5 {
        let mut replay = bench.replay(ReplayMode::Original, ReplayFilter::default());
        replay.id = ReplayId::new(at(second));
        replay.state = if second == 0 { ReplayState::Paused } else { ReplayState::Done };
        bench.store.create_replay(&replay, 2).await.unwrap();
        first.get_or_insert(replay.id);
    }
    let page = bench.store.replays(application, None, 10).await.unwrap();
    // Two that had ended when the last one was added, that one, and the paused one.
    assert_eq!((page.items.len(), page.items[3].id), (4, first.unwrap()));
    let page = bench.store.replays(application, Some(page.items[1].id), 1).await.unwrap();
    assert!(page.more && page.items.len() == 1);
}

#[tokio::test]
async fn what_took_a_pipelines_place_is_kept_before_it_is_recorded() {
    let bench = Bench::new().await;
    let step = |version: &str| ResolvedStep {
        name: "redact".into(),
        version: version.into(),
        kept: crate::model::Kept::default(),
        sha256: Sha256([1; 32]),
        config: "{}".into(),
        on_error: OnError::Retry,
    };
    let named = bench.store.intern_pipeline(&[step("1.0.0")], None).await.unwrap();
    let other = bench.store.intern_pipeline(&[step("1.0.1")], None).await.unwrap();
    let mut event = bench.event(0);
    event.deliveries[0].pipeline = Some(named);
    bench.store.append(&[event], lease(0)).await.unwrap();
    let key = bench.claim(OWNER, 1).await[0].key;
    let body = Bytes::from_static(b"other");
    let message = Message { content_type: "text/plain".into(), headers: vec![], body };
    let step = StepReport {
        plugin: "redact".into(),
        version: "1.0.1".into(),
        verdict: StepVerdict::Deliver,
        fuel: 1,
        duration_us: 1,
        memory_bytes: 1,
        shared: false,
        learned: false,
        read_all: false,
        reads: vec![],
        log: vec![],
    };
    let run = Arc::new(PipelineRun { outcome: Outcome::Send(message), steps: vec![step] });
    let switch = Switch { delivery: key, run: Some((other, Arc::clone(&run))) };
    bench.store.switch(&switch).await.unwrap();
    // The server is killed here: its lease is void for the next one.
    let claimed = bench.claim(OWNER + 1, 2).await;
    assert_eq!((claimed[0].pipeline, claimed[0].run.as_deref()), (Some(other), Some(&*run)));
    bench.store.switch(&Switch { delivery: key, run: None }).await.unwrap();
    let claimed = bench.claim(OWNER + 2, 3).await;
    assert_eq!((claimed[0].pipeline, claimed[0].run.as_deref()), (None, None));
}
