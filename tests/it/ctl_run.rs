//! `breakerd run`: a command behind a breaker, as a script has it.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::ctl::{Desk, Said, bare};
use crate::process::{ends, eventually};
use crate::severable_proxy::Road;

/// What was counted of a breaker.
async fn counted(desk: &Desk, breaker: &str) -> Value {
    desk.ask(&["get", breaker, "--json"]).await.json()["breaker"]["counters"].take()
}

async fn run(desk: &Desk, args: &[&str]) -> Said {
    desk.ask(&[&["run"], args].concat()).await
}

#[tokio::test]
async fn a_command_ends_as_it_would_alone_and_its_outcome_is_recorded() {
    let desk = Desk::open().await;
    let said = run(&desk, &["database", "--", "sh", "-c", "echo out; echo err >&2"]).await;
    assert_eq!((said.code, &*said.out, &*said.err), (0, "out\n", "err\n"));
    assert_eq!(run(&desk, &["database", "--", "sh", "-c", "exit 7"]).await.code, 7);
    assert_eq!(run(&desk, &["database", "--", "sh", "-c", "kill -9 $$"]).await.code, 128 + 9);
    let counters = counted(&desk, "database").await;
    assert_eq!((&counters["successful"], &counters["failed"]), (&"1".into(), &"2".into()));
    // The third failure in a row opens it.
    run(&desk, &["database", "--", "false"]).await;
    let witness = desk.folder().join("ran");
    let touch = ["database", "--", "touch", witness.to_str().unwrap()];
    let denied = run(&desk, &touch).await;
    assert_eq!((denied.code, witness.exists()), (3, false), "{denied:?}");
    assert!(denied.err.contains("database is OPEN, command not run; retry in "), "{denied:?}");
    assert_eq!(run(&desk, &[&["--denied-exit", "75"], &touch[..]].concat()).await.code, 75);
}

#[tokio::test]
async fn what_says_nothing_about_the_service_is_ignored_and_keeps_no_probe() {
    let desk = Desk::open().await;
    desk.open_breaker("search", 1).await;
    desk.ask(&["probe", "search", "--reason", "try"]).await.well();
    let program = desk.folder().join("text");
    fs::write(&program, "no program").unwrap();
    let missing = run(&desk, &["search", "--", "/nowhere/such"]).await;
    assert_eq!(missing.code, 127, "{missing:?}");
    assert_eq!(run(&desk, &["search", "--", program.to_str().unwrap()]).await.code, 126);
    assert_eq!(run(&desk, &["search", "--ignore-exit", "64,75", "--", "sh", "-c", "exit 75"]).await.code, 75);
    let shown = desk.ask(&["get", "search", "--json"]).await.json();
    let half_open = &shown["breaker"]["halfOpen"];
    assert_eq!(half_open["permitted"], 2, "{shown}");
    assert!(half_open.get("inFlight").is_none(), "no probe is out: {shown}");
    assert_eq!(shown["breaker"]["counters"]["ignored"], "3");
    // A status that is named a success is one.
    for _ in 0..2 {
        assert_eq!(run(&desk, &["search", "--success-exit", "1", "--", "false"]).await.code, 1);
    }
    assert_eq!(desk.ask(&["get", "search", "--json"]).await.json()["breaker"]["state"], "STATE_CLOSED");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_stopped_with_what_it_started_and_has_failed() {
    let desk = Desk::open().await;
    let pid_file = desk.folder().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
    let said = run(&desk, &["search", "--command-timeout", "1s", "--", "sh", "-c", &script]).await;
    assert_eq!(said.code, 124, "{said:?}");
    let pid = fs::read_to_string(pid_file).unwrap();
    let lives = || async { Command::new("kill").args(["-0", pid.trim()]).output().unwrap().status.success() };
    eventually("what the command started has ended", || async { !lives().await }).await;
    let shown = desk.ask(&["get", "search", "--json"]).await.json();
    assert_eq!(shown["breaker"]["state"], "STATE_OPEN", "one failure opens it: {shown}");
}

#[tokio::test]
async fn a_signal_is_passed_on_and_what_it_ends_is_ignored() {
    let desk = Desk::open().await;
    let started = desk.folder().join("started");
    let script = format!("touch {}; exec sleep 600", started.display());
    let child = desk.command(&["run", "search", "--", "sh", "-c", &script]).spawn().unwrap();
    eventually("the command runs", || async { started.exists() }).await;
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output: Output =
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(128 + 15), "{output:?}");
    assert_eq!(counted(&desk, "search").await["ignored"], "1");
}

#[tokio::test]
async fn a_report_is_tried_for_as_long_as_an_answer_is_waited_for() {
    let desk = Desk::open().await;
    let road = Road::to(&format!("http://nobody@{}/", desk.address())).await;
    let address = road.url.strip_prefix("http://nobody@").unwrap().trim_end_matches('/');
    let (started, go) = (desk.folder().join("started"), desk.folder().join("go"));
    let script = format!("touch {}; until [ -e {} ]; do sleep 0.02; done", started.display(), go.display());
    let path = std::env::var("PATH").unwrap();
    let mut command = bare(&["run", "database", "--timeout", "30s", "--", "sh", "-c", &script]);
    let child = command.env("BREAKERD_ADDRESS", address).env("PATH", path).spawn().unwrap();
    eventually("the command runs", || async { started.exists() }).await;
    // breakerd goes while the command runs, and is back after a while.
    road.let_through(0);
    road.cut();
    fs::write(&go, "").unwrap();
    eventually("it tries again", || async { road.turned_away() >= 5 }).await;
    road.mend();
    let output: Output =
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(counted(&desk, "database").await["successful"], "1");
}

#[tokio::test]
async fn without_an_answer_the_command_runs_all_the_same_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("ran");
    let run = |flags: &[&str], address: &str| {
        let touch = ["--", "touch", witness.to_str().unwrap()];
        let mut command = bare(&[&["run", "database"], flags, &touch].concat());
        // Nobody listens on the port of discarded bytes.
        command.env("BREAKERD_ADDRESS", address).env("PATH", std::env::var("PATH").unwrap());
        ends(command)
    };
    let closed: Said = run(&["--fail-closed"], "127.0.0.1:9").await.into();
    assert_eq!((closed.code, witness.exists()), (1, false), "{closed:?}");
    let wrong: Said = run(&["--ca", "/nowhere"], "127.0.0.1:9").await.into();
    assert_eq!((wrong.code, witness.exists()), (2, false), "a slip is told: {wrong:?}");
    let open: Said = run(&[], "127.0.0.1:9").await.into();
    assert_eq!((open.code, witness.exists()), (0, true), "{open:?}");
    assert!(open.err.contains("running the command anyway"), "{open:?}");
    assert!(open.err.contains("outcome not recorded"), "{open:?}");
}
