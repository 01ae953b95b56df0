//! What a call is told, what it carries, and how it ends.

use breaker::{Pass, Time};
use bytes::Bytes;

use crate::classify::Failure;
use crate::error::Rejected;

/// Whether a call may go ahead.
#[derive(Debug)]
pub(crate) enum Decision {
    Allowed(Ticket),
    Rejected(Rejected),
    /// breakerd has to be asked: who is told so does it, and no other meanwhile.
    Request,
}

/// What an allowed call carries.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// An ordinary call of an era.
    Counted { era: u32 },
    /// A call that breakerd itself allowed: a probe, or any call in remote mode.
    Remote(RemotePermit),
    /// A probe of the machine here.
    Local(Pass),
    /// The one call at a time after breakerd was away.
    Returning { era: u32 },
    /// Nothing is recorded of it.
    Uncounted,
}

/// A permit of breakerd.
#[derive(Debug)]
pub(crate) struct RemotePermit {
    pub(crate) permit: Bytes,
    /// When its probe slot is free again, if it is a probe.
    pub(crate) expires: Option<Time>,
}

/// How a call went.
#[derive(Debug, Clone)]
pub(crate) enum Result {
    Success,
    Failure(Failure),
    Ignored,
}
