//! Those who call the dependency, and ask before.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Outcome, Report, State, Time};
use breakerd_common::clock::Clock as _;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::checker::{Checker, Decided, SERVICE};
use super::executor::{BEGINNING, Executor, Owner, SimulatedClock};
use super::link::Link;
use super::process::Process;
use super::turns;
use crate::engine::{Allowed, Creator, Engine, Permit, Target};
use crate::replica::{Calls, Replica, WaitingCall};

pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Breakers that one batch of calls names, at the most.
const BATCH_MAX: u64 = 3;
/// Between two attempts to report an outcome.
const BETWEEN_REPORTS: Duration = Duration::from_millis(20);
/// How often an outcome is sent where none may be lost.
const REPORTED_MAX: usize = 1_000;

/// Somebody who calls the dependency, and asks before.
pub(super) struct Caller {
    pub(super) executor: Executor,
    pub(super) replicas: Vec<Arc<Process>>,
    pub(super) checker: Arc<Checker>,
    pub(super) healthy: Arc<Mutex<bool>>,
    pub(super) loses_probes: bool,
    /// Breakers are used one after the other.
    pub(super) takes_turns: bool,
    pub(super) calls_until: Arc<Mutex<Time>>,
}

impl Caller {
    pub(super) fn goes_on(&self) -> bool {
        self.executor.now() < *self.calls_until.lock()
    }

    /// A replica that serves, if this one does: its index, engine, network and clock.
    pub(super) fn serving(&self, drawn: u64) -> Option<(usize, Arc<Engine>, Arc<Link>, SimulatedClock)> {
        let index = usize::try_from(drawn).ok()? % self.replicas.len();
        let process = &self.replicas[index];
        let serving = process.life.lock().serving.clone()?;
        Some((index, serving.engine, serving.link, process.clock.clone()))
    }

    pub(super) async fn run(self) {
        while self.goes_on() {
            let pause = self.executor.draw(|random| random.micros(200_000));
            self.executor.sleep(pause).await;
            let (first, count) =
                self.executor.draw(|random| (random.below(NAMES.len() as u64), 1 + random.below(BATCH_MAX)));
            let (first, count) = if self.takes_turns && self.executor.now() < BEGINNING + turns::LASTS {
                let now_s = self.executor.now().as_micros() / 1_000_000;
                let drawn = self.executor.draw(|random| random.below(1_000));
                (turns::used_at(now_s, drawn, NAMES.len() as u64), 1)
            } else {
                (first, count)
            };
            let names: Vec<_> = NAMES
                .into_iter()
                .cycle()
                .skip(usize::try_from(first).unwrap_or(0))
                .take(usize::try_from(count).unwrap_or(1))
                .collect();
            for (name, allowed) in self.ask(names).await.into_iter().flatten() {
                self.use_permit(name, &allowed).await;
            }
        }
    }

    /// Calls the dependency, if that is allowed, and says how it went.
    async fn use_permit(&self, name: &'static str, allowed: &Allowed) {
        let Allowed { decision, permit: Some(permit), .. } = allowed else { return };
        let outcome = if *self.healthy.lock() { Outcome::Success } else { Outcome::Failure };
        let took = self.executor.draw(|random| {
            let most = if random.one_in(20) { 4_000_000 } else { 50_000 };
            random.micros(most)
        });
        self.executor.sleep(took).await;
        // Some callers die with their permits.
        if self.loses_probes && self.executor.draw(|random| random.one_in(20)) {
            return;
        }
        self.report(name, *permit, outcome).await;
        if decision.pass.and_then(|pass| pass.probe).is_some() {
            self.checker.log(|| format!("a probe of {name} {outcome}"));
        }
    }

