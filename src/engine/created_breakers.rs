//! Breakers that calls have created, for the one who asks the store whether it has a row of them that is not known here.

use super::permit::KeyId;
use super::sync::Mutex;

/// So many wait at the most, 1 MiB. Beyond that the store is not asked about one: if it has a row, the breaker hears of that with
/// its first proposal, which has lost.
const WAITING_MAX: usize = 65_536;

/// In the order that they were created in.
#[derive(Debug, Default)]
pub(super) struct CreatedBreakers(Mutex<Vec<KeyId>>);

impl CreatedBreakers {
    pub(super) fn note(&self, id: KeyId) {
        let mut waiting = self.0.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push(id);
        }
    }

    /// At most `most` of them, which wait no more.
    pub(super) fn take(&self, most: usize) -> Vec<KeyId> {
        let mut waiting = self.0.lock();
        let first = waiting.len().saturating_sub(most);
        waiting.split_off(first)
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_each_is_taken_once() {
        let created = CreatedBreakers::default();
        for id in 0..WAITING_MAX as u128 + 10 {
            created.note(KeyId(id));
        }
        assert_eq!(created.take(3).len(), 3);
        assert_eq!(created.take(usize::MAX).len(), WAITING_MAX - 3);
        assert_eq!(created.take(3), []);
    }
}
