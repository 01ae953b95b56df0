//! The settings.

use std::time::Duration;

use breakerd_client::{Field, Value};
use incident_manager::config::Config;

const SHIPPED: &str = include_str!("../../config.toml");

#[test]
fn the_shipped_file_is_valid_and_has_the_thresholds_of_the_shipped_breakerd_toml() {
    let config = Config::parse(SHIPPED, |_| None).unwrap();
    assert_eq!(config.sentinel.timeout, Duration::from_secs(10));
    assert!(config.slack.is_none() && config.email.is_none() && config.pagerduty.is_none());

    let breakerd: toml::Table = toml::from_str(include_str!("../../../../breakerd.toml")).unwrap();
    let of_breakerd: incident_manager::config::CircuitBreakerConfig =
        breakerd["circuit_breaker"].clone().try_into().unwrap();
    assert_eq!(config.circuit_breaker.layers, of_breakerd.layers);

    let value = |service, field| of_breakerd.layers[service].get(field).cloned().unwrap();
    for (service, failures, seconds) in
        [("", 5, 60), ("sentinel", 3, 120), ("database", 10, 10), ("notifications", 10, 60)]
    {
        assert_eq!(value(service, Field::FailureThreshold), Value::Count(failures), "{service}");
        assert_eq!(
            value(service, Field::Timeout),
            Value::Duration(Duration::from_secs(seconds)),
            "{service}"
        );
    }
    assert_eq!(value("", Field::SuccessThreshold), Value::Count(2));
}

#[test]
fn variables_win_over_the_file_and_secrets_are_not_shown() {
    let config = Config::parse(SHIPPED, |name| {
        ["SLACK_WEBHOOK_URL", "DATABASE_URL"].contains(&name).then(|| format!("secret of {name}"))
    })
    .unwrap();
    assert_eq!(config.slack.as_ref().unwrap().webhook_url.expose(), "secret of SLACK_WEBHOOK_URL");
    assert_eq!(config.store.url.expose(), "secret of DATABASE_URL");
    assert!(!format!("{config:?}").contains("secret of"));
}

#[test]
fn errors_name_the_key() {
    let error = |from, to| {
        let changed = SHIPPED.replace(from, to);
        assert_ne!(changed, SHIPPED);
        format!("{:#}", Config::parse(&changed, |_| None).unwrap_err())
    };
    for (from, to, expected) in [
        ("listen =", "lisen =", "lisen"),
        ("timeout = \"10s\"", "timeout = \"0s\"", "invalid value \"0s\": must be 1ms to 5m"),
        ("\"local\"\n", "\"never\"\n", "never"),
        ("[\"http://127.0.0.1:50051\"]", "[]", "breakerd.addresses: must not be empty"),
        ("failure_threshold = 3", "failure_treshold = 3", "unknown key `failure_treshold`"),
    ] {
        let error = error(from, to);
        assert!(error.contains(expected), "{error}");
    }
}
