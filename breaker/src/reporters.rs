//! Who has seen the trouble: `minimum_reporters`.
//!
//! One bad node must not open a breaker for a whole fleet (Polly #287). A trip then also needs that many
//! distinct callers whose failure is in the window, or in the run. Only the newest K callers need
//! remembering: if the K-th newest has left the window, fewer than K are in it, and if it has not, K are.
//! K can be raised while failures are counted, and then their callers count too: so [`REMEMBERED_MIN`] are
//! remembered however few are needed.

use crate::outcome::CallerId;
use crate::time::Time;
use crate::window::Window;

/// Callers that are remembered though fewer are needed. Whoever raises `minimum_reporters` beyond that waits for those who
/// report from then on. 32 bytes each, taken by breakers that so many callers saw fail.
const REMEMBERED_MIN: usize = 64;

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

/// The newest distinct callers, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Reporters {
    most: usize,
    newest: Vec<Sighting>,
}

impl Reporters {
    /// Remembers whoever `needed` callers need.
    pub(crate) fn new(needed: u32) -> Self {
        Self { most: remembered(needed), newest: Vec::new() }
    }

    pub(crate) fn note(&mut self, caller: CallerId, ordinal: u64, at: Time) {
        let sighting = Sighting { caller, ordinal, at, left: false };
        if let Some(last) = self.newest.last_mut()
            && last.caller == caller
        {
            *last = sighting;
            return;
        }
        self.newest.retain(|sighting| sighting.caller != caller);
        if self.newest.len() >= self.most {
            self.newest.remove(0);
        }
        if self.newest.is_empty() {
            // Most breakers have one: all that say nothing are one.
            self.newest.reserve_exact(1);
        }
        self.newest.push(sighting);
    }

    /// The newest of them, at most `most`, with the time of each.
    pub(crate) fn newest(&self, most: usize) -> impl Iterator<Item = (CallerId, Time)> + '_ {
        self.newest.iter().rev().take(most).map(|sighting| (sighting.caller, sighting.at))
    }

    /// How many of them are in the window, of those that are remembered.
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

    /// How many of them are in the run that began with the `start`-th outcome, of those that are remembered.
    pub(crate) fn since(&self, start: u64) -> u32 {
        self.count(|sighting| sighting.ordinal >= start)
    }

    /// Remembers whoever `needed` callers need from now on: the newest of those it has.
    pub(crate) fn resize(&mut self, needed: u32) {
        self.most = remembered(needed);
        let surplus = self.newest.len().saturating_sub(self.most);
        self.newest.drain(..surplus);
    }

    fn count(&self, counts: impl Fn(&Sighting) -> bool) -> u32 {
        u32::try_from(self.newest.iter().filter(|sighting| counts(sighting)).count()).unwrap_or(u32::MAX)
    }
}

fn remembered(needed: u32) -> usize {
    REMEMBERED_MIN.max(needed as usize)
}
