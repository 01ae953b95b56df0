//! The network between a replica and the store: it delays, loses, repeats and cuts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::checker::{Checker, SERVICE};
use super::executor::{Executor, Owner};
use super::going_back::check_trips;
use crate::store::{
    Answer, Answered, ChangedRow, ConfigEdit, ConfigStore, ConfigWrite, ConfigWritten, CountExchange,
    CountPage, CountStore, MemoryStore, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowsPage,
    ServiceOverride, SharedStore, StoreError, StoredConfiguration, TimelineStore as _, TransitionStore as _,
};

/// How long a replica waits for the store.
const TIMEOUT: Duration = Duration::from_millis(500);

/// What the network does to a message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NetworkFaults {
    /// The longest that a message takes, one way, in microseconds.
    pub(super) delay_us: u64,
    /// One in so many is lost on the way there; 0: none.
    pub(super) lost: u64,
    /// One in so many answers is lost on the way back.
    pub(super) unanswered: u64,
    /// One in so many comes twice, the second time late.
    pub(super) repeated: u64,
    /// A claim that comes twice may do so when its replica has given it up: its slots are out then until their leases end.
    pub(super) late_claims: bool,
    /// Nothing passes.
    pub(super) is_cut: bool,
}

/// What a message has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Question,
    Changes,
    /// Claims of probes, beside others. A store whose transactions wait for answers in between does not run one that its replica has
    /// given up: only a proxy could send it late.
    Claims,
}

/// A replica's connection to the store.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) executor: Executor,
    pub(super) store: Arc<MemoryStore>,
    /// What must hold of the store itself is checked at each call.
    pub(super) checker: Arc<Checker>,
    pub(super) network: Arc<Mutex<NetworkFaults>>,
    /// The replicas that hear of a write; not always.
    pub(super) hints: Vec<Arc<Notify>>,
    /// The replicas that hear that others have counts to tell; not always.
    pub(super) count_hints: Vec<Arc<Notify>>,
}

impl Link {
    fn happens(&self, chance: impl Fn(&NetworkFaults) -> u64) -> bool {
        let chance = chance(&self.network.lock());
        chance > 0 && self.executor.draw(|random| random.one_in(chance))
    }

    async fn travel(&self) {
        let delay = self.network.lock().delay_us;
        let delay = self.executor.draw(|random| random.micros(delay));
        self.executor.sleep(delay).await;
    }

    async fn call<T, F>(
        &self,
        act: &'static str,
        sent: Sent,
        call: impl Fn(Arc<MemoryStore>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.travel().await;
        if self.network.lock().is_cut || self.happens(|network| network.lost) {
            return self.timed_out(act).await;
        }
        if self.happens(|network| network.repeated) {
            let again = call(Arc::clone(&self.store));
            if sent == Sent::Claims && !self.network.lock().late_claims {
                let _ = again.await;
                return self.answered(act, sent, call(Arc::clone(&self.store)).await).await;
            }
            let (executor, checker) = (self.executor.clone(), Arc::clone(&self.checker));
            let late = executor.draw(|random| random.micros(2_000_000));
            let went_back = checker.went_back();
            self.executor.spawn(Owner::World, async move {
                executor.sleep(late).await;
                // What was sent to one server is not sent again to another, nor to the one that a backup was restored on.
                if checker.went_back() == went_back {
                    // Nobody hears what it is answered.
                    let _ = again.await;
                }
            });
        }
        self.answered(act, sent, call(Arc::clone(&self.store)).await).await
    }

    async fn answered<T>(
        &self,
        act: &'static str,
        sent: Sent,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if sent != Sent::Question {
            self.hint(&self.hints);
        }
        if self.network.lock().is_cut || self.happens(|network| network.unanswered) {
            return self.timed_out(act).await;
        }
        self.travel().await;
        answer
    }

    fn hint(&self, hints: &[Arc<Notify>]) {
        for hint in hints {
            if self.happens(|_| 2) {
                continue;
            }
            let executor = self.executor.clone();
            let hint = Arc::clone(hint);
            let late = executor.draw(|random| random.micros(20_000));
            self.executor.spawn(Owner::World, async move {
                executor.sleep(late).await;
                hint.notify_one();
            });
        }
    }

    async fn timed_out<T>(&self, act: &'static str) -> Result<T, StoreError> {
        self.executor.sleep(TIMEOUT).await;
        Err(StoreError::unavailable(act, "no answer in time"))
    }
}

/// The store before some proposals.
struct Before {
    revision: u64,
    /// What the rows stand for that are to be taken up.
    reconciled: Vec<Option<u64>>,
    /// The same of those that it sees for the first time; none: it gives again the answer that it gave then.
    of_new: Vec<Option<u64>>,
}

impl Before {
    fn of(store: &MemoryStore, proposals: &[Proposal]) -> Self {
        let revision = store.revision().now_or_never().and_then(Result::ok).unwrap_or(u64::MAX);
        let reconciled: Vec<_> = proposals.iter().map(|proposal| store.reconciled(&proposal.key)).collect();
        let is_new = |proposal: &Proposal| !store.has_answered(&proposal.id);
        let of_new = proposals.iter().zip(&reconciled).map(|(proposal, of)| of.filter(|_| is_new(proposal)));
        Self { revision, of_new: of_new.collect(), reconciled }
    }

