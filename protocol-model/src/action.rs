//! What can happen.

use crate::checker::Model;
use crate::message::{Act, Ask, Id, Request};
use crate::property::Property;
use crate::replica::{Grant, Replica, is_forced_open};
use crate::rule::Rule;
use crate::setup::{Fault, Leases, Setup};
use crate::step::is_over;
use crate::store::{Slot, State, Wait};
use crate::world::World;

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
    /// A standby stops following the store.
    StandbyStops,
    /// That standby becomes the store.
    StoreGoesBack,
    /// A replica that noticed that the store went back begins a new lineage.
    BeginLineage(u8),
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
        let goes_back = self.faulty(world, Fault::StoreBack) || self.faulty(world, Fault::Restored);
        // Where replicas crash too, it goes back once: two faults are one of each.
        if goes_back && (world.losses == 0 || !self.kinds.contains(&Fault::Crash)) {
            // With the store's own state in hand, nothing would be lost.
            let lags = world.standby.as_ref().is_some_and(|standby| **standby != world.store);
            if lags {
                actions.push(Action::StoreGoesBack);
            } else if world.standby.is_none() {
                actions.push(Action::StandbyStops);
            }
        }
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
            | Action::StandbyStops
            | Action::StoreGoesBack
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
            | Action::BeginLineage(_)
            | Action::LeaseEnds(_) => false,
        }
    }

    fn is_good(&self, world: &World) -> bool {
        world.is_good()
    }

    fn depth_max(&self) -> u32 {
        self.depth_max
    }
}

impl Setup {
    fn faulty(&self, world: &World, fault: Fault) -> bool {
        world.left.faults > 0 && self.kinds.contains(&fault)
    }

    fn replica_actions(&self, world: &World, name: u8, actions: &mut Vec<Action>) {
        let replica = &world.replicas[usize::from(name)];
        let unchecked = self.is_new_timeline(&world.store, replica);
        if replica.noticed.is_some() {
            actions.push(Action::BeginLineage(name));
        } else if world.store.seen() != replica.confirmed || unchecked {
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
}
