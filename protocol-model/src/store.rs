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
    /// Counts changes.
    pub revision: u8,
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
    /// The epochs in which the breaker was CLOSED, a bit each. Nobody knows this but the checker.
    pub closed_epochs: u16,
}

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
            closed_epochs: 1,
        }
    }

    /// What replicas are told of the row.
    pub fn seen(&self) -> Seen {
        Seen { revision: self.epoch, epoch: self.epoch, state: self.state, act_epoch: self.act_epoch }
    }

    /// Works on a request in one transaction.
    pub fn process(&mut self, request: &Request, setup: &Setup) -> Result<Option<Verdict>, Property> {
        let verdict = match request.ask {
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
        self.record(request, to, Verdict::Won)?;
        self.epoch += 1;
        self.state = to;
        self.wait = Wait::Running;
        if to == State::Closed {
            self.closed_epochs |= 1 << self.epoch;
        }
        Ok(Verdict::Won)
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
        self.history.push(Record { id: request.id, base: request.epoch, to, verdict });
        Ok(())
    }

    /// Whether a transition from this epoch to this state is in the history.
    pub fn has(&self, base: Epoch, to: State) -> bool {
        self.history.iter().any(|record| record.base == base && record.to == to)
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
