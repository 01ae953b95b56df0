//! What people, and other programs, did to a database past its store.

use breaker::{Key, Time};
use breakerd::catalog::Declaration;
use breakerd::store::{ConfigEdit, Retention, StoreError, Target, TransitionQuery};

use super::change::{key, trip};
use super::configuration::try_write;
use super::on_every_database;
use crate::support::Bed;

on_every_database!(
    a_declaration_that_cannot_be_is_named,
    a_row_that_no_breaker_can_be_is_named,
    changes_are_not_at_fault_for_a_table_that_is_not_there,
    a_hundred_thousand_breakers_load,
    more_receipts_than_are_deleted_at_one_time_are_deleted,
);

async fn a_declaration_that_cannot_be_is_named(bed: &mut Bed) {
    let edit = ConfigEdit::FileApplied(Declaration::default());
    try_write(&*bed.store, 0, edit, &[""], None).await.unwrap();
    bed.sql(
        r#"UPDATE file_config SET content = '{"enabled": true, "defaults": {"shiny": 1}, "services": {}}'"#,
    )
    .await;
    let error = bed.store.configuration().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "read the thresholds of the config file: file_config: defaults: shiny is not a known field"
    );
    assert!(matches!(error, StoreError::Corrupt { .. }));
}

async fn a_row_that_no_breaker_can_be_is_named(bed: &mut Bed) {
    bed.store.propose(&[trip(1, &key("a", "")), trip(2, &key("b", ""))]).await.unwrap();
    for (damage, named) in [
        ("UPDATE breaker SET wait_us = NULL WHERE service = 'b'", "breaker b/b: state is OPEN"),
        (
            "UPDATE breaker SET state = 'HALF_OPEN' WHERE service = 'b'",
            "breaker b/b: after_max_wait cannot be empty",
        ),
        (
            "UPDATE breaker SET state = 'DISABLED' WHERE service = 'b'",
            "breaker b/b: override_actor cannot be empty",
        ),
        ("UPDATE breaker SET open_count = 5000000000 WHERE service = 'b'", "breaker b/b: "),
        (
            "UPDATE breaker SET name = 'no key' WHERE service = 'b'",
            "breaker b/no key: name: invalid character ' ' at byte 2",
        ),
        (
            r#"UPDATE breaker SET entered_by = '{"from":"CLOSED","reason":"BOREDOM"}' WHERE service = 'a'"#,
            "breaker a/a: entered_by.reason cannot be BOREDOM",
        ),
    ] {
        bed.sql(damage).await;
        let error = bed.store.breakers(None, 10).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt { problem, .. } if problem.contains(named)),
            "{damage}: {error}"
        );
        assert!(!error.is_transient());
    }
    bed.sql("UPDATE transition SET reason = 'BOREDOM' WHERE number = 1").await;
    let query = TransitionQuery { limit: 10, ..TransitionQuery::default() };
    let error = bed.store.transitions(&query).await.unwrap_err();
    assert_eq!(error.to_string(), "read the history: transition 1 of revision 1: reason cannot be BOREDOM");
}

/// The journal leaves out what the store cannot hold, one by one: it must not be told so of everything that it has.
async fn changes_are_not_at_fault_for_a_table_that_is_not_there(bed: &mut Bed) {
    bed.sql("ALTER TABLE transition RENAME TO elsewhere").await;
    let error = bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap_err();
    assert!(!matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    bed.sql("ALTER TABLE elsewhere RENAME TO transition").await;
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
}

async fn a_hundred_thousand_breakers_load(bed: &mut Bed) {
    let (column, time) = match bed.target {
        Target::Sqlite(_) => ("entered_at_us", "0"),
        Target::Postgres(_) => ("entered_at", "CAST('epoch' AS timestamptz)"),
    };
    bed.sql(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
         INSERT INTO breaker (service, name, epoch, state, open_count, {column}, config_revision, revision)
         SELECT 'service-' || (i % 100), 'name-' || i, 2, 'CLOSED', 0, {time}, 0, 1 FROM n"
    ))
    .await;
    let mut last: Option<Key> = None;
    let mut count = 0;
    loop {
        let page = bed.store.breakers(last.as_ref(), 10_000).await.unwrap();
        let Some(end) = page.last() else { break };
        assert!(last.as_ref() < page.first().map(|breaker| &breaker.key));
        count += page.len();
        last = Some(end.key.clone());
    }
    assert_eq!(count, 100_000);
}

async fn more_receipts_than_are_deleted_at_one_time_are_deleted(bed: &mut Bed) {
    let (column, old) = match bed.target {
        Target::Sqlite(_) => ("recorded_at_us", "5"),
        Target::Postgres(_) => ("recorded_at", "CAST('epoch' AS timestamptz)"),
    };
    bed.sql(&format!(
        "INSERT INTO receipt (replica, boot, first_seq, last_seq, epochs, {column})
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
         SELECT 'old', '1', i, i, '[1]', {old} FROM n"
    ))
    .await;
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    let far = Time::from_micros(1_500_000_000_000_000);
    bed.store.prune(Retention { before: far, requests_before: far }).await.unwrap();
    let left = bed.text("SELECT CAST(count(*) AS TEXT) FROM receipt").await;
    assert_eq!(left.as_deref(), Some("1"));
}
