//! `WatchBreakers`: the states of breakers, for clients that decide by themselves.
//!
//! The feed has the keys of the breakers that changed; the state is read from the engine when it is sent. So one that changed often
//! while its client read nothing is sent once, and never an older state after a newer one.

use std::collections::VecDeque;
use std::sync::Arc;

use breaker::{Key, State};
use breakerd_api::v1;
use breakerd_common::clock::Clock;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tonic::Request;

use super::config::bookmark;
use super::selection::Selection;
use super::{Source, Step, Watch, Watches, detached};
use crate::app::{App, Loaded};
use crate::auth::{Right, Rights};
use crate::engine::{Engine, ListQuery};
use crate::feed::{HistoryTail, StateChanges, StateFeed};
use crate::grpc::client_info::ClientInfo;
use crate::grpc::convert;
use crate::grpc::status::Failure;
use crate::grpc::violations::Violations;
use crate::metrics::{Resyncs, Watched};
use v1::watch_breakers_response::Event;

/// Messages of one read: what is buffered for a stream whose client does not read.
const MESSAGES_MAX: usize = 32;
/// Breakers of one listing; their keys are buffered for the client.
const FOUND_MAX: usize = 256;
/// The states that a snapshot sends.
const NOT_CLOSED: &[State] =
    &[State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled, State::MetricsOnly];

/// A stream of what `request` selects.
pub(in crate::grpc) fn breakers(
    watches: &Watches,
    app: &App,
    loaded: &Loaded,
    request: Request<v1::WatchBreakersRequest>,
) -> Result<Watch<v1::WatchBreakersResponse>, Failure> {
    let client = ClientInfo::of(&request);
    let open_stream = watches.open_stream(Watched::Breakers, &request)?;
    let v1::WatchBreakersRequest { services, service_prefix } = request.into_inner();
    let mut violations = Violations::default();
    let rights = Rights::of(&[Right::Call, Right::Read]);
    let selection = Selection::new(services, service_prefix, client, rights, &mut violations);
    violations.unless(())?;
    selection.check()?;
    let states = Arc::clone(&loaded.feeds.states);
    Ok(open_stream.stream(Follower {
        engine: Arc::clone(&loaded.engine),
        clock: Arc::clone(&app.clock),
        newest: states.watch(),
        states,
        tail: Arc::clone(&loaded.feeds.tail),
        selection: Arc::new(selection),
        listing_permits: Arc::clone(&watches.listing_permits),
        resyncs: watches.resyncs(Watched::Breakers),
        cursor: 0,
        revision: 0,
        phase: Phase::Begin,
    }))
}

struct Follower {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    states: Arc<StateFeed>,
    newest: Receiver<u64>,
    tail: Arc<HistoryTail>,
    selection: Arc<Selection>,
    listing_permits: Arc<Semaphore>,
    resyncs: Resyncs,
    /// The number of the last change that was sent.
    cursor: u64,
    /// All up to this revision of the store has been sent.
    revision: u64,
    phase: Phase,
}

enum Phase {
    Begin,
    /// These are to be sent, and, if there may be more, those after `after`.
    Snapshot {
        found: VecDeque<Key>,
        after: Option<Key>,
        more: bool,
    },
    Changes,
}

impl Source for Follower {
    type Message = v1::WatchBreakersResponse;

    async fn read(&mut self, ready: &mut VecDeque<Self::Message>) -> Result<Step, Failure> {
        self.newest.borrow_and_update();
        match &mut self.phase {
            Phase::Begin => {
                // Before anything is read: whatever changes from here on is sent after the snapshot.
                self.revision = self.tail.revision();
                self.cursor = self.states.newest();
                self.phase = Phase::Snapshot { found: VecDeque::new(), after: None, more: true };
            }
            Phase::Snapshot { found, .. } if !found.is_empty() => {
                let keys: Vec<Key> = found.drain(..found.len().min(MESSAGES_MAX)).collect();
                self.push_messages(&keys, ready);
            }
            Phase::Snapshot { after, more: true, .. } => {
                let after = after.clone();
                let found = self.list_not_closed(after).await?;
                let (more, after) = (found.len() == FOUND_MAX, found.back().cloned());
                self.phase = Phase::Snapshot { found, after, more };
            }
            Phase::Snapshot { .. } => {
                ready.push_back(message(Event::Bookmark(bookmark(self.revision))));
                self.phase = Phase::Changes;
            }
            Phase::Changes => return Ok(self.read_changes(ready)),
        }
        Ok(Step::More)
    }

    async fn changed_since_read(&mut self) {
        // Fails when nothing can change any more: that is the shutdown, which ends the stream.
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn heartbeat(&self) -> Self::Message {
        // In this order: what the store has, the feed had before.
        let revision = self.tail.revision();
        let is_all_sent = self.states.newest() == self.cursor;
        message(Event::Heartbeat(bookmark(if is_all_sent { revision } else { self.revision })))
    }
}

impl Follower {
    fn read_changes(&mut self, ready: &mut VecDeque<v1::WatchBreakersResponse>) -> Step {
        let revision = self.tail.revision();
        match self.states.after(self.cursor, MESSAGES_MAX) {
            StateChanges::TooOld => {
                self.resyncs.count();
                let reason = "too much has changed since, or everything at once".to_owned();
                ready.push_back(message(Event::Resync(v1::WatchResync { reason })));
                self.phase = Phase::Begin;
                Step::More
            }
            StateChanges::Changed(keys, cursor) => {
                self.cursor = cursor;
                if keys.is_empty() {
                    self.revision = revision;
                    return Step::Idle;
                }
                let selected: Vec<Key> =
                    keys.into_iter().filter(|key| self.selection.has(key.service())).collect();
                self.push_messages(&selected, ready);
                Step::More
            }
        }
    }

    fn push_messages(&self, keys: &[Key], ready: &mut VecDeque<v1::WatchBreakersResponse>) {
        let now = self.clock.now();
        let wall = self.engine.wall(now);
        // One that was retired is shown as closed, at its epoch. Of which nothing is known never left its first state.
        let views = self.engine.views(keys, now);
        ready.extend(views.iter().map(|view| message(Event::Breaker(convert::breaker_state(view, wall)))));
    }

    /// The next breakers after `after` that are not simply closed.
    async fn list_not_closed(&self, after: Option<Key>) -> Result<VecDeque<Key>, Failure> {
        // While breakerd is disabled as a whole every call is allowed, as it is for a breaker that is not sent.
        if !self.engine.catalog().enabled() {
            return Ok(VecDeque::new());
        }
        let (engine, selection, listing_permits) =
            (Arc::clone(&self.engine), Arc::clone(&self.selection), Arc::clone(&self.listing_permits));
        let now = self.clock.now();
        detached(async move {
            let permit = listing_permits.acquire_owned().await.map_err(|_| Failure::ShuttingDown)?;
            // Off the threads that decide: a thousand breakers are locked, one after the other.
            let found = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let query = ListQuery {
                    after: after.as_ref(),
                    states: NOT_CLOSED,
                    limit: FOUND_MAX,
                    ..ListQuery::default()
                };
                let views = engine.list(&query, now, |service| selection.has(service));
                // Not collected in place: the keys would keep the allocation of the views, which are ten times as large.
                let mut keys = VecDeque::with_capacity(views.len());
                keys.extend(views.into_iter().map(|view| view.key));
                keys
            });
            found.await.map_err(|error| {
                tracing::error!(%error, "watch snapshot failed");
                Failure::Internal
            })
        })
        .await?
    }
}

fn message(event: Event) -> v1::WatchBreakersResponse {
    v1::WatchBreakersResponse { event: Some(event) }
}
