//! The configuration as a local snapshot has it. Layers and declarations are as in the tables.

use std::collections::BTreeMap;

use breaker::{Attribution, OverrideKind, Time};
use serde::{Deserialize, Serialize};

use crate::catalog::{Changed, StoredDeclaration};
use crate::store::columns::{Reader, micros};
use crate::store::{ServiceOverride, StoreError, StoredConfiguration, layer_json};

#[derive(Serialize, Deserialize)]
pub(super) struct ConfigurationJson {
    declared: Option<DeclaredJson>,
    set: BTreeMap<String, String>,
    overrides: BTreeMap<String, OverrideJson>,
    /// Revision and time.
    changed: BTreeMap<String, (u64, u64)>,
    revision: u64,
    forgotten: u64,
}

#[derive(Serialize, Deserialize)]
struct DeclaredJson {
    generation: Option<u64>,
    content: String,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct OverrideJson {
    kind: String,
    actor: String,
    reason: String,
    set_at_us: u64,
    expires_at_us: Option<u64>,
    ttl_us: Option<i64>,
    revision: u64,
}

impl From<&StoredConfiguration> for ConfigurationJson {
    fn from(stored: &StoredConfiguration) -> Self {
        let StoredConfiguration { declared, set, overrides, changed, revision, forgotten } = stored;
        let set_override = |set: &ServiceOverride| OverrideJson {
            kind: set.kind.as_str().to_owned(),
            actor: set.attribution.actor.clone(),
            reason: set.attribution.reason.clone(),
            set_at_us: set.set_at.as_micros(),
            expires_at_us: set.expires_at.map(Time::as_micros),
            ttl_us: set.ttl.map(micros),
            revision: set.revision,
        };
        Self {
            declared: declared.as_ref().map(|declared| DeclaredJson {
                generation: declared.declaration.generation,
                content: layer_json::to_json(&declared.declaration),
                revision: declared.revision,
            }),
            set: set
                .iter()
                .map(|(service, layer)| (service.clone(), layer_json::layer_to_text(layer)))
                .collect(),
            overrides: overrides.iter().map(|(service, set)| (service.clone(), set_override(set))).collect(),
            changed: changed
                .iter()
                .map(|(service, changed)| (service.clone(), (changed.revision, changed.at.as_micros())))
                .collect(),
            revision: *revision,
            forgotten: *forgotten,
        }
    }
}

impl ConfigurationJson {
    pub(super) fn stored(self) -> Result<StoredConfiguration, StoreError> {
        let reader = Reader { act: "read the configuration", row: "configuration" };
        let declared = self.declared.map(|declared| {
            let declaration = layer_json::from_json(&declared.content, declared.generation);
            let declaration = declaration.map_err(|problem| reader.says(problem))?;
            Ok::<_, StoreError>(StoredDeclaration { declaration, revision: declared.revision })
        });
        let mut set = BTreeMap::new();
        for (service, text) in self.set {
            let layer = layer_json::layer_from_text(&text).map_err(|problem| reader.says(problem))?;
            set.insert(service, layer);
        }
        let mut overrides = BTreeMap::new();
        for (service, json) in self.overrides {
            let set = ServiceOverride {
                kind: reader.word("kind", &json.kind, OverrideKind::parse)?,
                expires_at: json.expires_at_us.map(Time::from_micros),
                ttl: json.ttl_us.map(|ttl| reader.duration("ttl_us", ttl)).transpose()?,
                attribution: Attribution { actor: json.actor, reason: json.reason },
                set_at: Time::from_micros(json.set_at_us),
                revision: json.revision,
            };
            overrides.insert(service, set);
        }
        let changed = self
            .changed
            .into_iter()
            .map(|(service, (revision, at))| (service, Changed { revision, at: Time::from_micros(at) }));
        Ok(StoredConfiguration {
            declared: declared.transpose()?,
            set,
            overrides,
            changed: changed.collect(),
            revision: self.revision,
            forgotten: self.forgotten,
        })
    }
}
