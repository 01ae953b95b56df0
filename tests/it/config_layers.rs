//! A file that changes below what was set over the API, while breakerd runs.

use std::fs;
use std::path::Path;

use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{ConfigSource, DeleteConfigRequest, ServiceConfig, Thresholds};
use tonic::transport::Channel;

use crate::grpc_config::{failures, get, set, update};
use crate::process::{Process, eventually, log_of};
use crate::support::new_database;

/// What `a` is judged by: failures, the wait in seconds, the successes that close; each with its layer.
fn shown(config: &ServiceConfig) -> [(i64, ConfigSource); 3] {
    let thresholds = config.thresholds.as_ref().unwrap();
    let layer = |field: &str| ConfigSource::try_from(config.sources[field]).unwrap();
    let wait = thresholds.wait_duration_in_open_state.as_ref().unwrap().seconds;
    [
        (i64::from(thresholds.failure_threshold.unwrap()), layer("failure_threshold")),
        (wait, layer("wait_duration_in_open_state")),
        (i64::from(thresholds.success_threshold.unwrap()), layer("success_threshold")),
    ]
}

/// Writes the file in one step, as `[circuit_breaker.a]` with these lines.
fn write(folder: &Path, lines: &str) {
    let beside = folder.join("beside");
    fs::write(&beside, format!("[circuit_breaker.a]\n{lines}\n")).unwrap();
    fs::rename(beside, folder.join("breakerd.toml")).unwrap();
}

async fn refused(process: &Process) -> bool {
    process.page("/metrics").await.contains("breakerd_config_last_reload_successful 0")
}

async fn judged(client: &mut ConfigServiceClient<Channel>, expected: [(i64, ConfigSource); 3]) {
    let what = format!("it is judged by {expected:?}");
    eventually(&what, async || shown(&get(&mut client.clone(), "a").await) == expected).await;
}

async fn a_changed_file_stands_below_what_was_set_over_the_api(database_url: Option<&str>) {
    use ConfigSource::{Api, BuiltIn, FileService};
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "failure_threshold = 3");
    let process = Process::ready(folder, database_url).await;
    let mut client = ConfigServiceClient::new(process.channel().await);
    judged(&mut client, [(3, FileService), (60, BuiltIn), (2, BuiltIn)]).await;
    update(&mut client, set("a", Thresholds { success_threshold: Some(4), ..failures(9) })).await;

    // What the API has set stays; what it has not is the file's.
    write(folder, "failure_threshold = 7\ntimeout_seconds = 30");
    judged(&mut client, [(9, Api), (30, FileService), (4, Api)]).await;
    assert!(!refused(&process).await);
    let before = get(&mut client, "a").await;

    // Four successes out of two probes cannot be.
    write(folder, "failure_threshold = 8\npermitted_number_of_calls_in_half_open_state = 2");
    eventually("the contradiction is refused", || refused(&process)).await;
    let log = log_of(folder);
    let line = log.lines().find(|line| line.contains("config file not applied"));
    let line = line.unwrap_or_else(|| panic!("nothing is logged of it: {log}"));
    for part in [
        "ERROR",
        "keeping the previous version",
        "success_threshold: invalid value 4",
        "permitted_number_of_calls_in_half_open_state (2)",
        "API",
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    assert_eq!(get(&mut client, "a").await, before, "nothing was changed");

    // So it is at the next start: what was in force before goes on.
    assert!(process.stop().await.success());
    let process = Process::ready(folder, database_url).await;
    let mut client = ConfigServiceClient::new(process.channel().await);
    assert_eq!(get(&mut client, "a").await, before);
    eventually("the contradiction is still refused", || refused(&process)).await;

    // What is taken back falls to the last good file, and then nothing stands in the changed one's way any more.
    let delete = DeleteConfigRequest { service: "a".into(), ..DeleteConfigRequest::default() };
    let after = client.delete_config(delete).await.unwrap().into_inner().config.unwrap();
    assert_eq!(shown(&after), [(7, FileService), (30, FileService), (2, BuiltIn)]);
    assert_eq!(after.revision, before.revision + 1);
    judged(&mut client, [(8, FileService), (60, BuiltIn), (2, BuiltIn)]).await;
    eventually("the file is in force again", async || !refused(&process).await).await;
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_file_of_an_older_generation_is_not_applied_and_counts_as_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |generation: u32, threshold: u32| {
        let beside = folder.join("beside");
        let text = format!("[circuit_breaker]\ngeneration = {generation}\nfailure_threshold = {threshold}\n");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, folder.join("breakerd.toml")).unwrap();
    };
    write(9, 3);
    let process = Process::ready(folder, None).await;
    let mut client = ConfigServiceClient::new(process.channel().await);
    let before = get(&mut client, "a").await;
    write(8, 7);
    eventually("it is refused", || refused(&process)).await;
    assert_eq!(get(&mut client, "a").await, before, "nothing was changed");
    let log = log_of(folder);
    let line = log.lines().find(|line| line.contains("config file not applied"));
    assert!(line.unwrap_or_else(|| panic!("{log}")).contains("generation: invalid value 8"), "{line:?}");
    assert!(!log.contains("config file reloaded"), "{log}");
    write(10, 7);
    eventually("a newer one is applied", async || !refused(&process).await).await;
    assert_ne!(get(&mut client, "a").await, before);
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_changed_file_stands_below_what_was_set_over_the_api_on_sqlite() {
    a_changed_file_stands_below_what_was_set_over_the_api(None).await;
}

#[tokio::test]
async fn a_changed_file_stands_below_what_was_set_over_the_api_on_postgres() {
    let url = new_database().await;
    a_changed_file_stands_below_what_was_set_over_the_api(Some(&url)).await;
}
