//! The configuration: the thresholds and overrides of all services, at one moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::Hasher as _;
use std::ops::Bound;
use std::sync::Arc;

use breaker::{Field, Layer, Origin, Thresholds};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::catalog::{Catalog, ServiceProblem, Warning, warnings};
use crate::catalog::{Changed, Declaration};
use crate::engine::NotedOverride;
use crate::store::{ServiceOverride, StoredConfiguration};

/// Services without a configuration of which it is known when they lost it, about: the store forgets them by age, and
/// names may come and go by the thousand a day.
const GONE_MAX: usize = 10_000;

/// The stored configuration, and the effective thresholds. Immutable: a change makes another one.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    stored: StoredConfiguration,
    catalog: Arc<Catalog>,
    /// The services by the revision that last changed them.
    by_revision: BTreeMap<u64, Vec<Arc<str>>>,
}

/// The configuration of one service.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The service; empty: the defaults.
    pub service: String,
    /// Its effective thresholds.
    pub thresholds: Arc<Thresholds>,
    /// For each effective field that a layer set: the layer.
    pub origins: BTreeMap<Field, Origin>,
    /// What was set over the API.
    pub set: Layer,
    /// The override of the service. One whose end has passed may still be here for a moment.
    pub set_override: Option<ServiceOverride>,
    /// False: every breaker lets every call pass.
    pub enabled: bool,
    /// When it was last changed; none: never.
    pub changed: Option<Changed>,
    /// Whether it is of this service's own, and not what applies to every service.
    pub is_own: bool,
}

impl Configuration {
    /// Merges the layers that the store has.
    ///
    /// # Errors
    /// Every contradiction.
    pub fn new(stored: StoredConfiguration) -> Result<Self, Vec<ServiceProblem>> {
        let catalog = Catalog::new(&declaration(&stored), stored.revision, &stored.set)?;
        Ok(Self::with(stored, catalog))
    }

    /// With layers that merge to `catalog`.
    pub(super) fn with(mut stored: StoredConfiguration, catalog: Catalog) -> Self {
        forget(&mut stored, &catalog);
        let mut by_revision: BTreeMap<u64, Vec<Arc<str>>> = BTreeMap::new();
        for (service, changed) in &stored.changed {
            by_revision.entry(changed.revision).or_default().push(service.as_str().into());
        }
        let catalog = Arc::new(catalog.at_revision(stored.revision, stored.changed.clone()));
        Self { stored, catalog, by_revision }
    }

    /// The newest revision that changed it.
    pub fn revision(&self) -> u64 {
        self.stored.revision
    }

    /// Services whose configuration went up to this revision may be missing in [`Configuration::changed_after`].
    pub fn forgotten(&self) -> u64 {
        self.stored.forgotten
    }

    /// The thresholds of every service.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The overrides of services.
    pub fn overrides(&self) -> &BTreeMap<String, ServiceOverride> {
        &self.stored.overrides
    }

    /// Whether the override of `service` is this one; none: whether it has none.
    pub fn has_override(&self, service: &str, set: Option<&ServiceOverride>) -> bool {
        match (self.stored.overrides.get(service), set) {
            (Some(stands), Some(set)) => stands.is_same_as(set),
            (stands, set) => stands.is_none() && set.is_none(),
        }
    }

    /// The overrides of services, as the engine takes them.
    pub fn engine_overrides(&self) -> Vec<(String, NotedOverride)> {
        let noted =
            |set: &ServiceOverride| NotedOverride { set_by: set.as_override(), revision: set.revision };
        self.stored.overrides.iter().map(|(service, set)| (service.clone(), noted(set))).collect()
    }

