//! The edit that a request makes of the present configuration: pure.

use breaker::{Layer, Override};

use super::configuration::Configuration;
use super::{ControlError, LayerChange, SERVICES_MAX, Update};
use crate::catalog::{Declaration, DeclarationDiff};
use crate::store::{ConfigEdit, ServiceOverride};

/// The edit of a service's layer; none: it is so already.
///
/// # Errors
/// [`ControlError::EtagMismatch`], [`ControlError::TooManyServices`].
pub(super) fn updated(present: &Configuration, update: &Update) -> Result<Option<ConfigEdit>, ControlError> {
    let service = &update.service;
    if let Some(etag) = &update.etag {
        let present = present.service(service).etag();
        if present != *etag {
            return Err(ControlError::EtagMismatch { present });
        }
    }
    let set = &present.stored().set;
    let before = set.get(service).cloned().unwrap_or_default();
    let layer = changed(&before, &update.change);
    if layer == before {
        return Ok(None);
    }
    if !set.contains_key(service) && set.len() >= SERVICES_MAX {
        return Err(ControlError::TooManyServices { what: "thresholds", max: SERVICES_MAX });
    }
    Ok(Some(ConfigEdit::Thresholds { service: service.clone(), layer }))
}

fn changed(before: &Layer, change: &LayerChange) -> Layer {
    let fields = match change {
        LayerChange::Whole(layer) => return layer.clone(),
        LayerChange::Fields(fields) => fields,
    };
    let mut layer = before.clone();
    for (field, value) in fields {
        match value {
            // Its range was checked where it came in; one that is refused all the same is not set.
            Some(value) => drop(layer.set(*field, value.clone())),
            None => layer.unset(*field),
        }
    }
    layer
}

/// The edit when the override of a service is set, or cleared; none: it is set so already. `is_active`: the
/// present one has not expired.
///
/// # Errors
/// [`ControlError::NoOverride`] when there is none to clear, [`ControlError::TooManyServices`].
pub(super) fn overridden(
    present: &Configuration,
    service: &str,
    set: Option<&ServiceOverride>,
    is_active: bool,
) -> Result<Option<ConfigEdit>, ControlError> {
    let overrides = present.overrides();
    match (overrides.get(service), set) {
        (Some(stands), Some(set)) if stands.is_same_as(set) => return Ok(None),
        (None, Some(_)) if overrides.len() >= SERVICES_MAX => {
            return Err(ControlError::TooManyServices { what: "an override", max: SERVICES_MAX });
        }
        (Some(_) | None, Some(_)) => {}
        (Some(_), None) if is_active => {}
        (Some(_) | None, None) => {
            return Err(ControlError::NoOverride { service: service.to_owned() });
        }
    }
    Ok(Some(ConfigEdit::Override { service: service.to_owned(), set: set.cloned(), not_before: None }))
}

/// The edit once the override `ended` of a service has expired; none: there is another one by now.
///
/// With `by_store` the clock of the store decides whether it has expired.
pub(super) fn ended(
    present: &Configuration,
    service: &str,
    ended: &Override,
    by_store: bool,
) -> Option<ConfigEdit> {
    let stands = present.overrides().get(service).filter(|stands| stands.as_override() == *ended)?;
    let not_before = stands.expires_at.filter(|_| by_store);
    Some(ConfigEdit::Override { service: service.to_owned(), set: None, not_before })
}

/// The edit when a file declares this; none: it is so already, or the file is of an older generation.
pub(super) fn declared(present: &Configuration, declaration: &Declaration) -> Option<ConfigEdit> {
    match takes(present, declaration) {
        DeclarationDiff::Differs => {
            // A file without a generation has none; the order of those with one goes on after it.
            let stood = present.stored().declared.as_ref().and_then(|stored| stored.declaration.generation);
            let generation = declaration.generation.or(stood);
            Some(ConfigEdit::FileApplied(Declaration { generation, ..declaration.clone() }))
        }
        DeclarationDiff::NewerGeneration => declaration.generation.map(ConfigEdit::Generation),
        DeclarationDiff::Unchanged => None,
        DeclarationDiff::Older { generation } => {
            tracing::warn!(
                file = declaration.generation,
                store = generation,
                "config file is of an older generation than the stored one: keeping the stored thresholds"
            );
            None
        }
    }
}

/// How a file that declares this differs.
pub(super) fn takes(present: &Configuration, declaration: &Declaration) -> DeclarationDiff {
    present.stored().declared.as_ref().map_or(DeclarationDiff::Differs, |stored| stored.takes(declaration))
}

#[cfg(test)]
mod tests {
    use breaker::{Field, Value};

    use super::*;
    use crate::catalog::StoredDeclaration;
    use crate::store::StoredConfiguration;

    fn declaration(generation: Option<u64>, failures: u32) -> Declaration {
        let defaults = Layer::default().with(Field::FailureThreshold, Value::Count(failures)).unwrap();
        Declaration { generation, defaults, ..Declaration::default() }
    }

    /// What is declared once `next` was.
    fn behind(present: &Configuration, next: &Declaration) -> Option<Configuration> {
        let ConfigEdit::FileApplied(declaration) = declared(present, next)? else { panic!("a declaration") };
        let declared = Some(StoredDeclaration { declaration, revision: 1 });
        Some(Configuration::new(StoredConfiguration { declared, ..StoredConfiguration::default() }).unwrap())
    }

    #[test]
    fn a_file_without_a_generation_leaves_the_order_of_those_that_have_one() {
        let present = behind(&Configuration::default(), &declaration(Some(5), 1)).unwrap();
        let present = behind(&present, &declaration(None, 2)).unwrap();
        assert_eq!(present.stored().declared.as_ref().unwrap().declaration.generation, Some(5));
        assert!(behind(&present, &declaration(Some(4), 3)).is_none(), "older than what was there before");
        assert!(behind(&present, &declaration(Some(5), 3)).is_some());
    }
}
