//! Starting, stopping, and what can go wrong with it: real processes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{
    AllowRequestRequest, GetBreakerRequest, Outcome, RecordOutcomeRequest, SetOverrideRequest, State,
    Thresholds, UpdateConfigRequest,
};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Process, ends, eventually, log_of, program, program_alone};
use crate::severable_proxy::Road;
use crate::support::{new_database, nobody_listens};

fn ask(service: &str) -> AllowRequestRequest {
    AllowRequestRequest { service: service.into(), ..Default::default() }
}

fn failure(service: &str) -> RecordOutcomeRequest {
    RecordOutcomeRequest { service: service.into(), outcome: Outcome::Failure.into(), ..Default::default() }
}

/// Starts it as `arguments` say, expects it to refuse, and answers what it said.
async fn refusal(folder: &Path, arguments: &[&str], database_url: Option<&str>) -> String {
    let mut command = program(folder, database_url);
    command.args(arguments);
    refusal_of(command).await
}

async fn refusal_of(command: Command) -> String {
    let output = ends(command).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "nobody is greeted: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_setting_that_names_another() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, what) in [("BREAKERD_GRPC_LISTEN", "gRPC"), ("BREAKERD_HTTP_LISTEN", "HTTP")] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_breakerd"));
        command.env_clear().current_dir(folder.path()).arg("serve");
        command.env("BREAKERD_GRPC_LISTEN", "127.0.0.1:0").env("BREAKERD_HTTP_LISTEN", "127.0.0.1:0");
        command.env(variable, &address);
        let output = ends(command).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("cannot listen on {address} ({what}): the port is in use")), "{said}");
        assert!(said.contains(variable), "{said}");
        assert!(output.stdout.is_empty(), "greeted: {said}");
    }
}

#[tokio::test]
async fn a_person_is_greeted_once_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), None);
    let greeting = || fs::read_to_string(folder.path().join("out")).unwrap();
    eventually("it greets", async || greeting().contains("Try it in another terminal")).await;
    assert!(process.page_is("/readyz", 200).await);
    let grpc = process.grpc.strip_prefix("http://").unwrap();
    let listens = format!("breakerd is listening: gRPC on {grpc}, HTTP on {}\n", process.http);
    assert!(greeting().starts_with(&listens), "{}", greeting());
}

#[tokio::test]
async fn a_second_process_on_a_folder_is_refused_and_a_dead_one_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::ready(folder.path(), None).await;
    let said = refusal(folder.path(), &[], None).await;
    assert!(said.contains("another breakerd (process "), "{said}");
    first.kill();
    assert!(Process::ready(folder.path(), None).await.stop().await.success());
}

#[tokio::test]
async fn a_second_process_on_a_database_is_refused_and_a_dead_one_holds_nothing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = new_database().await;
    let first = Process::ready_alone(one.path(), &url).await;
    for program in [program(other.path(), Some(&url)), program_alone(other.path(), &url)] {
        let said = refusal_of(program).await;
        assert!(said.contains("another breakerd"), "{said}");
    }
    first.kill();
    assert!(Process::ready(other.path(), Some(&url)).await.stop().await.success());
}

