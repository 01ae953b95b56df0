//! The effective thresholds of every service, resolved once and then only read.
//!
//! What the file declares and what was set through the API are layers. A [`Catalog`] is the result: merged,
//! checked whole, under the revision that made it. A change of a layer makes a new catalog first; when that is
//! refused, nothing has changed. A service without settings of its own shares the defaults' thresholds, so
//! that a million breakers of such services cost one copy.
//!
//! A service's thresholds are of the revision that last changed its configuration: what changes others passes it by.

mod declaration;
mod warnings;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use breaker::{Field, Layer, Origin, Problem, Thresholds, merge};

pub use self::declaration::{Changed, Declaration, DeclarationDiff, StoredDeclaration};
pub(crate) use self::warnings::warnings;
pub use self::warnings::{ServiceWarning, Warning};

/// The thresholds of every service, under one revision.
#[derive(Debug, Clone)]
pub struct Catalog {
    revision: u64,
    enabled: bool,
    defaults: Entry,
    services: BTreeMap<Arc<str>, Entry>,
    /// When the defaults (under the empty name) and each service were last changed: of services too that have no layer
    /// any more.
    changed: Arc<BTreeMap<String, Changed>>,
    /// The revision of the services that are not in it.
    others_changed: u64,
}

/// The thresholds of a service, and their sources.
#[derive(Debug, Clone)]
struct Entry {
    thresholds: Arc<Thresholds>,
    origins: Arc<BTreeMap<Field, Origin>>,
}

impl Entry {
    /// Of a service, from what the file declares and what was set.
    fn of(
        declaration: &Declaration,
        defaults: Option<&Self>,
        service: &str,
        set: &Layer,
    ) -> Result<Self, Vec<Problem>> {
        let nothing = Layer::default();
        let declared = declaration.services.get(service).unwrap_or(&nothing);
        match defaults {
            Some(defaults) if declared.is_empty() && set.is_empty() => Ok(defaults.clone()),
            _ => resolve(&[
                (Origin::FileDefaults, &declaration.defaults),
                (Origin::FileService, declared),
                (Origin::Api, set),
            ]),
        }
    }
}

