//! Accepting connections: one loop under gRPC and HTTP.
//!
//! The loop limits connections, in all and by address, and TLS handshakes; it closes a connection that sends nothing; it runs
//! each connection in a task of its own, and ends them all at shutdown: politely during the grace period, by force after it.
//! What is spoken on a connection is up to a [`ConnectionHandler`].
//!
//! hyper drives the connections, and neither tonic's server nor `axum::serve`. Those wait without end for a connection that
//! never spoke and, at shutdown, for every client; they do not limit connections; tonic's reads the client's deadline and
//! answers CANCELLED, and both spin or stop when the process runs out of open files.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use breakerd_common::clock::Clock;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{CertificateNames, CountGuard, Protocol, Tls, TransportSecurity, names_of};
use crate::log_throttle::LogThrottle;
use crate::metrics::{Metrics, Refusal};

/// The longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, most likely for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long tasks may take to notice that the grace period is over; it takes them one poll.
const KILL_MAX: Duration = Duration::from_secs(1);

/// What a listener accepts.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at one time.
    pub connections_max: usize,
    /// What happens to a connection beyond that.
    pub when_full: WhenFull,
    /// Connections at one time from one address; a further one is closed at once.
    pub connections_per_address_max: usize,
    /// TLS handshakes at one time, half of them from one address; a further connection is closed at once.
    pub handshakes_max: usize,
    /// How long a new connection may send nothing; then it is closed.
    pub silence_max: Duration,
    /// How long connections may go on after the shutdown began; then they are cut off.
    pub grace: Duration,
}

/// What happens to a connection beyond [`ConnectionLimits::connections_max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is closed, so that its client goes to another replica.
    Close,
    /// It waits in the socket's backlog until another connection ends.
    Wait,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every connection and call ended within the grace period.
    Whole,
    /// So many of them were cut off after it.
    Cut(usize),
}

/// Speaks a protocol on the connections of a listener. Cloned for each.
pub trait ConnectionHandler: Clone + Send + 'static {
    /// Serves one connection until its client closes it, or [`Connection::shutdown`] is cancelled and what was requested by then
    /// is answered, or [`Connection::kill`] is cancelled.
    fn handle<S>(self, stream: S, connection: Connection) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The shutdown began: no connection is accepted any more, and those that there are now go on.
    fn shutdown_began(&self) {}
}

/// An accepted connection; TLS, if there is any, is established.
#[derive(Debug)]
pub struct Connection {
    /// The client's address.
    pub peer: IpAddr,
    /// The names in the client's certificate, if it sent one.
    pub certificate: Option<CertificateNames>,
    /// Tasks that serving waits for at shutdown: for work that a connection starts and that may outlive it.
    pub tasks: TaskTracker,
    /// The shutdown began: accept nothing new, and end when pending requests are answered.
    pub shutdown: CancellationToken,
    /// The grace period is over: end now.
    pub kill: CancellationToken,
}

/// Accepts connections for one transport.
pub struct Listener {
    protocol: Protocol,
    security: TransportSecurity,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    slots: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    open: IntGauge,
    log: Throttles,
}

#[derive(Default)]
struct Throttles {
    address_limit: LogThrottle,
    handshake_failed: LogThrottle,
}

/// A slot among all connections, and one among those of its address; both are free again when it is dropped.
struct ConnectionSlot {
    open: IntGauge,
    _of_address: CountGuard,
    _of_all: OwnedSemaphorePermit,
}