    /// A state of before is taken up only where nothing came since, nor a later one of before.
    fn check(&self, checker: &Checker, proposals: &[Proposal], answered: &[Answered]) {
        for ((proposal, before), answered) in proposals.iter().zip(&self.reconciled).zip(answered) {
            let Some(epoch) = proposal.decided_in.taken_up else { continue };
            let won = matches!(answered.answer, Answer::Won { revision, .. } if revision > self.revision);
            if won && before.is_none_or(|before| before >= epoch) {
                let key = &proposal.key;
                checker.violated(format!("{key}: epoch {epoch} of before is taken up over {before:?}"));
            }
        }
    }
}

#[async_trait]
impl SharedStore for Link {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        let proposals: Arc<[Proposal]> = proposals.into();
        let checker = Arc::clone(&self.checker);
        self.call("propose", Sent::Changes, move |store| {
            let (proposals, checker) = (Arc::clone(&proposals), Arc::clone(&checker));
            async move {
                let before = Before::of(&store, &proposals);
                let answered = store.propose_shared(&proposals).await;
                let answers = answered.as_deref().unwrap_or_default();
                before.check(&checker, &proposals, answers);
                for problem in check_trips(&proposals, &before.of_new, answers) {
                    checker.violated(problem);
                }
                answered
            }
        })
        .await
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        let requests: Arc<[ProbeRequest]> = requests.into();
        let has_claims = requests.iter().any(|request| matches!(request, ProbeRequest::Claim { .. }));
        let sent = if has_claims { Sent::Claims } else { Sent::Changes };
        self.call("ask about probes", sent, move |store| {
            let requests = Arc::clone(&requests);
            async move { store.ask_probes(&requests).await }
        })
        .await
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        let (after, seen) = (after.clone(), seen.to_vec());
        self.call("follow", Sent::Question, move |store| {
            let (after, seen) = (after.clone(), seen.clone());
            async move { store.rows_after(&after, &seen, limit).await }
        })
        .await
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        let used = used.to_vec();
        self.call("say what is used", Sent::Question, move |store| {
            let used = used.clone();
            async move { store.use_rows(&used).await }
        })
        .await
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        let checker = Arc::clone(&self.checker);
        self.call("begin a timeline", Sent::Changes, move |store| {
            let checker = Arc::clone(&checker);
            async move {
                let before = store.meta().await?.timeline;
                let begun = store.begin_timeline(present, past).await;
                let after = store.meta().await?.timeline;
                if after != before {
                    let rows = store.breakers(None, u32::MAX).await?;
                    checker.timeline_begun(after, &rows);
                }
                begun
            }
        })
        .await
    }
}

impl Link {
    /// Says that this replica lives.
    pub(super) async fn note(&self) -> Result<(), StoreError> {
        let read = |store: Arc<MemoryStore>| async move { store.meta().await.map(|_| ()) };
        self.call("note a replica", Sent::Question, read).await
    }

    /// What services are judged by.
    pub(super) async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        let read = |store: Arc<MemoryStore>| async move { store.configuration().await };
        self.call("read the configuration", Sent::Question, read).await
    }

    /// Sets the override of the service, or clears it.
    pub(super) async fn write_override(
        &self,
        based_on: u64,
        set: Option<ServiceOverride>,
        not_before: Option<Time>,
        actor: &str,
    ) -> Result<ConfigWritten, StoreError> {
        let by = actor.to_owned();
        self.call("write the configuration", Sent::Changes, move |store| {
            let (set, by) = (set.clone(), by.clone());
            async move { write_override(&store, based_on, set, not_before, &by).await }
        })
        .await
    }
}

/// Sets the override of the service, or clears it.
pub(super) async fn write_override(
    store: &MemoryStore,
    based_on: u64,
    set: Option<ServiceOverride>,
    not_before: Option<Time>,
    actor: &str,
) -> Result<ConfigWritten, StoreError> {
    let write = ConfigWrite {
        based_on,
        edit: ConfigEdit::Override { service: SERVICE.to_owned(), set, not_before },
        touched: [SERVICE.to_owned()].into(),
        attribution: Attribution { actor: actor.to_owned(), reason: String::new() },
        request: None,
        waits: &|_, _| None,
    };
    store.write_config(&write).await
}

#[async_trait]
impl CountStore for Link {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        let request = Arc::new(exchange.clone());
        let page = self.call("exchange counts", Sent::Question, move |store| {
            let request = Arc::clone(&request);
            async move { store.exchange_counts(&request).await }
        });
        let page = page.await;
        if exchange.hints {
            self.hint(&self.count_hints);
        }
        page
    }
}
