//! What is shown of breakers: one, some in the order of their keys, all; and what was counted.
//!
//! A look lets the time that passed take effect, as a call does. Whoever looks at many does so for some of them only, and
//! shows the others as they stand: a list, or a scrape, at the moment at which a hundred thousand waits end would
//! otherwise write as many records. The timer comes to those, at its pace.

use std::ops::Bound;
use std::sync::Arc;

use breaker::{Key, State, Time};

use super::Engine;
use super::counters::Counters;
use super::durations::HistogramView;
use super::entry::{BreakerView, Entry, Inner};
use super::index::{Selected, first_of, last_of};
use super::permit::KeyId;
use super::registry::Known;
use super::tombstones::Tombstone;

/// The most breakers that one read of many changes.
const READ_CHANGES_MAX: usize = 64;

/// Which breakers to list, and how many.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListQuery<'a> {
    /// Those behind this key only.
    pub after: Option<&'a Key>,
    /// Of this service only.
    pub service: Option<&'a str>,
    /// Whose name starts so only.
    pub name_prefix: &'a str,
    /// In one of these states only, each named once; empty: in any.
    pub states: &'a [State],
    /// At most so many.
    pub limit: usize,
}

impl ListQuery<'_> {
    /// Where the list begins; none: nothing can be in it.
    fn start(&self) -> Option<Bound<Key>> {
        let first = match self.service {
            Some(service) => Some(first_of(service, self.name_prefix)?),
            None => None,
        };
        Some(match (self.after, first) {
            (Some(after), Some(first)) if *after < first => Bound::Included(first),
            (Some(after), _) => Bound::Excluded(after.clone()),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        })
    }

    fn select(&self, key: &Key, may_see: impl Fn(&str) -> bool) -> Selected {
        let has_prefix = key.name().starts_with(self.name_prefix);
        if let Some(service) = self.service
            && (**key.service() != *service || !has_prefix)
        {
            return Selected::NoneAfter;
        }
        match (may_see(key.service()), has_prefix) {
            (false, _) => Selected::NoneOfService,
            (true, false) => Selected::No,
            (true, true) => Selected::Yes,
        }
    }
}

impl Engine {
    /// The breaker that a sealed permit was given for. None: nobody here sealed it, or nothing has used the breaker for long.
    pub fn key_of_permit(&self, sealed: &[u8]) -> Option<Key> {
        let permit = self.seals.open(sealed).ok()?;
        match self.registry.known(permit.key)? {
            Known::Live(entry) => Some(entry.key.clone()),
            Known::Retired(_) => None,
        }
    }

    /// One breaker as it is at `now`; of one that was retired, as it would be if it were used now. None: nothing is
    /// known of it.
    pub fn view(&self, service: &str, name: &str, now: Time) -> Option<BreakerView> {
        self.view_within(&mut 1, service, name, now)
    }

    fn view_within(
        &self,
        changes_left: &mut usize,
        service: &str,
        name: &str,
        now: Time,
    ) -> Option<BreakerView> {
        let id = self.seals.key_id(service, name);
        loop {
            match self.registry.known(id)? {
                Known::Retired(tombstone) => {
                    return self.as_if_used(id, service, name, Some(&tombstone), now);
                }
                Known::Live(entry) => {
                    if let Some(mut inner) = entry.lock() {
                        self.look_within(changes_left, &entry, &mut inner, now);
                        return Some(self.view_of(&entry, &inner, now));
                    }
                }
            }
        }
    }

    /// The service's own breaker, of which nothing is known, while the service has an override: as it would be if it
    /// were used now. The override is in force, whether or not a breaker shows it.
    pub fn view_inherited(&self, service: &str, name: &str, now: Time) -> Option<BreakerView> {
        if !name.is_empty() && name != service {
            return None;
        }
        self.service_override(service, now)?;
        self.as_if_used(self.seals.key_id(service, name), service, name, None, now)
    }

    /// A breaker that is not in use, as it would be if it were used now.
    fn as_if_used(
        &self,
        id: KeyId,
        service: &str,
        name: &str,
        buried: Option<&Tombstone>,
        now: Time,
    ) -> Option<BreakerView> {
        let key = Key::new(service, name).ok()?;
        let mut breaker = self.registry.machine(id, service, buried, now);
        breaker.poll(now);
        let wall = breaker.wall_offset();
        Some(BreakerView {
            key,
            state: self.shown(breaker.state()),
            is_enabled: self.is_enabled(),
            view: breaker.view(now),
            thresholds: Arc::clone(breaker.thresholds()),
            config_revision: breaker.config_revision(),
            counters: Counters::default(),
            created_at: wall.to_wall(buried.map_or(now, Tombstone::closed_at)),
            last_used: wall.to_wall(buried.map_or(now, Tombstone::last_used).min(now)),
            is_used: false,
            last_transition: None,
            own_series: false,
            is_alone: false,
        })
    }

