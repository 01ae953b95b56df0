//! What a file declares, and what a store is.

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{Attribution, Field, Key, Layer, OverrideKind, Reason, State, Time, Value};
use breakerd::catalog::{Declaration, DeclarationDiff};
use breakerd::store::{
    Change, ChangeKind, ChangeQuery, ConfigEdit, ConfigWrite, ConfigWritten, Proposal, RequestId,
    ServiceOverride, Store, StoreError, Target,
};

use super::bed::StoreBed;
use super::change::{NOON, transition, trip};
use super::on_every_store;

on_every_store!(
    what_a_file_declares_comes_back_exactly,
    the_same_content_is_no_change,
    an_older_file_does_not_replace_a_newer_one,
    the_same_content_carries_its_generation_on,
    every_declaration_is_in_the_audit,
    two_declarations_at_once_are_one_change,
    what_is_set_for_a_service_comes_back_and_goes,
    of_two_changes_planned_on_the_same_only_one_is_written,
    a_request_id_is_good_for_one_change,
    the_id_of_a_request_that_changed_nothing_is_kept,
    an_override_of_a_service_comes_back_and_goes,
    waits_of_open_breakers_change_in_the_same_transaction,
    the_audit_is_read_by_page_and_filter,
    the_audit_says_when_it_was_done_and_not_when_it_was_written,
    the_audit_has_the_end_of_an_override_that_was_replaced,
);

fn declaration(generation: Option<u64>, failures: u32) -> Declaration {
    let defaults = Layer::default().with(Field::FailureThreshold, Value::Count(failures)).unwrap();
    let sentinel = Layer::default()
        .with(Field::FailureRateThreshold, Value::Rate(33_500))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_millis(1_500))))
        .and_then(|layer| layer.with(Field::SlidingWindowType, Value::Word("TIME_BASED")))
        .and_then(|layer| {
            layer.with(Field::IgnoreErrorClasses, Value::Classes(vec!["Not\"Found".to_owned()]))
        })
        .unwrap();
    let services =
        BTreeMap::from([("sentinel".to_owned(), sentinel), ("empty".to_owned(), Layer::default())]);
    Declaration { generation, enabled: true, defaults, services }
}

/// What became of a declaration.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Written(u64),
    Stays(DeclarationDiff),
}

/// Declares as whoever plans it does.
async fn declare_it(bed: &StoreBed, declaration: &Declaration) -> Declared {
    loop {
        let present = bed.store.configuration().await.unwrap();
        let takes =
            present.declared.as_ref().map_or(DeclarationDiff::Differs, |stored| stored.takes(declaration));
        let edit = match takes {
            DeclarationDiff::Differs => ConfigEdit::FileApplied(declaration.clone()),
            DeclarationDiff::NewerGeneration => ConfigEdit::Generation(declaration.generation.unwrap()),
            DeclarationDiff::Unchanged | DeclarationDiff::Older { .. } => return Declared::Stays(takes),
        };
        match write(bed, present.revision, edit, &["sentinel"]).await {
            ConfigWritten::Written(_) if takes == DeclarationDiff::NewerGeneration => {
                return Declared::Stays(takes);
            }
            ConfigWritten::Written(changed) => return Declared::Written(changed.revision),
            _ => {}
        }
    }
}

pub(super) async fn declare(bed: &StoreBed, generation: Option<u64>, failures: u32) -> Declared {
    declare_it(bed, &declaration(generation, failures)).await
}

pub(super) async fn write(
    bed: &StoreBed,
    based_on: u64,
    edit: ConfigEdit,
    touched: &[&str],
) -> ConfigWritten {
    write_as(bed, based_on, edit, touched, None).await
}

async fn write_as(
    bed: &StoreBed,
    based_on: u64,
    edit: ConfigEdit,
    touched: &[&str],
    request: Option<(&str, u64)>,
) -> ConfigWritten {
    try_write(&*bed.store, based_on, edit, touched, request).await.unwrap()
}

