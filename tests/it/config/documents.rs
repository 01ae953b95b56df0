//! docs/configuration.md says what the tables of settings and of thresholds say.

use std::fs;
use std::path::Path;

use breaker::{Bound, Field, Kind, Value};
use breakerd::catalog::Catalog;
use breakerd::config::{NOTIFY_SETTINGS, SETTINGS};

use super::parse;

/// Variables of OpenTelemetry that the documents name since breakerd does not read them.
const NOT_READ: &[&str] = &[
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_BSP_",
    "OTEL_PROPAGATORS",
];

/// The documents say what the tables say: these blocks are made from them.
#[test]
fn the_documents_say_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    for setting in SETTINGS {
        let flag = setting.flag.map_or(String::new(), |flag| format!("`--{flag}`"));
        let row = format!(
            "| `{}` | `{}` | {flag} | {} | {} | {} |",
            setting.key,
            setting.variable,
            setting.default_text(),
            setting.expected,
            setting.doc()
        );
        assert!(text.contains(&row), "docs/configuration.md has no row\n{row}");
    }
    for setting in SETTINGS {
        for standard in setting.standard_variables {
            let row = format!("| `{}` | `{}` | {} |", standard.name, setting.key, standard.expected);
            assert!(text.contains(&row), "docs/configuration.md has no row\n{row}");
        }
    }
    for setting in NOTIFY_SETTINGS {
        let row =
            format!("| `{}` | {} | {} | {} |", setting.key, setting.default, setting.expected, setting.doc);
        assert!(text.contains(&row), "docs/configuration.md has no row\n{row}");
    }
    let built_in = Catalog::default().defaults();
    for field in Field::ALL {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{field}` |")))
            .unwrap_or_else(|| panic!("docs/configuration.md has no row of {field}"));
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        let default = match built_in.value(*field) {
            Some(Value::Classes(_)) => "empty".to_owned(),
            Some(value) => value.to_string(),
            None => "none".to_owned(),
        };
        assert!(cells[1].starts_with(&default), "{field}: {default} is the default: {row}");
        assert_eq!(cells[2], field.range(), "{field}");
        for alias in field.aliases() {
            assert!(cells[3].contains(&format!("`{alias}`")), "{field}: {alias}");
        }
    }
    let shared = SETTINGS.iter().flat_map(|setting| setting.standard_variables).map(|standard| standard.name);
    let variables = SETTINGS.iter().map(|setting| setting.variable).chain(["BREAKERD_CONFIG"]).chain(shared);
    let known: Vec<_> = variables.collect();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("BREAKERD_") || word.starts_with("OTEL_") && !NOT_READ.contains(&word) {
            assert!(known.contains(&word), "{word} is no variable");
        }
    }
}

/// The chart refuses a threshold that `serve` would refuse: its schema has the fields, their kinds and their ranges.
#[test]
fn the_schema_of_the_chart_has_the_thresholds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/breakerd/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let definitions = &schema["definitions"];
    let of_service = definitions["thresholds"]["properties"].as_object().unwrap();
    let top = schema["properties"]["circuitBreaker"]["properties"].as_object().unwrap();
    let mut names = Vec::new();
    for field in Field::ALL {
        for name in [field.to_string()].iter().map(String::as_str).chain(field.aliases().iter().copied()) {
            let given = of_service.get(name).unwrap_or_else(|| panic!("the schema has no {name}"));
            // What is used several times is a definition.
            let given = match given["$ref"].as_str() {
                Some(reference) => &definitions[reference.trim_start_matches("#/definitions/")],
                None => given,
            };
            let bounds = |min: &str, max: &str| (given[min].as_f64(), given[max].as_f64());
            match field.kind() {
                Kind::Count { min, max } => {
                    assert_eq!(bounds("minimum", "maximum"), (Some(min.into()), Some(max.into())), "{name}");
                }
                Kind::Rate => {
                    assert_eq!(bounds("exclusiveMinimum", "maximum"), (Some(0.0), Some(100.0)), "{name}");
                }
                // In thousandths.
                Kind::Factor { min, max, bound: Bound::Upper } => assert_eq!(
                    bounds("exclusiveMinimum", "maximum"),
                    (Some(f64::from(min) / 1e3), Some(f64::from(max) / 1e3)),
                    "{name}"
                ),
                Kind::Factor { min, max, bound: Bound::Lower } => assert_eq!(
                    bounds("minimum", "exclusiveMaximum"),
                    (Some(f64::from(min) / 1e3), Some(f64::from(max) / 1e3)),
                    "{name}"
                ),
                // It has the widest range: a text with units is for breakerd to judge.
                Kind::Duration { max, .. } => {
                    assert!(given["maximum"].as_f64() >= Some(max.as_secs_f64()), "{name}");
                }
                Kind::Flag => assert_eq!(given["type"], serde_json::json!(["boolean", "null"]), "{name}"),
                Kind::Word(words) => {
                    let listed: Vec<_> =
                        given["enum"].as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
                    assert_eq!(listed, words, "{name}");
                }
                Kind::Classes => assert_eq!(given["maxItems"], breaker::CLASSES_MAX, "{name}"),
            }
            for top_name in [name.to_owned(), format!("default_{name}")] {
                let reference = format!("#/definitions/thresholds/properties/{name}");
                assert_eq!(top[&top_name]["$ref"].as_str(), Some(&*reference), "{top_name}");
                names.push(top_name);
            }
        }
    }
    assert_eq!(of_service.len() * 2, names.len(), "the schema has no others");
    assert_eq!(top.len(), names.len() + ["enabled", "generation"].len(), "the schema has no others");
}

/// The examples of the documents are files that are right.
#[test]
fn the_examples_of_the_documents_are_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    let mut count = 0;
    for block in text.split("```toml\n").skip(1) {
        let example = block.split("```").next().unwrap_or_default();
        parse(example).unwrap_or_else(|errors| panic!("{errors:?}\n{example}"));
        count += 1;
    }
    assert!(count >= 2);
}
