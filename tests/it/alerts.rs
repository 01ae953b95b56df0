//! The alerts of the chart, by promtool: each fires in one story and stays silent in another, asks for metrics that there are,
//! and has a runbook.

mod stories;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use self::stories::{STORIES, Story};
use crate::promtool::promtool_in;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> PathBuf {
    root().join("helm/breakerd/files/alerts.yaml")
}

/// The names of the alerts, in their order, and what each asks.
fn alerts() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(rules()).unwrap();
    let of = |line: &str, key: &str| line.trim_start().strip_prefix(key).map(str::to_owned);
    let names = text.lines().filter_map(|line| of(line, "- alert: "));
    let questions = text.lines().filter_map(|line| of(line, "expr: "));
    names.zip(questions).collect()
}

impl Story {
    /// It is about days, and is told with an evaluation each half hour: as the rules are it would take a minute.
    fn is_of_days(&self) -> bool {
        ["25h", "8d"].contains(&self.at)
    }
}

/// The stories as promtool reads them. Counted, and not compared, so that no text of an alert is written twice.
fn unit_tests<'s>(rules: &Path, every: &str, stories: impl Iterator<Item = &'s Story>) -> String {
    let mut text = format!("rule_files: ['{}']\nevaluation_interval: {every}\ntests:\n", rules.display());
    for Story { alert, what, series, at, fires } in stories {
        let name = format!("{alert}: {what}");
        let _ = write!(text, "  - name: {name:?}\n    interval: {every}\n    input_series:\n");
        for (name, values) in *series {
            let name = name.replace('\'', "\"");
            let _ = writeln!(text, "      - {{ series: 'llm_incident_manager_{name}', values: '{values}' }}");
        }
        // An alert without one is in the state before it fires, or not there.
        let _ = write!(
            text,
            "    promql_expr_test:\n      - expr: count(ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}) or vector(0)\n        \
             eval_time: {at}\n        exp_samples: [{{ value: {} }}]\n",
            u8::from(*fires)
        );
    }
    text
}

#[test]
fn each_alert_fires_when_it_should_and_else_is_silent() {
    let told =
        |fires: bool| STORIES.iter().filter(move |story| story.fires == fires).map(|story| story.alert);
    let names: BTreeSet<_> = alerts().into_iter().map(|(name, _)| name).collect();
    assert!(names.len() > 20, "{names:?}");
    for is_firing in [true, false] {
        assert_eq!(told(is_firing).map(str::to_owned).collect::<BTreeSet<_>>(), names, "fires: {is_firing}");
    }
    let folder = tempfile::tempdir().unwrap();
    let seldom = folder.path().join("seldom.yaml");
    let text = std::fs::read_to_string(rules()).unwrap();
    std::fs::write(&seldom, text.replace("interval: 30s", "interval: 30m")).unwrap();
    for (rules, every, is_of_days) in [(rules(), "30s", false), (seldom, "30m", true)] {
        let stories = STORIES.iter().filter(|story| story.is_of_days() == is_of_days);
        std::fs::write(folder.path().join("stories.yaml"), unit_tests(&rules, every, stories)).unwrap();
        let (status, said) = promtool_in(folder.path(), &["test", "rules", "stories.yaml"]);
        assert!(status.success(), "{said}");
    }
}

/// docs/metrics.md is compared with a scrape elsewhere.
#[test]
fn the_alerts_ask_for_metrics_that_there_are() {
    let documentation = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut asked = 0;
    for (alert, question) in alerts() {
        let words =
            question.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
        for name in words.filter_map(|word| word.strip_prefix("llm_incident_manager_")) {
            assert!(documentation.contains(&format!("| `<ns>_{name}` |")), "{alert} asks for {name}");
            asked += 1;
        }
    }
    assert!(asked > 20);
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let text = std::fs::read_to_string(rules()).unwrap();
    let mut names = BTreeSet::new();
    for (name, _) in alerts() {
        assert!(text.contains(&format!("/docs/runbooks/{name}.md\n")), "{name} names its runbook");
        let runbook = std::fs::read_to_string(root().join(format!("docs/runbooks/{name}.md")));
        let runbook = runbook.unwrap_or_else(|error| panic!("{name}: {error}"));
        for part in [&format!("# {name}\n"), "## What it means\n", "## What to look at\n", "## What to do\n"]
        {
            assert!(runbook.contains(part), "{name} has no {part:?}");
        }
        names.insert(format!("{name}.md"));
    }
    let files = std::fs::read_dir(root().join("docs/runbooks")).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, names);
}
