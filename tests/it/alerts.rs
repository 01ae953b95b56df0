//! The alerts of the chart, by promtool: each fires in one story and stays silent in another, asks for metrics that there are,
//! and has a runbook.

mod breakerd;
mod circuit_breakers;
mod restarts;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use self::story::Story;
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

fn stories() -> impl Iterator<Item = &'static Story> {
    circuit_breakers::STORIES.iter().chain(breakerd::STORIES).chain(restarts::STORIES)
}

fn instance(series: &str) -> &str {
    let (_, instance) = series.split_once("instance='").unwrap_or_else(|| panic!("{series} has no instance"));
    instance.split('\'').next().unwrap()
}

impl Story {
    /// How often the rules are evaluated: it takes a minute to tell of days each 30 seconds, as the rules are.
    fn every(&self) -> &'static str {
        if ["25h", "8d"].contains(&self.at) { "30m" } else { "30s" }
    }

    /// Its series by their full names. Each breakerd that is scraped says what it is, so a story tells that only where it is about it.
    fn all_series(&self) -> Vec<(String, &'static str)> {
        let full = |name: &str| match name.strip_prefix("process_") {
            Some(_) => name.to_owned(),
            None => format!("llm_incident_manager_{name}"),
        };
        let mut all: Vec<_> = self.series.iter().map(|(name, values)| (full(name), *values)).collect();
        if !self.series.iter().any(|(name, _)| name.starts_with("breakerd_build_info")) {
            let instances: BTreeSet<_> = self.series.iter().map(|(name, _)| instance(name)).collect();
            let said = |instance| full(&format!("breakerd_build_info{{version='1',instance='{instance}'}}"));
            all.extend(instances.into_iter().map(|instance| (said(instance), "1x500")));
        }
        all
    }
}

/// The rule of an alert, alone in its group.
fn rule(alert: &str, every: &str) -> String {
    let text = std::fs::read_to_string(rules()).unwrap();
    let (_, rest) = text.split_once(&format!("      - alert: {alert}\n")).unwrap();
    let body = rest.lines().take_while(|line| line.starts_with("        "));
    let body = body.collect::<Vec<_>>().join("\n");
    format!("groups:\n  - name: one\n    interval: {every}\n    rules:\n      - alert: {alert}\n{body}\n")
}

/// What becomes of an installation of breakerd, and the labels that its series have because of where it is.
type Installation = (&'static Story, &'static str);

/// A test as promtool reads it, of what happens to these installations at one time. How many alerts fire for which is counted and not compared, so that
/// no text of an alert is written twice.
fn unit_test(installations: &[Installation]) -> String {
    let Story { alert, at, .. } = installations[0].0;
    let every = installations[0].0.every();
    let told: Vec<_> =
        installations.iter().map(|(story, labels)| format!("{} {labels}", story.what)).collect();
    let mut text = format!("  - name: {:?}\n    interval: {every}\n    input_series:\n", told.join(", and "));
    for (story, labels) in installations {
        for (name, values) in story.all_series() {
            let comma = if labels.is_empty() { "" } else { "," };
            let name = name.replace('}', &format!("{comma}{labels}}}")).replace('\'', "\"");
            let _ = writeln!(text, "      - {{ series: '{name}', values: '{values}' }}");
        }
    }
    let firing = installations.iter().filter(|(story, _)| story.fires);
    let samples = firing
        .map(|(_, labels)| format!("{{ labels: '{{{}}}', value: 1 }}", labels.replace('\'', "\"")))
        .collect::<Vec<_>>()
        .join(", ");
    // An alert without a sample is in the state before it fires, or not there.
    let _ = write!(
        text,
        "    promql_expr_test:\n      - expr: count by (cluster, namespace, job) (ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}})\n        \
         eval_time: {at}\n        exp_samples: [{samples}]\n"
    );
    text
}

