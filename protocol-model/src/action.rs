//! What can happen, and what it does.

use crate::checker::Model;
use crate::message::{Act, Answer, Ask, Id, Overtaken, Request, Verdict};
use crate::property::Property;
use crate::replica::{Grant, Overlay, Replica, is_forced_open, release};
use crate::rule::Rule;
use crate::setup::{Fault, Leases, Setup};
use crate::store::{Slot, State, Wait};
use crate::world::{Caller, REPLICAS_MAX, Told, World};

/// A step. Messages, callers and slots are given by their place in the [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A call fails at a replica that lets calls pass, and trips the breaker.
    FailingCall(u8),
    /// The wait in OPEN is over, by the store's clock.
    WaitEnds,
    /// A replica proposes half-open.
    ProposeHalfOpen(u8),
    /// A call waits at a half-open replica without stock: it claims a slot.
    Claim(u8),
    /// A call takes a grant from the stock.
    Take(u8),
    /// Nobody took the stock: it goes back.
    ReturnStock(u8),
    /// A caller reports how its probe went, to some replica.
    Report {
        /// Whose probe.
        caller: usize,
        /// To which replica.
        replica: u8,
        /// How it went.
        success: bool,
    },
    /// A replica reads the row.
    Poll(u8),
    /// The store works on a request, and answers.
    Process(usize),
    /// A replica gets an answer.
    Receive(usize),
    /// A replica sends what is not answered once more.
    Resend(u8, Id),
    /// An operator acts through a replica.
    Operate(u8, Act),
    /// The lease of a slot whose holder no longer believes in it is over.
    LeaseEnds(usize),
    /// A request is lost.
    LoseRequest(usize),
    /// An answer is lost.
    LoseAnswer(usize),
    /// A replica crashes and starts again.
    Crash(u8),
    /// A replica goes on without waiting for the store's answer any longer.
    StopWaiting(u8, Id),
    /// A caller's lease is over before it reports.
    CallerLate(usize),
    /// The load balancer sends a replica no more calls.
    Drain(u8),
    /// A request is canceled whose replica claims a slot for it. Only without
    /// [`ClaimOutlivesRequest`](Rule::ClaimOutlivesRequest), otherwise it changes nothing.
    Cancel(u8),
    /// An overlay lets a probe through. Only without [`OverlayStaysOpen`](Rule::OverlayStaysOpen).
    ProbeAlone(u8),
}

impl Model for Setup {
    type State = World;
    type Action = Action;

    fn initial(&self) -> World {
        World::new(self)
    }

    fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        for replica in 0..self.replicas {
            self.replica_actions(world, replica, &mut actions);
        }
        if world.store.state == State::Open && world.store.wait == Wait::Running {
            actions.push(Action::WaitEnds);
        }
        actions.extend((0..world.requests.len()).map(Action::Process));
        actions.extend((0..world.answers.len()).map(Action::Receive));
        if self.faulty(world, Fault::Loss) {
            actions.extend((0..world.requests.len()).map(Action::LoseRequest));
            actions.extend((0..world.answers.len()).map(Action::LoseAnswer));
        }
        self.lease_actions(world, &mut actions);
        self.reports(world, &mut actions);
        actions
    }

    fn next(&self, world: &World, action: &Action) -> (World, Option<Property>) {
        let (next, violated, _) = self.step(world, *action);
        (next, violated)
    }

    fn is_limited(&self, action: &Action) -> bool {
        match action {
            Action::FailingCall(_)
            | Action::Report { success: false, .. }
            | Action::Operate(..)
            | Action::LoseRequest(_)
            | Action::LoseAnswer(_)
            | Action::Crash(_)
            | Action::StopWaiting(..)
            | Action::CallerLate(_)
            | Action::Drain(_)
            | Action::Cancel(_)
            | Action::ProbeAlone(_) => true,
            Action::WaitEnds
            | Action::ProposeHalfOpen(_)
            | Action::Claim(_)
            | Action::Take(_)
            | Action::ReturnStock(_)
            | Action::Report { success: true, .. }
            | Action::Poll(_)
            | Action::Process(_)
            | Action::Receive(_)
            | Action::Resend(..)
            | Action::LeaseEnds(_) => false,
        }
    }

    fn is_good(&self, world: &World) -> bool {
        world.is_good()
    }
}

