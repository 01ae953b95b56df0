//! Stories: what happens to a breaker, and what it answers, as text.
//!
//! A line is `<seconds> <event>: <answer>`; a line without seconds happens at the time of the line before.
//! Everything after `//` is a remark. The permits that `allow` gets are numbered `#1`, `#2`, ...
//!
//! | event | answer |
//! |---|---|
//! | `allow` | `yes #1`, `yes #1 PROBE` (why, when it is not CLOSED; whether it `would be denied`; `for` how long, when it is not the whole lease; how many probes `timed out` whose slots it took), `no OPEN, retry in 30` (`in a moment`: the store is asked) |
//! | `allow again` | the call that was told to wait looks once more |
//! | `succeed #1`, `fail #1`, `ignore #1` | `recorded`, `late`, `duplicate`, `not counted`; or it is `for the store` |
//! | `fail` | the same, under a permit of its own; `denied` when there is none to be had |
//! | `foreign fail #1` | as if another process had given the permit |
//! | `bare fail`, `bare fail epoch 3` | without a permit |
//! | `release #1`, `poll` | `ok` |
//! | `reset`, `delete`, `probe`, `clear`, `force open`, `disable`, `metrics only` (`until 90` by the wall clock, or `for 90`) | `ok`, or `refused` |
//! | `service FORCED_OPEN` (`until 90`, `for 90`), `service clear` | its service's override is another: `ok` |
//! | `born under FORCED_OPEN` (`until 90`) | born while its service is in an override: `ok` |
//! | `forgets its service` | what a crash between the store and the breakers leaves: `ok` |
//! | `set failure_threshold 3` | other thresholds: `ok` |
//! | `restart`, `restart with failure_threshold 3` | the process dies and the breaker comes back: `ok` |
//! | `wall +7200` | the wall clock is set, so many seconds ahead of the monotonic clock: `ok` |
//! | `restart wall -86400` | the wall clock was set while the process was down: `ok` |
//! | `remote 3 failed 1 succeeded by X Y` | what other replicas counted: `ok` |
//! | `won p1 as 1`, `lost p1 to OPEN epoch 3 wait 30` | the store answers the first transition that was proposed: `ok` |
//! | `adopt OPEN epoch 3 since 10 wait 30` (`revision 4`) | the store's row, newer than all before, or of that revision (an override `until 90` by the store's clock, or `for 90`): `ok` |
//! | `begun CLOSED epoch 3 timeline 2` | the row in another timeline of the store: `ok`, or the state of before, `takes up OPEN 4` |
//! | `dropped p1` | no store will ever take it: `ok` |
//! | `claim` | what is to be claimed of the store: `2 probes`, or `nothing` |
//! | `granted 1`, `granted 0 retry 0.5` (`first 2`) | the store gave so many, and the first one ever so long ago: `ok` |
//! | `granted late 1` | the same, to the claim before the last one: `ok` |
//! | `returned` | how many probes go back to the store |
//! | `settled #1 recorded` (`then CLOSED epoch 3`) | what the store made of a probe's outcome, and the row behind it: `ok` |
//! | `deadline` | `at 30`, or `none` |
//! | `due` | whether the next look changes the state: `yes`, or `no` |
//! | `can be retired` | `pristine` (nothing is lost), `yes` (its epoch is), or `no` |
//! | `alone`, `not alone` | the replica is alone, and decides by itself (`yes #1, alone`), or is no longer: `ok` |
//! | `show` | the state, with what belongs to it |
//! | `given open`, `given half-open` | begins there, at epoch 1: `ok` |
//!
//! An outcome may go on with `took 2.5`, `by X`, `class timeout`, `retry 120`. `fail x80` happens eighty times;
//! answers that differ are counted. A transition stands behind the answer that it came with:
//! `[CLOSED -> OPEN, CONSECUTIVE_FAILURES]`, with its time when that is not now. A line begins with a time of the monotonic
//! clock, and `deadline` answers with one; all other times are those of the wall clock.

mod answers;
mod store;
mod words;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use breaker::{
    ActiveOverride, Awaited, Breaker, CallerId, Identity, Numbering, Outcome, Override, OverrideKind, Pass,
    ProbeClaim, ProposalId, Recorded, Report, Scope, Snapshot, State, Thresholds, Ticket, Time, Transition,
    WallOffset,
};

