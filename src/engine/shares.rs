//! How many breakers one service, and one caller, may have, so that neither can take the room of all others.
//!
//! A breaker counts for its service and for the caller whose request created it, from its creation until nothing is known
//! of it any more: while it lives, and while its tombstone is kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::num::NonZeroU64;

use super::seals::Seals;
use super::sync::Mutex;

/// On whose behalf a breaker is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creator<'a> {
    /// Of a client that is authenticated: its name.
    Identity(&'a str),
    /// Of one that is not: its address.
    Address(&'a str),
    /// Of nobody but breakerd: it is configured, or was stored.
    Server,
}

/// The limits on the number of breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerLimit {
    /// Of all.
    Total,
    /// Of one service.
    Service,
    /// Of those that the requests of one caller created.
    Caller,
}

impl BreakerLimit {
    /// The setting that it is set by.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Total => "limits.breakers_max",
            Self::Service => "limits.breakers_per_service_max",
            Self::Caller => "limits.breakers_per_caller_max",
        }
    }
}

impl std::fmt::Display for BreakerLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Total => "breaker limit",
            Self::Service => "breaker limit of the service",
            Self::Caller => "breaker limit of this client",
        })
    }
}

/// Whom a breaker counts for: hashes under the store's secret, so that nobody can make two that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    service: u64,
    caller: CallerHash,
}

/// The hash of a caller; none: nobody but breakerd created the breaker.
pub(super) type CallerHash = Option<NonZeroU64>;

impl Owner {
    pub(super) fn new(seals: &Seals, service: &str, creator: Creator<'_>) -> Self {
        let caller = match creator {
            Creator::Identity(name) => NonZeroU64::new(seals.caller_id(Some(name), "").0),
            Creator::Address(address) => NonZeroU64::new(seals.caller_id(None, address).0),
            Creator::Server => None,
        };
        Self::of(seals, service, caller)
    }

    /// Of a breaker of `service` that was created for `caller`.
    pub(super) fn of(seals: &Seals, service: &str, caller: CallerHash) -> Self {
        Self { service: seals.key_id(service, "").hash(), caller }
    }

    pub(super) fn caller(&self) -> CallerHash {
        self.caller
    }
}

/// What each service and each caller has. As many entries as there are breakers and tombstones, at the most: none is kept
/// of those that have nothing.
#[derive(Debug)]
pub(super) struct Shares {
    service_max: usize,
    caller_max: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    by_service: HashMap<u64, usize>,
    by_caller: HashMap<NonZeroU64, usize>,
}

impl Shares {
    pub(super) fn new(service_max: usize, caller_max: usize) -> Self {
        Self { service_max, caller_max, used: Mutex::default() }
    }

    /// Counts one more, if there is room for it.
    ///
    /// # Errors
    /// The limit that is reached, and its figure; nothing is counted then.
    pub(super) fn take(&self, owner: Owner, room: Room) -> Result<(), (BreakerLimit, usize)> {
        let mut used = self.used.lock();
        let within = |max| if room == Room::Always { usize::MAX } else { max };
        if !count(&mut used.by_service, owner.service, within(self.service_max)) {
            return Err((BreakerLimit::Service, self.service_max));
        }
        if let Some(caller) = owner.caller
            && !count(&mut used.by_caller, caller, within(self.caller_max))
        {
            uncount(&mut used.by_service, owner.service);
            return Err((BreakerLimit::Caller, self.caller_max));
        }
        Ok(())
    }

    /// Whether the service of `owner` has any.
    pub(super) fn has_service(&self, owner: Owner) -> bool {
        self.used.lock().by_service.contains_key(&owner.service)
    }

    /// One less.
    pub(super) fn give_back(&self, owner: Owner) {
        let mut used = self.used.lock();
        uncount(&mut used.by_service, owner.service);
        if let Some(caller) = owner.caller {
            uncount(&mut used.by_caller, caller);
        }
    }
}

/// Whether a new breaker needs free room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    IfAny,
    Always,
}

fn count<K: Eq + Hash>(used: &mut HashMap<K, usize>, key: K, max: usize) -> bool {
    match used.entry(key) {
        Entry::Occupied(mut present) if *present.get() < max => *present.get_mut() += 1,
        Entry::Vacant(vacant) if max > 0 => drop(vacant.insert(1)),
        _ => return false,
    }
    true
}

fn uncount<K: Eq + Hash>(used: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut present) = used.entry(key) {
        *present.get_mut() -= 1;
        if *present.get() == 0 {
            present.remove();
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_nothing_and_nothing_is_kept_of_those_that_have_nothing() {
        let (shares, seals) = (Shares::new(2, 1), Seals::new(&[7; 16]));
        let owner = |service: &str, caller| Owner::new(&seals, service, Creator::Address(caller));
        assert_eq!(shares.take(owner("a", "x"), Room::IfAny), Ok(()));
        for number in 0..100 {
            let refused = shares.take(owner(&number.to_string(), "x"), Room::IfAny);
            assert_eq!(refused, Err((BreakerLimit::Caller, 1)));
        }
        assert_eq!(shares.take(owner("a", "y"), Room::IfAny), Ok(()));
        assert_eq!(shares.take(owner("a", "z"), Room::IfAny), Err((BreakerLimit::Service, 2)));
        assert_eq!(shares.take(Owner::new(&seals, "a", Creator::Server), Room::Always), Ok(()));
        shares.give_back(owner("a", "x"));
        shares.give_back(owner("a", "y"));
        shares.give_back(Owner::new(&seals, "a", Creator::Server));
        let used = shares.used.lock();
        assert!(used.by_service.is_empty() && used.by_caller.is_empty());
    }

    #[test]
    fn where_none_may_be_the_first_is_refused() {
        let seals = Seals::new(&[7; 16]);
        let owner = Owner::new(&seals, "a", Creator::Address("x"));
        assert_eq!(Shares::new(0, 1).take(owner, Room::IfAny), Err((BreakerLimit::Service, 0)));
        assert_eq!(Shares::new(1, 0).take(owner, Room::IfAny), Err((BreakerLimit::Caller, 0)));
        assert_eq!(Shares::new(0, 0).take(owner, Room::Always), Ok(()));
    }

    #[test]
    fn an_identity_is_not_the_address_that_it_is_called_like() {
        let seals = Seals::new(&[7; 16]);
        let owner = |creator| Owner::new(&seals, "a", creator);
        assert_ne!(owner(Creator::Identity("::1")), owner(Creator::Address("::1")));
        assert_ne!(owner(Creator::Address("::1")), owner(Creator::Server));
    }
}
