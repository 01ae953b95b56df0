//! One breaker in the engine: the machine, what is counted beside it, and what is shown of it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use breaker::{
    Breaker, EnteredBy, Key, Reason, Snapshot, State, Stats, Thresholds, Time, Transition, View, WallOffset,
};

use super::counters::Counters;
use super::durations::Histogram;
use super::permit::KeyId;
use super::shares::CallerHash;
use super::sync::Mutex;

/// A breaker and all that goes with it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) id: KeyId,
    /// Whom it counts for, beside its service.
    pub(super) caller: CallerHash,
    pub(crate) created_at: Time,
    pub(crate) durations: Arc<Histogram>,
    pub(crate) inner: Mutex<Inner>,
}

impl Entry {
    /// With its lock; none: it was retired before that was taken.
    pub(crate) fn lock(&self) -> Option<impl DerefMut<Target = Inner> + '_> {
        let inner = self.inner.lock();
        (!inner.retired).then(|| AbortOnPanic::new(inner))
    }
}

/// A breaker's lock that no panic may release: half a call would stay, such as a transition that is in force here and in
/// no journal. The process ends instead, and the next one starts from what was written down.
struct AbortOnPanic<G> {
    guard: G,
    /// It was taken while a panic was under way already, which left nothing half done here.
    was_panicking: bool,
}

impl<G> AbortOnPanic<G> {
    fn new(guard: G) -> Self {
        Self { guard, was_panicking: std::thread::panicking() }
    }
}

impl<G: Deref> Deref for AbortOnPanic<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for AbortOnPanic<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

impl<G> Drop for AbortOnPanic<G> {
    fn drop(&mut self) {
        // The panic has been reported by its hook. (shuttle reports by panics of its own.)
        if std::thread::panicking() && !self.was_panicking && cfg!(not(all(test, feature = "shuttle"))) {
            std::process::abort();
        }
    }
}

/// What one lock protects: held for one pure call and, when that changed the state, for one line of the
/// journal, so that nobody can be told of a change before it is written down.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five that are true independently, a byte each, a million times"
)]
pub(crate) struct Inner {
    pub(crate) breaker: Breaker,
    /// The state that it stands under in the index.
    pub(crate) indexed: State,
    pub(crate) counters: Counters,
    pub(crate) last_used: Time,
    /// It was born into an override of its service, without a transition, and nobody has been told.
    pub(crate) birth_unannounced: bool,
    /// It is not in the registry any more. Whoever found it before that has nothing to ask of it, or to tell it: its
    /// key may be another breaker's by now.
    pub(crate) retired: bool,
    /// Whether it has metric series of its own, or counts under `__other__`.
    pub(crate) own_series: bool,
    /// Whether it ever decided a call or took an outcome in this process.
    pub(crate) is_used: bool,
    /// It was deleted, and goes as soon as the store has that, unless it is used again before.
    pub(crate) deleted: bool,
    /// The deadline that is in the heap; [`Time::MAX`]: none. (An `Option` takes twice the room, a million times.)
    pub(crate) armed: Time,
    /// The newest that the outbox has of it; none: nothing, or the store has it. (Few breakers ever have one.)
    pub(crate) newest: Option<Box<Newest>>,
}

/// The newest that the outbox has of a breaker, from this life of the process or from an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// Its log sequence number there: the store has it once it has everything up to this.
    pub(crate) lsn: u64,
    /// None: it was restored closed, and has made no real transition since.
    pub(crate) last_transition: Option<LastTransition>,
}

impl Inner {
    /// Up to which log sequence number the store has to have everything, to have the breaker as it is.
    pub(super) fn newest_lsn(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.lsn)
    }

    /// It decided a call, or took an outcome.
    pub(super) fn used(&mut self, now: Time) {
        self.last_used = now;
        self.is_used = true;
        self.deleted = false;
    }
}

/// The newest change of a breaker, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastTransition {
    /// The state that was left.
    pub from: State,
    /// The state that was entered.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The epoch that was entered.
    pub epoch: u64,
    /// When. In the engine a time of the monotonic clock, in a [`BreakerView`] one of the wall clock.
    pub at: Time,
    /// What was counted in the state that was left.
    pub stats: Stats,
}

impl LastTransition {
    /// The one that led to a state that was kept.
    pub(super) fn restored(snapshot: &Snapshot, entered_by: EnteredBy, wall: WallOffset) -> Self {
        let EnteredBy { from, reason, stats } = entered_by;
        let Snapshot { state: to, epoch, entered_at, .. } = *snapshot;
        Self { from, to, reason, epoch, at: wall.to_monotonic(entered_at), stats }
    }

    pub(super) fn new(transition: &Transition, wall: WallOffset) -> Self {
        Self {
            from: transition.from,
            to: transition.to(),
            reason: transition.reason,
            epoch: transition.after.epoch,
            at: wall.to_monotonic(transition.at),
            stats: transition.stats,
        }
    }
}

/// A breaker as it is shown. All times are those of the wall clock of now.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "four that are true independently")]
pub struct BreakerView {
    /// Its key.
    pub key: Key,
    /// The state to show: DISABLED while breakerd is disabled as a whole.
    pub state: State,
    /// Whether breakerd is not disabled as a whole.
    pub is_enabled: bool,
    /// The machine's view.
    pub view: View,
    /// What it is judged by.
    pub thresholds: Arc<Thresholds>,
    /// The revision of the thresholds.
    pub config_revision: u64,
    /// What was counted since it was born in this process.
    pub counters: Counters,
    /// When it was born in this process.
    pub created_at: Time,
    /// When it was last asked or told something; if it was not used, since when it is known.
    pub last_used: Time,
    /// Whether it decided a call or took an outcome in this process, and was not retired since.
    pub is_used: bool,
    /// Its newest transition; of one that has been closed since before this process began: none.
    pub last_transition: Option<LastTransition>,
    /// Whether it has metric series of its own.
    pub own_series: bool,
    /// Whether this replica decided its state alone, as the store does not answer.
    pub is_alone: bool,
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_with_its_counts_of_references_stays_within_a_size_that_the_allocator_has() {
        // mimalloc's next sizes are 448 and 512: a million breakers would take 61 MiB more each.
        let bytes = size_of::<Entry>() + 2 * size_of::<usize>();
        assert!(bytes <= 384, "{bytes} bytes");
    }
}
