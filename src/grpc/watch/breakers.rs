//! `WatchBreakers`: the states of breakers, for clients that decide by themselves.
//!
//! The feed has the keys of the breakers that changed; the state is read from the engine when it is sent. So one that changed often
//! while its client read nothing is sent once, and never an older state after a newer one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, State};
use breakerd_api::time::to_duration;
use breakerd_api::v1;
use breakerd_common::clock::Clock;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tonic::Request;

use super::config::bookmark;
use super::selection::Selection;
use super::{STORE_RESTORED, Source, Step, Watch, Watches, changed, detached};
use crate::app::{App, Loaded};
use crate::auth::{Right, Rights};
use crate::control::Configuration;
use crate::engine::{BreakerView, Engine, ListQuery};
use crate::feed::{HistoryTail, StateChanges, StateFeed};
use crate::grpc::client_info::ClientInfo;
use crate::grpc::convert;
use crate::grpc::status::Failure;
use crate::grpc::violations::Violations;
use crate::metrics::{Resyncs, Watched};
use v1::watch_breakers_response::Event;

/// Messages of one read: what is buffered for a stream whose client does not read.
const MESSAGES_MAX: usize = 32;
/// Services of one read: their thresholds are some kilobytes, and twenty with long lists of error classes.
const SERVICES_MAX: usize = 16;
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
    let heartbeat_every = watches.heartbeat_every;
    Ok(open_stream.stream(Follower {
        engine: Arc::clone(&loaded.engine),
        clock: Arc::clone(&app.clock),
        newest: states.watch(),
        states,
        tail: Arc::clone(&loaded.feeds.tail),
        selection: Arc::new(selection),
        listing_permits: Arc::clone(&watches.listing_permits),
        resyncs: watches.resyncs(Watched::Breakers),
        heartbeat_every,
        configuration: loaded.control.watch(),
        timeline: loaded.feeds.timeline(),
        cursor: 0,
        revision: 0,
        config_revision: 0,
        changed_services: VecDeque::new(),
        phase: Phase::Begin { resync: None },
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
    heartbeat_every: Duration,
    configuration: Receiver<Arc<Configuration>>,
    timeline: Receiver<u32>,
    /// The number of the last change that was sent.
    cursor: u64,
    /// All up to this revision of the store has been sent.
    revision: u64,
    /// The thresholds of all services up to this revision have been sent, or are being sent by the snapshot.
    config_revision: u64,
    /// Services that changed up to that revision, still to be sent.
    changed_services: VecDeque<Arc<str>>,
    phase: Phase,
}

enum Phase {
    Begin {
        resync: Option<&'static str>,
    },
    /// The services after this one are to be sent.
    Services {
        after: String,
    },
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
        if self.timeline.has_changed().unwrap_or(false) {
            self.resyncs.count();
            self.phase = Phase::Begin { resync: Some(STORE_RESTORED) };
        }
        match &mut self.phase {
            Phase::Begin { resync } => {
                if let Some(reason) = resync {
                    ready.push_back(message(Event::Resync(v1::WatchResync { reason: (*reason).to_owned() })));
                }
                // Before anything is read: whatever changes from here on is sent after the snapshot.
                self.revision = self.tail.revision();
                self.cursor = self.states.newest();
                let timeline = *self.timeline.borrow_and_update();
                let configuration = Arc::clone(&self.configuration.borrow_and_update());
                self.config_revision = configuration.revision();
                self.changed_services.clear();
                ready.push_back(message(Event::Hello(self.hello(timeline, &configuration))));
                self.push_service("", &configuration, ready);
                self.phase = Phase::Services { after: String::new() };
            }
            Phase::Services { after } => {
                // A service that changes meanwhile is sent once more after the snapshot.
                let configuration = Arc::clone(&self.configuration.borrow());
                let selected = |service: &str| self.selection.has(service);
                let services: Vec<&str> =
                    configuration.services_after(after, SERVICES_MAX, selected).collect();
                for service in &services {
                    self.push_service(service, &configuration, ready);
                }
                self.phase = match services.last() {
                    Some(last) if services.len() == SERVICES_MAX => {
                        Phase::Services { after: (*last).to_owned() }
                    }
                    _ => Phase::Snapshot { found: VecDeque::new(), after: None, more: true },
                };
            }
            Phase::Snapshot { found, .. } if !found.is_empty() => {
                let keys: Vec<Key> = found.drain(..found.len().min(MESSAGES_MAX)).collect();
                // Thresholds that changed since the snapshot began are sent after it.
                self.push_breakers(&self.views(&keys), ready);
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
        tokio::select! {
            () = changed(&mut self.newest) => {}
            () = changed(&mut self.configuration) => self.configuration.mark_changed(),
            () = changed(&mut self.timeline) => self.timeline.mark_changed(),
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
        let configuration = Arc::clone(&self.configuration.borrow_and_update());
        if !self.note_changed_services(&configuration) {
            return self.resync("too many services changed at once");
        }
        if !self.changed_services.is_empty() {
            for _ in 0..SERVICES_MAX {
                let Some(service) = self.changed_services.pop_front() else { break };
                self.push_service(&service, &configuration, ready);
            }
            return Step::More;
        }
        let revision = self.tail.revision();
        match self.states.after(self.cursor, MESSAGES_MAX) {
            StateChanges::TooOld => self.resync("too much has changed since, or everything at once"),
            StateChanges::Changed(keys, cursor) => {
                if keys.is_empty() {
                    self.cursor = cursor;
                    self.revision = revision;
                    return Step::Idle;
                }
                let selected: Vec<Key> =
                    keys.into_iter().filter(|key| self.selection.has(key.service())).collect();
                let views = self.views(&selected);
                if views.iter().any(|view| view.config_revision > self.config_revision) {
                    // The engine has thresholds that are published next: they are sent first.
                    return Step::Idle;
                }
                self.push_breakers(&views, ready);
                self.cursor = cursor;
                Step::More
            }
        }
    }

    fn resync(&mut self, reason: &'static str) -> Step {
        self.resyncs.count();
        self.phase = Phase::Begin { resync: Some(reason) };
        Step::More
    }

    fn hello(&self, timeline: u32, configuration: &Configuration) -> v1::WatchHello {
        v1::WatchHello {
            timeline: timeline.into(),
            boot: self.engine.issuer(),
            enabled: configuration.catalog().enabled(),
            heartbeat_interval: Some(to_duration(self.heartbeat_every)),
        }
    }

    fn push_service(
        &self,
        service: &str,
        configuration: &Configuration,
        ready: &mut VecDeque<v1::WatchBreakersResponse>,
    ) {
        let set = self.engine.service_override_left(service, self.clock.now());
        let state = convert::service_state(&configuration.service(service), set);
        ready.push_back(message(Event::Service(state)));
    }

    /// Notes the services whose configuration changed since the last read. False: there are too many, or they are not known
    /// any more.
    fn note_changed_services(&mut self, configuration: &Configuration) -> bool {
        let revision = configuration.revision();
        // The configuration of a store that went back is published ahead of its timeline, which starts this stream again.
        if revision <= self.config_revision {
            return true;
        }
        if self.config_revision < configuration.forgotten() {
            return false;
        }
        let changed = configuration.changed_after(self.config_revision).map(|(service, _)| service);
        let selected = changed.filter(|service| service.is_empty() || self.selection.has(service));
        self.changed_services.extend(selected.take(FOUND_MAX + 1).cloned());
        self.config_revision = revision;
        self.changed_services.len() <= FOUND_MAX
    }

    /// One that was retired is shown as closed, at its epoch. Of which nothing is known never left its first state.
    fn views(&self, keys: &[Key]) -> Vec<BreakerView> {
        self.engine.views(keys, self.clock.now())
    }

    fn push_breakers(&self, views: &[BreakerView], ready: &mut VecDeque<v1::WatchBreakersResponse>) {
        let wall = self.engine.wall(self.clock.now());
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
