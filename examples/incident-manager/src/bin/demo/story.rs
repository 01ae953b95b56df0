//! The acts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use incident_manager::stand_ins::{Behavior, Peer};
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::time::sleep;

use crate::history;
use crate::processes::{Breakerd, Manager, POLL, wait_for};
use crate::terminal::{Terminal, duration};
use crate::traffic::{Answer, states};

/// The failures of the shipped breakerd.toml. The waits are shorter, so that the story takes half a minute.
const THRESHOLDS: &str = "\
[circuit_breaker]
default_failure_threshold = 5
default_success_threshold = 2
default_timeout_seconds = 4

[circuit_breaker.sentinel]
failure_threshold = 3
timeout_seconds = 4

[circuit_breaker.database]
failure_threshold = 10
timeout_seconds = 3

[circuit_breaker.notifications]
failure_threshold = 10
timeout_seconds = 3
";

/// What the incident managers wait for an answer of Sentinel, a channel, or the database.
const TIMEOUT: Duration = Duration::from_millis(400);

/// A trip in one process is known in the other within this time.
const SHARED_WITHIN: Duration = Duration::from_secs(1);

const SENTINEL: &str = "sentinel-llm";
const STORE: &str = "incident-store";
const SLACK: &str = "slack";
const PAGERDUTY: &str = "pagerduty";

/// Everything on the stage.
pub(crate) struct Story<'a> {
    terminal: &'a Terminal,
    breakerd: Breakerd,
    a: Manager,
    b: Manager,
    sentinel: Peer,
    slack: Peer,
    smtp: Peer,
    pagerduty: Peer,
    /// The incident store, which both incident managers share.
    database: String,
    spared: u64,
    saved: Duration,
}

impl<'a> Story<'a> {
    /// Starts everything.
    pub(crate) async fn begin(terminal: &'a Terminal, folder: &Path) -> anyhow::Result<Self> {
        terminal.act("A demo of breakerd").await;
        let breakerd = Breakerd::start(&folder.join("breakerd"), THRESHOLDS).await?;
        terminal.say(&format!("breakerd runs: its own memory, its own SQLite file, {}", breakerd.url()));
        let (sentinel, slack) = (Peer::sentinel().await?, Peer::slack().await?);
        let (smtp, pagerduty) = (Peer::smtp().await?, Peer::pagerduty().await?);
        let database = format!("sqlite:{}", folder.join("incidents.db").display());
        let settings = |name: &str| {
            format!(
                "listen = '127.0.0.1:0'\n\
                 [breakerd]\naddresses = ['{}']\ncaller = 'manager {name}'\n\
                 [sentinel]\nurl = '{}'\ntimeout = '{TIMEOUT:?}'\n\
                 [store]\nurl = '{database}'\ntimeout = '{TIMEOUT:?}'\n\
                 [slack]\nwebhook_url = '{}'\ntimeout = '{TIMEOUT:?}'\n\
                 [email]\nsmtp_url = '{}'\nfrom = 'incidents@example.org'\nto = ['oncall@example.org']\n\
                 [pagerduty]\nrouting_key = 'demo'\nurl = '{}'\ntimeout = '{TIMEOUT:?}'\n{THRESHOLDS}",
                breakerd.url(),
                sentinel.url("http"),
                slack.url("http"),
                smtp.url("smtp"),
                pagerduty.url("http"),
            )
        };
        let a = Manager::start(folder, "A", &settings("A")).await?;
        let b = Manager::start(folder, "B", &settings("B")).await?;
        terminal.say(&format!("two incident managers run: A at {}, B at {}", a.url, b.url));
        terminal.say("Sentinel, a database, Slack, a mail server and PagerDuty are stand-ins, which do as they are told.");
        terminal.say(&format!(
            "Thresholds: as shipped, with shorter waits (3 to 4 s instead of 10 to 120 s). A call gives up after {}.",
            duration(TIMEOUT)
        ));
        let (spared, saved) = (0, Duration::ZERO);
        Ok(Self { terminal, breakerd, a, b, sentinel, slack, smtp, pagerduty, database, spared, saved })
    }

    /// Plays all acts.
    pub(crate) async fn tell(mut self) -> anyhow::Result<()> {
        self.all_is_well().await?;
        self.sentinel_hangs().await?;
        self.slack_fails().await?;
        self.database_is_locked().await?;
        self.breakerd_dies_too().await?;
        self.history().await
    }

