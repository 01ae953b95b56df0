use std::path::Path;

use super::*;
use crate::catalog::{Declaration, StoredDeclaration};
use crate::store::StoredConfiguration;

fn configuration(file: &str) -> Configuration {
    let text = format!("[circuit_breaker]\n{file}");
    let sources = crate::config::Sources::none();
    let config = crate::config::parse(&text, Path::new("x.toml"), &sources).unwrap();
    declared(config.declaration)
}

fn declared(declaration: Declaration) -> Configuration {
    let declared = Some(StoredDeclaration { declaration, revision: 1 });
    Configuration::new(StoredConfiguration { declared, ..StoredConfiguration::default() }).unwrap()
}

/// What is softer, a line each.
fn softer(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (configuration(before), configuration(after));
    let touched = before.services().chain(after.services()).chain([""]).map(str::to_owned).collect();
    let line = |relaxed: Relaxed| {
        let removed = if relaxed.is_removed { "-" } else { "" };
        format!("{removed}{}: {}", relaxed.service, relaxed.changes)
    };
    relaxed(&before, &after, &touched).into_iter().map(line).collect()
}

#[test]
fn whatever_makes_a_breaker_open_later_is_softer_and_the_reverse_is_not() {
    for (strict, soft, changes) in [
        ("failure_threshold = 3", "failure_threshold = 10", "failure_threshold 3 -> 10"),
        ("timeout_seconds = 60", "timeout_seconds = 5", "timeout_seconds 1m -> 5s"),
        ("minimum_reporters = 1", "minimum_reporters = 2", "minimum_reporters 1 -> 2"),
        ("failure_rate_threshold = 50", "failure_rate_threshold = 90", "failure_rate_threshold 50 -> 90"),
        ("ignore_error_classes = []", "ignore_error_classes = [\"A\"]", "ignore_error_classes"),
        ("record_error_classes = []", "record_error_classes = [\"A\"]", "record_error_classes"),
    ] {
        let found = softer(strict, soft);
        assert!(found.len() == 1 && found[0].contains(changes), "{strict} -> {soft}: {found:?}");
        assert_eq!(softer(soft, strict), Vec::<String>::new(), "{soft} -> {strict}");
    }
    let off = softer("failure_threshold = 5\nfailure_count_threshold = 9", "failure_threshold = 5");
    assert!(off[0].contains("failure_count_threshold 9 -> none"), "{off:?}");
}

#[test]
fn a_service_that_the_file_drops_is_named_with_what_it_loses() {
    let with = "failure_threshold = 5\n[circuit_breaker.db]\nfailure_threshold = 1\n[circuit_breaker.x]\n\
                failure_threshold = 9";
    let found = softer(with, "failure_threshold = 5");
    assert_eq!(found, ["-db: failure_threshold 1 -> 5", "-x: "]);
}
