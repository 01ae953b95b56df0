//! One connection to breakerd: made, followed, and made again at another address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::{Key, State};
use breakerd_api::enums::from_number;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::watch_breakers_response::Event;
use breakerd_api::{time, v1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Endpoint, Uri};

use crate::cell::{Heard, ServiceOverride, Source};
use crate::error::BuildError;
use crate::known::{SERVICES_MAX, Service, end_of};
use crate::session::{Session, authenticated};
use crate::settings::Builder;
use crate::shared::Shared;
use crate::{lock, log, thresholds};

/// To connect, and until the stream begins.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Resolving a host name.
const RESOLVE_MAX: Duration = Duration::from_secs(2);
/// A peer that does not answer a ping for so long is gone.
const PING: Duration = Duration::from_secs(5);
/// Between attempts that fail, from and to.
const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(5);
/// The states of a snapshot that are kept until its end.
const SNAPSHOT_MAX: usize = 100_000;

/// Where breakerd is, checked.
#[derive(Debug)]
pub(crate) struct Addresses {
    endpoints: Vec<(Endpoint, String, u16)>,
    token: Option<MetadataValue<Ascii>>,
}

impl Addresses {
    /// # Errors
    /// That an address, a certificate or the token is malformed.
    pub(crate) fn new(builder: &Builder) -> Result<Self, BuildError> {
        let endpoints = builder.addresses.iter().map(|address| endpoint(address, builder));
        let token = builder.token.as_ref().map(|token| {
            let header = MetadataValue::try_from(format!("Bearer {}", token.0));
            header.map(|mut header| {
                header.set_sensitive(true);
                header
            })
        });
        let token = token.transpose().map_err(|_| BuildError::Setting {
            field: "token",
            value: "(not shown)".to_owned(),
            expected: "visible ASCII characters",
        })?;
        Ok(Self { endpoints: endpoints.collect::<Result<_, _>>()?, token })
    }

    /// Every address of every host, in a random order: clients spread over the replicas.
    async fn resolve(&self, shared: &Shared) -> Vec<(Endpoint, SocketAddr)> {
        let mut found = Vec::new();
        for (endpoint, host, port) in &self.endpoints {
            let lookup = tokio::net::lookup_host((host.as_str(), *port));
            match tokio::time::timeout(RESOLVE_MAX, lookup).await {
                Ok(Ok(addresses)) => found.extend(addresses.map(|address| (endpoint.clone(), address))),
                Ok(Err(error)) => shared.connection_errors.failed(format!("{host}: {error}")),
                Err(_) => {
                    shared.connection_errors.failed(format!("{host}: not resolved within {RESOLVE_MAX:?}"));
                }
            }
        }
        fastrand::shuffle(&mut found);
        found
    }
}

fn endpoint(address: &str, builder: &Builder) -> Result<(Endpoint, String, u16), BuildError> {
    let expected = if cfg!(feature = "tls") {
        "a URL such as http://127.0.0.1:50051 or https://breakerd.example:50051, without user and path"
    } else {
        "a URL such as http://127.0.0.1:50051, without user and path (https needs the feature tls)"
    };
    // What stands before an @ may be a password.
    let shown = address.rsplit_once('@').map_or(address.to_owned(), |(_, host)| format!("***@{host}"));
    let wrong = || BuildError::Setting { field: "address", value: format!("{shown:?}"), expected };
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let (host, scheme) =
        (uri.host().ok_or_else(wrong)?.to_owned(), uri.scheme_str().ok_or_else(wrong)?.to_owned());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') || !matches!(uri.path_and_query().map_or("/", |path| path.as_str()), "" | "/")
    {
        return Err(wrong());
    }
    let port = match (uri.port_u16(), &*scheme) {
        (Some(port), "http" | "https") => port,
        (None, "http" | "https") => 50_051,
        _ => return Err(wrong()),
    };
    let mut endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if scheme == "https" {
        #[cfg(not(feature = "tls"))]
        return Err(wrong());
        #[cfg(feature = "tls")]
        {
            let tls = builder
                .tls
                .clone()
                .unwrap_or_else(|| tonic::transport::ClientTlsConfig::new().with_native_roots());
            endpoint = endpoint.tls_config(tls).map_err(BuildError::Tls)?;
        }
    }
    let _ = (builder, &mut endpoint);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((endpoint, host, port))
}