    async fn all_is_well(&self) -> anyhow::Result<()> {
        self.terminal.act("Act 1: all is well").await;
        let mut slowest = Duration::ZERO;
        for manager in [&self.a, &self.b] {
            for _ in 0..3 {
                let answer = manager.report().await?;
                ensure!(
                    answer.is_enriched() && is_handled(&answer),
                    "an incident is not handled: {}",
                    answer.body
                );
                slowest = slowest.max(answer.took);
            }
            let states = states(&manager.http, &manager.page()).await?;
            ensure!(
                states.len() == 5 && states.values().all(|state| state == "Closed"),
                "not closed: {states:?}"
            );
        }
        self.terminal.say(&format!(
            "6 incidents: each enriched by Sentinel, stored, and told on 3 channels, in {} at most",
            duration(slowest)
        ));
        self.terminal.came_true("all 5 circuits are closed in both incident managers");
        Ok(())
    }

    async fn sentinel_hangs(&mut self) -> anyhow::Result<()> {
        self.terminal.act("Act 2: Sentinel hangs").await;
        self.sentinel.behave(Behavior::Hang);
        self.terminal.say("Sentinel takes requests, and does not answer. Only A gets incidents for now.");
        let mut reported = 0;
        // B is watched from before the trip.
        let opened = self.both_see(SENTINEL, "Open");
        let reporting = async {
            while state(&self.a, SENTINEL).await? != "Open" {
                let answer = self.a.report().await?;
                reported += 1;
                self.terminal
                    .say(&format!("incident {reported} to A: {}, not enriched", duration(answer.took)));
            }
            anyhow::Ok(())
        };
        let ((in_a, in_b), ()) = tokio::try_join!(opened, reporting)?;
        let apart = in_a.max(in_b).duration_since(in_a.min(in_b));
        ensure!(apart < SHARED_WITHIN, "the second process knew {} later", duration(apart));
        let failed = self.b.counter("failed_calls_total", SENTINEL).await?;
        ensure!(failed == 0, "B had {failed} failed calls");
        self.terminal.came_true(&format!(
            "3 failures in A opened the circuit in A and in B, {} apart; B had no failure of its own",
            duration(apart)
        ));

        let arrived = self.sentinel.count();
        let mut slowest = Duration::ZERO;
        for manager in [&self.a, &self.b, &self.a, &self.b] {
            let answer = manager.report().await?;
            ensure!(
                !answer.is_enriched() && is_handled(&answer),
                "an incident is not handled: {}",
                answer.body
            );
            slowest = slowest.max(answer.took);
        }
        ensure!(self.sentinel.count() == arrived, "Sentinel was called while its circuit was open");
        ensure!(slowest < TIMEOUT, "an incident took {}", duration(slowest));
        self.terminal.came_true(&format!(
            "4 more incidents took {} at most: not enriched, but stored and told at once; Sentinel was not called",
            duration(slowest)
        ));

        self.sentinel.behave(Behavior::Answer);
        self.terminal.say("Sentinel is back. When the wait is over, the next calls are probes.");
        self.closes(SENTINEL).await?;
        let answer = self.b.report().await?;
        ensure!(answer.is_enriched(), "an incident is not enriched: {}", answer.body);
        self.terminal
            .came_true("two probes found out, the circuit is closed in both, incidents are enriched again");
        self.sum_up(SENTINEL, TIMEOUT).await
    }

