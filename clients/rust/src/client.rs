//! A client: the breakers of a process.

use std::borrow::Cow;
use std::sync::Arc;

use breaker::Key;

use crate::breaker_handle::Breaker;
use crate::connection::Addresses;
use crate::error::{BreakerError, BuildError};
use crate::health::Health;
use crate::settings::Builder;
use crate::shared::{Life, Shared};
use crate::stats::BreakerStats;
use crate::worker;

/// A service and a name. Built from `"service"`, for the default breaker of the service, and from `("service", "name")`.
#[derive(Debug, Clone)]
pub struct BreakerKey<'a> {
    service: Cow<'a, str>,
    name: Cow<'a, str>,
}

impl<'a> From<&'a str> for BreakerKey<'a> {
    fn from(service: &'a str) -> Self {
        Self { service: service.into(), name: "".into() }
    }
}

impl<'a> From<&'a String> for BreakerKey<'a> {
    fn from(service: &'a String) -> Self {
        service.as_str().into()
    }
}

impl<'a, S: AsRef<str> + ?Sized, N: AsRef<str> + ?Sized> From<(&'a S, &'a N)> for BreakerKey<'a> {
    fn from((service, name): (&'a S, &'a N)) -> Self {
        Self { service: service.as_ref().into(), name: name.as_ref().into() }
    }
}

/// The breakers of this process. Cheap to clone. The thread of the client ends with its last clone and its last [`Breaker`].
#[derive(Debug, Clone)]
pub struct Client {
    life: Arc<Life>,
}

impl Client {
    /// Builds a client of the breakerd at `address`, such as `http://127.0.0.1:50051`.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    pub(crate) async fn connect(builder: Builder) -> Result<Self, BuildError> {
        let addresses = Addresses::new(&builder)?;
        let first_snapshot = builder.first_snapshot;
        let shared = worker::start(builder, addresses)?;
        let client = Self { life: Arc::new(Life { shared: Arc::clone(&shared) }) };
        if let Some(runtime) = &shared.runtime {
            let waits = Arc::clone(&shared);
            // On the thread of the client: the caller's runtime may have no timer.
            let wait = runtime.spawn(async move {
                let mut synced = waits.session.subscribe();
                let synced =
                    synced.wait_for(|session| session.as_ref().is_some_and(|session| session.synced));
                let _ = tokio::time::timeout(first_snapshot, synced).await;
            });
            let _ = wait.await;
        }
        Ok(client)
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { life: Arc::new(Life { shared }) }
    }

    /// The breaker of a service, such as `"sentinel"`, or a named one of it, such as `("notifications", "slack")`. Keep it: a lookup costs more
    /// than a decision.
    ///
    /// # Errors
    /// [`BreakerError`].
    pub fn breaker<'a>(&self, key: impl Into<BreakerKey<'a>>) -> Result<Breaker, BreakerError> {
        let BreakerKey { service, name } = key.into();
        let key = Key::new(&service, &name)?;
        let cell = self.shared().cell_of(&key)?;
        Ok(Breaker::new(cell, Arc::clone(&self.life)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }

    /// Whether breakerd decides. If not, this process does by itself, as [`Builder::when_unreachable`] says.
    pub fn is_connected(&self) -> bool {
        self.shared().context().live
    }

    /// Why the last attempt to connect failed, or the last connection ended. None: the client is connected, or has not tried yet.
    pub fn connection_error(&self) -> Option<String> {
        self.shared().connection_errors.last()
    }

    /// Every breaker of this process, ordered by service and name.
    pub fn get_all_stats(&self) -> Vec<BreakerStats> {
        let shared = self.shared();
        let context = shared.context();
        let mut all: Vec<_> = shared.all_cells().iter().map(|cell| cell.stats(&context)).collect();
        all.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        all
    }

    /// The states of the breakers of this process, as the page `/health/circuit-breakers` of breakerd has them.
    pub fn health_check(&self) -> Health {
        Health::of(&self.get_all_stats())
    }

    /// Sends what is left to report, for at most about a second, and ends the thread of the client. Breakers of it go on without
    /// breakerd.
    pub async fn shutdown(&self) {
        let shared = self.shared();
        if shared.runtime.is_none() {
            return;
        }
        let mut stopped = shared.stopped.subscribe();
        shared.stop.send_replace(true);
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl Builder {
    /// Starts the client, and waits a moment for the first states. breakerd does not have to be there: the client goes on as
    /// [`Builder::when_unreachable`] says, and connects when it can.
    ///
    /// # Errors
    /// [`BuildError`]: a setting is wrong. Never that breakerd cannot be reached.
    pub async fn connect(self) -> Result<Client, BuildError> {
        Client::connect(self).await
    }
}
