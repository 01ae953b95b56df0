//! `/metrics` against docs/metrics.md and against promtool: each metric is documented, and Prometheus can read all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use breaker::Outcome;
use breakerd::journal::JournalStats;
use breakerd::metrics::CallsView;

use crate::http_world::{Scrape, World};
use crate::promtool::promtool;

#[tokio::test]
async fn promtool_has_nothing_to_remark() {
    let (status, said) = promtool("metrics", &everything().await.0);
    assert!(status.success() && said.is_empty(), "{said}");
}

#[test]
fn promtool_takes_the_questions_of_the_documentation() {
    let documentation = documentation();
    let blocks = |language: &'static str| {
        let fence = format!("```{language}\n");
        let mut blocks = documentation.split(&*fence).skip(1).filter_map(|rest| rest.split("```").next());
        std::iter::from_fn(move || blocks.next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let questions = blocks("promql");
    assert!(questions.len() > 5);
    let rule = |question: &str| format!("      - record: a:b\n        expr: {:?}\n", question.trim());
    let rules: String =
        questions.iter().flat_map(|block| block.split("\n\n")).map(rule).enumerate().map(distinct).collect();
    let (status, said) = promtool("rules", &format!("groups:\n  - name: a\n    rules:\n{rules}"));
    assert!(status.success(), "{said}");
}

/// promtool refuses two rules of one name.
fn distinct((number, rule): (usize, String)) -> String {
    rule.replace("a:b", &format!("a:b{number}"))
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let scrape = everything().await;
    let documented: BTreeSet<String> = documentation()
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().replace('`', ""));
            let (name, kind, labels) = (cells.next()?, cells.next()?, cells.next()?);
            ["counter", "gauge", "histogram"]
                .contains(&kind.as_str())
                .then(|| format!("{name} {kind} {labels}"))
        })
        .collect();
    assert_eq!(shown(&scrape), documented);
}

/// Name, type and labels of every family.
fn shown(scrape: &Scrape) -> BTreeSet<String> {
    let mut kinds = BTreeMap::new();
    let mut families = BTreeSet::new();
    for line in scrape.0.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
            continue;
        }
        let Some((sample, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|name| kinds.get(name) == Some(&"histogram")))
            .unwrap_or(name);
        let labels: Vec<_> = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(label, _)| label)
            .filter(|label| *label != "le")
            .collect();
        let (kind, labels) = (kinds[family], labels.join(", "));
        let family = family.replace("llm_incident_manager", "<ns>");
        families.insert(format!("{family} {kind} {labels}"));
    }
    families
}

/// A scrape with something of everything.
async fn everything() -> Scrape {
    let world = World::with_own_series(2).await;
    world.fail("sentinel", "", 7);
    world.call("notifications", "slack", Outcome::Success);
    world.call("database", "", Outcome::Ignored);
    world.app.metrics.show_journal(Arc::new(JournalStats::default)).unwrap();
    let calls = Arc::new(breakerd::grpc::CallMetrics::default());
    let row = |mut view: breakerd::grpc::CallView| {
        view.by_code.push(("OK", 1));
        view.into_row()
    };
    let source = Arc::new(move || CallsView {
        rows: calls.snapshot().into_iter().map(row).collect(),
        in_flight: 3,
        in_flight_max: 7,
    });
    world.app.metrics.show_calls(source).unwrap();
    world.app.metrics.task.failures_total.with_label_values(&["timer"]);
    world.app.metrics.notify.of_target("chat");
    world.store.ping().await.unwrap();
    world.scrape().await
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documentation() -> String {
    std::fs::read_to_string(root().join("docs/metrics.md")).unwrap()
}
