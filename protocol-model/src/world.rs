//! Everything at one moment: store, replicas, messages under way, and callers.

use std::hash::{Hash, Hasher};

use crate::checker::Mix;
use crate::message::{Act, Answer, Ask, Epoch, Id, Overtaken, Request};
use crate::property::Property;
use crate::replica::{Replica, is_forced_open};
use crate::rule::Rule;
use crate::setup::{Fault, Setup};
use crate::store::{Record, Slot, State, Store};

/// Replicas at most.
pub const REPLICAS_MAX: usize = 3;

/// A caller that has the permit of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    /// Of its slot.
    pub nonce: Id,
    /// Of its slot.
    pub lineage: u8,
    /// Of its slot.
    pub epoch: Epoch,
    /// Whether its lease is over.
    pub expired: bool,
    /// Whether it believes in its lease longer than the store does. Only without a rule.
    pub outlives: bool,
}

/// A transition that a caller was told of, and that is not in the history yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Told {
    /// The lineage of that epoch.
    pub lineage: u8,
    /// The epoch that it began in.
    pub base: Epoch,
    /// The state that it led to.
    pub to: State,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    /// Calls that fail.
    pub failures: u8,
    /// Acts of operators.
    pub acts: u8,
    /// Faults.
    pub faults: u8,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The store.
    pub store: Store,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// On their way to the store, in no order.
    pub requests: Vec<Request>,
    /// On their way to a replica, in no order.
    pub answers: Vec<Answer>,
    /// Callers with a probe.
    pub callers: Vec<Caller>,
    /// What callers were told.
    pub told: Vec<Told>,
    /// What the store goes back to: a standby that follows no more.
    pub standby: Option<Box<Store>>,
    /// Lineages that were begun, and times that the store went back.
    pub lineages: u8,
    /// Times that the store went back.
    pub losses: u8,
    /// What may still happen.
    pub left: Left,
}

impl World {
    /// A breaker that nobody used, and replicas that know that.
    pub fn new(setup: &Setup) -> Self {
        let store = Store::new();
        let replica = Replica::start(store.seen(), Vec::new(), false);
        Self {
            replicas: vec![replica; usize::from(setup.replicas)],
            store,
            requests: Vec::new(),
            answers: Vec::new(),
            callers: Vec::new(),
            told: Vec::new(),
            standby: None,
            lineages: 0,
            losses: 0,
            left: Left { failures: setup.failures, acts: setup.acts, faults: setup.faults },
        }
    }

    /// The property that this state violates, if one does.
    pub fn violated(&self, setup: &Setup) -> Option<Property> {
        let too_many =
            |caller: &Caller| self.probes(caller.lineage, caller.epoch) > usize::from(setup.probes);
        // A restored backup of the same timeline has lost claims without a trace: that is not promised.
        if !setup.kinds.contains(&Fault::Restored) && self.callers.iter().any(too_many) {
            return Some(Property::ProbesBounded);
        }
        for replica in &self.replicas {
            if replica.state() != State::Closed {
                continue;
            }
            if self.store.closed_epochs[usize::from(replica.confirmed.lineage)]
                & (1 << replica.confirmed.epoch)
                == 0
            {
                return Some(Property::ClosedByStoreOnly);
            }
            let undecided = |entry: &Request| {
                matches!(entry.ask, Ask::Act { act: Act::ForcedOpen, overtaken: Overtaken::No, .. })
                    && !self.store.history.iter().any(|record| record.id == entry.id)
            };
            if replica.journal.iter().any(undecided) {
                return Some(Property::EmergencyStopStands);
            }
        }
        if self.lineages > self.losses {
            return Some(Property::OneLineageForOneLoss);
        }
        self.told.iter().any(|told| !self.is_kept(*told)).then_some(Property::NothingLost)
    }

    /// Probes of an epoch that a caller holds within its lease, or that are completed.
    fn probes(&self, lineage: u8, epoch: Epoch) -> usize {
        let of_epoch = self.store.slots_epoch == epoch && self.store.lineage == lineage;
        let done = |nonce: Option<Id>| {
            let is_done = |slot: &&Slot| matches!(slot, Slot::Done { nonce: of, .. } if nonce.is_none_or(|nonce| nonce == *of));
            if of_epoch { self.store.slots.iter().filter(is_done).count() } else { 0 }
        };
        let held = |caller: &&Caller| {
            (caller.lineage, caller.epoch) == (lineage, epoch)
                && !caller.expired
                && done(Some(caller.nonce)) == 0
        };
        self.callers.iter().filter(held).count() + done(None)
    }

    /// Whether a transition that a caller was told of will still get into the history.
    fn is_kept(&self, told: Told) -> bool {
        let proposes = |entry: &Request| {
            (entry.lineage, entry.epoch) == (told.lineage, told.base)
                && is_forced_open(entry) == (told.to == State::ForcedOpen)
        };
        self.store.has(told.lineage, told.base, told.to)
            || self.replicas.iter().any(|replica| replica.pending().chain(&replica.kept).any(proposes))
    }