impl Catalog {
    /// Merges built-in < `declaration.defaults` < `declaration.services` < `api` for every service that has a
    /// layer, and for all the others.
    ///
    /// # Errors
    /// Every contradiction, once: one of the defaults is not repeated for each service.
    pub fn new(
        declaration: &Declaration,
        revision: u64,
        api: &BTreeMap<String, Layer>,
    ) -> Result<Self, Vec<ServiceProblem>> {
        let mut problems = Vec::new();
        let defaults = match resolve(&[(Origin::FileDefaults, &declaration.defaults)]) {
            Ok(entry) => Some(entry),
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| ServiceProblem { service: None, problem }));
                None
            }
        };
        let of_defaults = problems.len();

        let nothing = Layer::default();
        let names: BTreeSet<&str> =
            declaration.services.keys().chain(api.keys()).map(String::as_str).collect();
        let mut services = BTreeMap::new();
        for name in names {
            let set = api.get(name).unwrap_or(&nothing);
            let entry = Entry::of(declaration, defaults.as_ref(), name, set);
            match entry {
                Ok(entry) => {
                    services.insert(Arc::from(name), entry);
                }
                Err(found) => {
                    let known = |problem: &Problem| {
                        problems[..of_defaults].iter().any(|earlier| earlier.problem == *problem)
                    };
                    let new: Vec<_> = found.into_iter().filter(|problem| !known(problem)).collect();
                    problems.extend(
                        new.into_iter()
                            .map(|problem| ServiceProblem { service: Some(name.to_owned()), problem }),
                    );
                }
            }
        }
        match defaults {
            Some(defaults) if problems.is_empty() => Ok(Self {
                revision,
                enabled: declaration.enabled,
                defaults,
                services,
                changed: Arc::default(),
                others_changed: revision,
            }),
            _ => Err(problems),
        }
    }

    /// With another layer set for one service, as [`Catalog::new`] would make it; `declaration` is what this one was
    /// made with.
    ///
    /// # Errors
    /// Every contradiction.
    pub fn with_service(
        &self,
        declaration: &Declaration,
        service: &str,
        set: &Layer,
    ) -> Result<Self, Vec<ServiceProblem>> {
        let mut after = self.clone();
        if set.is_empty() && !declaration.services.contains_key(service) {
            after.services.remove(service);
            return Ok(after);
        }
        let entry = Entry::of(declaration, Some(&self.defaults), service, set).map_err(|found| {
            let of_service = |problem| ServiceProblem { service: Some(service.to_owned()), problem };
            found.into_iter().map(of_service).collect::<Vec<_>>()
        })?;
        after.services.insert(Arc::from(service), entry);
        Ok(after)
    }

    /// The thresholds of `service`. The defaults when it has no settings of its own.
    pub fn thresholds(&self, service: &str) -> Arc<Thresholds> {
        Arc::clone(&self.entry(service).thresholds)
    }

    /// For each effective field of `service` that a layer set: the layer. What is missing is built in.
    pub fn origins(&self, service: &str) -> &BTreeMap<Field, Origin> {
        &self.entry(service).origins
    }

    /// The thresholds of a service without settings of its own.
    pub fn defaults(&self) -> Arc<Thresholds> {
        Arc::clone(&self.defaults.thresholds)
    }

    /// As [`Catalog::origins`], for a service without settings of its own.
    pub fn default_origins(&self) -> &BTreeMap<Field, Origin> {
        &self.defaults.origins
    }

    /// The services that have a layer of their own, by name, an empty one included.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.services.keys()
    }

    /// Those of them after `service`.
    pub fn services_after(&self, service: &str) -> impl Iterator<Item = &Arc<str>> {
        self.services.range::<str, _>((Bound::Excluded(service), Bound::Unbounded)).map(|(name, _)| name)
    }

    /// Whether `service` has a layer of its own.
    pub fn contains(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// The revision that made it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same thresholds under another revision, with when each service was last changed (under the empty name: the
    /// defaults).
    #[must_use]
    pub fn at_revision(self, revision: u64, changed: BTreeMap<String, Changed>) -> Self {
        Self { revision, changed: Arc::new(changed), others_changed: 0, ..self }
    }

    /// The revision that last changed the thresholds of `service`; 0: none ever did, as far as is known.
    pub fn revision_of(&self, service: &str) -> u64 {
        let changed =
            |service| self.changed.get(service).map_or(self.others_changed, |changed| changed.revision);
        if self.contains(service) { changed(service) } else { changed(service).max(changed("")) }
    }

    /// A predicate for services: whether their thresholds, or the revision of these, differ from `before`.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Fn(&str) -> bool + 'a {
        let mut changed =
            differing(&self.changed, &before.changed, |now, then| now.revision == then.revision);
        changed.append(&mut differing(&self.services, &before.services, |now, then| {
            Arc::ptr_eq(&now.thresholds, &then.thresholds) || *now.thresholds == *then.thresholds
        }));
        let all = self.others_changed != before.others_changed;
        // No service has an empty name: it stands for all unknown ones, which have the defaults.
        let others = self.revision_of("") != before.revision_of("")
            || *self.defaults.thresholds != *before.defaults.thresholds;
        move |service| all || changed.contains(service) || (others && !self.contains(service))
    }

    /// False: every breaker lets every call pass.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    fn entry(&self, service: &str) -> &Entry {
        self.services.get(service).unwrap_or(&self.defaults)
    }
}

impl Default for Catalog {
    /// What applies when nothing was declared and nothing set: the built-in thresholds, enabled, revision 0.
    fn default() -> Self {
        let defaults = Entry { thresholds: Arc::new(Thresholds::default()), origins: Arc::default() };
        Self {
            revision: 0,
            enabled: true,
            defaults,
            services: BTreeMap::new(),
            changed: Arc::default(),
            others_changed: 0,
        }
    }
}

