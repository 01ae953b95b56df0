//! gRPC over HTTP/2 on one connection: its limits, the turns in which it is read and answered, and its end.

use std::future::{Future as _, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::call::ConnectionService;
use super::inline_executor::{InlineExecutor, Progress};
use super::read_budget::{BudgetedIo, ReadBudget};
use super::services::{GrpcServices, Shared};
use crate::auth::{CertificateNames, ConnectionAuth, Counts, Protocol};
use crate::listener::{Connection, ConnectionHandler, ConnectionLimits, Drained, Listener, WhenFull};
use crate::metrics::Refusal;

/// Streams that a client may open and cancel before they are read. h2 takes more than 20 for an
/// attack and closes the connection; clients with short deadlines reach that in one burst.
const PENDING_RESETS_MAX: usize = 1_024;
/// Streams of a connection that are reset for the client's errors, before it is closed.
const ERROR_RESETS_MAX: usize = 1_024;
/// Bytes of all headers of a call that are read; beyond that HTTP/2 itself answers 431. What a call may have is less, and answered
/// with a gRPC status ([`super::call`]).
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// How long a client may take to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves gRPC on `socket` until `shutdown`: then health says so, no connection is accepted any more, calls on the way are
/// answered, and what is not over within the grace period is cut off. Never hangs.
pub async fn serve(grpc: GrpcServices, socket: TcpListener, shutdown: CancellationToken) -> Drained {
    let Shared { app, security, limits, .. } = &*grpc.shared;
    let connection_limits = ConnectionLimits {
        connections_max: limits.connections_max,
        when_full: WhenFull::Close,
        connections_per_address_max: limits.connections_per_address_max,
        handshakes_max: limits.handshakes_max,
        silence_max: limits.silence_max,
        grace: limits.grace,
    };
    let (metrics, clock) = (Arc::clone(&app.metrics), Arc::clone(&app.clock));
    let listener = Listener::new(Protocol::Grpc, security.clone(), connection_limits, metrics, clock);
    listener.serve(socket, grpc, shutdown).await
}

impl ConnectionHandler for GrpcServices {
    async fn handle<S>(self, stream: S, connection: Connection)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection { peer, certificate, tasks, shutdown, kill } = connection;
        let executor = InlineExecutor::new(tasks, self.shared.limits.write_timeout);
        Driver { grpc: self, peer, executor, shutdown, kill }.run(stream, certificate).await;
    }

    fn shutdown_began(&self) {
        self.shared.health_registry.shut_down();
    }
}

type Wait<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Drives one connection.
struct Driver {
    grpc: GrpcServices,
    peer: IpAddr,
    executor: InlineExecutor,
    shutdown: CancellationToken,
    kill: CancellationToken,
}

impl Driver {
    async fn run(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        certificate: Option<CertificateNames>,
    ) {
        let shared = &self.grpc.shared;
        let auth = ConnectionAuth::new(Arc::clone(&shared.security.authenticator), self.peer, certificate);
        let mut reading = Reading {
            budget: Arc::default(),
            counts: shared.security.authenticator.counts_at(self.peer),
            grpc: self.grpc.clone(),
            peer: self.peer,
            pause: None,
        };
        let budget = &reading.budget;
        let service = ConnectionService::new(&self.grpc, auth, self.executor.clone(), Arc::clone(budget));
        let stream = TokioIo::new(BudgetedIo::new(stream, Arc::clone(budget)));
        let mut http = pin!(self.http(&shared.limits).serve_connection(stream, service));
        let mut draining = false;
        let mut age = pin!(self.age());
        let mut is_old = false;
        loop {
            let driven = poll_fn(|context| {
                reading.begin_turn(self.executor.has_calls(), context);
                let driven = http.as_mut().poll(context);
                let progress = self.executor.run();
                if reading.end_turn(context) == Progress::More || progress == Progress::More {
                    // Other tasks first: it is polled again after them.
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
                    // The calls that were read are run, though their responses are dropped.
                    while self.executor.run() == Progress::More {
                        tokio::task::yield_now().await;
                    }
                    return;
                }
                () = self.shutdown.cancelled(), if !draining => {
                    draining = true;
                    http.as_mut().graceful_shutdown();
                }
                () = &mut age => {
                    if is_old {
                        // Its calls have had their time; a watch goes on from where it was.
                        return;
                    }
                    is_old = true;
                    draining = true;
                    http.as_mut().graceful_shutdown();
                    age.set(self.wait(shared.limits.connection_age_grace));
                }
                () = self.kill.cancelled() => return,
            }
        }
    }

    /// Ends when the connection is too old.
    fn age(&self) -> Wait<'_> {
        match self.grpc.shared.limits.connection_age_max {
            Some(age) => self.wait(spread(age)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn wait(&self, wait: Duration) -> Wait<'_> {
        let clock = &self.grpc.shared.app.clock;
        clock.sleep_until(clock.now() + wait)
    }

    fn http(&self, limits: &Limits) -> http2::Builder<InlineExecutor> {
        let mut builder = http2::Builder::new(self.executor.clone());
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

/// A tenth more or less, so that connections that were made at one time are not all made again at one time.
fn spread(age: Duration) -> Duration {
    // Without random numbers all are as old.
    let share = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    age.mul_f64(0.9 + 0.2 * share)
}

/// When a connection is read, and how much of it.
struct Reading {
    budget: Arc<ReadBudget>,
    /// Those of its address.
    counts: Arc<Counts>,
    grpc: GrpcServices,
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
            self.budget.begin(&self.counts, self.grpc.shared.app.clock.now());
        }
    }

    /// Whether there is more to read in a further turn, without waiting.
    fn end_turn(&mut self, context: &mut Context<'_>) -> Progress {
        let shared = &self.grpc.shared;
        if let Some(pause) = self.budget.pause(&self.counts, || shared.app.clock.now()) {
            self.limited(pause);
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
        // The first poll of a timer starts it.
        let pauses = self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(context).is_pending());
        if self.budget.is_exhausted() && !pauses { Progress::More } else { Progress::Done }
    }

    #[cold]
    fn limited(&self, pause: Duration) {
        let shared = &self.grpc.shared;
        shared.app.metrics.access.refused(Protocol::Grpc, Refusal::RefusalRate);
        if shared.log.refusal_rate.is_due(shared.app.clock.now()) {
            let (peer, pause_ms) = (self.peer, pause.as_millis());
            tracing::warn!(%peer, pause_ms, "connection throttled: too many of its calls are rejected");
        }
    }
}
