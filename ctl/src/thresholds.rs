//! Thresholds as they are shown.

use breaker::{Field, Origin, Value};
use breakerd_api::thresholds;
use breakerd_api::v1::{ServiceConfig, Thresholds};

use super::words;

/// The source of a value for which the response names none.
pub(super) const DEFAULTS: &str = Origin::BuiltIn.as_str();

/// A field's value; none: it is absent, or not one that this program knows.
pub(super) fn get(from: &Thresholds, field: Field) -> Option<Value> {
    thresholds::get(from, field).ok().flatten()
}

/// The effective value of a field, and its source.
pub(super) fn field_of(config: &ServiceConfig, field: Field) -> (String, &'static str) {
    let value = config.thresholds.as_ref().and_then(|effective| get(effective, field));
    let layer = config.sources.get(thresholds::name(field)).copied().map_or(DEFAULTS, words::layer);
    (field.show(value.as_ref()), layer)
}
