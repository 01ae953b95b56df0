//! The edge of gRPC: convert, call, convert.
//!
//! # The road of a call
//! A connection reads what has arrived, a few kilobytes a turn (`read_budget`), before any call of it is answered ([`serve`] and
//! `inline_executor`), so that the answers leave together. The edge (`edge`) takes it in (`call`): finds the method, sees who sends it and whether
//! they may (`rights`), reads the client's deadline, takes a slot among the calls in flight (`call_slot`), and hands the request to
//! the service that tonic generated. That reads the message, whose bytes are counted on the way (`request_body`), decodes it and calls
//! our handler (`breakers`, `config`, `operations`, `health`, `reflection`). On the way back it counts the call, puts the framework's
//! own errors into our words, and keeps the slot until the answer is sent (`reply_body`).
//!
//! Nothing on this road waits, starts a timer, makes a span or takes a lock of its own unless the handler has
//! to wait: that is what lets a decision cost little more than an empty call.
//!
//! `Status` is made in `status` alone, and `convert` alone sees both the wire's types and the domain's.

mod batch_pace;
mod breakers;
mod call;
mod call_metrics;
mod call_slot;
mod client_info;
mod config;
mod convert;
mod deadline;
mod edge;
mod encoding_headers;
mod gzip;
mod health;
mod history_reads;
mod inline_executor;
mod near;
mod off_thread;
mod operations;
mod page;
mod read_budget;
mod reflection;
mod reply_body;
mod request_body;
mod rights;
mod serve;
mod status;
mod stream_limiter;
mod unknown_name;
mod violations;
mod watch;

pub use call_metrics::{BOUNDS_SECONDS, CallMetrics, CallView, Method};
pub use edge::Edge;
pub use health::{HealthBoard, Part, Serving};
pub use reflection::ServeError;
pub use serve::{Drained, serve};

use std::time::Duration;

/// What the edge takes on at most, and how long it waits. Beyond a limit a call is answered, never queued.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections; a further one is closed at once, so that its client goes elsewhere.
    pub connections_max: usize,
    /// Connections from one address; a further one is closed at once.
    pub connections_per_address_max: usize,
    /// TLS handshakes at one time, half of them from one address; a further connection is closed at once.
    pub handshakes_max: usize,
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
    /// Bytes of the largest message, that of a batch; a larger one is RESOURCE_EXHAUSTED. Other methods take less
    /// ([`Method::request_bytes_max`]).
    pub message_bytes_max: usize,
    /// Bytes that are kept for the calls of all clients at most: requests as they arrive, what handlers make of them, and
    /// answers that are not sent. A call beyond it is RESOURCE_EXHAUSTED.
    pub bytes_max: usize,
    /// Bytes that are kept for the calls of one caller; a call beyond it is RESOURCE_EXHAUSTED.
    pub bytes_per_caller_max: usize,
    /// How long an answer may wait for its client without a piece of it being taken; then its stream is reset.
    pub write_timeout: Duration,
    /// The longest that a call is served, when its client's deadline is not nearer.
    pub call_max: Duration,
    /// How long a new connection may stay silent.
    pub silence_max: Duration,
    /// How often a quiet connection is asked whether its client is still there.
    pub keepalive_interval: Duration,
    /// How long calls may go on after the shutdown began; then they are cut off.
    pub grace: Duration,
}

impl Limits {
    /// Bytes that a client may send on one stream before we have taken them: HTTP/2's own figure.
    pub(crate) const STREAM_WINDOW_BYTES: u32 = 65_535;
    /// Checks of health at one time, half of them of one caller. They are small, and outside of the other limits.
    pub(crate) const PROBES_MAX: usize = 256;
    /// Bytes of one of them: what every call costs, its message and its headers.
    const PROBE_BYTES: usize = 48 * 1024;
    /// h2 takes a connection for an attack when it has sent small messages that nobody has taken, each of which counts 256
    /// bytes at most, beyond half of the connection's window. With two for each stream that there may be it must not come to
    /// that: some clients send the prefix of a message by itself.
    const WINDOW_BYTES_OF_STREAM: u32 = 2 * 2 * 256;

    /// Bytes that a client may send on one connection before we have taken them.
    pub(crate) fn connection_window_bytes(&self) -> u32 {
        let bytes = self.streams_max.saturating_mul(Self::WINDOW_BYTES_OF_STREAM);
        bytes.clamp(Self::STREAM_WINDOW_BYTES, i32::MAX.unsigned_abs())
    }

    /// The bytes that are left for calls.
    pub(crate) fn call_bytes_max(&self) -> usize {
        self.bytes_max.saturating_sub(Self::PROBES_MAX * Self::PROBE_BYTES)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Within the usual 20_000 or more open files that a service is given, with room for all else.
            connections_max: 10_000,
            // A proxy in front has them all: half, so that it leaves room for the others.
            connections_per_address_max: 5_000,
            // Each is a millisecond or so of work.
            handshakes_max: 1_000,
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
            message_bytes_max: 1024 * 1024,
            bytes_max: 256 * 1024 * 1024,
            bytes_per_caller_max: 128 * 1024 * 1024,
            write_timeout: Duration::from_secs(30),
            call_max: Duration::from_secs(30),
            silence_max: Duration::from_secs(10),
            // Below the minute after which many middle boxes forget a quiet connection.
            keepalive_interval: Duration::from_secs(50),
            // Within the 30 s that Kubernetes gives by default, with time to close the journal behind it.
            grace: Duration::from_secs(20),
        }
    }
}
