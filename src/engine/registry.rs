//! Which breakers there are: found by id, created at their first use, retired when nobody needs them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Breaker, Identity, Key, Numbering, Override, State, Time};
use hashbrown::{HashTable, hash_table};

use super::Limits;
use super::calls::EngineError;
use super::counters::Counters;
use super::durations::{Durations, HistogramView};
use super::entry::{Entry, Inner};
use super::permit::KeyId;
use super::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, RwLock};
use crate::catalog::Catalog;

/// Shards: many more than cores, so that two threads seldom want the same one.
const SHARDS: usize = 64;
/// How often, at the most, a full registry is searched for breakers that may go.
const FORCED_SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A table of pointers: the id is in the entry, and is its own hash.
type Shard = HashTable<Arc<Entry>>;

/// The overrides of services, by service: as many as operators set.
type Overrides = HashMap<Arc<str>, Arc<Override>>;

/// All breakers, by id.
pub(super) struct Registry {
    shards: Box<[RwLock<Shard>]>,
    /// Breakers there are.
    count: AtomicUsize,
    /// Breakers with series of their own.
    own_series: AtomicUsize,
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
    durations: Durations,
    /// What breakers without series of their own had counted when they were retired.
    retired: Mutex<Counters>,
    last_forced_sweep: Mutex<Time>,
}

/// Whether a new breaker needs a free place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    IfAny,
    Always,
}

impl Registry {
    pub(super) fn new(limits: Limits, issuer: u64, numbering: Numbering, catalog: Arc<Catalog>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            own_series: AtomicUsize::new(0),
            limits,
            issuer,
            numbering,
            catalog: RwLock::new(catalog),
            overrides: RwLock::default(),
            retired_in_override: AtomicBool::new(false),
            durations: Durations::new(limits.own_series_max),
            retired: Mutex::default(),
            last_forced_sweep: Mutex::new(Time::ZERO),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// Breakers are created with this from now on; those that are there must be told.
    pub(super) fn set_catalog(&self, catalog: Arc<Catalog>) {
        *self.catalog.write() = catalog;
    }

    /// The override of a service; one whose end has passed may still be here.
    pub(super) fn service_override(&self, service: &str) -> Option<Arc<Override>> {
        self.overrides.read().get(service).cloned()
    }

    /// The services whose override ended by itself.
    pub(super) fn ended_overrides(&self, now: Time) -> Vec<Arc<str>> {
        let overrides = self.overrides.read();
        let ended = overrides.iter().filter(|(_, set)| set.expires_at.is_some_and(|end| end <= now));
        ended.map(|(service, _)| Arc::clone(service)).collect()
    }

    /// Breakers are born under these from now on; those that are there must be told. True: one that stood stands no
    /// more, and breakers were retired in it, or in another.
    pub(super) fn set_service_overrides(&self, all: impl IntoIterator<Item = (String, Override)>) -> bool {
        let all: Overrides = all.into_iter().map(|(service, set)| (service.into(), Arc::new(set))).collect();
        let before = std::mem::replace(&mut *self.overrides.write(), all);
        let overrides = self.overrides.read();
        let is_over = before.iter().any(|(service, set)| overrides.get(service) != Some(set));
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
        let shard = self.shard(id).read();
        let entry = shard.find(id.hash(), |entry| entry.id == id)?;
        let mut inner = entry.inner.lock();
        Some(call(entry, &mut inner))
    }

    /// Calls with a breaker locked, created if need be.
    pub(super) fn with_breaker<T>(
        &self,
        id: KeyId,
        service: &str,
        name: &str,
        now: Time,
        call: impl FnOnce(&Entry, &mut Inner) -> T,
    ) -> Result<T, EngineError> {
        {
            let shard = self.shard(id).read();
            if let Some(entry) = shard.find(id.hash(), |entry| entry.id == id) {
                return Ok(call(entry, &mut entry.inner.lock()));
            }
        }
        let key = Key::new(service, name)?;
        loop {
            let entry = self.create(id, key.clone(), Room::IfAny, now)?;
            // Between the two locks it may be retired: then it is created again.
            if let Some(mut inner) = entry.lock() {
                return Ok(call(&entry, &mut inner));
            }
        }
    }

    /// A new breaker, or the one that somebody else created meanwhile.
    #[cold]
    pub(super) fn create(
        &self,
        id: KeyId,
        key: Key,
        room: Room,
        now: Time,
    ) -> Result<Arc<Entry>, EngineError> {
        if room == Room::IfAny && self.len() >= self.limits.breakers_max {
            self.forced_sweep(now);
        }
        let mut shard = self.shard(id).write();
        let vacant = match shard.entry(id.hash(), |entry| entry.id == id, |entry| entry.id.hash()) {
            hash_table::Entry::Occupied(present) => return Ok(Arc::clone(present.get())),
            hash_table::Entry::Vacant(vacant) => vacant,
        };
        let max = match room {
            Room::IfAny => self.limits.breakers_max,
            Room::Always => usize::MAX,
        };
        if !take_place(&self.count, max) {
            return Err(EngineError::Full { max });
        }
        let own_series = take_place(&self.own_series, self.limits.own_series_max);
        let catalog = self.catalog();
        let thresholds = catalog.thresholds(key.service());
        let revision = catalog.revision_of(key.service());
        let mut breaker = Breaker::new(thresholds, revision, self.identity(id, now), now);
        breaker.inherit(self.service_override(key.service()), now);
        let untold = breaker.state() != State::Closed;
        let inner = Inner {
            breaker,
            untold,
            retired: false,
            counters: Counters::default(),
            last_used: now,
            armed: Time::MAX,
            last_transition: None,
        };
        let (service, durations) = self.durations.of(key.service());
        let key = key.sharing(service);
        let entry =
            Arc::new(Entry { key, id, created_at: now, own_series, durations, inner: Mutex::new(inner) });
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
        }
    }

