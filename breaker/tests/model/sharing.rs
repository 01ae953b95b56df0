//! Several replicas that count together, beside one that is told every call.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Breaker, CallerId, CountsInterval, Field, Identity, Layer, Numbering, Origin, Outcome, PublishedCounts,
    ReadCounts, Report, Stats, Thresholds, Ticket, Time, Value, WallOffset, merge,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::config;

const START: Time = Time::from_micros(1_000_000_800_000_000);
const REPLICAS: usize = 3;

#[derive(Debug, Clone, Copy)]
struct Call {
    after_ms: u64,
    replica: usize,
    fails: bool,
    is_slow: bool,
    /// Who publishes after it, and who looks, as bits.
    publish: u8,
    look: u8,
    /// Live replicas, as far as who looks has heard.
    live: usize,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let after = prop_oneof![5 => 0_u64..300, 1 => 0_u64..4_000];
    let call = (after, 0..REPLICAS, any::<bool>(), proptest::bool::weighted(0.2), any::<u8>(), any::<u8>());
    let call = (call, prop_oneof![Just(3_usize), Just(30), Just(150)]);
    let call = call.prop_map(|((after_ms, replica, fails, is_slow, publish, look), live)| Call {
        after_ms,
        replica,
        fails,
        is_slow,
        publish,
        look,
        live,
    });
    vec(call, 1..60)
}

/// Nothing here opens.
fn settings(window: &'static str, size: u32) -> Arc<Thresholds> {
    let mut layer = Layer::default();
    for (field, value) in [
        (Field::FailureThreshold, Value::Count(1_000_000)),
        (Field::SlidingWindowType, Value::Word(window)),
        (Field::SlidingWindowSize, Value::Count(size)),
        (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_secs(1))),
    ] {
        layer.set(field, value).unwrap();
    }
    Arc::new(merge(&[(Origin::Api, &layer)]).unwrap().thresholds)
}

struct Fleet {
    replicas: Vec<Breaker>,
    lone: Breaker,
    published: Vec<Option<(Time, PublishedCounts)>>,
}

impl Fleet {
    fn new(thresholds: &Arc<Thresholds>) -> Self {
        let breaker = |numbering| {
            let identity = Identity {
                key_hash: 7,
                salt: 1,
                first_number: 0,
                numbering,
                stagger: Duration::ZERO,
                wall: WallOffset::ZERO,
            };
            Breaker::new(Arc::clone(thresholds), 0, identity, START)
        };
        Self {
            replicas: (0..REPLICAS).map(|_| breaker(Numbering::Store)).collect(),
            lone: breaker(Numbering::Own),
            published: vec![None; REPLICAS],
        }
    }

    fn call(&mut self, replica: usize, fails: bool, is_slow: bool, now: Time) {
        let outcome = if fails { Outcome::Failure } else { Outcome::Success };
        let duration = is_slow.then_some(Duration::from_secs(2));
        let report = Report { duration, caller: CallerId(replica as u64), ..Report::plain(outcome) };
        for breaker in [&mut self.replicas[replica], &mut self.lone] {
            breaker.record(Ticket::Bare { epoch: None }, &report, now);
        }
    }

    fn publish(&mut self, replica: usize, live: usize, now: Time) {
        if let Some(counts) = self.replicas[replica].published_counts(CountsInterval::of(live), now) {
            self.published[replica] = Some((now, counts));
        }
    }

    fn look(&mut self, replica: usize, live: usize, now: Time) {
        let interval = CountsInterval::of(live);
        let rows: Vec<_> = (0_u64..)
            .zip(&self.published)
            .filter(|(boot, _)| *boot != replica as u64)
            .filter_map(|(boot, published)| {
                let (at, counts) = published.clone()?;
                Some(ReadCounts { boot, age: now.since(at), counts })
            })
            .filter(|row| row.age <= interval.fresh())
            .collect();
        self.replicas[replica].take_counts(&rows, true, interval, now);
    }

    fn stats(&mut self, now: Time) -> (Vec<Stats>, Stats) {
        let stats = |breaker: &mut Breaker| {
            breaker.poll(now);
            breaker.view(now).stats
        };
        (self.replicas.iter_mut().map(stats).collect(), stats(&mut self.lone))
    }
}

fn window(stats: &Stats) -> (u32, u32, u32) {
    (stats.calls, stats.failures, stats.slow_calls)
}

proptest! {
    #![proptest_config(config())]

    /// No call is lost, and none is counted twice, however looks and calls follow each other, and by whatever intervals replicas go
    /// that have heard of others, or not.
    #[test]
    fn in_the_end_each_replica_has_counted_every_call_once(calls in calls(), of_time in any::<bool>()) {
        let (kind, size) = if of_time { ("TIME_BASED", 3_600) } else { ("COUNT_BASED", 10_000) };
        let mut fleet = Fleet::new(&settings(kind, size));
        let mut now = START;
        for call in &calls {
            now = now + Duration::from_millis(call.after_ms);
            fleet.call(call.replica, call.fails, call.is_slow, now);
            for replica in 0..REPLICAS {
                if call.publish & (1 << replica) != 0 {
                    fleet.publish(replica, call.live, now);
                }
                if call.look & (1 << replica) != 0 {
                    fleet.look(replica, call.live, now);
                }
            }
        }
        for replica in 0..REPLICAS {
            fleet.call(replica, true, false, now);
        }
        for replica in 0..REPLICAS {
            fleet.publish(replica, REPLICAS, now);
        }
        for replica in 0..REPLICAS {
            fleet.look(replica, REPLICAS, now);
        }
        let (replicas, lone) = fleet.stats(now);
        for stats in replicas {
            prop_assert_eq!(window(&stats), window(&lone));
        }
    }

    /// Once each replica knows the others, and looks after every call, each has the run that there is. (While a breaker is
    /// cold nobody is told of successes.)
    #[test]
    fn each_replica_that_looks_after_every_call_has_the_run_that_there_is(calls in calls()) {
        let mut fleet = Fleet::new(&settings("COUNT_BASED", 100));
        let mut now = START;
        let share = |fleet: &mut Fleet, now| {
            for replica in 0..REPLICAS {
                fleet.publish(replica, REPLICAS, now);
            }
            for replica in 0..REPLICAS {
                fleet.look(replica, REPLICAS, now);
            }
        };
        for fails in [true, false] {
            for replica in 0..REPLICAS {
                fleet.call(replica, fails, false, now);
            }
            share(&mut fleet, now);
        }
        let mut hot_until = now + Duration::from_secs(2);
        for call in &calls {
            now = now + Duration::from_millis(call.after_ms % 500);
            let fails = call.fails || call.is_slow;
            fleet.call(call.replica, call.fails, call.is_slow, now);
            share(&mut fleet, now);
            if fails {
                hot_until = now + Duration::from_secs(2);
            } else if now >= hot_until {
                break;
            }
            let (replicas, lone) = fleet.stats(now);
            for stats in replicas {
                prop_assert_eq!(stats.consecutive_failures, lone.consecutive_failures);
            }
        }
    }
}
