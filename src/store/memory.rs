//! A store in memory, for tests and for simulations of many replicas: no setting offers it.
//!
//! It holds to the rules of the other stores: proposals are decided by the same judge, transactions run through the same
//! script, and the contract suite runs on it. It is made for a simulation that is run a million times with other seeds:
//!
//! * **Deterministic.** Its time is that of the clock that it is given, and what it draws at random follows from a seed. The
//!   same calls get the same answers.
//! * **No call waits.** Each completes at its first poll, on any executor. All of it is behind one mutex, which is held for the
//!   call and never over an await.
//! * **Cheap to copy.** [`MemoryStore::snapshot`] costs a pointer; the next write copies a pointer a row.
//! * **Faults on demand**: it can be unavailable or read-only ([`MemoryStore::set_availability`]), take a call and lose its
//!   answer ([`MemoryStore::lose_answers`]), and go back to an older state ([`MemoryStore::restore`]).
//!
//! Several replicas share one by its `Arc`. Closing it closes nothing, as the others go on with it.
//!
//! Outages that are over, and the time in OPEN by day, are not kept: they are read in SQL only.

mod count_rows;
mod counts;
mod faults;
mod permit_keys;
mod prune;
mod random;
mod shared;
mod state;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};
use breakerd_common::clock::Clock;
use futures_util::FutureExt;
use parking_lot::Mutex;

use self::count_rows::Counts;
pub use self::faults::Availability;
use self::faults::{Access, Faults};
pub(crate) use self::random::SeededRandom;
use self::state::{RequestEntry, State};
use self::transaction::{MemoryTransaction, Writer};
use super::timeline_store::timeline_after;
use super::timestamp::Timestamp;
use super::{
    Answer, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, Meta, PermitKey, PermitKeyAdded,
    PermitKeyStore, Position, Proposal, Pruned, RequestId, Retention, StoreAdmin, StoreError, StoredBreaker,
    StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery, TransitionStore,
    script,
};

/// The store in memory.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: Arc<State>,
    random: SeededRandom,
    faults: Faults,
    counts: Counts,
    /// The timeline of the server: another one after each promotion of a standby.
    server_timeline: u64,
}

/// All that a [`MemoryStore`] held at one moment: a backup.
#[derive(Debug, Clone)]
pub struct MemorySnapshot {
    state: Arc<State>,
}

impl MemoryStore {
    /// An empty store, whose time is the wall clock of `clock`. Its id, its permit key and its nonces follow from `seed`.
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let state = Arc::new(State::new(&mut random, clock.wall()));
        Self {
            clock,
            inner: Mutex::new(Inner {
                state,
                random,
                faults: Faults::default(),
                counts: Counts::default(),
                server_timeline: 0,
            }),
        }
    }

    /// All that it holds now.
    pub fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot { state: Arc::clone(&self.inner.lock().state) }
    }

    /// Goes back to `snapshot`, as when a backup is restored. What is written from here on gets other nonces than it had
    /// before: whoever saw those can tell. Faults that are set stay.
    pub fn restore(&self, snapshot: &MemorySnapshot) {
        let mut inner = self.inner.lock();
        inner.state = Arc::clone(&snapshot.state);
        inner.counts = Counts::default();
    }

    /// Is another server from now on, which had come as far as `snapshot`: a standby that was promoted. What was committed since is lost.
    pub fn promote(&self, snapshot: &MemorySnapshot) {
        self.restore(snapshot);
        self.inner.lock().server_timeline += 1;
    }

    /// Which calls it answers from now on; the others get [`StoreError::Unavailable`], and have no effect.
    pub fn set_availability(&self, availability: Availability) {
        self.inner.lock().faults.availability = availability;
    }

    /// The next `calls` calls that come through, reads as well as writes, take effect, but each is answered
    /// [`StoreError::Unavailable`]. 0: no more answers are lost.
    pub fn lose_answers(&self, calls: u32) {
        self.inner.lock().faults.answers_to_lose = calls;
    }

    /// How long it keeps the rows that no replica uses, from now on.
    pub fn set_unused_kept(&self, kept: Duration) {
        Arc::make_mut(&mut self.inner.lock().state).unused_kept = kept;
    }

    /// Lets go of a breaker's row, if it is closed for longer than `kept` and no replica uses it, with its history, which is answered:
    /// for a simulation, in which history is older than it is.
    #[cfg(test)]
    pub(crate) fn let_go(&self, key: &Key, kept: Duration) -> Option<Vec<StoredTransition>> {
        let now = self.clock.wall();
        let mut inner = self.inner.lock();
        let state = Arc::make_mut(&mut inner.state);
        let epoch = state.breakers.get(key).and_then(|entry| {
            let snapshot = &entry.state.snapshot;
            (now.since(snapshot.entered_at) > kept).then_some(snapshot.epoch)
        })?;
        let is_gone = !state.delete_breakers(&[(key.clone(), epoch)], now).is_empty();
        let query = TransitionQuery { oldest_first: true, limit: u32::MAX, ..TransitionQuery::default() };
        let of_key = |row: &StoredTransition| row.key == *key;
        let history = state.transitions(&query).into_iter().filter(of_key).collect();
        if is_gone {
            state.history.retain(|row| !of_key(row));
        }
        is_gone.then_some(history)
    }

    /// The timeline that it is in, whatever faults are set.
    #[cfg(test)]
    pub(crate) fn timeline(&self) -> u32 {
        self.inner.lock().state.meta.timeline
    }

    /// Whether it has answered a proposal, even if the history has nothing of it: for one who checks what it answered.
    #[cfg(test)]
    pub(crate) fn has_answered(&self, id: &super::TransitionId) -> bool {
        self.inner.lock().state.receipts.contains_key(id)
    }

    /// As [`TransitionStore::transitions`], whatever faults are set: for one who checks what it holds.
    pub fn history(&self, query: &TransitionQuery) -> Vec<StoredTransition> {
        self.inner.lock().state.transitions(query)
    }

    /// The first row of the history that is the one: as it is looked for in all of it again and again, nothing is copied.
    #[cfg(test)]
    pub(crate) fn find_transition<T>(
        &self,
        is_it: impl Fn(&StoredTransition) -> bool,
        found: impl FnOnce(&StoredTransition) -> T,
    ) -> Option<T> {
        let inner = self.inner.lock();
        inner.state.history.iter().find(|row| is_it(row)).map(|row| found(row))
    }

    fn read<T>(&self, act: &'static str, read: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        self.read_at(act, |state, _| read(state))
    }

    /// As `read`, with the timeline of the server.
    fn read_at<T>(&self, act: &'static str, read: impl FnOnce(&State, u64) -> T) -> Result<T, StoreError> {
        let mut inner = self.inner.lock();
        inner.faults.admit(act, Access::Read)?;
        let answer = read(&inner.state, inner.server_timeline);
        inner.faults.deliver(act, Ok(answer))
    }

    fn write<T>(
        &self,
        act: &'static str,
        write: impl FnOnce(Writer<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut inner = self.inner.lock();
        inner.faults.admit(act, Access::Write)?;
        let Inner { state, random, faults, server_timeline, .. } = &mut *inner;
        let server_timeline = *server_timeline;
        let now = Timestamp(self.clock.wall());
        let answer = write(Writer { state: Arc::make_mut(state), random, now, server_timeline });
        faults.deliver(act, answer)
    }
}

