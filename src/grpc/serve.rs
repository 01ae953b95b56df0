//! Connections: accepting them, driving them, and ending them in time.
//!
//! hyper drives each connection, and not tonic's own server: that one reads the client's deadline and answers
//! CANCELLED, waits without end for a connection that never spoke, spins when it runs out of open files, and
//! puts three boxes and a router around every call.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Limits;
use super::call::ConnectionService;
use super::edge::Edge;
use super::inline_executor::{InlineExecutor, Progress};
use super::read_budget::{BudgetedIo, ReadBudget};
use crate::auth::{CertificateNames, ConnectionAuth, CountGuard, Counts, Protocol, Tls, names_of};
use crate::metrics::{Entry, Refusal};

/// Streams that a client may open and cancel before we have looked at them. h2 takes more than 20 for an
/// attack and closes the connection; clients with short deadlines reach that in one burst.
const PENDING_RESETS_MAX: usize = 1_024;
/// Streams of a connection that we reset for the client's mistakes, before it is closed.
const ERROR_RESETS_MAX: usize = 1_024;
/// Bytes of all headers of a call that are read; beyond that HTTP/2 itself answers 431. What a call may have is less, and answered
/// in gRPC's words ([`super::passage`]).
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// How long a client may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long hands may be shaken.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, most likely for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long cut connections and their calls may take to notice; it takes them one look.
const CUT_MAX: Duration = Duration::from_secs(1);

/// How the serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered.
    Whole,
    /// The grace time was over, and so many connections and waiting calls were cut off.
    Cut(usize),
}

/// Serves until `shutdown`: then health says so, no connection is accepted any more, calls on the way are
/// answered, and what is not over within the grace time is cut off. Never hangs.
pub async fn serve(edge: Edge, listener: TcpListener, shutdown: CancellationToken) -> Drained {
    let limits = edge.shared.limits;
    let tasks = TaskTracker::new();
    let kill = CancellationToken::new();
    accept(&edge, listener, &tasks, &shutdown, &kill).await;

    edge.shared.health_board.shut_down();
    tasks.close();
    if tokio::time::timeout(limits.grace, tasks.wait()).await.is_ok() {
        return Drained::Whole;
    }
    let cut = tasks.len();
    tracing::warn!(connections_and_calls = cut, "shutdown grace period is over, closing connections");
    kill.cancel();
    if tokio::time::timeout(CUT_MAX, tasks.wait()).await.is_err() {
        tracing::error!(tasks = tasks.len(), "connections or calls ignored the shutdown, abandoning them");
    }
    Drained::Cut(cut)
}

async fn accept(
    edge: &Edge,
    listener: TcpListener,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    kill: &CancellationToken,
) {
    let limits = &edge.shared.limits;
    let max = limits.connections_max.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(max));
    let handshakes = Arc::new(Semaphore::new(limits.handshakes_max.min(Semaphore::MAX_PERMITS)));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot accept a gRPC connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(connections_max = max, "connection rejected: connection limit reached");
            continue;
        };
        let Some(place) = ConnectionSlot::take(edge, peer, place) else { continue };
        let connection = Connection {
            edge: edge.clone(),
            peer,
            handshakes: Arc::clone(&handshakes),
            turns: InlineExecutor::new(tasks.clone(), limits.write_timeout),
            // Children have locks of their own: a connection looks at them each time it is woken.
            shutdown: shutdown.child_token(),
            kill: kill.child_token(),
        };
        tasks.spawn(async move {
            connection.run(stream).await;
            drop(place);
        });
    }
}

/// A place among the connections, and among those of its address.
struct ConnectionSlot {
    _of_address: CountGuard,
    _of_all: OwnedSemaphorePermit,
}

impl ConnectionSlot {
    fn take(edge: &Edge, peer: IpAddr, of_all: OwnedSemaphorePermit) -> Option<Self> {
        let shared = &edge.shared;
        let max = shared.limits.connections_per_address_max;
        let of_address = shared.door.guard.counts_at(peer).enter(|counts| &counts.connections, max);
        if let Some(of_address) = of_address {
            return Some(Self { _of_address: of_address, _of_all: of_all });
        }
        shared.app.metrics.access.refused(Entry::Grpc, Refusal::CallerLimit);
        if shared.told.caller_limit.is_due(shared.app.clock.now()) {
            tracing::warn!(%peer, max, "gRPC connections closed: too many of one address");
        }
        None
    }
}

/// The client was gone before we got to it; that is no reason to pause.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