    async fn slack_fails(&mut self) -> anyhow::Result<()> {
        self.terminal.act("Act 3: Slack, and what is no failure of it").await;
        self.slack.behave(Behavior::Status(400));
        self.smtp.behave(Behavior::Slow(Duration::from_millis(100)));
        self.terminal
            .say("Slack answers 400: our message is wrong, Slack is well. The mail server is slow: 100 ms.");
        for _ in 0..6 {
            let (in_a, in_b) = tokio::try_join!(self.a.report(), self.b.report())?;
            for answer in [in_a, in_b] {
                ensure!(answer.channels() == ["email", "pagerduty"], "not these channels: {}", answer.body);
            }
        }
        self.smtp.behave(Behavior::Answer);
        for manager in [&self.a, &self.b] {
            let states = states(&manager.http, &manager.page()).await?;
            ensure!(states.values().all(|state| state == "Closed"), "not closed: {states:?}");
        }
        self.terminal.came_true("12 such answers, more than the threshold of 10, opened nothing");

        self.slack.behave(Behavior::Status(500));
        self.terminal.say(
            "Now Slack answers 500. Both incident managers see it, 10 failures together open the circuit.",
        );
        self.opens(SLACK).await?;
        let states = states(&self.b.http, &self.b.page()).await?;
        ensure!(states["email"] == "Closed" && states[PAGERDUTY] == "Closed", "not closed: {states:?}");
        let answer = self.b.report().await?;
        ensure!(answer.channels() == ["email", "pagerduty"], "not these channels: {}", answer.body);
        self.terminal.came_true(
            "Slack's circuit is open in both; email and PagerDuty share its thresholds, not its fate",
        );
        self.slack.behave(Behavior::Answer);
        self.closes(SLACK).await?;
        self.terminal.came_true("Slack is back, and its circuit closed");
        // A 500 comes at once: calls are spared, and no time.
        self.sum_up(SLACK, Duration::ZERO).await
    }

    async fn database_is_locked(&mut self) -> anyhow::Result<()> {
        self.terminal.act("Act 4: the database is locked").await;
        let mut other = SqliteConnection::connect(&self.database).await?;
        other.execute("BEGIN IMMEDIATE").await?;
        self.terminal.say("Another process holds a lock on the incident store, and does not let go.");
        self.opens(STORE).await?;
        let answer = self.a.report().await?;
        ensure!(answer.status == 202 && !answer.is_stored(), "it is stored: {}", answer.body);
        ensure!(answer.channels().len() == 3 && answer.took < TIMEOUT, "not told at once: {}", answer.body);
        self.terminal.came_true(&format!(
            "the circuit is open in both; an incident is answered 202 in {}: people were told, it is not stored",
            duration(answer.took)
        ));
        other.execute("ROLLBACK").await?;
        self.terminal.say("The lock is gone.");
        self.closes(STORE).await?;
        let answer = self.a.report().await?;
        ensure!(is_handled(&answer), "an incident is not handled: {}", answer.body);
        self.terminal.came_true("the circuit is closed in both, incidents are stored again");
        // SQLite gives up after half of the time that it is given.
        self.sum_up(STORE, TIMEOUT / 2).await
    }

    async fn breakerd_dies_too(&mut self) -> anyhow::Result<()> {
        self.terminal.act("Act 5: breakerd is killed, and then PagerDuty hangs").await;
        self.breakerd.kill().await?;
        self.terminal.say("kill -9. Calls go on: the incident managers decide in their own memory.");
        let answer = self.a.report().await?;
        ensure!(answer.is_enriched() && is_handled(&answer), "an incident is not handled: {}", answer.body);
        self.terminal.came_true(&format!("an incident takes {}, and lacks nothing", duration(answer.took)));
        self.pagerduty.behave(Behavior::Hang);
        self.terminal.say("PagerDuty hangs. Now each incident manager has to find out by itself, and does.");
        self.opens(PAGERDUTY).await?;
        let answer = self.b.report().await?;
        ensure!(
            answer.channels() == ["slack", "email"] && answer.took < TIMEOUT,
            "not at once: {}",
            answer.body
        );
        self.terminal.came_true(&format!(
            "10 failures in each opened its own circuit; an incident takes {}",
            duration(answer.took)
        ));
        self.breakerd.run().await?;
        self.pagerduty.behave(Behavior::Answer);
        self.terminal.say("breakerd is started again, on its old data. PagerDuty is back.");
        self.closes(PAGERDUTY).await?;
        let answer = self.a.report().await?;
        ensure!(is_handled(&answer), "an incident is not handled: {}", answer.body);
        self.terminal.came_true("the circuit is closed in both");
        self.sum_up(PAGERDUTY, TIMEOUT).await?;

        // One more outage, which shows that the circuits are shared again.
        self.pagerduty.behave(Behavior::Reset);
        let page = self.breakerd.page();
        let there = wait_for("pagerduty is Open in breakerd", async || {
            Ok(states(&self.a.http, &page)
                .await?
                .get(PAGERDUTY)
                .is_some_and(|state| state == "Open")
                .then_some(()))
        });
        self.with_traffic(async { tokio::try_join!(self.both_see(PAGERDUTY, "Open"), there) }).await?;
        self.terminal.came_true(
            "PagerDuty resets connections: its circuit opens in breakerd and in both, shared as before",
        );
        self.pagerduty.behave(Behavior::Answer);
        self.closes(PAGERDUTY).await
    }

