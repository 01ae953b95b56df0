//! Streams of what changes: one way for all three of them.
//!
//! A stream is polled only when its client has room. It then asks its source for what is behind its cursor, sends that,
//! and waits until there is more. Nothing is queued for it but the few messages of one reading, so a client that reads
//! nothing costs what any other does, and is sent the newest when it reads again.
//!
//! A stream whose client stops reading is not polled, perhaps for hours, and a future that is not polled keeps what it has
//! acquired. So a source awaits shared things - a permit, a connection of the store - in a task ([`detached`]), never itself.
//!
//! Every stream says `heartbeat` while nothing happens, ends with `DEADLINE_EXCEEDED` at its client's deadline, with
//! UNAVAILABLE when the process is about to go, and with UNAUTHENTICATED when its token is taken off the roll.

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
use super::health::{Closing, HealthBoard};
use super::status::Failure;
use super::stream_limiter::{StreamLimiter, StreamSlot};
use crate::feed::Checked;
use crate::metrics::{OpenWatch, Resyncs, WatchMetrics, Watched};

pub(super) use breakers::breakers;
pub(super) use config::config;
pub(super) use transitions::transitions;

/// Snapshots that look at every breaker at one time: decisions must not wait for the cores.
const LOOKS_AT_ONCE: usize = 2;

/// Why a stream begins anew whose history is not the store's any more.
const GONE_BACK: &str = "the store went back to an older state, as when a backup is restored: it has another history than was sent";

/// A stream as tonic takes it.
pub(super) type Watch<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Whether it is worth asking again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There may be more.
    More,
    /// All has been told.
    Idle,
}

/// What a stream tells, and how far it has told it.
trait Source: Send + 'static {
    type Message: Send + 'static;

    /// Adds the next few messages, a bounded number; perhaps none, though there are more behind them.
    fn read(
        &mut self,
        ready: &mut VecDeque<Self::Message>,
    ) -> impl Future<Output = Result<Step, Failure>> + Send;

    /// Ends when there may be more than [`Source::read`] has seen.
    fn woken(&mut self) -> impl Future<Output = ()> + Send;

    /// That the stream is alive, and all that was there at the last reading told.
    fn heartbeat(&self) -> Self::Message;
}

/// What all streams share.
#[derive(Clone)]
pub(super) struct Watches {
    places: StreamLimiter,
    board: Arc<HealthBoard>,
    metrics: WatchMetrics,
    heartbeat_every: Duration,
    looks: Arc<Semaphore>,
}

impl Watches {
    pub(super) fn new(
        places: StreamLimiter,
        board: Arc<HealthBoard>,
        metrics: WatchMetrics,
        limits: &Limits,
    ) -> Self {
        Self {
            places,
            board,
            metrics,
            heartbeat_every: limits.heartbeat_every,
            looks: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
        }
    }

    /// Room for one more stream of whoever sent `request`.
    fn seat<T>(&self, watched: Watched, request: &Request<T>) -> Result<Seat, Failure> {
        let place = self.places.take(&ClientInfo::of(request))?;
        let patience = deadline::of(request.metadata().as_ref())?;
        Ok(Seat {
            closing: self.board.closing(),
            deadline: patience.map(|patience| Box::pin(tokio::time::sleep(patience))),
            heartbeat_every: self.heartbeat_every,
            _open: self.metrics.open(watched),
            place,
        })
    }

    fn resyncs(&self, watched: Watched) -> Resyncs {
        self.metrics.resyncs(watched)
    }
}

/// Ends when there is a new value. Never when nobody can change it any more: that is the end of the process, and the stream
/// hears of it.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Why a token whose history was `checked` cannot be resumed at; none: it can.
const fn unusable(checked: Checked) -> Option<&'static str> {
    match checked {
        Checked::Present => None,
        Checked::Newer => Some("the token is newer than the store, which was restored from a backup"),
        Checked::Replaced => Some(GONE_BACK),
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

/// Room for a stream, and when it ends.
struct Seat {
    closing: Closing,
    /// The client's, if it has one.
    deadline: Option<Pin<Box<Sleep>>>,
    heartbeat_every: Duration,
    _open: OpenWatch,
    place: StreamSlot,
}

impl Seat {
    fn stream<S: Source>(self, source: S) -> Watch<S::Message> {
        let heartbeat = Box::pin(tokio::time::sleep(self.heartbeat_every));
        let watcher =
            Watcher { seat: self, source, ready: VecDeque::new(), step: Step::More, heartbeat, ended: false };
        Box::pin(stream::unfold(watcher, Watcher::next))
    }

    /// Ends when the stream has to, with why.
    async fn over(&mut self) -> Failure {
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
    seat: Seat,
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
        // Whoever is not known any more is told nothing more. A heartbeat is due every few seconds, so that is soon.
        let message = self.message().await.and_then(|message| self.seat.place.check().map(|()| message));
        match message {
            Ok(message) => {
                let every = self.seat.heartbeat_every;
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
        let Self { seat, source, ready, step, heartbeat, .. } = self;
        let work = async {
            loop {
                if let Some(message) = ready.pop_front() {
                    return Ok(message);
                }
                if *step == Step::Idle {
                    tokio::select! {
                        () = source.woken() => {}
                        () = heartbeat.as_mut() => return Ok(source.heartbeat()),
                    }
                }
                *step = source.read(ready).await?;
            }
        };
        // First whether it is over: else one that always has something to say would never end.
        tokio::select! {
            biased;
            failure = seat.over() => Err(failure),
            message = work => message,
        }
    }
}
