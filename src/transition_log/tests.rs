use std::sync::Mutex as StdMutex;
use std::sync::atomic::AtomicUsize;

use breaker::{Outcome, ProposalId, Report, Time};
use breakerd_common::clock::ManualClock;

use super::*;
use crate::catalog::Catalog;
use crate::engine::{Engine, Limits, Seals, StoreIdentity, Target};

#[derive(Default)]
struct Counting(Arc<AtomicUsize>);

impl TransitionSink for Counting {
    fn append(&self, _: Event<'_>) -> Appended {
        (self.0.fetch_add(1, Relaxed) as u64 + 1).into()
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<StdMutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct World {
    engine: Engine,
    clock: ManualClock,
    passed_on: Arc<AtomicUsize>,
    lines: Lines,
    log: Arc<TransitionLog>,
    _logging: tracing::subscriber::DefaultGuard,
}

impl World {
    fn new() -> Self {
        Self::numbered_by(Numbering::Own)
    }

    fn numbered_by(numbering: Numbering) -> Self {
        let clock = ManualClock::new(Time::ZERO + Duration::from_secs(1_000));
        let inner = Counting::default();
        let passed_on = Arc::clone(&inner.0);
        let (sink, log) = logging(inner, Arc::new(clock.clone()));
        let limits = Limits {
            breakers_max: 10_000,
            breakers_per_service_max: 10_000,
            breakers_per_caller_max: 10_000,
            own_series_max: 10,
            idle_ttl: Duration::from_hours(1),
        };
        let identity = StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 1, issuer: 1, numbering };
        let engine =
            Engine::new(limits, identity, &Arc::new(Catalog::default()), Box::new(sink), clock.now());
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let logging = tracing::subscriber::set_default(subscriber);
        Self { engine, clock, passed_on, lines, log: Arc::new(log), _logging: logging }
    }

    fn trip(&self, name: &str) {
        for _ in 0..5 {
            let target = Target { permit: None, service: "db", name, epoch: None };
            self.engine.record(target, &Report::plain(Outcome::Failure), self.clock.now()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_trip_is_logged_with_its_breaker_reason_and_figures() {
    let (world, stop) = (World::new(), CancellationToken::new());
    world.trip("primary");
    assert_eq!(world.lines.text(), "", "nothing is written where the breaker is locked");
    stop.cancel();
    world.log.run(stop).await.unwrap();
    let text = world.lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    for logged in [
        "WARN",
        "circuit opened",
        "service=\"db\"",
        "name=\"primary\"",
        "from=CLOSED",
        "reason=CONSECUTIVE_FAILURES",
        "failures=5",
        "consecutive_failures=5",
        "wait_seconds=60",
    ] {
        assert!(text.contains(logged), "no {logged}: {text}");
    }
}

/// With several replicas, one of them logs a transition: the one that the store says stands.
#[tokio::test]
async fn what_the_store_numbers_is_logged_and_counted_once_it_stands() {
    let (world, stop) = (World::numbered_by(Numbering::Store), CancellationToken::new());
    world.trip("lost");
    world.trip("won");
    assert_eq!(world.passed_on.load(Relaxed), 2, "the journal has both");
    let counted = |name: &str| {
        let view = world.engine.view("db", name, world.clock.now()).unwrap();
        view.counters.opened.map_or(0, |opened| opened.transitions.values().sum::<u64>())
    };
    assert_eq!((counted("won"), counted("lost")), (0, 0));
    let view = world.engine.view("db", "won", world.clock.now()).unwrap();
    let transition = Transition {
        from: State::Closed,
        reason: Reason::ConsecutiveFailures,
        stats: Stats::default(),
        base_epoch: 6,
        at: world.clock.now(),
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after: view.view.snapshot,
        shadow: false,
    };
    let key = Key::new("db", "won").unwrap();
    world.engine.note_won(&Standing {
        key: &key,
        transition: &transition,
        epoch: 7,
        at: transition.at,
        replica: "one",
        id: ProposalId { boot: 1, number: 2 },
        store_unavailable: false,
    });
    assert_eq!((counted("won"), counted("lost")), (1, 0));
    stop.cancel();
    world.log.run(stop).await.unwrap();
    let text = world.lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("name=\"won\"") && text.contains("epoch=7"), "{text}");
}

/// It is in force here, and on no other replica: the log has it at once.
#[tokio::test]
async fn what_is_decided_alone_is_logged_as_that_and_not_counted() {
    let (world, stop) = (World::numbered_by(Numbering::Store), CancellationToken::new());
    world.trip("db");
    world.engine.set_alone(true);
    world.clock.advance(Duration::from_mins(2));
    assert!(world.engine.allow("db", "db", world.clock.now()).unwrap().decision.branch > 0);
    let view = world.engine.view("db", "db", world.clock.now()).unwrap();
    assert!(view.is_alone && view.counters.opened.is_none_or(|opened| opened.transitions.is_empty()));
    stop.cancel();
    world.log.run(stop).await.unwrap();
    let text = world.lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    for logged in ["WARN", "on this replica only", "from=OPEN", "to=HALF_OPEN", "reason=WAIT_ELAPSED"] {
        assert!(text.contains(logged), "no {logged}: {text}");
    }
}

#[tokio::test]
async fn a_flood_is_bounded_and_summed_up_by_reason() {
    let (world, stop) = (World::new(), CancellationToken::new());
    for breaker in 0..1_000 {
        world.trip(&format!("b{breaker}"));
    }
    assert_eq!(world.passed_on.load(Relaxed), 1_000, "the journal has every one");
    stop.cancel();
    world.log.run(stop).await.unwrap();
    let text = world.lines.text();
    assert_eq!(text.matches("circuit opened").count(), LINES_PER_SECOND_MAX);
    let rest = 1_000 - LINES_PER_SECOND_MAX;
    let sum =
        format!("too many state transitions to log each reason=CONSECUTIVE_FAILURES transitions={rest}");
    assert!(text.contains(&sum), "{text}");
    assert_eq!(text.lines().count(), LINES_PER_SECOND_MAX + 1);
}

#[tokio::test]
async fn lines_are_written_at_once_and_the_next_second_has_lines_of_its_own() {
    let (world, stop) = (World::new(), CancellationToken::new());
    let log = Arc::clone(&world.log);
    let running = log.run(stop.clone());
    let story = async {
        let lines = |count: usize| {
            let lines = world.lines.clone();
            async move {
                while lines.text().lines().count() < count {
                    tokio::task::yield_now().await;
                }
            }
        };
        world.trip("first");
        lines(1).await;
        for breaker in 0..2 * LINES_PER_SECOND_MAX {
            world.trip(&format!("b{breaker}"));
        }
        // The second is full, and so is the queue behind it.
        lines(LINES_PER_SECOND_MAX).await;
        world.clock.advance(SECOND);
        lines(LINES_PER_SECOND_MAX + 2).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(running, story);
    ended.unwrap();
    let text = world.lines.text();
    assert_eq!(text.matches("circuit opened").count() + summed_up(&text), 2 * LINES_PER_SECOND_MAX + 1);
}

fn summed_up(text: &str) -> usize {
    let counts =
        text.lines().filter_map(|line| line.split_once("transitions=")).map(|(_, count)| count.trim());
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}