/// Writes a change of configuration.
pub(crate) async fn try_write(
    store: &dyn Store,
    based_on: u64,
    edit: ConfigEdit,
    touched: &[&str],
    request: Option<(&str, u64)>,
) -> Result<ConfigWritten, StoreError> {
    let request = request.map(|(id, digest)| RequestId { id: id.to_owned(), digest });
    let write = ConfigWrite {
        based_on,
        edit,
        touched: touched.iter().map(|service| (*service).to_owned()).collect(),
        attribution: ann("a drill"),
        request,
        waits: &|key, snapshot| {
            assert_eq!(snapshot.state, State::Open);
            (&**key.service() != "stays").then_some(Duration::from_secs(7))
        },
    };
    store.write_config(&write).await
}

fn ann(reason: &str) -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: reason.to_owned() }
}

pub(super) fn thresholds(service: &str, failures: u32) -> ConfigEdit {
    let layer = Layer::default().with(Field::FailureThreshold, Value::Count(failures)).unwrap();
    ConfigEdit::Thresholds { service: service.to_owned(), layer }
}

fn revision_of(written: ConfigWritten) -> u64 {
    let ConfigWritten::Written(changed) = written else { panic!("{written:?}") };
    changed.revision
}

async fn declared(bed: &StoreBed) -> Declaration {
    bed.store.configuration().await.unwrap().declared.unwrap().declaration
}

async fn what_a_file_declares_comes_back_exactly(bed: &mut StoreBed) {
    assert_eq!(bed.store.configuration().await.unwrap().declared, None);
    assert_eq!(declare(bed, Some(4), 3).await, Declared::Written(1));
    bed.reopen().await;
    let stored = bed.store.configuration().await.unwrap();
    assert_eq!((stored.revision, stored.changed["sentinel"].revision), (1, 1));
    let stored = stored.declared.unwrap();
    assert_eq!(stored.declaration, declaration(Some(4), 3));
    assert_eq!(stored.revision, 1);
}

async fn the_same_content_is_no_change(bed: &mut StoreBed) {
    declare(bed, None, 3).await;
    assert_eq!(declare(bed, None, 3).await, Declared::Stays(DeclarationDiff::Unchanged));
    let off = Declaration { enabled: false, ..declaration(None, 3) };
    assert_eq!(declare_it(bed, &off).await, Declared::Written(2));
    assert_eq!(declare_it(bed, &off).await, Declared::Stays(DeclarationDiff::Unchanged));
    assert_eq!(bed.store.revision().await.unwrap(), 2);
}

async fn an_older_file_does_not_replace_a_newer_one(bed: &mut StoreBed) {
    declare(bed, Some(5), 3).await;
    assert_eq!(declare(bed, Some(4), 9).await, Declared::Stays(DeclarationDiff::Older { generation: 5 }));
    assert_eq!(declared(bed).await, declaration(Some(5), 3));
    assert_eq!(declare(bed, Some(5), 4).await, Declared::Written(2));
    assert_eq!(declare(bed, None, 6).await, Declared::Written(3));
    assert_eq!(declare(bed, Some(1), 7).await, Declared::Written(4));
}

async fn the_same_content_carries_its_generation_on(bed: &mut StoreBed) {
    declare(bed, Some(5), 3).await;
    assert_eq!(declare(bed, Some(7), 3).await, Declared::Stays(DeclarationDiff::NewerGeneration));
    assert_eq!(declare(bed, Some(6), 9).await, Declared::Stays(DeclarationDiff::Older { generation: 7 }));
    assert_eq!(declare(bed, Some(2), 3).await, Declared::Stays(DeclarationDiff::Unchanged));
    assert_eq!(declare(bed, None, 3).await, Declared::Stays(DeclarationDiff::Unchanged));
    assert_eq!(declare(bed, Some(6), 9).await, Declared::Stays(DeclarationDiff::Older { generation: 7 }));
    assert_eq!(bed.store.revision().await.unwrap(), 1, "a release number alone is no change");
}

async fn every_declaration_is_in_the_audit(bed: &mut StoreBed) {
    declare(bed, None, 3).await;
    declare(bed, None, 3).await;
    declare(bed, None, 4).await;
    let rows = bed.store.changes(&ChangeQuery { limit: 9, ..ChangeQuery::default() }).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].kind, &*rows[0].service), (ChangeKind::FileApplied, ""));
    assert_eq!((rows[0].cursor.revision, rows[1].cursor.revision), (2, 1));
    assert_eq!(rows[1].before, None);
    let threshold = |json: &Option<String>| {
        let json: serde_json::Value = serde_json::from_str(json.as_deref().unwrap()).unwrap();
        json["defaults"]["failure_threshold"].as_u64()
    };
    assert_eq!((threshold(&rows[0].before), threshold(&rows[0].after)), (Some(3), Some(4)));
}

