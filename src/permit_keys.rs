//! The keys that permits are sealed with: taken over from the store, and changed while breakerd runs.
//!
//! A replica reads the keys of the store each second, and says in its row which is the newest that it has. A new key seals when
//! the store knows of no live replica without it. One that was stopped meanwhile, or has only just read the keys, may still be sent
//! a permit under a key that it lacks: it reads the keys again before it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use breaker::{Attribution, Time};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{SealingKey, Seals};
use crate::store::{PERMIT_KEY_KEPT, PermitKey, PermitKeyAdded, PermitKeyStore, StoreError};
use crate::trouble::Trouble;

/// What it asks of the store.
const ACT: &str = "read the permit keys";
/// Between two looks at the keys, where other replicas may change them.
const READ_EVERY: Duration = Duration::from_secs(1);
/// The same, where nobody else may: for those that are to be deleted, and one whose rotation was given up half way.
const READ_EVERY_ALONE: Duration = Duration::from_secs(10);
/// What was read so short a time ago is not read again for a permit under an unknown key: nobody can have the store asked as often
/// as permits can be invented.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a permit waits for its key, at the most: as long as an outcome waits for the row of its epoch.
const KEY_WAITS: Duration = Duration::from_millis(250);
/// After a wait in vain, no permit waits for so long.
const WAITS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The keys of permits, as this process has them.
pub struct PermitKeys {
    seals: Seals,
    store: Arc<dyn PermitKeyStore>,
    clock: Arc<dyn Clock>,
    /// Whether other replicas use the store.
    is_shared: bool,
    /// All that are held, and the number of the one that seals.
    held: Mutex<(Vec<SealingKey>, u32)>,
    /// A permit is under a key that is not held.
    wanted: Notify,
    /// When the store was last asked.
    asked_at: watch::Sender<Time>,
    /// Until when no permit waits, in microseconds of the clock.
    waits_from: AtomicU64,
    trouble: Trouble,
}

impl std::fmt::Debug for PermitKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PermitKeys").field("sealing", &self.seals.sealing_key()).finish_non_exhaustive()
    }
}

/// What a rotation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// The number of the newest key.
    pub number: u32,
    /// Whether it was added now, and not before.
    pub is_new: bool,
    /// Whether it seals already.
    pub seals: bool,
}

/// Why no key was added.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store did not take it.
    #[error("write a permit key")]
    Store(#[from] StoreError),
    /// There are as many keys as there may be.
    #[error("as many permit keys as are kept")]
    Full,
}

impl PermitKeys {
    /// Of a store, for these seals.
    pub fn new(seals: Seals, store: Arc<dyn PermitKeyStore>, clock: Arc<dyn Clock>, is_shared: bool) -> Self {
        Self {
            seals,
            store,
            clock,
            is_shared,
            held: Mutex::default(),
            wanted: Notify::new(),
            asked_at: watch::Sender::new(Time::ZERO),
            waits_from: AtomicU64::new(0),
            trouble: Trouble::default(),
        }
    }

    /// Holds the keys that the store has, and has the newest one seal if it may.
    ///
    /// # Errors
    /// As the store's.
    pub async fn take_over(&self) -> Result<(), StoreError> {
        let keys = self.read().await?;
        if !is_advance_due(&keys) {
            return Ok(());
        }
        self.store.advance_permit_keys(self.seals.newest_key()).await?;
        self.read().await.map(drop)
    }

    /// All keys that the store has, by number; they are held from then on.
    ///
    /// # Errors
    /// As the store's.
    pub async fn read(&self) -> Result<Vec<PermitKey>, StoreError> {
        let read = self.store.permit_keys().await;
        if let Ok(keys) = &read {
            self.hold(keys);
        }
        // Also without an answer: those who wait are told so.
        self.asked_at.send_replace(self.clock.now());
        read
    }

    fn hold(&self, keys: &[PermitKey]) {
        let held: Vec<_> =
            keys.iter().map(|key| SealingKey { number: key.number, secret: key.secret }).collect();
        let before = self.seals.sealing_key();
        if let Some(sealing) = keys.iter().rev().find(|key| key.sealing_for.is_some()) {
            self.hold_all(held, sealing.number);
        }
        let key = self.seals.sealing_key();
        if key != before {
            tracing::info!(key, before, "another key seals permits");
        }
    }

    /// Holds these keys until the store is read: for a start while it is away.
    pub fn hold_all(&self, keys: Vec<SealingKey>, sealing: u32) {
        self.seals.hold(&keys, sealing);
        *self.held.lock() = (keys, sealing);
    }

    /// The keys that are held, and the number of the one that seals. Secret.
    pub fn held(&self) -> (Vec<SealingKey>, u32) {
        self.held.lock().clone()
    }

    /// The numbers of the keys that are held, and of the one that seals.
    pub fn numbers(&self) -> (Vec<u32>, u32) {
        let held = self.held.lock();
        (held.0.iter().map(|key| key.number).collect(), held.1)
    }

    /// How long the store has not told of its keys.
    pub fn unread_for(&self) -> Duration {
        self.trouble.lasting(self.clock.now())
    }

