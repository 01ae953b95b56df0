//! The store: one breaker's row, its slots and its history. Its clock is the clock.

use crate::message::{Act, Ask, Epoch, Id, Overtaken, Request, Verdict};
use crate::property::Property;
use crate::rule::Rule;
use crate::setup::Setup;

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Calls pass.
    Closed,
    /// They are rejected, until the wait is over.
    Open,
    /// P probes pass.
    HalfOpen,
    /// Calls are rejected until an operator says otherwise.
    ForcedOpen,
}

/// Whether the wait of an open breaker is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// It is not.
    Running,
    /// It is.
    Over,
}

/// What a replica is told of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Of the store.
    pub lineage: u8,
    /// Counts changes.
    pub revision: u8,
    /// Of that revision.
    pub nonce: u8,
    /// Of the row.
    pub epoch: Epoch,
    /// Of the row.
    pub state: State,
    /// The epoch of the last operator act.
    pub act_epoch: Epoch,
}

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// For the next claim.
    Free,
    /// Claimed by this nonce.
    Taken(Id),
    /// The same, and its lease is over.
    Expired(Id),
    /// The probe with this nonce is completed.
    Done {
        /// Of the claim.
        nonce: Id,
        /// How the call went.
        success: bool,
    },
}

impl Slot {
    /// Of its claim.
    pub fn nonce(&self) -> Option<Id> {
        match *self {
            Self::Free => None,
            Self::Taken(nonce) | Self::Expired(nonce) | Self::Done { nonce, .. } => Some(nonce),
        }
    }
}

/// A proposal that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Of the proposal.
    pub id: Id,
    /// The lineage that it was made in.
    pub lineage: u8,
    /// The epoch that it was made in.
    pub base: Epoch,
    /// The state that it proposed.
    pub to: State,
    /// The first answer to it.
    pub verdict: Verdict,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// Of the breaker.
    pub epoch: Epoch,
    /// Of the breaker.
    pub state: State,
    /// In OPEN.
    pub wait: Wait,
    /// The epoch of the last operator act.
    pub act_epoch: Epoch,
    /// Of the newest HALF_OPEN epoch.
    pub slots: Vec<Slot>,
    /// Which epoch that is.
    pub slots_epoch: Epoch,
    /// Proposals and their first answers. Those that no message and no journal can refer to are forgotten.
    pub history: Vec<Record>,
    /// The epochs in which the breaker was CLOSED, a bit each, by lineage. Nobody knows this but the checker, so that it does not go back.
    pub closed_epochs: [u16; LINEAGES_MAX],
    /// Changes when the store went back.
    pub lineage: u8,
    /// Of Postgres: changes when a standby is promoted.
    pub timeline: u8,
    /// The timeline that was checked last.
    pub checked_timeline: u8,
    /// The nonce of each revision. Random in truth; here how often the store had gone back, as no two writes of a revision have that in
    /// common.
    pub nonces: Vec<u8>,
    /// The nonce of the next revision.
    pub writes: u8,
    /// In a new lineage: the highest old epoch that the row was reconciled with, until a transition of the new lineage.
    pub reconciled: Option<Epoch>,
}

/// Lineages and timelines at most.
pub const LINEAGES_MAX: usize = 6;

impl Store {
    /// A breaker that nobody used.
    pub fn new() -> Self {
        Self {
            epoch: 0,
            state: State::Closed,
            wait: Wait::Running,
            act_epoch: 0,
            slots: Vec::new(),
            slots_epoch: 0,
            history: Vec::new(),
            closed_epochs: [1, 0, 0, 0, 0, 0],
            lineage: 0,
            timeline: 0,
            checked_timeline: 0,
            nonces: vec![0],
            writes: 0,
            reconciled: None,
        }
    }

    /// The ids in it.
    pub fn each_id(&mut self, visit: &mut impl FnMut(&mut Id)) {
        for slot in &mut self.slots {
            if let Slot::Taken(nonce) | Slot::Expired(nonce) | Slot::Done { nonce, .. } = slot {
                visit(nonce);
            }
        }
        self.history.iter_mut().for_each(|record| visit(&mut record.id));
    }

    /// What replicas are told of the row.
    pub fn seen(&self) -> Seen {
        Seen {
            lineage: self.lineage,
            revision: u8::try_from(self.nonces.len() - 1).unwrap_or(u8::MAX),
            nonce: self.nonces.last().copied().unwrap_or_default(),
            epoch: self.epoch,
            state: self.state,
            act_epoch: self.act_epoch,
        }
    }