impl Setup {
    fn faulty(&self, world: &World, fault: Fault) -> bool {
        world.left.faults > 0 && self.kinds.contains(&fault)
    }

    fn replica_actions(&self, world: &World, name: u8, actions: &mut Vec<Action>) {
        let replica = &world.replicas[usize::from(name)];
        if world.store.seen() != replica.confirmed {
            actions.push(Action::Poll(name));
        }
        if replica.state() == State::Open
            && replica.overlay.is_none()
            && !replica.asks.iter().any(|request| request.ask == Ask::HalfOpen)
            && (is_over(world, replica) || self.faulty(world, Fault::FastClock))
        {
            actions.push(Action::ProposeHalfOpen(name));
        }
        if !replica.stock.is_empty() && self.keeps(Rule::StockReturned) {
            actions.push(Action::ReturnStock(name));
        }
        if !replica.drained {
            self.call_actions(world, name, replica, actions);
        }
        if world.left.acts > 0 {
            if replica.state() != State::ForcedOpen {
                actions.push(Action::Operate(name, Act::ForcedOpen));
            }
            let in_order = !self.keeps(Rule::ActsInOrder) || !replica.pending().any(is_forced_open);
            if replica.state() != State::Closed && in_order {
                actions.push(Action::Operate(name, Act::Reset));
            }
        }
        for pending in replica.pending() {
            if !world.is_under_way(pending.id) || self.faulty(world, Fault::Repeat) {
                actions.push(Action::Resend(name, pending.id));
            }
        }
        if self.faulty(world, Fault::Slow) {
            let leaves = |request: &&Request| match request.ask {
                Ask::Claim | Ask::HalfOpen => self.keeps(Rule::OldClaimGivenUp),
                _ => true,
            };
            actions.extend(
                replica.asks.iter().filter(leaves).map(|request| Action::StopWaiting(name, request.id)),
            );
        }
        if self.faulty(world, Fault::Crash) {
            actions.push(Action::Crash(name));
        }
        let others_serve = world.replicas.iter().filter(|replica| !replica.drained).count() > 1;
        if self.faulty(world, Fault::Drained) && !replica.drained && others_serve {
            actions.push(Action::Drain(name));
        }
    }

    /// What calls do.
    fn call_actions(&self, world: &World, name: u8, replica: &Replica, actions: &mut Vec<Action>) {
        if replica.state() == State::Closed && replica.overlay.is_none() && world.left.failures > 0 {
            actions.push(Action::FailingCall(name));
        }
        if replica.state() == State::HalfOpen {
            if !replica.stock.is_empty() {
                actions.push(Action::Take(name));
            } else if !replica.is_claiming()
                && world.store.slots.iter().any(|slot| matches!(slot, Slot::Free | Slot::Expired(_)))
            {
                actions.push(Action::Claim(name));
            }
        }
        let cancels = world.left.faults > 0 && !self.keeps(Rule::ClaimOutlivesRequest);
        if cancels && replica.asks.iter().any(|request| request.ask == Ask::Claim) {
            actions.push(Action::Cancel(name));
        }
        let alone = replica.overlay.filter(|overlay| overlay.state == State::Open);
        if let Some(overlay) = alone
            && !self.keeps(Rule::OverlayStaysOpen)
            && !world
                .callers
                .iter()
                .any(|caller| caller.nonce.replica == name && caller.epoch == overlay.base + 1)
        {
            actions.push(Action::ProbeAlone(name));
        }
    }