use self::answers::{refusable, retirable, show};
use self::words::{START, after, ann, caller, clock, deltas, number, seconds, wall};
use crate::thresholds::thresholds;

/// Plays a story to a breaker that numbers its own epochs, and compares its answers.
#[track_caller]
pub(crate) fn check(settings: &str, story: &str) {
    compare(settings, story, Numbering::Own);
}

/// Plays a story to a breaker whose epochs the store numbers.
#[track_caller]
pub(crate) fn check_with_store(settings: &str, story: &str) {
    compare(settings, story, Numbering::Store);
}

#[track_caller]
fn compare(settings: &str, story: &str, numbering: Numbering) {
    let mut run = StoryRun::start(settings, numbering);
    let (mut expected, mut actual) = (String::new(), String::new());
    for line in story.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (event, answer) = line.split_once(':').unwrap_or_else(|| panic!("no answer in {line:?}"));
        let got = run.apply(event.trim());
        writeln!(expected, "{}: {}", event.trim(), answer.trim()).unwrap();
        writeln!(actual, "{}: {got}", event.trim()).unwrap();
    }
    assert!(expected == actual, "\n--- expected\n{expected}--- answered\n{actual}");
}

struct StoryRun {
    breaker: Breaker,
    identity: Identity,
    now: Time,
    passes: Vec<Pass>,
    /// On which branch each was given; 0: on none.
    branches: Vec<u32>,
    /// Passes of an earlier life come back as foreign ones.
    own_from: usize,
    epoch: u64,
    service: Option<Arc<ActiveOverride>>,
    /// What was proposed to the store, from `p1` on.
    proposed: Vec<Snapshot>,
    revision: u64,
    /// Of the store.
    timeline: u32,
    claim: Option<ProbeClaim>,
    /// The one before it.
    earlier_claim: Option<ProbeClaim>,
    /// What the last call was told to wait for.
    awaited: Option<Awaited>,
    /// Slots of the present epoch that the store gave.
    slots: u16,
}

impl StoryRun {
    fn start(settings: &str, numbering: Numbering) -> Self {
        let identity = Identity {
            key_hash: 7,
            salt: 1,
            first_number: 1_000,
            numbering,
            stagger: Duration::ZERO,
            wall: WallOffset::ZERO,
        };
        let breaker = Breaker::new(thresholds(settings), 1, identity, START);
        Self {
            breaker,
            identity,
            now: START,
            passes: Vec::new(),
            branches: Vec::new(),
            own_from: 0,
            epoch: 0,
            service: None,
            proposed: Vec::new(),
            revision: 0,
            timeline: 1,
            claim: None,
            earlier_claim: None,
            awaited: None,
            slots: 0,
        }
    }

    fn apply(&mut self, line: &str) -> String {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words[0].parse::<f64>().is_ok() {
            self.now = START + seconds(words.remove(0));
        }
        let times = match words.last().and_then(|word| word.strip_prefix('x')?.parse().ok()) {
            Some(times) => {
                words.pop();
                times
            }
            None => 1,
        };
        let mut answers: Vec<(String, u32)> = Vec::new();
        for _ in 0..times {
            let answer = self.apply_once(&words);
            match answers.last_mut() {
                Some((last, count)) if *last == answer => *count += 1,
                _ => answers.push((answer, 1)),
            }
        }
        let alike = answers.len() == 1;
        let texts: Vec<_> = answers
            .into_iter()
            .map(|(answer, count)| if alike || count == 1 { answer } else { format!("{answer} x{count}") })
            .collect();
        texts.join("; ")
    }

