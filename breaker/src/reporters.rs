//! Who has seen the trouble: `minimum_reporters`.
//!
//! One bad node must not open a breaker for a whole fleet (Polly #287). A trip then also needs that many
//! distinct callers whose failure is in the window, or in the run. Only the newest K callers need
//! remembering: if the K-th newest has left the window, fewer than K are in it, and if it has not, K are.

use crate::outcome::CallerId;
use crate::time::Time;
use crate::window::Window;

/// A caller's newest trouble.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    caller: CallerId,
    /// Which of the counted outcomes it was.
    ordinal: u64,
    at: Time,
    /// A window that was emptied, or made smaller and larger again, no longer holds it, whatever its age.
    left: bool,
}

/// The newest K distinct callers, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Reporters {
    most: usize,
    newest: Vec<Sighting>,
}

impl Reporters {
    pub(crate) fn new(most: u32) -> Self {
        Self { most: most as usize, newest: Vec::new() }
    }

    pub(crate) fn note(&mut self, caller: CallerId, ordinal: u64, at: Time) {
        self.newest.retain(|sighting| sighting.caller != caller);
        if self.newest.len() == self.most {
            self.newest.remove(0);
        }
        self.newest.push(Sighting { caller, ordinal, at, left: false });
    }

    /// How many of them are in the window, at most K.
    pub(crate) fn in_window(&self, window: &Window, pushed: u64) -> u32 {
        self.count(|sighting| !sighting.left && window.holds(pushed, sighting.ordinal, sighting.at))
    }

    /// The window has another shape now, or is empty (none): whoever is not in it will not be in it again.
    pub(crate) fn leave(&mut self, window: Option<&Window>, pushed: u64) {
        for sighting in &mut self.newest {
            let held = window.is_some_and(|window| window.holds(pushed, sighting.ordinal, sighting.at));
            sighting.left |= !held;
        }
    }

    /// How many of them are in the run that began with the `start`-th outcome, at most K.
    pub(crate) fn since(&self, start: u64) -> u32 {
        self.count(|sighting| sighting.ordinal >= start)
    }

    /// Remembers `most` from now on: the newest of those it has.
    pub(crate) fn resize(&mut self, most: u32) {
        self.most = most as usize;
        let surplus = self.newest.len().saturating_sub(self.most);
        self.newest.drain(..surplus);
    }

    fn count(&self, counts: impl Fn(&Sighting) -> bool) -> u32 {
        u32::try_from(self.newest.iter().filter(|sighting| counts(sighting)).count()).unwrap_or(u32::MAX)
    }
}
