//! The commands that change something, and those that follow it: an incident from its start to its end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::ctl::{Desk, FILE, Said, bare};
use crate::process::{PATIENCE, ends};

#[tokio::test]
async fn an_override_is_set_shown_and_cleared() {
    let desk = Desk::open().await;
    let set =
        ["override", "set", "search", "forced-open", "--reason", "index is being built", "--for", "30m"];
    let said = desk.ask(&set).await.well();
    assert!(said.starts_with("search is now FORCED_OPEN\n"), "{said}");
    assert!(said.contains("override ends") && !said.contains("failure_threshold"), "the state alone: {said}");
    let denied = desk.ask(&["allow", "search"]).await;
    assert_eq!(denied.code, 3);
    assert!(denied.out.starts_with("rejected: FORCED_OPEN\n"), "{denied:?}");
    let lines = desk.ask(&["ls", "--state", "forced-open"]).await.lines();
    assert!(lines[1].contains(" FORCED_OPEN ") && lines[1].contains(" 29m"), "RETRY-IN: {lines:?}");
    assert!(lines[1].contains("override, ") && lines[1].ends_with("index is being built"), "{lines:?}");
    let shown = desk.ask(&["get", "search"]).await.lines();
    assert!(shown.iter().any(|line| line.starts_with("override ends 20")), "{shown:?}");
    let cleared = desk.ask(&["override", "clear", "search", "--reason", "built"]).await.well();
    assert!(cleared.starts_with("search is now CLOSED\n"), "{cleared}");
    assert_eq!(desk.ask(&["override", "clear", "search"]).await.code, 1);
    assert_eq!(desk.ask(&["override", "clear", "nobody"]).await.code, 4);
    let whole = ["override", "set", "search", "disabled", "--service-wide", "--reason", "r", "--json"];
    assert!(desk.ask(&whole).await.json()["breakersChanged"].is_number());
    // One that has no breaker yet is more often a slip than meant.
    let whole = ["override", "set", "orders", "disabled", "--service-wide", "--reason", "r", "--create"];
    let slip = desk.ask(&whole[..whole.len() - 1]).await;
    let told = "service orders not found: services are created on first use (to create it, use --create)\n";
    assert_eq!((slip.code, slip.err.as_str()), (4, format!("breakerd: {told}").as_str()));
    let slip = desk.ask(&["override", "set", "search/sl", "disabled", "--reason", "r"]).await;
    assert!(
        slip.code == 4 && slip.err.contains("breaker search/sl not found") && slip.err.contains("--create"),
        "{slip:?}"
    );
    assert_eq!(desk.ask(&["get", "search/sl"]).await.code, 4, "it was not created");
    let told = "orders is now DISABLED service-wide, including future breakers; 0 breakers changed\n";
    assert_eq!(desk.ask(&whole).await.well(), told);
    desk.ask(&["allow", "orders"]).await.well();
    let cleared = desk.ask(&["override", "clear", "orders", "--service-wide"]).await.well();
    assert_eq!(cleared, "orders: service-wide override cleared; 1 breaker changed\n");
}

#[tokio::test]
async fn a_service_that_is_not_known_is_not_configured_unless_it_is_to_be_created() {
    let desk = Desk::open().await;
    let set = |service| ["config", "set", service, "timeout_seconds=90", "--reason", "r"];
    let unknown = |service: &str, near: &str| {
        format!(
            "breakerd: service {service} not found: services are created on first use{near} (to create it, use \
             --create)\n"
        )
    };
    let typo = desk.ask(&set("databases")).await;
    let told = unknown("databases", "; did you mean database?");
    assert_eq!((typo.code, typo.err.as_str()), (4, told.as_str()));
    let dry = desk.ask(&[&set("databases")[..], &["--dry-run"]].concat()).await;
    assert_eq!((dry.code, dry.err), (4, told));

    // One that only has a breaker in use is known.
    desk.ask(&["allow", "orders/eu"]).await.well();
    desk.ask(&set("orders")).await.well();

    desk.ask(&[&set("databases")[..], &["--create"]].concat()).await.well();
    let again = desk.ask(&set("databases")).await;
    assert_eq!(again.well(), "databases: unchanged\n", "what was set makes it known");
    desk.ask(&["config", "unset", "databases", "timeout_seconds", "--reason", "a typo"]).await.well();
    let typo =
        desk.ask(&["override", "set", "databases", "disabled", "--service-wide", "--reason", "r"]).await;
    let told = unknown("databases", "; did you mean database?");
    assert_eq!((typo.code, typo.err), (4, told), "what was unset makes it unknown again");
    for again in [&["config", "unset", "databases"][..], &["get", "databases"], &set("databases")] {
        let typo = desk.ask(again).await;
        assert!(typo.code == 4 && typo.err.contains("did you mean database?"), "{again:?}: {typo:?}");
    }
}