    fn apply_once(&mut self, words: &[&str]) -> String {
        let (answer, transitions) = match words {
            ["allow"] => self.allow(None),
            ["allow", "again"] => self.allow(self.awaited),
            ["bare", how, rest @ ..] => {
                let epoch = after(rest, "epoch").map(number);
                self.record(Ticket::Bare { epoch }, 0, how, rest)
            }
            ["foreign", how, pass, rest @ ..] => self.record(Ticket::Foreign(self.pass(pass)), 0, how, rest),
            [how @ ("succeed" | "fail" | "ignore"), rest @ ..] => return self.report(how, rest),
            ["release", pass] => {
                let probe = self.pass(pass).probe.expect("only a probe can be released");
                self.breaker.release(probe, self.now);
                ("ok".to_owned(), Vec::new())
            }
            ["alone"] => {
                self.breaker.set_alone(true);
                ("ok".to_owned(), Vec::new())
            }
            ["not", "alone"] => {
                self.breaker.set_alone(false);
                ("ok".to_owned(), Vec::new())
            }
            ["poll"] => ("ok".to_owned(), self.breaker.poll(self.now)),
            ["close", "idle", idle] => ("ok".to_owned(), self.breaker.close_idle(seconds(idle), self.now)),
            ["delete"] => refusable(self.breaker.delete(ann(), self.now)),
            ["reset"] => refusable(self.breaker.reset(ann(), self.now)),
            ["probe"] => refusable(self.breaker.probe(ann(), self.now)),
            ["clear"] => refusable(self.breaker.clear_override(ann(), self.now)),
            ["wall", ahead] => {
                self.identity.wall = wall(ahead);
                self.breaker.set_wall_offset(self.identity.wall, self.now);
                ("ok".to_owned(), self.breaker.poll(self.now))
            }
            ["born", "under", kind, rest @ ..] => {
                let service = Some(self.of_service(kind, rest));
                self.breaker =
                    Breaker::new(Arc::clone(self.breaker.thresholds()), 1, self.identity, self.now);
                self.breaker.inherit(service.clone(), self.now);
                self.service = service;
                ("ok".to_owned(), Vec::new())
            }
            ["forgets", "its", "service"] => {
                self.service = None;
                ("ok".to_owned(), Vec::new())
            }
            ["service", "clear"] => {
                self.service = None;
                ("ok".to_owned(), self.breaker.set_service_override(None, &ann(), self.now))
            }
            ["service", kind, rest @ ..] => {
                self.service = Some(self.of_service(kind, rest));
                let service = self.service.clone();
                ("ok".to_owned(), self.breaker.set_service_override(service, &ann(), self.now))
            }
            ["force", "open", rest @ ..] => self.set_override(OverrideKind::ForcedOpen, rest),
            ["disable", rest @ ..] => self.set_override(OverrideKind::Disabled, rest),
            ["metrics", "only", rest @ ..] => self.set_override(OverrideKind::MetricsOnly, rest),
            ["set", rest @ ..] => {
                let revision = self.breaker.config_revision() + 1;
                let thresholds = thresholds(&rest.join(" "));
                ("ok".to_owned(), self.breaker.set_thresholds(thresholds, revision, self.now))
            }
            ["remote", rest @ ..] => ("ok".to_owned(), self.breaker.record_remote(&deltas(rest), self.now)),
            [
                "won" | "lost" | "dropped" | "adopt" | "begun" | "resume" | "claim" | "granted" | "returned"
                | "settled",
                ..,
            ] => (self.store_says(words), Vec::new()),
            ["restart"] => self.restart(Arc::clone(self.breaker.thresholds())),
            ["restart", "with", rest @ ..] => self.restart(thresholds(&rest.join(" "))),
            ["restart", "wall", ahead] => {
                self.identity.wall = wall(ahead);
                let service = self.service.take();
                // The new life reads it from the store, as it was set.
                self.service = service.map(|service| self.active(service.set_by.clone()));
                self.restart(Arc::clone(self.breaker.thresholds()))
            }
            ["given", "open"] => self.given_open(),
            ["given", "half-open"] => {
                self.given_open();
                self.breaker.probe(ann(), self.now).0.expect("it is open");
                self.epoch = self.breaker.epoch();
                ("ok".to_owned(), Vec::new())
            }
            ["deadline"] => {
                let text = self
                    .breaker
                    .next_deadline()
                    .map_or("none".to_owned(), |due| format!("at {}", clock(due)));
                (text, Vec::new())
            }
            ["due"] => {
                let due = if self.breaker.is_due(self.now) { "yes" } else { "no" };
                (due.to_owned(), Vec::new())
            }
            ["can", "be", "retired"] => (retirable(&self.breaker).to_owned(), Vec::new()),
            ["show"] => (show(&self.breaker.view(self.now), self.wall_now()), Vec::new()),
            _ => panic!("no such event: {words:?}"),
        };
        self.with_transitions(answer, &transitions)
    }