struct Connection {
    edge: Edge,
    peer: IpAddr,
    handshakes: Arc<Semaphore>,
    turns: InlineExecutor,
    shutdown: CancellationToken,
    kill: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        if !self.speaks(&stream, self.edge.shared.limits.silence_max).await {
            return;
        }
        // Answers leave at once. It fails only when the client has gone, as the first read will tell.
        let _ = stream.set_nodelay(true);
        match self.edge.shared.door.tls.clone() {
            None => self.drive(stream, None).await,
            // In a box, so that a connection without TLS is not as large as one with it.
            Some(tls) => Box::pin(self.shake(stream, &tls)).await,
        }
    }

    async fn shake(self, stream: TcpStream, tls: &Tls) {
        let turn = Arc::clone(&self.handshakes).try_acquire_owned().ok();
        let shared = &self.edge.shared;
        let handshakes_max = shared.limits.handshakes_max;
        // Half of them to one address, so that hellos that never end leave room for others.
        let max = handshakes_max.div_ceil(2);
        let share = shared.door.guard.counts_at(self.peer).enter(|counts| &counts.handshakes, max);
        let (Some(turn), Some(share)) = (turn, share) else {
            tracing::debug!(handshakes_max, "connection rejected: too many TLS handshakes in progress");
            return;
        };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream, Protocol::Http2)) => shaken,
            () = self.shutdown.cancelled() => return,
        };
        drop((turn, share));
        match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let names = names_of(&stream);
                self.drive(stream, names).await;
            }
            Err(error) => self.unshaken(&error),
        }
    }

    #[cold]
    fn unshaken(&self, error: &io::Error) {
        let shared = &self.edge.shared;
        shared.app.metrics.tls.failed(Entry::Grpc);
        if shared.told.handshake.is_due(shared.app.clock.now()) {
            let peer = self.peer;
            tracing::warn!(%peer, %error, "TLS handshake of a gRPC connection failed");
        }
    }

    async fn drive(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        names: Option<CertificateNames>,
    ) {
        let shared = &self.edge.shared;
        let visitor = ConnectionAuth::new(Arc::clone(&shared.door.guard), self.peer, names);
        let mut reading = Reading {
            budget: Arc::default(),
            counts: shared.door.guard.counts_at(self.peer),
            edge: self.edge.clone(),
            peer: self.peer,
            pause: None,
        };
        let budget = &reading.budget;
        let entrance = ConnectionService::new(&self.edge, visitor, self.turns.clone(), Arc::clone(budget));
        let stream = TokioIo::new(BudgetedIo::new(stream, Arc::clone(budget)));
        let mut http = pin!(self.http(&shared.limits).serve_connection(stream, entrance));
        let mut draining = false;
        loop {
            let driven = poll_fn(|context| {
                reading.begin_turn(self.turns.has_calls(), context);
                let driven = http.as_mut().poll(context);
                let progress = self.turns.run();
                if reading.end_turn(context) == Progress::More || progress == Progress::More {
                    // The others first: it is polled again behind them.
                    context.waker().wake_by_ref();
                }
                driven
            });
            tokio::select! {
                biased;
                ended = driven => {
                    if let Err(error) = ended {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a connection failed");
                    }
                    // What was read of it is done, though nobody waits for the answers.
                    while self.turns.run() == Progress::More {
                        tokio::task::yield_now().await;
                    }
                    return;
                }
                () = self.shutdown.cancelled(), if !draining => {
                    draining = true;
                    http.as_mut().graceful_shutdown();
                }
                () = self.kill.cancelled() => return,
            }
        }
    }

    /// Waits for the first byte: what never speaks is dropped, after a while or when we go.
    async fn speaks(&self, stream: &TcpStream, silence_max: Duration) -> bool {
        let mut first = [0];
        tokio::select! {
            spoken = tokio::time::timeout(silence_max, stream.peek(&mut first)) => {
                matches!(spoken, Ok(Ok(1..)))
            }
            () = self.shutdown.cancelled() => false,
        }
    }

    fn http(&self, limits: &Limits) -> http2::Builder<InlineExecutor> {
        let mut builder = http2::Builder::new(self.turns.clone());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_local_error_reset_streams(ERROR_RESETS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .initial_connection_window_size(limits.connection_window_bytes())
            .initial_stream_window_size(Limits::STREAM_WINDOW_BYTES)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            // gRPC has no use for it.
            .auto_date_header(false);
        builder
    }
}

/// When a connection is read, and how much of it.
struct Reading {
    budget: Arc<ReadBudget>,
    /// Those of its address.
    counts: Arc<Counts>,
    edge: Edge,
    peer: IpAddr,
    /// Runs while it is not read, because too many of its calls were refused.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Reading {
    fn begin_turn(&mut self, has_calls: bool, context: &mut Context<'_>) {
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(context).is_ready()) {
            self.pause = None;
        }
        if has_calls || self.pause.is_some() {
            self.budget.begin_without_reading();
        } else {
            self.budget.begin(&self.counts, self.edge.shared.app.clock.now());
        }
    }

    /// Whether there is more to read in a further turn, without waiting.
    fn end_turn(&mut self, context: &mut Context<'_>) -> Progress {
        let shared = &self.edge.shared;
        if let Some(pause) = self.budget.pause(&self.counts, || shared.app.clock.now()) {
            self.limited(pause);
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
        // The first look at a timer starts it.
        let pauses = self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(context).is_pending());
        if self.budget.is_exhausted() && !pauses { Progress::More } else { Progress::Done }
    }

    #[cold]
    fn limited(&self, pause: Duration) {
        let shared = &self.edge.shared;
        shared.app.metrics.access.refused(Entry::Grpc, Refusal::RefusalRate);
        if shared.told.refusal_rate.is_due(shared.app.clock.now()) {
            let (peer, pause_ms) = (self.peer, pause.as_millis());
            tracing::warn!(%peer, pause_ms, "connection throttled: too many of its calls are rejected");
        }
    }
}