/// The keys that only one of the two has, or under which they have what is not the same.
fn differing<'a, K: Ord + Borrow<str>, V>(
    now: &'a BTreeMap<K, V>,
    then: &'a BTreeMap<K, V>,
    is_same: impl Fn(&V, &V) -> bool,
) -> BTreeSet<&'a str> {
    let mut differing = BTreeSet::new();
    // Both in one pass: there may be ten thousand, and mostly they are the same.
    let (mut now, mut then) = (now.iter().peekable(), then.iter().peekable());
    loop {
        let order = match (now.peek(), then.peek()) {
            (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return differing,
        };
        let ours = if order.is_le() { now.next() } else { None };
        let theirs = if order.is_ge() { then.next() } else { None };
        match (ours, theirs) {
            (Some((_, ours)), Some((_, theirs))) if is_same(ours, theirs) => {}
            (Some((key, _)), _) | (None, Some((key, _))) => drop(differing.insert(key.borrow())),
            (None, None) => {}
        }
    }
}

fn resolve(layers: &[(Origin, &Layer)]) -> Result<Entry, Vec<Problem>> {
    let merged = merge(layers)?;
    Ok(Entry { thresholds: Arc::new(merged.thresholds), origins: Arc::new(merged.origins) })
}

/// A contradiction in the thresholds of a service, or in the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceProblem {
    /// The service; none: the defaults.
    pub service: Option<String>,
    /// The contradiction.
    pub problem: Problem,
}

impl fmt::Display for ServiceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{service}: {}", self.problem),
            None => write!(f, "defaults: {}", self.problem),
        }
    }
}

impl std::error::Error for ServiceProblem {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use breaker::Value;

    use super::*;

    fn layer(values: &[(Field, Value)]) -> Layer {
        let mut layer = Layer::default();
        for (field, value) in values {
            layer.set(*field, value.clone()).unwrap();
        }
        layer
    }

    fn declaration(defaults: &[(Field, Value)], services: &[(&str, &[(Field, Value)])]) -> Declaration {
        Declaration {
            generation: None,
            enabled: true,
            defaults: layer(defaults),
            services: services.iter().map(|(name, values)| ((*name).to_owned(), layer(values))).collect(),
        }
    }

    #[test]
    fn the_nearest_layer_wins_and_is_named() {
        let declared = declaration(
            &[(Field::FailureThreshold, Value::Count(7)), (Field::SuccessThreshold, Value::Count(3))],
            &[("sentinel", &[(Field::FailureThreshold, Value::Count(3))])],
        );
        let api = BTreeMap::from([
            ("sentinel".to_owned(), layer(&[(Field::Timeout, Value::Duration(Duration::from_secs(9)))])),
            ("search".to_owned(), layer(&[(Field::FailureThreshold, Value::Count(1))])),
        ]);
        let catalog = Catalog::new(&declared, 42, &api).unwrap();
        let sentinel = catalog.thresholds("sentinel");
        assert_eq!((sentinel.failure_threshold(), sentinel.success_threshold()), (3, 3));
        assert_eq!(sentinel.wait(), Duration::from_secs(9));
        assert_eq!(
            catalog.origins("sentinel"),
            &BTreeMap::from([
                (Field::FailureThreshold, Origin::FileService),
                (Field::SuccessThreshold, Origin::FileDefaults),
                (Field::Timeout, Origin::Api),
            ])
        );
        assert_eq!(catalog.thresholds("search").failure_threshold(), 1);
        assert_eq!(catalog.thresholds("anything").failure_threshold(), 7);
        assert_eq!(catalog.services().map(AsRef::as_ref).collect::<Vec<&str>>(), ["search", "sentinel"]);
        assert_eq!((catalog.revision(), catalog.enabled()), (42, true));
    }

