//! Which breakers there are: found by id, created at their first use, retired when nobody needs them.

mod retirement;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{ActiveOverride, Breaker, Identity, Key, Numbering, Override, State, Time};
use hashbrown::{HashTable, hash_table};
use tokio::sync::Notify;

use super::counters::Counters;
use super::created_breakers::CreatedBreakers;
use super::durations::{Durations, HistogramView};
use super::entry::{Entry, Inner};
use super::index::Index;
use super::limits::{EngineError, Limits, StoreIdentity};
use super::permit::KeyId;
use super::seals::Seals;
use super::service_override::NotedOverride;
use super::shares::{BreakerLimit, Owner, Room, Shares};
use super::sync::{AtomicBool, AtomicU32, AtomicUsize, Mutex, Ordering, RwLock};
use super::tombstones::Tombstone;
use super::wall_clock::WallClock;

use crate::catalog::Catalog;
use crate::protocol_rules::{Rule, holds};

/// Shards: many more than cores, so that two threads seldom want the same one.
const SHARDS: usize = 64;
/// Idle breakers are looked for out of turn once no more than this part of the room is left: there is still some while
/// the sweep runs.
const SPARE_PART: usize = 8;
/// What time alone brings about is held back for a part of this where there are other replicas: enough for one of a hundred to be
/// first by more than an answer takes, and little beside any wait.
const STAGGER: Duration = Duration::from_millis(100);

/// Tables whose hash is a part of the id.
#[derive(Default)]
struct Shard {
    /// Pointers: the id is in the entry.
    live: HashTable<Arc<Entry>>,
    /// Of breakers that are not in `live`.
    tombstones: HashTable<Tombstone>,
}

/// What is known under an id.
pub(super) enum Known {
    Live(Arc<Entry>),
    Retired(Tombstone),
}

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
    /// Tombstones there are; as many as there may be breakers. Where there are so many, a breaker that would leave another
    /// one is not retired.
    tombstones: AtomicUsize,
    shares: Shares,
    limits: Limits,
    seals: Seals,
    issuer: u64,
    /// The newest timeline of the store that was heard of; breakers follow one by one.
    timeline: AtomicU32,
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
    /// Breakers that calls have created, if there are other replicas.
    created: CreatedBreakers,
}