    fn allow(&mut self, awaited: Option<Awaited>) -> (String, Vec<Transition>) {
        let (decision, transitions) = self.breaker.allow_again(awaited, self.now);
        self.awaited = decision.waits;
        assert_eq!(decision.pass.is_some(), decision.verdict.allows());
        assert_eq!(decision.epoch, self.breaker.epoch());
        if let Some(pass) = decision.pass {
            self.passes.push(pass);
            self.branches.push(decision.branch);
            let why = match decision.verdict {
                breaker::Verdict::Closed => String::new(),
                other => format!(" {other}"),
            };
            let why = if decision.would_deny { format!("{why}, would be denied") } else { why };
            let terms = self.breaker.snapshot().half_open;
            let full = terms.map_or(Duration::ZERO, |terms| terms.lease);
            let why = match decision.lease.filter(|lease| *lease != full) {
                Some(rest) => format!("{why}, for {}", rest.as_secs_f64()),
                None => why,
            };
            let why = match decision.timed_out_probes {
                0 => why,
                count => format!("{why}, {count} timed out"),
            };
            let why = if decision.branch == 0 { why } else { format!("{why}, alone") };
            return (format!("yes #{}{why}", self.passes.len()), transitions);
        }
        let retry =
            decision.retry_after.map_or(String::new(), |rest| format!(", retry in {}", rest.as_secs_f64()));
        let waits = if decision.waits.is_some() { ", in a moment" } else { "" };
        (format!("no {}{waits}{retry}", decision.verdict), transitions)
    }

    /// An outcome of the pass it names, or of one of its own.
    fn report(&mut self, how: &str, rest: &[&str]) -> String {
        if let [pass, rest @ ..] = rest
            && pass.starts_with('#')
        {
            let place = number(&pass[1..]) as usize;
            let pass = self.pass(pass);
            let ticket = if place > self.own_from { Ticket::Own(pass) } else { Ticket::Foreign(pass) };
            let (answer, transitions) = self.record(ticket, self.branches[place - 1], how, rest);
            return self.with_transitions(answer, &transitions);
        }
        let (decision, mut transitions) = self.breaker.allow(self.now);
        let Some(pass) = decision.pass else {
            return self.with_transitions("denied".to_owned(), &transitions);
        };
        let (answer, more) = self.record(Ticket::Own(pass), decision.branch, how, rest);
        transitions.extend(more);
        self.with_transitions(answer, &transitions)
    }

    fn record(
        &mut self,
        ticket: Ticket,
        branch: u32,
        how: &str,
        words: &[&str],
    ) -> (String, Vec<Transition>) {
        let report = Report {
            outcome: match how {
                "succeed" => Outcome::Success,
                "fail" => Outcome::Failure,
                "ignore" => Outcome::Ignored,
                _ => panic!("no such outcome: {how}"),
            },
            duration: after(words, "took").map(seconds),
            error_class: after(words, "class").unwrap_or_default(),
            retry_after: after(words, "retry").map(seconds),
            caller: after(words, "by").map_or(CallerId::ANONYMOUS, caller),
            caller_name: after(words, "by").unwrap_or_default(),
        };
        let (recorded, transitions) = match ticket {
            Ticket::Own(pass) if branch > 0 => self.breaker.record_on_branch(branch, pass, &report, self.now),
            _ if self.breaker.probe_report(ticket, &report, self.now).is_some() => {
                return ("for the store".to_owned(), Vec::new());
            }
            _ => self.breaker.record(ticket, &report, self.now),
        };
        let text = match recorded {
            Recorded::Recorded => "recorded",
            Recorded::Late => "late",
            Recorded::Duplicate => "duplicate",
            Recorded::NotCounted => "not counted",
        };
        (text.to_owned(), transitions)
    }

    fn set_override(&mut self, kind: OverrideKind, words: &[&str]) -> (String, Vec<Transition>) {
        let (expires_at, ttl) = self.end(words);
        let set_by = Override {
            kind,
            scope: Scope::Breaker,
            expires_at,
            ttl,
            actor: "ann".to_owned(),
            reason: "a drill".to_owned(),
        };
        ("ok".to_owned(), self.breaker.set_override(set_by, self.now))
    }