    /// Whether all agree, in a state that calls can go on from, with nothing left to do.
    pub fn is_good(&self) -> bool {
        let row = self.store.seen();
        matches!(row.state, State::Closed | State::ForcedOpen)
            && self.store.checked_timeline == self.store.timeline
            && self.replicas.iter().all(|replica| {
                replica.confirmed == row && replica.overlay.is_none() && replica.journal.is_empty()
            })
    }

    /// Whether a replica's request or the answer to it is under way.
    pub fn is_under_way(&self, id: Id) -> bool {
        self.requests.iter().any(|request| request.id == id)
            || self.answers.iter().any(|answer| answer.to.id == id)
    }

    /// A number that a replica has not used for anything that is still there.
    pub fn next_id(&mut self, replica: u8) -> Id {
        let mut number = 0;
        self.each_id(|id| {
            if id.replica == replica {
                number = number.max(id.number);
            }
        });
        Id { replica, number: number + 1 }
    }

    /// Every id that something can still refer to, then those of slots and of the history.
    fn each_id(&mut self, mut visit: impl FnMut(&mut Id)) {
        self.each_live_id(&mut visit);
        self.store.each_id(&mut visit);
        if let Some(standby) = &mut self.standby {
            standby.each_id(&mut visit);
        }
    }

    fn each_live_id(&mut self, visit: &mut impl FnMut(&mut Id)) {
        for replica in &mut self.replicas {
            let requests = replica.asks.iter_mut().chain(&mut replica.journal).chain(&mut replica.kept);
            requests.for_each(|request| request.each_id(visit));
            replica.stock.iter_mut().for_each(|grant| visit(&mut grant.nonce));
            replica.overlay.iter_mut().for_each(|overlay| visit(&mut overlay.id));
        }
        self.requests.iter_mut().for_each(|request| request.each_id(visit));
        self.answers.iter_mut().for_each(|answer| answer.to.each_id(visit));
        self.callers.iter_mut().for_each(|caller| visit(&mut caller.nonce));
    }

    /// Brings states with the same future into one form: what nothing can refer to is forgotten, replicas are put in an order that does
    /// not depend on their names, ids are numbered anew. Returns where each replica went.
    pub fn normalize(&mut self, setup: &Setup) -> [u8; REPLICAS_MAX] {
        self.drop_messages_without_effect(setup);
        self.forget(setup);
        let places = self.sort_replicas();
        self.renumber(places);
        for store in std::iter::once(&mut self.store).chain(self.standby.as_deref_mut()) {
            store.slots.sort_unstable();
            store.history.sort_unstable();
        }
        for replica in &mut self.replicas {
            replica.asks.sort_unstable();
            replica.journal.sort_unstable();
            replica.kept.sort_unstable();
            replica.stock.sort_unstable();
        }
        self.requests.sort_unstable();
        self.answers.sort_unstable();
        self.callers.sort_unstable();
        self.told.sort_unstable();
        self.told.dedup();
        places
    }

    /// Messages that can change nothing, whenever they arrive.
    fn drop_messages_without_effect(&mut self, setup: &Setup) {
        let claimed = |id: Id| {
            let claims =
                |request: &Request| request.id == id && matches!(request.ask, Ask::Claim | Ask::HalfOpen);
            self.store.slots.iter().any(|slot| slot.nonce() == Some(id)) || self.requests.iter().any(claims)
        };
        let works = |request: &Request| request.ask != Ask::Release || claimed(request.id);
        let without_effect = self.requests.iter().any(|request| !works(request));
        if without_effect {
            self.requests = self.requests.iter().copied().filter(works).collect();
        }
        let replicas = &self.replicas;
        let works = |answer: &Answer| {
            let replica = &replicas[usize::from(answer.to.id.replica)];
            replica.pending().any(|pending| pending.id == answer.to.id)
                || answer.row.revision > replica.confirmed.revision
                || (answer.row.lineage != replica.confirmed.lineage
                    && (replica.left_lineages & (1 << answer.row.lineage) == 0
                        || !setup.keeps(Rule::LineageByTail)))
                || !setup.keeps(Rule::OldRowsIgnored)
                || (matches!(answer.to.ask, Ask::Claim | Ask::HalfOpen)
                    && replica.confirmed.state == State::HalfOpen
                    && answer.row.epoch == replica.confirmed.epoch)
        };
        self.answers.retain(works);
    }