/// Promtool plays all of these.
fn play(tests: impl Iterator<Item = Vec<Installation>>) {
    let mut of_alerts = BTreeMap::<_, String>::new();
    for installations in tests {
        let Story { alert, .. } = installations[0].0;
        of_alerts
            .entry((*alert, installations[0].0.every()))
            .or_default()
            .push_str(&unit_test(&installations));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["test".to_owned(), "rules".to_owned()];
    for ((alert, every), tests) in of_alerts {
        std::fs::write(folder.path().join(format!("{alert}.yaml")), rule(alert, every)).unwrap();
        let text = format!("rule_files: ['{alert}.yaml']\nevaluation_interval: {every}\ntests:\n{tests}");
        std::fs::write(folder.path().join(format!("{alert}.tests.yaml")), text).unwrap();
        arguments.push(format!("{alert}.tests.yaml"));
    }
    let (status, said) =
        promtool_in(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(status.success(), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_else_is_silent() {
    let told = |fires: bool| stories().filter(move |story| story.fires == fires).map(|story| story.alert);
    let names: BTreeSet<_> = alerts().into_iter().map(|(name, _)| name).collect();
    assert!(names.len() > 20, "{names:?}");
    for is_firing in [true, false] {
        assert_eq!(told(is_firing).map(str::to_owned).collect::<BTreeSet<_>>(), names, "fires: {is_firing}");
    }
    play(stories().map(|story| vec![(story, "")]));
}

/// Installations have the same breakers, and differ from the first by one label each: the cluster, the namespace or the job. Each alert fires once for
/// each one whose story it is and for no other. If it is that of none, it is silent: what is below a limit in each is not added up.
#[test]
fn each_alert_tells_installations_apart() {
    let among = |story: &'static Story, others: &'static Story| {
        vec![
            (story, "cluster='eu',namespace='production',job='breakerd'"),
            (others, "cluster='us',namespace='production',job='breakerd'"),
            (others, "cluster='eu',namespace='staging',job='breakerd'"),
            (others, "cluster='eu',namespace='production',job='second'"),
        ]
    };
    let mut tests: Vec<_> = stories().map(|story| among(story, story)).collect();
    for (alert, _) in alerts() {
        let of_one_time = stories().filter(|story| story.alert == alert && story.fires).find_map(|fires| {
            let silent = stories().find(|story| story.alert == alert && !story.fires && story.at == fires.at);
            silent.map(|silent| (fires, silent))
        });
        let (fires, silent) = of_one_time
            .unwrap_or_else(|| panic!("{alert} has no two stories of one time, of which one is silent"));
        tests.extend([among(fires, silent), among(silent, fires)]);
    }
    play(tests.into_iter());
}

/// Before anything was scraped there is no installation to tell of.
#[test]
fn without_any_breakerd_one_alert_says_so() {
    const NOTHING: Story = Story {
        alert: "BreakerdDown",
        what: "nothing was ever scraped",
        series: &[("breakerd_build_info{version='1',instance='a'}", "_x20")],
        at: "5m",
        fires: true,
    };
    play(std::iter::once(vec![(&NOTHING, "")]));
}

/// A client of the same namespace of metrics, in a job of its own, exposes what it sees of the same breaker: breakerd tells of it, once.
#[test]
fn what_clients_expose_raises_no_alert() {
    const SEEN_TWICE: Story = Story {
        alert: "CircuitBreakerOpen",
        what: "a breaker is open, for breakerd and for a client",
        series: &[
            ("breakerd_build_info{version='1',instance='a'}", "1x40"),
            ("circuit_breaker_state{service='s',name='n',instance='a'}", "1x40"),
            ("circuit_breaker_state{service='s',name='n',instance='client',job='shop'}", "1x40"),
        ],
        at: "6m",
        fires: true,
    };
    play(std::iter::once(vec![(&SEEN_TWICE, "")]));
}

/// docs/metrics.md is compared with a scrape elsewhere.
#[test]
fn the_alerts_ask_for_metrics_that_there_are() {
    let documentation = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut asked = 0;
    for (alert, question) in alerts() {
        let words =
            question.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
        for name in
            words.filter(|word| word.starts_with("llm_incident_manager_") || word.starts_with("process_"))
        {
            let name = name.replace("llm_incident_manager_", "<ns>_");
            assert!(documentation.contains(&format!("| `{name}` |")), "{alert} asks for {name}");
            asked += 1;
        }
    }
    assert!(asked > 20);
}

/// A notification that a person reads often has the summary and no more.
#[test]
fn each_summary_says_of_which_installation_it_is() {
    let text = std::fs::read_to_string(rules()).unwrap();
    let summaries: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("summary: ")).collect();
    assert_eq!(summaries.len(), alerts().len());
    for summary in summaries {
        for label in ["$labels.job ", "$labels.namespace ", "$labels.cluster "] {
            assert!(summary.contains(label), "{summary} does not tell {label}");
        }
    }
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
