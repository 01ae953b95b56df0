//! Slips of people on the command line, and what it answers.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::ctl::{Desk, run};
use crate::process::{PATIENCE, eventually};

#[tokio::test]
async fn an_address_that_cannot_be_one_is_told_by_its_port() {
    for (address, told) in [
        ("localhost:99999", "invalid port `99999`: must be from 1 to 65535"),
        ("localhost:grpc", "invalid port `grpc`: must be from 1 to 65535"),
        ("https://breakerd:0", "invalid port `0`"),
        ("::1", "write an IPv6 address in brackets, such as [::1]:50051"),
        ("localhost", "localhost has no port: use localhost:50051"),
    ] {
        let said = run(&["ls", "--address", address]).await;
        assert!(said.code == 2 && said.err.contains(told), "{address}: {said:?}");
    }
}

#[tokio::test]
async fn the_http_port_in_place_of_the_grpc_port_is_recognized() {
    let desk = Desk::open().await;
    let http = desk.process.http.strip_prefix("http://").unwrap();
    for command in [&["ls"][..], &["watch"], &["config", "get"], &["healthcheck"]] {
        let said = run(&[command, &["--address", http]].concat()).await;
        assert_eq!(said.code, 1, "{command:?}: {said:?}");
        assert!(said.err.contains(&format!("http://{http} is an HTTP port, not a gRPC port")), "{said:?}");
        assert!(said.err.contains("50051"), "{said:?}");
    }
}

#[tokio::test]
async fn a_watch_says_why_it_reconnects() {
    let desk = Desk::open().await;
    let mut child = desk.command(&["watch"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("following from revision"), "{first}");
    desk.process.terminate();
    let read = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());
    let told = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        told.starts_with("watch interrupted (breakerd is shutting down: reconnect), reconnecting in "),
        "{told}"
    );
}

#[tokio::test]
async fn a_changed_file_is_told_by_what_changed_in_it() {
    let desk = Desk::open().await;
    let file = desk.folder().join("breakerd.toml");
    let text =
        std::fs::read_to_string(&file).unwrap().replace("timeout_seconds = 120", "timeout_seconds = 90");
    std::fs::write(&file, text).unwrap();
    let changed =
        async || desk.ask(&["config", "log"]).await.out.contains("database.timeout_seconds 2m -> 90s");
    eventually("the file is taken", changed).await;
    let log = desk.ask(&["config", "log", "--limit", "1"]).await.lines();
    assert!(log[1].ends_with(" database.timeout_seconds 2m -> 90s"), "{log:?}");
}

#[tokio::test]
async fn every_wrong_argument_of_a_change_is_named() {
    let desk = Desk::open().await;
    let said =
        desk.ask(&["config", "set", "data base", "timeout_secs=9", "multiplier=99", "--reason", ""]).await;
    assert_eq!(said.code, 2, "{said:?}");
    for told in [
        "SERVICE: ",
        "did you mean timeout_seconds?",
        "multiplier: invalid value `99`",
        "--reason: must not be empty",
    ] {
        assert!(said.err.contains(told), "{told}: {said:?}");
    }
    let json = desk.ask(&["config", "unset", "data base", "nosuch", "--reason", " ", "--json"]).await;
    let json: Value = serde_json::from_str(&json.err).unwrap();
    let fields: Vec<_> =
        json["violations"].as_array().unwrap().iter().map(|one| one["field"].clone()).collect();
    assert_eq!(fields, [json!("SERVICE"), json!("nosuch"), json!("--reason")]);
}

#[tokio::test]
async fn what_is_switched_off_is_called_off_everywhere() {
    let desk =
        Desk::with_file("[circuit_breaker.search]\nfailure_threshold = 0\nfailure_rate_threshold = 50\n")
            .await;
    let path = desk.folder().join("breakerd.toml");
    let checked = run(&["check-config", path.to_str().unwrap()]).await.well();
    assert!(checked.contains("failure_threshold off"), "{checked}");
    let shown = desk.ask(&["config", "get", "search"]).await.lines();
    assert!(shown.contains(&"failure_threshold off file, service".to_owned()), "{shown:?}");
    let set = [
        "config",
        "set",
        "database",
        "failure_threshold=0",
        "failure_rate_threshold=9",
        "--create",
        "--reason",
        "r",
    ];
    let set = desk.ask(&set).await.lines();
    assert!(
        set.iter().any(|line| line.starts_with("failure_threshold ") && line.ends_with("-> off (API)")),
        "{set:?}"
    );
    let listed = desk.ask(&["config", "get"]).await.lines();
    assert!(listed.iter().any(|line| line.contains("failure_threshold off")), "{listed:?}");
    let log = desk.ask(&["config", "log", "--limit", "1"]).await.lines();
    assert!(log[1].contains("failure_threshold none -> off"), "{log:?}");
}

#[tokio::test]
async fn a_wrong_file_is_told_as_json_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("breakerd.toml");
    std::fs::write(&path, "[circuit_breaker]\nmax_wait = -1\n[nosuch]\n[store]\nurl_file = \"/nowhere\"\n")
        .unwrap();
    let said = run(&["check-config", path.to_str().unwrap(), "--json"]).await;
    assert_eq!((said.code, &*said.err), (1, ""), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["valid"], false);
    let errors = json["errors"].as_array().unwrap();
    assert!(errors.len() >= 2, "{json}");
    assert_eq!(errors[0]["line"], 2);
    assert!(
        errors[0]["message"].as_str().unwrap().contains("circuit_breaker.max_wait: invalid value -1"),
        "{json}"
    );
    std::fs::write(&path, "[circuit_breaker.a]\nfailure_threshold = 0\n").unwrap();
    let said = run(&["check-config", path.to_str().unwrap(), "--json"]).await;
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["valid"], json["warnings"].as_array().unwrap().len()), (&json!(true), 1));
}