    /// Retires the breakers that never left their first state, that nobody configured, and that nobody has
    /// used for the idle time. Answers how many.
    pub(super) fn sweep(&self, now: Time) -> usize {
        let catalog = self.catalog();
        let mut retired = 0;
        for shard in &self.shards {
            shard.write().retain(|entry| {
                let mut inner = entry.inner.lock();
                let idle = now.since(inner.last_used) >= self.limits.idle_ttl;
                let configured =
                    *entry.key.name() == *entry.key.service() && catalog.contains(entry.key.service());
                if !idle || configured || !inner.breaker.is_pristine() || self.is_to_be_told(entry, &inner) {
                    return true;
                }
                if entry.own_series {
                    self.own_series.fetch_sub(1, Ordering::Relaxed);
                } else {
                    self.retired.lock().add(&inner.counters);
                }
                inner.retired = true;
                retired += 1;
                false
            });
        }
        self.count.fetch_sub(retired, Ordering::Relaxed);
        if retired > 0 {
            self.durations.prune();
        }
        retired
    }

    /// Whether a breaker is in an override that its service has no more: the walk that takes it back finds it.
    fn is_to_be_told(&self, entry: &Entry, inner: &Inner) -> bool {
        let Some(set_by) = inner.breaker.snapshot().set_by else { return false };
        // Noted before the look, so that whoever takes the override back behind it finds the note.
        self.retired_in_override.store(true, Ordering::Relaxed);
        self.service_override(entry.key.service()).is_none_or(|set| *set != set_by)
    }

    /// Looks for room when there is none, but not for every stranger who asks.
    fn forced_sweep(&self, now: Time) {
        let mut last = self.last_forced_sweep.lock();
        if now.since(*last) < FORCED_SWEEP_EVERY {
            return;
        }
        *last = now;
        drop(last);
        self.sweep(now);
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
