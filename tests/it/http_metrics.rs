//! What `/metrics` shows: every name from a breaker's birth, the right figures, and a bounded number of series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use breaker::{Attribution, Field, Layer, Outcome, OverrideKind, Report, Value};
use breakerd::catalog::{Catalog, Declaration};
use breakerd::engine::Target;
use breakerd::journal::{JournalStats, WriteTimes};
use breakerd::metrics::{Format, Metrics, Namespace};
use breakerd::store::{ConfigEdit, ConfigWrite, StoreError};
use breakerd_common::clock::Clock;

use crate::http_world::{IDLE_TTL, START_SECONDS, Scrape, World};

/// Labels of the breaker that the tests ask about.
const SENTINEL: &str = r#"service="sentinel",name="sentinel""#;

/// Every series of a breaker, in the words of the design.
const SERIES: [(&str, &[&str]); 26] = [
    ("state", &[""]),
    ("override", &["override=\"FORCED_OPEN\"", "override=\"DISABLED\"", "override=\"METRICS_ONLY\""]),
    ("calls_total", &[""]),
    ("successful_calls_total", &[""]),
    ("failed_calls_total", &[""]),
    ("ignored_calls_total", &[""]),
    ("late_outcomes_total", &[""]),
    ("slow_calls_total", &[""]),
    ("would_be_rejected_calls_total", &[""]),
    ("probe_timeouts_total", &[""]),
    (
        "rejected_calls_total",
        &["reason=\"OPEN\"", "reason=\"HALF_OPEN_EXHAUSTED\"", "reason=\"FORCED_OPEN\""],
    ),
    (
        "transitions_total",
        &[
            r#"from="CLOSED",to="OPEN",reason="CONSECUTIVE_FAILURES""#,
            r#"from="CLOSED",to="OPEN",reason="FAILURE_COUNT""#,
            r#"from="CLOSED",to="OPEN",reason="FAILURE_RATE""#,
            r#"from="CLOSED",to="OPEN",reason="SLOW_CALL_RATE""#,
            r#"from="OPEN",to="HALF_OPEN",reason="WAIT_ELAPSED""#,
            r#"from="HALF_OPEN",to="CLOSED",reason="PROBES_SUCCEEDED""#,
            r#"from="HALF_OPEN",to="OPEN",reason="PROBES_FAILED""#,
        ],
    ),
    ("shadow_transitions_total", &[""]),
    ("failure_ratio", &[""]),
    ("failure_ratio_threshold", &[""]),
    ("slow_call_ratio", &[""]),
    ("slow_call_ratio_threshold", &[""]),
    ("window_calls", &[""]),
    ("window_calls_min", &[""]),
    ("window_failures", &[""]),
    ("window_failures_threshold", &[""]),
    ("consecutive_failures", &[""]),
    ("consecutive_failures_threshold", &[""]),
    ("probes_in_flight", &[""]),
    ("open_until_timestamp_seconds", &[""]),
    ("last_transition_timestamp_seconds", &[""]),
];

/// Whether a breaker that was never used shows this in it: nothing is counted yet, and thresholds are there, or are not set.
fn is_of_an_unused_breaker(series: &str, value: f64) -> bool {
    if series.ends_with("_threshold") || series.ends_with("_min") {
        return value.is_nan() || value > 0.0;
    }
    value == 0.0 || (series.ends_with("_ratio") && value.is_nan())
}

fn of(breaker: &str, series: &str) -> String {
    of_with(breaker, series, "")
}

fn of_with(breaker: &str, series: &str, labels: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("circuit_breaker_{series}{{{breaker}{comma}{labels}}}")
}

