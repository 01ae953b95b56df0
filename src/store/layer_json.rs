//! Declared layers as the JSON that the store keeps, written for whoever reads it in SQL.
//!
//! Counts are numbers, rates are percent, factors are plain, durations are as the file takes them, and every
//! field has the name that it has in the file:
//! ```json
//! {"defaults": {"failure_threshold": 5, "timeout_seconds": "1m"}, "enabled": true,
//!  "services": {"sentinel": {"failure_rate_threshold": 33.5}}}
//! ```
//! What is written is read back exactly; what is read goes through [`Layer::set`], as everything does.

use std::collections::BTreeMap;

use breaker::{Field, HumanDuration, Kind, Layer, Value, thousandths};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::catalog::Declaration;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    enabled: bool,
    defaults: BTreeMap<String, Json>,
    services: BTreeMap<String, BTreeMap<String, Json>>,
}

/// What of a declaration is content; its generation is kept beside it.
pub(super) fn to_json(declaration: &Declaration) -> String {
    let services =
        declaration.services.iter().map(|(service, layer)| (service.clone(), layer_to_json(layer))).collect();
    let content =
        Content { enabled: declaration.enabled, defaults: layer_to_json(&declaration.defaults), services };
    // Maps with text for keys, and numbers that are finite: nothing that JSON cannot say.
    serde_json::to_string(&content).unwrap_or_default()
}

/// Reads what [`to_json`] wrote.
pub(super) fn from_json(text: &str, generation: Option<u64>) -> Result<Declaration, String> {
    let content: Content = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut services = BTreeMap::new();
    for (service, fields) in content.services {
        let layer = layer_from_json(&fields).map_err(|problem| format!("service {service}: {problem}"))?;
        services.insert(service, layer);
    }
    let defaults = layer_from_json(&content.defaults).map_err(|problem| format!("defaults: {problem}"))?;
    Ok(Declaration { generation, enabled: content.enabled, defaults, services })
}

/// One layer.
pub(super) fn layer_to_text(layer: &Layer) -> String {
    serde_json::to_string(&layer_to_json(layer)).unwrap_or_default()
}

/// Reads what [`layer_to_text`] wrote.
pub(super) fn layer_from_text(text: &str) -> Result<Layer, String> {
    let fields = serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())?;
    layer_from_json(&fields)
}

fn layer_to_json(layer: &Layer) -> BTreeMap<String, Json> {
    layer.iter().map(|(field, value)| (field.as_str().to_owned(), value_to_json(value))).collect()
}

fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Count(count) => Json::from(*count),
        Value::Rate(thousandths) | Value::Factor(thousandths) => decimal(*thousandths),
        Value::Duration(duration) => Json::from(HumanDuration(*duration).to_string()),
        Value::Flag(flag) => Json::from(*flag),
        Value::Word(word) => Json::from(*word),
        Value::Classes(classes) => Json::from(classes.clone()),
    }
}

fn decimal(thousandths: u32) -> Json {
    if thousandths.is_multiple_of(1_000) {
        return Json::from(thousandths / 1_000);
    }
    Json::from(f64::from(thousandths) / 1_000.0)
}

fn layer_from_json(fields: &BTreeMap<String, Json>) -> Result<Layer, String> {
    let mut layer = Layer::default();
    for (name, json) in fields {
        let field = Field::by_name(name).ok_or_else(|| format!("{name} is not a known field"))?;
        let value = value_from_json(field, json)
            .ok_or_else(|| format!("{name}: invalid value {json}: must be {}", field.range()))?;
        layer.set(field, value).map_err(|problem| problem.to_string())?;
    }
    Ok(layer)
}

