//! How a client is set up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Layer, Thresholds, check_service};

use crate::changes::StateChange;
use crate::error::BuildError;
use crate::thresholds;

/// Who decides about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The client, in its memory, by the states that breakerd streams. breakerd is only asked for probes.
    #[default]
    Local,
    /// breakerd, at every call. Costs a round trip, and shows every call to breakerd before it happens.
    Remote,
}

/// What decides while breakerd cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnreachable {
    /// The state machine of breakerd, in this process: from the last known state and thresholds, fed with the calls of this
    /// process. As good as a library, and no worse.
    #[default]
    Local,
    /// Every call is allowed.
    Allow,
    /// The last known state, up to this age; then every call is allowed.
    LastKnown {
        /// The greatest age of a state.
        at_most: Duration,
    },
    /// Every call is rejected.
    Deny,
}

/// A secret that no log shows.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

pub(crate) type Listener = Arc<dyn Fn(&StateChange) + Send + Sync>;

/// Builds a [`crate::Client`].
#[must_use]
pub struct Builder {
    pub(crate) addresses: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) when_unreachable: WhenUnreachable,
    pub(crate) unreachable_of: BTreeMap<(String, String), WhenUnreachable>,
    pub(crate) services: Vec<String>,
    pub(crate) fallback: BTreeMap<String, Layer>,
    pub(crate) caller: String,
    pub(crate) token: Option<Secret>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tonic::transport::ClientTlsConfig>,
    pub(crate) deadline: Duration,
    pub(crate) first_snapshot: Duration,
    pub(crate) breakers_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) listeners: Vec<Listener>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { addresses, mode, when_unreachable, services, caller, deadline, .. } = self;
        f.debug_struct("Builder")
            .field("addresses", addresses)
            .field("mode", mode)
            .field("when_unreachable", when_unreachable)
            .field("services", services)
            .field("caller", caller)
            .field("deadline", deadline)
            .finish_non_exhaustive()
    }
}

/// The range of [`Builder::deadline`].
const DEADLINE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
/// The longest label of a process, as breakerd takes it.
const CALLER_BYTES_MAX: usize = 256;
/// The most services that a client can name, as breakerd takes it.
const SERVICES_MAX: usize = 1_000;

