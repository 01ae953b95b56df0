//! Thresholds as text: `failure_rate_threshold 50, sliding_window_size 10`.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Kind, Layer, Origin, Thresholds, Value, merge};

/// The thresholds that the text sets, each field by its name in the documents; durations in seconds, rates
/// in percent. What is not named has its default.
pub(crate) fn thresholds(text: &str) -> Arc<Thresholds> {
    let mut layer = Layer::default();
    for setting in text.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once(' ').unwrap_or_else(|| panic!("no value in {setting:?}"));
        let field = Field::by_name(name).unwrap_or_else(|| panic!("no field {name:?}"));
        layer.set(field, read(field, value.trim())).unwrap_or_else(|problem| panic!("{problem}"));
    }
    let merged = merge(&[(Origin::Api, &layer)]).unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::new(merged.thresholds)
}

fn read(field: Field, text: &str) -> Value {
    let decimal = || text.parse::<f64>().unwrap_or_else(|_| panic!("{field} {text:?} is not a number"));
    let thousandths = || Value::Rate((decimal() * 1_000.0).round() as u32);
    match field.kind() {
        Kind::Count { .. } => Value::Count(text.parse().expect("a count")),
        Kind::Rate => thousandths(),
        Kind::Factor { .. } => Value::Factor((decimal() * 1_000.0).round() as u32),
        Kind::Duration { .. } => Value::Duration(Duration::from_secs_f64(decimal())),
        Kind::Flag => Value::Flag(text.parse().expect("true or false")),
        Kind::Word(words) => Value::Word(
            words.iter().find(|word| **word == text).unwrap_or_else(|| panic!("no word {text:?}")),
        ),
        Kind::Classes => Value::Classes(text.split_whitespace().map(str::to_owned).collect()),
    }
}