    fn forget(&mut self, setup: &Setup) {
        let mut live = Numbers::default();
        self.each_live_id(&mut |id| live.add(*id));
        let settled = self.left.faults == 0 && self.is_in_one_lineage();
        if settled {
            // The store will not go back again: what is kept for that case is of no use.
            for replica in &mut self.replicas {
                replica.kept.clear();
                replica.left_lineages = 0;
            }
            let lineage = usize::from(self.store.lineage);
            (0..)
                .zip(&mut self.store.closed_epochs)
                .filter(|(of, _)| *of != lineage)
                .for_each(|(_, closed)| *closed = 0);
        }
        if settled || !setup.goes_back() {
            let store = &self.store;
            self.told.retain(|told| !store.has(told.lineage, told.base, told.to));
        }
        let told = &self.told;
        for store in std::iter::once(&mut self.store).chain(self.standby.as_deref_mut()) {
            let is_told = |record: &Record| {
                told.contains(&Told { lineage: record.lineage, base: record.base, to: record.to })
            };
            store.history.retain(|record| live.has(record.id) || is_told(record));
            store.each_id(&mut |id| {
                if !live.has(*id) {
                    *id = Id::NOBODY;
                }
            });
            if store.state != State::HalfOpen {
                // What is left of an epoch that is over: only for DUPLICATE.
                store.slots.retain(|slot| matches!(slot, Slot::Done { nonce, .. } if *nonce != Id::NOBODY));
                if store.slots.is_empty() {
                    store.slots_epoch = 0;
                }
            }
        }
    }

    /// Whether nothing of another lineage than the store's can come any more.
    fn is_in_one_lineage(&self) -> bool {
        let store = &self.store;
        store.timeline == store.checked_timeline
            && self.replicas.iter().all(|replica| {
                let known = replica.confirmed;
                known.lineage == store.lineage
                    && store.nonces.get(usize::from(known.revision)) == Some(&known.nonce)
                    && replica.noticed.is_none()
            })
            && self.answers.iter().all(|answer| answer.row.lineage == store.lineage)
    }

    /// Orders the replicas by what can be seen of them without names. Replicas that look alike keep their order. Returns where each went.
    fn sort_replicas(&mut self) -> [u8; REPLICAS_MAX] {
        let mut order = [0, 1, 2];
        let mut looks = [0; REPLICAS_MAX];
        for (index, look) in looks.iter_mut().enumerate().take(self.replicas.len()) {
            *look = self.look(index);
        }
        let order = &mut order[..self.replicas.len()];
        order.sort_by_key(|index| looks[*index]);
        let mut places = [0; REPLICAS_MAX];
        for (place, index) in (0..).zip(order) {
            places[*index] = place;
        }
        // At most three: put each in its place by swapping.
        let mut at = places;
        for index in 0..self.replicas.len() {
            while usize::from(at[index]) != index {
                let to = usize::from(at[index]);
                self.replicas.swap(index, to);
                at.swap(index, to);
            }
        }
        places
    }

    /// A number for what can be seen of a replica without names.
    fn look(&self, index: usize) -> u64 {
        let replica = &self.replicas[index];
        let of = |id: Id| usize::from(id.replica) == index;
        let kind = |place: u8, ask: &Ask| 1_u64 << (8 * place + ask.kind());
        let mut hasher = Mix::default();
        (replica.confirmed, replica.overlay.map(|overlay| (overlay.base, overlay.state))).hash(&mut hasher);
        (
            replica.stock.len(),
            replica.drained,
            replica.kept.len(),
            replica.noticed,
            replica.timeline,
            replica.left_lineages,
        )
            .hash(&mut hasher);
        let asks = replica.asks.iter().map(|request| kind(0, &request.ask));
        let journal = replica.journal.iter().map(|request| kind(1, &request.ask));
        let requests =
            self.requests.iter().filter(|request| of(request.id)).map(|request| kind(2, &request.ask));
        let answers =
            self.answers.iter().filter(|answer| of(answer.to.id)).map(|answer| kind(3, &answer.to.ask));
        let callers = self.callers.iter().filter(|caller| of(caller.nonce)).map(|_| 1 << 32);
        let slots = self.store.slots.iter().filter(|slot| slot.nonce().is_some_and(of)).map(|_| 1 << 40);
        asks.chain(journal)
            .chain(requests)
            .chain(answers)
            .chain(callers)
            .chain(slots)
            .sum::<u64>()
            .hash(&mut hasher);
        hasher.finish()
    }

    fn renumber(&mut self, places: [u8; REPLICAS_MAX]) {
        let mut used = Numbers::default();
        self.each_id(|id| used.add(*id));
        self.each_id(|id| {
            if *id != Id::NOBODY {
                *id = Id { replica: places[usize::from(id.replica)], number: used.rank(*id) };
            }
        });
    }
}

/// The numbers that each replica uses, a bit each.
#[derive(Default)]
struct Numbers([u64; REPLICAS_MAX]);

impl Numbers {
    fn add(&mut self, id: Id) {
        if id != Id::NOBODY {
            self.0[usize::from(id.replica)] |= 1 << id.number;
        }
    }

    fn has(&self, id: Id) -> bool {
        id != Id::NOBODY && self.0[usize::from(id.replica)] & (1 << id.number) != 0
    }

    /// How many are not above it.
    fn rank(&self, id: Id) -> u8 {
        let above = self.0[usize::from(id.replica)] >> id.number >> 1;
        u8::try_from(self.0[usize::from(id.replica)].count_ones() - above.count_ones()).unwrap_or(u8::MAX)
    }
}
