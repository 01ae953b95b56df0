//! What goes when it is old.

use breaker::{Key, Layer, State, Time};
use breakerd::store::{Answer, Change, ConfigEdit, ConfigWritten, Proposal, RequestId, Retention};

use super::bed::StoreBed;
use super::change::{key, own, transition, trip};
use super::configuration::{thresholds, write};
use super::{history, on_every_store};

on_every_store!(
    what_is_old_goes_and_a_breaker_only_with_its_history,
    a_clock_that_was_once_behind_takes_nothing_newer_along,
    the_newest_revisions_keep_their_nonces_however_old,
);

/// Behind the past, before the present.
const FAR: Time = Time::from_micros(1_500_000_000_000_000);
const ALL_THE_PAST: Retention = Retention { before: FAR, requests_before: FAR };

/// A breaker that closes for the second time and last; it was entered at `entered_at`.
fn closing(seq: u64, key: &Key, entered_at: Time) -> Proposal {
    let mut closed = transition(State::HalfOpen, State::Closed, 2);
    closed.after.entered_at = entered_at;
    let change = Change::Transition(Box::new(closed));
    Proposal { change, ..own(seq, key, State::HalfOpen, State::Closed, 2) }
}

async fn what_is_old_goes_and_a_breaker_only_with_its_history(bed: &mut StoreBed) {
    let (open, closed, recent, young) =
        (key("a", "open"), key("a", "closed"), key("a", "recent"), key("a", "young"));
    bed.begin_past().await;
    for proposal in [
        trip(1, &open),
        trip(2, &closed),
        own(3, &closed, State::Open, State::HalfOpen, 1),
        closing(4, &closed, Time::ZERO),
        // Its clock was ahead of the store's: it has not been closed for as long as history is kept.
        closing(5, &recent, FAR),
        trip(6, &young),
    ] {
        bed.store.propose(&[proposal]).await.unwrap();
    }
    write(bed, 0, thresholds("gone", 3), &["gone"]).await;
    let nothing = ConfigEdit::Thresholds { service: "gone".to_owned(), layer: Layer::default() };
    write(bed, 7, nothing, &["gone"]).await;
    let request = |id: &str| RequestId { id: id.to_owned(), digest: 1 };
    bed.store.keep_request(&request("old")).await.unwrap();
    bed.end_past().await;
    bed.store.keep_request(&request("new")).await.unwrap();
    bed.store.propose(&[own(7, &young, State::Open, State::HalfOpen, 1)]).await.unwrap();
    bed.store.propose(&[closing(8, &young, Time::ZERO)]).await.unwrap();

    let pruned = bed.store.prune(ALL_THE_PAST).await.unwrap();
    assert_eq!((pruned.transitions, pruned.changes), (6, 2));
    assert_eq!(bed.store.prune(ALL_THE_PAST).await.unwrap().transitions, 0);
    let kept: Vec<_> = history(&*bed.store).await.iter().map(|row| row.id.seq).collect();
    assert_eq!((kept, bed.store.history_floor().await.unwrap()), (vec![7, 8], 6));
    assert_eq!(bed.store.request(&request("old")).await.unwrap(), None);
    let known = ConfigWritten::Known { revision: 8 };
    assert_eq!(bed.store.request(&request("new")).await.unwrap(), Some(known));
    let stored = bed.store.configuration().await.unwrap();
    assert_eq!((stored.changed.contains_key("gone"), stored.forgotten), (false, 8));
    assert_eq!(
        breakers(bed).await,
        [&closed, &open, &recent, &young].map(Clone::clone),
        "they have their rows"
    );

    let old = bed.store.breakers_without_history(FAR, None, 9).await.unwrap();
    assert_eq!(old, [(closed.clone(), 3)], "one is open, one was closed lately, one has history left");
    assert_eq!(bed.store.breakers_without_history(FAR, Some(&closed), 9).await.unwrap(), []);
    assert_eq!(bed.store.breakers_without_history(FAR, None, 0).await.unwrap(), []);
    let other = [(closed.clone(), 1), (open.clone(), 1), (key("a", "nobody"), 1)];
    let deleted = bed.store.delete_breakers(&other).await.unwrap();
    assert_eq!(deleted, [], "it has changed since, or is not closed");
    assert_eq!(bed.store.delete_breakers(&old).await.unwrap(), [closed]);
    assert_eq!(bed.store.delete_breakers(&[]).await.unwrap(), []);
    assert_eq!(breakers(bed).await, [open.clone(), recent, young]);
    assert_eq!(bed.store.revision().await.unwrap(), 10, "nothing of it is a change");
    // What its id was answered is forgotten too: it is judged again, and the row has that epoch.
    let again = bed.store.propose(&[trip(1, &open)]).await.unwrap();
    assert!(matches!(again[..], [Answer::Lost { .. }]), "{again:?}");
}

async fn breakers(bed: &StoreBed) -> Vec<Key> {
    bed.store.breakers(None, 9).await.unwrap().into_iter().map(|stored| stored.key).collect()
}

async fn a_clock_that_was_once_behind_takes_nothing_newer_along(bed: &mut StoreBed) {
    bed.store.propose(&[trip(1, &key("a", "1"))]).await.unwrap();
    bed.begin_past().await;
    bed.store.propose(&[trip(2, &key("a", "2"))]).await.unwrap();
    bed.end_past().await;
    bed.store.propose(&[trip(3, &key("a", "3"))]).await.unwrap();
    assert_eq!(bed.store.prune(ALL_THE_PAST).await.unwrap().transitions, 1);
    let left: Vec<_> = history(&*bed.store).await.iter().map(|row| row.cursor.revision).collect();
    assert_eq!(left, [1, 3]);
    assert_eq!(bed.store.history_floor().await.unwrap(), 2);
}

async fn the_newest_revisions_keep_their_nonces_however_old(bed: &mut StoreBed) {
    bed.begin_past().await;
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    bed.end_past().await;
    let before = bed.store.position(1).await.unwrap();
    bed.store.prune(ALL_THE_PAST).await.unwrap();
    assert_eq!(bed.store.position(1).await.unwrap(), before);
    assert_eq!(before.nonce, Some(before.newest.nonce));
}
