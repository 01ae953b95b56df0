//! What breakers are judged by, and which are there because their service is configured.

use std::sync::Arc;

use breaker::Time;

use super::Engine;
use super::registry::Known;
use super::shares::Creator;
use super::sync::Ordering;
use crate::catalog::Catalog;

impl Engine {
    /// Judges by another catalog from now on, running breakers included. For one caller at a time.
    pub fn apply(&self, catalog: &Arc<Catalog>, now: Time) {
        let before = self.registry.catalog();
        self.registry.set_catalog(Arc::clone(catalog));
        let was_enabled = self.enabled.swap(catalog.enabled(), Ordering::Relaxed);
        self.create_configured(&before, catalog, now);
        let changed = catalog.changed_since(&before);
        for entry in self.registry.entries_of(changed) {
            let service = entry.key.service();
            let (thresholds, revision) = (catalog.thresholds(service), catalog.revision_of(service));
            let Some(mut inner) = entry.lock() else { continue };
            self.sync_wall(&mut inner);
            let deadline = inner.breaker.next_deadline();
            let transitions = inner.breaker.set_thresholds(thresholds, revision, now);
            self.settle(&entry, &mut inner, &transitions);
            // A deadline can move without a change of state.
            if transitions.is_empty() && inner.breaker.next_deadline() != deadline {
                self.sink.moved(&entry.key);
            }
            self.arm(&entry, &mut inner);
        }
        self.retire_unconfigured(&before, catalog, now);
        if was_enabled != catalog.enabled() {
            self.sink.all_changed();
        }
    }

    /// The catalog in force.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.registry.catalog()
    }

    pub(super) fn create_configured(&self, before: &Catalog, catalog: &Catalog, now: Time) {
        for service in catalog.services().filter(|service| !before.contains(service)) {
            let id = self.seals.key_id(service, "");
            // A registry that is full of others has no place for it; it comes at its first use, or says so then.
            let owner = || self.owner(service, Creator::Server);
            let _ = self.registry.with_breaker(id, service, "", owner, now, |_, _| ());
        }
    }

    /// Breakers that were made because their service was configured, and were never used, go with the configuration: a name
    /// that was a typo is not known any more once its settings are unset. One that is busy at this moment stays until the
    /// next sweep, if it was not used.
    fn retire_unconfigured(&self, before: &Catalog, catalog: &Catalog, now: Time) {
        for service in before.services().filter(|service| !catalog.contains(service)) {
            if let Some(Known::Live(entry)) = self.registry.known(self.seals.key_id(service, "")) {
                // Nothing of it is on its way to the store: it never changed its state.
                self.registry.retire(&entry, 0, now);
            }
        }
    }
}