async fn two_declarations_at_once_are_one_change(bed: &mut StoreBed) {
    let (one, two) = tokio::join!(declare(bed, None, 3), declare(bed, None, 3));
    let mut both = [one, two];
    both.sort_by_key(|declared| matches!(declared, Declared::Stays(_)));
    assert_eq!(both, [Declared::Written(1), Declared::Stays(DeclarationDiff::Unchanged)]);
}

async fn what_is_set_for_a_service_comes_back_and_goes(bed: &mut StoreBed) {
    assert_eq!(revision_of(write(bed, 0, thresholds("a", 3), &["a"]).await), 1);
    bed.reopen().await;
    let stored = bed.store.configuration().await.unwrap();
    assert_eq!(stored.set["a"].get(Field::FailureThreshold), Some(&Value::Count(3)));
    assert_eq!((stored.revision, stored.changed["a"].revision), (1, 1));
    let nothing = ConfigEdit::Thresholds { service: "a".to_owned(), layer: Layer::default() };
    assert_eq!(revision_of(write(bed, 1, nothing, &["a"]).await), 2);
    let stored = bed.store.configuration().await.unwrap();
    assert!(stored.set.is_empty());
    assert_eq!(stored.changed["a"].revision, 2, "it is known that it went");
    let rows = bed.store.changes(&ChangeQuery { limit: 9, ..ChangeQuery::default() }).await.unwrap();
    assert_eq!((rows[0].kind, &*rows[0].service), (ChangeKind::Thresholds, "a"));
    assert_eq!(rows[0].attribution, ann("a drill"));
    assert_eq!((rows[0].after.as_deref(), rows[1].before.as_deref()), (None, None));
    let layer: serde_json::Value = serde_json::from_str(rows[0].before.as_deref().unwrap()).unwrap();
    assert_eq!(layer, serde_json::json!({ "failure_threshold": 3 }));
    assert_eq!(bed.store.revision().await.unwrap(), 2);
}

async fn of_two_changes_planned_on_the_same_only_one_is_written(bed: &mut StoreBed) {
    let one = write(bed, 0, thresholds("a", 3), &["a"]);
    let two = write(bed, 0, thresholds("a", 4), &["a"]);
    let (one, two) = tokio::join!(one, two);
    let written = [one, two].iter().filter(|done| matches!(done, ConfigWritten::Written(_))).count();
    let stale = [one, two].iter().filter(|done| **done == ConfigWritten::Stale { revision: 1 }).count();
    assert_eq!((written, stale), (1, 1));
    assert_eq!(bed.store.revision().await.unwrap(), 1);
}

async fn a_request_id_is_good_for_one_change(bed: &mut StoreBed) {
    let once = write_as(bed, 0, thresholds("a", 3), &["a"], Some(("one", u64::MAX))).await;
    assert_eq!(revision_of(once), 1);
    let again = write_as(bed, 0, thresholds("a", 3), &["a"], Some(("one", u64::MAX))).await;
    assert_eq!(again, ConfigWritten::Known { revision: 1 }, "although it was planned on what has passed");
    let other = write_as(bed, 1, thresholds("a", 4), &["a"], Some(("one", 5))).await;
    assert_eq!(other, ConfigWritten::Reused);
    assert_eq!(bed.store.revision().await.unwrap(), 1);
}

async fn the_id_of_a_request_that_changed_nothing_is_kept(bed: &mut StoreBed) {
    let request = |digest| RequestId { id: "one".to_owned(), digest };
    assert_eq!(bed.store.request(&request(7)).await.unwrap(), None);
    write(bed, 0, thresholds("a", 3), &["a"]).await;
    bed.store.keep_request(&request(7)).await.unwrap();
    bed.store.keep_request(&request(8)).await.unwrap();
    bed.reopen().await;
    assert_eq!(bed.store.request(&request(7)).await.unwrap(), Some(ConfigWritten::Known { revision: 1 }));
    assert_eq!(bed.store.request(&request(8)).await.unwrap(), Some(ConfigWritten::Reused));
    let made = write_as(bed, 1, thresholds("a", 4), &["a"], Some(("one", 7))).await;
    assert_eq!(made, ConfigWritten::Known { revision: 1 });
    assert_eq!(bed.store.revision().await.unwrap(), 1, "an id alone is no change");
}

