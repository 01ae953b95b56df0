//! What is shown of breakers: one, some in the order of their keys, all; and what was counted.
//!
//! A look lets the time that passed take effect, as a call does.

use std::collections::BTreeMap;
use std::sync::Arc;

use breaker::{Key, State, Time};

use super::Engine;
use super::counters::Counters;
use super::durations::HistogramView;
use super::entry::{BreakerView, Entry, Inner};

impl Engine {
    /// One breaker as it is at `now`; none: there is no such breaker.
    pub fn view(&self, service: &str, name: &str, now: Time) -> Option<BreakerView> {
        self.registry
            .with_known(self.seals.key_id(service, name), |entry, inner| self.show(entry, inner, now))
    }

    /// The next `limit` breakers after `after` in the order of their keys, of those that `wanted` wants.
    pub fn list(
        &self,
        after: Option<&Key>,
        limit: usize,
        now: Time,
        wanted: impl Fn(&Key, State) -> bool,
    ) -> Vec<BreakerView> {
        let mut found: BTreeMap<Key, Arc<Entry>> = BTreeMap::new();
        for entry in self.registry.entries() {
            let beyond =
                found.len() == limit && found.last_key_value().is_none_or(|(last, _)| entry.key > *last);
            if beyond || after.is_some_and(|after| entry.key <= *after) {
                continue;
            }
            let state = {
                let Some(mut inner) = entry.lock() else { continue };
                self.look(&entry, &mut inner, now);
                self.shown(inner.breaker.state())
            };
            if wanted(&entry.key, state) {
                found.insert(entry.key.clone(), entry);
                if found.len() > limit {
                    found.pop_last();
                }
            }
        }
        // One that was retired meanwhile is shown as it was: a page that lacked it would look like the last.
        found.values().map(|entry| self.show(entry, &mut entry.inner.lock(), now)).collect()
    }

    /// Shows every breaker, one at a time, in no order.
    pub fn for_each(&self, now: Time, mut visit: impl FnMut(BreakerView)) {
        for entry in self.registry.entries() {
            let view = entry.lock().map(|mut inner| self.show(&entry, &mut inner, now));
            view.into_iter().for_each(&mut visit);
        }
    }

    /// What breakers without series of their own had counted when they were retired.
    pub fn retired_counters(&self) -> Counters {
        self.registry.retired_counters()
    }

    /// How long calls took, by service.
    pub fn durations(&self) -> Vec<HistogramView> {
        self.registry.durations()
    }

    pub(super) fn show(&self, entry: &Entry, inner: &mut Inner, now: Time) -> BreakerView {
        self.look(entry, inner, now);
        BreakerView {
            key: entry.key.clone(),
            state: self.shown(inner.breaker.state()),
            view: inner.breaker.view(now),
            thresholds: Arc::clone(inner.breaker.thresholds()),
            config_revision: inner.breaker.config_revision(),
            counters: inner.counters.clone(),
            created_at: entry.created_at,
            last_used: inner.last_used,
            last_transition: inner.last_transition.clone(),
            own_series: entry.own_series,
        }
    }
}
