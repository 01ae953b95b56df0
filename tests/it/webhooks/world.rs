//! A breakerd that posts: engine, SQLite and gRPC are real, and the clock stands still until told.

use std::sync::Arc;
use std::time::Duration;

use breakerd::grpc::{Limits, notice_json};
use breakerd::webhook::{
    Endpoint, EndpointTexts, Filter, Format, Proxy, SecretUrl, Sender, Target, TargetSettings, UrlSource,
    Webhooks,
};
use breakerd_api::v1;
use breakerd_common::clock::{Clock as _, ManualClock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::receiver::Receiver;
use crate::grpc_world::World;
use crate::process::eventually;

/// A target as it is without further settings.
pub(crate) fn target(name: &str, url: &str) -> TargetSettings {
    TargetSettings {
        name: name.to_owned(),
        url: UrlSource::Given(SecretUrl::parse(url).unwrap()),
        format: Format::Json,
        filter: Filter::default(),
        secret_file: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
        give_up_after: Duration::from_hours(1),
        queue_max: 1_000,
    }
}

pub(crate) struct Posting {
    pub(crate) world: World,
    pub(crate) receiver: Receiver,
    pub(crate) clock: ManualClock,
    stop: CancellationToken,
    senders: JoinSet<()>,
}

impl Posting {
    /// One target, which is a receiver, set up by `set`.
    pub(crate) async fn new(set: impl FnOnce(&mut TargetSettings)) -> Self {
        Self::with(EndpointTexts::default(), set).await
    }

    /// With the texts of the target's files.
    pub(crate) async fn with(texts: EndpointTexts<'_>, set: impl FnOnce(&mut TargetSettings)) -> Self {
        let mut world = World::unloaded(Limits::default()).await;
        let clock = world.clock.clone();
        let now = clock.clone();
        let receiver = Receiver::start(move || now.now()).await;
        let mut settings = target("chat", &receiver.url("/hook"));
        set(&mut settings);
        let endpoint = Endpoint::new(&settings, texts, Proxy::Never).unwrap();
        let target = Target::new(settings, endpoint, &world.app.metrics.notify);
        let webhooks = Arc::new(Webhooks::new(vec![target], "here", Arc::new(clock.clone())));
        world.webhooks = Some(Arc::clone(&webhooks));
        world.load(None).await;
        let (stop, mut senders) = (CancellationToken::new(), JoinSet::new());
        for target in webhooks.targets() {
            let json = notice_json().unwrap();
            let sender = Sender::new(Arc::clone(target), json, Arc::new(|| 0.5), Arc::new(clock.clone()));
            let stopping = stop.clone();
            senders.spawn(async move { sender.run(stopping).await.unwrap() });
        }
        Self { world, receiver, clock, stop, senders }
    }

    /// What is counted of the target.
    pub(crate) fn counted(&self) -> [u64; 4] {
        let metrics = self.world.app.metrics.notify.of_target("chat");
        [&metrics.sent_total, &metrics.failed_total, &metrics.dropped_total, &metrics.failed_attempts_total]
            .map(prometheus::IntCounter::get)
    }

    pub(crate) fn depth(&self) -> i64 {
        self.world.app.metrics.notify.of_target("chat").queue_depth.get()
    }

    /// Ends when all is posted, or given up.
    pub(crate) async fn settled(&self) {
        eventually("nothing waits", async || self.depth() == 0).await;
    }

    /// Ends when it is so; until then the time passes, a step at each look.
    pub(crate) async fn passes(&self, step: Duration, what: &str, is_so: impl Fn() -> bool) {
        eventually(what, async || {
            let is_so = is_so();
            if !is_so {
                self.clock.advance(step);
            }
            is_so
        })
        .await;
    }

    /// Three failures, which open `sentinel`, and five another one.
    pub(crate) async fn trip(&self, service: &str, name: &str) {
        let mut breakers = self.world.breakers().await;
        for _ in 0..if service == "sentinel" { 3 } else { 5 } {
            let outcome = v1::Outcome::Failure.into();
            let request = v1::RecordOutcomeRequest {
                service: service.into(),
                name: name.into(),
                outcome,
                error_class: "Timeout".into(),
                ..Default::default()
            };
            breakers.record_outcome(request).await.unwrap();
        }
    }

    /// A probe, and what became of it.
    pub(crate) async fn probe(&self, service: &str, outcome: v1::Outcome) {
        let mut breakers = self.world.breakers().await;
        let allowed = breakers.allow_request(crate::grpc_world::ask(service, "")).await.unwrap().into_inner();
        assert!(allowed.allowed, "{allowed:?}");
        breakers.record_outcome(crate::grpc_world::report(&allowed, outcome)).await.unwrap();
    }

    /// Opens, half-opens, closes; then an operator forces it open, and clears that.
    pub(crate) async fn life_of_sentinel(&self) {
        self.trip("sentinel", "").await;
        // An attempt that is on its way would be over with the time that passes.
        self.settled().await;
        self.clock.advance(Duration::from_mins(2));
        for _ in 0..2 {
            self.probe("sentinel", v1::Outcome::Success).await;
        }
        let mut operations = self.world.operations().await;
        let set = v1::SetOverrideRequest {
            service: "sentinel".into(),
            state: v1::State::ForcedOpen.into(),
            reason: "drill <now>".into(),
            ..Default::default()
        };
        operations.set_override(set).await.unwrap();
        let clear = v1::ClearOverrideRequest {
            service: "sentinel".into(),
            reason: "over".into(),
            ..Default::default()
        };
        operations.clear_override(clear).await.unwrap();
    }

    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        self.world.end().await;
    }
}
