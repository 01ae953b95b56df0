//! The write path of thresholds: the store first, then the engine.
//!
//! What the store took is what every replica will judge by, under one revision; so nothing is judged by a
//! declaration that the store does not have yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::engine::{Clock, Engine};
use crate::store::{Declaration, Declared, Store, StoreError};

/// Between two attempts to write a declaration while the store is away.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Why a declaration is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store did not take it.
    #[error("write the declared thresholds")]
    Store(#[from] StoreError),
    /// What the store holds contradicts itself; a later version may have declared it.
    #[error("the thresholds that the store holds cannot be: {0}")]
    Stored(String),
}

/// The catalog to start with: the file's, written to the store, unless the store has a later generation. Without
/// a file, what was last declared, if anything ever was.
///
/// # Errors
/// [`ControlError`].
pub async fn first_catalog(
    store: &dyn Store,
    declaration: Option<&Declaration>,
) -> Result<Catalog, ControlError> {
    if let Some(declaration) = declaration {
        return declare(store, declaration).await;
    }
    match store.declaration().await? {
        Some(stored) => catalog(&stored.declaration, stored.revision),
        None => catalog(&Declaration::default(), 0),
    }
}

/// Writes a declaration and answers the catalog that is then in force.
async fn declare(store: &dyn Store, declaration: &Declaration) -> Result<Catalog, ControlError> {
    match store.declare(declaration).await? {
        Declared::Written { revision } | Declared::Unchanged { revision } => catalog(declaration, revision),
        Declared::Older { generation, revision } => {
            tracing::warn!(
                file = declaration.generation,
                store = generation,
                "the file is of an older generation than what the store has, which stays in force"
            );
            let stored = store.declaration().await?.map(|stored| stored.declaration).unwrap_or_default();
            catalog(&stored, revision)
        }
    }
}

fn catalog(declaration: &Declaration, revision: u64) -> Result<Catalog, ControlError> {
    Catalog::new(declaration, revision, &BTreeMap::new()).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        ControlError::Stored(problems.join("; "))
    })
}

/// Puts a changed file in force: in the store, and then on every running breaker. While the store is away it
/// tries again, until this is dropped.
///
/// # Errors
/// [`ControlError`], when trying again cannot help.
pub async fn take(
    store: &dyn Store,
    engine: &Engine,
    clock: &dyn Clock,
    declaration: &Declaration,
) -> Result<u64, ControlError> {
    let mut waiting = false;
    loop {
        match declare(store, declaration).await {
            Ok(catalog) => {
                let revision = catalog.revision();
                engine.apply(&Arc::new(catalog), clock.now());
                return Ok(revision);
            }
            Err(ControlError::Store(error)) if error.is_transient() => {
                if !std::mem::replace(&mut waiting, true) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the changed file waits for the store; the former thresholds stay in force"
                    );
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    }
}