    fn lease_actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.leases == Leases::Last {
            return;
        }
        for (index, slot) in world.store.slots.iter().enumerate() {
            if let Slot::Taken(nonce) = *slot
                && world.store.state == State::HalfOpen
                && !self.is_believed(world, nonce)
            {
                actions.push(Action::LeaseEnds(index));
            }
        }
        if self.faulty(world, Fault::LateCaller) {
            let within = |index: &usize| !world.callers[*index].expired;
            actions.extend((0..world.callers.len()).filter(within).map(Action::CallerLate));
        }
    }

    /// Whether the holder of a slot still counts its lease. It began to count before the store did, so its lease ends first.
    fn is_believed(&self, world: &World, nonce: Id) -> bool {
        let claimed = |replica: &Replica| {
            self.keeps(Rule::OldClaimGivenUp) && replica.asks.iter().any(|request| request.id == nonce)
        };
        let in_stock = |replica: &Replica| {
            let believed = |grant: &Grant| grant.nonce == nonce && !grant.outlives;
            self.keeps(Rule::StockEndsBeforeLease) && replica.stock.iter().any(believed)
        };
        world.replicas.iter().any(|replica| claimed(replica) || in_stock(replica))
            || world.callers.iter().any(|caller| caller.nonce == nonce && !caller.expired && !caller.outlives)
    }

    fn reports(&self, world: &World, actions: &mut Vec<Action>) {
        for (caller, probe) in world.callers.iter().enumerate() {
            let reports =
                |request: &Request| matches!(request.ask, Ask::Outcome { nonce, .. } if nonce == probe.nonce);
            let reported = |replica: &Replica| replica.asks.iter().any(reports);
            if world.replicas.iter().any(reported) && !self.faulty(world, Fault::Repeat) {
                continue;
            }
            for replica in 0..self.replicas {
                let place = &world.replicas[usize::from(replica)];
                if place.drained || reported(place) {
                    continue;
                }
                actions.push(Action::Report { caller, replica, success: true });
                if world.left.failures > 0 {
                    actions.push(Action::Report { caller, replica, success: false });
                }
            }
        }
    }

    /// The state after a step, the property that it violates, and where each replica is in it.
    pub fn step(&self, world: &World, action: Action) -> (World, Option<Property>, [u8; REPLICAS_MAX]) {
        let mut next = world.clone();
        let mut violated = self.take(&mut next, action).err();
        let restarted = |index: usize| action == Action::Crash(u8::try_from(index).unwrap_or(u8::MAX));
        let backward =
            world.replicas.iter().zip(&next.replicas).enumerate().any(|(index, (before, after))| {
                after.confirmed.revision < before.confirmed.revision && !restarted(index)
            });
        if backward {
            violated = violated.or(Some(Property::NeverBackward));
        }
        violated = violated.or_else(|| next.violated(self));
        let places = next.normalize(self);
        (next, violated, places)
    }

    fn take(&self, world: &mut World, action: Action) -> Result<(), Property> {
        match action {
            Action::FailingCall(name) => self.trip(world, name),
            Action::WaitEnds => world.store.wait = Wait::Over,
            Action::ProposeHalfOpen(name) => {
                if !is_over(world, &world.replicas[usize::from(name)]) {
                    world.left.faults -= 1;
                }
                ask(world, name, Ask::HalfOpen);
            }
            Action::Claim(name) => {
                ask(world, name, Ask::Claim);
            }
            Action::Take(name) => take_stock(world, name),
            Action::ReturnStock(name) => {
                let replica = &mut world.replicas[usize::from(name)];
                if let Some(grant) = replica.stock.pop() {
                    world.requests.push(release(grant.nonce, replica.confirmed.epoch));
                }
            }
            Action::Report { caller, replica, success } => report(world, caller, replica, success),
            Action::Poll(name) => {
                let row = world.store.seen();
                world.replicas[usize::from(name)].adopt(row, self);
            }
            Action::Process(index) => return self.process(world, index),
            Action::Receive(index) => return self.receive(world, index),
            Action::Resend(name, id) => self.resend(world, name, id),
            Action::Operate(name, act) => self.operate(world, name, act),
            Action::LeaseEnds(index) => {
                if let Slot::Taken(nonce) = world.store.slots[index] {
                    world.store.slots[index] = Slot::Expired(nonce);
                }
            }
            Action::LoseRequest(index) => {
                world.left.faults -= 1;
                world.requests.remove(index);
            }
            Action::LoseAnswer(index) => {
                world.left.faults -= 1;
                world.answers.remove(index);
            }
            Action::Crash(name) => self.crash(world, name),
            Action::StopWaiting(name, id) => stop_waiting(world, name, id),
            Action::CallerLate(index) => {
                world.left.faults -= 1;
                world.callers[index].expired = true;
            }
            Action::Drain(name) => {
                world.left.faults -= 1;
                world.replicas[usize::from(name)].drained = true;
            }
            Action::Cancel(name) => {
                world.left.faults -= 1;
                world.replicas[usize::from(name)].asks.retain(|request| request.ask != Ask::Claim);
            }
            Action::ProbeAlone(name) => {
                let nonce = world.next_id(name);
                let epoch = world.replicas[usize::from(name)].confirmed.epoch + 1;
                world.callers.push(Caller { nonce, epoch, expired: false, outlives: false });
            }
        }
        Ok(())
    }

    fn trip(&self, world: &mut World, name: u8) {
        world.left.failures -= 1;
        let id = world.next_id(name);
        let replica = &mut world.replicas[usize::from(name)];
        let base = replica.confirmed.epoch;
        let request = Request { id, epoch: base, ask: Ask::Trip, tally: None, renewed: false };
        replica.overlay = Some(Overlay { base, state: State::Open, id });
        if self.keeps(Rule::JournalFirst) {
            replica.journal.push(request);
        } else {
            replica.asks.push(request);
        }
        world.told.push(Told { base, to: State::Open });
        world.requests.push(request);
    }

    fn operate(&self, world: &mut World, name: u8, act: Act) {
        world.left.acts -= 1;
        if act == Act::Reset {
            overtake(world, Act::ForcedOpen, Overtaken::BySet, |_| true);
        }
        let confirmed = world.replicas[usize::from(name)].confirmed;
        let id = ask(world, name, Ask::Act { act, seen: confirmed.act_epoch, overtaken: Overtaken::No });
        if act == Act::Reset && !self.keeps(Rule::ResetAtStoreFirst) {
            world.replicas[usize::from(name)].overlay =
                Some(Overlay { base: confirmed.epoch, state: State::Closed, id });
        }
    }

    fn process(&self, world: &mut World, index: usize) -> Result<(), Property> {
        let mut request = world.requests.remove(index);
        let is_outcome = matches!(request.ask, Ask::Outcome { .. });
        if is_outcome && request.tally.is_none() && !self.keeps(Rule::OutcomeInOneTransaction) {
            request.tally = Some(world.store.tally());
            world.requests.push(request);
            return Ok(());
        }
        if let Some(verdict) = world.store.process(&request, self)? {
            if verdict == Verdict::Won {
                took_effect(world, &request);
            }
            world.answers.push(Answer { to: request, verdict, row: world.store.seen() });
        }
        Ok(())
    }

    fn receive(&self, world: &mut World, index: usize) -> Result<(), Property> {
        let answer = world.answers.remove(index);
        let id = answer.to.id;
        let held = world.callers.iter().any(|caller| caller.nonce == id);
        let replica = &mut world.replicas[usize::from(id.replica)];
        if let Ask::Outcome { nonce, .. } = answer.to.ask
            && replica.asks.iter().any(|request| request.id == id)
        {
            world.callers.retain(|caller| caller.nonce != nonce);
        }
        let dropped = |entry: &Request| {
            let not_reset =
                matches!(entry.ask, Ask::Act { act: Act::ForcedOpen, overtaken: Overtaken::No, .. });
            entry.id == id && not_reset && answer.verdict == Verdict::Lost
        };
        let stop_dropped = replica.journal.iter().any(dropped) && answer.row.state != State::ForcedOpen;
        let unwanted = replica.receive(&answer, held, self);
        world.requests.extend(unwanted);
        if stop_dropped {
            return Err(Property::EmergencyStopStands);
        }
        Ok(())
    }

    fn resend(&self, world: &mut World, name: u8, id: Id) {
        if world.is_under_way(id) {
            world.left.faults -= 1;
        }
        let renews = !self.keeps(Rule::RepeatRenewsNothing);
        let replica = &mut world.replicas[usize::from(name)];
        let pending = replica.asks.iter_mut().chain(&mut replica.journal).find(|request| request.id == id);
        if let Some(pending) = pending {
            pending.renewed |= renews && pending.ask == Ask::Claim;
            world.requests.push(*pending);
        }
    }

    fn crash(&self, world: &mut World, name: u8) {
        world.left.faults -= 1;
        let replica = &mut world.replicas[usize::from(name)];
        let journal = std::mem::take(&mut replica.journal);
        *replica = Replica::start(world.store.seen(), journal, replica.drained);
        world.answers.retain(|answer| answer.to.id.replica != name);
        if !self.keeps(Rule::ClaimsSurviveRestart) {
            let forget = |slot: &mut Slot| {
                if matches!(slot, Slot::Taken(_)) {
                    *slot = Slot::Free;
                }
            };
            world.store.slots.iter_mut().for_each(forget);
        }
    }
}