    /// The services that have a configuration of their own, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self
            .catalog
            .services()
            .map(|name| &**name)
            .chain(self.stored.overrides.keys().map(|name| &**name))
            .collect();
        names.into_iter()
    }

    /// Of those the next `most` after `service` that `wanted` selects.
    pub fn services_after(
        &self,
        service: &str,
        most: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = &str> {
        let wanted = |name: &&str| wanted(name);
        let layered = self.catalog.services_after(service).map(|name| &**name).filter(wanted).take(most);
        let behind = (Bound::Excluded(service), Bound::Unbounded);
        let overridden = self.stored.overrides.range::<str, _>(behind).map(|(name, _)| &**name);
        let names: BTreeSet<&str> = layered.chain(overridden.filter(wanted).take(most)).collect();
        names.into_iter().take(most)
    }

    /// The services whose configuration was changed after `revision`, of those too that have none any more, in the
    /// order of their newest revisions.
    pub fn changed_after(&self, revision: u64) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.by_revision
            .range((Bound::Excluded(revision), Bound::Unbounded))
            .flat_map(|(revision, services)| services.iter().map(|service| (service, *revision)))
    }

    /// The configuration of `service`; with an empty name the defaults.
    pub fn service(&self, service: &str) -> ServiceConfig {
        let set_override = self.stored.overrides.get(service).cloned();
        ServiceConfig {
            service: service.to_owned(),
            thresholds: self.catalog.thresholds(service),
            origins: self.catalog.origins(service).clone(),
            set: self.stored.set.get(service).cloned().unwrap_or_default(),
            enabled: self.catalog.enabled(),
            changed: self.stored.changed.get(service).copied(),
            is_own: service.is_empty() || self.catalog.contains(service) || set_override.is_some(),
            set_override,
        }
    }

    /// As the store has it.
    pub fn stored(&self) -> &StoredConfiguration {
        &self.stored
    }

    pub(super) fn into_parts(self) -> (StoredConfiguration, Catalog) {
        (self.stored, Arc::unwrap_or_clone(self.catalog))
    }
}

/// Forgets when the first of many services lost their configuration: a watch from before that resyncs.
fn forget(stored: &mut StoredConfiguration, catalog: &Catalog) {
    let StoredConfiguration { changed, overrides, forgotten, .. } = stored;
    // At least so many of them have none.
    let gone = changed.len().saturating_sub(1 + catalog.services().len() + overrides.len());
    if gone <= GONE_MAX {
        return;
    }
    let is_gone =
        |service: &str| !service.is_empty() && !catalog.contains(service) && !overrides.contains_key(service);
    let mut revisions: Vec<u64> =
        changed.iter().filter(|(service, _)| is_gone(service)).map(|(_, changed)| changed.revision).collect();
    // Half of them, so that this is not done at each change.
    let middle = revisions.len() / 2;
    let (_, newest, _) = revisions.select_nth_unstable(middle);
    let newest = *newest;
    changed.retain(|service, changed| changed.revision > newest || !is_gone(service));
    *forgotten = newest.max(*forgotten);
}

/// What the file declares; nothing, if there never was one.
pub(super) fn declaration(stored: &StoredConfiguration) -> Cow<'_, Declaration> {
    match &stored.declared {
        Some(declared) => Cow::Borrowed(&declared.declaration),
        None => Cow::Owned(Declaration::default()),
    }
}

impl ServiceConfig {
    /// Whether the content is the same, whenever it was changed.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        *self.thresholds == *other.thresholds
            && self.origins == other.origins
            && self.set == other.set
            && self.set_override == other.set_override
            && (self.enabled, self.is_own) == (other.enabled, other.is_own)
    }

    /// What is odd about its thresholds.
    pub fn warnings(&self) -> Vec<Warning> {
        warnings(&self.thresholds, &self.origins)
    }

    /// Names this content, and no other: a hash of all that is shown of it but when it was changed.
    pub fn etag(&self) -> String {
        let mut text = format!("{}\0{}\0{}", self.service, self.enabled, self.is_own);
        for field in Field::ALL {
            let value = self.thresholds.value(*field);
            // Writing to a String cannot fail.
            let _ = write!(text, "\0{value:?}{:?}{:?}", self.origins.get(field), self.set.get(*field));
        }
        let _ = write!(text, "\0{:?}", self.set_override);
        let mut hasher = SipHasher24::new_with_key(b"breakerd etag v1");
        hasher.write(text.as_bytes());
        format!("{:032x}", hasher.finish128().as_u128())
    }
}