impl Registry {
    pub(super) fn new(limits: Limits, identity: &StoreIdentity, catalog: Arc<Catalog>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            index: Index::default(),
            count: AtomicUsize::new(0),
            own_series: AtomicUsize::new(0),
            tombstones: AtomicUsize::new(0),
            shares: Shares::new(limits.breakers_per_service_max, limits.breakers_per_caller_max),
            limits,
            seals: identity.seals.clone(),
            issuer: identity.issuer,
            timeline: AtomicU32::new(identity.timeline),
            numbering: identity.numbering,
            catalog: RwLock::new(catalog),
            overrides: RwLock::default(),
            retired_in_override: AtomicBool::new(false),
            wall: WallClock::default(),
            durations: Durations::new(limits.own_series_max),
            retired: Mutex::default(),
            sweep_wanted: Notify::new(),
            created: CreatedBreakers::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn retired(&self) -> usize {
        self.tombstones.load(Ordering::Relaxed)
    }

    /// Who numbers epochs.
    pub(super) fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// The newest timeline of the store that was heard of.
    pub(super) fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Acquire)
    }

    /// Breakers are created in this one from now on.
    pub(super) fn set_timeline(&self, timeline: u32) {
        self.timeline.store(timeline, Ordering::Release);
    }

    pub(super) fn breakers_max(&self) -> usize {
        self.limits.breakers_max
    }

    pub(super) fn idle_ttl(&self) -> Duration {
        self.limits.idle_ttl
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
        let ended = overrides.iter().filter(|(_, set)| set.is_due(wall, now));
        ended.map(|(service, set)| (Arc::clone(service), set.set_by.clone())).collect()
    }

    /// Breakers are born under these from now on; those that are there must be told. True: whoever
    /// follows the breakers has to look at them all anew, since some were retired that are in another state by it.
    pub(super) fn set_service_overrides(
        &self,
        all: impl IntoIterator<Item = (String, NotedOverride)>,
        now: Time,
    ) -> bool {
        let wall = self.wall.offset();
        let mut overrides = self.overrides.write();
        let of = |(service, NotedOverride { set_by, revision }): (String, NotedOverride)| {
            // One that stands goes on: what is left of its duration is counted from when it was set.
            let current = overrides
                .get(&*service)
                .filter(|current| current.set_by == set_by && current.revision() == revision);
            let new = || ActiveOverride::of_service(set_by, revision, self.numbering, wall, now);
            (service.into(), current.cloned().unwrap_or_else(|| Arc::new(new())))
        };
        let all: Overrides = all.into_iter().map(of).collect();
        let before = std::mem::replace(&mut *overrides, all);
        let stands = |service: &str, set: &ActiveOverride| {
            overrides.get(service).is_some_and(|present| present.set_by == set.set_by)
        };
        let is_over = before.iter().any(|(service, set)| !stands(service, set));
        let stood = |service: &str, set: &ActiveOverride| {
            before.get(service).is_some_and(|former| former.set_by == set.set_by)
        };
        let is_new = overrides.iter().any(|(service, set)| !stood(service, set));
        drop(overrides);
        // Those that were retired as closed will be used again under the new one, and nobody is told of it.
        let missed = is_new && self.tombstones.load(Ordering::Relaxed) > 0;
        (is_over && self.retired_in_override.swap(false, Ordering::Relaxed)) || missed
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
            entries.extend(shard.read().live.iter().cloned());
        }
        entries
    }

    /// Whether the configuration names the service, and this is its own breaker: such a one is never retired.
    pub(super) fn is_configured(&self, key: &Key) -> bool {
        is_named(&self.catalog.read(), key)
    }

    /// The breakers of the services that are wanted, at this moment; none of them is locked for it.
    pub(super) fn entries_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.shards {
            entries.extend(shard.read().live.iter().filter(|entry| wanted(entry.key.service())).cloned());
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
                None => self.create_used(id, Key::new(service, name)?, owner(), now)?,
            };
            if let Some(mut inner) = entry.lock() {
                return Ok(call(&entry, &mut inner));
            }
        }
    }

    /// A breaker that is used here from now on. The store may have a row of it that is not known here.
    fn create_used(&self, id: KeyId, key: Key, owner: Owner, now: Time) -> Result<Arc<Entry>, EngineError> {
        let entry = self.create(id, key, owner, Room::IfAny, now)?;
        if self.numbering == Numbering::Store {
            self.created.note(id);
        }
        Ok(entry)
    }

    /// A breaker, out of its shard: nobody locks one while the shard is locked, since whoever has it may be writing to
    /// the journal, and all others of the shard would wait for that disk.
    fn find(&self, id: KeyId) -> Option<Arc<Entry>> {
        self.shard(id).read().live.find(id.hash(), |entry| entry.id == id).cloned()
    }

    /// A breaker, or what is left of it.
    pub(super) fn known(&self, id: KeyId) -> Option<Known> {
        let shard = self.shard(id).read();
        let live = shard.live.find(id.hash(), |entry| entry.id == id).cloned().map(Known::Live);
        live.or_else(|| {
            shard.tombstones.find(id.hash(), |buried| buried.id == id).copied().map(Known::Retired)
        })
    }

    /// Whether the service of `owner` has a breaker, or a tombstone of one.
    pub(super) fn has_any_of(&self, owner: Owner) -> bool {
        self.shares.has_service(owner)
    }

    /// The machine of a breaker that is created, or created again.
    pub(super) fn machine(&self, id: KeyId, service: &str, buried: Option<&Tombstone>, now: Time) -> Breaker {
        let catalog = self.catalog();
        let (thresholds, revision) = (catalog.thresholds(service), catalog.revision_of(service));
        let identity = self.identity(id, now);
        let mut breaker = match buried {
            Some(tombstone) => {
                let snapshot = tombstone.snapshot(revision, identity.wall);
                let mut breaker = Breaker::restore(thresholds, revision, identity, snapshot, now);
                // Revisions of another timeline say nothing in this one.
                let is_of_present = tombstone.version.timeline == self.timeline();
                if tombstone.version.revision > 0 && is_of_present && holds(Rule::RetiredRowRemembered) {
                    breaker.knows_row(tombstone.version);
                }
                breaker
            }
            None => Breaker::new(thresholds, revision, identity, now),
        };
        breaker.inherit(self.service_override(service), now);
        breaker
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
        let Shard { live, tombstones } = &mut *shard;
        let vacant = match live.entry(id.hash(), |entry| entry.id == id, |entry| entry.id.hash()) {
            hash_table::Entry::Occupied(present) => return Ok(Arc::clone(present.get())),
            hash_table::Entry::Vacant(vacant) => vacant,
        };
        let buried = tombstones.find_entry(id.hash(), |buried| buried.id == id).ok();
        let max = if room == Room::IfAny { max } else { usize::MAX };
        // One that is used again has counted for its owner all the time.
        let owner = buried.as_ref().map_or(owner, |buried| buried.get().owner);
        if !take_place(&self.count, max) {
            return Err(EngineError::Full { limit: BreakerLimit::Total, max });
        }
        if buried.is_none()
            && let Err((limit, max)) = self.shares.take(owner, room)
        {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(EngineError::Full { limit, max });
        }
        let own_series = take_place(&self.own_series, self.limits.own_series_max);
        let breaker =
            self.machine(id, key.service(), buried.as_ref().map(hash_table::OccupiedEntry::get), now);
        if let Some(buried) = buried {
            buried.remove();
            self.tombstones.fetch_sub(1, Ordering::Relaxed);
        }
        let indexed = breaker.state();
        let birth_unannounced = indexed != State::Closed;
        let inner = Inner {
            breaker,
            indexed,
            birth_unannounced,
            retired: false,
            is_used: false,
            deleted: false,
            own_series,
            counters: Counters::default(),
            last_used: now,
            armed: Time::MAX,
            newest: None,
        };
        let (service, durations) = self.durations.of(key.service());
        let (key, caller) = (key.sharing(service), owner.caller());
        let entry = Arc::new(Entry { key, id, caller, created_at: now, durations, inner: Mutex::new(inner) });
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
            stagger: if self.numbering == Numbering::Store { STAGGER } else { Duration::ZERO },
            wall: self.wall.offset(),
        }
    }

    /// Ends when there is little room left, and it is worth a sweep; for one task, which is not to sweep for every
    /// breaker that finds none.
    pub(super) async fn sweep_wanted(&self) {
        self.sweep_wanted.notified().await;
    }

    /// Breakers that calls have created.
    pub(super) fn created(&self) -> &CreatedBreakers {
        &self.created
    }

    fn shard(&self, id: KeyId) -> &RwLock<Shard> {
        // The table within a shard uses the low bits.
        let index = usize::try_from(id.0 >> 122).unwrap_or(0);
        &self.shards[index % SHARDS]
    }
}

/// Whether the catalog names the service, and this is its own breaker.
fn is_named(catalog: &Catalog, key: &Key) -> bool {
    *key.name() == *key.service() && catalog.contains(key.service())
}

/// Takes one of `max` places; false when all are taken.
fn take_place(taken: &AtomicUsize, max: usize) -> bool {
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < max).then_some(taken + 1))
        .is_ok()
}
