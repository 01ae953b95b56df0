//! The dashboards of the chart, by promtool: their queries can be read, and ask for metrics that there are. That each returns a series of
//! a real breakerd is seen by `tests/e2e/dashboards`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::promtool::promtool;

const NAMESPACE: &str = "llm_incident_manager_";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn dashboard(name: &str) -> Value {
    let path = root().join(format!("helm/breakerd/files/dashboards/{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The panels of both, in their order, and the dashboards that they are of.
fn panels() -> Vec<(String, Value)> {
    let panels = ["circuit-breakers", "breakerd"].into_iter().flat_map(|name| {
        let dashboard = dashboard(name);
        let panels = dashboard["panels"].as_array().unwrap().clone();
        panels.into_iter().map(move |panel| (name.to_owned(), panel))
    });
    panels.collect()
}

/// What each panel asks, with Grafana's variables filled in, and what the dashboards and panels are called.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for (dashboard, panel) in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in [
                ("$cluster", ""),
                ("$namespace", "production"),
                ("$job", "breakerd"),
                ("$service", ".*"),
                ("$name", ".*"),
                ("$instance", ".*"),
                ("$__rate_interval", "1m"),
                ("$__range", "6h"),
            ] {
                query = query.replace(variable, value);
            }
            queries.push((format!("{dashboard}: {}", panel["title"].as_str().unwrap()), query));
        }
    }
    queries
}

#[test]
fn promtool_takes_every_query_of_a_panel() {
    use std::fmt::Write as _;

    let queries = queries();
    assert!(queries.len() > 50, "{}", queries.len());
    let mut rules = "groups:\n  - name: a\n    rules:\n".to_owned();
    for (number, (panel, query)) in queries.iter().enumerate() {
        assert!(!query.contains('$'), "{panel} has a variable that nobody fills in: {query}");
        let _ = write!(rules, "      - record: a:b{number}\n        expr: {query:?}\n");
    }
    let (status, said) = promtool("rules", &rules);
    assert!(status.success(), "{said}");
}

/// Staging and production may have the same breakers, in one Prometheus: no panel adds them up, and no choice offers what the other has.
#[test]
fn every_query_is_about_one_installation() {
    let installation = r#"{cluster="", namespace="production", job="breakerd""#;
    let mut asked = 0;
    for (panel, query) in queries() {
        for metric in [NAMESPACE, "process_"] {
            for (at, _) in query.match_indices(metric) {
                let name = query[at..]
                    .find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
                let selector = &query[at + name.unwrap_or(query.len() - at)..];
                assert!(selector.starts_with(installation), "{panel} asks for all installations: {query}");
                asked += 1;
            }
        }
    }
    assert!(asked > 80, "{asked}");
    for name in ["circuit-breakers", "breakerd"] {
        let variables = dashboard(name)["templating"]["list"].as_array().unwrap().clone();
        let mut chosen = Vec::new();
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().unwrap();
            for label in &chosen {
                assert!(
                    query.contains(&format!(r#"{label}="${label}""#)),
                    "{name}: {query} is not of one {label}"
                );
            }
            if chosen.len() < 3 {
                assert_eq!(variable["multi"], false, "{name}: {variable}");
                chosen.push(variable["name"].as_str().unwrap());
            }
        }
        assert_eq!(chosen, ["cluster", "namespace", "job"], "{name}");
    }
}

/// docs/metrics.md is compared with a scrape elsewhere.
#[test]
fn every_panel_asks_for_metrics_that_there_are() {
    let documentation = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut asked = BTreeSet::new();
    for (panel, query) in queries() {
        let words = query.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
        for name in words.filter(|word| word.starts_with(NAMESPACE) || word.starts_with("process_")) {
            let name = name.replace(NAMESPACE, "<ns>_");
            let of_histogram =
                ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            let is_documented = |name: &str| documentation.contains(&format!("| `{name}` |"));
            assert!(is_documented(&name) || is_documented(of_histogram), "{panel} asks for {name}");
            asked.insert(name);
        }
    }
    assert!(asked.len() > 40, "{asked:?}");
}

#[test]
fn panels_have_numbers_of_their_own_and_do_not_lie_on_each_other() {
    for dashboard in ["circuit-breakers", "breakerd"] {
        let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for (_, panel) in panels().into_iter().filter(|(name, _)| name == dashboard) {
            let title = &panel["title"];
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has the number of another");
            let [x, y, width, height] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + width <= 24, "{title} is wider than the dashboard");
            for place in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
                assert!(taken.insert(place), "{title} lies on another");
            }
        }
    }
}
