//! `WatchTransitions`: the history, none of it left out.
//!
//! Read from the tail of the history in memory, and from the store by streams that lag further than that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use breaker::Key;
use breakerd_api::v1;
use tokio::sync::watch::Receiver;
use tonic::Request;

use super::config::bookmark;
use super::selection::Selection;
use super::token::{self, HistoryId, Token};
use super::{STORE_RESTORED, Source, Step, Watch, Watches, changed, detached, resync_reason};
use crate::app::Loaded;
use crate::auth::{Right, Rights};
use crate::feed::{Feeds, HistoryTail, Page, RowsAfter, end_of};
use crate::grpc::client_info::ClientInfo;
use crate::grpc::convert;
use crate::grpc::status::Failure;
use crate::grpc::violations::Violations;
use crate::metrics::{Resyncs, Watched};
use crate::store::{HistoryCursor, StoreError, StoredTransition};
use v1::watch_transitions_response::Event;

/// Rows of one reading: what a stream whose client does not read keeps.
const ROWS_MAX: u32 = 64;

/// How long a stream may wait for a permit to read from the store, and for the read. Meanwhile it sends nothing, not even a
/// heartbeat: in a store outage, a thousand that wait for each other would be silent for minutes.
const READ_MAX: Duration = Duration::from_secs(30);

/// A stream of what `request` selects.
pub(in crate::grpc) fn transitions(
    watches: &Watches,
    loaded: &Loaded,
    request: Request<v1::WatchTransitionsRequest>,
) -> Result<Watch<v1::WatchTransitionsResponse>, Failure> {
    let client = ClientInfo::of(&request);
    let open_stream = watches.open_stream(Watched::Transitions, &request)?;
    let v1::WatchTransitionsRequest { services, service_prefix, resume_token } = request.into_inner();
    let mut violations = Violations::default();
    let rights = Rights::of(&[Right::Read]);
    let selection = Selection::new(services, service_prefix, client, rights, &mut violations);
    let token = token::transitions_token_of(&resume_token, &mut violations);
    violations.unless(())?;
    selection.check()?;

    let tail = Arc::clone(&loaded.feeds.tail);
    let mut timeline = loaded.feeds.timeline();
    let history = HistoryId::new(loaded.feeds.store_id, *timeline.borrow_and_update());
    let mut follower = Follower {
        feeds: Arc::clone(&loaded.feeds),
        newest: tail.watch(),
        tail,
        timeline,
        selection,
        history,
        resyncs: watches.resyncs(Watched::Transitions),
        phase: Phase::Begin,
    };
    match token {
        None => {}
        Some(token) if token.history == history => follower.phase = Phase::Resume(token),
        Some(token) => follower.resync(history.mismatch(token.history)),
    }
    Ok(open_stream.stream(follower))
}

struct Follower {
    feeds: Arc<Feeds>,
    tail: Arc<HistoryTail>,
    newest: Receiver<u64>,
    timeline: Receiver<u32>,
    selection: Selection,
    history: HistoryId,
    resyncs: Resyncs,
    phase: Phase,
}

enum Phase {
    Begin,
    Resync {
        reason: &'static str,
    },
    /// The token is not yet checked against the history of the store.
    Resume(Token<HistoryCursor>),
    /// The breakers after `after` are still to be sent; what happened after `revision` is sent later.
    Snapshot {
        revision: u64,
        after: Option<Key>,
    },
    /// All up to this cursor has been sent.
    Follow(HistoryCursor),
}

impl Source for Follower {
    type Message = v1::WatchTransitionsResponse;

    async fn read(&mut self, ready: &mut VecDeque<Self::Message>) -> Result<Step, Failure> {
        // The timeline first: what is read from memory after it is of that timeline, or of one that is sent next.
        if self.timeline.has_changed().unwrap_or(false) {
            self.history = HistoryId::new(self.feeds.store_id, *self.timeline.borrow_and_update());
            self.resync(STORE_RESTORED);
        }
        let known = *self.newest.borrow_and_update();
        match &self.phase {
            Phase::Begin => {
                let tail = Arc::clone(&self.tail);
                let revision = within(async move { tail.newest_revision().await }).await?;
                self.phase = Phase::Snapshot { revision, after: None };
                Ok(Step::More)
            }
            Phase::Resync { reason } => {
                let event = Event::Resync(v1::WatchResync { reason: (*reason).to_owned() });
                ready.push_back(in_snapshot(event));
                self.phase = Phase::Begin;
                Ok(Step::More)
            }
            Phase::Resume(token) => {
                let (tail, anchor, cursor) = (Arc::clone(&self.tail), token.anchor, token.cursor);
                let checked = within(async move { tail.check(anchor).await }).await?;
                match resync_reason(checked) {
                    Some(reason) => self.resync(reason),
                    // Issued while the store was restored.
                    None if anchor.revision < cursor.revision => self.resync(STORE_RESTORED),
                    None => self.phase = Phase::Follow(cursor),
                }
                Ok(Step::More)
            }
            Phase::Snapshot { revision, after } => {
                let (revision, after) = (*revision, after.clone());
                self.read_snapshot(revision, after, ready).await
            }
            Phase::Follow(cursor) => {
                let cursor = *cursor;
                self.follow(cursor, known, ready).await
            }
        }
    }

