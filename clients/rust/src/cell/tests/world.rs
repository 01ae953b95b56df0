//! A client with one breaker, and the breakerd that it follows: the same state machine, in memory.

use std::collections::HashMap;
use std::time::Duration;

use breaker::{
    Attribution, Breaker as Machine, Identity, Numbering, Outcome, Pass, Recorded, Report,
    Ticket as MachineTicket, WallOffset,
};

use bytes::Bytes;

use super::super::*;
use crate::changes::StateChanges;
use crate::classify::Failure;
use crate::clock::{Clock, ManualClock};
use crate::link::Link;
use crate::outbox::{Item, Outbox};
use crate::stats::Reports;

/// A client with one breaker, and the breakerd that it follows.
pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) around: Around,
    pub(super) cell: Arc<Cell>,
    pub(super) breakerd: Machine,
    /// Whether the client hears it.
    pub(super) connected: bool,
    /// Calls that are under way.
    pub(super) calls: Vec<Ticket>,
    /// A batch that was sent and not answered.
    pub(super) batch: Vec<Item<Cell>>,
    /// The permits that breakerd gave, by their numbers.
    passes: HashMap<u64, Pass>,
}

/// A client that follows a breakerd, with the default thresholds: 5 failures open for a minute, 2 probes close.
pub(super) fn world(what: WhenUnreachable) -> World {
    let clock = ManualClock::default();
    let around = Around {
        clock: Clock::Manual(clock.clone()),
        link: Link::default(),
        outbox: Outbox::new(2_000),
        changes: StateChanges::default(),
        wake: crate::wake::Wake::default(),
        enabled: true.into(),
    };
    let thresholds = Arc::new(Thresholds::default());
    let cell =
        Arc::new(Cell::new(Key::new("a", "").unwrap(), what, Arc::clone(&thresholds), &around.context()));
    let breakerd = machine(thresholds, around.context().now);
    let mut world = World {
        clock,
        around,
        cell,
        breakerd,
        connected: true,
        calls: Vec::new(),
        batch: Vec::new(),
        passes: HashMap::new(),
    };
    world.snapshot();
    world
}

/// A breaker of breakerd that never changed its state.
fn machine(thresholds: Arc<Thresholds>, now: Time) -> Machine {
    let identity = Identity {
        key_hash: 1,
        salt: 2,
        first_number: 0,
        numbering: Numbering::Own,
        stagger: Duration::ZERO,
        wall: WallOffset::ZERO,
    };
    Machine::new(thresholds, 0, identity, now)
}

impl World {
    /// breakerd knows nothing of the breaker any more, or never did: its epochs begin at 0.
    pub(super) fn breakerd_begins_anew(&mut self) {
        self.breakerd = machine(Arc::new(Thresholds::default()), self.now());
    }

    pub(super) fn now(&self) -> Time {
        self.around.clock.now()
    }

