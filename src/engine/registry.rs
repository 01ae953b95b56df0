//! Which breakers there are: found by id, created at their first use, retired when nobody needs them.

use std::collections::HashMap;
use std::sync::Arc;

use breaker::{ActiveOverride, Breaker, Identity, Key, Numbering, Override, State, Time};
use hashbrown::{HashTable, hash_table};
use tokio::sync::Notify;

use super::Limits;
use super::calls::EngineError;
use super::counters::Counters;
use super::durations::{Durations, HistogramView};
use super::entry::{Entry, Inner};
use super::index::Index;
use super::permit::KeyId;
use super::shares::{BreakerLimit, Owner, Room, Shares};
use super::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, RwLock};
use super::wall_clock::WallClock;
use crate::catalog::Catalog;

/// Shards: many more than cores, so that two threads seldom want the same one.
const SHARDS: usize = 64;
/// Idle breakers are looked for out of turn once no more than this part of the room is left: there is still some while
/// the sweep runs.
const SPARE_PART: usize = 8;

/// A table of pointers: the id is in the entry, and is its own hash.
type Shard = HashTable<Arc<Entry>>;

/// The overrides of services, by service: as many as operators set.
type Overrides = HashMap<Arc<str>, Arc<ActiveOverride>>;

/// All breakers, by id.
pub(super) struct Registry {
    shards: Box<[RwLock<Shard>]>,
    /// The same breakers, in order: what is in a shard is in the index.
    index: Index,
    /// Breakers there are.
    count: AtomicUsize,
    /// Breakers with series of their own.
    own_series: AtomicUsize,
    shares: Shares,
    limits: Limits,
    issuer: u64,
    numbering: Numbering,
    /// Replaced before the breakers are told: whoever creates one reads it under its shard's lock, so that none
    /// is created with what was replaced, and then missed.
    catalog: RwLock<Arc<Catalog>>,
    /// The overrides of whole services, in the same way. Where a breaker knows another one than stands here, it is
    /// about to be told.
    overrides: RwLock<Overrides>,
    /// A breaker was retired in the state that its service's override holds it in. Whoever was told of it has to hear
    /// of the end of the override, and there is no breaker to tell of it.
    retired_in_override: AtomicBool,
    /// How the wall clock stands.
    pub(super) wall: WallClock,
    durations: Durations,
    /// What breakers without series of their own had counted when they were retired.
    retired: Mutex<Counters>,
    /// Told when there is little room left.
    sweep_wanted: Notify,
}