#[tokio::test]
async fn what_cannot_be_started_with_says_why() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data"), "a file where the folder should be").unwrap();
    let said = refusal(folder.path(), &[], None).await;
    assert!(said.contains("cannot use data directory data"), "{said}");
    assert_eq!(said.matches("not a directory").count(), 1, "{said}");

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/breakerd.db"), "no database, however long it may be".repeat(99))
        .unwrap();
    let said = refusal(folder.path(), &[], None).await;
    assert!(said.contains("breakerd.db"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\nfailure_threshold = -1\nx = 1\n")
        .unwrap();
    let said = refusal(folder.path(), &[], None).await;
    assert!(said.contains("breakerd.toml:2:") && said.contains("breakerd.toml:3:"), "{said}");
}

#[tokio::test]
async fn a_database_that_is_down_at_the_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = nobody_listens();
    let url = format!("postgres://nobody:hidden@{}/none", nobody.local_addr().unwrap());
    let process = Process::start(folder.path(), Some(&url));
    eventually("it lives", || process.page_is("/livez", 200)).await;
    assert!(process.page_is("/readyz", 503).await);
    let status = process.breakers().await.allow_request(ask("db")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    eventually("it says so", || async { log_of(folder.path()).contains("store unavailable") }).await;
    assert!(!log_of(folder.path()).contains("hidden"), "the password is in the log");
    assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), "", "it is not ready");
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_database_that_goes_away_in_the_middle_of_the_start_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let road = Road::to(&new_database().await).await;
    // The lock and the tables, and the look for a pooler; what reads comes on connections of its own.
    road.let_through(2);
    let process = Process::start(folder.path(), Some(&road.url));
    eventually("it says that it waits", async || log_of(folder.path()).contains("store unavailable")).await;
    assert!(!process.page_is("/readyz", 200).await);
    road.mend();
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn the_log_says_which_breakerd_starts_and_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let log = log_of(folder.path());
    let starting = log.lines().find(|line| line.contains("starting")).unwrap_or_else(|| panic!("{log}"));
    for told in [
        format!("grpc={}", process.grpc.trim_start_matches("http://")),
        format!("http={}", process.http.trim_start_matches("http://")),
        format!("version=\"{}\"", env!("CARGO_PKG_VERSION")),
        "store=\"SQLite\"".to_owned(),
        "tls=\"off\" tokens=false".to_owned(),
    ] {
        assert!(starting.contains(&told), "no {told}: {starting}");
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_at_once_and_a_wrong_one_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakerd.toml");
    fs::write(&file, "[circuit_breaker.db]\nfailure_threshold = 100\n").unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    let before = breakers.allow_request(ask("db")).await.unwrap().into_inner().config_revision;

    fs::write(&file, "[circuit_breaker.db]\nfailure_threshold = 0.5\n").unwrap();
    let failed = "breakerd_config_last_reload_successful 0";
    eventually("the wrong file is seen", || async { process.page("/metrics").await.contains(failed) }).await;
    assert!(log_of(folder.path()).contains("keeping the previous version"));
    let after = breakers.allow_request(ask("db")).await.unwrap().into_inner().config_revision;
    assert_eq!(after, before);

    fs::write(&file, "[circuit_breaker.db]\nfailure_threshold = 1\n").unwrap();
    let worked = "breakerd_config_last_reload_successful 1";
    eventually("the right file is taken", || async { process.page("/metrics").await.contains(worked) }).await;
    let answer = breakers.record_outcome(failure("db")).await.unwrap().into_inner();
    assert_eq!(answer.state(), State::Open);
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_restart_brings_the_state_back_and_the_wait_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\nfailure_threshold = 1\n").unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    let old = breakers.allow_request(ask("db")).await.unwrap().into_inner().permit;
    breakers.record_outcome(failure("db")).await.unwrap();
    let other = breakers.allow_request(ask("other")).await.unwrap().into_inner().permit;
    let request = GetBreakerRequest { service: "db".into(), name: String::new() };
    let before = process.operations().await.get_breaker(request.clone()).await.unwrap().into_inner();
    process.kill();

    let process = Process::ready(folder.path(), None).await;
    let after = process.operations().await.get_breaker(request).await.unwrap().into_inner();
    let (before, after) = (before.breaker.unwrap(), after.breaker.unwrap());
    assert_eq!((after.state(), after.epoch, after.open_count), (State::Open, 1, 1));
    assert_eq!(after.opened_at, before.opened_at);
    assert_eq!(after.open_until, before.open_until);
    let mut breakers = process.breakers().await;
    let outcome = Outcome::Failure.into();
    let late = RecordOutcomeRequest { permit: old, outcome, ..Default::default() };
    let late = breakers.record_outcome(late).await.unwrap().into_inner();
    assert_eq!(late.result(), breakerd_api::v1::RecordResult::Late);
    let named =
        RecordOutcomeRequest { permit: other, service: "other".into(), outcome, ..Default::default() };
    let counted = breakers.record_outcome(named).await.unwrap().into_inner();
    assert_eq!(counted.state(), State::Open, "a permit outlives the process that gave it");
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_breaker_that_the_configuration_names_is_born_into_its_services_override_at_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let set = SetOverrideRequest {
        service: "db".into(),
        service_wide: true,
        create: true,
        state: State::ForcedOpen.into(),
        reason: "its disks are being changed".into(),
        ..Default::default()
    };
    process.operations().await.set_override(set).await.unwrap();
    let thresholds = Some(Thresholds { failure_threshold: Some(3), ..Default::default() });
    let update = UpdateConfigRequest { service: "db".into(), thresholds, ..Default::default() };
    ConfigServiceClient::new(process.channel().await).update_config(update).await.unwrap();
    let get = GetBreakerRequest { service: "db".into(), name: String::new() };
    let before = process.operations().await.get_breaker(get.clone()).await.unwrap().into_inner();
    process.kill();

    let process = Process::ready(folder.path(), None).await;
    let after = process.operations().await.get_breaker(get).await.unwrap().into_inner();
    for breaker in [before.breaker.unwrap(), after.breaker.unwrap()] {
        assert_eq!((breaker.state(), breaker.epoch), (State::ForcedOpen, 0), "starting writes no state");
    }
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn sigterm_ends_within_the_grace_whatever_clients_hold_open() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("breakerd.toml"), "shutdown_grace = 3\n").unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut breakers = process.breakers().await;
    for _ in 0..5 {
        breakers.record_outcome(failure("db")).await.unwrap();
    }
    let mut health = HealthClient::new(process.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap().status();
    assert_eq!(first, ServingStatus::Serving);
    let silent = TcpStream::connect(process.grpc.strip_prefix("http://").unwrap()).await.unwrap();

    process.terminate();
    let told = tokio::time::timeout(Duration::from_secs(10), watch.message()).await.expect("it is told");
    assert_eq!(told.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(process.ended().await.success());
    drop(silent);
    let database = folder.path().join("data/breakerd.db");
    let store = breakerd::store::open(&breakerd::store::Target::Sqlite(database)).await.unwrap();
    assert_eq!(store.breakers(None, 10).await.unwrap().len(), 1, "the journal was written out");
    store.close().await;
}