    async fn changed_since_read(&mut self) {
        tokio::select! {
            () = changed(&mut self.newest) => {}
            () = changed(&mut self.timeline) => self.timeline.mark_changed(),
        }
    }

    fn heartbeat(&self) -> Self::Message {
        match self.phase {
            Phase::Follow(cursor) => {
                let is_whole = cursor.number == u32::MAX;
                let revision = if is_whole { cursor.revision } else { cursor.revision.saturating_sub(1) };
                self.message(Event::Heartbeat(bookmark(revision)), cursor)
            }
            // Not called before all has been sent.
            _ => in_snapshot(Event::Heartbeat(bookmark(0))),
        }
    }
}

impl Follower {
    fn resync(&mut self, reason: &'static str) {
        self.resyncs.count();
        self.phase = Phase::Resync { reason };
    }

    async fn read_snapshot(
        &mut self,
        revision: u64,
        after: Option<Key>,
        ready: &mut VecDeque<v1::WatchTransitionsResponse>,
    ) -> Result<Step, Failure> {
        let tail = Arc::clone(&self.tail);
        let page = within(async move { tail.breakers(after.as_ref(), ROWS_MAX).await }).await?;
        let selected = page.iter().filter(|stored| self.selection.has(stored.key.service()));
        ready.extend(selected.map(|stored| in_snapshot(Event::State(convert::stored_state(stored)))));
        self.phase = match page.last() {
            Some(last) if page.len() == ROWS_MAX as usize => {
                Phase::Snapshot { revision, after: Some(last.key.clone()) }
            }
            _ => {
                let cursor = end_of(revision);
                ready.push_back(self.message(Event::Bookmark(bookmark(revision)), cursor));
                Phase::Follow(cursor)
            }
        };
        Ok(Step::More)
    }

    /// `known`: the revision that memory had before anything was read.
    async fn follow(
        &mut self,
        cursor: HistoryCursor,
        known: u64,
        ready: &mut VecDeque<v1::WatchTransitionsResponse>,
    ) -> Result<Step, Failure> {
        match self.tail.after(cursor, ROWS_MAX as usize) {
            RowsAfter::Rows(rows) => {
                self.push_messages(&rows, ready);
                Ok(Step::More)
            }
            RowsAfter::Nothing { revision } => {
                self.phase = Phase::Follow(cursor.max(end_of(revision)));
                Ok(Step::Idle)
            }
            RowsAfter::NotInMemory => {
                let tail = Arc::clone(&self.tail);
                match within(async move { tail.read(cursor, ROWS_MAX).await }).await? {
                    Page::TooOld => {
                        self.resync("the history does not reach back so far any more");
                        Ok(Step::More)
                    }
                    Page::Rows(rows) => {
                        self.push_messages(&rows, ready);
                        if rows.len() < ROWS_MAX as usize {
                            let last = rows.last().map_or(cursor, |last| last.cursor);
                            // What memory had before the store was read, the store had too.
                            self.phase = Phase::Follow(last.max(cursor).max(end_of(known)));
                            return Ok(if rows.is_empty() { Step::Idle } else { Step::More });
                        }
                        if ready.is_empty() {
                            // Many rows were not selected: the client need not read them again on resume.
                            ready.push_back(self.heartbeat());
                        }
                        Ok(Step::More)
                    }
                }
            }
        }
    }

    fn push_messages(
        &mut self,
        rows: &[Arc<StoredTransition>],
        ready: &mut VecDeque<v1::WatchTransitionsResponse>,
    ) {
        for row in rows {
            if self.selection.has(row.key.service()) {
                ready.push_back(self.message(Event::Transition(convert::transition(row)), row.cursor));
            }
            self.phase = Phase::Follow(row.cursor);
        }
    }

    fn message(&self, event: Event, cursor: HistoryCursor) -> v1::WatchTransitionsResponse {
        let resume_token = self.history.transitions_token(cursor, self.tail.anchor());
        v1::WatchTransitionsResponse { event: Some(event), resume_token }
    }
}

async fn within<T: Send + 'static>(
    read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, Failure> {
    match detached(tokio::time::timeout(READ_MAX, read)).await? {
        Ok(read) => {
            read.map_err(|error| convert::store_failure("the history could not be read for a watch", &error))
        }
        Err(_) => Err(Failure::StoreUnavailable),
    }
}

/// Within a snapshot there is nothing to resume at.
fn in_snapshot(event: Event) -> v1::WatchTransitionsResponse {
    v1::WatchTransitionsResponse { event: Some(event), resume_token: String::new() }
}
