//! The overrides that services have, as parts of them come to their breakers.

use std::collections::{BTreeMap, BTreeSet};

use breaker::Time;

use crate::store::Proposal;

/// The overrides of some services, by service.
#[derive(Debug, Default)]
pub(in crate::store) struct ServiceOverrides(BTreeMap<String, InStore>);

/// What the store has of the override of a service.
#[derive(Debug, Clone, Copy)]
struct InStore {
    /// The revision that set it.
    revision: u64,
    /// When it ends by itself, by the store's clock; none: when it is cleared.
    ends_at: Option<Time>,
}

impl ServiceOverrides {
    /// A service has this one.
    pub(in crate::store) fn insert(&mut self, service: String, revision: u64, ends_at: Option<Time>) {
        self.0.insert(service, InStore { revision, ends_at });
    }

    /// The revision that set the one in force; none: none is.
    pub(super) fn in_force(&self, service: &str, now: Time) -> Option<u64> {
        let set = self.0.get(service)?;
        set.ends_at.is_none_or(|end| now < end).then_some(set.revision)
    }
}

/// The services whose overrides these proposals bring to breakers.
pub(in crate::store) fn named_services(proposals: &[Proposal]) -> BTreeSet<&str> {
    let brings = |proposal: &&Proposal| proposal.service_override.is_some();
    proposals.iter().filter(brings).map(|proposal| &**proposal.key.service()).collect()
}
