//! Half-open in a breaker: who decides over its probes, and those that wait here for a call.

use std::time::Duration;

use crate::mix;
use crate::outcome::Probe;
use crate::probes::{PROBE_RETRY_AFTER_MAX, ProbeCounts, Probes};
use crate::time::Time;
use crate::transition::HalfOpenTerms;

/// A probe that no call takes within this time goes back, so that another replica can have it.
const STOCK_KEPT: Duration = Duration::from_secs(1);

/// Between two proposals of the end of one half-open, at the most: the store said that it was too early. Clocks differ by little.
const END_AGAIN_MAX: Duration = Duration::from_secs(1);

/// A request for probes, on its way to who decides over them. It may be sent again: the same nonces get the same slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeClaim {
    /// The epoch that it is for.
    pub epoch: u64,
    /// One for each probe that is wanted.
    pub nonces: Vec<u64>,
    /// When it was first sent: leases count from here.
    pub sent_at: Time,
}

/// The answer to a [`ProbeClaim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeGrant {
    /// The epoch that it is for.
    pub epoch: u64,
    /// The probes that were given; their nonces are of the claim.
    pub probes: Vec<Probe>,
    /// If fewer were given than wanted: how long until a slot may be free.
    pub retry_after: Option<Duration>,
    /// How long ago the first probe of this half-open was given to anybody; none: none was.
    pub since_first_probe: Option<Duration>,
    /// What was counted of all probes, those of others included.
    pub counts: ProbeCounts,
    /// Probes, of whichever replica, whose slots these took: their outcomes did not come before their leases ended.
    pub timed_out: u32,
}

