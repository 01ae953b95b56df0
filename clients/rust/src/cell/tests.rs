//! Breakers of a client against a breakerd that is the same state machine, in memory: every interleaving of calls, batches, answers,
//! losses and snapshots.

use std::time::Duration;

use breaker::{
    Breaker as Machine, Identity, Numbering, Outcome, Report, Ticket as MachineTicket, WallOffset,
};
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::link::Link;
use crate::outbox::Item;

/// A client with one breaker, and the breakerd that it follows.
struct World {
    clock: ManualClock,
    around: Around,
    cell: Arc<Cell>,
    breakerd: Machine,
    /// Whether the client hears it.
    connected: bool,
    out: Vec<(Ticket, u64)>,
    /// Batches that were sent and not answered.
    batch: Vec<Item>,
}

fn world(what: WhenUnreachable) -> World {
    let clock = ManualClock::default();
    let around = Around {
        clock: Clock::Manual(clock.clone()),
        link: Link::default(),
        outbox: Outbox::new(2_000),
        changes: Mutex::default(),
        changed: tokio::sync::Notify::new(),
        wake: crate::wake::Wake::default(),
        enabled: true.into(),
    };
    let thresholds = Arc::new(Thresholds::default());
    let cell =
        Arc::new(Cell::new(Key::new("a", "").unwrap(), what, Arc::clone(&thresholds), &around.context()));
    let identity =
        Identity { key_hash: 1, salt: 2, first_number: 0, numbering: Numbering::Own, wall: WallOffset::ZERO };
    let breakerd = Machine::new(thresholds, 0, identity, around.context().now);
    let mut world =
        World { clock, around, cell, breakerd, connected: true, out: Vec::new(), batch: Vec::new() };
    world.snapshot();
    world
}

impl World {
    fn now(&self) -> Time {
        self.around.clock.now()
    }

    /// What breakerd says of the breaker.
    fn heard(&mut self) -> Heard {
        let now = self.now();
        self.breakerd.poll(now);
        let remaining = self.breakerd.next_deadline().map(|end| end.since(now));
        let state = self.breakerd.state();
        Heard {
            state,
            epoch: Some(self.breakerd.epoch()),
            remaining: remaining.filter(|_| state == State::Open),
            open_count: self.breakerd.snapshot().open_count,
        }
    }

    fn snapshot(&mut self) {
        self.around.link.heard(self.now());
        self.around.link.synced();
        let heard = self.heard();
        let heard = if heard.state == State::Closed { Heard::CLOSED } else { heard };
        self.cell.hear(heard, Source::Snapshot { same_timeline: true }, &self.around.context());
    }

    /// Heartbeats, and states.
    fn hear(&mut self) {
        if self.connected {
            self.around.link.heard(self.now());
            let heard = self.heard();
            if heard.epoch != Some(0) {
                self.cell.hear(heard, Source::Stream, &self.around.context());
            }
        }
    }

    fn begin(&mut self) {
        let decision = self.cell.decide_fast(&self.around.clock);
        let decision = decision.unwrap_or_else(|| self.cell.decide(&self.around.context()));
        match decision {
            Decision::Allowed(ticket) => self.out.push((ticket, 0)),
            Decision::Rejected(_) => {}
            Decision::Request => self.request(),
        }
    }

    fn request(&mut self) {
        let now = self.now();
        self.around.link.requested(now);
        if !self.connected {
            self.cell.answered(None, &self.around.context());
            return;
        }
        let (decision, _) = self.breakerd.allow(now);
        let heard = self.heard();
        self.around.link.request_answered();
        let number = decision.pass.map_or(0, |pass| pass.number);
        let answer = Answered {
            heard,
            allowed: decision.pass.is_some(),
            permit: RemotePermit {
                permit: Bytes::copy_from_slice(&number.to_be_bytes()),
                expires: decision.pass.and_then(|pass| pass.probe).map(|_| now + self.breakerd.probe_lease()),
            },
            retry_after: decision.retry_after,
        };
        self.cell.answered(Some(answer), &self.around.context());
    }

    fn end(&mut self, which: usize, result: Result) {
        if self.out.is_empty() {
            return;
        }
        let (ticket, _) = self.out.swap_remove(which % self.out.len());
        if let (Ticket::Counted { era }, Result::Success) = (&ticket, &result)
            && self.cell.report_fast(*era, Duration::from_millis(1))
        {
            return;
        }
        self.cell.report(ticket, result, Duration::from_millis(1), &self.around.context());
    }

    fn send(&mut self) {
        self.cell.refresh(&self.around.context());
        if self.batch.is_empty() {
            let now = self.now();
            let items = self.around.outbox.take();
            self.batch = items.into_iter().filter(|item| !item.cell.retire_if_old(item, now)).collect();
        }
    }

    /// The batch that is away comes to an end: answered, refused, or its answer is lost.
    fn settle(&mut self, how: usize) {
        let now = self.now();
        let batch = std::mem::take(&mut self.batch);
        if !self.connected {
            batch.iter().for_each(|item| item.cell.unknown(item.outgoing.count));
            return;
        }
        if how == 0 {
            let context = self.around.context();
            batch
                .iter()
                .for_each(|item| item.cell.refused(item.outgoing.outcome, item.outgoing.count, &context));
            return;
        }
        let oldest = self.around.outbox.oldest_failure();
        self.around.link.failures_answered(oldest);
        for item in batch {
            let outgoing = &item.outgoing;
            let report = Report::plain(outgoing.outcome);
            let counts = if outgoing.permit.is_empty() {
                let (run, _) = self.breakerd.record_run(outgoing.epoch, &report, outgoing.count, now);
                vec![
                    (Recorded::Recorded, run.recorded),
                    (Recorded::Late, run.late),
                    (Recorded::NotCounted, run.not_counted),
                ]
            } else {
                // Its number is not what the machine would take for a probe: it is late, or not counted.
                let (recorded, _) = self.breakerd.record(MachineTicket::Bare { epoch: None }, &report, now);
                vec![(recorded, outgoing.count)]
            };
            let heard = self.heard();
            item.cell.acknowledged(&counts, Some(heard), &self.around.context());
        }
    }

    fn check(&mut self) {
        let stats = self.cell.stats(&self.around.context());
        let Reports { reported, recorded, late, not_counted, refused, dropped, unknown, alone, waiting } =
            stats.reports;
        let sum = recorded + late + not_counted + refused + dropped + unknown + alone + waiting;
        assert_eq!(reported, sum, "{stats:?}");
        let batch: u64 = self.batch.iter().map(|item| u64::from(item.outgoing.count)).sum();
        assert!(waiting >= batch, "{stats:?}");
    }
}

use breaker::Recorded;

#[derive(Debug, Clone)]
enum Step {
    Begin(u8),
    End(usize, Result),
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
        3 => Just(Result::Success),
        3 => Just(Result::Failure(Failure::default())),
        1 => Just(Result::Ignored),
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
                Step::OthersFail => {
                    for _ in 0..5 {
                        let now = world.now();
                        world.breakerd.record(MachineTicket::Bare { epoch: None }, &Report::plain(Outcome::Failure), now);
                    }
                }
                Step::Reset => {
                    let now = world.now();
                    let by = breaker::Attribution { actor: "tester".into(), reason: String::new() };
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
        world.around.link.failures_answered(None);
        world.around.link.request_answered();
        let stats = world.cell.stats(&world.around.context());
        prop_assert_eq!(stats.reports.waiting, 0, "{:?}", stats);
        let breakerd = world.heard().state;
        if breakerd != State::Closed {
            prop_assert_eq!(stats.state, breakerd);
        }
    }
}
