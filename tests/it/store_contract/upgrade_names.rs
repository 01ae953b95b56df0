//! A database with the names of before migration 0014, with rows in it.

use breaker::State;
use breakerd::store::{ChangeKind, ChangeQuery, Target, open};

use super::change::own;
use super::history;
use super::upgrade::{before, lines, make_with, time};
use crate::support::{Bed, new_database, sql, text};

/// A transition of a store outage, a history gap, an outage that lasts and one that ended, a file, two changes, and views of an
/// operator's own.
async fn fill(target: &Target) {
    let (us, at) = time(target, 0);
    let (yes, no, time_as_text, its_value) = match target {
        Target::Sqlite(_) => ("1", "0", ", at", ", '2025-01-31 23:59:30.000'"),
        Target::Postgres(_) => ("true", "false", "", ""),
    };
    let transition = |revision: u64, service: &str, epoch: &str, missing: u64, alone: &str| {
        format!(
            "INSERT INTO transition (revision, number, replica, boot, seq, service, name, from_state, to_state, reason, epoch,
                 base_epoch, calls, failures, slow_calls, consecutive_failures, consecutive_successes, reporters, attempts,
                 rejected_calls, missing, shadow, alone, config_revision, occurred_at{us}, recorded_at{us}{time_as_text})
             VALUES ({revision}, 0, 'r', '0123456789abcdef', {revision}, '{service}', '{service}', 'CLOSED', 'OPEN',
                 'FAILURE_RATE', {epoch}, 0, 10, 5, 0, 5, 0, 0, 2, 0, {missing}, {no}, {alone}, 0, {at}, {at}{its_value})"
        )
    };
    let outage = r#"{"epoch":1,"opened_at_us":1738367970000000,"reason":"FAILURE_RATE","calls":10,"failures":5,"missing":4}"#;
    let content = r#"{"enabled": true, "defaults": {"failure_threshold": 3}, "services": {}}"#;
    let key = match target {
        Target::Sqlite(_) => "x'000102030405060708090a0b0c0d0e0f', 0",
        Target::Postgres(_) => r"'\x000102030405060708090a0b0c0d0e0f', 'epoch'",
    };
    for statement in [
        format!("INSERT INTO meta (store_id, lineage, permit_key, created_at{us}) VALUES ('0123456789abcdef', 7, {key})"),
        format!(
            "INSERT INTO audit (revision, number, recorded_at{us}, actor, reason, kind, service, name, before, after)
             VALUES (1, 0, {at}, 'file', NULL, 'DECLARED', '', '', NULL, '{content}')"
        ),
        format!(
            "INSERT INTO audit (revision, number, recorded_at{us}, actor, reason, kind, service, name, before, after, occurred_at{us})
             VALUES (4, 0, {at}, 'ann', 'a drill', 'RESET', 'c', 'c', NULL, NULL, {at})"
        ),
        format!(
            "INSERT INTO declared (generation, content, revision, declared_at{us}) VALUES (4, '{content}', 1, {at})"
        ),
        transition(2, "a", "1", 0, yes),
        transition(3, "c", "NULL", 3, no),
        format!(
            "INSERT INTO breaker (service, name, epoch, state, attempts, entered_at{us}, wait_us, config_revision, revision,
                 episode)
             VALUES ('a', 'a', 1, 'OPEN', 2, {at}, 60000000, 0, 2, '{outage}')"
        ),
        format!(
            "INSERT INTO episode (revision, number, service, name, epoch, opened_at{us}, reason, reopened, probes, rejected_calls,
                 missing, ended_by, recorded_at{us})
             VALUES (3, 0, 'c', 'c', 1, {at}, 'FAILURE_RATE', 0, 0, 0, 5, 'HISTORY_GAP', {at})"
        ),
        "UPDATE revision SET n = 4".to_owned(),
        "CREATE VIEW mine AS SELECT service, missing FROM history".to_owned(),
        "CREATE VIEW my_changes AS SELECT kind FROM changes".to_owned(),
    ] {
        sql(target, &statement).await;
    }
}