impl Registry {
    pub(super) fn new(limits: Limits, issuer: u64, numbering: Numbering, catalog: Arc<Catalog>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            index: Index::default(),
            count: AtomicUsize::new(0),
            own_series: AtomicUsize::new(0),
            shares: Shares::new(limits.breakers_per_service_max, limits.breakers_per_caller_max),
            limits,
            issuer,
            numbering,
            catalog: RwLock::new(catalog),
            overrides: RwLock::default(),
            retired_in_override: AtomicBool::new(false),
            wall: WallClock::default(),
            durations: Durations::new(limits.own_series_max),
            retired: Mutex::default(),
            sweep_wanted: Notify::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Puts a breaker that may have changed its state under the one that it is in. Not one that was retired: that is in
    /// the index no more.
    pub(super) fn reindex(&self, entry: &Entry, inner: &mut Inner) {
        let state = inner.breaker.state();
        if state != inner.indexed && !inner.retired {
            self.index.change(&entry.key, inner.indexed, state);
            inner.indexed = state;
        }
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// Breakers are created with this from now on; those that are there must be told.
    pub(super) fn set_catalog(&self, catalog: Arc<Catalog>) {
        *self.catalog.write() = catalog;
    }

    /// The override of a service; one whose end has passed may still be here.
    pub(super) fn service_override(&self, service: &str) -> Option<Arc<ActiveOverride>> {
        self.overrides.read().get(service).cloned()
    }

    /// The services whose override ended by itself.
    pub(super) fn ended_overrides(&self, now: Time) -> Vec<(Arc<str>, Override)> {
        let overrides = self.overrides.read();
        let wall = self.wall.offset();
        let ended = overrides.iter().filter(|(_, set)| !set.is_active(wall, now));
        ended.map(|(service, set)| (Arc::clone(service), set.set_by.clone())).collect()
    }

    /// Breakers are born under these from now on; those that are there must be told. True: one that stood stands no
    /// more, and breakers were retired in it, or in another.
    pub(super) fn set_service_overrides(
        &self,
        all: impl IntoIterator<Item = (String, Override)>,
        now: Time,
    ) -> bool {
        let wall = self.wall.offset();
        let mut overrides = self.overrides.write();
        let of = |(service, set_by): (String, Override)| {
            // One that stands goes on: what is left of its duration is counted from when it was set.
            let standing = overrides.get(&*service).filter(|standing| standing.set_by == set_by);
            let active =
                standing.cloned().unwrap_or_else(|| Arc::new(ActiveOverride::new(set_by, wall, now)));
            (service.into(), active)
        };
        let all: Overrides = all.into_iter().map(of).collect();
        let before = std::mem::replace(&mut *overrides, all);
        let stands = |service: &str, set: &ActiveOverride| {
            overrides.get(service).is_some_and(|present| present.set_by == set.set_by)
        };
        let is_over = before.iter().any(|(service, set)| !stands(service, set));
        drop(overrides);
        is_over && self.retired_in_override.swap(false, Ordering::Relaxed)
    }

    pub(super) fn retired_counters(&self) -> Counters {
        self.retired.lock().clone()
    }

    pub(super) fn durations(&self) -> Vec<HistogramView> {
        self.durations.views()
    }

    /// Every breaker at this moment. A handful of locks taken one after the other; nobody waits for long.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries = Vec::with_capacity(self.len());
        for shard in &self.shards {
            entries.extend(shard.read().iter().cloned());
        }
        entries
    }

    /// The breakers of the services that are wanted, at this moment; none of them is locked for it.
    pub(super) fn entries_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.shards {
            entries.extend(shard.read().iter().filter(|entry| wanted(entry.key.service())).cloned());
        }
        entries
    }

    /// Calls with a breaker locked; none: there is no such breaker.
    pub(super) fn with_known<T>(&self, id: KeyId, call: impl FnOnce(&Entry, &mut Inner) -> T) -> Option<T> {
        loop {
            let entry = self.find(id)?;
            // Between the two locks it may be retired: then there is none any more, or a new one.
            if let Some(mut inner) = entry.lock() {
                return Some(call(&entry, &mut inner));
            }
        }
    }

    /// Calls with a breaker locked, created if need be: then it counts for `owner`.
    pub(super) fn with_breaker<T>(
        &self,
        id: KeyId,
        service: &str,
        name: &str,
        owner: impl Fn() -> Owner,
        now: Time,
        call: impl FnOnce(&Entry, &mut Inner) -> T,
    ) -> Result<T, EngineError> {
        loop {
            let entry = match self.find(id) {
                Some(entry) => entry,
                None => self.create(id, Key::new(service, name)?, owner(), Room::IfAny, now)?,
            };
            if let Some(mut inner) = entry.lock() {
                return Ok(call(&entry, &mut inner));
            }
        }
    }

    /// A breaker, out of its shard: nobody locks one while the shard is locked, since whoever has it may be writing to
    /// the journal, and all others of the shard would wait for that disk.
    fn find(&self, id: KeyId) -> Option<Arc<Entry>> {
        self.shard(id).read().find(id.hash(), |entry| entry.id == id).cloned()
    }