/// Whether the wait is over, as a clock that agrees with the store's would say.
fn is_over(world: &World, replica: &Replica) -> bool {
    world.store.wait == Wait::Over || replica.confirmed != world.store.seen()
}

/// Sends a request, and keeps it until it is answered.
fn ask(world: &mut World, name: u8, ask: Ask) -> Id {
    let id = world.next_id(name);
    let replica = &mut world.replicas[usize::from(name)];
    let request = Request { id, epoch: replica.confirmed.epoch, ask, tally: None, renewed: false };
    replica.asks.push(request);
    world.requests.push(request);
    id
}

fn take_stock(world: &mut World, name: u8) {
    let replica = &mut world.replicas[usize::from(name)];
    let epoch = replica.confirmed.epoch;
    if let Some(Grant { nonce, outlives }) = replica.stock.pop() {
        world.callers.push(Caller { nonce, epoch, expired: false, outlives });
    }
}

fn report(world: &mut World, caller: usize, name: u8, success: bool) {
    let Caller { nonce, epoch, .. } = world.callers[caller];
    if !success {
        world.left.failures -= 1;
    }
    let id = world.next_id(name);
    let request = Request { id, epoch, ask: Ask::Outcome { nonce, success }, tally: None, renewed: false };
    let reported_before = world.replicas.iter().any(|replica| {
        replica
            .asks
            .iter()
            .any(|request| matches!(request.ask, Ask::Outcome { nonce: of, .. } if of == nonce))
    });
    if reported_before {
        world.left.faults -= 1;
    }
    world.replicas[usize::from(name)].asks.push(request);
    world.requests.push(request);
}

