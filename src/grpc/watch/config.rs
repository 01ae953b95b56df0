//! `WatchConfig`: what services are judged by.
//!
//! Fed by the newest [`Configuration`], which knows for each service when it was last changed: a service that changed
//! often while nobody read is told once.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch::Receiver;
use tonic::Request;

use super::selection::Selection;
use super::token::{self, ConfigPlace, Home};
use super::{Source, Step, Watch, Watches};
use crate::app::Loaded;
use crate::auth::{Right, Rights};
use crate::control::Configuration;
use crate::grpc::asker::Asker;
use crate::grpc::convert;
use crate::grpc::fault::Faults;
use crate::grpc::status::Failure;
use crate::metrics::{Restarts, Watched};
use crate::proto::v1;
use v1::watch_config_response::Event;

/// Messages of one reading: what a stream whose client does not read keeps. A configuration is some kilobytes, and twenty
/// with long lists of error classes.
const MESSAGES_MAX: usize = 16;

/// A stream of what `request` selects.
pub(in crate::grpc) fn config(
    watches: &Watches,
    loaded: &Loaded,
    request: Request<v1::WatchConfigRequest>,
) -> Result<Watch<v1::WatchConfigResponse>, Failure> {
    let asker = Asker::of(&request);
    let seat = watches.seat(Watched::Config, &request)?;
    let v1::WatchConfigRequest { services, service_prefix, resume_token } = request.into_inner();
    let mut faults = Faults::default();
    let rights = Rights::of(&[Right::Read]);
    let selection = Selection::new(services, service_prefix, asker, rights, &mut faults);
    let token = token::config_place(&resume_token, &mut faults);
    faults.unless(())?;
    selection.check()?;

    let (home, newest) = (Home::of(&loaded.feeds), loaded.control.watch());
    let restarts = watches.restarts(Watched::Config);
    let phase = match token {
        None => Phase::Begin { restart: None },
        Some((of, place)) => match unusable(of == home, &place, &newest.borrow()) {
            None => Phase::Changes(place),
            Some(why) => {
                restarts.count();
                Phase::Begin { restart: Some(why) }
            }
        },
    };
    Ok(seat.stream(Follower { newest, selection, home, restarts, phase }))
}

/// Why the stream cannot go on behind a place.
fn unusable(is_ours: bool, place: &ConfigPlace, newest: &Configuration) -> Option<&'static str> {
    let told = if place.within.is_some() { place.revision.saturating_sub(1) } else { place.revision };
    if !is_ours {
        Some("the token is of another store")
    } else if place.revision > newest.revision() {
        Some("the token is newer than the store, which was restored from a backup")
    } else if told < newest.forgotten() {
        Some("the token is too old: what changed since is not known any more")
    } else {
        None
    }
}

struct Follower {
    newest: Receiver<Arc<Configuration>>,
    selection: Selection,
    home: Home,
    restarts: Restarts,
    phase: Phase,
}

enum Phase {
    Begin {
        restart: Option<&'static str>,
    },
    /// The services behind `after` are still to be told; changes behind `revision` are told later.
    Snapshot {
        revision: u64,
        after: String,
    },
    Changes(ConfigPlace),
}

impl Source for Follower {
    type Message = v1::WatchConfigResponse;

    async fn read(&mut self, ready: &mut VecDeque<Self::Message>) -> Result<Step, Failure> {
        let configuration = Arc::clone(&self.newest.borrow_and_update());
        match &self.phase {
            Phase::Begin { restart } => {
                if let Some(reason) = restart {
                    let event = Event::Restart(v1::WatchRestart { reason: (*reason).to_owned() });
                    ready.push_back(in_snapshot(event));
                }
                if self.selection.is_everything() {
                    ready.push_back(in_snapshot(Event::Config(convert::config(&configuration.service("")))));
                }
                self.phase = Phase::Snapshot { revision: configuration.revision(), after: String::new() };
                Ok(Step::More)
            }
            Phase::Snapshot { revision, after } => {
                let selected = |service: &str| self.selection.has(service);
                let services: Vec<&str> =
                    configuration.services_behind(after, MESSAGES_MAX, selected).collect();
                let configs = services.iter().map(|service| convert::config(&configuration.service(service)));
                ready.extend(configs.map(|config| in_snapshot(Event::Config(config))));
                self.phase = match services.last() {
                    Some(last) if services.len() == MESSAGES_MAX => {
                        Phase::Snapshot { revision: *revision, after: (*last).to_owned() }
                    }
                    _ => {
                        let place = ConfigPlace { revision: *revision, within: None };
                        ready.push_back(self.message(Event::Mark(mark(*revision)), &place));
                        Phase::Changes(place)
                    }
                };
                Ok(Step::More)
            }
            Phase::Changes(place) => {
                let told = place.clone();
                if let Some(reason) = unusable(true, &told, &configuration) {
                    self.restarts.count();
                    self.phase = Phase::Begin { restart: Some(reason) };
                    return Ok(Step::More);
                }
                Ok(self.read_changes(&configuration, &told, ready))
            }
        }
    }

    async fn woken(&mut self) {
        // Fails when nobody can change it any more: that is the end of the process, and the stream hears of it.
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn heartbeat(&self) -> Self::Message {
        match &self.phase {
            Phase::Changes(place) => self.message(Event::Heartbeat(mark(place.revision)), place),
            // It is not asked for before all has been told.
            Phase::Begin { .. } | Phase::Snapshot { .. } => in_snapshot(Event::Heartbeat(mark(0))),
        }
    }
}

impl Follower {
    fn read_changes(
        &mut self,
        configuration: &Configuration,
        place: &ConfigPlace,
        ready: &mut VecDeque<v1::WatchConfigResponse>,
    ) -> Step {
        let before = if place.within.is_some() { place.revision.saturating_sub(1) } else { place.revision };
        let is_told = |service: &str, revision: u64| {
            revision == place.revision && place.within.as_deref().is_some_and(|within| service <= within)
        };
        let everything = self.selection.is_everything();
        let mut changes = configuration
            .changed_after(before)
            .filter(|(service, revision)| {
                let selected = if service.is_empty() { everything } else { self.selection.has(service) };
                selected && !is_told(service, *revision)
            })
            .peekable();
        for _ in 0..MESSAGES_MAX {
            let Some((service, revision)) = changes.next() else { break };
            // The last of a revision ends it, as far as this stream is concerned.
            let more = changes.peek().is_some_and(|(_, next)| *next == revision);
            let place = ConfigPlace { revision, within: more.then(|| service.to_string()) };
            let event = Event::Config(convert::config(&configuration.service(service)));
            ready.push_back(self.message(event, &place));
            self.phase = Phase::Changes(place);
        }
        if changes.peek().is_some() {
            return Step::More;
        }
        let revision = configuration.revision().max(place.revision);
        self.phase = Phase::Changes(ConfigPlace { revision, within: None });
        Step::Idle
    }

    fn message(&self, event: Event, place: &ConfigPlace) -> v1::WatchConfigResponse {
        v1::WatchConfigResponse { event: Some(event), resume_token: self.home.config_token(place) }
    }
}

/// Within a snapshot there is nothing to resume at.
fn in_snapshot(event: Event) -> v1::WatchConfigResponse {
    v1::WatchConfigResponse { event: Some(event), resume_token: String::new() }
}

pub(super) fn mark(revision: u64) -> v1::WatchMark {
    v1::WatchMark { revision }
}