    /// When an override ends by itself, and how long it lasts.
    fn end(&self, words: &[&str]) -> (Option<Time>, Option<Duration>) {
        let ttl = after(words, "for").map(seconds);
        let until = after(words, "until").map(|end| START + seconds(end));
        (ttl.map(|ttl| self.wall_now() + ttl).or(until), ttl)
    }

    fn of_service(&self, kind: &str, words: &[&str]) -> Arc<ActiveOverride> {
        let (expires_at, ttl) = self.end(words);
        self.active(Override {
            kind: OverrideKind::parse(kind).expect("an override"),
            scope: Scope::Service,
            expires_at,
            ttl,
            actor: "bob".to_owned(),
            reason: "all of it".to_owned(),
        })
    }

    fn active(&self, set_by: Override) -> Arc<ActiveOverride> {
        let Identity { numbering, wall, .. } = self.identity;
        Arc::new(ActiveOverride::of_service(set_by, 0, numbering, wall, self.now))
    }

    fn wall_now(&self) -> Time {
        self.identity.wall.to_wall(self.now)
    }

    /// The next life of the process knows the snapshot, and draws another salt.
    fn restart(&mut self, thresholds: Arc<Thresholds>) -> (String, Vec<Transition>) {
        self.identity.salt += 1;
        self.identity.first_number += 1_000_000;
        self.own_from = self.passes.len();
        let revision = self.breaker.config_revision();
        let snapshot = self.breaker.snapshot();
        self.breaker = Breaker::restore(thresholds, revision, self.identity, snapshot, self.now);
        self.breaker.inherit(self.service.clone(), self.now);
        ("ok".to_owned(), Vec::new())
    }

    fn given_open(&mut self) -> (String, Vec<Transition>) {
        let open = Snapshot {
            epoch: 1,
            state: State::Open,
            open_count: 1,
            entered_at: self.wall_now(),
            ..Snapshot::pristine()
        };
        let thresholds = Arc::clone(self.breaker.thresholds());
        self.breaker = Breaker::restore(thresholds, 1, self.identity, open, self.now);
        self.epoch = 1;
        ("ok".to_owned(), Vec::new())
    }

    fn pass(&self, name: &str) -> Pass {
        let place = number(name.strip_prefix('#').expect("a permit's number"));
        self.passes[place as usize - 1]
    }

    /// The answer, the transitions behind it; and what holds for every transition.
    fn with_transitions(&mut self, mut answer: String, transitions: &[Transition]) -> String {
        for transition in transitions {
            assert_eq!(transition.base_epoch, self.epoch);
            assert_eq!(transition.epoch().is_none(), transition.shadow);
            if let Some(epoch) = transition.epoch() {
                assert_eq!(epoch, self.epoch + 1, "a transition adds one to the epoch");
                if self.identity.numbering == Numbering::Own {
                    self.epoch = epoch;
                } else {
                    self.proposed.push(transition.after.clone());
                    let number = self.proposed.len() as u64;
                    self.breaker.proposed_as(ProposalId { boot: 1, number });
                }
            }
            let shadow = if transition.shadow { "would be " } else { "" };
            write!(answer, " [{} -> {shadow}{}, {}", transition.from, transition.to(), transition.reason)
                .unwrap();
            if transition.at != self.wall_now() {
                write!(answer, ", at {}", clock(transition.at)).unwrap();
            }
            answer.push(']');
        }
        // What waits for the store is not shown before it is answered.
        let is_shown = |transition: &&Transition| transition.after.state == self.breaker.state();
        let last = transitions.iter().rfind(|transition| !transition.shadow);
        if let Some(last) = last.filter(is_shown) {
            let present = Snapshot { epoch: last.after.epoch, ..self.breaker.snapshot() };
            assert_eq!(last.after, present, "a transition carries the state that it led to");
        }
        if self.identity.numbering == Numbering::Store {
            self.epoch = self.breaker.epoch();
        }
        assert_eq!(self.breaker.epoch(), self.epoch);
        answer
    }
}
