//! What an operator reads while the store is away: the server's reason, and not only that time is over.

use sqlx::{Connection, SqliteConnection};

use crate::ctl::{Desk, Said, bare};
use crate::process::{Process, ends, eventually, log_of};
use crate::support::nobody_listens;

#[tokio::test]
async fn the_server_says_that_the_store_is_away_before_the_client_gives_up() {
    let desk = Desk::open().await;
    let path = desk.folder().join("data/breakerd.db").display().to_string();
    let mut person = SqliteConnection::connect(&path).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut person).await.unwrap();
    let told = "breakerd: store unavailable: no answer within 1.6s: the change may still take effect\n";
    for act in [
        &["config", "set", "database", "timeout_seconds=9"][..],
        &["config", "unset", "search", "failure_threshold"],
        &["override", "set", "search", "disabled", "--service-wide"],
    ] {
        let said = desk.ask(&[act, &["--reason", "r", "--timeout", "2s"]].concat()).await;
        assert_eq!(said.code, 1, "{act:?}: {said:?}");
        if act[1] == "unset" {
            // Nothing was set, so nothing is written; it waits behind the change before it.
            assert!(said.err.starts_with("breakerd: store unavailable"), "{said:?}");
            continue;
        }
        assert!(said.err.starts_with(told), "{act:?}: {said:?}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut person).await.unwrap();
    eventually("the change takes effect", async || {
        desk.ask(&["config", "get", "database"]).await.out.contains("9s")
    })
    .await;
}

#[tokio::test]
async fn a_start_without_its_database_says_where_it_looks_and_since_when() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = nobody_listens();
    let port = nobody.local_addr().unwrap().port();
    let url = format!("postgres://ada:sesame@127.0.0.1:{port}/orders");
    let process = Process::start(folder.path(), Some(&url));
    eventually("it has looked", async || log_of(folder.path()).contains("store unavailable, retrying")).await;
    let log = log_of(folder.path());
    assert!(log.contains(&format!("store=\"database orders at 127.0.0.1:{port}\"")), "{log}");
    assert!(log.contains(&format!("database orders at 127.0.0.1:{port}: Connection refused")), "{log}");
    assert!(!log.contains("sesame"), "{log}");

    let ready: serde_json::Value = serde_json::from_str(&process.page("/readyz").await).unwrap();
    let since = ready["store_unreachable_since"].as_str().expect("since when").to_owned();
    assert!(since.starts_with("20") && since.ends_with('Z'), "{since}");
    let health: serde_json::Value = serde_json::from_str(&process.page("/health").await).unwrap();
    assert_eq!(health["store"]["unreachable_since"], since.as_str());
    let mut command = bare(&["ls"]);
    command.env("BREAKERD_ADDRESS", process.grpc.strip_prefix("http://").unwrap());
    let said = Said::from(ends(command).await);
    let told = format!("state is not loaded yet, because the store has not been reachable since {since}");
    assert!(said.code == 1 && said.err.contains(&told), "{said:?}");
}
