//! What a wall clock that was set changes in the engine.
//!
//! Breakers hand out times of the wall clock, and each knows how far that is ahead. When the clock is set, a breaker hears
//! of it at the next look at it, so that nobody has to go round: [`Engine::sync_wall`] stands before whatever is asked of
//! one. Only the deadlines in the heap must be set anew for those who are in an override until a time of the wall clock;
//! [`Engine::rearm`] does that, a part at a time.

use std::sync::Arc;

use breaker::{Time, WallOffset};

use super::Engine;
use super::entry::{Entry, Inner};

/// Breakers whose deadlines are to be set anew.
#[derive(Debug)]
pub struct Rearm {
    left: Vec<Arc<Entry>>,
}

impl Engine {
    /// What the wall clock says at `now`.
    pub fn wall(&self, now: Time) -> Time {
        self.registry.wall.offset().to_wall(now)
    }

    /// Takes note of how the wall clock stands at `now`. When it was set since the last time, answers by how much, in
    /// microseconds: [`Engine::rearm`] is due then. A difference of less than 50 ms is none.
    pub fn note_wall_offset(&self, measured: WallOffset, now: Time) -> Option<i64> {
        self.registry.wall.note(measured, now)
    }

    /// The breakers that [`Engine::rearm_some`] goes through: those that there are.
    pub fn rearm(&self) -> Rearm {
        Rearm { left: self.registry.entries() }
    }

    /// Sets the deadlines of at most `most` breakers by the wall clock as it stands. False: those were the last. Those
    /// that are due are left to [`Engine::tick_some`].
    pub fn rearm_some(&self, rearm: &mut Rearm, most: usize) -> bool {
        for _ in 0..most {
            let Some(entry) = rearm.left.pop() else { return false };
            let Some(mut inner) = entry.lock() else { continue };
            self.sync_wall(&mut inner);
            self.arm(&entry, &mut inner);
        }
        true
    }

    /// Tells a breaker that the wall clock was set, if it does not know, and whether this replica is alone.
    pub(super) fn sync_wall(&self, inner: &mut Inner) {
        self.sync_alone(inner);
        if inner.breaker.wall_offset() != self.registry.wall.offset() {
            let (offset, set_at) = self.registry.wall.set();
            inner.breaker.set_wall_offset(offset, set_at);
        }
    }
}