    /// Works on a request in one transaction.
    pub fn process(&mut self, request: &Request, setup: &Setup) -> Result<Option<Verdict>, Property> {
        let checked =
            if setup.keeps(Rule::TimelineKeptInStore) { self.checked_timeline } else { request.timeline };
        if checked != self.timeline {
            return Ok((request.ask != Ask::Release).then_some(Verdict::UnknownTimeline));
        }
        if request.lineage != self.lineage && setup.keeps(Rule::OldLineageDecidesNothing) {
            return self.old_lineage(request, setup);
        }
        let verdict = match request.ask {
            Ask::Reconcile { state, old_epoch } => self.reconcile(request, state, old_epoch, setup)?,
            Ask::Trip => self.propose(request, State::Closed, State::Open, setup)?,
            Ask::HalfOpen => self.half_open(request, setup)?,
            Ask::Claim => self.claim(request, setup)?,
            Ask::Release => {
                self.release(request);
                return Ok(None);
            }
            Ask::Outcome { nonce, success } => self.outcome(request, nonce, success, setup)?,
            Ask::Act { act, seen, overtaken } => self.act(request, act, seen, overtaken, setup)?,
        };
        Ok(Some(verdict))
    }

    /// What was decided in a lineage that is over is history, and changes nothing.
    fn old_lineage(&mut self, request: &Request, setup: &Setup) -> Result<Option<Verdict>, Property> {
        let to = match request.ask {
            Ask::Release => return Ok(None),
            Ask::Claim => return Ok(Some(Verdict::Refused)),
            Ask::Outcome { .. } => return Ok(Some(Verdict::Late)),
            Ask::HalfOpen | Ask::Reconcile { .. } | Ask::Act { act: Act::Reset, .. } => {
                return Ok(Some(Verdict::Lost));
            }
            Ask::Trip => State::Open,
            Ask::Act { act: Act::ForcedOpen, .. } => State::ForcedOpen,
        };
        if let Some(known) = self.known(request.id, setup) {
            return Ok(Some(known));
        }
        if request.ask == Ask::Trip
            && !request.answered
            && self.is_behind(request.epoch)
            && setup.keeps(Rule::UnansweredTripOpens)
        {
            self.record(request, to, Verdict::Won)?;
            self.enter(to);
            self.reconciled = Some(request.epoch);
            return Ok(Some(Verdict::Won));
        }
        self.lose(request, to, setup).map(Some)
    }

    /// Whether no transition of this lineage has come, and the row is the CLOSED of this epoch of before, or knows less than that.
    pub fn is_behind(&self, epoch: Epoch) -> bool {
        match (self.reconciled, self.state) {
            (Some(highest), State::Closed) => highest <= epoch,
            (Some(highest), State::Open | State::HalfOpen) => highest < epoch,
            _ => false,
        }
    }

    /// The state of before, if no transition came since, and none of a higher old epoch was proposed.
    fn reconcile(
        &mut self,
        request: &Request,
        to: State,
        old_epoch: Epoch,
        setup: &Setup,
    ) -> Result<Verdict, Property> {
        if self.history.iter().any(|record| record.id == request.id) {
            return Ok(Verdict::Won);
        }
        let highest = match self.reconciled {
            Some(highest) => highest,
            None if setup.keeps(Rule::ReconcileUntouched) => return Ok(Verdict::Lost),
            None => return Err(Property::LegalEdges),
        };
        if old_epoch == highest {
            return Ok(Verdict::Lost);
        }
        if old_epoch < highest {
            if setup.keeps(Rule::HighestOldEpochStands) {
                return Ok(Verdict::Lost);
            }
            return Err(Property::NeverBackward);
        }
        self.record(request, to, Verdict::Won)?;
        self.enter(to);
        self.reconciled = Some(old_epoch);
        Ok(Verdict::Won)
    }

    /// Begins a new lineage, because the store went back.
    pub fn begin_lineage(&mut self, lineage: u8) {
        self.reconciled = Some(self.epoch);
        self.lineage = lineage;
        self.closed_epochs[usize::from(lineage)] = u16::from(self.state == State::Closed) << self.epoch;
        self.check_timeline();
        self.slots.iter_mut().for_each(|slot| *slot = Slot::Free);
        self.nonces.push(self.writes);
    }

