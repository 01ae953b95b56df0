//! What breakerd says of a breaker.

use std::time::Duration;

use breaker::{State, Time};

use super::ticket::RemotePermit;

/// A state, as breakerd says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) state: State,
    /// None: not said, as of a breaker that a snapshot leaves out.
    pub(crate) epoch: Option<u64>,
    /// Rest of the wait, or of the override. None: no end is set.
    pub(crate) remaining: Option<Duration>,
    pub(crate) open_count: u32,
}

impl Heard {
    /// What a snapshot says of a breaker by leaving it out.
    pub(crate) const CLOSED: Self =
        Self { state: State::Closed, epoch: None, remaining: None, open_count: 0 };
}

/// Where a state was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a new snapshot: whatever was said before does not matter any more. Of another timeline, epochs do not compare.
    Snapshot { same_timeline: bool },
    /// On the stream, after the snapshot.
    Stream,
    /// In an answer, which can be ahead of the stream or behind it.
    Answer,
    /// In an answer that did not count a report, as breakerd has not reached the epoch of it: what is known here is of a time
    /// that breakerd knows nothing of, and epochs do not compare.
    AnswerOfEarlierEpoch,
}

/// The answer to a request for permission.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) heard: Heard,
    pub(crate) allowed: bool,
    pub(crate) permit: RemotePermit,
    pub(crate) retry_after: Option<Duration>,
}

/// The override of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceOverride {
    pub(crate) state: State,
    pub(crate) until: Time,
}