    async fn history(&self) -> anyhow::Result<()> {
        self.terminal.act("What happened, from breakerd's store").await;
        let mut store = history::open(&self.breakerd.database()).await?;
        // Transitions reach the store a moment after they happened.
        let outages = wait_for("every outage has its end in the store", async || {
            let outages = history::rows(&mut store, history::OUTAGES).await?;
            let is_over = |row: &Vec<String>| row.last().is_some_and(|ended_by| ended_by != "-");
            Ok((outages.len() > 4 && outages.iter().all(is_over)).then_some(outages))
        })
        .await?;
        self.terminal.table(history::OUTAGES, &outages);
        println!();
        let changes = history::rows(&mut store, history::HISTORY).await?;
        self.terminal.table(history::HISTORY, &changes);
        println!();
        let names: Vec<&str> = outages.iter().skip(1).map(|row| &*row[1]).collect();
        for name in [SENTINEL, SLACK, STORE, PAGERDUTY] {
            ensure!(names.contains(&name), "no outage of {name} in the store");
        }
        self.terminal.came_true(&format!("{} outages, each with its cause and its end", names.len()));
        self.terminal.say(
            "PagerDuty's first outage is not among them: breakerd was away, and each process decided alone.",
        );
        self.terminal.say(&format!(
            "In all: {} calls spared to services that could not answer, {} of waiting saved.",
            self.spared,
            duration(self.saved)
        ));
        Ok(())
    }

    /// Reports incidents to both until both see the circuit open.
    async fn opens(&self, breaker: &str) -> anyhow::Result<()> {
        self.with_traffic(self.both_see(breaker, "Open")).await.map(drop)
    }

    /// Reports incidents to both until both see the circuit closed.
    async fn closes(&self, breaker: &str) -> anyhow::Result<()> {
        self.with_traffic(self.both_see(breaker, "Closed")).await.map(drop)
    }

    /// Reports incidents to both until `seen` ends.
    async fn with_traffic<T>(&self, seen: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let traffic = async {
            loop {
                let (in_a, in_b) = tokio::try_join!(self.a.report(), self.b.report())?;
                for answer in [in_a, in_b] {
                    ensure!(answer.status < 300, "an incident was lost: {}", answer.body);
                }
                sleep(POLL * 5).await;
            }
        };
        tokio::select! {
            seen = seen => seen,
            failed = traffic => failed,
        }
    }

    /// When A and B showed the state on their pages.
    async fn both_see(&self, breaker: &str, wanted: &str) -> anyhow::Result<(Instant, Instant)> {
        let sees = async |manager: &Manager| {
            let what = format!("{breaker} is {wanted} in incident manager {}", manager.name);
            wait_for(&what, async || Ok((state(manager, breaker).await? == wanted).then(Instant::now))).await
        };
        tokio::try_join!(sees(&self.a), sees(&self.b))
    }

    /// What the circuit spared its service until now, by the metrics of both.
    async fn sum_up(&mut self, breaker: &str, failure: Duration) -> anyhow::Result<()> {
        let (in_a, in_b) = tokio::try_join!(
            self.a.counter("rejected_calls_total", breaker),
            self.b.counter("rejected_calls_total", breaker)
        )?;
        let spared = in_a + in_b;
        ensure!(spared > 0, "no call to {breaker} was rejected");
        let saved = failure * u32::try_from(spared)?;
        self.spared += spared;
        self.saved += saved;
        let saved =
            if saved.is_zero() { String::new() } else { format!(", {} of waiting saved", duration(saved)) };
        self.terminal.say(&format!("{spared} calls spared{saved}"));
        Ok(())
    }
}

async fn state(manager: &Manager, breaker: &str) -> anyhow::Result<String> {
    Ok(states(&manager.http, &manager.page()).await?.remove(breaker).unwrap_or_default())
}

/// It is stored, and told on every channel.
fn is_handled(answer: &Answer) -> bool {
    answer.status == 201 && answer.is_stored() && answer.channels() == ["slack", "email", "pagerduty"]
}
