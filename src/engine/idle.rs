//! Half-open breakers that nobody calls any more.
//!
//! OPEN ends by itself, and so does an override that has an end; HALF_OPEN ends by the outcomes of its probes. Where nobody
//! asks for one, the breaker would stay for ever, and its row with it: it is closed once it has been idle for as long as a
//! closed one, and is then retired as such.

use std::ops::Bound;
use std::sync::Arc;

use breaker::{Key, State, Time};

use super::Engine;
use super::entry::Entry;
use super::index::Selected;

/// Breakers looked up at one time.
const PAGE: usize = 256;

/// Closes breakers that are half-open and idle.
#[derive(Debug)]
pub struct IdleWalk {
    page: Vec<Arc<Entry>>,
    /// Where the next page begins; none: this is the last one.
    next: Option<Bound<Key>>,
}

impl Engine {
    /// A walk to the breakers that are half-open.
    pub fn idle_walk() -> IdleWalk {
        IdleWalk { page: Vec::new(), next: Some(Bound::Unbounded) }
    }

    /// Walks on until `most` breakers more have been closed. False: it is at its end.
    ///
    /// The time in HALF_OPEN counts and not only that since the last use: a breaker whose wait was longer than the idle
    /// time is there for its callers for as long as any other.
    pub fn close_idle(&self, walk: &mut IdleWalk, most: usize, now: Time) -> bool {
        let mut closed = 0;
        while closed < most {
            let Some(entry) = walk.page.pop() else {
                let Some(from) = walk.next.take() else { return false };
                let index = self.registry.index();
                let page = index.page(&[State::HalfOpen], from, PAGE, |_| Selected::Yes);
                (walk.page, walk.next) = (page.entries, page.next);
                continue;
            };
            let Some(mut inner) = entry.lock() else { continue };
            let idle = self.registry.idle_ttl();
            if now.since(inner.last_used) < idle || self.registry.is_configured(&entry.key) {
                continue;
            }
            self.sync_wall(&mut inner);
            let transitions = inner.breaker.close_idle(idle, now);
            self.settle(&entry, &mut inner, &transitions);
            closed += usize::from(!transitions.is_empty());
        }
        true
    }
}
