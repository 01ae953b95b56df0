//! Calls at the same moment, and a disk that stands still.

use super::*;

#[test]
fn sixty_four_callers_at_open_until_get_exactly_two_probes() {
    let (engine, _) = engine();
    trip(&engine, "db", "", at(0));
    let allowed = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                if engine.allow("db", "", at(30)).unwrap().permit.is_some() {
                    allowed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(allowed.into_inner(), 2);
}

#[test]
fn a_disk_that_stands_still_under_one_breaker_holds_up_no_other_of_its_shard() {
    /// Waits with the first change until it is let go of.
    #[derive(Debug, Clone)]
    struct Stalled(Arc<std::sync::Barrier>);
    impl TransitionSink for Stalled {
        fn append(&self, _: Event<'_>) -> Appended {
            self.0.wait();
            self.0.wait();
            Appended::default()
        }
    }
    let stalled = Stalled(Arc::new(std::sync::Barrier::new(2)));
    let limits = Limits {
        breakers_max: 2_000,
        breakers_per_service_max: 2_000,
        breakers_per_caller_max: 2_000,
        ..LIMITS
    };
    let catalog = catalog(&declaration(), 1);
    let engine = Engine::new(limits, identity(1), &catalog, Box::new(stalled.clone()), at(0));
    std::thread::scope(|scope| {
        scope.spawn(|| trip(&engine, "db", "", at(0)));
        stalled.0.wait();
        // The trip is on its way to the disk. A thousand others, new ones in every shard, and a sweep all go on.
        for number in 0..1_000 {
            engine.allow("web", &number.to_string(), at(0)).unwrap();
        }
        assert_eq!(engine.len(), 1_001);
        stalled.0.wait();
    });
    assert_eq!(engine.view("db", "", at(0)).unwrap().state, State::Open);
}
