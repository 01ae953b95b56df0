//! What the engine is asked and told, and what it answers.

use breaker::{Decision, KeyError, Recorded, State};

use super::permit::Permit;

/// Why the engine did not take a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The service or the name cannot be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are as many breakers as there may be.
    #[error("there are already {max} breakers, which is the limit; the new one was not created")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The permit is another breaker's than the one named beside it.
    #[error("the permit belongs to another breaker than {service}/{name}")]
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

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// What the machine decided.
    pub decision: Decision,
    /// What the call carries, if it may go ahead.
    pub permit: Option<Permit>,
    /// The revision of the thresholds in force.
    pub config_revision: u64,
}

/// What an outcome is reported for: a permit, or a breaker.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The permit, opened.
    pub permit: Option<Permit>,
    /// The service; may be empty beside a permit.
    pub service: &'a str,
    /// The name; empty: the service's own.
    pub name: &'a str,
    /// The epoch the call was decided in, if known.
    pub epoch: Option<u64>,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it counted.
    pub recorded: Recorded,
    /// The state after it.
    pub state: State,
}