impl ProbeGrant {
    /// No probe: the store has no such half-open.
    pub fn refused(epoch: u64) -> Self {
        Self {
            epoch,
            probes: Vec::new(),
            retry_after: Some(PROBE_RETRY_AFTER_MAX),
            since_first_probe: None,
            counts: ProbeCounts::default(),
            timed_out: 0,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct HalfOpen {
    terms: HalfOpenTerms,
    decides: Decides,
}

/// Who decides over the probes.
#[derive(Debug, Clone)]
enum Decides {
    /// This breaker, which is the only one.
    Here(Probes),
    /// The store.
    Store(Stock),
}

/// What a replica has of the probes that the store gave it.
#[derive(Debug, Clone, Default)]
struct Stock {
    /// Given to this replica, and to no call yet.
    grants: Vec<Granted>,
    /// Calls that found none, since the last claim was sent or answered, each once; at most P.
    wanted: u32,
    in_flight: Option<ProbeClaim>,
    /// Claims that were answered.
    answers: u32,
    /// No slot is free until then, as far as is known.
    none_until: Option<Time>,
    first_probe_at: Option<Time>,
    /// Given to calls from here, until their leases end.
    out: Vec<Granted>,
    counts: ProbeCounts,
    /// Nonces of probes to be given back: the store may have given a slot to each.
    returned: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Granted {
    probe: Probe,
    received_at: Time,
    lease_from: Time,
}

/// What a call in half-open gets.
pub(super) enum Place {
    /// A probe.
    Probe {
        probe: Probe,
        /// How long it may be out.
        lease: Duration,
        /// Whether it took the slot of one whose outcome did not come in time. Those of the store are told of with its answer.
        timed_out: bool,
    },
    /// None is free.
    Exhausted(Duration),
    /// The store is asked for one, or is to be.
    Wanted {
        /// The number of the answer that will tell.
        answer: u32,
    },
}

impl HalfOpen {
    pub(super) fn decided_here(terms: HalfOpenTerms) -> Self {
        Self { terms, decides: Decides::Here(Probes::new(terms)) }
    }

    pub(super) fn decided_by_store(terms: HalfOpenTerms) -> Self {
        Self { terms, decides: Decides::Store(Stock::default()) }
    }

    pub(super) fn terms(&self) -> HalfOpenTerms {
        self.terms
    }

    /// The probes, if they are decided over here.
    pub(super) fn own(&mut self) -> Option<&mut Probes> {
        match &mut self.decides {
            Decides::Here(probes) => Some(probes),
            Decides::Store(_) => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.decides {
            Decides::Here(probes) => probes.deadline(),
            Decides::Store(stock) => Some(stock.first_probe_at? + self.terms.max_wait?),
        }
    }

    /// It should have ended by now, and has not, by the store's clock, which is behind the one here: in a while then.
    pub(super) fn ends_later(&mut self, now: Time) {
        let Some(max_wait) = self.terms.max_wait.filter(|_| self.deadline().is_some_and(|end| end <= now))
        else {
            return;
        };
        if let Decides::Store(stock) = &mut self.decides {
            stock.first_probe_at = Some(now + (max_wait / 16).min(END_AGAIN_MAX) - max_wait);
        }
    }

    /// When something here is to be looked at that changes no state: a probe goes back.
    pub(super) fn stock_deadline(&self) -> Option<Time> {
        let Decides::Store(stock) = &self.decides else { return None };
        stock.grants.iter().map(|grant| grant.stays_until(&self.terms)).min()
    }

    /// A probe for a call. `nonce` is for one that is given here; `awaited` is the answer that the call was told to wait for.
    pub(super) fn take(&mut self, nonce: u64, awaited: Option<u32>, now: Time) -> Place {
        let stock = match &mut self.decides {
            Decides::Here(probes) => {
                return match probes.claim(nonce, now) {
                    Ok(given) => Place::Probe {
                        probe: given.probe,
                        lease: self.terms.lease,
                        timed_out: given.timed_out.is_some(),
                    },
                    Err(retry_after) => Place::Exhausted(retry_after),
                };
            }
            Decides::Store(stock) => stock,
        };
        stock.expire(&self.terms, now);
        if !stock.grants.is_empty() {
            let granted = stock.grants.remove(0);
            stock.out.push(granted);
            let lease = granted.lease_until(&self.terms).since(now);
            return Place::Probe { probe: granted.probe, lease, timed_out: false };
        }
        if let Some(until) = stock.none_until.filter(|until| now < *until) {
            return Place::Exhausted(until.since(now));
        }
        let answer = stock.answers.wrapping_add(1);
        // It is counted already, in what is wanted or in the claim under way.
        if awaited != Some(answer) {
            stock.wanted = stock.wanted.saturating_add(1).min(self.terms.permitted);
        }
        Place::Wanted { answer }
    }

    /// Lets go of probes that no call took in time.
    pub(super) fn age(&mut self, now: Time) {
        if let Decides::Store(stock) = &mut self.decides {
            stock.expire(&self.terms, now);
        }
    }

    /// Whether something is to be asked of the store that was not asked yet.
    pub(super) fn has_requests(&self) -> bool {
        match &self.decides {
            Decides::Here(_) => false,
            Decides::Store(stock) => self.has_returned() || (stock.wanted > 0 && stock.in_flight.is_none()),
        }
    }

    /// Whether probes are to be given back to the store.
    pub(super) fn has_returned(&self) -> bool {
        matches!(&self.decides, Decides::Store(stock) if !stock.returned.is_empty())
    }

    /// What is to be claimed of the store now: the claim under way, sent again, or a new one.
    pub(super) fn claim(&mut self, epoch: u64, seed: u64, now: Time) -> Option<&ProbeClaim> {
        let Decides::Store(stock) = &mut self.decides else { return None };
        // An old one may have slots, of which too little is left: it ends, and they go back.
        if stock.in_flight.as_ref().is_some_and(|claim| now >= claim.sent_at + self.terms.lease / 2) {
            stock.give_up_claim();
        }
        if stock.in_flight.is_none() && stock.wanted > 0 {
            // Never 0, and not to be guessed from another life of the process.
            let nonces = (0..u64::from(std::mem::take(&mut stock.wanted)))
                .map(|number| mix(mix(seed).wrapping_add(number)).max(1))
                .collect();
            stock.in_flight = Some(ProbeClaim { epoch, nonces, sent_at: now });
        }
        stock.in_flight.as_ref()
    }

    /// Gives up the claim under way, if there is one. What it was for is wanted still.
    pub(super) fn give_up_claim(&mut self) {
        if let Decides::Store(stock) = &mut self.decides {
            stock.give_up_claim();
        }
    }

    /// The answer to a claim. Probes that nobody claimed, or of which too little is left, go back.
    pub(super) fn granted(&mut self, grant: &ProbeGrant, now: Time) {
        let Decides::Store(stock) = &mut self.decides else { return };
        // One that was given up may be answered late; the claim after it goes on.
        let is_of = |claim: &mut ProbeClaim| {
            grant.probes.first().is_none_or(|probe| claim.nonces.contains(&probe.nonce))
        };
        let is_late = stock.in_flight.is_some();
        let claim = stock.in_flight.take_if(is_of);
        let is_late = is_late && claim.is_none();
        if !is_late {
            // Calls that still wait look again now, and count anew.
            stock.wanted = 0;
            stock.answers = stock.answers.wrapping_add(1);
        }
        for probe in &grant.probes {
            let is_known = stock.grants.iter().chain(&stock.out).any(|known| known.probe == *probe);
            match &claim {
                Some(claim) if claim.nonces.contains(&probe.nonce) => {
                    let granted = Granted { probe: *probe, received_at: now, lease_from: claim.sent_at };
                    stock.grants.push(granted);
                }
                _ if !is_known => stock.returned.push(probe.nonce),
                _ => {}
            }
        }
        stock.expire(&self.terms, now);
        if is_late {
            return;
        }
        stock.none_until = grant.retry_after.map(|rest| now + rest.min(PROBE_RETRY_AFTER_MAX));
        if let Some(since) = grant.since_first_probe {
            stock.first_probe_at = Some(now - since);
        }
        stock.counts = grant.counts;
    }

    /// The store took the outcome of a probe, or says that it holds no slot there any more.
    pub(super) fn settled(&mut self, probe: Probe, counts: ProbeCounts) {
        if let Decides::Store(stock) = &mut self.decides {
            stock.out.retain(|granted| granted.probe != probe);
            stock.counts = counts;
        }
    }

    /// Gives a probe back: to the next call, where the store gave it to this replica.
    pub(super) fn release(&mut self, probe: Probe, now: Time) {
        match &mut self.decides {
            Decides::Here(probes) => {
                probes.release(probe, now);
            }
            Decides::Store(stock) => {
                if let Some(place) = stock.out.iter().position(|granted| granted.probe == probe) {
                    let granted = Granted { received_at: now, ..stock.out.remove(place) };
                    stock.grants.push(granted);
                    stock.expire(&self.terms, now);
                }
            }
        }
    }

    /// No call will come any more: what waits for one goes back, and what a claim may get that was not answered.
    pub(super) fn return_stock(&mut self) {
        if let Decides::Store(stock) = &mut self.decides {
            stock.returned.extend(stock.grants.drain(..).map(|granted| granted.probe.nonce));
            stock.give_up_claim();
            stock.wanted = 0;
        }
    }

    /// Nonces of the probes that are to be given back to the store. Who takes them sees to it that it hears of them.
    pub(super) fn take_returned(&mut self, now: Time) -> Vec<u64> {
        match &mut self.decides {
            Decides::Here(_) => Vec::new(),
            Decides::Store(stock) => {
                stock.expire(&self.terms, now);
                std::mem::take(&mut stock.returned)
            }
        }
    }

    pub(super) fn counts(&self) -> ProbeCounts {
        match &self.decides {
            Decides::Here(probes) => probes.counts(),
            Decides::Store(stock) => stock.counts,
        }
    }

    /// Probes that are out under a lease, as far as is known here.
    pub(super) fn out(&self, now: Time) -> u32 {
        match &self.decides {
            Decides::Here(probes) => probes.out(now),
            Decides::Store(stock) => {
                let out = stock.out.iter().filter(|granted| now < granted.lease_until(&self.terms)).count();
                u32::try_from(out).unwrap_or(u32::MAX)
            }
        }
    }
}

impl Stock {
    /// The store may have given slots to it.
    fn give_up_claim(&mut self) {
        if let Some(claim) = self.in_flight.take() {
            self.wanted = self.wanted.max(u32::try_from(claim.nonces.len()).unwrap_or(u32::MAX));
            self.returned.extend(claim.nonces);
        }
    }

    fn expire(&mut self, terms: &HalfOpenTerms, now: Time) {
        let (grants, returned) = (&mut self.grants, &mut self.returned);
        grants.retain(|granted| {
            let stays = now < granted.stays_until(terms);
            if !stays {
                returned.push(granted.probe.nonce);
            }
            stays
        });
        self.out.retain(|granted| now < granted.lease_until(terms));
    }
}

impl Granted {
    fn lease_until(&self, terms: &HalfOpenTerms) -> Time {
        self.lease_from + terms.lease
    }

    /// How long it waits for a call: a second, and no longer than half of its lease, so that a call has time for its probe.
    fn stays_until(&self, terms: &HalfOpenTerms) -> Time {
        (self.received_at + STOCK_KEPT).min(self.lease_from + terms.lease / 2)
    }
}
