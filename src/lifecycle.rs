//! Tasks that live as long as the process: the timer, the wall clock, the sweeper, the health check of the store, the file.

mod file;
mod health;
mod position;
mod tail;
mod wall_clock;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use breaker::{Key, Time};
use breakerd_common::clock::Clock;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

pub use self::file::run_file;
pub use self::health::{run_data_folder_lock, run_health, run_store_check};
pub use self::position::PositionFile;
pub use self::tail::run_tail;
pub use self::wall_clock::run_wall_clock;
use crate::control::Control;
use crate::engine::{Engine, IdleWalk};
use crate::journal::Journal;
use crate::pacer;
pub use crate::store::SeenPosition;
use crate::store::{Pruned, Retention, StoreError, TransitionStore, UNUSED_ROWS_KEPT};

/// The interval of clearing service-wide overrides that have expired.
const OVERRIDES_EVERY: Duration = Duration::from_secs(10);
/// How long a replica leaves an override of a service to the one that set it, at the least: that one's changes come in
/// milliseconds, and breakers that are used nowhere but here wait for it.
const WALK_PAUSE: Duration = Duration::from_millis(50);
/// And how much longer at the most.
const WALK_SPREAD: Duration = Duration::from_millis(100);
/// Idle breakers are swept so many times within the time after which they may be evicted.
const SWEEPS_PER_TTL: u32 = 10;
/// But no more often than this.
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);
/// How long after the start history is first pruned: a start has better things to do.
const RETENTION_FIRST_AFTER: Duration = Duration::from_mins(1);
const RETENTION_EVERY: Duration = Duration::from_hours(1);
/// Rows of breakers that are read, and deleted, at one time: no writer waits for longer than these take.
const BREAKERS_PAGE: u32 = 10_000;
/// History is kept by the month, and so for up to so much longer than asked.
const PARTITION: Duration = Duration::from_hours(24 * 32);
/// How long a request id makes a change safe to send again, as the API says.
const REQUESTS_KEPT: Duration = Duration::from_hours(24);

/// Changes breakers whose wait or override is over, without a call: at the pace of the journal, which some thousands
/// may be due at one moment for.
///
/// # Errors
/// None. (So of every task here without another note: it runs until `stop`.)
pub async fn run_timer(
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<()> {
    loop {
        let deadline = engine.next_deadline().unwrap_or(Time::MAX);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = engine.earlier_deadline() => {}
            () = clock.sleep_until(deadline) => {
                let time = Arc::clone(&clock);
                let tick = move |engine: &mut Arc<Engine>, most| engine.tick_some(most, time.now());
                let ticked = pacer::run(&journal, &clock, Arc::clone(&engine), tick);
                match stop.run_until_cancelled(ticked).await {
                    Some(ticked) => drop(ticked.context("change breakers that are due")?),
                    None => return Ok(()),
                }
            }
        }
    }
}

/// Closes idle half-open breakers, and retires idle closed ones. What it closes it retires at the next sweep, once
/// the store has it.
///
/// # Errors
/// When a sweep panicked.
pub async fn run_sweeper(
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    idle_ttl: Duration,
    stop: CancellationToken,
) -> Result<()> {
    let every = (idle_ttl / SWEEPS_PER_TTL).max(SWEEP_EVERY_MIN);
    loop {
        let last = clock.now();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            error = close_idle(&engine, &journal, &clock) => return Err(error).context("close idle breakers"),
            () = clock.sleep_until(last + every) => {}
            () = async {
                // However often space is needed: each sweep reads every breaker.
                clock.sleep_until(last + SWEEP_EVERY_MIN).await;
                engine.sweep_wanted().await;
            } => {}
        }
        let (sweeping, now) = (Arc::clone(&engine), clock.now());
        let stored_up_to = journal.stored_up_to();
        // Off the threads that decide: with a million breakers it takes a tenth of a second.
        let swept = tokio::task::spawn_blocking(move || sweeping.sweep(stored_up_to, now)).await;
        let retired = swept.context("retire idle breakers")?;
        if retired > 0 {
            tracing::debug!(retired, left = engine.len(), "evicted idle breakers");
        }
    }
}

