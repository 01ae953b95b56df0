//! The incident store, on SQLite and Postgres.

use std::time::Duration;

use incident_manager::config::StoreConfig;
use incident_manager::incident::{Alert, Analysis, Severity};
use incident_manager::stand_ins::{Behavior, Peer};
use incident_manager::store::{IncidentStore, SqlStore};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::support::{PATIENCE, SHORT, class, incident, sqlite};

/// Postgres of `scripts/with-postgres.sh`, if it is there.
fn postgres_url() -> Option<String> {
    let url = std::env::var("BREAKERD_TEST_POSTGRES_URL").ok();
    assert!(url.is_some() || std::env::var_os("CI").is_none(), "BREAKERD_TEST_POSTGRES_URL is not set");
    url
}

/// A new database on the server, and the URL that leads there over `to` (host and port), if that is given.
async fn postgres_database(to: impl Fn(&str) -> Option<String>) -> Option<String> {
    let url = postgres_url()?;
    let name = format!("incidents_{}", Uuid::now_v7().simple());
    let mut server = PgConnection::connect(&url).await.unwrap();
    server.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (before, database) = url.rsplit_once('/').unwrap();
    let query = database.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let (scheme_and_user, address) = before.rsplit_once(['@', '/']).unwrap();
    let separator = &before[scheme_and_user.len()..=scheme_and_user.len()];
    let address = to(address).unwrap_or_else(|| address.to_owned());
    Some(format!("{scheme_and_user}{separator}{address}/{name}{query}"))
}

async fn keeps_incidents(store: &SqlStore) {
    let mut first = incident("first");
    store.save_incident(&first).await.unwrap();
    assert_eq!(store.get_incident(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.get_incident(Uuid::now_v7()).await.unwrap(), None);

    // Again, with what Sentinel said meanwhile.
    first.analysis = Some(Analysis { score: 0.25, severity: Severity::Info, summary: "ok".to_owned() });
    first.related_alerts = vec![Alert { id: "a".to_owned(), title: "b".to_owned() }];
    store.save_incident(&first).await.unwrap();
    let mut second = incident("second");
    second.created_at = first.created_at + Duration::from_micros(1);
    store.save_incident(&second).await.unwrap();
    assert_eq!(store.list_incidents(10).await.unwrap(), [second.clone(), first]);
    assert_eq!(store.list_incidents(1).await.unwrap(), [second]);
}

#[tokio::test]
async fn sqlite_keeps_incidents_also_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = sqlite(folder.path(), PATIENCE);
    keeps_incidents(&SqlStore::connect(&config).await.unwrap()).await;
    let again = SqlStore::connect(&config).await.unwrap();
    assert_eq!(again.list_incidents(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn postgres_keeps_incidents() {
    let Some(url) = postgres_database(|_| None).await else { return };
    let config = StoreConfig { url: url.as_str().into(), timeout: PATIENCE };
    keeps_incidents(&SqlStore::connect(&config).await.unwrap()).await;
}

#[tokio::test]
async fn a_database_that_another_process_locks_is_a_failure_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqlStore::connect(&sqlite(folder.path(), SHORT)).await.unwrap();
    let mut other =
        SqliteConnection::connect(&format!("sqlite:{}/incidents.db", folder.path().display())).await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let error = store.save_incident(&incident("x")).await.unwrap_err();
    assert!(["service_failed", "timeout"].contains(&error.class()), "{error}");
    other.execute("ROLLBACK").await.unwrap();
    let store = SqlStore::connect(&sqlite(folder.path(), PATIENCE)).await.unwrap();
    store.save_incident(&incident("x")).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_and_one_that_is_broken_later_are_failures() {
    let folder = tempfile::tempdir().unwrap();
    let config = sqlite(folder.path(), PATIENCE);
    let store = SqlStore::connect(&config).await.unwrap();
    store.save_incident(&incident("x")).await.unwrap();
    let mut other =
        SqliteConnection::connect(&format!("sqlite:{}/incidents.db", folder.path().display())).await.unwrap();
    other.execute("DROP TABLE incident").await.unwrap();
    assert_eq!(class(store.save_incident(&incident("x")).await), "service_failed");

    let other = tempfile::tempdir().unwrap();
    std::fs::write(
        other.path().join("incidents.db"),
        "garbage, and more of it than a header of SQLite is long".repeat(10),
    )
    .unwrap();
    SqlStore::connect(&sqlite(other.path(), SHORT)).await.unwrap_err();
}

#[tokio::test]
async fn one_row_that_cannot_be_read_is_no_failure_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqlStore::connect(&sqlite(folder.path(), PATIENCE)).await.unwrap();
    let bad = incident("bad");
    store.save_incident(&bad).await.unwrap();
    let mut other =
        SqliteConnection::connect(&format!("sqlite:{}/incidents.db", folder.path().display())).await.unwrap();
    other.execute("UPDATE incident SET severity = 'mauve'").await.unwrap();
    assert!(store.get_incident(bad.id).await.unwrap_err().is_client_fault());
}

#[tokio::test]
async fn what_postgres_cannot_keep_is_no_failure_of_the_database() {
    let Some(url) = postgres_database(|_| None).await else { return };
    let store =
        SqlStore::connect(&StoreConfig { url: url.as_str().into(), timeout: PATIENCE }).await.unwrap();
    let mut bad = incident("x");
    bad.description = "a NUL: \0".to_owned();
    let error = store.save_incident(&bad).await.unwrap_err();
    assert!(error.is_client_fault(), "{error}");
}

#[tokio::test]
async fn each_way_that_postgres_is_cut_off_has_its_error() {
    let Some(url) = postgres_url() else { return };
    let server = url.rsplit_once('/').unwrap().0.rsplit(['@', '/']).next().unwrap().to_owned();
    let tunnel = Peer::tunnel(server).await.unwrap();
    let address = tunnel.address().to_string();
    let url = postgres_database(|_| Some(address.clone())).await.unwrap();
    let connect = async |timeout| SqlStore::connect(&StoreConfig { url: url.as_str().into(), timeout }).await;
    let store = connect(PATIENCE).await.unwrap();
    keeps_incidents(&store).await;

    // A new behavior also cuts the connections that are there.
    tunnel.behave(Behavior::Reset);
    assert_eq!(class(store.list_incidents(1).await), "connection");
    tunnel.behave(Behavior::Garbage);
    let error = store.list_incidents(1).await.unwrap_err();
    assert!(["connection", "invalid_answer"].contains(&error.class()), "{error}");
    tunnel.behave(Behavior::Answer);
    let hurried = connect(Duration::from_secs(1)).await.unwrap();
    tunnel.behave(Behavior::Hang);
    assert_eq!(class(hurried.list_incidents(1).await), "timeout");
    tunnel.behave(Behavior::Answer);
    store.list_incidents(1).await.unwrap();
}