#[tokio::test]
async fn while_the_file_disables_all_what_is_in_force_and_what_an_override_would_do_are_shown() {
    let desk = Desk::with_file("[circuit_breaker]\nenabled = false\n[circuit_breaker.search]\n").await;
    let set = ["override", "set", "search", "forced-open", "--reason", "drill", "--for", "30m"];
    let set = desk.ask(&set).await;
    assert!(set.err.contains("no effect yet: enabled = false in the config file"), "{set:?}");
    assert!(set.well().starts_with("search will be FORCED_OPEN once breakers are enabled\n"));
    let lines = desk.ask(&["ls"]).await.lines();
    assert!(lines[1].starts_with("search search DISABLED "), "{lines:?}");
    assert!(
        lines[1].contains("enabled = false in the config file; otherwise FORCED_OPEN, override, "),
        "{lines:?}"
    );
    let lines = desk.ask(&["get", "search"]).await.lines();
    for line in [
        "state DISABLED",
        "effect every call is allowed, because all breakers are disabled; nothing is counted",
        "if enabled FORCED_OPEN",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("override ends ")), "{lines:?}");
    let json = desk.ask(&["get", "search", "--json"]).await.json();
    assert_eq!(json["breaker"]["stateWhenEnabled"], "STATE_FORCED_OPEN");
    assert_eq!(desk.ask(&["allow", "search"]).await.code, 0);
    let whole = ["override", "set", "search", "forced-open", "--reason", "drill", "--service-wide"];
    let whole = desk.ask(&whole).await;
    assert!(whole.code == 0 && whole.err.contains("no effect yet"), "{whole:?}");
    assert!(
        whole.out.starts_with("search will be FORCED_OPEN service-wide once breakers are enabled, "),
        "{whole:?}"
    );
}

#[tokio::test]
async fn the_breaker_that_was_probably_meant_is_named() {
    let desk = Desk::open().await;
    desk.ask(&["allow", "search/pagerduty"]).await.well();
    for (typo, meant) in [
        (&["get", "search/pagerdutys"][..], "search/pagerduty"),
        (&["reset", "searches"], "search"),
        (&["probe", "searches/pagerduty"], "search/pagerduty"),
        (&["forget", "search/pagerduty2"], "search/pagerduty"),
        (&["override", "clear", "search/pagerduty3"], "search/pagerduty"),
        (&["override", "set", "search/searched", "disabled", "--reason", "r"], "search"),
    ] {
        let said = desk.ask(typo).await;
        assert!(said.code == 4 && said.err.contains(&format!("did you mean {meant}?")), "{typo:?}: {said:?}");
    }
}

#[tokio::test]
async fn who_clears_a_breaker_that_only_its_service_holds_hears_of_whole_service() {
    let desk = Desk::open().await;
    let set = ["override", "set", "search", "disabled", "--service-wide", "--reason", "r"];
    desk.ask(&set).await.well();
    let hint = "to clear a service-wide override, use override clear --service-wide";
    for act in [&["override", "clear"][..], &["reset"], &["forget"]] {
        let said = desk.ask(&[act, &["search"]].concat()).await;
        assert!(said.code == 1 && said.err.contains(hint), "{act:?}: {said:?}");
    }
    // Also before it has a breaker.
    let set = ["override", "set", "orders", "disabled", "--service-wide", "--reason", "r", "--create"];
    desk.ask(&set).await.well();
    let said = desk.ask(&["override", "clear", "orders"]).await;
    assert!(said.code == 1 && said.err.contains(hint), "{said:?}");
    desk.ask(&["override", "clear", "orders", "--service-wide"]).await.well();
}

