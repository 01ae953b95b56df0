//! A process that another overtook ends, with its reason and its own exit code.

use std::fs;

use crate::process::{Process, eventually, log_of};
use crate::support::{new_database, postgres, server_url};

const OVERTAKEN: i32 = 6;

/// Ends every session of the database at `url`; its name.
async fn end_sessions(url: &str) -> String {
    let (_, database) = url.rsplit_once('/').unwrap();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    let mut server = postgres(&server_url()).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(end)).execute(&mut server).await.unwrap();
    database.to_owned()
}

/// Stopped for a while, its sessions ended by the server, as a suspended machine or a cut network would have it.
#[tokio::test]
async fn a_process_whose_database_another_took_over_ends_with_its_reason() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = new_database().await;
    let first = Process::ready_alone(one.path(), &url).await;
    first.signal("STOP");
    let database = end_sessions(&url).await;
    let second = Process::ready_alone(other.path(), &url).await;

    first.signal("CONT");
    let ended = first.ended().await;
    let log = log_of(one.path());
    assert_eq!(ended.code(), Some(OVERTAKEN), "{log}");
    assert!(log.contains("another breakerd") && log.contains(&database), "{log}");
    assert!(log.contains("task=\"store_check\""), "{log}");
    assert!(second.page_is("/readyz", 200).await, "whoever took over goes on");
    assert!(second.stop().await.success());
}

/// The other one wants to share what this one has for itself.
#[tokio::test]
async fn a_process_whose_database_replicas_took_over_ends_with_its_reason() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = new_database().await;
    let first = Process::ready_alone(one.path(), &url).await;
    first.signal("STOP");
    end_sessions(&url).await;
    let second = Process::ready(other.path(), Some(&url)).await;

    first.signal("CONT");
    let ended = first.ended().await;
    let log = log_of(one.path());
    assert_eq!(ended.code(), Some(OVERTAKEN), "{log}");
    assert!(second.stop().await.success());
}

#[tokio::test]
async fn a_process_whose_lost_sessions_nobody_took_over_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    let process = Process::ready_alone(folder.path(), &url).await;
    end_sessions(&url).await;
    eventually("it notices", async || log_of(folder.path()).contains("taking the lock again")).await;
    eventually("it is well", async || process.page("/health").await.contains("\"healthy\"")).await;
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_process_whose_data_folder_another_took_over_ends_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::ready(folder.path(), None).await;
    // A person moves the folder away, as for a restore, and forgets that breakerd runs.
    first.signal("STOP");
    fs::rename(folder.path().join("data"), folder.path().join("before")).unwrap();
    let second = Process::ready(folder.path(), None).await;
    first.signal("CONT");
    let ended = first.ended().await;
    let log = log_of(folder.path());
    assert_eq!(ended.code(), Some(OVERTAKEN), "{log}");
    assert!(
        log.contains("task=\"data_folder_lock\"") && log.contains("data directory data is locked"),
        "{log}"
    );
    assert!(second.stop().await.success());
}
