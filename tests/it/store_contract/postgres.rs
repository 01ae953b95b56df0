//! What only the store in Postgres promises.

use std::sync::Arc;

use breaker::{Field, Layer, Time, Value};
use breakerd::catalog::Declaration;
use breakerd::store::{ConfigEdit, Retention, Store, StoreError, Target, open};

use super::change::{key, trip};
use super::configuration::try_write;
use crate::support::{Bed, new_database, nobody_listens, open_again, postgres, server_url};

/// Ends the connection that holds the lock, as a restart of Postgres or a network would.
async fn lose_the_lock(bed: &Bed) {
    let ended = bed
        .text(
            "SELECT CAST(pg_terminate_backend(pid, 5000) AS TEXT) FROM pg_locks
             WHERE locktype = 'advisory' AND granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .await;
    assert_eq!(ended.as_deref(), Some("true"));
}

/// How many wait for a lock.
const WAITS: &str = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";

async fn trip_one(store: &dyn Store, seq: u64) -> Result<(), StoreError> {
    store.propose(&[trip(seq, &key("service", &format!("{seq}")))]).await.map(drop)
}

async fn declare(bed: &Bed) -> Result<(), StoreError> {
    try_write(&*bed.store, 0, ConfigEdit::FileApplied(Declaration::default()), &[""], None).await.map(drop)
}

#[tokio::test]
async fn a_second_breakerd_is_told_who_has_the_database() {
    let bed = Bed::postgres().await;
    let Err(error) = open_again(&bed).await else { panic!("two on one database") };
    let text = error.to_string();
    assert!(matches!(error, StoreError::LockedByAnother(_)), "{text}");
    for part in [
        "another breakerd (backend pid ",
        "client address 127.0.0.1",
        "application_name breakerd",
        "database test_",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    // The first goes on.
    trip_one(&*bed.store, 1).await.unwrap();
    bed.end().await;
}

#[tokio::test]
async fn a_dead_process_does_not_hold_the_database() {
    let mut bed = Bed::postgres().await;
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    // Everything of the first, dropped without a word, as when its process is killed.
    bed.store = {
        let other = open(&Target::Postgres(new_database().await)).await.unwrap();
        drop(std::mem::replace(&mut bed.store, other));
        open(&Target::Postgres(url.clone())).await.unwrap()
    };
    trip_one(&*bed.store, 1).await.unwrap();
    bed.end().await;
}

#[tokio::test]
async fn a_lock_that_was_lost_is_taken_again_before_anything_is_written() {
    let bed = Bed::postgres().await;
    lose_the_lock(&bed).await;
    trip_one(&*bed.store, 1).await.unwrap();
    assert!(matches!(open_again(&bed).await, Err(StoreError::LockedByAnother(_))));
    lose_the_lock(&bed).await;
    bed.store.ping().await.unwrap();
    assert!(matches!(open_again(&bed).await, Err(StoreError::LockedByAnother(_))));
    bed.end().await;
}

#[tokio::test]
async fn who_lost_the_lock_to_another_writes_nothing_more() {
    let bed = Bed::postgres().await;
    lose_the_lock(&bed).await;
    let other = open_again(&bed).await.unwrap();
    let error = trip_one(&*bed.store, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::LockedByAnother(_)), "{error:?}");
    assert!(matches!(bed.store.ping().await, Err(StoreError::LockedByAnother(_))));
    trip_one(&*other, 2).await.unwrap();
    // Nor when the other is gone: what it wrote is not known here.
    other.close().await;
    let error = trip_one(&*bed.store, 3).await.unwrap_err();
    assert!(error.to_string().contains("lost the lock on database test_"), "{error}");
    assert_eq!(bed.store.revision().await.unwrap(), 1);
    bed.end().await;
}

#[tokio::test]
async fn a_write_that_comes_late_from_an_overtaken_process_fails() {
    let bed = Bed::postgres().await;
    trip_one(&*bed.store, 1).await.unwrap();
    // The lock still stands here; the database has gone to another all the same.
    bed.sql("UPDATE revision SET holder = 'somebody else'").await;
    assert!(matches!(trip_one(&*bed.store, 2).await, Err(StoreError::LockedByAnother(_))));
    assert!(matches!(declare(&bed).await, Err(StoreError::LockedByAnother(_))));
    assert_eq!(bed.store.revision().await.unwrap(), 1);
    bed.end().await;
}

#[tokio::test]
async fn every_revision_is_notified_once() {
    let bed = Bed::postgres().await;
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    let mut listener = sqlx::postgres::PgListener::connect(url).await.unwrap();
    listener.listen("breakerd").await.unwrap();
    bed.store.propose(&[trip(1, &key("a", "")), trip(2, &key("b", ""))]).await.unwrap();
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    declare(&bed).await.unwrap();
    for revision in ["1", "2"] {
        assert_eq!(listener.recv().await.unwrap().payload(), revision);
    }
    bed.end().await;
}

#[tokio::test]
async fn nothing_that_was_locked_for_a_moment_stays() {
    let bed = Bed::postgres().await;
    let late = super::change::own(1, &key("a", ""), breaker::State::Closed, breaker::State::Open, 3);
    let lost = super::change::proposed(2, &key("b", ""), breaker::State::Open, breaker::State::Closed, 3);
    bed.store.propose(&[late, lost]).await.unwrap();
    let rows = bed.text("SELECT string_agg(service || ' ' || epoch, ',') FROM breaker").await;
    assert_eq!(rows.as_deref(), Some("a 4"));
    bed.end().await;
}

#[tokio::test]
async fn a_clock_that_was_once_ahead_does_not_keep_old_history() {
    let bed = Bed::postgres().await;
    trip_one(&*bed.store, 1).await.unwrap();
    trip_one(&*bed.store, 2).await.unwrap();
    bed.sql(
        "UPDATE transition SET recorded_at = 'epoch' WHERE revision = 1;
         UPDATE transition SET recorded_at = date_trunc('month', now()) + interval '40 days' WHERE revision = 2",
    )
    .await;
    let far = Time::from_micros(1_500_000_000_000_000);
    let pruned = bed.store.prune(Retention { before: far, requests_before: far }).await.unwrap();
    assert_eq!(pruned.transitions, 1);
    bed.end().await;
}

#[tokio::test]
async fn a_change_and_the_retention_do_not_wait_for_each_other() {
    let bed = Bed::postgres().await;
    let thresholds = |failures| {
        let layer = Layer::default().with(Field::FailureThreshold, Value::Count(failures)).unwrap();
        ConfigEdit::Thresholds { service: "gone".to_owned(), layer }
    };
    let nothing = ConfigEdit::Thresholds { service: "gone".to_owned(), layer: Layer::default() };
    try_write(&*bed.store, 0, thresholds(3), &["gone"], None).await.unwrap();
    try_write(&*bed.store, 1, nothing, &["gone"], None).await.unwrap();
    bed.sql("UPDATE service_config SET changed_at = 'epoch'").await;
    // A change of the same service, as far as its first lock.
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    let mut change = postgres(url).await;
    sqlx::raw_sql("BEGIN; SELECT * FROM config_head FOR UPDATE").execute(&mut change).await.unwrap();
    let store = Arc::clone(&bed.store);
    let far = Time::from_micros(1_500_000_000_000_000);
    let retention = Retention { before: far, requests_before: far };
    let pruning = tokio::spawn(async move { store.prune(retention).await });
    while bed.text(WAITS).await.as_deref() != Some("1") {
        tokio::task::yield_now().await;
    }
    let goes_on = sqlx::raw_sql(
        "INSERT INTO service_config (service, revision, changed_at) VALUES ('gone', 3, now())
         ON CONFLICT (service) DO UPDATE SET revision = 3, changed_at = now();
         COMMIT",
    );
    goes_on.execute(&mut change).await.unwrap();
    pruning.await.unwrap().unwrap();
    let stored = bed.store.configuration().await.unwrap();
    assert!(stored.changed.contains_key("gone"), "it was changed meanwhile");
    bed.end().await;
}

#[tokio::test]
async fn what_is_read_has_a_change_that_is_still_being_committed() {
    let bed = Bed::postgres().await;
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    // As a commit that waits for a standby, and whose caller has given up.
    let mut change = postgres(url).await;
    let begun = "BEGIN; SELECT FROM config_head FOR UPDATE; UPDATE config_head SET revision = 5";
    sqlx::raw_sql(begun).execute(&mut change).await.unwrap();
    let store = Arc::clone(&bed.store);
    let reading = tokio::spawn(async move { store.configuration().await });
    while bed.text(WAITS).await.as_deref() != Some("1") {
        assert!(!reading.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut change).await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap().revision, 5);
    bed.end().await;
}

#[tokio::test]
async fn what_lies_in_the_database_is_explained_there() {
    let bed = Bed::postgres().await;
    let silent = bed
        .text(
            "SELECT string_agg(relname || coalesce('.' || attname, ''), ', ')
             FROM pg_class
             LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND relkind <> 'v'
                  AND attname <> 'only_row'
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
               AND NOT relispartition AND relname <> '_sqlx_migrations'
               AND (obj_description(pg_class.oid) IS NULL OR attnum IS NOT NULL AND col_description(attrelid, attnum) IS NULL)",
        )
        .await;
    assert_eq!(silent, None, "without a comment");
    bed.end().await;
}

#[tokio::test]
async fn descriptions_use_the_terms_that_the_documents_use() {
    let bed = Bed::postgres().await;
    let replaced = bed
        .text(
            r"SELECT string_agg(description, E'\n')
              FROM pg_description JOIN pg_class ON pg_class.oid = objoid
              WHERE classoid = 'pg_class'::regclass AND relnamespace = 'public'::regnamespace
                AND replace(lower(description), 'self-declared', '') ~ '\y(by hand|alone|lineage|declared|let go|came to stand|come to stand|in force|guard|judges?|whole service|nobody|somebody|whoever|attribution|told|anew)\y'",
        )
        .await;
    assert_eq!(replaced, None, "see the glossary");
    bed.end().await;
}

#[tokio::test]
async fn a_url_that_cannot_be_is_refused_without_repeating_it() {
    for (url, problem) in [
        ("mysql://ann:secret@localhost/x", "unknown scheme mysql"),
        ("ann:secret@localhost/x", "no scheme"),
        ("ann:secret://x", "no scheme"),
        ("", "no scheme"),
        ("postgres://ann:secret@localhost:port/x", "invalid port"),
        ("postgres://ann:secret@localhost/x?sslmod=verify-full", "did you mean sslmode?"),
    ] {
        let Err(error) = open(&Target::Postgres(url.to_owned())).await else { panic!("opened {url}") };
        let text = format!("{error} {error:?}");
        assert!(matches!(error, StoreError::Refused(_)), "{text}");
        assert!(text.contains(problem) && !text.contains("secret"), "{text}");
    }
    let target = Target::Postgres("postgres://ann:secret@localhost/x".to_owned());
    assert_eq!(format!("{target:?}"), "Postgres(..)");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_refused() {
    let url = server_url().replacen("postgres://breakerd@", "postgres://breakerd:secret@", 1);
    let (server, _) = url.rsplit_once('/').unwrap();
    let Err(error) = open(&Target::Postgres(format!("{server}/nowhere"))).await else { panic!("opened") };
    let text = format!("{error} {error:?}");
    assert!(matches!(error, StoreError::Refused(_)), "{text}");
    assert!(text.contains("database \"nowhere\" does not exist") && !text.contains("secret"), "{text}");
    assert!(text.contains("CREATE DATABASE nowhere OWNER breakerd"), "{text}");
}

#[tokio::test]
async fn a_database_that_is_down_may_come_back() {
    let nobody = nobody_listens();
    let port = nobody.local_addr().unwrap().port();
    let url = format!("postgres://ann:secret@127.0.0.1:{port}/x");
    let Err(error) = open(&Target::Postgres(url)).await else { panic!("opened") };
    let text = format!("{error} {error:?}");
    assert!(error.is_transient(), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_role_that_may_not_make_tables_is_told_so() {
    let url = new_database().await;
    let (_, database) = url.rsplit_once('/').unwrap();
    let role = format!("poor_{database}");
    let mut admin = postgres(&url).await;
    let make = format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM public");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut admin).await.unwrap();
    let poor = url.replacen("postgres://breakerd@", &format!("postgres://{role}@"), 1);
    let Err(error) = open(&Target::Postgres(poor)).await else { panic!("opened") };
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("permission denied for schema public"), "{error}");
    assert!(error.to_string().contains(&format!("ALTER DATABASE {database} OWNER TO {role}")), "{error}");
    let bed = Bed::postgres().await;
    drop(admin);
    bed.sql(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
    bed.sql(&format!("DROP ROLE {role}")).await;
    bed.end().await;
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_let_go_of_the_database() {
    let bed = Bed::postgres().await;
    let backends = "SELECT string_agg(CAST(pid AS TEXT), ' ') FROM pg_locks
                    WHERE locktype = 'advisory' AND granted
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let before = bed.text(backends).await;
    for patience_us in (0..3_000).step_by(50) {
        let patience = std::time::Duration::from_micros(patience_us);
        // Whether it was in time is not the question.
        drop(tokio::time::timeout(patience, bed.store.ping()).await);
        drop(tokio::time::timeout(patience, trip_one(&*bed.store, patience_us)).await);
    }
    bed.store.ping().await.unwrap();
    assert_eq!(bed.text(backends).await, before);
    bed.end().await;
}

#[tokio::test]
async fn a_table_that_somebody_locks_does_not_cost_the_lock_on_the_database() {
    let bed = Bed::postgres().await;
    let Target::Postgres(url) = &bed.target else { unreachable!() };
    let mut other = postgres(url).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE revision").execute(&mut other).await.unwrap();
    let error = bed.store.ping().await.unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    assert!(matches!(open_again(&bed).await, Err(StoreError::LockedByAnother(_))));
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    bed.store.ping().await.unwrap();
    bed.end().await;
}

/// What is said to whoever opens the store of a database that is not as it should be: never that it does not answer.
#[tokio::test]
async fn what_is_wrong_with_a_database_is_told_with_what_to_do() {
    let url = new_database().await;
    let (address, database) = url.rsplit_once('/').unwrap();
    let role = format!("role_{database}");
    let mut admin = postgres(&url).await;
    let limited = url.replacen("postgres://breakerd@", &format!("postgres://{role}@"), 1);
    let nowhere = format!("{url}?options[search_path]=nowhere");
    for (make, url, is_transient, told) in [
        (
            "CREATE TABLE meta (x int)",
            &url,
            false,
            ["relation \"meta\" already exists", "use another database"],
        ),
        (
            "DROP TABLE meta; CREATE VIEW transition AS SELECT 1",
            &url,
            false,
            ["\"transition\" already exists", "use another database"],
        ),
        (
            "DROP VIEW transition",
            &nowhere,
            false,
            ["no schema has been selected to create in", "CREATE SCHEMA"],
        ),
        (
            &format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 0"),
            &limited,
            true,
            ["too many connections", "CONNECTION LIMIT of the role"],
        ),
        (
            &format!(
                "ALTER ROLE {role} CONNECTION LIMIT -1; REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"
            ),
            &limited,
            false,
            ["permission denied for database", "GRANT CONNECT ON DATABASE"],
        ),
        (
            &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"),
            &url,
            true,
            ["no database server accepts writes", ""],
        ),
    ] {
        for statement in make.split("; ") {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
        }
        let Err(error) = open(&Target::Postgres(url.clone())).await else { panic!("opened: {make}") };
        let text = error.to_string();
        assert_eq!(error.is_transient(), is_transient, "{make}: {error:?}");
        assert!(told.iter().all(|told| text.contains(told)), "{make}: {text}");
        assert!(!text.contains("store unavailable") && !text.contains("restore"), "{make}: {text}");
    }
    drop(admin);
    let mut server = postgres(&format!("{address}/breakerd")).await;
    for statement in [format!("DROP DATABASE {database} WITH (FORCE)"), format!("DROP ROLE {role}")] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut server).await.unwrap();
    }
}
