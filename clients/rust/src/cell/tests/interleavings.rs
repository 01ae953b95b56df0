//! Every interleaving of calls, batches, answers, losses and snapshots.

use std::time::Duration;

use breaker::{Attribution, State};
use proptest::prelude::*;

use super::super::{Result as CallResult, WhenUnreachable};
use super::world::world;
use crate::classify::Failure;

#[derive(Debug, Clone)]
enum Step {
    Begin(u8),
    End(usize, CallResult),
    Send,
    Settle(usize),
    Hear,
    Pass(u64),
    Connected(bool),
    Snapshot,
    OthersFail,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let result = prop_oneof![
        3 => Just(CallResult::Success),
        3 => Just(CallResult::Failure(Failure::default())),
        1 => Just(CallResult::Ignored),
    ];
    prop_oneof![
        6 => (1_u8..8).prop_map(Step::Begin),
        8 => (any::<usize>(), result).prop_map(|(which, result)| Step::End(which, result)),
        4 => Just(Step::Send),
        4 => (0_usize..10).prop_map(Step::Settle),
        3 => Just(Step::Hear),
        3 => (1_u64..100_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Connected),
        1 => Just(Step::Snapshot),
        1 => Just(Step::OthersFail),
        1 => Just(Step::Reset),
    ]
}

fn what() -> impl Strategy<Value = WhenUnreachable> {
    prop_oneof![
        3 => Just(WhenUnreachable::Local),
        1 => Just(WhenUnreachable::Allow),
        1 => Just(WhenUnreachable::LastKnown { at_most: Duration::from_secs(30) }),
        1 => Just(WhenUnreachable::Deny),
    ]
}

proptest! {
    #[test]
    fn every_outcome_comes_to_one_end_in_any_interleaving(what in what(), steps in prop::collection::vec(step(), 1..200)) {
        let mut world = world(what);
        for step in steps {
            match step {
                Step::Begin(times) => (0..times).for_each(|_| world.begin()),
                Step::End(which, result) => world.end(which, result),
                Step::Send => world.send(),
                Step::Settle(how) => world.settle(how),
                Step::Hear => world.hear(),
                Step::Pass(millis) => world.clock.advance(Duration::from_millis(millis)),
                Step::Connected(connected) => world.connected = connected,
                Step::Snapshot if world.connected => world.snapshot(),
                Step::Snapshot => {}
                Step::OthersFail => world.others_trip(),
                Step::Reset => {
                    let now = world.now();
                    let by = Attribution { actor: "tester".into(), reason: String::new() };
                    let _ = world.breakerd.reset(by, now);
                }
            }
            world.check();
        }
        // With breakerd there for good, this process comes to its state.
        world.connected = true;
        let millis = Duration::from_millis;
        for _ in 0..5 {
            world.send();
            world.settle(1);
            world.clock.advance(millis(6_000));
            world.snapshot();
        }
        world.around.link.report_answered(None);
        world.around.link.request_answered();
        let stats = world.cell.stats(&world.around.context());
        prop_assert_eq!(stats.reports.waiting, 0, "{:?}", stats);
        let breakerd = world.heard().state;
        if breakerd != State::Closed {
            prop_assert_eq!(stats.state, breakerd);
        }
    }
}