async fn an_override_of_a_service_comes_back_and_goes(bed: &mut StoreBed) {
    let expires_at = Some(Time::from_micros(1_900_000_000_000_000));
    let ttl = Some(Duration::from_secs(90));
    let set = ServiceOverride {
        kind: OverrideKind::ForcedOpen,
        expires_at,
        ttl,
        attribution: ann("the provider is down"),
        set_at: Time::ZERO,
        revision: 0,
    };
    let edit = ConfigEdit::Override { service: "a".to_owned(), set: Some(set), not_before: None };
    let ConfigWritten::Written(changed) = write(bed, 0, edit, &["a"]).await else { panic!("it is new") };
    bed.reopen().await;
    let stored = bed.store.configuration().await.unwrap();
    let back = &stored.overrides["a"];
    assert_eq!((back.kind, back.expires_at, back.set_at), (OverrideKind::ForcedOpen, expires_at, changed.at));
    assert_eq!(back.ttl, ttl);
    assert_eq!(back.attribution, ann("the provider is down"));
    let edit = ConfigEdit::Override { service: "a".to_owned(), set: None, not_before: None };
    assert_eq!(revision_of(write(bed, 1, edit, &["a"]).await), 2);
    assert!(bed.store.configuration().await.unwrap().overrides.is_empty());
    let query = ChangeQuery {
        kinds: vec![ChangeKind::ServiceOverride],
        service: Some("a".to_owned()),
        limit: 9,
        ..ChangeQuery::default()
    };
    let rows = bed.store.changes(&query).await.unwrap();
    let before: serde_json::Value = serde_json::from_str(rows[0].before.as_deref().unwrap()).unwrap();
    assert_eq!(before["state"], "FORCED_OPEN");
    assert_eq!(before["expires_at"], "2030-03-17T17:46:40Z");
    assert_eq!(rows[0].after, None);
}

async fn waits_of_open_breakers_change_in_the_same_transaction(bed: &mut StoreBed) {
    for (seq, service) in ["a", "b", "stays"].into_iter().enumerate() {
        let key = Key::new(service, "").unwrap();
        bed.store.propose(&[trip(seq as u64, &key)]).await.unwrap();
    }
    let wait = async |service: &str| {
        let stored = bed.store.breakers(None, 9).await.unwrap();
        stored.into_iter().find(|breaker| &**breaker.key.service() == service).unwrap().snapshot.wait
    };
    let (former, changed) = (wait("b").await, Some(Duration::from_secs(7)));
    assert_eq!(revision_of(write(bed, 0, thresholds("a", 3), &["a"]).await), 4);
    assert_eq!((wait("a").await, wait("b").await), (changed, former), "one was not touched");
    let stored = bed.store.breakers(None, 9).await.unwrap();
    assert_eq!((stored[0].revision, stored[1].revision), (4, 2));
    if let Some(database) = bed.database() {
        let is_right = match database.target {
            Target::Sqlite(_) => {
                "SELECT CAST(open_until_us = entered_at_us + 7000000 AS TEXT) FROM breaker WHERE service = 'a'"
            }
            Target::Postgres(_) => {
                "SELECT (open_until = entered_at + interval '7 s')::int::text FROM breaker WHERE service = 'a'"
            }
        };
        assert_eq!(database.text(is_right).await.as_deref(), Some("1"));
    }
    // The defaults judge services that are named nowhere.
    assert_eq!(revision_of(write(bed, 4, thresholds("a", 4), &["", "a"]).await), 5);
    assert_eq!((wait("b").await, wait("stays").await), (changed, former));
}

