//! What breakerd said of services, and of breakers that this process does not use yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, State, Thresholds, Time};

use crate::cell::{Heard, ServiceOverride};

/// Breakers without a use here of which a state is kept. More are forgotten: a snapshot is requested when one of them might be used.
const OTHERS_MAX: usize = 10_000;
/// Services of which thresholds are kept, as many as breakerd can have by configuration and over the API.
pub(crate) const SERVICES_MAX: usize = 20_000;

/// A service, as breakerd said it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) thresholds: Arc<Thresholds>,
    pub(crate) revision: u64,
    pub(crate) set: Option<ServiceOverride>,
}

/// A state with the time that it was said.
#[derive(Debug, Clone, Copy)]
struct Said {
    heard: Heard,
    at: Time,
}

#[derive(Debug)]
pub(crate) struct Known {
    fallbacks: BTreeMap<String, Arc<Thresholds>>,
    /// Those that breakerd told; the empty name: its defaults.
    services: HashMap<Box<str>, Service>,
    others: HashMap<Key, Said>,
    /// The timeline of the store that all this is of.
    pub(crate) timeline: Option<u64>,
    /// Some state was forgotten.
    pub(crate) forgot: bool,
}

impl Known {
    pub(crate) fn new(fallbacks: BTreeMap<String, Arc<Thresholds>>) -> Self {
        Self { fallbacks, services: HashMap::new(), others: HashMap::new(), timeline: None, forgot: false }
    }

    /// What breakers of a service are judged by, and the revision of it.
    pub(crate) fn thresholds(&self, service: &str) -> (Arc<Thresholds>, u64) {
        if let Some(known) = self.services.get(service).or_else(|| self.services.get("")) {
            return (Arc::clone(&known.thresholds), known.revision);
        }
        let fallback = self.fallbacks.get(service).or_else(|| self.fallbacks.get(""));
        (fallback.cloned().unwrap_or_default(), 0)
    }

    pub(crate) fn override_of(&self, service: &str) -> Option<ServiceOverride> {
        self.services.get(service).and_then(|known| known.set)
    }

    /// A service is this from now on; None: the defaults are.
    pub(crate) fn set_service(&mut self, service: &str, known: Option<Service>) {
        match known {
            Some(known) if self.services.len() < SERVICES_MAX || self.services.contains_key(service) => {
                self.services.insert(service.into(), known);
            }
            Some(_) => {}
            None => {
                self.services.remove(service);
            }
        }
    }

    /// A breaker that is not used here has this state.
    pub(crate) fn set_other(&mut self, key: Key, heard: Heard, at: Time) {
        if heard.state == State::Closed {
            self.others.remove(&key);
        } else if self.others.len() < OTHERS_MAX || self.others.contains_key(&key) {
            self.others.insert(key, Said { heard, at });
        } else {
            self.forgot = true;
        }
    }

    /// Takes the state of a breaker that is used from `now` on.
    pub(crate) fn take_other(&mut self, key: &Key, now: Time) -> Option<Heard> {
        let Said { mut heard, at } = self.others.remove(key)?;
        heard.remaining = heard.remaining.map(|rest| rest.saturating_sub(now.since(at)));
        Some(heard)
    }

    /// Forgets what was said, for a new snapshot.
    pub(crate) fn replace(&mut self, services: HashMap<Box<str>, Service>) {
        self.services = services;
        self.others.clear();
        self.forgot = false;
    }
}

/// The rest of a time that was said `ago`.
pub(crate) fn end_of(remaining: Option<Duration>, now: Time) -> Time {
    remaining.map_or(Time::MAX, |remaining| now + remaining)
}