async fn is_renamed(target: &Target) {
    make_with(target, &before(target, "0014")).await;
    fill(target).await;
    if matches!(target, Target::Postgres(_)) {
        sql(target, "GRANT SELECT ON history, transitions_with_change TO PUBLIC").await;
    }
    let bed = Bed::of(open(target).await.unwrap(), target.clone());

    // As breakerd reads it.
    assert_eq!(bed.store.meta().await.unwrap().timeline, 7);
    let rows = history(&*bed.store).await;
    let read: Vec<_> =
        rows.iter().map(|row| (row.open_count, row.lost_transitions, row.store_unavailable)).collect();
    assert_eq!(read, [(2, 0, true), (2, 3, false)]);
    let stored = bed.store.breakers(None, 9).await.unwrap().remove(0);
    assert_eq!(stored.snapshot.open_count, 2);
    let file = bed.store.configuration().await.unwrap().declared.unwrap();
    assert_eq!((file.declaration.generation, file.revision), (Some(4), 1));
    let changes = bed.store.changes(&ChangeQuery { limit: 9, ..ChangeQuery::default() }).await.unwrap();
    let kinds: Vec<_> = changes.iter().map(|change| (change.kind, &*change.attribution.actor)).collect();
    assert_eq!(kinds, [(ChangeKind::Reset, "ann"), (ChangeKind::FileApplied, "file")]);

    // As people read it.
    let is = |column: &str| format!("CASE WHEN {column} THEN 'yes' ELSE 'no' END");
    for (query, expected) in [
        ("SELECT service || ' ' || open_count AS line FROM current_state".to_owned(), "a 2"),
        (
            format!(
                "SELECT service || ' ' || kind || ' ' || open_count || ' ' || lost_transitions || ' ' || {} AS line
                 FROM history ORDER BY revision",
                is("store_unavailable")
            ),
            "a change 2 0 yes\nc gap 2 3 no",
        ),
        (
            format!(
                "SELECT open_count || ' ' || lost_transitions || ' ' || {} || ' ' || change_kind || ' ' || change_actor AS line
                 FROM transitions_with_change WHERE service = 'c'",
                is("store_unavailable")
            ),
            "2 3 no FILE_APPLIED file",
        ),
        (
            "SELECT service || ' ' || lost_transitions || ' ' || coalesce(ended_by, 'lasts') AS line
             FROM episodes ORDER BY service"
                .to_owned(),
            "a 4 lasts\nc 5 HISTORY_GAP",
        ),
        ("SELECT kind || ' ' || actor AS line FROM changes ORDER BY revision".to_owned(), "FILE_APPLIED file\nRESET ann"),
        ("SELECT CAST(timeline AS TEXT) AS line FROM meta".to_owned(), "7"),
        (
            format!("SELECT CAST(generation AS TEXT) AS line FROM file_config WHERE applied_at{0} = {1}", time(target, 0).0, time(target, 0).1),
            "4",
        ),
        ("SELECT kind AS line FROM my_changes ORDER BY kind".to_owned(), "FILE_APPLIED\nRESET"),
    ] {
        assert_eq!(lines(target, &query).await, expected, "{query}");
    }
    let old_names = "('attempts', 'missing', 'alone', 'lineage', 'declared_at', 'declared_at_us')";
    let left = match target {
        Target::Sqlite(_) => format!(
            "SELECT tables.name || '.' || columns.name AS line
             FROM sqlite_schema AS tables CROSS JOIN pragma_table_info(tables.name) AS columns
             WHERE tables.name <> 'mine' AND (columns.name IN {old_names} OR tables.name = 'declared')"
        ),
        Target::Postgres(_) => format!(
            "SELECT table_name || '.' || column_name AS line FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name <> 'mine'
                 AND (column_name IN {old_names} OR table_name = 'declared')"
        ),
    };
    // SQLite leaves a view that it cannot read any more; it is the operator's.
    sql(target, "DROP VIEW mine").await;
    assert_eq!(lines(target, &left).await, "", "columns with an old name");
    if matches!(target, Target::Postgres(_)) {
        let granted = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                       WHERE relnamespace = 'public'::regnamespace AND (relacl::text LIKE '%{=r/%' OR relacl::text LIKE '%,=r/%')";
        assert_eq!(text(target, granted).await.as_deref(), Some("history transitions_with_change"));
    }

    // The outage goes on where it was, with what was lost of it.
    bed.store.propose(&[own(9, &stored.key, State::Open, State::Closed, 1)]).await.unwrap();
    let ended = "SELECT ended_by || ' ' || lost_transitions AS line FROM episodes WHERE service = 'a'";
    assert_eq!(lines(target, ended).await, "PROBES_SUCCEEDED 4");
    bed.store.close().await;
}

#[tokio::test]
async fn a_database_with_the_names_of_before_is_renamed_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    is_renamed(&Target::Sqlite(folder.path().join("breakerd.db"))).await;
}

#[tokio::test]
async fn a_database_with_the_names_of_before_is_renamed_on_postgres() {
    is_renamed(&Target::Postgres(new_database().await)).await;
}
