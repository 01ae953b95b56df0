//! The commands that ask a breakerd: the real program against a real server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, ends};

pub(crate) const FILE: &str = "
[circuit_breaker.database]
failure_threshold = 3
timeout_seconds = 120
[circuit_breaker.search]
failure_threshold = 1
";

/// A breakerd, and somebody who asks it.
pub(crate) struct Desk {
    pub(crate) process: Process,
    folder: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// The answer of a command that has done what it was asked to.
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.well()).unwrap()
    }

    /// The lines of a table, spaces run together.
    pub(crate) fn lines(self) -> Vec<String> {
        self.well().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }
}

/// The program, with nothing of this process' environment.
pub(crate) fn bare(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerd"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

pub(crate) async fn run(args: &[&str]) -> Said {
    ends(bare(args)).await.into()
}

impl Desk {
    pub(crate) async fn open() -> Self {
        Self::with_file(FILE).await
    }

    pub(crate) async fn with_file(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("breakerd.toml"), text).unwrap();
        let process = Process::ready(folder.path(), None).await;
        Self { process, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> &str {
        self.process.grpc.strip_prefix("http://").unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(args);
        command.env("BREAKERD_ADDRESS", self.address());
        command
    }

    pub(crate) async fn ask(&self, args: &[&str]) -> Said {
        ends(self.command(args)).await.into()
    }

    /// The next life of the process, once this one has ended, and the folder that both are in.
    pub(crate) async fn restarted(self, folder: &Path) -> (Process, TempDir) {
        let Self { process, folder: kept } = self;
        process.ended().await;
        (Process::ready(folder, None).await, kept)
    }

    /// Opens the service's own breaker.
    pub(crate) async fn open_breaker(&self, service: &str, failures: usize) {
        for _ in 0..failures {
            self.ask(&["record", service, "failure", "--error-class", "Timeout"]).await.well();
        }
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[tokio::test]
async fn a_permit_that_allow_gave_is_taken_by_record_and_counts_once() {
    let desk = Desk::open().await;
    let allowed = desk.ask(&["allow", "database/eu", "--caller", "me"]).await.well();
    assert!(allowed.starts_with("allowed: CLOSED\npermit: "), "{allowed}");
    let permit = allowed.lines().last().unwrap().strip_prefix("permit: ").unwrap();
    let record = ["record", "--permit", permit, "failure", "--duration", "250ms"];
    assert_eq!(desk.ask(&record).await.well(), "RECORDED; the breaker is CLOSED\n");
    assert_eq!(desk.ask(&record).await.well(), "DUPLICATE; the breaker is CLOSED\n");
    // With the breaker beside it, as the API takes it too.
    let beside = desk.ask(&["record", "database/eu", "failure", "--permit", permit, "--json"]).await.json();
    assert_eq!(beside["result"], "RECORD_RESULT_DUPLICATE");
    let other = desk.ask(&["record", "database/us", "failure", "--permit", permit]).await;
    assert_eq!(other.code, 2, "{other:?}");
    let shown = desk.ask(&["get", "database/eu", "--json"]).await.json();
    assert_eq!(shown["breaker"]["window"]["failures"], 1);
    // The permit of the JSON is the same text.
    let json = desk.ask(&["allow", "database/eu", "--json"]).await.json();
    let record = ["record", "--permit", json["permit"].as_str().unwrap(), "ignored"];
    assert_eq!(desk.ask(&record).await.well(), "RECORDED; the breaker is CLOSED\n");
}

#[tokio::test]
async fn a_denied_call_ends_with_3_and_says_when_to_ask_again() {
    let desk = Desk::open().await;
    desk.open_breaker("database", 3).await;
    let denied = desk.ask(&["allow", "database"]).await;
    assert_eq!(denied.code, 3);
    assert!(denied.out.starts_with("rejected: OPEN\nretry in 1m5"), "{denied:?}");
    assert_eq!(denied.err, "");
    let json = desk.ask(&["allow", "database", "--json"]).await;
    assert_eq!(json.code, 3);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["reason"], "ALLOW_REASON_OPEN");
    assert!(json.get("permit").is_none() && json.get("allowed").is_none(), "{json}");
}

#[tokio::test]
async fn those_that_are_not_closed_are_listed_first() {
    let desk = Desk::open().await;
    for breaker in ["a", "b/x"] {
        desk.ask(&["record", breaker, "success"]).await.well();
    }
    desk.open_breaker("search", 1).await;
    let lines = desk.ask(&["ls"]).await.lines();
    assert_eq!(lines[0], "SERVICE NAME STATE FOR FAILURES RATE RETRY-IN WHY");
    let starts = ["search search OPEN", "a a CLOSED", "b x CLOSED", "database database CLOSED"];
    assert_eq!(lines.len(), 1 + starts.len(), "{lines:?}");
    for (line, start) in lines[1..].iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert!(lines[1].ends_with("1 failure"), "{lines:?}");

    let open = desk.ask(&["ls", "--state", "open,half-open", "--json"]).await.well();
    let open: Vec<Value> = open.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(open.len(), 1);
    assert_eq!((&open[0]["service"], &open[0]["state"]), (&"search".into(), &"STATE_OPEN".into()));
    assert_eq!(desk.ask(&["ls", "b", "--name-prefix", "x"]).await.lines().len(), 2);
    let nothing = desk.ask(&["ls", "nobody"]).await;
    assert_eq!((nothing.code, &*nothing.out), (4, ""), "{nothing:?}");
    let all = desk.ask(&["ls", "--all", "--state", "closed", "--json"]).await.well();
    assert_eq!(all.lines().count(), 3);
}

#[tokio::test]
async fn a_breaker_is_shown_whole() {
    let desk = Desk::open().await;
    desk.open_breaker("database", 3).await;
    let lines = desk.ask(&["get", "database"]).await.lines();
    for start in [
        "breaker database",
        "state OPEN",
        "since 20",
        "why 3 consecutive failures",
        "open until 20",
        "epoch 1",
        "times opened 1 since last closed",
        "counted 0 successful, 3 failed, 0 rejected",
        "revision 1 (configuration)",
        "failure_threshold 3",
        "timeout_seconds 2m",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(start)), "{start}: {lines:#?}");
    }
    let json = desk.ask(&["get", "database", "--json"]).await.json();
    assert_eq!(json["breaker"]["thresholds"]["waitDurationInOpenState"], "120s");
    assert_eq!(json["breaker"]["epoch"], "1");
}

#[tokio::test]
async fn the_history_is_listed_newest_first_or_oldest_first() {
    let desk = Desk::open().await;
    desk.open_breaker("search", 1).await;
    desk.open_breaker("database", 3).await;
    let written = || async { desk.ask(&["history"]).await.lines().len() == 3 };
    crate::process::eventually("both transitions are in the store", written).await;
    let lines = desk.ask(&["history"]).await.lines();
    assert_eq!(lines[0], "TIME BREAKER FROM TO WHY");
    assert!(lines[1].ends_with("database CLOSED OPEN 3 consecutive failures"), "{lines:?}");
    assert!(lines[2].ends_with("search CLOSED OPEN 1 failure"), "{lines:?}");
    let oldest = desk.ask(&["history", "--oldest-first", "--limit", "1", "--json"]).await;
    assert!(oldest.err.contains("more results exist: increase --limit"), "{oldest:?}");
    let oldest = oldest.json();
    assert_eq!((&oldest["service"], &oldest["toState"]), (&"search".into(), &"STATE_OPEN".into()));
    // A bare service is its own breaker, here too.
    assert_eq!(desk.ask(&["history", "database", "--since", "1h"]).await.lines().len(), 2);
    assert_eq!(desk.ask(&["history", "database", "--service-wide"]).await.lines().len(), 2);
    let none = desk.ask(&["history", "database/eu"]).await;
    assert!(none.code == 4 && none.err.contains("breaker database/eu not found"), "{none:?}");
    assert_eq!(desk.ask(&["history", "--until", "2020-01-01"]).await.out, "");
    let closed = desk.ask(&["history", "--state", "closed", "--json"]).await;
    assert_eq!(closed.out, "");
}

#[tokio::test]
async fn whether_it_serves_is_in_the_exit_code() {
    let desk = Desk::open().await;
    assert_eq!(desk.ask(&["healthcheck"]).await.well(), "SERVING\n");
    assert_eq!(desk.ask(&["healthcheck", "--service", ""]).await.well(), "SERVING\n");
    assert_eq!(desk.ask(&["healthcheck", "--json"]).await.json()["status"], "SERVING");
    assert_eq!(desk.ask(&["healthcheck", "--service", "nobody"]).await.code, 4);
    let gone = run(&["healthcheck", "--address", "127.0.0.1:1"]).await;
    assert_eq!(gone.code, 1);
}

#[tokio::test]
async fn errors_are_told_in_words_and_in_json() {
    let desk = Desk::open().await;
    let missing = desk.ask(&["get", "nobody"]).await;
    assert_eq!((missing.code, &*missing.out), (4, ""));
    assert!(missing.err.starts_with("breakerd: breaker nobody not found: "), "{missing:?}");

    let wrong = desk.ask(&["history", "--since", "2027-01-01", "--until", "2026-01-01"]).await;
    assert_eq!(wrong.code, 2);
    assert_eq!(
        wrong.err, "breakerd: invalid request\n  --since: must be before --until\n",
        "a read changes nothing anyway"
    );
    let wrong = desk.ask(&["history", "--since", "2027-01-01", "--until", "2026-01-01", "--json"]).await;
    assert_eq!((wrong.code, &*wrong.out), (2, ""));
    let told: Value = serde_json::from_str(&wrong.err).unwrap();
    assert_eq!(told["code"], "INVALID_ARGUMENT");
    assert_eq!(told["reason"], "INVALID_REQUEST");
    assert_eq!(told["violations"][0]["field"], "from_time");
    assert_eq!(told["violations"][0]["description"], "must be before to_time");
}

#[tokio::test]
async fn every_wrong_argument_of_config_set_and_unset_is_named() {
    let set = [
        "config",
        "set",
        "database",
        "failure_threshold=many",
        "timeout_secnds=9",
        "max_wait=2m",
        "failure_rate_threshold=101",
        "max_wait=3m",
        "multiplier",
        "--reason",
        "r",
    ];
    let wrong = run(&set).await;
    assert_eq!(wrong.code, 2);
    assert_eq!(
        wrong.err,
        "breakerd: invalid arguments, nothing was sent
  failure_threshold: invalid value `many`: must be 0..=1000000
  unknown field `timeout_secnds`: did you mean timeout_seconds?
  failure_rate_threshold: invalid value `101`: must be greater than 0 and at most 100 (percent, up to 3 decimals)
  max_wait: duplicate field
  `multiplier`: must be field=value, such as timeout_seconds=90
"
    );
    let wrong = run(&[&set[..], &["--json"]].concat()).await;
    let told: Value = serde_json::from_str(&wrong.err).unwrap();
    let fields: Vec<_> = told["violations"].as_array().unwrap().iter().map(|of| &of["field"]).collect();
    let named = ["failure_threshold", "timeout_secnds", "failure_rate_threshold", "max_wait", "multiplier"];
    assert_eq!(fields, named);
    let wrong = run(&["config", "unset", "database", "max_wiat", "max_wait", "nothing"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("max_wiat") && wrong.err.contains("nothing"), "{wrong:?}");

    // What only breakerd sees: a contradiction in each of two fields.
    let desk = Desk::open().await;
    let odd = ["config", "set", "database", "slow_call_rate_threshold=9", "max_wait=1", "--reason", "r"];
    let odd = desk.ask(&odd).await;
    assert!(odd.code == 2 && odd.err.contains("nothing was changed"), "{odd:?}");
    assert!(odd.err.contains("slow_call_rate_threshold: ") && odd.err.contains("max_wait: "), "{odd:?}");
}

#[tokio::test]
async fn what_is_asked_wrongly_ends_with_2_and_asks_nobody() {
    for args in [
        &["get", "a b"][..],
        &["get", "a/"],
        &["get"],
        &["ls", "--state", "ajar"],
        &["ls", "--timeout", "soon"],
        &["ls", "--token", "secret"],
        &["ls", "--ca", "/nowhere/ca.pem"],
        &["ls", "--ca", "/dev/null"],
        &["ls", "--cert", "cert.pem"],
        &["ls", "--key", "key.pem"],
        &["ls", "--address", "no host:1"],
        &["ls", "--address", "localhost"],
        &["history", "--limit", "0"],
        &["config", "log", "--limit", "0"],
        &["history", "--since", "yesterday"],
        &["record", "database"],
        &["record", "database", "perhaps"],
        &["record", "--permit", "?", "success"],
        &["config", "set", "database", "timeout_seconds=1"],
        &["config", "set", "database", "--reason", "r"],
        &["config", "set", "database", "timeout_secnds=1", "--reason", "r"],
        &["config", "unset", "database", "nothing"],
        &["override", "set", "database", "ajar", "--reason", "r"],
        &["override", "set", "database", "disabled"],
        &["override", "set", "a/b", "disabled", "--reason", "r", "--service-wide"],
        &["override", "set", "a", "disabled", "--reason", "r", "--for", "1m", "--until", "2030-01-01"],
        &["completion", "cmd.exe"],
    ] {
        // Nobody listens there: one that was asked would end with 1.
        let mut command = bare(args);
        command.env("BREAKERD_ADDRESS", "127.0.0.1:1");
        let said = Said::from(ends(command).await);
        assert_eq!((said.code, &*said.out), (2, ""), "{args:?}: {said:?}");
        assert!(!said.err.is_empty(), "{args:?}");
    }
    let near = run(&["config", "set", "database", "timeout_secnds=1", "--reason", "r"]).await;
    assert!(near.err.contains("did you mean timeout_seconds?"), "{near:?}");
    let no_port = run(&["ls", "--address", "breakerd.internal"]).await;
    assert!(no_port.err.contains("has no port: use breakerd.internal:50051"), "{no_port:?}");
}

#[tokio::test]
async fn colours_are_for_terminals_or_for_whoever_asks() {
    let desk = Desk::open().await;
    desk.open_breaker("search", 1).await;
    // A pipe, as here, gets none.
    assert!(!desk.ask(&["ls"]).await.well().contains('\u{1b}'));
    let coloured = desk.ask(&["ls", "--color", "always"]).await.well();
    assert!(coloured.contains("\u{1b}[31mOPEN\u{1b}[0m"), "{coloured:?}");
    assert!(coloured.contains("  CLOSED"), "what is well has no colour: {coloured:?}");
    assert!(!desk.ask(&["ls", "--color", "never"]).await.well().contains('\u{1b}'));
    assert!(!desk.ask(&["ls", "--color", "always", "--json"]).await.well().contains('\u{1b}'));
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let desk = Desk::open().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = desk.command(&["ls"]);
    command.stdout(writer).stderr(Stdio::piped());
    let child = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap());
    let said = Said::from(child.await.unwrap());
    assert_eq!((said.code, &*said.err), (0, ""));
}

#[tokio::test]
async fn shells_can_read_the_completion() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completion", shell]).await.well();
        assert!(script.contains("healthcheck"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("completion");
    std::fs::write(&path, run(&["completion", "bash"]).await.well()).unwrap();
    let read = Command::new("bash").arg("-n").arg(&path).status().unwrap();
    assert!(read.success());
}

#[tokio::test]
async fn the_help_of_every_command_has_an_example() {
    fn leaves(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        let subcommands: Vec<_> =
            command.get_subcommands().filter(|command| command.get_name() != "help").collect();
        if subcommands.is_empty() {
            found.push(path.to_vec());
        }
        for subcommand in subcommands {
            leaves(subcommand, &[path, &[subcommand.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    leaves(&breakerd::cli::command(), &[], &mut found);
    assert!(found.len() >= 19, "{found:?}");
    for path in found {
        let mut args: Vec<_> = path.iter().map(String::as_str).collect();
        args.push("--help");
        let help = run(&args).await.well();
        let example = format!("breakerd {}", path.join(" "));
        let examples = help.split("Examples:").nth(1).unwrap_or_default();
        assert!(examples.contains(&example), "the help of `{example}` has no example of it");
    }
    let help = run(&["--help"]).await.well();
    assert!(help.contains("Exit codes:"), "{help}");
}

#[tokio::test]
async fn what_is_not_there_ends_with_4_and_what_is_in_no_such_state_with_0() {
    let desk = Desk::open().await;
    let missing = desk.ask(&["ls", "nosuch"]).await;
    assert_eq!((missing.code, &*missing.out), (4, ""), "{missing:?}");
    assert!(missing.err.contains("no breaker of the service nosuch found"), "{missing:?}");
    assert_eq!(desk.ask(&["ls", "nosuch", "--json"]).await.code, 4);
    let near = desk.ask(&["ls", "searches"]).await;
    assert!(near.code == 4 && near.err.contains("did you mean search?"), "{near:?}");
    let others = desk.ask(&["config", "get", "nosuch"]).await;
    assert!(others.code == 4 && others.err.contains("service nosuch not found"), "{others:?}");
    assert_eq!(desk.ask(&["config", "get", "search"]).await.err, "", "it has its own");
    let named = desk.ask(&["ls", "--name-prefix", "nosuch"]).await;
    assert!(named.code == 4 && named.err.contains("whose name starts with nosuch"), "{named:?}");
    let history = desk.ask(&["history", "nosuch"]).await;
    assert!(history.code == 4 && history.err.contains("breaker nosuch not found"), "{history:?}");
    let closed = desk.ask(&["ls", "--state", "open,half-open"]).await;
    assert_eq!((closed.code, &*closed.err), (0, "no breaker is OPEN or HALF_OPEN\n"), "{closed:?}");
    let quiet = desk.ask(&["history", "database"]).await;
    assert_eq!((quiet.code, &*quiet.err), (0, "no transitions found\n"), "{quiet:?}");
}

#[tokio::test]
async fn slips_are_told_by_the_flags_that_were_given_and_an_empty_reason_is_none() {
    let desk = Desk::open().await;
    let backwards = desk.ask(&["history", "--since", "1h", "--until", "2h"]).await;
    assert_eq!(backwards.code, 2, "{backwards:?}");
    assert!(backwards.err.contains("--since") || backwards.err.contains("--until"), "{backwards:?}");
    assert!(!backwards.err.contains("from_time") && !backwards.err.contains("  to_time"), "{backwards:?}");
    for act in [
        &["override", "set", "database", "disabled", "--reason", " "][..],
        &["override", "clear", "database", "--reason", ""],
        &["reset", "database", "--reason", ""],
        &["config", "set", "database", "timeout_seconds=9", "--reason", ""],
    ] {
        let refused = desk.ask(act).await;
        assert!(refused.code == 2 && refused.err.contains("must not be empty"), "{act:?}: {refused:?}");
    }
}
