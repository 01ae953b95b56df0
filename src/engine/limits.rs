//! What an engine is made with, and why it refuses a call.

use std::time::Duration;

use breaker::{KeyError, Numbering};

use super::seals::Seals;
use super::shares::BreakerLimit;

/// What an engine is made with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Breakers in all; beyond it a new one is refused.
    pub breakers_max: usize,
    /// Breakers of one service, tombstones included; beyond it a new one is refused.
    pub breakers_per_service_max: usize,
    /// Breakers that the requests of one caller created, tombstones included; beyond it a new one is refused.
    pub breakers_per_caller_max: usize,
    /// Breakers, and services, with metric series of their own; the rest count under [`super::OTHER`].
    pub own_series_max: usize,
    /// How long a closed breaker that nobody configured may go unused, until it is retired.
    pub idle_ttl: Duration,
}

/// What the engine takes from the store it stands on.
#[derive(Debug, Clone)]
pub struct StoreIdentity {
    /// The store's seals.
    pub seals: Seals,
    /// The store's timeline.
    pub timeline: u32,
    /// Random for each life of the process.
    pub issuer: u64,
    /// Who numbers epochs.
    pub numbering: Numbering,
}

/// Why the engine did not take a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The service or the name cannot be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// More outcomes of probes wait for the store than there may: it does not answer.
    #[error("too many outcomes of probes wait for the store, which does not answer")]
    TooManyOutcomes,
    /// There are as many breakers as there may be.
    #[error("{limit} reached ({max}): increase {}", limit.setting())]
    Full {
        /// Which limit is reached.
        limit: BreakerLimit,
        /// Its figure.
        max: usize,
    },
    /// The permit is another breaker's than the one named beside it.
    #[error("the permit was issued for another breaker, not for {service}/{name}")]
    OtherBreaker {
        /// The service named.
        service: String,
        /// The name.
        name: String,
    },
    /// The permit is of another epoch than the one given beside it.
    #[error("the permit is of epoch {permit}, not {given}")]
    OtherEpoch {
        /// The permit's.
        permit: u64,
        /// The one given.
        given: u64,
    },
}
