//! `WatchConfig`: the thresholds of services.
//!
//! Fed by the newest [`Configuration`], which knows for each service when it was last changed: a service that changed
//! often while nobody read is sent once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use breakerd_api::v1;
use breakerd_common::clock::Clock;
use tokio::sync::watch::Receiver;
use tonic::Request;

use super::selection::Selection;
use super::token::{self, ConfigCursor, HistoryId, Token};
use super::{STORE_RESTORED, Source, Step, Watch, Watches, changed, detached};
use crate::app::{App, Loaded};
use crate::auth::{Right, Rights};
use crate::control::Configuration;
use crate::feed::{Feeds, HistoryTail};
use crate::grpc::client_info::ClientInfo;
use crate::grpc::convert;
use crate::grpc::status::Failure;
use crate::grpc::violations::Violations;
use crate::metrics::{Resyncs, Watched};
use v1::watch_config_response::Event;

/// Messages of one read: what is buffered for a stream whose client does not read. A configuration is some kilobytes, and twenty
/// with long lists of error classes.
const MESSAGES_MAX: usize = 16;
/// How long the store may take to name the history that a change is of. Without, its token names an older one, and a client that
/// resumes there is sent the change again.
const ANCHOR_MAX: Duration = Duration::from_secs(1);

/// A stream of what `request` selects.
pub(in crate::grpc) fn config(
    watches: &Watches,
    app: &App,
    loaded: &Loaded,
    request: Request<v1::WatchConfigRequest>,
) -> Result<Watch<v1::WatchConfigResponse>, Failure> {
    let client = ClientInfo::of(&request);
    let open_stream = watches.open_stream(Watched::Config, &request)?;
    let v1::WatchConfigRequest { services, service_prefix, resume_token } = request.into_inner();
    let mut violations = Violations::default();
    let rights = Rights::of(&[Right::Read]);
    let selection = Selection::new(services, service_prefix, client, rights, &mut violations);
    let token = token::config_token_of(&resume_token, &mut violations);
    violations.unless(())?;
    selection.check()?;

    let mut timeline = loaded.feeds.timeline();
    let history = HistoryId::new(loaded.feeds.store_id, *timeline.borrow_and_update());
    let mut follower = Follower {
        feeds: Arc::clone(&loaded.feeds),
        clock: Arc::clone(&app.clock),
        newest: loaded.control.watch(),
        timeline,
        selection,
        history,
        resyncs: watches.resyncs(Watched::Config),
        anchored: 0,
        phase: Phase::Begin { resync: None },
    };
    match token {
        None => {}
        Some(token) if token.history == history => follower.phase = Phase::Resume(token),
        Some(token) => follower.resync(history.mismatch(token.history)),
    }
    Ok(open_stream.stream(follower))
}

/// Whether changes after `cursor` have been forgotten.
fn is_too_old(cursor: &ConfigCursor, newest: &Configuration) -> bool {
    let sent = if cursor.within.is_some() { cursor.revision.saturating_sub(1) } else { cursor.revision };
    sent < newest.forgotten()
}

struct Follower {
    feeds: Arc<Feeds>,
    clock: Arc<dyn Clock>,
    newest: Receiver<Arc<Configuration>>,
    timeline: Receiver<u32>,
    selection: Selection,
    history: HistoryId,
    resyncs: Resyncs,
    /// The newest revision of the configuration for which the history was queried.
    anchored: u64,
    phase: Phase,
}

enum Phase {
    Begin {
        resync: Option<&'static str>,
    },
    /// The token is not yet checked against the history of the store.
    Resume(Token<ConfigCursor>),
    /// The services after `after` are still to be sent; changes after `revision` are sent later.
    Snapshot {
        revision: u64,
        after: String,
    },
    Changes(ConfigCursor),
}

impl Source for Follower {
    type Message = v1::WatchConfigResponse;

