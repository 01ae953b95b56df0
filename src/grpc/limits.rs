//! What the gRPC transport takes on at most.

use std::time::Duration;

#[cfg(doc)]
use super::Method;
use crate::config::Settings;

/// The limits of the gRPC transport, and how long it waits. Beyond a limit a call is answered, never queued.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections; a further one is closed at once, so that its client connects to another replica.
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
    /// The interval of heartbeats of a watch while nothing happens.
    pub heartbeat_every: Duration,
    /// Whether health and reflection require authentication too.
    pub health_needs_token: bool,
    /// Bytes of the largest message, that of a batch; a larger one is RESOURCE_EXHAUSTED. Other methods take less
    /// ([`Method::request_bytes_max`]).
    pub message_bytes_max: usize,
    /// Bytes that are kept for the calls of all clients at most: requests as they arrive, what handlers make of them, and
    /// answers that are not sent. A call beyond it is RESOURCE_EXHAUSTED.
    pub bytes_max: usize,
    /// Bytes that are kept for the calls of one caller; a call beyond it is RESOURCE_EXHAUSTED.
    pub bytes_per_caller_max: usize,
    /// Bytes that are kept of the last batches of reporters, so that a batch that is sent again counts once. Beyond it the least
    /// recently used reporters of the client that takes the most are forgotten.
    pub reporters_bytes_max: usize,
    /// How long a response may wait without its client reading any of it; then its stream is reset.
    pub write_timeout: Duration,
    /// The longest that a call is served, when its client's deadline is not nearer.
    pub call_max: Duration,
    /// How long a new connection may stay silent.
    pub silence_max: Duration,
    /// How long a connection may last, give or take a tenth; then its client is told to connect anew (GOAWAY), which may lead it to another
    /// replica. None: as long as its client likes.
    pub connection_age_max: Option<Duration>,
    /// How long calls may go on on a connection that is too old; then they are cut off. Watches are.
    pub connection_age_grace: Duration,
    /// The interval of keepalive pings on an idle connection.
    pub keepalive_interval: Duration,
    /// How long calls may go on after the shutdown began; then they are cut off.
    pub grace: Duration,
}

impl Limits {
    /// Bytes that a client may send on one stream before they are read: HTTP/2's default.
    pub(crate) const STREAM_WINDOW_BYTES: u32 = 65_535;
    /// Checks of health at one time, half of them of one caller. They are small, and outside of the other limits.
    pub(crate) const PROBES_MAX: usize = 256;
    /// Bytes of one of them: what every call costs, its message and its headers.
    const PROBE_BYTES: usize = 48 * 1024;
    /// h2 takes a connection for an attack when it has sent small messages that are still unread, each of which counts 256
    /// bytes at most, beyond half of the connection's window. With two for each stream that there may be it must not come to
    /// that: some clients send the prefix of a message by itself.
    const WINDOW_BYTES_OF_STREAM: u32 = 2 * 2 * 256;

    /// Bytes that a client may send on one connection before they are read.
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
    /// Those of a server for which nothing was set.
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            // Within the usual 20_000 or more open files that a service is given, with room for all else.
            connections_max: 10_000,
            connections_per_address_max: settings.grpc_connections_per_address_max,
            // Each is a millisecond or so of work.
            handshakes_max: 1_000,
            streams_max: settings.grpc_streams_max,
            in_flight_max: settings.grpc_in_flight_max,
            in_flight_per_caller_max: settings.grpc_in_flight_per_caller_max,
            watches_max: settings.grpc_watches_max,
            watches_per_caller_max: settings.grpc_watches_per_caller_max,
            history_reads_max: settings.grpc_history_reads_max,
            history_reads_per_caller_max: settings.grpc_history_reads_per_caller_max,
            heartbeat_every: Duration::from_secs(5),
            health_needs_token: settings.auth_health_needs_token,
            message_bytes_max: settings.grpc_message_size_max,
            bytes_max: settings.grpc_bytes_in_flight_max,
            bytes_per_caller_max: settings.grpc_bytes_in_flight_per_caller_max,
            // The answers to 10,000 clients that send a hundred outcomes at a time.
            reporters_bytes_max: 16 * 1024 * 1024,
            write_timeout: settings.grpc_write_timeout,
            call_max: Duration::from_secs(30),
            silence_max: Duration::from_secs(10),
            connection_age_max: Some(settings.grpc_connection_age_max).filter(|age| !age.is_zero()),
            // As long as a call may take.
            connection_age_grace: Duration::from_secs(30),
            // Below the minute after which many middle boxes forget a quiet connection.
            keepalive_interval: Duration::from_secs(50),
            grace: settings.drain_grace(),
        }
    }
}