/// Follows breakerd for ever: one address after the other, each as long as it speaks.
pub(crate) async fn follow(shared: &Arc<Shared>, addresses: &Addresses) {
    let mut backoff = *BACKOFF.start();
    loop {
        for (endpoint, address) in addresses.resolve(shared).await {
            let mut follower = Follower::new(shared);
            let ended = follower.run(&endpoint, address, addresses.token.as_ref()).await;
            shared.session.send_replace(None);
            let reason = format!("{address}: {ended}");
            if follower.synced {
                shared.connection_errors.disconnected(reason);
                backoff = *BACKOFF.start();
                // All clients of a breakerd that ends lose it at one moment.
                tokio::time::sleep(BACKOFF.start().mul_f64(fastrand::f64())).await;
            } else {
                shared.connection_errors.failed(reason);
            }
        }
        tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        backoff = (backoff * 2).min(*BACKOFF.end());
    }
}

/// What a snapshot said so far. Until its end, the states of before are in force.
#[derive(Debug, Default)]
struct Snapshot {
    timeline: u64,
    enabled: bool,
    services: HashMap<Box<str>, Service>,
    breakers: HashMap<Key, (Heard, breaker::Time)>,
}

struct Follower<'a> {
    shared: &'a Arc<Shared>,
    snapshot: Option<Snapshot>,
    timeline: Option<u64>,
    synced: bool,
}