    #[test]
    fn one_service_set_is_as_all_merged_anew() {
        let count = |field, value| layer(&[(field, Value::Count(value))]);
        let declared = declaration(
            &[(Field::PermittedCalls, Value::Count(4))],
            &[("declared", &[(Field::SuccessThreshold, Value::Count(3))]), ("empty", &[])],
        );
        let before = BTreeMap::from([("set".to_owned(), count(Field::FailureThreshold, 7))]);
        let catalog = Catalog::new(&declared, 1, &before).unwrap();
        for service in ["declared", "empty", "set", "new"] {
            for layer in [
                Layer::default(),
                count(Field::FailureThreshold, 9),
                count(Field::PermittedCalls, 2),
                count(Field::SuccessThreshold, 5),
            ] {
                let mut set = before.clone();
                set.remove(service);
                if !layer.is_empty() {
                    set.insert(service.to_owned(), layer.clone());
                }
                let anew = Catalog::new(&declared, 1, &set);
                let one = catalog.with_service(&declared, service, &layer);
                assert_eq!(format!("{one:?}"), format!("{anew:?}"), "{service} {layer:?}");
            }
        }
    }

    #[test]
    fn a_service_is_of_the_revision_that_last_changed_it() {
        let changed = |revisions: &[(&str, u64)]| {
            let changed = |revision| Changed { revision, at: breaker::Time::ZERO };
            revisions.iter().map(|(service, revision)| ((*service).to_owned(), changed(*revision))).collect()
        };
        let declared = declaration(&[], &[("a", &[(Field::FailureThreshold, Value::Count(3))])]);
        let catalog = Catalog::new(&declared, 1, &BTreeMap::new()).unwrap();
        let before = catalog.clone().at_revision(6, changed(&[("", 2), ("a", 1), ("gone", 6)]));
        let revisions = ["", "a", "gone", "nobody"].map(|service| before.revision_of(service));
        assert_eq!(revisions, [2, 1, 6, 2]);

        let after = before.clone().at_revision(7, changed(&[("", 2), ("a", 7), ("gone", 6)]));
        let is_changed = after.changed_since(&before);
        assert_eq!(["a", "gone", "nobody"].map(&is_changed), [true, false, false]);
        let after = before.clone().at_revision(8, changed(&[("", 8), ("a", 1), ("gone", 6)]));
        let is_changed = after.changed_since(&before);
        assert_eq!(["a", "gone", "nobody"].map(&is_changed), [false, true, true], "a has its own");
        assert_eq!(after.revision_of("gone"), 8);
    }

    #[test]
    fn services_without_settings_share_one_copy() {
        let catalog = Catalog::new(&declaration(&[], &[("empty", &[])]), 0, &BTreeMap::new()).unwrap();
        assert!(catalog.contains("empty"));
        assert!(Arc::ptr_eq(&catalog.thresholds("empty"), &catalog.thresholds("unknown")));
        assert!(Arc::ptr_eq(&catalog.defaults(), &catalog.thresholds("unknown")));
    }

    #[test]
    fn a_contradiction_of_the_defaults_is_reported_once() {
        let declared = declaration(
            &[(Field::SlowCallRateThreshold, Value::Rate(10_000)), (Field::PermittedCalls, Value::Count(3))],
            &[
                ("a", &[(Field::FailureThreshold, Value::Count(1))]),
                ("b", &[(Field::SuccessThreshold, Value::Count(9))]),
                ("c", &[]),
            ],
        );
        let problems = Catalog::new(&declared, 0, &BTreeMap::new()).unwrap_err();
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "defaults: slow_call_rate_threshold: must be set together with slow_call_duration_threshold \
                 (set by: file defaults)",
                "b: success_threshold: invalid value 9: must be at most permitted_number_of_calls_in_half_open_state \
                 (3) \
                 (set by: file, service; file defaults)",
            ]
        );
    }
}
