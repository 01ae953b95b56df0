//! Deadlines: when time alone changes a breaker, and letting the breakers take note of it.

use breaker::Time;

use super::Engine;
use super::entry::{Entry, Inner};

/// Deadlines taken from the heap at one time by [`Engine::tick`].
const DUE_MAX: usize = 1_024;

impl Engine {
    /// Lets every breaker whose deadline `now` has reached take note of it. Each writes to the outbox: who has other
    /// things to do takes [`Engine::tick_some`].
    pub fn tick(&self, now: Time) {
        while self.tick_some(DUE_MAX, now) {}
    }

    /// Lets at most `most` of the breakers whose deadline `now` has reached take note of it. False: those were the last.
    pub fn tick_some(&self, most: usize, now: Time) -> bool {
        let due = self.timers.due(now, most);
        for (deadline, id) in &due {
            self.registry.with_known(*id, |entry, inner| {
                // A stale one: the breaker has another deadline by now, which is in the heap too, or none.
                if inner.armed == *deadline {
                    inner.armed = Time::MAX;
                    self.look(entry, inner, now);
                }
            });
        }
        if due.len() == most {
            return true;
        }
        if self.timers.is_bloated(self.len()) {
            self.timers.clear();
            for entry in self.registry.entries() {
                if let Some(mut inner) = entry.lock() {
                    inner.armed = Time::MAX;
                    self.arm(&entry, &mut inner);
                }
            }
        }
        false
    }

    /// The earliest deadline of all breakers.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Ends when the earliest deadline has become an earlier one.
    pub fn earlier_deadline(&self) -> impl Future<Output = ()> + '_ {
        self.timers.earlier()
    }

    /// Lets the time that passed take effect.
    pub(super) fn look(&self, entry: &Entry, inner: &mut Inner, now: Time) {
        if inner.retired {
            return;
        }
        self.sync_wall(inner);
        let transitions = inner.breaker.poll(now);
        self.settle(entry, inner, &transitions);
        self.arm(entry, inner);
    }

    pub(super) fn arm(&self, entry: &Entry, inner: &mut Inner) {
        let deadline = inner.breaker.next_deadline().unwrap_or(Time::MAX);
        if deadline == inner.armed {
            return;
        }
        inner.armed = deadline;
        if deadline < Time::MAX {
            self.timers.arm(deadline, entry.id);
        }
    }
}