async fn the_audit_is_read_by_page_and_filter(bed: &mut StoreBed) {
    for failures in 1..=5 {
        let service = if failures % 2 == 0 { "even" } else { "odd" };
        write(bed, u64::from(failures) - 1, thresholds(service, failures), &[service]).await;
    }
    let ask = async |query: ChangeQuery| {
        let rows = bed.store.changes(&query).await.unwrap();
        rows.iter().map(|row| row.cursor.revision).collect::<Vec<_>>()
    };
    let all = ChangeQuery { limit: 2, ..ChangeQuery::default() };
    assert_eq!(ask(all.clone()).await, [5, 4]);
    let after = Some(breakerd::store::HistoryCursor { revision: 4, number: 0 });
    assert_eq!(ask(ChangeQuery { after, ..all.clone() }).await, [3, 2]);
    assert_eq!(ask(ChangeQuery { service: Some("even".to_owned()), limit: 9, ..all.clone() }).await, [4, 2]);
    assert_eq!(ask(ChangeQuery { actor: Some("nobody".to_owned()), ..all.clone() }).await, Vec::<u64>::new());
    assert_eq!(ask(ChangeQuery { kinds: vec![ChangeKind::Reset], ..all.clone() }).await, Vec::<u64>::new());
    let rows = bed.store.changes(&ChangeQuery { limit: 9, ..all.clone() }).await.unwrap();
    let at = Some(rows[2].at);
    assert!(ask(ChangeQuery { from_time: at, limit: 9, ..all.clone() }).await.starts_with(&[5, 4]));
    assert!(!ask(ChangeQuery { until_time: at, limit: 9, ..all }).await.contains(&3));
}

async fn the_audit_says_when_it_was_done_and_not_when_it_was_written(bed: &mut StoreBed) {
    let done_at = NOON;
    let mut reset = transition(State::Open, State::Closed, 1);
    reset.reason = Reason::Reset;
    reset.attribution = Some(Attribution { actor: "ann".to_owned(), reason: "fixed".to_owned() });
    assert_eq!(reset.at, done_at);
    let key = Key::new("a", "").unwrap();
    let reset = Proposal { change: Change::Transition(Box::new(reset)), ..trip(1, &key) };
    bed.store.propose(&[trip(0, &key), reset]).await.unwrap();
    let all = ChangeQuery { limit: 9, ..ChangeQuery::default() };
    let rows = bed.store.changes(&all).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.kind, row.at)).collect::<Vec<_>>(), [(ChangeKind::Reset, done_at)]);
    let before = ChangeQuery { until_time: Some(done_at), ..all };
    assert_eq!(bed.store.changes(&before).await.unwrap(), []);
    assert_eq!(rows[0].before.as_deref().map(|before| before.contains("OPEN")), Some(true), "{rows:?}");
    let Some(database) = bed.database() else { return };
    let shown = database.text("SELECT CAST(at AS TEXT) FROM changes").await.unwrap();
    let written = database.text("SELECT CAST(at AS TEXT) FROM history LIMIT 1").await.unwrap();
    assert_eq!(shown, written, "as the history has it");
}

async fn the_audit_has_the_end_of_an_override_that_was_replaced(bed: &mut StoreBed) {
    let key = Key::new("a", "").unwrap();
    let set = |seq, from, to, base_epoch, expires_at| {
        let mut set = transition(from, to, base_epoch);
        set.reason = Reason::OverrideSet;
        set.attribution = Some(Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() });
        set.after.set_by.as_mut().unwrap().expires_at = expires_at;
        Proposal { change: Change::Transition(Box::new(set)), ..trip(seq, &key) }
    };
    let end = NOON + Duration::from_hours(1);
    bed.store.propose(&[set(1, State::Closed, State::ForcedOpen, 0, Some(end))]).await.unwrap();
    bed.store.propose(&[set(2, State::ForcedOpen, State::Disabled, 1, None)]).await.unwrap();
    let rows = bed.store.changes(&ChangeQuery { limit: 9, ..ChangeQuery::default() }).await.unwrap();
    let json =
        |text: &Option<String>| serde_json::from_str::<serde_json::Value>(text.as_ref().unwrap()).unwrap();
    let [newer, older] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(json(&older.before), serde_json::json!({ "state": "CLOSED" }));
    assert_eq!(json(&newer.before), json(&older.after));
    assert!(json(&newer.before)["expires_at"].is_string(), "{newer:?}");
    assert_eq!(json(&newer.after), serde_json::json!({ "state": "DISABLED" }));
}
