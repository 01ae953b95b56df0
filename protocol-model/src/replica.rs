//! A replica: what it holds in memory, and its journal, which survives a crash.

use crate::message::{Act, Answer, Ask, Epoch, Id, Request, Verdict};
use crate::rule::Rule;
use crate::setup::Setup;
use crate::store::{Seen, State};

/// A state that the replica is in already, while the store is still to confirm it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overlay {
    /// The epoch that it lies over.
    pub base: Epoch,
    /// The state.
    pub state: State,
    /// The proposal.
    pub id: Id,
}

/// A slot that the next call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// Of the claim.
    pub nonce: Id,
    /// Whether the replica believes in the lease longer than the store does. Only without a rule.
    pub outlives: bool,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// The row that it adopted.
    pub confirmed: Seen,
    /// On top of it.
    pub overlay: Option<Overlay>,
    /// What it asked and is not answered yet; a crash forgets it.
    pub asks: Vec<Request>,
    /// The same, on disk.
    pub journal: Vec<Request>,
    /// Trips that the store has, on disk: should it go back, they are sent again. Kept only where it can.
    pub kept: Vec<Request>,
    /// The timeline that it saw last.
    pub timeline: u8,
    /// Set when it has noticed that the store went back: the lineage that the store had then.
    pub noticed: Option<u8>,
    /// The lineages that it has left, a bit each. Nobody knows this but the checker.
    pub left_lineages: u8,
    /// Slots for the next calls.
    pub stock: Vec<Grant>,
    /// Whether it gets no more calls.
    pub drained: bool,
}

impl Replica {
    /// A replica that has read this row, and has this journal.
    pub fn start(row: Seen, journal: Vec<Request>, drained: bool) -> Self {
        let forced = journal.iter().find(|entry| is_forced_open(entry));
        let trip = || {
            let open = |entry: &&Request| {
                let current = (entry.lineage, entry.epoch) == (row.lineage, row.epoch);
                entry.ask == Ask::Trip && current && row.state == State::Closed
            };
            journal.iter().find(open)
        };
        let overlay = match (forced, trip()) {
            (Some(act), _) => Some(Overlay { base: act.epoch, state: State::ForcedOpen, id: act.id }),
            (None, Some(trip)) => Some(Overlay { base: trip.epoch, state: State::Open, id: trip.id }),
            (None, None) => None,
        };
        Self {
            confirmed: row,
            overlay,
            asks: Vec::new(),
            journal,
            kept: Vec::new(),
            timeline: 0,
            noticed: None,
            left_lineages: 0,
            stock: Vec::new(),
            drained,
        }
    }

    /// The state by which it answers calls.
    pub fn state(&self) -> State {
        self.overlay.map_or(self.confirmed.state, |overlay| overlay.state)
    }

    /// Everything that it waits for, in memory and on disk.
    pub fn pending(&self) -> impl Iterator<Item = &Request> {
        self.asks.iter().chain(&self.journal)
    }

    /// Whether it claims a slot.
    pub fn is_claiming(&self) -> bool {
        self.asks.iter().any(|request| matches!(request.ask, Ask::Claim | Ask::HalfOpen))
    }

    /// Takes the row that the tail reads. In a new lineage, returns the state of before, to be proposed.
    pub fn follow(&mut self, row: Seen, setup: &Setup) -> Option<Ask> {
        if row.lineage == self.confirmed.lineage {
            self.adopt(row, setup);
            return None;
        }
        let before = self.confirmed;
        self.take(row, setup);
        self.journal.extend(self.kept.drain(..).map(|request| Request { answered: true, ..request }));
        // Probes of before are late: a half-open breaker is open until its wait is over again.
        let state = if before.state == State::HalfOpen { State::Open } else { before.state };
        (before.epoch > row.epoch).then_some(Ask::Reconcile { state, old_epoch: before.epoch })
    }

    /// Takes a row as it is, if it is newer.
    pub fn adopt(&mut self, row: Seen, setup: &Setup) {
        if row.lineage != self.confirmed.lineage {
            if !setup.keeps(Rule::LineageByTail) {
                self.take(row, setup);
            }
            return;
        }
        let newer = row.revision > self.confirmed.revision;
        if !newer && (setup.keeps(Rule::OldRowsIgnored) || row == self.confirmed) {
            return;
        }
        self.take(row, setup);
    }

