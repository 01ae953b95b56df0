//! What a file declares, as it is kept, and what becomes of the next file.

use sqlx::FromRow;

use super::rows::Reader;
use super::{Declaration, StoreError, StoredDeclaration, layer_json};

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

/// What becomes of another declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// It takes the place of what is declared.
    Differs,
    /// It says what is declared already.
    Unchanged,
    /// It says what is declared already, in a later release.
    NewerGeneration,
    /// It is of an older release than what is declared, which stays.
    Older {
        /// The generation that stays.
        generation: u64,
    },
}

impl StoredDeclaration {
    /// What becomes of `next` when it is declared behind this one.
    ///
    /// The same content is no change, whatever its generation. A file without a generation is of no
    /// release: it replaces what is there. The newest generation that was declared stays all the same.
    pub fn takes(&self, next: &Declaration) -> Takes {
        let present = &self.declaration;
        let is_same = present.enabled == next.enabled
            && present.defaults == next.defaults
            && present.services == next.services;
        match (present.generation, next.generation) {
            (present, next) if is_same => {
                if next > present {
                    Takes::NewerGeneration
                } else {
                    Takes::Unchanged
                }
            }
            (Some(generation), Some(older)) if older < generation => Takes::Older { generation },
            _ => Takes::Differs,
        }
    }
}