    /// What breakerd says of the breaker.
    pub(super) fn heard(&mut self) -> Heard {
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

    pub(super) fn snapshot(&mut self) {
        self.around.link.heard(self.now());
        self.around.link.synced();
        let heard = self.heard();
        let heard = if heard.state == State::Closed { Heard::CLOSED } else { heard };
        self.cell.hear(heard, Source::Snapshot { same_timeline: true }, &self.around.context());
    }

    /// Heartbeats, and states.
    pub(super) fn hear(&mut self) {
        if self.connected {
            self.around.link.heard(self.now());
            let heard = self.heard();
            if heard.epoch != Some(0) {
                self.cell.hear(heard, Source::Stream, &self.around.context());
            }
        }
    }

    pub(super) fn begin(&mut self) {
        let decision = self.cell.decide_fast(&self.around.clock);
        let decision = decision.unwrap_or_else(|| self.cell.decide(&self.around.context()));
        match decision {
            Decision::Allowed(ticket) => self.calls.push(ticket),
            Decision::Rejected(_) => {}
            Decision::Request => self.request(),
        }
    }

    pub(super) fn request(&mut self) {
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
        self.passes.extend(decision.pass.map(|pass| (number, pass)));
        let answer = Answered {
            heard,
            allowed: decision.pass.is_some(),
            permit: RemotePermit {
                permit: Bytes::copy_from_slice(&number.to_be_bytes()),
                expires: decision.lease.map(|lease| now + lease),
            },
            retry_after: decision.retry_after,
        };
        self.cell.answered(Some(answer), &self.around.context());
    }

    pub(super) fn end(&mut self, which: usize, result: Result) {
        if self.calls.is_empty() {
            return;
        }
        let ticket = self.calls.remove(which % self.calls.len());
        if let (Ticket::Counted { era }, Result::Success) = (&ticket, &result)
            && self.cell.report_fast(*era, Duration::from_millis(1))
        {
            return;
        }
        self.cell.report(ticket, result, Duration::from_millis(1), &self.around.context());
    }

    pub(super) fn send(&mut self) {
        self.cell.refresh(&self.around.context());
        if self.batch.is_empty() {
            let now = self.now();
            let items = self.around.outbox.take();
            self.batch = items.into_iter().filter(|item| !item.cell.retire_if_old(item, now)).collect();
        }
    }

    /// The batch that is away comes to an end: answered, refused, or its answer is lost.
    pub(super) fn settle(&mut self, how: usize) {
        let now = self.now();
        let batch = std::mem::take(&mut self.batch);
        if !self.connected {
            for item in &batch {
                item.cell.unknown(item.outgoing.count);
            }
            return;
        }
        if how == 0 {
            let context = self.around.context();
            for item in &batch {
                item.cell.refused(item.outgoing.outcome, item.outgoing.count, &context);
            }
            return;
        }
        let oldest = self.around.outbox.oldest_failure();
        self.around.link.report_answered(oldest);
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
                let number = u64::from_be_bytes(outgoing.permit[..].try_into().unwrap());
                let (recorded, _) =
                    self.breakerd.record(MachineTicket::Own(self.passes[&number]), &report, now);
                vec![(recorded, outgoing.count)]
            };
            let heard = self.heard();
            item.cell.acknowledged(outgoing.epoch, &counts, Some(heard), &self.around.context());
        }
    }

    pub(super) fn check(&mut self) {
        let stats = self.cell.stats(&self.around.context());
        let Reports { reported, recorded, late, not_counted, refused, dropped, unknown, alone, waiting } =
            stats.reports;
        let sum = recorded + late + not_counted + refused + dropped + unknown + alone + waiting;
        assert_eq!(reported, sum, "{stats:?}");
        let batch: u64 = self.batch.iter().map(|item| u64::from(item.outgoing.count)).sum();
        assert!(waiting >= batch, "{stats:?}");
    }

    /// Calls one after the other, each of which ends at once.
    pub(super) fn call(&mut self, times: usize, result: &Result) {
        for _ in 0..times {
            let before = self.calls.len();
            self.begin();
            if self.calls.len() > before {
                self.end(before, result.clone());
            }
        }
    }

    /// What is reported is sent, and answered.
    pub(super) fn report(&mut self) {
        self.send();
        self.settle(1);
    }

    pub(super) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Time passes, with heartbeats.
    pub(super) fn live_on(&self, time: Duration) {
        self.clock.advance(time);
        self.around.link.heard(self.now());
    }

    /// The state that this process decides by.
    pub(super) fn state(&self) -> State {
        self.cell.state(&self.around.context())
    }

    /// Calls of other processes fail until it opens.
    pub(super) fn others_trip(&mut self) {
        let now = self.now();
        for _ in 0..5 {
            self.breakerd.record(MachineTicket::Bare { epoch: None }, &Report::plain(Outcome::Failure), now);
        }
    }

    pub(super) fn operator_resets(&mut self) {
        let by = Attribution { actor: "operator".into(), reason: String::new() };
        let now = self.now();
        assert!(self.breakerd.reset(by, now).0.is_ok());
    }

    pub(super) fn reports(&self) -> Reports {
        self.cell.stats(&self.around.context()).reports
    }
}

pub(super) const OK: Result = Result::Success;

pub(super) fn failed() -> Result {
    Result::Failure(Failure::default())
}