/// A replica goes on without an answer.
fn stop_waiting(world: &mut World, name: u8, id: Id) {
    world.left.faults -= 1;
    let replica = &mut world.replicas[usize::from(name)];
    let Some(index) = replica.asks.iter().position(|request| request.id == id) else { return };
    let request = replica.asks.remove(index);
    match request.ask {
        Ask::Claim => world.requests.push(release(id, request.epoch)),
        Ask::HalfOpen => world.requests.push(release(id, request.epoch + 1)),
        Ask::Outcome { nonce, .. } => {
            replica.journal.push(request);
            world.callers.retain(|caller| caller.nonce != nonce);
        }
        Ask::Act { act: Act::ForcedOpen, .. } => {
            replica.journal.push(request);
            replica.overlay = Some(Overlay { base: request.epoch, state: State::ForcedOpen, id });
            world.told.push(Told { base: request.epoch, to: State::ForcedOpen });
        }
        Ask::Act { act: Act::Reset, .. } | Ask::Trip | Ask::Release => {}
    }
}

/// An act took effect: for the checker alone, those that were set before it are marked.
fn took_effect(world: &mut World, request: &Request) {
    let own_older = |of: &Request| of.id.replica == request.id.replica && of.id.number < request.id.number;
    match request.ask {
        Ask::Act { act: Act::Reset, .. } => overtake(world, Act::ForcedOpen, Overtaken::ByEffect, own_older),
        Ask::Act { act: Act::ForcedOpen, .. } => overtake(world, Act::Reset, Overtaken::ByEffect, |_| true),
        _ => {}
    }
}

fn overtake(world: &mut World, which: Act, how: Overtaken, older: impl Fn(&Request) -> bool) {
    let mark = |request: &mut Request| {
        let is_older = older(request);
        if let Ask::Act { act, overtaken, .. } = &mut request.ask
            && is_older
            && *act == which
        {
            *overtaken = how.max(*overtaken);
        }
    };
    for replica in &mut world.replicas {
        replica.asks.iter_mut().chain(&mut replica.journal).for_each(mark);
    }
    world.requests.iter_mut().for_each(mark);
    world.answers.iter_mut().for_each(|answer| mark(&mut answer.to));
}