#[tokio::test]
async fn a_breaker_is_probed_and_reset_by_hand() {
    let desk = Desk::open().await;
    let early = desk.ask(&["probe", "search"]).await;
    assert_eq!(early.code, 1, "it is not open: {early:?}");
    desk.open_breaker("search", 1).await;
    let probed = desk.ask(&["probe", "search", "--reason", "repaired"]).await.well();
    assert!(probed.starts_with("search is now HALF_OPEN\n"), "{probed}");
    let reset = desk.ask(&["reset", "search", "--json"]).await.json();
    assert_eq!(reset["breaker"]["state"], "STATE_CLOSED");
}

#[tokio::test]
async fn a_breaker_is_forgotten() {
    let desk = Desk::open().await;
    desk.open_breaker("search", 1).await;
    let forgotten = desk.ask(&["forget", "search", "--reason", "it moved"]).await.well();
    assert!(forgotten.starts_with("search deleted: CLOSED, epoch 2\n"), "{forgotten}");
    let again = desk.ask(&["forget", "search", "--json"]).await.json();
    assert_eq!((again["epoch"].as_str(), again["changed"].as_bool()), (Some("2"), None));
    assert_eq!(desk.ask(&["forget", "nobody"]).await.code, 4);
    let log = desk.ask(&["config", "log", "--json"]).await.well();
    assert!(log.contains("CHANGE_KIND_DELETED") && log.contains("it moved"), "{log}");
    let history = desk.ask(&["history", "search"]).await.well();
    assert!(history.contains("deleted"), "{history}");
}

#[tokio::test]
async fn the_permit_key_is_rotated_and_only_numbers_and_ages_are_shown() {
    let desk = Desk::open().await;
    let keys = desk.ask(&["keys"]).await.lines();
    assert_eq!(keys[0], "KEY AGE STATUS");
    assert!(keys[1].starts_with("1 ") && keys[1].ends_with(" sealing") && keys.len() == 2, "{keys:?}");
    let rotated = desk.ask(&["keys", "rotate", "--reason", "a backup was stolen"]).await.well();
    assert_eq!(rotated, "key 2 added: it seals permits\n");
    let keys = desk.ask(&["keys"]).await.lines();
    assert!(keys[1].ends_with(" accepted") && keys[2].starts_with("2 "), "{keys:?}");
    let json = desk.ask(&["keys", "--json"]).await.well();
    assert!(json.lines().count() == 2 && !json.contains("secret"), "{json}");
    let log = desk.ask(&["config", "log", "--json"]).await.well();
    let shown = log.contains("CHANGE_KIND_PERMIT_KEY_ROTATED") && log.contains("a backup was stolen");
    assert!(shown, "{log}");
    for number in 3..=16 {
        assert_eq!(desk.ask(&["keys", "rotate", "--json"]).await.json()["number"], number);
    }
    let full = desk.ask(&["keys", "rotate"]).await;
    assert!(full.code == 1 && full.err.contains("16 permit keys"), "{full:?}");
}

#[tokio::test]
async fn thresholds_are_set_shown_and_taken_back() {
    let desk = Desk::open().await;
    let shown = desk.ask(&["config", "get", "database"]).await.lines();
    assert!(shown.iter().any(|line| line == "timeout_seconds 2m file, service"), "{shown:?}");

    let set =
        ["config", "set", "database", "timeout_seconds=90", "failure_rate_threshold=50", "--reason", "slow"];
    let dry = desk.ask(&[&set[..], &["--dry-run"]].concat()).await.lines();
    assert_eq!(dry[0], "database: dry run, would change");
    let changed = desk.ask(&set).await.lines();
    assert!(changed[0].starts_with("database: changed, revision "), "{changed:?}");
    assert!(changed.contains(&"timeout_seconds 2m (file, service) -> 90s (API)".to_owned()), "{changed:?}");
    assert_eq!(desk.ask(&set).await.lines(), ["database: unchanged"]);

    let json = desk.ask(&["config", "get", "database", "--json"]).await.json();
    assert_eq!(json["config"]["sources"]["wait_duration_in_open_state"], "CONFIG_SOURCE_API");
    let late =
        desk.ask(&[&set[..3], &["timeout_seconds=1", "--reason", "r", "--etag", "old"]].concat()).await;
    assert_eq!(late.code, 1);
    assert_eq!(late.err.matches("read the configuration again").count(), 1, "{late:?}");
    assert_eq!(late.err.lines().count(), 1, "{late:?}");
    let odd = desk.ask(&["config", "set", "database", "success_threshold=9", "--reason", "r"]).await;
    assert_eq!(odd.code, 0, "the permitted calls follow: {odd:?}");
    let odd = ["config", "set", "database", "slow_call_rate_threshold=9", "--reason", "r"];
    let odd = desk.ask(&odd).await;
    assert_eq!(odd.code, 2, "a slow rate wants a duration: {odd:?}");

    let log = desk.ask(&["config", "log", "database", "--json"]).await.well();
    let newest: Value = serde_json::from_str(log.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&newest["kind"], &newest["reason"]), (&"CHANGE_KIND_THRESHOLDS".into(), &"slow".into()));
    let unset = desk.ask(&["config", "unset", "database", "timeout_seconds"]).await.lines();
    assert!(unset.contains(&"timeout_seconds 90s (API) -> 2m (file, service)".to_owned()), "{unset:?}");
    let unset = desk.ask(&["config", "unset", "database", "--json"]).await.json();
    assert_eq!(unset["changed"], true);
    assert_eq!(desk.ask(&["config", "unset", "database"]).await.lines(), ["database: nothing to unset"]);
    let list = desk.ask(&["config", "get"]).await.lines();
    assert_eq!(list[0], "SERVICE OVERRIDE REVISION SET");
    assert!(list[1].starts_with("database - "), "{list:?}");
}