    /// A new breaker, or the one that somebody else created meanwhile.
    #[cold]
    pub(super) fn create(
        &self,
        id: KeyId,
        key: Key,
        owner: Owner,
        room: Room,
        now: Time,
    ) -> Result<Arc<Entry>, EngineError> {
        let max = self.limits.breakers_max;
        if room == Room::IfAny && self.len() >= max - max / SPARE_PART {
            self.sweep_wanted.notify_one();
        }
        let mut shard = self.shard(id).write();
        let vacant = match shard.entry(id.hash(), |entry| entry.id == id, |entry| entry.id.hash()) {
            hash_table::Entry::Occupied(present) => return Ok(Arc::clone(present.get())),
            hash_table::Entry::Vacant(vacant) => vacant,
        };
        let max = if room == Room::IfAny { max } else { usize::MAX };
        self.shares.take(owner, room).map_err(|(limit, max)| EngineError::Full { limit, max })?;
        if !take_place(&self.count, max) {
            self.shares.give_back(owner);
            return Err(EngineError::Full { limit: BreakerLimit::Total, max });
        }
        let own_series = take_place(&self.own_series, self.limits.own_series_max);
        let catalog = self.catalog();
        let thresholds = catalog.thresholds(key.service());
        let revision = catalog.revision_of(key.service());
        let mut breaker = Breaker::new(thresholds, revision, self.identity(id, now), now);
        breaker.inherit(self.service_override(key.service()), now);
        let indexed = breaker.state();
        let untold = indexed != State::Closed;
        let inner = Inner {
            breaker,
            indexed,
            untold,
            retired: false,
            counters: Counters::default(),
            last_used: now,
            armed: Time::MAX,
            last_transition: None,
        };
        let (service, durations) = self.durations.of(key.service());
        let key = key.sharing(service);
        let entry = Arc::new(Entry {
            key,
            id,
            owner,
            created_at: now,
            own_series,
            durations,
            inner: Mutex::new(inner),
        });
        self.index.insert(Arc::clone(&entry), indexed);
        vacant.insert(Arc::clone(&entry));
        Ok(entry)
    }

    pub(super) fn identity(&self, id: KeyId, now: Time) -> Identity {
        let key_hash = id.hash();
        Identity {
            key_hash,
            salt: self.issuer ^ key_hash,
            first_number: now.as_micros(),
            numbering: self.numbering,
            wall: self.wall.offset(),
        }
    }

    /// Retires the breakers that never left their first state, that nobody configured, and that nobody has
    /// used for the idle time. Answers how many.
    pub(super) fn sweep(&self, now: Time) -> usize {
        let catalog = self.catalog();
        let may_go = |entry: &Entry, inner: &Inner| {
            let idle = now.since(inner.last_used) >= self.limits.idle_ttl;
            let configured =
                *entry.key.name() == *entry.key.service() && catalog.contains(entry.key.service());
            idle && !configured && inner.breaker.is_pristine() && !self.is_to_be_told(entry, inner)
        };
        let mut retired = 0;
        for shard in &self.shards {
            let entries: Vec<_> = shard.read().iter().cloned().collect();
            for entry in entries {
                let is_candidate = may_go(&entry, &entry.inner.lock());
                retired += usize::from(is_candidate && self.retire(&entry, may_go));
            }
        }
        if retired > 0 {
            self.durations.prune();
        }
        retired
    }

    /// Takes a breaker out, if it still may go.
    fn retire(&self, entry: &Arc<Entry>, may_go: impl Fn(&Entry, &Inner) -> bool) -> bool {
        let mut shard = self.shard(entry.id).write();
        // Not waited for under the shard's lock: whoever has the breaker is using it, so that it is not idle.
        let Some(mut inner) = entry.inner.try_lock() else { return false };
        if inner.retired || !may_go(entry, &inner) {
            return false;
        }
        let Ok(present) = shard.find_entry(entry.id.hash(), |present| Arc::ptr_eq(present, entry)) else {
            return false;
        };
        present.remove();
        self.index.remove(&entry.key, inner.indexed);
        inner.retired = true;
        if entry.own_series {
            self.own_series.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.retired.lock().add(&inner.counters);
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.shares.give_back(entry.owner);
        true
    }

    /// Whether a breaker is in an override that its service has no more: the walk that takes it back finds it.
    fn is_to_be_told(&self, entry: &Entry, inner: &Inner) -> bool {
        let Some(set_by) = inner.breaker.snapshot().set_by else { return false };
        // Noted before the look, so that whoever takes the override back behind it finds the note.
        self.retired_in_override.store(true, Ordering::Relaxed);
        self.service_override(entry.key.service()).is_none_or(|set| set.set_by != set_by)
    }

    /// Ends when there is little room left, and it is worth a sweep; for one task, which is not to sweep for every
    /// breaker that finds none.
    pub(super) async fn sweep_wanted(&self) {
        self.sweep_wanted.notified().await;
    }

    fn shard(&self, id: KeyId) -> &RwLock<Shard> {
        // The table within a shard uses the low bits.
        let index = usize::try_from(id.0 >> 122).unwrap_or(0);
        &self.shards[index % SHARDS]
    }
}

/// Takes one of `max` places; false when all are taken.
fn take_place(taken: &AtomicUsize, max: usize) -> bool {
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < max).then_some(taken + 1))
        .is_ok()
}
