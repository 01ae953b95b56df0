//! The edge of gRPC: convert, call, convert.
//!
//! # The road of a call
//! A connection reads what has arrived, all of it, before any call is answered ([`serve`] and `turns`), so that
//! the answers leave together. The edge (`edge`) takes it in (`passage`): finds the method, sees who sends it and whether
//! they may (`rights`), reads the client's deadline, takes a place among the calls in flight, and hands the request to the
//! service that tonic generated; that decodes it and calls our handler (`breakers`, `config`, `operations`, `health`). On the
//! way back it counts the call, and puts the framework's own errors into our words.
//!
//! Nothing on this road waits, starts a timer, makes a span or takes a lock of its own unless the handler has
//! to wait: that is what lets a decision cost little more than an empty call.
//!
//! `Status` is made in `status` alone, and `convert` alone sees both the wire's types and the domain's.

mod asker;
mod breakers;
mod calls;
mod config;
mod convert;
mod deadline;
mod edge;
mod fault;
mod health;
mod history_reads;
mod operations;
mod page;
mod passage;
mod places;
mod reflection;
mod rights;
mod serve;
mod status;
mod turns;
mod watch;

pub use calls::{BOUNDS_SECONDS, CallMetrics, CallView, Method};
pub use edge::Edge;
pub use health::{HealthBoard, Part, Serving};
pub use serve::{Drained, ServeError, serve};

use std::time::Duration;

/// What the edge takes on at most, and how long it waits. Beyond a limit a call is answered, never queued.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections; a further one is closed at once, so that its client goes elsewhere.
    pub connections_max: usize,
    /// Connections from one address; a further one is closed at once.
    pub connections_per_address_max: usize,
    /// Calls at one time on one connection; a client waits with the further ones by itself.
    pub streams_max: u32,
    /// Calls at one time on all connections; a further one is RESOURCE_EXHAUSTED.
    pub in_flight_max: usize,
    /// Calls at one time of one caller; a further one is RESOURCE_EXHAUSTED.
    pub in_flight_per_caller_max: usize,
    /// Watches at one time; a further one is RESOURCE_EXHAUSTED.
    pub watches_max: usize,
    /// Watches at one time of one caller; a further one is RESOURCE_EXHAUSTED.
    pub watches_per_caller_max: usize,
    /// Reads of the history and the audit at one time; a further one is RESOURCE_EXHAUSTED.
    pub history_reads_max: usize,
    /// Reads of the history and the audit at one time of one caller; a further one is RESOURCE_EXHAUSTED.
    pub history_reads_per_caller_max: usize,
    /// How often a watch says that it is alive while nothing happens.
    pub heartbeat_every: Duration,
    /// Whether health and reflection take only those who are known, when everything else does.
    pub health_needs_token: bool,
    /// Bytes of one message; a larger one is RESOURCE_EXHAUSTED.
    pub message_bytes_max: usize,
    /// The longest that a call is served, when its client's deadline is not nearer.
    pub call_max: Duration,
    /// How long a new connection may stay silent.
    pub silence_max: Duration,
    /// How often a quiet connection is asked whether its client is still there.
    pub keepalive_interval: Duration,
    /// How long calls may go on after the shutdown began; then they are cut off.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Within the usual 20_000 or more open files that a service is given, with room for all else.
            connections_max: 10_000,
            // A proxy in front has them all: half, so that it leaves room for the others.
            connections_per_address_max: 5_000,
            // gRPC clients commonly expect 100 or more; a proxy puts all of its calls on one connection.
            streams_max: 1_000,
            // Decisions do not wait, so this many at one time are probes that wait for the store.
            in_flight_max: 10_000,
            in_flight_per_caller_max: 5_000,
            watches_max: 10_000,
            watches_per_caller_max: 2_000,
            history_reads_max: 32,
            history_reads_per_caller_max: 8,
            heartbeat_every: Duration::from_secs(5),
            health_needs_token: false,
            // A thousand outcomes, every field as long as it may be, are 0.9 MB.
            message_bytes_max: 2 * 1024 * 1024,
            call_max: Duration::from_secs(30),
            silence_max: Duration::from_secs(10),
            // Below the minute after which many middle boxes forget a quiet connection.
            keepalive_interval: Duration::from_secs(50),
            // Within the 30 s that Kubernetes gives by default, with time to close the journal behind it.
            grace: Duration::from_secs(20),
        }
    }
}