impl ConnectionSlot {
    /// Shown in `open` until it is dropped.
    fn new(of_all: OwnedSemaphorePermit, of_address: CountGuard, open: &IntGauge) -> Self {
        open.inc();
        Self { open: open.clone(), _of_address: of_address, _of_all: of_all }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Listener {
    /// A listener that has accepted nothing yet.
    pub fn new(
        protocol: Protocol,
        security: TransportSecurity,
        limits: ConnectionLimits,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let semaphore = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        let open = metrics.connection.open(protocol, limits.connections_max);
        Self {
            protocol,
            security,
            limits,
            metrics,
            clock,
            slots: semaphore(limits.connections_max),
            handshakes: semaphore(limits.handshakes_max),
            open,
            log: Throttles::default(),
        }
    }

    /// Accepts connections on `socket` until `shutdown`, gives each to a clone of `handler`, and ends at the latest when the
    /// grace period is over.
    pub async fn serve<H: ConnectionHandler>(
        self,
        socket: TcpListener,
        handler: H,
        shutdown: CancellationToken,
    ) -> Drained {
        let protocol = self.protocol.as_str();
        let grace = self.limits.grace;
        let tasks = TaskTracker::new();
        let kill = CancellationToken::new();
        Arc::new(self).accept_until(&shutdown, &kill, socket, &handler, &tasks).await;
        handler.shutdown_began();
        drop(handler);

        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_ok() {
            return Drained::Whole;
        }
        let cut = tasks.len();
        tracing::warn!(
            protocol,
            connections_and_calls = cut,
            "shutdown grace period is over, closing connections"
        );
        kill.cancel();
        if tokio::time::timeout(KILL_MAX, tasks.wait()).await.is_err() {
            let left = tasks.len();
            tracing::error!(
                protocol,
                tasks = left,
                "connections or calls ignored the shutdown, abandoning them"
            );
        }
        Drained::Cut(cut)
    }

    async fn accept_until<H: ConnectionHandler>(
        self: Arc<Self>,
        shutdown: &CancellationToken,
        kill: &CancellationToken,
        socket: TcpListener,
        handler: &H,
        tasks: &TaskTracker,
    ) {
        while let Some((stream, peer, slot)) = self.accept(&socket, shutdown).await {
            let connection = Connection {
                peer,
                certificate: None,
                tasks: tasks.clone(),
                // Child tokens have locks of their own: a connection locks its own each time it is woken.
                shutdown: shutdown.child_token(),
                kill: kill.child_token(),
            };
            let (listener, handler) = (Arc::clone(&self), handler.clone());
            tasks.spawn(async move {
                listener.establish(stream, connection, handler).await;
                drop(slot);
            });
        }
    }

    /// The next connection that there is a slot for; none: the shutdown began.
    async fn accept(
        &self,
        socket: &TcpListener,
        shutdown: &CancellationToken,
    ) -> Option<(TcpStream, IpAddr, ConnectionSlot)> {
        loop {
            let reserved = match self.limits.when_full {
                WhenFull::Close => None,
                // Nobody closes the semaphore.
                WhenFull::Wait => {
                    shutdown.run_until_cancelled(Arc::clone(&self.slots).acquire_owned()).await?.ok()
                }
            };
            let (stream, peer) = match shutdown.run_until_cancelled(socket.accept()).await? {
                Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    let protocol = self.protocol.as_str();
                    tracing::error!(
                        protocol,
                        error = &error as &dyn std::error::Error,
                        "cannot accept a connection"
                    );
                    shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await?;
                    continue;
                }
            };
            let of_all = reserved.or_else(|| Arc::clone(&self.slots).try_acquire_owned().ok());
            let Some(of_all) = of_all else {
                let (protocol, max) = (self.protocol.as_str(), self.limits.connections_max);
                tracing::debug!(protocol, max, "connection rejected: connection limit reached");
                continue;
            };
            if let Some(of_address) = self.address_slot(peer) {
                return Some((stream, peer, ConnectionSlot::new(of_all, of_address, &self.open)));
            }
        }
    }

    fn address_slot(&self, peer: IpAddr) -> Option<CountGuard> {
        let max = self.limits.connections_per_address_max;
        let slot = self.security.authenticator.counts_at(peer).enter(
            match self.protocol {
                Protocol::Grpc => |counts| &counts.grpc.open,
                Protocol::Http => |counts| &counts.http.open,
            },
            max,
        );
        if slot.is_none() {
            self.metrics.access.refused(self.protocol, Refusal::CallerLimit);
            if self.log.address_limit.is_due(self.clock.now()) {
                let protocol = self.protocol.as_str();
                tracing::warn!(protocol, %peer, max, "connections closed: too many from one address");
            }
        }
        slot
    }

    async fn establish<H: ConnectionHandler>(&self, stream: TcpStream, connection: Connection, handler: H) {
        if !self.speaks(&stream, &connection.shutdown).await {
            return;
        }
        // Responses leave at once. It fails only when the client has disconnected, as the first read will show.
        let _ = stream.set_nodelay(true);
        match self.security.tls.clone() {
            None => handler.handle(stream, connection).await,
            // In a box, so that a connection without TLS is not as large as one with it.
            Some(tls) => Box::pin(self.establish_tls(stream, &tls, connection, handler)).await,
        }
    }

    /// Waits for the first byte.
    async fn speaks(&self, stream: &TcpStream, shutdown: &CancellationToken) -> bool {
        let mut first = [0];
        let peek = tokio::time::timeout(self.limits.silence_max, stream.peek(&mut first));
        matches!(shutdown.run_until_cancelled(peek).await, Some(Ok(Ok(1..))))
    }

    async fn establish_tls<H: ConnectionHandler>(
        &self,
        stream: TcpStream,
        tls: &Tls,
        connection: Connection,
        handler: H,
    ) {
        let Some(handshake_slot) = self.handshake_slot(connection.peer) else {
            let protocol = self.protocol.as_str();
            tracing::debug!(protocol, "connection rejected: too many TLS handshakes in progress");
            return;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream, self.protocol));
        let Some(established) = connection.shutdown.run_until_cancelled(handshake).await else { return };
        drop(handshake_slot);
        match established.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let certificate = names_of(&stream);
                handler.handle(stream, Connection { certificate, ..connection }).await;
            }
            Err(error) => self.handshake_failed(connection.peer, &error),
        }
    }

    /// A slot among the handshakes in progress.
    fn handshake_slot(&self, peer: IpAddr) -> Option<(OwnedSemaphorePermit, CountGuard)> {
        let of_all = Arc::clone(&self.handshakes).try_acquire_owned().ok()?;
        // Half of them to one address, so that handshakes that never end leave room for others.
        let max = self.limits.handshakes_max.div_ceil(2);
        let of_address = self.security.authenticator.counts_at(peer).enter(
            match self.protocol {
                Protocol::Grpc => |counts| &counts.grpc.handshakes,
                Protocol::Http => |counts| &counts.http.handshakes,
            },
            max,
        )?;
        Some((of_all, of_address))
    }

    #[cold]
    fn handshake_failed(&self, peer: IpAddr, error: &io::Error) {
        self.metrics.tls.failed(self.protocol);
        if self.log.handshake_failed.is_due(self.clock.now()) {
            let protocol = self.protocol.as_str();
            tracing::warn!(protocol, %peer, %error, "TLS handshake failed");
        }
    }
}

/// The client disconnected before it was accepted; that is no reason to pause.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
