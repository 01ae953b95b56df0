//! The configuration to start with.

use std::sync::Arc;

use crate::catalog::Declaration;
use crate::control::edits::declared;
use crate::control::{Configuration, ControlError, file_attribution, joined, plan};
use crate::engine::Seals;
use crate::store::{ConfigStore, ConfigWritten};

/// What the store has, with what the file declares written to it, unless the store has a later generation. Without a
/// file, what the store has.
///
/// A file that contradicts what was set through the API is rejected and logged, and what the store has stays
/// effective: a process that does not start would be worse.
///
/// # Errors
/// [`ControlError`].
pub async fn first_configuration(
    store: &dyn ConfigStore,
    seals: &Seals,
    declaration: Option<&Declaration>,
) -> Result<Arc<Configuration>, ControlError> {
    loop {
        let stored = store.configuration().await?;
        let present =
            Arc::new(Configuration::new(stored).map_err(|problems| ControlError::Stored(joined(&problems)))?);
        let Some(edit) = declaration.and_then(|declaration| declared(&present, declaration)) else {
            return Ok(present);
        };
        let planned = match plan::plan(&present, edit) {
            Ok(planned) => planned,
            Err(problems) => {
                let problems = joined(&problems);
                tracing::error!(
                    problems,
                    "config file conflicts with thresholds set through the API: keeping the previous configuration"
                );
                return Ok(present);
            }
        };
        if let ConfigWritten::Written(changed) =
            planned.write(store, seals, &file_attribution(), None).await?
        {
            return Ok(Arc::new(planned.written(changed)));
        }
    }
}