    async fn read(&mut self, ready: &mut VecDeque<Self::Message>) -> Result<Step, Failure> {
        if self.timeline.has_changed().unwrap_or(false) {
            self.history = HistoryId::new(self.feeds.store_id, *self.timeline.borrow_and_update());
            self.resync(STORE_RESTORED);
        }
        // After the timeline: the configuration of a restored store is effective before its timeline is sent.
        let configuration = Arc::clone(&self.newest.borrow_and_update());
        match &self.phase {
            Phase::Resume(token) => {
                let token = token.clone();
                self.resume(token).await?;
                Ok(Step::More)
            }
            Phase::Begin { resync } => {
                if let Some(reason) = resync {
                    let event = Event::Resync(v1::WatchResync { reason: (*reason).to_owned() });
                    ready.push_back(in_snapshot(event));
                }
                if self.selection.is_everything() {
                    ready.push_back(in_snapshot(Event::Config(self.shown(&configuration, ""))));
                }
                self.phase = Phase::Snapshot { revision: configuration.revision(), after: String::new() };
                Ok(Step::More)
            }
            Phase::Snapshot { revision, after } => {
                let (revision, after) = (*revision, after.clone());
                let selected = |service: &str| self.selection.has(service);
                let services: Vec<&str> =
                    configuration.services_after(&after, MESSAGES_MAX, selected).collect();
                let configs = services.iter().map(|service| self.shown(&configuration, service));
                ready.extend(configs.map(|config| in_snapshot(Event::Config(config))));
                self.phase = match services.last() {
                    Some(last) if services.len() == MESSAGES_MAX => {
                        Phase::Snapshot { revision, after: (*last).to_owned() }
                    }
                    _ => {
                        self.anchor(revision).await?;
                        let cursor = ConfigCursor { revision, within: None };
                        ready.push_back(self.message(Event::Bookmark(bookmark(revision)), &cursor));
                        Phase::Changes(cursor)
                    }
                };
                Ok(Step::More)
            }
            Phase::Changes(cursor) => {
                let sent = cursor.clone();
                if sent.revision > configuration.revision() {
                    // The configuration of a restored store is effective before its timeline, which resyncs this
                    // stream, is sent: once, and with tokens of that timeline.
                    return Ok(Step::Idle);
                }
                if is_too_old(&sent, &configuration) {
                    self.resync("the token is too old: what changed since is not known any more");
                    return Ok(Step::More);
                }
                self.anchor(configuration.revision()).await?;
                Ok(self.read_changes(&configuration, &sent, ready))
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
        match &self.phase {
            Phase::Changes(cursor) => self.message(Event::Heartbeat(bookmark(cursor.revision)), cursor),
            // Not called before all has been sent.
            Phase::Begin { .. } | Phase::Resume(_) | Phase::Snapshot { .. } => {
                in_snapshot(Event::Heartbeat(bookmark(0)))
            }
        }
    }
}

impl Follower {
    fn resync(&mut self, reason: &'static str) {
        self.resyncs.count();
        self.phase = Phase::Begin { resync: Some(reason) };
    }

    async fn resume(&mut self, token: Token<ConfigCursor>) -> Result<(), Failure> {
        let Token { anchor, cursor, .. } = token;
        let tail = Arc::clone(&self.feeds.tail);
        let checked =
            detached(tokio::time::timeout(ANCHOR_MAX, async move { tail.check(anchor).await })).await?;
        // The configuration is sent from memory, whatever the store does: so a token that cannot be checked costs a
        // snapshot, and not the stream.
        let reason = match checked {
            Ok(Ok(checked)) => super::resync_reason(checked),
            Ok(Err(_)) | Err(_) => Some("the store does not say whether it has what the token is of"),
        };
        match reason {
            Some(reason) => self.resync(reason),
            None if cursor.revision > self.newest.borrow().revision() => {
                self.resync("the token is newer than the store, which was restored from a backup");
            }
            // What is after the anchor is sent again: it may be of another history.
            None if anchor.revision < cursor.revision => {
                self.phase = Phase::Changes(ConfigCursor { revision: anchor.revision, within: None });
            }
            None => self.phase = Phase::Changes(cursor),
        }
        Ok(())
    }

    /// Sees to it that tokens can name the history that `revision` is of, if the store says so in time; once a revision.
    async fn anchor(&mut self, revision: u64) -> Result<(), Failure> {
        let tail: Arc<HistoryTail> = Arc::clone(&self.feeds.tail);
        if revision <= self.anchored || revision <= tail.anchor().revision {
            return Ok(());
        }
        self.anchored = revision;
        let read = async move { tail.anchor_at(revision).await };
        if let Ok(Err(error)) = detached(tokio::time::timeout(ANCHOR_MAX, read)).await? {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "cannot read the revision for a resume token"
            );
        }
        Ok(())
    }

    fn read_changes(
        &mut self,
        configuration: &Configuration,
        cursor: &ConfigCursor,
        ready: &mut VecDeque<v1::WatchConfigResponse>,
    ) -> Step {
        let before =
            if cursor.within.is_some() { cursor.revision.saturating_sub(1) } else { cursor.revision };
        let is_sent = |service: &str, revision: u64| {
            revision == cursor.revision && cursor.within.as_deref().is_some_and(|within| service <= within)
        };
        let everything = self.selection.is_everything();
        let mut changes = configuration
            .changed_after(before)
            .filter(|(service, revision)| {
                let selected = if service.is_empty() { everything } else { self.selection.has(service) };
                selected && !is_sent(service, *revision)
            })
            .peekable();
        for _ in 0..MESSAGES_MAX {
            let Some((service, revision)) = changes.next() else { break };
            // The last of a revision ends it, as far as this stream is concerned.
            let more = changes.peek().is_some_and(|(_, next)| *next == revision);
            let cursor = ConfigCursor { revision, within: more.then(|| service.to_string()) };
            let event = Event::Config(self.shown(configuration, service));
            ready.push_back(self.message(event, &cursor));
            self.phase = Phase::Changes(cursor);
        }
        if changes.peek().is_some() {
            return Step::More;
        }
        let revision = configuration.revision().max(cursor.revision);
        self.phase = Phase::Changes(ConfigCursor { revision, within: None });
        Step::Idle
    }

    fn shown(&self, configuration: &Configuration, service: &str) -> v1::ServiceConfig {
        convert::config(&configuration.service(service), self.clock.wall())
    }

    fn message(&self, event: Event, cursor: &ConfigCursor) -> v1::WatchConfigResponse {
        v1::WatchConfigResponse {
            event: Some(event),
            resume_token: self.history.config_token(cursor, self.feeds.tail.anchor()),
        }
    }
}

/// Within a snapshot there is nothing to resume at.
fn in_snapshot(event: Event) -> v1::WatchConfigResponse {
    v1::WatchConfigResponse { event: Some(event), resume_token: String::new() }
}

pub(super) fn bookmark(revision: u64) -> v1::WatchBookmark {
    v1::WatchBookmark { revision }
}
