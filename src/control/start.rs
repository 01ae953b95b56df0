//! The configuration to start with.

use crate::control::{Configuration, ControlError, by_file, declared, plan};
use crate::engine::Seals;
use crate::store::{ConfigWrite, ConfigWritten, Declaration, Store};

/// What the store has, with what the file declares written to it, unless the store has a later generation. Without a
/// file, what the store has.
///
/// A file that contradicts what was set over the API is refused with a word in the log, and what the store has is in
/// force: a process that does not start would help nobody.
///
/// # Errors
/// [`ControlError`].
pub async fn first_configuration(
    store: &dyn Store,
    seals: &Seals,
    declaration: Option<&Declaration>,
) -> Result<Configuration, ControlError> {
    loop {
        let stored = store.configuration().await?;
        let present =
            Configuration::new(stored).map_err(|problems| ControlError::Stored(super::told(&problems)))?;
        let Some(edit) = declaration.and_then(|declaration| declared(&present, declaration)) else {
            return Ok(present);
        };
        let planned = match plan::plan(&present, &edit) {
            Ok(planned) => planned,
            Err(problems) => {
                let problems = super::told(&problems);
                tracing::error!(
                    problems,
                    "the file contradicts what was set over the API; what was in force before stays"
                );
                return Ok(present);
            }
        };
        let written = {
            let waits = plan::waits(&present, &planned.after, seals);
            let write = ConfigWrite {
                based_on: present.stored().revision,
                edit,
                touched: planned.touched.clone(),
                asked: by_file(),
                request: None,
                waits: &waits,
            };
            store.write_config(&write).await?
        };
        if let ConfigWritten::Written(changed) = written {
            return Ok(planned.written(changed));
        }
    }
}
