//! What the program is made of, and what becomes of an incident.

use std::sync::Arc;

use anyhow::Context;
use breakerd_client::Client;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::breakers::Breakers;
use crate::call_error::CallError;
use crate::config::Config;
use crate::enrich::Enricher;
use crate::incident::Incident;
use crate::metrics::Metrics;
use crate::notify::{Delivery, NobodyNotified, Notifier};
use crate::senders::{
    EmailSender, EmailSenderWithBreaker, PagerDutySender, PagerDutySenderWithBreaker, Sender, SlackSender,
    SlackSenderWithBreaker,
};
use crate::sentinel::{Sentinel, SentinelClient, SentinelClientWithBreaker};
use crate::store::{CircuitBreakerStore, IncidentStore, SqlStore};

/// Incidents in progress at one time. More are rejected, and may be reported again.
pub const IN_PROGRESS_MAX: usize = 256;

/// The program.
#[derive(Clone)]
pub struct App {
    /// Keeps incidents.
    pub store: Arc<dyn IncidentStore>,
    /// Adds what Sentinel knows.
    pub enricher: Enricher,
    /// Tells people.
    pub notifier: Notifier,
    /// Knows the breakers.
    pub breakers: Client,
    /// For `/metrics`.
    pub registry: Registry,
    /// This program's own.
    pub metrics: Metrics,
    /// Bounds what is in progress.
    pub in_progress: Arc<Semaphore>,
    /// Incidents in progress go on when their reporter disconnects, and a shutdown waits for them.
    pub tasks: TaskTracker,
}

/// What became of an incident.
#[derive(Debug)]
pub struct Handled {
    /// With what Sentinel added.
    pub incident: Incident,
    /// Whether the store has it.
    pub stored: Result<(), CallError>,
    /// Whether people know of it.
    pub notified: Result<Vec<Delivery>, NobodyNotified>,
}

impl App {
    /// Assembles the program from its settings.
    ///
    /// # Errors
    /// A setting is invalid, or the database does not answer. That breakerd, Sentinel or a channel does not answer is no
    /// error.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let client = connect(config).await?;
        let breakers = Breakers::of(&client)?;
        let registry = Registry::new();
        breakerd_client::prometheus::init_circuit_breaker_metrics(&registry)?;
        let metrics = Metrics::register(&registry)?;

        let sentinel = SentinelClient::new(&config.sentinel)?;
        let store = SqlStore::connect(&config.store).await.context("open the incident store")?;
        let slack = config.slack.as_ref().map(SlackSender::new).transpose()?;
        let email = config.email.as_ref().map(EmailSender::new).transpose()?;
        let pagerduty = config.pagerduty.as_ref().map(PagerDutySender::new).transpose()?;

        // A client with a breaker has the API of the client: nothing below knows which of them it got.
        let with_breakers = config.circuit_breaker.enabled;
        let sentinel: Arc<dyn Sentinel> = if with_breakers {
            Arc::new(SentinelClientWithBreaker::new(sentinel, &breakers.sentinel))
        } else {
            Arc::new(sentinel)
        };
        let store: Arc<dyn IncidentStore> = if with_breakers {
            Arc::new(CircuitBreakerStore::new(store, &breakers.store))
        } else {
            Arc::new(store)
        };
        let mut senders: Vec<Arc<dyn Sender>> = Vec::new();
        if with_breakers {
            senders.extend(slack.map(|it| Arc::new(SlackSenderWithBreaker::new(it, &breakers.slack)) as _));
            senders.extend(email.map(|it| Arc::new(EmailSenderWithBreaker::new(it, &breakers.email)) as _));
            senders.extend(
                pagerduty.map(|it| Arc::new(PagerDutySenderWithBreaker::new(it, &breakers.pagerduty)) as _),
            );
        } else {
            senders.extend(slack.map(|it| Arc::new(it) as _));
            senders.extend(email.map(|it| Arc::new(it) as _));
            senders.extend(pagerduty.map(|it| Arc::new(it) as _));
        }
        Ok(Self {
            store,
            enricher: Enricher::new(sentinel),
            notifier: Notifier::new(senders, metrics.clone()),
            breakers: client,
            registry,
            metrics,
            in_progress: Arc::new(Semaphore::new(IN_PROGRESS_MAX)),
            tasks: TaskTracker::new(),
        })
    }

    /// Enriches, keeps and tells. Each step goes on without the one before it: people hear of an incident also while
    /// the database is away.
    pub async fn handle(&self, incident: Incident) -> Handled {
        let incident = self.enricher.enrich(incident).await;
        let (stored, notified) =
            tokio::join!(self.store.save_incident(&incident), self.notifier.notify(&incident));
        if let Err(error) = &stored {
            tracing::error!(incident = %incident.id, %error, "incident not stored");
        }
        self.metrics.incident(match (&stored, &notified) {
            (Ok(()), Ok(_)) => "handled",
            (Ok(()), Err(_)) => "not_notified",
            (Err(_), Ok(_)) => "not_stored",
            (Err(_), Err(_)) => "lost",
        });
        Handled { incident, stored, notified }
    }

    /// Ends what is in progress, and reports the last outcomes to breakerd.
    pub async fn shutdown(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.breakers.shutdown().await;
    }
}

/// The client of breakerd. It never fails because breakerd is away: this process then decides by the thresholds of its
/// own file.
async fn connect(config: &Config) -> anyhow::Result<Client> {
    let breakerd = &config.breakerd;
    let (first, others) =
        breakerd.addresses.split_first().context("breakerd.addresses: must not be empty")?;
    let mut builder = Client::builder(first).when_unreachable(breakerd.when_unreachable);
    for address in others {
        builder = builder.address(address);
    }
    if let Some(caller) = &breakerd.caller {
        builder = builder.caller(caller);
    }
    if let Some(token) = &breakerd.token {
        builder = builder.token(token.expose());
    }
    for (service, layer) in &config.circuit_breaker.layers {
        builder = builder.fallback_thresholds(service, layer.clone());
    }
    builder.connect().await.context("[breakerd]")
}
