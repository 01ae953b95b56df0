//! The plan of a change: its result, before it is made, and how it is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Attribution, Key, Snapshot};

use super::configuration::{Configuration, declaration};
use super::relaxed::log_relaxed;
use crate::catalog::{Catalog, ServiceProblem};
use crate::catalog::{Changed, StoredDeclaration};
use crate::engine::Seals;
use crate::store::{ConfigEdit, ConfigStore, ConfigWrite, ConfigWritten, RequestId, StoreError};

/// A change that may be made.
pub(super) struct Planned {
    before: Arc<Configuration>,
    /// What is effective then; under the revision of before until it is [`Planned::written`].
    pub(super) after: Configuration,
    /// The services whose configuration is another by it; under the empty name the defaults.
    touched: BTreeSet<String>,
    edit: ConfigEdit,
}

/// What `edit` makes of `present`.
///
/// # Errors
/// Every contradiction of the merged layers.
pub(super) fn plan(present: &Arc<Configuration>, edit: ConfigEdit) -> Result<Planned, Vec<ServiceProblem>> {
    let mut stored = present.stored().clone();
    match &edit {
        ConfigEdit::FileApplied(declaration) => {
            let revision = stored.revision;
            stored.declared = Some(StoredDeclaration { declaration: declaration.clone(), revision });
        }
        ConfigEdit::Generation(generation) => {
            if let Some(declared) = &mut stored.declared {
                declared.declaration.generation = Some(*generation);
            }
        }
        ConfigEdit::Thresholds { service, layer } if layer.is_empty() => drop(stored.set.remove(service)),
        ConfigEdit::Thresholds { service, layer } => {
            stored.set.insert(service.clone(), layer.clone());
        }
        ConfigEdit::Override { service, set: None, .. } => drop(stored.overrides.remove(service)),
        ConfigEdit::Override { service, set: Some(set), .. } => {
            stored.overrides.insert(service.clone(), set.clone());
        }
    }
    let catalog = match &edit {
        ConfigEdit::FileApplied(declaration) => Catalog::new(declaration, stored.revision, &stored.set)?,
        // Ten thousand others need not be merged again.
        ConfigEdit::Thresholds { service, layer } => {
            present.catalog().with_service(&declaration(&stored), service, layer)?
        }
        ConfigEdit::Generation(_) | ConfigEdit::Override { .. } => Catalog::clone(present.catalog()),
    };
    let after = Configuration::with(stored, catalog);
    let names: BTreeSet<&str> = match &edit {
        ConfigEdit::FileApplied(_) => present.services().chain(after.services()).chain([""]).collect(),
        ConfigEdit::Generation(_) => BTreeSet::new(),
        ConfigEdit::Thresholds { service, .. } | ConfigEdit::Override { service, .. } => [&**service].into(),
    };
    let touched = names
        .into_iter()
        .filter(|service| !present.service(service).is_same_as(&after.service(service)))
        .map(str::to_owned)
        .collect();
    Ok(Planned { before: Arc::clone(present), after, touched, edit })
}

impl Planned {
    /// Writes it, if the store still has what it was planned on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn write(
        &self,
        store: &dyn ConfigStore,
        seals: &Seals,
        attribution: &Attribution,
        request: Option<&RequestId>,
    ) -> Result<ConfigWritten, StoreError> {
        let waits = waits(&self.before, &self.after, seals);
        let write = ConfigWrite {
            based_on: self.before.revision(),
            edit: self.edit.clone(),
            touched: self.touched.clone(),
            attribution: attribution.clone(),
            request: request.cloned(),
            waits: &waits,
        };
        store.write_config(&write).await
    }

    /// As it is once the store has it.
    pub(super) fn written(self, changed: Changed) -> Configuration {
        let Self { after, touched, edit, before } = self;
        if matches!(edit, ConfigEdit::FileApplied(_)) {
            log_relaxed(&before, &after, &touched);
        }
        let (mut stored, catalog) = after.into_parts();
        stored.revision = changed.revision;
        for service in touched {
            stored.changed.insert(service, changed);
        }
        match edit {
            ConfigEdit::FileApplied(_) => {
                if let Some(declared) = &mut stored.declared {
                    declared.revision = changed.revision;
                }
            }
            ConfigEdit::Override { service, .. } => {
                if let Some(set) = stored.overrides.remove(&service) {
                    stored.overrides.insert(service, set.written(changed));
                }
            }
            ConfigEdit::Generation(_) | ConfigEdit::Thresholds { .. } => {}
        }
        Configuration::with(stored, catalog)
    }
}

