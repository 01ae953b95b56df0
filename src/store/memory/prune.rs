//! What is let go of, in the steps of the other stores.

use std::sync::Arc;

use breaker::{Key, State as BreakerStateKind, Time};

use super::state::State;
use crate::store::shared_store::PROBES_KEPT;
use crate::store::timeline_store::NONCES_KEPT;
use crate::store::transition_store::PRUNED_ROWS_MAX;
use crate::store::{Pruned, Retention};

impl State {
    /// See [`crate::store::TransitionStore::prune`].
    pub(super) fn prune(&mut self, retention: Retention, now: Time) -> Pruned {
        let Retention { before, requests_before } = retention;
        let transitions = self.prune_history(before);
        let audited = self.audit.len();
        self.audit.retain(|row| row.recorded_at >= before);
        self.requests.retain(|_, request| request.recorded_at >= requests_before);
        self.receipts.retain(|_, receipt| receipt.recorded_at >= before);
        let newest = self.nonces.last_key_value().map_or(0, |(revision, _)| *revision);
        let kept_after = newest.saturating_sub(NONCES_KEPT.into());
        self.nonces.retain(|revision, nonce| nonce.recorded_at >= before || *revision > kept_after);
        self.forget_services(before);
        self.prune_probes(now);
        Pruned { transitions, changes: (audited - self.audit.len()) as u64 }
    }

    /// A revision goes as a whole, and one that is not old stays, even before one of a clock that was behind.
    fn prune_history(&mut self, before: Time) -> u64 {
        let oldest = self.history.iter().take(PRUNED_ROWS_MAX as usize);
        let old = oldest.filter(|row| row.recorded_at < before).map(|row| row.cursor.revision);
        let Some(newest) = old.max() else { return 0 };
        let rows = self.history.len();
        self.history.retain(|row| row.cursor.revision > newest || row.recorded_at >= before);
        self.history_floor = self.history_floor.max(newest);
        (rows - self.history.len()) as u64
    }

    /// Forgets when services lost their configuration that have had none for so long.
    fn forget_services(&mut self, before: Time) {
        let configuration = &*self.configuration;
        let declares = |service: &str| {
            let declared = configuration.declared.as_ref();
            declared.is_some_and(|stored| stored.declaration.services.contains_key(service))
        };
        let old = configuration.changed.iter().filter(|(service, changed)| {
            !service.is_empty()
                && changed.at < before
                && !configuration.set.contains_key(*service)
                && !configuration.overrides.contains_key(*service)
                && !declares(service)
        });
        let old: Vec<_> = old.map(|(service, changed)| (service.clone(), changed.revision)).collect();
        let Some(newest) = old.iter().map(|(_, revision)| *revision).max() else { return };
        let configuration = Arc::make_mut(&mut self.configuration);
        configuration.forgotten = configuration.forgotten.max(newest);
        for (service, _) in &old {
            configuration.changed.remove(service);
        }
    }

    /// The slots of epochs that are over.
    fn prune_probes(&mut self, now: Time) {
        let breakers = &self.breakers;
        let is_present = |key: &Key, epoch: u64| {
            breakers.get(key).is_some_and(|entry| entry.state.snapshot.epoch == epoch)
        };
        self.probes.retain(|(key, epoch), entry| {
            is_present(key, *epoch) || now.since(entry.written_at) <= PROBES_KEPT
        });
    }

    /// See [`crate::store::TransitionStore::delete_breakers`].
    pub(super) fn delete_breakers(&mut self, breakers: &[(Key, u64)], now: Time) -> Vec<Key> {
        let mut deleted = Vec::new();
        for (key, epoch) in breakers {
            let is_as_named = self.breakers.get(key).is_some_and(|entry| {
                let snapshot = &entry.state.snapshot;
                let is_as_named = snapshot.state == BreakerStateKind::Closed && snapshot.epoch == *epoch;
                is_as_named && !self.is_in_use(entry, now)
            });
            if is_as_named {
                self.breakers.remove(key);
                self.let_go_epoch = self.let_go_epoch.max(*epoch);
                let probed = (key.clone(), 0)..=(key.clone(), u64::MAX);
                let epochs: Vec<_> = self.probes.range(probed).map(|(epoch, _)| epoch.clone()).collect();
                for epoch in epochs {
                    self.probes.remove(&epoch);
                }
                deleted.push(key.clone());
            }
        }
        deleted
    }
}