impl<'a> Follower<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        Self { shared, snapshot: None, timeline: None, synced: false }
    }

    /// Follows one address until it ends: why.
    async fn run(
        &mut self,
        endpoint: &Endpoint,
        address: SocketAddr,
        token: Option<&MetadataValue<Ascii>>,
    ) -> String {
        let connector = tower::service_fn(move |_: Uri| async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        });
        let connected = tokio::time::timeout(CONNECT_MAX, endpoint.connect_with_connector(connector)).await;
        let channel = match connected {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return chain(&error),
            Err(_) => return format!("no connection within {CONNECT_MAX:?}"),
        };
        let mut client = BreakerServiceClient::new(channel);
        let services = self.shared.services.clone();
        let request = v1::WatchBreakersRequest { services, service_prefix: String::new() };
        let watch = client.watch_breakers(authenticated(request, token));
        let mut stream = match tokio::time::timeout(CONNECT_MAX, watch).await {
            Ok(Ok(stream)) => stream.into_inner(),
            Ok(Err(status)) => return plain(&status),
            Err(_) => return format!("no stream within {CONNECT_MAX:?}"),
        };
        let mut session = Session { client, boot: 0, synced: false, token: token.cloned() };
        loop {
            let silence_max = self.shared.around.link.silence_max();
            let message = tokio::select! {
                message = tokio::time::timeout(silence_max, stream.message()) => message,
                () = self.shared.resnapshot.notified() => return "a new snapshot is wanted".to_owned(),
            };
            let event = match message {
                Ok(Ok(Some(message))) => message.event,
                Ok(Ok(None)) => return "breakerd ended the stream".to_owned(),
                Ok(Err(status)) => return plain(&status),
                Err(_) => return format!("breakerd was silent for {silence_max:?}"),
            };
            self.shared.around.link.heard(self.shared.around.clock.now());
            if let Some(event) = event {
                self.take(event, &mut session);
            }
        }
    }

    fn take(&mut self, event: Event, session: &mut Session) {
        match event {
            Event::Hello(hello) => {
                if let Some(Ok(every)) = hello.heartbeat_interval.map(time::duration) {
                    self.shared.around.link.set_heartbeat(every);
                }
                session.boot = hello.boot;
                self.shared.session.send_replace(Some(session.clone()));
                self.snapshot = Some(Snapshot {
                    timeline: hello.timeline,
                    enabled: hello.enabled,
                    ..Snapshot::default()
                });
            }
            Event::Service(service) => self.service(&service),
            Event::Breaker(breaker) => self.breaker(&breaker),
            Event::Bookmark(_) => {
                if let Some(snapshot) = self.snapshot.take() {
                    self.replace(snapshot);
                    session.synced = true;
                    self.synced = true;
                    self.shared.connection_errors.connected();
                    self.shared.session.send_replace(Some(session.clone()));
                    log::info!(boot = ?session.boot, "connected to breakerd");
                }
            }
            Event::Resync(resync) => log::info!(reason = %resync.reason, "breakerd sends a new snapshot"),
            Event::Heartbeat(_) => {}
        }
    }

    fn service(&mut self, state: &v1::ServiceState) {
        let now = self.shared.around.clock.now();
        let thresholds = state.thresholds.as_ref().and_then(thresholds::from_wire);
        let set = from_number::<State, v1::State>(state.override_state).ok().map(|override_state| {
            let rest = state.remaining_override.and_then(|rest| time::duration(rest).ok());
            ServiceOverride { state: override_state, until: end_of(rest, now) }
        });
        // Of a newer breakerd, perhaps: what was known stays.
        let Some(thresholds) =
            thresholds.or_else(|| Some(lock(&self.shared.known).thresholds(&state.service).0))
        else {
            return;
        };
        let known = (!state.deleted).then_some(Service { thresholds, revision: state.config_revision, set });
        if let Some(snapshot) = &mut self.snapshot {
            if let Some(known) = known
                && snapshot.services.len() < SERVICES_MAX
            {
                snapshot.services.insert(state.service.as_str().into(), known);
            }
            return;
        }
        let mut all = lock(&self.shared.known);
        all.set_service(&state.service, known);
        let context = self.shared.context();
        for cell in self.shared.all_cells() {
            let service = cell.key.service();
            if state.service.is_empty() || **service == *state.service {
                let (thresholds, revision) = all.thresholds(service);
                cell.hear_thresholds(thresholds, revision, &context);
                cell.hear_service_override(all.override_of(service), &context);
            }
        }
    }

    fn breaker(&mut self, state: &v1::BreakerState) {
        let (Ok(key), Ok(known_state)) =
            (Key::new(&state.service, &state.name), from_number::<State, v1::State>(state.state))
        else {
            return;
        };
        let heard = Heard {
            state: known_state,
            epoch: Some(state.epoch),
            remaining: state.remaining_wait.and_then(|rest| time::duration(rest).ok()),
            open_count: state.open_count,
        };
        let now = self.shared.around.clock.now();
        if let Some(snapshot) = &mut self.snapshot {
            if snapshot.breakers.len() < SNAPSHOT_MAX || self.shared.cell(&key).is_some() {
                snapshot.breakers.insert(key, (heard, now));
            }
            return;
        }
        let mut known = lock(&self.shared.known);
        match self.shared.cell(&key) {
            Some(cell) => cell.hear(heard, Source::Stream, &self.shared.context()),
            None => known.set_other(key, heard, now),
        }
    }

    /// Puts a whole snapshot in force: what it leaves out is CLOSED.
    fn replace(&mut self, snapshot: Snapshot) {
        let Snapshot { timeline, enabled, services, mut breakers } = snapshot;
        let shared = self.shared;
        let mut known = lock(&shared.known);
        let before = known.timeline.replace(timeline);
        let same_timeline = before.is_none_or(|before| before == timeline);
        self.timeline = Some(timeline);
        known.replace(services);
        shared.around.enabled.store(enabled, Ordering::Release);
        shared.around.link.synced();
        // By the breakerd of before, perhaps.
        shared.around.link.request_answered();
        let context = shared.context();
        let since = |(heard, at): (Heard, breaker::Time)| Heard {
            remaining: heard.remaining.map(|rest| rest.saturating_sub(context.now.since(at))),
            ..heard
        };
        for cell in shared.all_cells() {
            let service = cell.key.service();
            let (thresholds, revision) = known.thresholds(service);
            cell.hear_thresholds(thresholds, revision, &context);
            cell.hear_service_override(known.override_of(service), &context);
            let heard = breakers.remove(&cell.key).map_or(Heard::CLOSED, since);
            cell.hear(heard, Source::Snapshot { same_timeline }, &context);
        }
        for (key, said) in breakers {
            known.set_other(key, since(said), context.now);
        }
    }
}

/// A status without what only a program reads.
fn plain(status: &tonic::Status) -> String {
    format!("{}: {}", status.code(), status.message())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