    /// Adds a key, unless one that was added waits for replicas. It seals as soon as every live replica has it: at once if
    /// there are no others.
    ///
    /// # Errors
    /// [`RotateError`]; nothing was added then, except where the store did not confirm it.
    pub async fn rotate(&self, attribution: &Attribution) -> Result<Rotated, RotateError> {
        let (number, is_new) = match self.store.add_permit_key(attribution).await? {
            PermitKeyAdded::Added { number } => (number, true),
            PermitKeyAdded::Pending { number } => (number, false),
            PermitKeyAdded::Full => return Err(RotateError::Full),
        };
        // It is there, whatever becomes of this.
        if let Err(error) = self.take_over().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, key = number, "cannot read the permit keys, retrying");
        }
        Ok(Rotated { number, is_new, seals: self.seals.sealing_key() == number })
    }

    /// Waits until the keys were read again, not long: for a permit under a key that is not held.
    pub async fn await_key(&self) {
        let (mut asked_at, now) = (self.asked_at.subscribe(), self.clock.now());
        let is_fresh = now.since(*asked_at.borrow_and_update()) < READ_AGAIN_AFTER;
        if is_fresh || now < Time::from_micros(self.waits_from.load(Ordering::Relaxed)) {
            return;
        }
        self.wanted.notify_one();
        tokio::select! {
            biased;
            _ = asked_at.changed() => {}
            () = self.clock.sleep_until(now + KEY_WAITS) => {
                let waits_from = self.clock.now() + WAITS_AGAIN_AFTER;
                self.waits_from.store(waits_from.as_micros(), Ordering::Relaxed);
            }
        }
    }

    /// Follows the keys of the store until `stop`. For one task.
    pub async fn run(&self, stop: CancellationToken) {
        let every = if self.is_shared { READ_EVERY } else { READ_EVERY_ALONE };
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    () = self.wanted.notified() => {}
                    () = self.clock.sleep_until(self.clock.now() + every) => {}
                }
            };
            if stop.run_until_cancelled(next).await.is_none() {
                return;
            }
            match stop.run_until_cancelled(self.take_over()).await {
                None => return,
                Some(Ok(())) => self.trouble.is_over(ACT, self.clock.now()),
                Some(Err(error)) => self.trouble.note(ACT, &error, self.clock.now()),
            }
        }
    }
}

/// Whether the newest key may have to seal, or an old one to go.
fn is_advance_due(keys: &[PermitKey]) -> bool {
    let is_pending = keys.last().is_some_and(|newest| newest.sealing_for.is_none());
    let has_old = |key: &PermitKey| key.sealing_for.is_some_and(|sealing_for| sealing_for > PERMIT_KEY_KEPT);
    is_pending || keys.iter().skip(1).any(has_old)
}

#[cfg(test)]
mod tests {
    use breakerd_common::clock::ManualClock;

    use super::*;
    use crate::store::{Availability, MemoryStore, TimelineStore};

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn ann() -> Attribution {
        Attribution { actor: "ann".to_owned(), reason: "it leaked".to_owned() }
    }

    async fn keys_of(store: &Arc<MemoryStore>, clock: &ManualClock) -> PermitKeys {
        let seals = Seals::new(&store.meta().await.unwrap().id_key);
        let keys = PermitKeys::new(seals, store.clone(), Arc::new(clock.clone()), true);
        keys.take_over().await.unwrap();
        keys
    }

    async fn numbers(store: &MemoryStore) -> Vec<u32> {
        store.permit_keys().await.unwrap().iter().map(|key| key.number).collect()
    }

    #[tokio::test]
    async fn a_new_key_seals_and_the_old_one_goes_when_no_permit_of_it_can_be_valid() {
        let clock = ManualClock::new(NOW);
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
        let keys = keys_of(&store, &clock).await;
        let rotated = keys.rotate(&ann()).await.unwrap();
        assert_eq!(rotated, Rotated { number: 2, is_new: true, seals: true });
        clock.advance(PERMIT_KEY_KEPT);
        keys.take_over().await.unwrap();
        assert_eq!(numbers(&store).await, [1, 2]);
        clock.advance(Duration::from_micros(1));
        keys.take_over().await.unwrap();
        assert_eq!(numbers(&store).await, [2]);
    }

    #[tokio::test]
    async fn while_a_key_waits_for_replicas_no_other_is_added_and_so_many_are_kept() {
        let clock = ManualClock::new(NOW);
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
        let keys = keys_of(&store, &clock).await;
        store.add_permit_key(&ann()).await.unwrap();
        let rotated = keys.rotate(&ann()).await.unwrap();
        assert_eq!(rotated, Rotated { number: 2, is_new: false, seals: true });
        for number in 3..=16 {
            assert_eq!(keys.rotate(&ann()).await.unwrap().number, number);
        }
        assert!(matches!(keys.rotate(&ann()).await, Err(RotateError::Full)));
        assert_eq!(numbers(&store).await.len(), 16);
    }

    /// Nobody runs the task here: the permit waits for as long as it may, and the next one does not.
    #[tokio::test]
    async fn permits_wait_for_their_key_but_not_for_a_store_that_does_not_answer() {
        let clock = ManualClock::new(NOW);
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
        let keys = Arc::new(keys_of(&store, &clock).await);
        // Read just now.
        keys.await_key().await;
        clock.advance(READ_AGAIN_AFTER);
        let waiting = tokio::spawn({
            let keys = Arc::clone(&keys);
            async move { keys.await_key().await }
        });
        keys.wanted.notified().await;
        assert!(!waiting.is_finished());
        clock.advance(KEY_WAITS);
        waiting.await.unwrap();
        keys.await_key().await;
        // The store answers that it cannot: nobody has to wait either.
        clock.advance(WAITS_AGAIN_AFTER);
        store.set_availability(Availability::Unavailable);
        let waiting = tokio::spawn({
            let keys = Arc::clone(&keys);
            async move { keys.await_key().await }
        });
        keys.wanted.notified().await;
        assert!(keys.read().await.is_err());
        waiting.await.unwrap();
    }
}
