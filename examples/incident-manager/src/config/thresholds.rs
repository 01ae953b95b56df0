//! `[circuit_breaker]`, in the form of breakerd.toml: defaults, and a table for each service.

use std::collections::BTreeMap;
use std::time::Duration;

use breakerd_client::{Field, Kind, Layer, Value, thousandths};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Thresholds by service.
#[derive(Debug, Clone)]
pub struct CircuitBreakerConfig {
    /// False: the clients are used without breakers.
    pub enabled: bool,
    /// By the name of the service; the defaults under the empty name.
    pub layers: BTreeMap<String, Layer>,
}

impl Default for CircuitBreakerConfig {
    /// As breakerd's built-in thresholds.
    fn default() -> Self {
        Self { enabled: true, layers: BTreeMap::new() }
    }
}

impl<'de> Deserialize<'de> for CircuitBreakerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut config = Self::default();
        let mut defaults = Layer::default();
        for (key, value) in toml::Table::deserialize(deserializer)? {
            match value {
                toml::Value::Boolean(enabled) if key == "enabled" => config.enabled = enabled,
                toml::Value::Table(table) => {
                    let mut layer = Layer::default();
                    for (field, value) in &table {
                        set(&mut layer, field, value)
                            .map_err(|problem| D::Error::custom(format!("{key}: {problem}")))?;
                    }
                    config.layers.insert(key, layer);
                }
                value => {
                    let field = key.strip_prefix("default_").unwrap_or(&key);
                    set(&mut defaults, field, &value).map_err(D::Error::custom)?;
                }
            }
        }
        config.layers.insert(String::new(), defaults);
        Ok(config)
    }
}

fn set(layer: &mut Layer, name: &str, value: &toml::Value) -> Result<(), String> {
    let field = Field::by_name(name).ok_or_else(|| format!("unknown key `{name}`"))?;
    let value = parse(field.kind(), value)
        .ok_or_else(|| format!("{name}: invalid value {value}: must be {}", field.range()))?;
    layer.set(field, value).map_err(|problem| problem.to_string())
}

fn parse(kind: Kind, value: &toml::Value) -> Option<Value> {
    let decimal = || match value {
        toml::Value::Integer(whole) => i32::try_from(*whole).ok().map(f64::from),
        _ => value.as_float(),
    };
    Some(match kind {
        Kind::Count { .. } => Value::Count(value.as_integer()?.try_into().ok()?),
        Kind::Rate => Value::Rate(thousandths(decimal()?)?),
        Kind::Factor { .. } => Value::Factor(thousandths(decimal()?)?),
        Kind::Duration { .. } => Value::Duration(match value.as_str() {
            Some(text) => humantime::parse_duration(text).ok()?,
            None => Duration::from_millis(thousandths(decimal()?)?.into()),
        }),
        Kind::Flag => Value::Flag(value.as_bool()?),
        Kind::Word(words) => Value::Word(words.iter().find(|word| value.as_str() == Some(word))?),
        Kind::Classes => {
            let classes = value.as_array()?.iter().map(|class| class.as_str().map(str::to_owned));
            Value::Classes(classes.collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<CircuitBreakerConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn defaults_and_services_are_layers_as_in_breakerds_file() {
        let config = parsed(
            "enabled = false\ndefault_failure_threshold = 4\ntimeout_seconds = 1.5\n[sentinel]\nfailure_rate_threshold = 33.5\nmax_wait = \"2m\"",
        );
        let config = config.unwrap();
        assert!(!config.enabled);
        let defaults = &config.layers[""];
        assert_eq!(defaults.get(Field::FailureThreshold), Some(&Value::Count(4)));
        assert_eq!(defaults.get(Field::Timeout), Some(&Value::Duration(Duration::from_millis(1_500))));
        let sentinel = &config.layers["sentinel"];
        assert_eq!(sentinel.get(Field::FailureRateThreshold), Some(&Value::Rate(33_500)));
        assert_eq!(sentinel.get(Field::MaxWait), Some(&Value::Duration(Duration::from_mins(2))));
    }

    #[test]
    fn an_error_names_the_service_the_key_and_the_range() {
        let error = |text| parsed(text).unwrap_err();
        assert_eq!(error("failure_treshold = 3"), "unknown key `failure_treshold`");
        assert_eq!(
            error("[database]\nfailure_threshold = -1"),
            "database: failure_threshold: invalid value -1: must be 0..=1000000"
        );
        assert_eq!(
            error("[database]\nfailure_threshold = 2000000"),
            "database: failure_threshold: invalid value 2000000: must be 0..=1000000"
        );
    }
}
