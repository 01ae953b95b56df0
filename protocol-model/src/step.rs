//! What a step does.

use crate::action::Action;
use crate::message::{Act, Answer, Ask, Id, Overtaken, Request, Verdict};
use crate::property::Property;
use crate::replica::{Grant, Overlay, Replica};
use crate::rule::Rule;
use crate::setup::{Fault, Setup};
use crate::store::{Seen, Slot, State, Store, Wait};
use crate::world::{Caller, REPLICAS_MAX, Told, World};

impl Setup {
    /// The state after a step, the property that it violates, and where each replica is in it.
    pub fn step(&self, world: &World, action: Action) -> (World, Option<Property>, [u8; REPLICAS_MAX]) {
        let mut next = world.clone();
        let mut violated = self.take(&mut next, action).err();
        let restarted = |index: usize| action == Action::Crash(u8::try_from(index).unwrap_or(u8::MAX));
        let backward =
            world.replicas.iter().zip(&next.replicas).enumerate().any(|(index, (before, after))| {
                let same_lineage = after.confirmed.lineage == before.confirmed.lineage;
                let left_before = before.left_lineages & (1 << after.confirmed.lineage) != 0;
                left_before
                    || (same_lineage
                        && after.confirmed.revision < before.confirmed.revision
                        && !restarted(index))
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
                    let release = replica.release(grant.nonce);
                    world.requests.push(release);
                }
            }
            Action::Report { caller, replica, success } => report(world, caller, replica, success),
            Action::Poll(name) => self.poll(world, name),
            Action::StandbyStops => world.standby = Some(Box::new(world.store.clone())),
            Action::StoreGoesBack => self.go_back(world),
            Action::BeginLineage(name) => self.begin_lineage(world, name),
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
                let Seen { lineage, epoch, .. } = world.replicas[usize::from(name)].confirmed;
                world.callers.push(Caller {
                    nonce,
                    lineage,
                    epoch: epoch + 1,
                    expired: false,
                    outlives: false,
                });
            }
        }
        Ok(())
    }

    /// A standby takes over, or a backup is restored. What was under way to the store is lost with the connection.
    fn go_back(&self, world: &mut World) {
        world.left.faults -= 1;
        let Some(standby) = world.standby.take() else { return };
        let (writes, timeline, closed_epochs) =
            (world.store.writes, world.store.timeline, world.store.closed_epochs);
        world.losses += 1;
        world.store = *standby;
        world.store.writes = writes + 1;
        world.store.timeline = if self.kinds.contains(&Fault::StoreBack) { timeline + 1 } else { timeline };
        world.store.closed_epochs = closed_epochs;
        world.requests.clear();
    }

    /// A replica reads the row, after it has checked that the store did not go back.
    fn poll(&self, world: &mut World, name: u8) {
        let replica = &mut world.replicas[usize::from(name)];
        let store = &mut world.store;
        let known = replica.confirmed;
        let nonce = store.nonces.get(usize::from(known.revision)).copied();
        let lost =
            store.lineage == known.lineage && nonce != Some(known.nonce) && self.keeps(Rule::NonceCompared);
        let new_timeline = self.is_new_timeline(store, replica);
        if lost || (new_timeline && self.keeps(Rule::NewTimelineNewLineage)) {
            replica.noticed = Some(store.lineage);
            self.remember_timeline(replica, store);
            return;
        }
        if new_timeline {
            store.check_timeline();
        }
        self.remember_timeline(replica, store);
        let before = replica.follow(store.seen(), self);
        if let Some(before) = before {
            ask(world, name, before);
        }
    }

    /// Whether the store is on a timeline that nobody has checked.
    pub fn is_new_timeline(&self, store: &Store, replica: &Replica) -> bool {
        if self.keeps(Rule::TimelineKeptInStore) {
            return store.timeline != store.checked_timeline;
        }
        // In a new lineage, the replica that began it has checked the timeline.
        store.timeline != replica.timeline && store.lineage == replica.confirmed.lineage
    }

    /// A replica need not know the timeline, if the store keeps it.
    fn remember_timeline(&self, replica: &mut Replica, store: &Store) {
        if !self.keeps(Rule::TimelineKeptInStore) {
            replica.timeline = store.timeline;
        }
    }

    fn begin_lineage(&self, world: &mut World, name: u8) {
        let noticed = world.replicas[usize::from(name)].noticed.take();
        if noticed != Some(world.store.lineage) && self.keeps(Rule::LineageCompared) {
            // Another replica was first.
            return;
        }
        let next = if self.keeps(Rule::LineageIsRandom) { world.lineages } else { world.store.lineage };
        world.lineages += 1;
        world.store.begin_lineage(next + 1);
    }

    fn trip(&self, world: &mut World, name: u8) {
        world.left.failures -= 1;
        let id = world.next_id(name);
        let replica = &mut world.replicas[usize::from(name)];
        let Seen { lineage, epoch: base, .. } = replica.confirmed;
        let request = replica.request(id, Ask::Trip);
        replica.overlay = Some(Overlay { base, state: State::Open, id });
        if self.keeps(Rule::JournalFirst) {
            replica.journal.push(request);
        } else {
            replica.asks.push(request);
        }
        world.told.push(Told { lineage, base, to: State::Open });
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
        let before = world.store.epoch;
        let is_new = !world.store.history.iter().any(|record| record.id == request.id);
        let opens = request.ask == Ask::Trip
            && is_new
            && !request.answered
            && request.lineage != world.store.lineage
            && world.store.is_behind(request.epoch);
        if let Some(verdict) = world.store.process(&request, self)? {
            if world.store.epoch != before {
                took_effect(world, &request);
            }
            if opens && verdict != Verdict::UnknownTimeline && world.store.state != State::Open {
                return Err(Property::UnansweredTripOpens);
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
        let waits = |replica: &Replica| replica.asks.iter().any(|request| request.id == id);
        let waited = waits(replica);
        let dropped = |entry: &Request| {
            let not_reset =
                matches!(entry.ask, Ask::Act { act: Act::ForcedOpen, overtaken: Overtaken::No, .. });
            entry.id == id && not_reset && answer.verdict == Verdict::Lost
        };
        let stop_dropped = replica.journal.iter().any(dropped) && answer.row.state != State::ForcedOpen;
        let unwanted = replica.receive(&answer, held, self);
        if let Ask::Outcome { nonce, .. } = answer.to.ask
            && waited
            && !waits(replica)
        {
            world.callers.retain(|caller| caller.nonce != nonce);
        }
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
        let timeline = replica.timeline;
        let pending = replica.asks.iter_mut().chain(&mut replica.journal).find(|request| request.id == id);
        if let Some(pending) = pending {
            pending.renewed |= renews && pending.ask == Ask::Claim;
            pending.timeline = timeline;
            world.requests.push(*pending);
        }
    }

    fn crash(&self, world: &mut World, name: u8) {
        world.left.faults -= 1;
        world.answers.retain(|answer| answer.to.id.replica != name);
        let replica = &mut world.replicas[usize::from(name)];
        let before = replica.clone();
        // What was confirmed last is on disk, to see whether the store went back.
        *replica = Replica::start(before.confirmed, before.journal, before.drained);
        (replica.kept, replica.left_lineages) = (before.kept, before.left_lineages);
        self.remember_timeline(replica, &world.store);
        self.poll(world, name);
        let replica = &mut world.replicas[usize::from(name)];
        if replica.noticed.is_none() {
            let journal = std::mem::take(&mut replica.journal);
            let after = replica.clone();
            *replica = Replica::start(world.store.seen(), journal, after.drained);
            (replica.kept, replica.left_lineages, replica.timeline) =
                (after.kept, after.left_lineages, after.timeline);
            replica.asks = after.asks;
        }
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
pub fn is_over(world: &World, replica: &Replica) -> bool {
    world.store.wait == Wait::Over || replica.confirmed != world.store.seen()
}

/// Sends a request, and keeps it until it is answered.
fn ask(world: &mut World, name: u8, ask: Ask) -> Id {
    let id = world.next_id(name);
    let replica = &mut world.replicas[usize::from(name)];
    let request = replica.request(id, ask);
    replica.asks.push(request);
    world.requests.push(request);
    id
}

fn take_stock(world: &mut World, name: u8) {
    let replica = &mut world.replicas[usize::from(name)];
    let Seen { lineage, epoch, .. } = replica.confirmed;
    if let Some(Grant { nonce, outlives }) = replica.stock.pop() {
        world.callers.push(Caller { nonce, lineage, epoch, expired: false, outlives });
    }
}

fn report(world: &mut World, caller: usize, name: u8, success: bool) {
    let Caller { nonce, lineage, epoch, .. } = world.callers[caller];
    if !success {
        world.left.failures -= 1;
    }
    let id = world.next_id(name);
    let place = &world.replicas[usize::from(name)];
    let request = Request { lineage, epoch, ..place.request(id, Ask::Outcome { nonce, success }) };
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
        Ask::Claim | Ask::HalfOpen => {
            let release = replica.release(id);
            world.requests.push(release);
        }
        Ask::Outcome { nonce, .. } => {
            replica.journal.push(request);
            world.callers.retain(|caller| caller.nonce != nonce);
        }
        Ask::Act { act: Act::ForcedOpen, .. } => {
            replica.journal.push(request);
            replica.overlay = Some(Overlay { base: request.epoch, state: State::ForcedOpen, id });
            let (lineage, base) = (request.lineage, request.epoch);
            world.told.push(Told { lineage, base, to: State::ForcedOpen });
        }
        Ask::Act { act: Act::Reset, .. } | Ask::Reconcile { .. } | Ask::Trip | Ask::Release => {}
    }
}

/// An act took effect: for the checker alone, those that were set before it are marked.
fn took_effect(world: &mut World, request: &Request) {
    // A crash ends what a replica owes: whoever set the act had no answer.
    let replica = &world.replicas[usize::from(request.id.replica)];
    let owed: Vec<Id> = replica.pending().map(|pending| pending.id).collect();
    let own_older = |of: &Request| owed.contains(&of.id) && of.id.number < request.id.number;
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
