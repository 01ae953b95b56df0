//! Watch streams: what all three of them share.
//!
//! A stream is polled only when its client has room. It then reads what is after its cursor from its source, sends that,
//! and waits until there is more. Nothing is queued for it but the few messages of one read, so a client that reads
//! nothing costs what any other does, and is sent the newest when it reads again.
//!
//! A stream whose client stops reading is not polled, perhaps for hours, and a future that is not polled keeps what it has
//! acquired. So a source awaits shared things - a permit, a connection of the store - in a task ([`detached`]), never itself.
//!
//! Every stream sends heartbeats while nothing happens, ends with `DEADLINE_EXCEEDED` at its client's deadline, with
//! UNAVAILABLE at shutdown, and with UNAUTHENTICATED when its token is revoked.

mod breakers;
mod config;
mod selection;
mod token;
mod transitions;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tonic::{Request, Status};

use super::Limits;
use super::client_info::ClientInfo;
use super::deadline;
use super::health::{Closing, HealthRegistry};
use super::status::Failure;
use super::stream_limiter::{StreamLimiter, StreamSlot};
use crate::feed::Checked;
use crate::metrics::{OpenWatch, Resyncs, WatchMetrics, Watched};

pub(super) use breakers::breakers;
pub(super) use config::config;
pub(super) use transitions::transitions;

/// Snapshots that list every breaker at one time: decisions must not wait for the cores.
const LISTINGS_MAX: usize = 2;

/// Why a stream resyncs whose history is not the store's any more.
const STORE_RESTORED: &str = "the store went back to an older state, as when a backup is restored: it has another history than was sent";

/// A stream as tonic expects it.
pub(super) type Watch<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Whether to read again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There may be more.
    More,
    /// All has been sent.
    Idle,
}

/// What a stream sends, and its cursor.
trait Source: Send + 'static {
    type Message: Send + 'static;

    /// Adds the next few messages, a bounded number; perhaps none, though there are more after them.
    fn read(
        &mut self,
        ready: &mut VecDeque<Self::Message>,
    ) -> impl Future<Output = Result<Step, Failure>> + Send;

    /// Ends when there may be more than [`Source::read`] has seen.
    fn changed_since_read(&mut self) -> impl Future<Output = ()> + Send;

    /// A heartbeat: the stream is alive, and all that was there at the last read has been sent.
    fn heartbeat(&self) -> Self::Message;
}

/// What all streams share.
#[derive(Clone)]
pub(super) struct Watches {
    limiter: StreamLimiter,
    health: Arc<HealthRegistry>,
    metrics: WatchMetrics,
    heartbeat_every: Duration,
    listing_permits: Arc<Semaphore>,
}

impl Watches {
    pub(super) fn new(
        limiter: StreamLimiter,
        health: Arc<HealthRegistry>,
        metrics: WatchMetrics,
        limits: &Limits,
    ) -> Self {
        Self {
            limiter,
            health,
            metrics,
            heartbeat_every: limits.heartbeat_every,
            listing_permits: Arc::new(Semaphore::new(LISTINGS_MAX)),
        }
    }

    /// Opens a stream for `request`, if the limits allow one more.
    fn open_stream<T>(&self, watched: Watched, request: &Request<T>) -> Result<OpenStream, Failure> {
        let slot = self.limiter.take(&ClientInfo::of(request))?;
        let timeout = deadline::of(request.metadata().as_ref())?;
        Ok(OpenStream {
            closing: self.health.closing(),
            deadline: timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))),
            heartbeat_every: self.heartbeat_every,
            _open: self.metrics.open(watched),
            slot,
        })
    }

    fn resyncs(&self, watched: Watched) -> Resyncs {
        self.metrics.resyncs(watched)
    }
}

/// Ends when there is a new value. Never when its sender was dropped: that is the shutdown, which ends the stream
/// by itself.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Why a stream cannot resume at a token whose history was `checked`; none: it can.
const fn resync_reason(checked: Checked) -> Option<&'static str> {
    match checked {
        Checked::Present => None,
        Checked::Newer => Some("the token is newer than the store, which was restored from a backup"),
        Checked::Replaced => Some(STORE_RESTORED),
        Checked::TooOld => Some("the token is too old: what it is of is not known any more"),
    }
}

/// Runs `work` as a task, to its end even while the stream that waits for it is not polled; so whatever `work` acquires is
/// released whether or not the client reads. Its result waits here. A stream that is dropped aborts it.
async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Failure> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "watch read failed");
            Err(Failure::Internal)
        }
        None => Err(Failure::Internal),
    }
}

/// What an open stream holds: its slot, its deadline, its heartbeat.
struct OpenStream {
    closing: Closing,
    /// The client's, if it has one.
    deadline: Option<Pin<Box<Sleep>>>,
    heartbeat_every: Duration,
    _open: OpenWatch,
    slot: StreamSlot,
}

impl OpenStream {
    fn stream<S: Source>(self, source: S) -> Watch<S::Message> {
        let heartbeat = Box::pin(tokio::time::sleep(self.heartbeat_every));
        let watcher = Watcher {
            open_stream: self,
            source,
            ready: VecDeque::new(),
            step: Step::More,
            heartbeat,
            ended: false,
        };
        Box::pin(stream::unfold(watcher, Watcher::next))
    }

    /// Ends when the stream must, with the reason.
    async fn ended_by(&mut self) -> Failure {
        let passed = async {
            match &mut self.deadline {
                Some(deadline) => deadline.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.closing.begun() => Failure::ShuttingDown,
            () = passed => Failure::DeadlineExceeded,
        }
    }
}

struct Watcher<S: Source> {
    open_stream: OpenStream,
    source: S,
    ready: VecDeque<S::Message>,
    step: Step,
    heartbeat: Pin<Box<Sleep>>,
    ended: bool,
}

impl<S: Source> Watcher<S> {
    async fn next(mut self) -> Option<(Result<S::Message, Status>, Self)> {
        if self.ended {
            return None;
        }
        // A revoked credential is sent nothing more. A heartbeat is due every few seconds, so that is soon.
        let message =
            self.message().await.and_then(|message| self.open_stream.slot.check().map(|()| message));
        match message {
            Ok(message) => {
                let every = self.open_stream.heartbeat_every;
                self.heartbeat.set(tokio::time::sleep(every));
                Some((Ok(message), self))
            }
            Err(failure) => {
                self.ended = true;
                Some((Err(failure.into()), self))
            }
        }
    }

    async fn message(&mut self) -> Result<S::Message, Failure> {
        let Self { open_stream, source, ready, step, heartbeat, .. } = self;
        let work = async {
            loop {
                if let Some(message) = ready.pop_front() {
                    return Ok(message);
                }
                if *step == Step::Idle {
                    tokio::select! {
                        () = source.changed_since_read() => {}
                        () = heartbeat.as_mut() => return Ok(source.heartbeat()),
                    }
                }
                *step = source.read(ready).await?;
            }
        };
        // The end is polled first: else a stream that always has something to send would never end.
        tokio::select! {
            biased;
            failure = open_stream.ended_by() => Err(failure),
            message = work => message,
        }
    }
}