    /// Takes note of a new timeline. Claims bump no revision, so that those of a half-open breaker may be lost: it enters half-open again.
    pub fn check_timeline(&mut self) {
        self.checked_timeline = self.timeline;
        if self.state == State::HalfOpen {
            let probes = self.slots.len();
            self.enter(State::HalfOpen);
            self.slots = vec![Slot::Free; probes];
            self.slots_epoch = self.epoch;
        }
    }

    /// A transition, if the row is as the proposal names it.
    fn propose(
        &mut self,
        request: &Request,
        from: State,
        to: State,
        setup: &Setup,
    ) -> Result<Verdict, Property> {
        if let Some(known) = self.known(request.id, setup) {
            return Ok(known);
        }
        let as_named = self.epoch == request.epoch && self.state == from;
        if as_named || !setup.keeps(Rule::EpochAndStateCompared) {
            self.win(request, to)
        } else {
            self.lose(request, to, setup)
        }
    }

    fn half_open(&mut self, request: &Request, setup: &Setup) -> Result<Verdict, Property> {
        if let Some(known) = self.known(request.id, setup) {
            return Ok(known);
        }
        let as_named = self.epoch == request.epoch && self.state == State::Open;
        if !as_named && setup.keeps(Rule::EpochAndStateCompared) {
            // Nobody was told of it: the answer need not be kept.
            return Ok(Verdict::Lost);
        }
        if self.wait == Wait::Running {
            if setup.keeps(Rule::WaitByStoreClock) {
                return Ok(Verdict::TooEarly);
            }
            return Err(Property::WaitRespected);
        }
        let verdict = self.win(request, State::HalfOpen)?;
        self.slots = vec![Slot::Free; usize::from(setup.probes)];
        self.slots[0] = Slot::Taken(request.id);
        self.slots_epoch = self.epoch;
        Ok(verdict)
    }

    fn claim(&mut self, request: &Request, setup: &Setup) -> Result<Verdict, Property> {
        if self.epoch != request.epoch || self.state != State::HalfOpen {
            return Ok(Verdict::Refused);
        }
        let own = self.slots.iter().find(|slot| slot.nonce() == Some(request.id));
        if let Some(own) = own
            && setup.keeps(Rule::NonceKeepsSlot)
        {
            return Ok(if matches!(own, Slot::Taken(_)) { Verdict::Granted } else { Verdict::Refused });
        }
        let usable = |slot: &&mut Slot| match slot {
            Slot::Free => true,
            Slot::Expired(_) => setup.keeps(Rule::LeasesEnd),
            Slot::Taken(_) | Slot::Done { .. } => false,
        };
        let Some(slot) = self.slots.iter_mut().find(usable) else { return Ok(Verdict::Refused) };
        *slot = Slot::Taken(request.id);
        let held = self.slots.iter().filter(|slot| slot.nonce() == Some(request.id)).count();
        if held > 1 { Err(Property::OneSlotPerClaim) } else { Ok(Verdict::Granted) }
    }

    fn release(&mut self, request: &Request) {
        for slot in &mut self.slots {
            if matches!(*slot, Slot::Taken(nonce) | Slot::Expired(nonce) if nonce == request.id) {
                *slot = Slot::Free;
            }
        }
    }

    /// The outcome of a probe, and what it decides.
    fn outcome(
        &mut self,
        request: &Request,
        nonce: Id,
        success: bool,
        setup: &Setup,
    ) -> Result<Verdict, Property> {
        if self.slots.iter().any(|slot| matches!(*slot, Slot::Done { nonce: done, .. } if done == nonce)) {
            return Ok(Verdict::Duplicate);
        }
        if self.epoch != request.epoch || self.state != State::HalfOpen {
            return Ok(Verdict::Late);
        }
        // An outcome that reached the replica within the lease counts as long as the slot was not given to another.
        let stands = |slot: &&mut Slot| matches!(**slot, Slot::Taken(of) | Slot::Expired(of) if of == nonce);
        let taken = |slot: &&mut Slot| matches!(**slot, Slot::Taken(_) | Slot::Expired(_));
        let slot = if setup.keeps(Rule::OutcomeNonceChecked) {
            self.slots.iter_mut().find(stands)
        } else {
            self.slots.iter_mut().find(taken)
        };
        let Some(slot) = slot else { return Ok(Verdict::Late) };
        *slot = Slot::Done { nonce, success };
        let (successes, failures) = match request.tally {
            Some((successes, failures)) => (successes + u8::from(success), failures + u8::from(!success)),
            None => self.tally(),
        };
        if failures >= setup.failures_max() {
            self.win(request, State::Open)?;
        } else if successes >= setup.successes {
            self.win(request, State::Closed)?;
        }
        Ok(Verdict::Recorded)
    }

