//! What watchers see, miss and come back to.

use super::*;

fn application(n: usize) -> ApplicationId {
    ApplicationId::first_of(Timestamp::from_second(i64::try_from(n).unwrap()).unwrap())
}

fn accepted(of: ApplicationId, deliveries: usize, second: i64) -> Happened {
    let at = Timestamp::from_second(second).unwrap();
    let event_id = EventId::first_of(at);
    Happened {
        application: of,
        event_type: "a".parse().unwrap(),
        what: What::Event { event_id, at, subject: None, deliveries },
    }
}

fn number(told: Told) -> usize {
    match told {
        Told::Happened(happened) => match happened.what {
            What::Event { deliveries, .. } => deliveries,
            What::Delivery { .. } => unreachable!("there are only events"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_slow_is_told_how_much_is_missing() {
    let (tail, one) = (Tail::default(), application(0));
    let mut watcher = tail.watch(one, None).unwrap();
    for index in 0..RING + 3 {
        tail.show(|| accepted(one, index, 0));
    }
    assert_eq!(watcher.recv().await, Told::Missed(Some(3)));
    assert_eq!(number(watcher.recv().await), 3);
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed() {
    let (tail, one, other) = (Tail::default(), application(0), application(1));
    let mut watcher = tail.watch(one, None).unwrap();
    let beside = tail.watch(other, None).unwrap();
    tail.show(|| accepted(one, 0, 0));
    assert_eq!(number(watcher.recv().await), 0);
    let place = watcher.place();
    drop(watcher);
    // What happens to others neither shows nor counts.
    tail.show(|| accepted(other, 7, 1));
    tail.show(|| accepted(one, 1, 1));
    tail.show(|| accepted(one, 2, 2));
    let from = place.to_string().parse().unwrap();
    let mut again = tail.watch(one, Some(from)).unwrap();
    assert_eq!((number(again.recv().await), number(again.recv().await)), (1, 2));
    assert_eq!(again.place().count, 3);
    // Longer away than the ring is long.
    drop(again);
    for index in 0..RING + 1 {
        tail.show(|| accepted(one, index, 3));
    }
    let mut late = tail.watch(one, Some(from)).unwrap();
    assert_eq!(late.recv().await, Told::Missed(Some(3)));
    drop(beside);
}

#[tokio::test]
async fn a_place_of_another_run_or_application_leads_to_what_was_missed() {
    let (tail, one, other) = (Tail::default(), application(0), application(1));
    let watchers = [tail.watch(one, None).unwrap(), tail.watch(other, None).unwrap()];
    let restarted = Tail::default();
    for (tail, of) in [(&restarted, one), (&tail, other)] {
        let mut lost = tail.watch(of, Some(watchers[0].place())).unwrap();
        assert_eq!(lost.recv().await, Told::Missed(None));
        tail.show(|| accepted(of, 5, 0));
        assert_eq!(number(lost.recv().await), 5);
    }
    let ahead = Place { count: 99, ..watchers[0].place() };
    assert_eq!(tail.watch(one, Some(ahead)).unwrap().recv().await, Told::Missed(None));
    for bad in ["", "-", "1", "x-1", "1-x", "1-", "-1", "1--1"] {
        assert!(bad.parse::<Place>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn nothing_is_written_down_for_nobody() {
    let (tail, one) = (Tail::default(), application(0));
    tail.show(|| unreachable!("nobody watches"));
    let mut watcher = tail.watch(one, None).unwrap();
    tail.end();
    assert_eq!(watcher.recv().await, Told::End);
    assert_eq!(tail.watch(one, None).unwrap().recv().await, Told::End);
}

#[test]
fn a_ring_that_nobody_comes_back_to_goes() {
    let (tail, one, other) = (Tail::default(), application(0), application(1));
    let kept = i64::try_from(KEPT_FOR.as_secs()).unwrap();
    drop(tail.watch(one, None).unwrap());
    let watched = tail.watch(other, None).unwrap();
    for (second, rings) in [(0, 2), (kept, 2), (kept + 1, 1)] {
        tail.show(|| accepted(other, 0, second));
        assert_eq!(tail.0.lock().of.len(), rings, "{second}");
    }
    drop(watched);
    for second in [0, kept + 1] {
        tail.show(|| accepted(other, 0, second));
    }
    assert!(!tail.is_watched());
    tail.show(|| unreachable!("nobody watches"));
}

#[test]
fn only_so_many_watch_and_only_so_many_rings_are_kept() {
    let tail = Tail::default();
    let mut watchers = Vec::new();
    let shared = WATCHERS - FOR_OTHERS;
    for one in 0..shared / OF_ONE {
        let application = application(one);
        watchers.extend((0..OF_ONE).map(|_| tail.watch(application, None).unwrap()));
        assert!(tail.watch(application, None).is_none(), "one takes the places of others");
    }
    // However few have taken those, there are places for others: one each.
    for other in shared..WATCHERS {
        watchers.push(tail.watch(application(other), None).unwrap());
        assert!(tail.watch(application(other), None).is_none(), "it has one");
    }
    assert!(tail.watch(application(99), None).is_none());
    watchers.pop();
    assert!(tail.watch(application(99), None).is_some());
    drop(watchers);
    for one in 0..RINGS + 50 {
        drop(tail.watch(application(one), None).unwrap());
    }
    assert_eq!(tail.0.lock().of.len(), RINGS);
}