/// A command that goes on, and the lines that it writes.
struct Following {
    child: Option<Child>,
    lines: Option<BufReader<ChildStdout>>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Self { child: Some(child), lines }
    }

    /// The next line that holds `what`.
    async fn until(&mut self, what: &'static str) -> String {
        let mut lines = self.lines.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            loop {
                let mut line = String::new();
                assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it said {what}");
                if line.contains(what) {
                    return (lines, line);
                }
            }
        });
        let (lines, line) = tokio::time::timeout(PATIENCE, read).await.expect("it says nothing").unwrap();
        self.lines = Some(lines);
        line
    }

    /// SIGINT, as ctrl-c sends it, and the code it ended with.
    async fn interrupt(mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
        tokio::time::timeout(PATIENCE, ended).await.expect("it goes on").unwrap().code().unwrap()
    }
}

/// Of a test that failed: a command that goes on would keep the thread that reads its output, and so the test, for ever.
impl Drop for Following {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn transitions_are_followed_until_somebody_interrupts() {
    let desk = Desk::open().await;
    let mut people = Following::start(desk.command(&["watch", "search"]));
    let mut program = Following::start(desk.command(&["watch", "--json"]));
    let mut states = Following::start(desk.command(&["watch", "--states", "--json"]));
    // Each has its snapshot before anything happens.
    program.until("\"bookmark\"").await;
    states.until("\"bookmark\"").await;
    desk.open_breaker("search", 1).await;
    let line = people.until("OPEN").await;
    assert!(line.contains("search"), "{line}");
    let event: Value = serde_json::from_str(&program.until("\"transition\"").await).unwrap();
    assert_eq!(event["transition"]["toState"], "STATE_OPEN");
    assert!(event["resumeToken"].is_string());
    let event: Value = serde_json::from_str(&states.until("\"breaker\"").await).unwrap();
    assert_eq!(event["breaker"]["state"], "STATE_OPEN");
    for watch in [people, program, states] {
        assert_eq!(watch.interrupt().await, 0);
    }
}

#[tokio::test]
async fn who_may_only_call_can_watch_states() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens.toml");
    let path = tokens.to_str().unwrap();
    let made = bare(&["token", "new", "--name", "app", "--role", "caller", "--append", path]);
    let token = Said::from(ends(made).await).well();
    let desk = Desk::with_file(&format!("{FILE}\n[auth]\ntokens_file = \"{path}\"\n")).await;
    let mut command = desk.command(&["watch", "--states", "--json", "database"]);
    command.env("BREAKERD_TOKEN", token.trim());
    let mut states = Following::start(command);
    states.until("\"bookmark\"").await;
    assert_eq!(states.interrupt().await, 0);
}

#[tokio::test]
async fn changes_of_thresholds_are_followed() {
    let desk = Desk::open().await;
    let mut people = Following::start(desk.command(&["config", "watch", "database"]));
    people.until("database").await;
    desk.ask(&["config", "set", "database", "timeout_seconds=90", "--reason", "r"]).await.well();
    let line = people.until("90s").await;
    assert!(line.contains("timeout_seconds 2m (file, service) -> 90s (API)"), "{line}");
    assert_eq!(people.interrupt().await, 0);
}
