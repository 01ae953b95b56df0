//! Many breakers whose wait ends at one moment: the timer keeps to the pace of the journal, and nobody waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Layer, Numbering, Outcome, Report, State, Value, Verdict};
use breakerd::catalog::Catalog;
use breakerd::catalog::Declaration;
use breakerd::engine::{Engine, Limits, Seals, StoreIdentity, Target};
use breakerd::journal::Journal;
use breakerd::journal::writer::Writer;
use breakerd::lifecycle::{run_sweeper, run_timer};
use breakerd_common::clock::{Clock, ManualClock};
use tokio_util::sync::CancellationToken;

use crate::grpc_world::START;
use crate::support::{Bed, journal};

/// Enough for some hundreds of records in half of it, and not for all.
const BYTES_MAX: u64 = 1 << 20;
const BREAKERS: usize = 4_000;
const WAIT: Duration = Duration::from_secs(30);
const IDLE_TTL: Duration = Duration::from_hours(1);

struct World {
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    clock: ManualClock,
    _folder: tempfile::TempDir,
}

impl World {
    /// With breakers that are open, and that the journal has forgotten.
    async fn with_open_breakers(bed: &Bed) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::new(START));
        let (journal, _) = journal(folder.path(), BYTES_MAX);
        let limits = Limits {
            breakers_max: BREAKERS + 10,
            breakers_per_service_max: BREAKERS + 10,
            breakers_per_caller_max: BREAKERS + 10,
            own_series_max: 1,
            idle_ttl: IDLE_TTL,
        };
        let standing =
            StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering: Numbering::Own };
        let defaults = Layer::default()
            .with(Field::FailureThreshold, Value::Count(1))
            .and_then(|layer| layer.with(Field::Timeout, Value::Duration(WAIT)))
            .unwrap();
        let declaration = Declaration { enabled: true, defaults, ..Declaration::default() };
        let catalog = Arc::new(Catalog::new(&declaration, 1, &BTreeMap::new()).unwrap());
        let engine = Arc::new(Engine::new(limits, standing, &catalog, Box::new(Arc::clone(&journal)), START));
        let (stop, writer) = write(&journal, bed);
        for index in 0..BREAKERS {
            let name = index.to_string();
            let target = Target { permit: None, service: "db", name: &name, epoch: None };
            engine.record(target, &Report::plain(Outcome::Failure), START).unwrap();
            if index % 256 == 0 {
                journal.emptied().await;
            }
        }
        journal.emptied().await;
        stop.cancel();
        writer.await.unwrap();
        Self { engine, journal, clock, _folder: folder }
    }

    fn time(&self) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
        let stop = CancellationToken::new();
        let (engine, journal) = (Arc::clone(&self.engine), Arc::clone(&self.journal));
        let timer = run_timer(engine, journal, Arc::new(self.clock.clone()), stop.clone());
        (stop, tokio::spawn(timer))
    }

    /// Breakers that are due and have not been changed.
    fn are_open(&self) -> usize {
        let mut open = 0;
        // At their own time, so that the look changes none.
        self.engine.for_each(START, |view| open += usize::from(view.state == State::Open));
        open
    }
}

fn write(journal: &Arc<Journal>, bed: &Bed) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    let writer = Writer::new(Arc::clone(journal), bed.store.clone());
    (stop.clone(), tokio::spawn(writer.run(stop)))
}

#[tokio::test]
async fn waits_that_end_together_wait_for_room_in_the_journal() {
    let bed = Bed::sqlite().await;
    let world = World::with_open_breakers(&bed).await;
    world.clock.advance(WAIT);
    let (stop, timer) = world.time();
    while world.journal.stats(START).depth_bytes <= BYTES_MAX / 2 {
        tokio::task::yield_now().await;
    }
    let open = world.are_open();
    assert!(open > BREAKERS / 4, "the journal cannot take them all, and {open} are left");
    // Whoever is called does not wait for the timer.
    for index in (0..BREAKERS).step_by(BREAKERS / 8) {
        let decided = world.engine.allow("db", &index.to_string(), world.clock.now()).unwrap().decision;
        assert_eq!(decided.verdict, Verdict::Probe, "{index}");
    }

    let (stop_writer, writer) = write(&world.journal, &bed);
    while world.are_open() > 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    timer.await.unwrap().unwrap();
    world.journal.emptied().await;
    assert_eq!(world.journal.stats(START).dropped, 0);
    stop_writer.cancel();
    writer.await.unwrap();
    bed.end().await;
}

#[tokio::test]
async fn a_read_of_many_leaves_most_of_what_is_due_to_the_timer() {
    let bed = Bed::sqlite().await;
    let world = World::with_open_breakers(&bed).await;
    world.clock.advance(WAIT);
    let appended = || world.journal.stats(START).appended;
    let before = appended();
    let (mut open, mut half_open) = (0, 0);
    world.engine.for_each(world.clock.now(), |view| match view.state {
        State::Open => open += 1,
        State::HalfOpen => half_open += 1,
        other => panic!("{other}"),
    });
    assert_eq!(open + half_open, BREAKERS);
    assert!((1..=64).contains(&half_open), "{half_open}");
    assert_eq!(appended() - before, half_open as u64);
    bed.end().await;
}

#[tokio::test]
async fn half_open_breakers_that_nobody_calls_are_closed_and_retired_and_hold_up_no_sweep() {
    let bed = Bed::sqlite().await;
    let world = World::with_open_breakers(&bed).await;
    world.clock.advance(WAIT);
    let (stop_timer, timer) = world.time();
    let (stop_writer, writer) = write(&world.journal, &bed);
    while world.are_open() > 0 {
        tokio::task::yield_now().await;
    }
    stop_timer.cancel();
    timer.await.unwrap().unwrap();
    world.journal.emptied().await;
    stop_writer.cancel();
    writer.await.unwrap();

    // The store takes nothing: the journal has no room for all that is idle.
    let stop = CancellationToken::new();
    let (engine, journal) = (Arc::clone(&world.engine), Arc::clone(&world.journal));
    let clock = Arc::new(world.clock.clone());
    let sweeper = tokio::spawn(run_sweeper(engine, journal, clock, IDLE_TTL, stop.clone()));
    let some_time = async || {
        world.clock.advance(IDLE_TTL / 10);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    while world.journal.stats(START).depth_bytes <= BYTES_MAX / 2 {
        some_time().await;
    }
    // What never changed its state is retired all the same.
    world.engine.allow("web", "quiet", world.clock.now()).unwrap();
    while world.engine.len() > BREAKERS {
        some_time().await;
    }

    let (stop_writer, writer) = write(&world.journal, &bed);
    while !world.engine.is_empty() {
        some_time().await;
    }
    world.journal.emptied().await;
    assert_eq!(world.journal.stats(START).dropped, 0);
    let closed =
        "SELECT CAST(count(*) AS TEXT) FROM history WHERE from_state = 'HALF_OPEN' AND reason = 'IDLE'";
    assert_eq!(bed.text(closed).await, Some(BREAKERS.to_string()));
    stop.cancel();
    sweeper.await.unwrap().unwrap();
    stop_writer.cancel();
    writer.await.unwrap();
    bed.end().await;
}