/// What the wait of an OPEN breaker is after the change; none: as it was.
fn waits<'a>(
    before: &'a Configuration,
    after: &'a Configuration,
    seals: &'a Seals,
) -> impl Fn(&Key, &Snapshot) -> Option<Duration> + Send + Sync + 'a {
    move |key, snapshot| {
        let thresholds = after.catalog().thresholds(key.service());
        if *before.catalog().thresholds(key.service()) == *thresholds {
            return None;
        }
        let key_hash = seals.key_id(key.service(), key.name()).hash();
        snapshot.wait_under(&thresholds, key_hash).filter(|wait| snapshot.wait != Some(*wait))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use breaker::{Attribution, Field, Layer, OverrideKind, Time, Value};

    use super::*;
    use crate::catalog::Declaration;
    use crate::store::{ServiceOverride, StoredConfiguration};

    fn layer(field: Field, value: u32) -> Layer {
        Layer::default().with(field, Value::Count(value)).unwrap()
    }

    fn present() -> Arc<Configuration> {
        let services = BTreeMap::from([
            ("a".to_owned(), layer(Field::FailureThreshold, 3)),
            ("b".to_owned(), layer(Field::SuccessThreshold, 4)),
        ]);
        let declaration = Declaration { services, ..Declaration::default() };
        let stored = StoredConfiguration {
            declared: Some(StoredDeclaration { declaration, revision: 7 }),
            revision: 7,
            ..StoredConfiguration::default()
        };
        Arc::new(Configuration::new(stored).unwrap())
    }

    fn touched(edit: ConfigEdit) -> Vec<String> {
        plan(&present(), edit).unwrap().touched.into_iter().collect()
    }

    #[test]
    fn a_change_touches_the_services_that_it_changes_and_no_other() {
        let thresholds = |service: &str, layer| ConfigEdit::Thresholds { service: service.to_owned(), layer };
        assert_eq!(touched(thresholds("a", layer(Field::FailureThreshold, 9))), ["a"]);
        assert_eq!(touched(thresholds("new", layer(Field::FailureThreshold, 9))), ["new"]);
        // The same value from a nearer layer is another configuration: it comes from elsewhere.
        assert_eq!(touched(thresholds("a", layer(Field::FailureThreshold, 3))), ["a"]);
        assert_eq!(touched(thresholds("a", Layer::default())), Vec::<String>::new());
        let mut declaration = present().stored().declared.clone().unwrap().declaration;
        declaration.services.remove("b");
        assert_eq!(touched(ConfigEdit::FileApplied(declaration.clone())), ["b"]);
        declaration.defaults = layer(Field::FailureThreshold, 8);
        assert_eq!(touched(ConfigEdit::FileApplied(declaration.clone())), ["", "b"], "a has its own");
        declaration.enabled = false;
        assert_eq!(touched(ConfigEdit::FileApplied(declaration)), ["", "a", "b"]);
        let set = ServiceOverride {
            kind: OverrideKind::Disabled,
            expires_at: None,
            ttl: None,
            attribution: Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() },
            set_at: Time::ZERO,
            revision: 0,
        };
        assert_eq!(
            touched(ConfigEdit::Override { service: "b".to_owned(), set: Some(set), not_before: None }),
            ["b"]
        );
    }

    #[test]
    fn what_is_written_carries_its_revision() {
        let edit =
            ConfigEdit::Thresholds { service: "a".to_owned(), layer: layer(Field::FailureThreshold, 9) };
        let changed = Changed { revision: 9, at: Time::from_micros(5) };
        let after = plan(&present(), edit).unwrap().written(changed);
        assert_eq!((after.revision(), after.catalog().revision()), (9, 9));
        assert_eq!(after.service("a").changed, Some(changed));
        assert_eq!(after.service("b").changed, None);
        assert_eq!(after.changed_after(7).map(|(service, _)| service.to_string()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(after.changed_after(9).count(), 0);
    }

    #[test]
    fn of_services_that_came_and_went_so_many_are_remembered() {
        let stored = present().stored().clone();
        let mut changed: BTreeMap<_, _> = (1..=30_000_u32)
            .map(|number| {
                let changed = Changed { revision: u64::from(number), at: Time::ZERO };
                (format!("gone-{number:05}"), changed)
            })
            .collect();
        // One that has a configuration, and the defaults.
        changed.insert("b".to_owned(), Changed { revision: 1, at: Time::ZERO });
        changed.insert(String::new(), Changed { revision: 1, at: Time::ZERO });
        let stored = StoredConfiguration { changed, revision: 30_000, ..stored };
        let after = Configuration::new(stored).unwrap();
        assert_eq!(after.stored().changed.len(), 2 + 14_999);
        assert_eq!((after.forgotten(), after.service("b").changed.unwrap().revision), (15_001, 1));
        assert_eq!(after.changed_after(15_001).count(), 14_999, "whoever follows from there misses nothing");
        let again = Configuration::with(after.stored().clone(), Catalog::clone(after.catalog()));
        assert_eq!(again.forgotten(), 22_501);
    }

    #[test]
    fn services_come_in_order_a_few_at_a_time_whatever_they_have() {
        let stored = present().stored().clone();
        let set = ServiceOverride {
            kind: OverrideKind::Disabled,
            expires_at: None,
            ttl: None,
            attribution: Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() },
            set_at: Time::ZERO,
            revision: 0,
        };
        let overrides = ["a", "aa", "c"].map(|service| (service.to_owned(), set.clone())).into();
        let present = Configuration::new(StoredConfiguration { overrides, ..stored }).unwrap();
        assert_eq!(present.services().collect::<Vec<_>>(), ["a", "aa", "b", "c"]);
        let behind =
            |service, most| present.services_after(service, most, |name| name != "aa").collect::<Vec<_>>();
        assert_eq!(behind("", 2), ["a", "b"]);
        assert_eq!(behind("b", 2), ["c"]);
        assert!(behind("c", 2).is_empty());
    }

    #[test]
    fn a_contradiction_is_refused_with_its_layers() {
        let edit = ConfigEdit::Thresholds { service: "b".to_owned(), layer: layer(Field::PermittedCalls, 2) };
        let Err(problems) = plan(&present(), edit) else { panic!("4 successes out of 2 calls") };
        assert_eq!(problems[0].service.as_deref(), Some("b"));
        assert_eq!(problems[0].problem.field, Field::SuccessThreshold);
    }
}