impl Builder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            addresses: vec![address],
            mode: Mode::default(),
            when_unreachable: WhenUnreachable::default(),
            unreachable_of: BTreeMap::new(),
            services: Vec::new(),
            fallback: BTreeMap::new(),
            caller: this_process(),
            token: None,
            #[cfg(feature = "tls")]
            tls: None,
            deadline: Duration::from_millis(10),
            first_snapshot: Duration::from_secs(1),
            breakers_max: 10_000,
            queue_bytes_max: 4 << 20,
            listeners: Vec::new(),
        }
    }

    /// Another address of breakerd, such as `http://10.0.0.2:50051`. Of a host name, all addresses are tried, and it is resolved
    /// anew for each connection.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Who decides. Default: [`Mode::Local`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// What decides while breakerd cannot be reached. Default: [`WhenUnreachable::Local`].
    pub fn when_unreachable(mut self, what: WhenUnreachable) -> Self {
        self.when_unreachable = what;
        self
    }

    /// As [`Builder::when_unreachable`], for one breaker. Empty name: the default breaker of the service.
    pub fn when_unreachable_for(
        mut self,
        service: impl Into<String>,
        name: impl Into<String>,
        what: WhenUnreachable,
    ) -> Self {
        let (service, name) = (service.into(), name.into());
        let name = if name.is_empty() { service.clone() } else { name };
        self.unreachable_of.insert((service, name), what);
        self
    }

    /// Follows the breakers of these services only, at most 1,000. Default: of all that this client may call. Worthwhile where
    /// breakerd has thousands of services.
    pub fn services<S: Into<String>>(mut self, services: impl IntoIterator<Item = S>) -> Self {
        self.services.extend(services.into_iter().map(Into::into));
        self
    }

    /// Thresholds of a service while breakerd has not told any. Empty service: for all services without their own. Default: 5 failures in
    /// a row, 1 min, 2 successes.
    pub fn fallback_thresholds(mut self, service: impl Into<String>, thresholds: Layer) -> Self {
        self.fallback.insert(service.into(), thresholds);
        self
    }

    /// Label of this process, for the history and for `minimum_reporters`. At most 256 bytes without control characters. Default: host name
    /// and process id.
    pub fn caller(mut self, caller: impl Into<String>) -> Self {
        self.caller = caller.into();
        self
    }

    /// Token to authenticate with.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Secret(token.into()));
        self
    }

    /// Certificates for https addresses: those to trust, and the own one for mutual TLS. Default: those of the system.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: tonic::transport::ClientTlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The longest time that a call waits for an answer of breakerd. 1 ms to 10 s; default: 10 ms. CLOSED and OPEN wait for nothing in local
    /// mode.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long [`Builder::connect`] waits for the first states of breakerd, before it goes on without. Default: 1 s.
    pub fn wait_for_first_snapshot(mut self, at_most: Duration) -> Self {
        self.first_snapshot = at_most;
        self
    }

    /// The most breakers of this client. Default: 10,000, of about 1 KiB each.
    pub fn breakers_max(mut self, breakers_max: usize) -> Self {
        self.breakers_max = breakers_max;
        self
    }

    /// The most bytes of outcomes that wait to be sent; what comes on top is dropped, and counted. At least 4 KiB. Default: 4 MiB.
    pub fn queue_bytes_max(mut self, bytes: usize) -> Self {
        self.queue_bytes_max = bytes;
        self
    }

    /// Calls `listener` after each change of the state that this process decides by, in order, on a thread for listeners alone.
    /// More than 1,024 changes that wait for slow listeners are not told.
    pub fn on_state_change(mut self, listener: impl Fn(&StateChange) + Send + Sync + 'static) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// The thresholds of a service that breakerd has not told.
    pub(crate) fn fallbacks(&self) -> Result<BTreeMap<String, Arc<Thresholds>>, BuildError> {
        let defaults = self.fallback.get("");
        let layer = |(service, layer): (&String, &Layer)| {
            let merged = thresholds::from_layers(defaults, layer);
            merged
                .map(|thresholds| (service.clone(), thresholds))
                .map_err(|problem| BuildError::Thresholds { service: service.clone(), problem })
        };
        let mut fallbacks: BTreeMap<_, _> = self.fallback.iter().map(layer).collect::<Result<_, _>>()?;
        fallbacks.entry(String::new()).or_insert_with(|| Arc::new(Thresholds::default()));
        Ok(fallbacks)
    }

    /// Checks every setting that has a range.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let wrong = |field, value: String, expected| Err(BuildError::Setting { field, value, expected });
        if !DEADLINE.contains(&self.deadline) {
            return wrong("deadline", format!("{:?}", self.deadline), "1 ms to 10 s");
        }
        if self.caller.len() > CALLER_BYTES_MAX || self.caller.chars().any(char::is_control) {
            return wrong(
                "caller",
                format!("{:?}", self.caller),
                "at most 256 bytes without control characters",
            );
        }
        if self.breakers_max == 0 {
            return wrong("breakers_max", "0".to_owned(), "at least 1");
        }
        if self.queue_bytes_max < 4_096 {
            return wrong("queue_bytes_max", self.queue_bytes_max.to_string(), "at least 4096");
        }
        if self.services.len() > SERVICES_MAX {
            return wrong("services", format!("{} services", self.services.len()), "at most 1000 services");
        }
        let named = self.services.iter().chain(self.fallback.keys().filter(|service| !service.is_empty()));
        if let Some(service) = named.into_iter().find(|service| check_service(service).is_err()) {
            return wrong(
                "services",
                format!("{service:?}"),
                "1 to 128 characters of \"A-Z a-z 0-9 . _ : -\"",
            );
        }
        Ok(())
    }
}

/// Host name and process id.
fn this_process() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let label = format!("{host}:{}", std::process::id());
    if label.len() > CALLER_BYTES_MAX || label.chars().any(char::is_control) { String::new() } else { label }
}