/// Closes idle half-open breakers, one after the other, and then waits for ever. It waits for the journal too:
/// during a store outage it may not finish, and is dropped for the next sweep, which needs no journal.
async fn close_idle(engine: &Arc<Engine>, journal: &Journal, clock: &Arc<dyn Clock>) -> JoinError {
    let (time, walk) = (Arc::clone(clock), Engine::idle_walk());
    let step =
        move |(engine, walk): &mut (Arc<Engine>, IdleWalk), most| engine.close_idle(walk, most, time.now());
    match pacer::run(journal, clock, (Arc::clone(engine), walk), step).await {
        Ok(_) => std::future::pending().await,
        Err(error) => error,
    }
}

/// Makes good what a crash left between the overrides of services and their breakers, or what came from elsewhere;
/// and takes those that have ended out of the store. (The breakers leave them by themselves.)
pub async fn run_overrides(
    engine: Arc<Engine>,
    control: Arc<Control>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<()> {
    if stop.run_until_cancelled(control.reconcile_overrides()).await.is_none() {
        return Ok(());
    }
    loop {
        let now = clock.now();
        for (service, ended) in engine.ended_service_overrides(now) {
            let forget = control.forget_override(&service, ended);
            match stop.run_until_cancelled(forget).await {
                None => return Ok(()),
                Some(Ok(())) => {}
                // It is tried again.
                Some(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(
                        error,
                        service = &*service,
                        "an override that has ended is still in the store"
                    );
                    break;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep_until(now + OVERRIDES_EVERY) => {
                // Another replica may have opened a breaker while an override was on its way to it, which lost against that.
                if !engine.is_replicated() {
                    continue;
                }
            }
            () = control.reconcile_due() => {
                // Who changed the override brings it to its breakers. What is still outside after a moment others do not have.
                let pause = if engine.is_replicated() { walk_pause(clock.now()) } else { Duration::ZERO };
                if stop.run_until_cancelled(clock.sleep_until(clock.now() + pause)).await.is_none() {
                    return Ok(());
                }
            }
        }
        if stop.run_until_cancelled(control.reconcile_overrides()).await.is_none() {
            return Ok(());
        }
    }
}

/// How long a replica leaves an override to the one that set it: another time in each, so that not all bring it at once.
fn walk_pause(now: Time) -> Duration {
    let spread = u64::try_from(WALK_SPREAD.as_micros()).unwrap_or(u64::MAX);
    WALK_PAUSE + Duration::from_micros(now.as_micros() % spread)
}

/// Reloads the stored configuration, each time that the store did not confirm a write.
pub async fn run_configuration_reload(control: Arc<Control>, stop: CancellationToken) -> Result<()> {
    stop.run_until_cancelled(control.run_reload()).await;
    Ok(())
}

/// Prunes history beyond the retention, a minute after the start and then once an hour.
pub async fn run_retention(
    store: Arc<dyn TransitionStore>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    kept: Duration,
    stop: CancellationToken,
) -> Result<()> {
    let mut next = clock.now() + RETENTION_FIRST_AFTER;
    while stop.run_until_cancelled(clock.sleep_until(next)).await.is_some() {
        let Some(pruned) = stop.run_until_cancelled(prune(&*store, &engine, &*clock, kept)).await else {
            return Ok(());
        };
        match pruned {
            Ok((Pruned { transitions: 0, changes: 0 }, 0)) => {}
            Ok((Pruned { transitions, changes }, breakers)) => {
                tracing::info!(transitions, breakers, changes, "pruned history");
            }
            // It tries again in an hour; nothing is lost by it.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot prune history");
            }
        }
        next = clock.now() + RETENTION_EVERY;
    }
    Ok(())
}

/// Prunes until there is nothing to prune, a batch at a time. Answers how many breakers went, too.
async fn prune(
    store: &dyn TransitionStore,
    engine: &Engine,
    clock: &dyn Clock,
    kept: Duration,
) -> Result<(Pruned, u64), StoreError> {
    // The history has wall-clock times.
    let now = clock.wall();
    let retention = Retention { before: now - kept, requests_before: now - REQUESTS_KEPT };
    let mut all = Pruned::default();
    loop {
        let some = store.prune(retention).await?;
        if some == Pruned::default() {
            break;
        }
        all.transitions += some.transitions;
        all.changes += some.changes;
    }
    let mut before = retention.before;
    if engine.is_replicated() {
        // The store knows which of them other replicas use.
        before = before.min(now - UNUSED_ROWS_KEPT);
        engine.forget_retired(kept + PARTITION, UNUSED_ROWS_KEPT, clock.now());
    }
    let breakers = prune_breakers(store, engine, clock.now(), before).await?;
    Ok((all, breakers))
}

/// Deletes the rows of idle breakers without history, and forgets their epochs with them: the row
/// first, so that none is created again at an epoch that its row has passed. Answers how many.
async fn prune_breakers(
    store: &dyn TransitionStore,
    engine: &Engine,
    now: Time,
    before: Time,
) -> Result<u64, StoreError> {
    let (mut after, mut deleted) = (None, 0);
    loop {
        let page = store.breakers_without_history(before, after.as_ref(), BREAKERS_PAGE).await?;
        let is_last = page.len() < BREAKERS_PAGE as usize;
        after = page.last().map(|(key, _)| key.clone());
        let old: Vec<_> = page.into_iter().filter(|(key, _)| engine.may_forget(key, now)).collect();
        let gone = if old.is_empty() { Vec::new() } else { store.delete_breakers(&old).await? };
        deleted += gone.len() as u64;
        let gone: HashSet<Key> = gone.into_iter().collect();
        for (key, epoch) in old.iter().filter(|(key, _)| gone.contains(key)) {
            engine.forget(key, *epoch);
        }
        if is_last {
            return Ok(deleted);
        }
    }
}

#[cfg(test)]
mod tests {
    use breaker::{Numbering, Reason, Snapshot, State, Stats, Transition};
    use breakerd_common::clock::ManualClock;

    use super::*;
    use crate::engine::{Limits, Seals, StoreIdentity};
    use crate::store::{Change, MemoryStore, Proposal, SharedStore as _, TransitionId};

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn engine(numbering: Numbering) -> Engine {
        let limits = Limits {
            breakers_max: 10,
            breakers_per_service_max: 10,
            breakers_per_caller_max: 10,
            own_series_max: 0,
            idle_ttl: Duration::from_hours(1),
        };
        let identity = StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering };
        Engine::new(limits, identity, &Arc::default(), Box::new(NoSink), NOW)
    }

    struct NoSink;

    impl crate::engine::TransitionSink for NoSink {
        fn append(&self, _: crate::engine::Event<'_>) -> crate::engine::Appended {
            crate::engine::Appended::default()
        }
    }

    /// A breaker that was reset long ago, and of which there is no history any more.
    async fn store_of_an_old_breaker(clock: &ManualClock) -> MemoryStore {
        let store = MemoryStore::new(Arc::new(clock.clone()), 7);
        let reset = Transition {
            from: State::Closed,
            reason: Reason::Reset,
            stats: Stats::default(),
            base_epoch: 0,
            at: NOW,
            lasted: None,
            rejected_calls: 0,
            outcome: None,
            attribution: None,
            after: Snapshot { epoch: 1, entered_at: NOW, ..Snapshot::pristine() },
            shadow: false,
        };
        let proposal = Proposal {
            id: TransitionId { replica: "r".into(), boot: 1, seq: 1 },
            key: Key::new("db", "a").unwrap(),
            change: Change::Transition(Box::new(reset)),
            numbering: Numbering::Own,
            store_unavailable: false,
            decided_at: NOW,
            service_override: None,
            age: Duration::ZERO,
            decided_in: crate::store::DecidedIn::default(),
        };
        store.propose(&[proposal]).await.unwrap();
        clock.advance(Duration::from_hours(24 * 100));
        store
    }

    #[tokio::test]
    async fn rows_of_breakers_go_with_their_history_unless_a_replica_uses_them() {
        for (numbering, is_used, gone) in
            [(Numbering::Own, false, 1), (Numbering::Store, false, 1), (Numbering::Store, true, 0)]
        {
            let clock = ManualClock::new(NOW);
            let store = store_of_an_old_breaker(&clock).await;
            if is_used {
                store.use_rows(&[(Key::new("db", "a").unwrap(), 1)]).await.unwrap();
                clock.advance(UNUSED_ROWS_KEPT.saturating_sub(Duration::from_secs(1)));
            }
            let kept = Duration::from_hours(24 * 30);
            let (pruned, breakers) = prune(&store, &engine(numbering), &clock, kept).await.unwrap();
            assert_eq!((pruned.transitions, breakers), (1, gone), "{numbering:?}");
        }
    }
}