    /// Runs a call in a replica that serves; none: its process died over it, none serves, or it took too long.
    pub(super) async fn call<T, F>(&self, call: impl FnOnce(Replica, Shown, Time) -> F) -> Option<(usize, T)>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let call = |replica, shown, now, sender: oneshot::Sender<T>| {
            let called = call(replica, shown, now);
            async move {
                let _ = sender.send(called.await);
            }
        };
        self.call_sending(call).await
    }

    /// As [`Self::call`]; the call sends its answer itself.
    async fn call_sending<T, F>(
        &self,
        call: impl FnOnce(Replica, Shown, Time, oneshot::Sender<T>) -> F,
    ) -> Option<(usize, T)>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let serving = || self.replicas.iter().filter(|process| process.life.lock().serving.is_some());
        let count = serving().count() as u64;
        let chosen = (count > 0).then(|| self.executor.draw(|random| random.below(count)))?;
        let process = serving().nth(usize::try_from(chosen).unwrap_or(0))?;
        let serving = process.life.lock().serving.clone()?;
        let (sender, answer) = oneshot::channel();
        let now = process.clock.now();
        let shown = Shown {
            replica: process.index,
            engine: Arc::clone(&serving.engine),
            clock: process.clock.clone(),
            checker: Arc::clone(&self.checker),
        };
        let called = serving.calls.track_future(call(serving.replica, shown, now, sender));
        self.executor.spawn(Owner::Replica(process.index), called);
        // A caller has a deadline.
        tokio::select! {
            biased;
            answer = answer => Some((process.index, answer.ok()?)),
            () = self.executor.sleep(Duration::from_secs(2)) => None,
        }
    }

    /// Asks about breakers in one batch.
    async fn ask(&self, names: Vec<&'static str>) -> Option<Vec<(&'static str, Allowed)>> {
        let call = move |replica: Replica, shown: Shown, now, mut sender: oneshot::Sender<_>| async move {
            let mut calls = replica.calls(Creator::Server);
            let decided = tokio::select! {
                biased;
                // A server drops the calls of a caller that has gone.
                () = sender.closed() => return,
                decided = decide(&mut calls, &names, &shown, now) => decided,
            };
            if sender.send(decided).is_ok() {
                calls.told();
            }
        };
        let (index, decided) = self.call_sending(call).await?;
        for (name, allowed, decided) in &decided {
            self.checker.allowed(index, name, allowed, *decided);
        }
        Some(decided.into_iter().map(|(name, allowed, _)| (name, allowed)).collect())
    }

    async fn report(&self, name: &'static str, permit: Permit, outcome: Outcome) {
        let reported_at = self.executor.now();
        // Sent again, as a client does whose connection broke.
        for _ in 0..if self.loses_probes { 3 } else { REPORTED_MAX } {
            let call = move |replica: Replica, _: Shown, _, sender: oneshot::Sender<_>| async move {
                let wait_until = replica.outcomes_wait_until(None);
                let target = Target { permit: Some(permit), service: SERVICE, name, epoch: None };
                let report = Report::plain(outcome);
                let recorded = replica.record(Creator::Server, target, &report, wait_until).await;
                // None takes it any more where the process ends.
                let _ = recorded.map(|recorded| sender.send(recorded));
            };
            if let Some((index, recorded)) = self.call_sending(call).await {
                self.checker.recorded(index, name, &permit, &recorded, reported_at);
                return;
            }
            self.executor.sleep(BETWEEN_REPORTS).await;
        }
    }
}

/// Looks at calls until each is decided.
async fn decide(
    calls: &mut Calls<'_>,
    names: &[&'static str],
    shown: &Shown,
    mut now: Time,
) -> Vec<(&'static str, Allowed, Decided)> {
    let mut decided = Vec::with_capacity(names.len());
    let mut look: Vec<_> = (0..names.len()).map(WaitingCall::new).collect();
    while !look.is_empty() {
        for call in look {
            let name = names[call.number];
            if let Some(allowed) = calls.look(call, SERVICE, name, now).expect("it fits") {
                let timeline = shown.engine.breaker_timeline(SERVICE, name);
                shown.checker.shown(shown.replica, name, (timeline, allowed.decision.epoch));
                if allowed.decision.pass.is_some() {
                    shown.checker.passed(shown.replica, name);
                    if allowed.decision.state == State::Closed {
                        shown.checker.passed_closed(shown.replica, name, timeline);
                    }
                }
                if allowed.decision.branch != 0 && !shown.engine.is_alone() {
                    shown.checker.violated(format!("r{} decides {name} alone and is not", shown.replica));
                }
                let (at, by_clock) = (shown.checker.now(), shown.clock.now());
                decided.push((name, allowed, Decided { timeline, at, by_clock }));
            }
        }
        look = calls.answered().await;
        now = shown.clock.now();
    }
    decided
}

/// Where a replica's answers are noted in the order that it gives them.
pub(super) struct Shown {
    pub(super) replica: usize,
    engine: Arc<Engine>,
    clock: SimulatedClock,
    pub(super) checker: Arc<Checker>,
}