    fn take(&mut self, row: Seen, setup: &Setup) {
        let before = self.confirmed;
        self.confirmed = row;
        if row.lineage != before.lineage {
            self.left_lineages |= 1 << before.lineage;
        } else if row.epoch == before.epoch {
            return;
        }
        self.stock.clear();
        self.asks.retain(|request| request.ask != Ask::Claim);
        if setup.keeps(Rule::OverlayEndsWithEpoch) {
            let held = |overlay: &Overlay| {
                (overlay.base == row.epoch && row.lineage == before.lineage)
                    || (overlay.state == State::ForcedOpen && setup.keeps(Rule::ForcedOpenHeld))
            };
            self.overlay = self.overlay.filter(held);
        }
        if !setup.keeps(Rule::AnswerEndsEntry) {
            self.journal.retain(|entry| entry.epoch == row.epoch);
        }
    }

    /// Takes an answer. Returns the nonce of a slot that it does not want.
    pub fn receive(&mut self, answer: &Answer, held: bool, setup: &Setup) -> Option<Request> {
        let request = answer.to;
        let waited_for = self.pending().any(|pending| pending.id == request.id);
        if answer.verdict == Verdict::UnknownTimeline {
            // It stays, and is sent again when a replica has checked the timeline.
            return None;
        }
        let other_lineage = answer.row.lineage != self.confirmed.lineage;
        if other_lineage && setup.keeps(Rule::OtherLineageSettlesNothing) && setup.keeps(Rule::LineageByTail)
        {
            // It stays, and is sent again to the store that there is now.
            return None;
        }
        let kept = answer.verdict == Verdict::Won || setup.keeps(Rule::EveryVerdictKept);
        if kept && setup.goes_back() && setup.keeps(Rule::OwnEntriesInserted) {
            self.kept
                .extend(self.journal.iter().filter(|pending| pending.id == request.id && is_told(pending)));
        }
        self.asks.retain(|pending| pending.id != request.id);
        self.journal.retain(|pending| pending.id != request.id);
        let forced = self.overlay.is_some_and(|overlay| overlay.state == State::ForcedOpen);
        if setup.keeps(Rule::VerdictsById) {
            // Until here FORCED_OPEN held; from here on the row says what is.
            if forced && self.overlay.is_some_and(|overlay| overlay.id == request.id) {
                self.overlay = None;
            }
        } else if answer.verdict == Verdict::Won {
            self.confirm_by_base(answer);
        }
        if answer.verdict == Verdict::Won {
            self.overlay = self.overlay.filter(|overlay| overlay.id != request.id);
        }
        self.adopt(answer.row, setup);
        if !grants_slot(answer) {
            return None;
        }
        let epoch = request.epoch + u8::from(request.ask == Ask::HalfOpen);
        let usable = self.confirmed.epoch == epoch
            && self.confirmed.lineage == request.lineage
            && self.confirmed.state == State::HalfOpen;
        if waited_for && usable {
            let late = !setup.keeps(Rule::LeaseFromSend);
            self.stock.push(Grant { nonce: request.id, outlives: late || request.renewed });
            return None;
        }
        let returned = setup.keeps(Rule::UnwantedGrantReturned) && setup.keeps(Rule::ClaimOutlivesRequest);
        let in_stock = self.stock.iter().any(|grant| grant.nonce == request.id);
        (returned && usable && !waited_for && !held && !in_stock).then(|| self.release(request.id))
    }

    /// A slot that goes back.
    pub fn release(&self, nonce: Id) -> Request {
        self.request(nonce, Ask::Release)
    }

    /// A request that is made now.
    pub fn request(&self, id: Id, ask: Ask) -> Request {
        let (lineage, epoch) = (self.confirmed.lineage, self.confirmed.epoch);
        Request {
            id,
            lineage,
            timeline: self.timeline,
            epoch,
            ask,
            tally: None,
            renewed: false,
            answered: false,
        }
    }

    /// What is wrong with answers that do not say to which proposal.
    fn confirm_by_base(&mut self, answer: &Answer) {
        let Some(overlay) = self.overlay.filter(|overlay| overlay.base == answer.to.epoch) else { return };
        self.confirmed = Seen { state: overlay.state, ..answer.row };
        self.overlay = None;
    }
}

/// Whether callers were told of this before the store had it.
fn is_told(request: &Request) -> bool {
    request.ask == Ask::Trip || is_forced_open(request)
}

/// Whether this is an emergency stop.
pub fn is_forced_open(request: &Request) -> bool {
    matches!(request.ask, Ask::Act { act: Act::ForcedOpen, .. })
}

fn grants_slot(answer: &Answer) -> bool {
    match answer.to.ask {
        Ask::Claim => answer.verdict == Verdict::Granted,
        Ask::HalfOpen => answer.verdict == Verdict::Won,
        _ => false,
    }
}