    /// Completed probes: successes and failures.
    pub fn tally(&self) -> (u8, u8) {
        self.slots.iter().fold((0, 0), |(successes, failures), slot| match slot {
            Slot::Done { success: true, .. } => (successes + 1, failures),
            Slot::Done { success: false, .. } => (successes, failures + 1),
            _ => (successes, failures),
        })
    }

    /// An operator's act beats every automatic change.
    fn act(
        &mut self,
        request: &Request,
        act: Act,
        seen: Epoch,
        overtaken: Overtaken,
        setup: &Setup,
    ) -> Result<Verdict, Property> {
        if let Some(known) = self.known(request.id, setup) {
            return Ok(known);
        }
        let guarded = match act {
            Act::Reset => setup.keeps(Rule::ResetGuarded),
            Act::ForcedOpen => !setup.keeps(Rule::ForcedOpenUnguarded),
        };
        let to = match act {
            Act::Reset => State::Closed,
            Act::ForcedOpen => State::ForcedOpen,
        };
        if guarded && self.act_epoch != seen {
            return self.lose(request, to, setup);
        }
        match act {
            Act::Reset if overtaken == Overtaken::ByEffect && self.state == State::ForcedOpen => {
                return Err(Property::EmergencyStopStands);
            }
            Act::ForcedOpen if overtaken == Overtaken::ByEffect => return Err(Property::OperatorOrder),
            Act::Reset | Act::ForcedOpen => {}
        }
        let verdict = self.win(request, to)?;
        self.act_epoch = self.epoch;
        Ok(verdict)
    }

    /// The first answer to a proposal that was sent before.
    fn known(&self, id: Id, setup: &Setup) -> Option<Verdict> {
        let known = self.history.iter().find(|record| record.id == id)?;
        setup.keeps(Rule::KnownIdAnsweredAlike).then_some(known.verdict)
    }

    /// The only place where the state changes.
    fn win(&mut self, request: &Request, to: State) -> Result<Verdict, Property> {
        let by_operator = matches!(request.ask, Ask::Act { .. });
        let legal = matches!(
            (self.state, to),
            (State::Closed | State::HalfOpen, State::Open)
                | (State::Open, State::HalfOpen)
                | (State::HalfOpen, State::Closed)
        );
        if !legal && !by_operator {
            return Err(Property::LegalEdges);
        }
        if request.lineage != self.lineage {
            return Err(Property::LineagesApart);
        }
        self.record(request, to, Verdict::Won)?;
        self.enter(to);
        self.reconciled = None;
        Ok(Verdict::Won)
    }

    fn enter(&mut self, to: State) {
        self.epoch += 1;
        self.state = to;
        self.wait = Wait::Running;
        self.nonces.push(self.writes);
        if to == State::Closed {
            self.closed_epochs[usize::from(self.lineage)] |= 1 << self.epoch;
        }
    }

    /// A proposal that lost is superseded, if nothing like it is in the history.
    fn lose(&mut self, request: &Request, to: State, setup: &Setup) -> Result<Verdict, Property> {
        if setup.keeps(Rule::SupersededKept) {
            self.record(request, to, Verdict::Lost)?;
        }
        Ok(Verdict::Lost)
    }

    fn record(&mut self, request: &Request, to: State, verdict: Verdict) -> Result<(), Property> {
        if self.history.iter().any(|record| record.id == request.id) {
            return Err(Property::RecordedOnce);
        }
        let (id, lineage, base) = (request.id, request.lineage, request.epoch);
        self.history.push(Record { id, lineage, base, to, verdict });
        Ok(())
    }

    /// Whether a transition from this epoch of a lineage to this state is in the history.
    pub fn has(&self, lineage: u8, base: Epoch, to: State) -> bool {
        self.history.iter().any(|record| (record.lineage, record.base, record.to) == (lineage, base, to))
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
