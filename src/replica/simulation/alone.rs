//! What the checker knows of replicas that decide alone, and what must hold then.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use breaker::{Recorded, State, Time};

use crate::engine::Permit;
use crate::store::StoredTransition;

/// The branch of a breaker in one replica's life: breaker, who gave the permit, epoch that it stands over, number.
type Branch = (String, u64, u64, u32);

/// What happened on branches.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct BranchFigures {
    /// Probes that were given.
    pub(super) probes: u64,
    /// Outcomes that counted.
    pub(super) recorded: u64,
    /// Outcomes that came when the branch was over, or elsewhere.
    pub(super) late: u64,
    /// Transitions to CLOSED, and to OPEN, in the history.
    pub(super) closed: u64,
    pub(super) opened: u64,
    /// Of these, those that came to stand.
    pub(super) stood: u64,
}

impl AddAssign for BranchFigures {
    fn add_assign(&mut self, other: Self) {
        self.probes += other.probes;
        self.recorded += other.recorded;
        self.late += other.late;
        self.closed += other.closed;
        self.opened += other.opened;
        self.stood += other.stood;
    }
}

/// A probe.
#[derive(Clone, Copy)]
struct Given {
    at: Time,
    /// Until when it may be out.
    until: Time,
    counted: bool,
}

/// What the checker knows of it.
#[derive(Default)]
pub(super) struct Branches {
    /// By nonce. Both times are of the replica's clock, by which it ends leases.
    probes: BTreeMap<Branch, BTreeMap<u64, Given>>,
    /// Which replica gave permits of this issuer.
    givers: BTreeMap<u64, usize>,
    pub(super) figures: BranchFigures,
}

fn branch_of(name: &str, permit: &Permit) -> Branch {
    (name.to_owned(), permit.issuer, permit.pass.epoch, permit.branch)
}

impl Branches {
    /// A replica gave a permit alone. Answers what is wrong with it.
    pub(super) fn given(
        &mut self,
        replica: usize,
        name: &str,
        permit: &Permit,
        (now, lease, permitted): (Time, Duration, u32),
    ) -> Option<String> {
        self.givers.insert(permit.issuer, replica);
        let probe = permit.pass.probe?;
        self.figures.probes += 1;
        let probes = self.probes.entry(branch_of(name, permit)).or_default();
        probes.insert(probe.nonce, Given { at: now, until: now + lease, counted: false });
        let is_taken = |given: &&Given| given.at <= now && (given.counted || now < given.until);
        let taken = probes.values().filter(is_taken).count();
        (taken > permitted as usize).then(|| {
            format!("r{replica} has {taken} probes of {name} out or completed alone, of {permitted}")
        })
    }

    /// What became of an outcome under such a permit, at a replica. Answers what is wrong with it.
    pub(super) fn recorded(
        &mut self,
        replica: usize,
        name: &str,
        permit: &Permit,
        recorded: Recorded,
    ) -> Option<String> {
        let giver = self.givers.get(&permit.issuer).copied();
        match recorded {
            Recorded::Recorded if giver != Some(replica) => {
                return Some(format!("r{replica} counts an outcome of {name} that {giver:?} allowed alone"));
            }
            Recorded::Recorded => {
                self.figures.recorded += 1;
                let probes = self.probes.entry(branch_of(name, permit)).or_default();
                if let Some(given) = permit.pass.probe.and_then(|probe| probes.get_mut(&probe.nonce)) {
                    given.counted = true;
                }
            }
            Recorded::Late => self.figures.late += 1,
            Recorded::Duplicate => {}
            // FORCED_OPEN and the like came over it.
            Recorded::NotCounted => return Some(format!("r{replica} does not count {name}, allowed alone")),
        }
        None
    }

    /// What was decided alone is history, and stands as OPEN over CLOSED at the most.
    pub(super) fn check(&mut self, row: &StoredTransition) -> Option<String> {
        if !row.store_unavailable || row.lost_transitions > 0 {
            return None;
        }
        self.figures.closed += u64::from(row.to == State::Closed);
        self.figures.opened += u64::from(row.to == State::Open);
        self.figures.stood += u64::from(row.epoch.is_some());
        let may_stand = (row.from, row.to) == (State::Closed, State::Open);
        (row.epoch.is_some() && !may_stand)
            .then(|| format!("{}: {} -> {}, decided alone, stands", row.key, row.from, row.to))
    }
}
