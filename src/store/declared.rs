//! The row that holds what a file declared, and what becomes of the next file.

use sqlx::FromRow;

use super::rows::Reader;
use super::{Declaration, Declared, StoreError, StoredDeclaration, layer_json};

/// The row of `declared`.
#[derive(FromRow)]
pub(super) struct DeclaredRow {
    generation: Option<i64>,
    pub(super) content: String,
    revision: i64,
}

impl DeclaredRow {
    pub(super) fn declaration(&self) -> Result<StoredDeclaration, StoreError> {
        let reader = Reader { act: "read the declared thresholds", row: "declared" };
        let generation = self.generation.map(|n| reader.number("generation", n)).transpose()?;
        Ok(StoredDeclaration {
            declaration: layer_json::from_json(&self.content, generation)
                .map_err(|error| reader.says(error))?,
            revision: reader.number("revision", self.revision)?,
        })
    }
}

/// Whether what is stored stays when `next` is declared; none: `next` takes its place.
///
/// The same content is no change, whatever its generation. A file without a generation takes no part in the
/// order of releases: it replaces what is there, and is replaced by any.
pub(super) fn stays(stored: &StoredDeclaration, next: &Declaration) -> Option<Declared> {
    let revision = stored.revision;
    let present = &stored.declaration;
    let is_same = present.enabled == next.enabled
        && present.defaults == next.defaults
        && present.services == next.services;
    if is_same {
        return Some(Declared::Unchanged { revision });
    }
    match (present.generation, next.generation) {
        (Some(generation), Some(older)) if older < generation => {
            Some(Declared::Older { generation, revision })
        }
        _ => None,
    }
}
