//! The breakers that have something to ask of the store, and who waits for its answers.

use std::collections::BTreeSet;

use tokio::sync::Notify;

use super::permit::KeyId;
use super::sync::Mutex;

/// Calls that wait for the answer to one breaker are woken with those of a few others.
const WAIT_GROUPS: usize = 64;

/// The breakers that have something to ask of the store, each once; and who waits for answers.
#[derive(Debug)]
pub(super) struct StoreRequests {
    asking: Mutex<BTreeSet<KeyId>>,
    asked: Notify,
    answered: [Notify; WAIT_GROUPS],
}

impl Default for StoreRequests {
    fn default() -> Self {
        Self {
            asking: Mutex::new(BTreeSet::new()),
            asked: Notify::new(),
            answered: std::array::from_fn(|_| Notify::new()),
        }
    }
}

impl StoreRequests {
    /// A breaker has something to ask.
    pub(super) fn ask(&self, id: KeyId) {
        if self.asking.lock().insert(id) {
            self.asked.notify_one();
        }
    }

    /// Ends when some breaker has something to ask.
    pub(super) async fn requested(&self) {
        self.asked.notified().await;
    }

    /// At most `most` of those that ask; they are to ask again if they are not answered.
    pub(super) fn take(&self, most: usize) -> BTreeSet<KeyId> {
        let mut asking = self.asking.lock();
        let rest = asking.iter().nth(most).copied().map(|next| asking.split_off(&next));
        std::mem::replace(&mut *asking, rest.unwrap_or_default())
    }

    /// Told when a breaker is answered, or one of some others.
    pub(super) fn answered(&self, id: KeyId) -> &Notify {
        &self.answered[usize::try_from(id.hash()).unwrap_or_default() % WAIT_GROUPS]
    }
}