#[tokio::test]
async fn every_series_is_there_from_birth_and_goes_with_its_breaker() {
    let world = World::loaded().await;
    assert_eq!(world.scrape().await.samples("sentinel"), [""; 0]);

    world.engine.allow("sentinel", "", world.clock.now()).unwrap();
    let scrape = world.scrape().await;
    for (series, label_sets) in SERIES {
        for labels in label_sets {
            let sample = of_with(SENTINEL, series, labels);
            let value = scrape.value(&sample).unwrap_or_else(|| panic!("{sample} is missing"));
            assert!(is_of_an_unused_breaker(series, value), "{sample} {value}");
        }
    }
    let durations = r#"circuit_breaker_call_duration_seconds_count{service="sentinel"}"#;
    assert_eq!(scrape.value(durations), Some(0.0));
    assert_eq!(scrape.value(r#"circuit_breakers{state="CLOSED"}"#), Some(1.0));
    assert_eq!(scrape.value(r#"circuit_breakers{state="OPEN"}"#), Some(0.0));

    world.clock.advance(IDLE_TTL);
    assert_eq!(world.engine.sweep(u64::MAX, world.clock.now()), 1);
    assert_eq!(world.scrape().await.samples("sentinel"), [""; 0]);
}

#[tokio::test]
async fn breakers_that_were_evicted_are_counted_until_they_are_used_again() {
    let world = World::loaded().await;
    let evicted = async || world.scrape().await.value("circuit_breakers_evicted");
    assert_eq!(evicted().await, Some(0.0));
    world.fail("sentinel", "", 5);
    let by = Attribution { actor: "ann".to_owned(), reason: "repaired".to_owned() };
    world.engine.reset("sentinel", "", by, world.clock.now()).unwrap();
    world.clock.advance(IDLE_TTL);
    assert_eq!(world.engine.sweep(u64::MAX, world.clock.now()), 1);
    assert_eq!(evicted().await, Some(1.0));
    world.engine.allow("sentinel", "", world.clock.now()).unwrap();
    assert_eq!(evicted().await, Some(0.0));
}

#[tokio::test]
async fn figures_tell_the_story_of_a_trip_and_its_end() {
    let world = World::loaded().await;
    let now = world.clock.now();
    let late = world.engine.allow("sentinel", "", now).unwrap().permit;
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Success, Outcome::Ignored] {
        world.call("sentinel", "", outcome);
    }
    let scrape = world.scrape().await;
    let rate = scrape.value(&of(SENTINEL, "failure_ratio")).unwrap();
    assert!((rate - 1.0 / 3.0).abs() < 1e-9, "{rate}");

    world.fail("sentinel", "", 7);
    world
        .engine
        .record(
            Target { permit: late, service: "", name: "", epoch: None },
            &Report::plain(Outcome::Failure),
            now,
        )
        .unwrap();
    let scrape = world.scrape().await;
    let open_until = f64::from(u32::try_from(START_SECONDS).unwrap()) + 60.0;
    for (series, labels, expected) in [
        ("state", "", 1.0),
        ("calls_total", "", 8.0),
        ("successful_calls_total", "", 2.0),
        ("failed_calls_total", "", 6.0),
        ("ignored_calls_total", "", 1.0),
        ("late_outcomes_total", "", 1.0),
        ("rejected_calls_total", "reason=\"OPEN\"", 2.0),
        ("transitions_total", r#"from="CLOSED",to="OPEN",reason="CONSECUTIVE_FAILURES""#, 1.0),
        ("consecutive_failures", "", 5.0),
        ("open_until_timestamp_seconds", "", open_until),
        (
            "not_closed_since_timestamp_seconds",
            r#"state="OPEN",reason="CONSECUTIVE_FAILURES""#,
            open_until - 60.0,
        ),
    ] {
        assert_eq!(scrape.value(&of_with(SENTINEL, series, labels)), Some(expected), "{series}");
    }
    assert!(scrape.value(&of(SENTINEL, "failure_ratio")).unwrap().is_nan());
    let duration = |part: &str| format!("circuit_breaker_call_duration_seconds_{part}");
    assert_eq!(scrape.value(&duration(r#"bucket{service="sentinel",le="0.025"}"#)), Some(0.0));
    assert_eq!(scrape.value(&duration(r#"bucket{service="sentinel",le="0.05"}"#)), Some(8.0));
    assert_eq!(scrape.value(&duration(r#"bucket{service="sentinel",le="+Inf"}"#)), Some(8.0));
    assert_eq!(scrape.value(&duration(r#"sum{service="sentinel"}"#)), Some(0.24));

    // Nobody calls: the scrape itself sees that the wait is over.
    world.clock.advance(Duration::from_mins(1));
    let scrape = world.scrape().await;
    assert_eq!(scrape.value(&of(SENTINEL, "state")), Some(2.0));
    assert_eq!(scrape.value(&of(SENTINEL, "open_until_timestamp_seconds")), Some(0.0));
    for _ in 0..2 {
        world.call("sentinel", "", Outcome::Success);
    }
    let scrape = world.scrape().await;
    assert_eq!(scrape.value(&of(SENTINEL, "state")), Some(0.0));
    let closed = r#"from="HALF_OPEN",to="CLOSED",reason="PROBES_SUCCEEDED""#;
    assert_eq!(scrape.value(&of_with(SENTINEL, "transitions_total", closed)), Some(1.0));
    assert_eq!(scrape.samples("not_closed_since"), [""; 0]);
}

#[tokio::test]
async fn an_override_shows_what_it_does_to_calls_and_which_it_is() {
    let world = World::loaded().await;
    let expires_at = world.clock.now() + Duration::from_secs(30);
    for (service, kind, expires_at, state) in [
        ("a", OverrideKind::ForcedOpen, Some(expires_at), 1.0),
        ("b", OverrideKind::ForcedOpen, None, 1.0),
        ("c", OverrideKind::Disabled, None, 0.0),
        ("d", OverrideKind::MetricsOnly, None, 0.0),
    ] {
        world.set(service, "", kind, expires_at);
        let scrape = world.scrape().await;
        let breaker = format!(r#"service="{service}",name="{service}""#);
        assert_eq!(scrape.value(&of(&breaker, "state")), Some(state), "{service}");
        for other in OverrideKind::ALL {
            let label = format!("override=\"{other}\"");
            let expected = f64::from(u8::from(*other == kind));
            assert_eq!(scrape.value(&of_with(&breaker, "override", &label)), Some(expected), "{service}");
        }
    }
    let open_until = of(r#"service="a",name="a""#, "open_until_timestamp_seconds");
    assert_eq!(world.scrape().await.value(&open_until), Some(1_030.0));
    world.clock.advance(Duration::from_secs(30));
    let scrape = world.scrape().await;
    assert_eq!(scrape.value(&open_until), Some(0.0));
    let expired = r#"from="FORCED_OPEN",to="CLOSED",reason="OVERRIDE_EXPIRED""#;
    let expired = of_with(r#"service="a",name="a""#, "transitions_total", expired);
    assert_eq!(scrape.value(&expired), Some(1.0));
}

#[tokio::test]
async fn while_breakerd_is_disabled_every_circuit_shows_it() {
    let world = World::loaded().await;
    world.fail("sentinel", "", 5);
    let disabled = Declaration { enabled: false, ..Declaration::default() };
    let catalog = Catalog::new(&disabled, 43, &BTreeMap::new()).unwrap();
    world.engine.apply(&Arc::new(catalog), world.clock.now());
    let scrape = world.scrape().await;
    assert_eq!(scrape.value("breakerd_config_revision"), Some(43.0));
    assert_eq!(scrape.value(&of(SENTINEL, "state")), Some(0.0));
    assert_eq!(scrape.value(&of_with(SENTINEL, "override", "override=\"DISABLED\"")), Some(1.0));
    assert_eq!(scrape.value(&of(SENTINEL, "open_until_timestamp_seconds")), Some(0.0));
    assert_eq!(scrape.value(r#"circuit_breakers{state="DISABLED"}"#), Some(1.0));
}

#[test]
fn another_namespace_is_in_every_name_but_those_of_the_process() {
    let metrics = Metrics::new(Namespace::new("acme").unwrap());
    metrics.show_journal(Arc::new(JournalStats::default)).unwrap();
    let text = metrics.render(Format::Text).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(names.len() > 5);
    for name in names {
        assert!(name.starts_with("acme_breakerd_") || name.starts_with("process_"), "{name}");
    }
}

#[tokio::test]
async fn breakers_beyond_the_bound_are_counted_together_and_never_backwards() {
    let world = World::with_own_series(2).await;
    for name in ["a", "b", "c", "d"] {
        world.call("s", name, Outcome::Success);
        world.call("s", name, Outcome::Failure);
    }
    world.fail("s", "d", 5);
    let other = r#"service="__other__",name="__other__""#;
    let scrape = world.scrape().await;
    assert_eq!(scrape.value(&of(r#"service="s",name="a""#, "calls_total")), Some(2.0));
    assert_eq!(scrape.value(&of(r#"service="s",name="c""#, "calls_total")), None);
    assert_eq!(scrape.value(&of(other, "calls_total")), Some(8.0));
    assert_eq!(scrape.value(&of(other, "successful_calls_total")), Some(2.0));
    assert_eq!(scrape.value(&of_with(other, "rejected_calls_total", "reason=\"OPEN\"")), Some(1.0));
    assert_eq!(scrape.value(&of(other, "state")), None);
    // An open circuit is not invisible, whatever its number.
    let open = r#"service="s",name="d""#;
    assert_eq!(scrape.value(&of(open, "state")), Some(1.0));
    let since = r#"state="OPEN",reason="CONSECUTIVE_FAILURES""#;
    assert!(scrape.value(&of_with(open, "not_closed_since_timestamp_seconds", since)).is_some());
    assert!(scrape.value(&of(open, "open_until_timestamp_seconds")).unwrap() > 0.0);
    assert_eq!(scrape.value(&of(open, "calls_total")), None);
    assert_eq!(scrape.value(&of(r#"service="s",name="c""#, "state")), None);
    assert_eq!(scrape.value(r#"circuit_breakers{state="CLOSED"}"#), Some(3.0));
    assert_eq!(scrape.value(r#"circuit_breakers{state="OPEN"}"#), Some(1.0));

    // `d` is open and stays; what `c` counted stays in the sum.
    world.clock.advance(IDLE_TTL);
    assert_eq!(world.engine.sweep(u64::MAX, world.clock.now()), 3);
    let scrape = world.scrape().await;
    assert_eq!(scrape.value(&of(other, "calls_total")), Some(8.0));
    assert_eq!(scrape.samples("name=\"a\""), [""; 0]);
}

#[tokio::test]
async fn a_service_that_calls_itself_other_is_one_of_the_others() {
    // Five services, two with a histogram of their own: the first of them has the name of all the others.
    let world = World::with_own_series(2).await;
    for service in ["__other__", "a", "b", "c", "d"] {
        world.call(service, "", Outcome::Success);
    }
    world.call("__other__", "x", Outcome::Success);
    let scrape = world.scrape().await;
    let samples = scrape.samples("");
    let series: BTreeSet<_> =
        samples.iter().filter_map(|sample| sample.split_once(' ')).map(|(series, _)| series).collect();
    assert_eq!(series.len(), samples.len(), "a series is given twice");
    let other = r#"service="__other__",name="__other__""#;
    assert_eq!(scrape.value(&of(other, "calls_total")), Some(5.0));
    let durations = r#"circuit_breaker_call_duration_seconds_count{service="__other__"}"#;
    assert_eq!(scrape.value(durations), Some(5.0));
}

#[tokio::test]
async fn a_crowd_of_breakers_does_not_make_a_crowd_of_series() {
    let world = World::with_own_series(10).await;
    for number in 0..10 {
        world.call("s", &number.to_string(), Outcome::Success);
    }
    let few = world.scrape().await.samples("").len();
    for number in 10..5_000 {
        world.call("s", &number.to_string(), Outcome::Success);
    }
    let many = world.scrape().await;
    let others = many.samples("__other__").len();
    assert_eq!(many.samples("").len(), few + others);
    assert!(others < 30, "{others}");
}

#[tokio::test]
async fn the_journal_is_read_at_the_scrape() {
    let world = World::loaded().await;
    assert_eq!(world.scrape().await.samples("breakerd_journal"), [""; 0]);
    let stats = JournalStats {
        depth: 3,
        lag: Duration::from_millis(1_500),
        dropped: 2,
        write_errors: 1,
        appended: 9,
        bytes: 7,
        bytes_max: 8,
        in_memory: 5,
        write_times: WriteTimes {
            cumulative: std::array::from_fn(|index| u64::from(index > 2)),
            count: 2,
            sum: Duration::from_millis(30),
        },
        ..JournalStats::default()
    };
    world.app.metrics.show_journal(Arc::new(move || stats)).unwrap();
    let scrape = world.scrape().await;
    assert_eq!(scrape.value("breakerd_journal_depth"), Some(3.0));
    assert_eq!(scrape.value("breakerd_journal_lag_seconds"), Some(1.5));
    assert_eq!(scrape.value("breakerd_journal_appended_total"), Some(9.0));
    assert_eq!(scrape.value("breakerd_journal_dropped_total"), Some(2.0));
    assert_eq!(scrape.value("breakerd_journal_write_errors_total"), Some(1.0));
    assert_eq!(scrape.value("breakerd_journal_bytes"), Some(7.0));
    assert_eq!(scrape.value("breakerd_journal_bytes_max"), Some(8.0));
    assert_eq!(scrape.value("breakerd_journal_in_memory"), Some(5.0));
    assert_eq!(scrape.value("breakerd_journal_write_duration_seconds_count"), Some(2.0));
    assert_eq!(scrape.value("breakerd_journal_write_duration_seconds_sum"), Some(0.03));
    let within = |bound: &str| format!("breakerd_journal_write_duration_seconds_bucket{{le=\"{bound}\"}}");
    assert_eq!(scrape.value(&within("0.0001")), Some(0.0));
    assert_eq!(scrape.value(&within("0.0003")), Some(1.0));
    assert!(world.app.metrics.show_journal(Arc::new(move || stats)).is_err());
}

#[tokio::test]
async fn the_store_is_watched() {
    let world = World::loaded().await;
    let scrape = world.scrape().await;
    assert_eq!(scrape.value("breakerd_store_reachable"), Some(0.0));
    assert_eq!(scrape.value(r#"breakerd_store_errors_total{operation="propose"}"#), Some(0.0));

    world.store.write_config(&no_change()).await.unwrap();
    world.store.revision().await.unwrap();
    let scrape = world.scrape().await;
    assert_eq!(scrape.value("breakerd_store_reachable"), Some(1.0));
    assert_eq!(scrape.value("breakerd_store_revision"), Some(11.0), "the newest one seen");
    let count = r#"breakerd_store_operation_duration_seconds_count{operation="write_config"}"#;
    assert_eq!(scrape.value(count), Some(1.0));

    world.database.go_away();
    let refused = world.store.ping().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }));
    let scrape = world.scrape().await;
    assert_eq!(scrape.value("breakerd_store_reachable"), Some(0.0));
    assert_eq!(scrape.value(r#"breakerd_store_errors_total{operation="ping"}"#), Some(1.0));
    assert_eq!(scrape.value(r#"breakerd_store_errors_total{operation="write_config"}"#), Some(0.0));
}

#[tokio::test]
async fn the_page_is_prometheus_text() {
    let world = World::loaded().await;
    let page = world.get("/metrics").await;
    assert_eq!(page.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(page.headers["vary"], "Accept, Accept-Encoding");
    assert!(!page.headers.contains_key("content-encoding"));
    let scrape = Scrape(page.text);
    assert_eq!(scrape.value(r#"breakerd_connections{protocol="http"}"#), Some(1.0));
    assert!(scrape.value(r#"breakerd_connections_max{protocol="http"}"#) > Some(1.0));
}

#[tokio::test]
async fn whoever_takes_open_metrics_and_gzip_gets_them() {
    let world = World::loaded().await;
    world.fail("sentinel", "", 7);
    let url = format!("http://{}/metrics", world.address);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(url)
        .header("accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3")
        .header("accept-encoding", "gzip");
    let response = request.send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let compressed = response.bytes().await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*compressed), &mut text).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let rejected =
        r#"circuit_breaker_rejected_calls_total{service="sentinel",name="sentinel",reason="OPEN"} 2.0"#;
    assert!(text.contains(rejected), "{text}");
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: BTreeSet<_> = families.iter().filter_map(|family| family.split(' ').next()).collect();
    assert_eq!(names.len(), families.len(), "a family is given twice");
    assert!(!families.iter().any(|family| family.ends_with(" unknown")), "{families:?}");
    assert!(compressed.len() < text.len() / 4, "{} of {} bytes", compressed.len(), text.len());
}

#[tokio::test]
async fn a_breaker_shows_what_it_is_judged_by_and_how_far_it_is() {
    let world = World::loaded().await;
    let by_counts = world.engine.allow("sentinel", "", world.clock.now()).unwrap();
    assert!(by_counts.permit.is_some());
    let scrape = world.scrape().await;
    let value = |scrape: &Scrape, series: &str| scrape.value(&of(SENTINEL, series));
    assert_eq!(value(&scrape, "consecutive_failures_threshold"), Some(5.0));
    assert!(value(&scrape, "failure_ratio_threshold").unwrap().is_nan());
    assert_eq!(value(&scrape, "last_transition_timestamp_seconds"), Some(0.0));

    let mut defaults = Layer::default();
    for (field, value) in [
        (Field::FailureThreshold, Value::Count(0)),
        (Field::FailureRateThreshold, Value::Rate(50_000)),
        (Field::FailureCountThreshold, Value::Count(6)),
        (Field::SlowCallRateThreshold, Value::Rate(80_000)),
        (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_millis(20))),
        (Field::MinimumNumberOfCalls, Value::Count(8)),
    ] {
        defaults.set(field, value).unwrap();
    }
    let catalog =
        Catalog::new(&Declaration { defaults, ..Declaration::default() }, 43, &BTreeMap::new()).unwrap();
    world.engine.apply(&Arc::new(catalog), world.clock.now());
    for outcome in [Outcome::Failure, Outcome::Success, Outcome::Success, Outcome::Success] {
        world.call("sentinel", "", outcome);
    }
    let scrape = world.scrape().await;
    for (series, expected) in [
        ("failure_ratio", 0.25),
        ("failure_ratio_threshold", 0.5),
        ("slow_call_ratio", 1.0),
        ("slow_call_ratio_threshold", 0.8),
        ("window_calls", 4.0),
        ("window_calls_min", 8.0),
        ("window_failures", 1.0),
        ("window_failures_threshold", 6.0),
        ("probes_in_flight", 0.0),
    ] {
        assert_eq!(value(&scrape, series), Some(expected), "{series}");
    }
    assert!(value(&scrape, "consecutive_failures_threshold").unwrap().is_nan());

    world.clock.advance(Duration::from_secs(5));
    world.fail("sentinel", "", 4);
    let opened_at = f64::from(u32::try_from(START_SECONDS).unwrap()) + 5.0;
    let scrape = world.scrape().await;
    assert_eq!(value(&scrape, "state"), Some(1.0));
    assert_eq!(value(&scrape, "last_transition_timestamp_seconds"), Some(opened_at));
    assert!(value(&scrape, "slow_call_ratio").unwrap().is_nan());
    world.clock.advance(Duration::from_mins(1));
    assert!(world.engine.allow("sentinel", "", world.clock.now()).unwrap().permit.is_some());
    assert_eq!(value(&world.scrape().await, "probes_in_flight"), Some(1.0));
}

fn no_change() -> ConfigWrite<'static> {
    ConfigWrite {
        based_on: 0,
        edit: ConfigEdit::Generation(1),
        touched: BTreeSet::new(),
        attribution: Attribution { actor: String::new(), reason: String::new() },
        request: None,
        waits: &|_, _| None,
    }
}