fn value_from_json(field: Field, json: &Json) -> Option<Value> {
    match field.kind() {
        Kind::Count { .. } => u32::try_from(json.as_u64()?).ok().map(Value::Count),
        Kind::Rate => thousandths(json.as_f64()?).map(Value::Rate),
        Kind::Factor { .. } => thousandths(json.as_f64()?).map(Value::Factor),
        Kind::Duration { .. } => humantime::parse_duration(json.as_str()?).ok().map(Value::Duration),
        Kind::Flag => json.as_bool().map(Value::Flag),
        Kind::Word(words) => {
            let word = json.as_str()?;
            words.iter().find(|known| **known == word).map(|word| Value::Word(word))
        }
        Kind::Classes => {
            let classes = json.as_array()?.iter().map(|class| class.as_str().map(str::to_owned));
            classes.collect::<Option<_>>().map(Value::Classes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use breaker::Bound;
    use proptest::prelude::*;

    use super::*;

    fn value_of(field: Field) -> BoxedStrategy<Value> {
        match field.kind() {
            Kind::Count { min, max } => (min..=max).prop_map(Value::Count).boxed(),
            Kind::Rate => (1..=100_000_u32).prop_map(Value::Rate).boxed(),
            Kind::Factor { min, max, bound: Bound::Upper } => (min + 1..=max).prop_map(Value::Factor).boxed(),
            Kind::Factor { min, max, bound: Bound::Lower } => (min..max).prop_map(Value::Factor).boxed(),
            Kind::Duration { min, max } => {
                let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap();
                let any = nanos(min)..=nanos(max);
                any.prop_map(|nanos| Value::Duration(Duration::from_nanos(nanos))).boxed()
            }
            Kind::Flag => any::<bool>().prop_map(Value::Flag).boxed(),
            Kind::Word(words) => proptest::sample::select(words.to_vec()).prop_map(Value::Word).boxed(),
            Kind::Classes => proptest::collection::vec("\\PC{1,20}", 0..5).prop_map(Value::Classes).boxed(),
        }
    }

    fn layers() -> impl Strategy<Value = Layer> {
        let fields = proptest::sample::subsequence(Field::ALL.to_vec(), 0..=Field::ALL.len());
        let values = fields.prop_flat_map(|fields| {
            fields
                .into_iter()
                .map(|field| value_of(field).prop_map(move |value| (field, value)))
                .collect::<Vec<_>>()
        });
        values.prop_map(|values| {
            values
                .into_iter()
                .fold(Layer::default(), |layer, (field, value)| layer.with(field, value).unwrap())
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_exactly(
            enabled: bool,
            generation: Option<u64>,
            defaults in layers(),
            services in proptest::collection::btree_map("[a-z]{1,9}", layers(), 0..4),
        ) {
            let declaration = Declaration { generation, enabled, defaults, services };
            let text = to_json(&declaration);
            prop_assert_eq!(from_json(&text, generation), Ok(declaration), "{}", text);
        }
    }

    #[test]
    fn it_reads_as_a_person_would_write_it() {
        let defaults = Layer::default()
            .with(Field::FailureThreshold, Value::Count(5))
            .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_secs(90))))
            .and_then(|layer| layer.with(Field::FailureRateThreshold, Value::Rate(33_500)))
            .and_then(|layer| layer.with(Field::SlowCallRateThreshold, Value::Rate(100_000)))
            .unwrap();
        let declaration = Declaration { enabled: true, defaults, ..Declaration::default() };
        assert_eq!(
            to_json(&declaration),
            r#"{"enabled":true,"defaults":{"failure_rate_threshold":33.5,"failure_threshold":5,"slow_call_rate_threshold":100,"timeout_seconds":"90s"},"services":{}}"#
        );
    }

    #[test]
    fn what_cannot_be_says_which_service_and_field() {
        let problem = |defaults: &str| {
            from_json(&format!(r#"{{"enabled":true,"defaults":{{}},"services":{{"a":{defaults}}}}}"#), None)
                .unwrap_err()
        };
        assert_eq!(problem(r#"{"shiny": 1}"#), "service a: shiny is not a known field");
        assert_eq!(
            problem(r#"{"failure_rate_threshold": 33.3333}"#),
            "service a: failure_rate_threshold: invalid value 33.3333: must be greater than 0 and at most 100 \
             (percent, up to 3 decimals)"
        );
        assert!(
            problem(r#"{"failure_threshold": -1}"#)
                .starts_with("service a: failure_threshold: invalid value -1")
        );
    }
}
