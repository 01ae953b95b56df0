//! What a file declares, as it is kept, and what becomes of the next file.

use sqlx::FromRow;

use super::columns::Reader;
use super::{StoreError, layer_json};
use crate::catalog::StoredDeclaration;

/// The row of `file_config`.
#[derive(FromRow)]
pub(super) struct FileConfigRow {
    generation: Option<i64>,
    pub(super) content: String,
    revision: i64,
}

impl FileConfigRow {
    pub(super) fn declaration(&self) -> Result<StoredDeclaration, StoreError> {
        let reader = Reader { act: "read the thresholds of the config file", row: "file_config" };
        let generation = self.generation.map(|n| reader.number("generation", n)).transpose()?;
        Ok(StoredDeclaration {
            declaration: layer_json::from_json(&self.content, generation)
                .map_err(|error| reader.says(error))?,
            revision: reader.number("revision", self.revision)?,
        })
    }
}