    /// The next breakers of a list, in the order of their keys, of the services that `may_see` says yes to. Fewer than
    /// the limit only at the end. Locks those that it shows, and few others.
    pub fn list(&self, query: &ListQuery<'_>, now: Time, may_see: impl Fn(&str) -> bool) -> Vec<BreakerView> {
        let mut changes_left = READ_CHANGES_MAX;
        let mut views = Vec::new();
        let mut next = query.start();
        while let Some(from) = next.take().filter(|_| views.len() < query.limit) {
            let most = query.limit - views.len();
            let states = self.states_to_look_under(query.states, now);
            let page = self.registry.index().page(states, from, most, |key| query.select(key, &may_see));
            for entry in page.entries {
                // One that was retired meanwhile is not there; the page is filled up with others.
                let Some(mut inner) = entry.lock() else { continue };
                self.look_within(&mut changes_left, &entry, &mut inner, now);
                if query.states.is_empty() || query.states.contains(&self.shown(inner.breaker.state())) {
                    views.push(self.view_of(&entry, &inner, now));
                }
            }
            next = page.next;
        }
        views
    }

    /// The services that have a breaker in use and that `may_see` says yes to, in order; at most `most`.
    pub fn services_in_use(&self, most: usize, may_see: impl Fn(&str) -> bool) -> Vec<Key> {
        let mut found = Vec::new();
        let mut next = Some(Bound::Unbounded);
        while let Some(from) = next.take().filter(|_| found.len() < most) {
            let select =
                |key: &Key| if may_see(key.service()) { Selected::Yes } else { Selected::NoneOfService };
            let page = self.registry.index().page(State::ALL, from, 1, select);
            // On behind its service: a service may have any number of them.
            next = match page.entries.first() {
                Some(entry) => Some(Bound::Excluded(last_of(&entry.key))),
                None => page.next,
            };
            found.extend(page.entries.first().map(|entry| entry.key.clone()));
        }
        found
    }

    /// The breakers of `service` that are in use, in order; at most `most`.
    pub fn breakers_in_use(&self, service: &str, most: usize) -> Vec<Key> {
        let mut found = Vec::new();
        let mut next = first_of(service, "").map(Bound::Included);
        while let Some(from) = next.take().filter(|_| found.len() < most) {
            let select =
                |key: &Key| if **key.service() == *service { Selected::Yes } else { Selected::NoneAfter };
            let page = self.registry.index().page(State::ALL, from, most - found.len(), select);
            found.extend(page.entries.iter().map(|entry| entry.key.clone()));
            next = page.next;
        }
        found
    }

    /// Where the index may have breakers that are in one of `states` now; empty: in any.
    fn states_to_look_under<'a>(&self, states: &'a [State], now: Time) -> &'a [State] {
        let is_due = self.timers.next().is_some_and(|deadline| deadline <= now);
        if states.is_empty() || is_due || !self.is_enabled() { State::ALL } else { states }
    }

    /// Shows every breaker, one at a time, in no order.
    pub fn for_each(&self, now: Time, mut visit: impl FnMut(BreakerView)) {
        let mut changes_left = READ_CHANGES_MAX;
        for entry in self.registry.entries() {
            let view = entry.lock().map(|mut inner| {
                self.look_within(&mut changes_left, &entry, &mut inner, now);
                self.view_of(&entry, &inner, now)
            });
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

    /// These breakers as [`Engine::view`] shows them, except that not all of those that are due are changed; those of
    /// which nothing is known are left out.
    pub fn views(&self, keys: &[Key], now: Time) -> Vec<BreakerView> {
        let mut changes_left = READ_CHANGES_MAX;
        let views =
            keys.iter().filter_map(|key| self.view_within(&mut changes_left, key.service(), key.name(), now));
        views.collect()
    }

    /// Lets the time that passed take effect, unless that changes the state and no changes are left.
    fn look_within(&self, changes_left: &mut usize, entry: &Entry, inner: &mut Inner, now: Time) {
        self.sync_wall(inner);
        if inner.breaker.is_due(now) {
            if *changes_left == 0 {
                return;
            }
            *changes_left -= 1;
        }
        self.look(entry, inner, now);
    }

    pub(super) fn show(&self, entry: &Entry, inner: &mut Inner, now: Time) -> BreakerView {
        self.look(entry, inner, now);
        self.view_of(entry, inner, now)
    }

    fn view_of(&self, entry: &Entry, inner: &Inner, now: Time) -> BreakerView {
        let wall = inner.breaker.wall_offset();
        let mut last_transition = inner.newest.as_ref().and_then(|newest| newest.last_transition.clone());
        if let Some(last) = &mut last_transition {
            last.at = wall.to_wall(last.at);
        }
        BreakerView {
            key: entry.key.clone(),
            state: self.shown(inner.breaker.state()),
            is_enabled: self.is_enabled(),
            view: inner.breaker.view(now),
            thresholds: Arc::clone(inner.breaker.thresholds()),
            config_revision: inner.breaker.config_revision(),
            counters: inner.counters.clone(),
            created_at: wall.to_wall(entry.created_at),
            last_used: wall.to_wall(inner.last_used),
            is_used: inner.is_used,
            last_transition,
            own_series: inner.own_series,
            is_alone: inner.breaker.is_on_branch(),
        }
    }
}