/// The result of a script: no step of a transaction in memory waits, so that it is complete after one poll.
fn complete<T>(script: impl Future<Output = T>) -> T {
    script.now_or_never().expect("a transaction in memory waits for nothing")
}

#[async_trait]
impl TransitionStore for MemoryStore {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        if proposals.is_empty() {
            return Ok(Vec::new());
        }
        self.write("write transitions", |writer| {
            complete(script::propose(MemoryTransaction::new(writer), proposals))
        })
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        self.read("read the breakers", |state| state.breakers(after, limit))
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        self.read("read the history", |state| state.transitions(query))
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        self.read("read the history range", |state| state.history_floor)
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.write("delete expired rows", |writer| Ok(writer.state.prune(retention, writer.now.0)))
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        let now = self.clock.wall();
        let read = |state: &State| state.breakers_without_history(before, after, limit, now);
        self.read("look for old breakers", read)
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.write("delete old breakers", |writer| Ok(writer.state.delete_breakers(breakers, writer.now.0)))
    }
}

#[async_trait]
impl ConfigStore for MemoryStore {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        self.read("read the configuration", |state| StoredConfiguration::clone(&state.configuration))
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        self.write("write the configuration", |writer| {
            complete(script::write_config(MemoryTransaction::new(writer), write))
        })
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        self.read("read an idempotency record", |state| state.request(request))
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        self.write("write an idempotency record", |Writer { state, now, .. }| {
            let (digest, revision) = (request.digest, state.configuration.revision);
            state.keep_request(request.id.clone(), RequestEntry { digest, revision, recorded_at: now.0 });
            Ok(())
        })
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        self.read("read the audit", |state| state.changes(query))
    }
}

#[async_trait]
impl TimelineStore for MemoryStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        self.read("read the store's identity", |state| state.meta.clone())
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.read("read the revision", |state| state.revision)
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        self.read_at("read the revision", |state, server_timeline| state.position(seen, server_timeline))
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.write("write a new timeline", |mut writer| {
            if writer.state.meta.timeline == present {
                let next = writer.next_revision();
                writer.state.meta.timeline = timeline_after(present.max(past), writer.random.step());
                writer.state.set_revision(next);
            }
            Ok(())
        })
    }
}

#[async_trait]
impl PermitKeyStore for MemoryStore {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        let now = self.clock.wall();
        self.read("read the permit keys", |state| state.permit_keys(now))
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        self.write("write a permit key", |writer| {
            let secret = writer.random.key();
            complete(script::add_permit_key(MemoryTransaction::new(writer), &secret, attribution))
        })
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        self.write("advance the permit keys", |writer| {
            writer.state.advance_permit_keys(held, writer.now.0);
            Ok(())
        })
    }
}

#[async_trait]
impl StoreAdmin for MemoryStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.read("ping the store", |_| ())
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.write("check that the store is writable", |_| Ok(()))
    }

    async fn close(&self) {}
}
