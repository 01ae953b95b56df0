//! The health pages say exactly what they are documented to say.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Outcome, OverrideKind};
use breakerd::journal::JournalStats;
use serde_json::{Value, json};

use crate::http_world::{JOURNAL_LAG_MAX, Page, World};

fn body(page: &Page) -> (u16, Value) {
    (page.status, serde_json::from_str(&page.text).unwrap())
}

async fn get(world: &World, path: &str) -> (u16, Value) {
    body(&world.get(path).await)
}

fn circuit(service: &str, name: &str, state: &str, failures: u32, successes: u32, epoch: u64) -> Value {
    json!({
        "name": name, "service": service, "state": state, "consecutive_failures": failures,
        "consecutive_successes": successes, "transition_count": epoch,
    })
}

#[tokio::test]
async fn circuits_are_healthy_while_calls_pass() {
    let world = World::loaded().await;
    world.call("sentinel", "", Outcome::Success);
    world.call("notifications", "slack", Outcome::Failure);
    let expected = json!({
        "status": "healthy",
        "circuit_breakers": { "total": 2, "closed": 2, "open": 0, "half_open": 0 },
        "details": [
            circuit("sentinel", "sentinel", "Closed", 0, 1, 0),
            circuit("notifications", "slack", "Closed", 1, 0, 0),
        ],
    });
    assert_eq!(get(&world, "/health/circuit-breakers").await, (200, expected));
}

#[tokio::test]
async fn one_open_circuit_degrades_the_page() {
    let world = World::loaded().await;
    world.call("database", "", Outcome::Success);
    world.fail("sentinel", "", 5);
    let expected = json!({
        "status": "degraded",
        "circuit_breakers": { "total": 2, "closed": 1, "open": 1, "half_open": 0 },
        "details": [
            circuit("sentinel", "sentinel", "Open", 5, 0, 1),
            circuit("database", "database", "Closed", 0, 1, 0),
        ],
    });
    assert_eq!(get(&world, "/health/circuit-breakers").await, (503, expected));

    world.clock.advance(Duration::from_mins(1));
    let (status, page) = get(&world, "/health/circuit-breakers").await;
    assert_eq!(status, 200);
    assert_eq!(page["circuit_breakers"], json!({ "total": 2, "closed": 1, "open": 0, "half_open": 1 }));
    assert_eq!(page["details"][0], circuit("sentinel", "sentinel", "HalfOpen", 0, 0, 2));
}

#[tokio::test]
async fn what_an_operator_set_counts_as_what_it_does_to_calls() {
    let world = World::loaded().await;
    world.set("a", "", OverrideKind::MetricsOnly, None);
    world.set("b", "", OverrideKind::Disabled, None);
    world.call("c", "", Outcome::Success);
    let (status, page) = get(&world, "/health/circuit-breakers").await;
    assert_eq!((status, &page["status"]), (200, &json!("healthy")));
    assert_eq!(page["circuit_breakers"], json!({ "total": 3, "closed": 3, "open": 0, "half_open": 0 }));

    world.set("d", "", OverrideKind::ForcedOpen, None);
    let (status, page) = get(&world, "/health/circuit-breakers").await;
    assert_eq!((status, &page["status"]), (503, &json!("degraded")));
    assert_eq!(page["circuit_breakers"], json!({ "total": 4, "closed": 3, "open": 1, "half_open": 0 }));
    let shown: Vec<_> = page["details"].as_array().unwrap().iter().map(|detail| &detail["state"]).collect();
    assert_eq!(shown, ["MetricsOnly", "Disabled", "ForcedOpen", "Closed"]);
}

#[tokio::test]
async fn a_thousand_circuits_are_shown_those_not_closed_first() {
    let world = World::loaded().await;
    for number in 0..1_100 {
        world.call("fleet", &format!("node-{number:04}"), Outcome::Success);
    }
    world.fail("fleet", "node-1099", 5);
    let (status, page) = get(&world, "/health/circuit-breakers").await;
    assert_eq!(status, 503);
    assert_eq!(page["circuit_breakers"]["total"], 1_100);
    let details = page["details"].as_array().unwrap();
    assert_eq!(details.len(), 1_000);
    assert_eq!(details[0]["name"], "node-1099");
    assert_eq!(details[1]["name"], "node-0000");
    assert_eq!(details[999]["name"], "node-0998");
}

#[tokio::test]
async fn before_it_is_loaded_breakerd_lives_and_is_not_ready() {
    let world = World::not_loaded(10, Duration::ZERO).await;
    assert_eq!(get(&world, "/livez").await, (200, json!({ "status": "alive" })));
    let not_ready = json!({ "status": "not_ready", "reason": "loading" });
    assert_eq!(get(&world, "/readyz").await, (503, not_ready));
    let loading = json!({
        "status": "loading",
        "circuit_breakers": { "total": 0, "closed": 0, "open": 0, "half_open": 0 },
        "details": [],
    });
    assert_eq!(get(&world, "/health/circuit-breakers").await, (503, loading));
    assert_eq!(get(&world, "/health").await.0, 503);
    assert_eq!(world.get("/metrics").await.status, 200);

    world.load();
    assert_eq!(get(&world, "/readyz").await, (200, json!({ "status": "ready" })));
}

#[tokio::test]
async fn a_database_that_is_away_leaves_breakerd_ready() {
    let world = World::loaded().await;
    world.call("sentinel", "", Outcome::Success);
    world.store.ping().await.unwrap();
    let stats = JournalStats { depth: 3, lag: Duration::from_millis(1_500), ..JournalStats::default() };
    world.app.metrics.show_journal(Arc::new(move || stats)).unwrap();
    world.clock.advance(Duration::from_millis(61_500));
    let mut expected = json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": 61,
        "loaded": true,
        "problems": [],
        "store": { "reachable": true, "writable": true },
        "journal": { "depth": 3, "lag_seconds": 1.5, "dropped": 0, "writable": true },
        "breakers": 1,
    });
    assert_eq!(get(&world, "/health").await, (200, expected.clone()));

    world.database.go_away();
    world.store.ping().await.unwrap_err();
    expected["status"] = json!("degraded");
    expected["store"] =
        json!({ "reachable": false, "writable": true, "unreachable_since": "1970-01-01T00:17:41Z" });
    expected["problems"] = json!(["store_unreachable"]);
    assert_eq!(get(&world, "/health").await, (200, expected));
    assert_eq!(get(&world, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_store_that_can_be_read_and_not_written_is_degraded_until_a_write_works() {
    let world = World::loaded().await;
    world.store.ping().await.unwrap();
    assert_eq!(get(&world, "/health").await.1["status"], "healthy");

    world.database.set_read_only(true);
    world.store.propose(&[]).await.unwrap_err();
    world.store.check_writable().await.unwrap_err();
    world.store.ping().await.unwrap();
    world.store.revision().await.unwrap();
    let (status, page) = get(&world, "/health").await;
    assert_eq!((status, &page["status"]), (200, &json!("degraded")));
    assert_eq!(page["problems"], json!(["store_refuses_transitions", "store_refuses_changes"]));
    assert_eq!(page["store"], json!({ "reachable": true, "writable": false }));
    assert_eq!(world.scrape().await.value("breakerd_store_writable"), Some(0.0));
    assert_eq!(get(&world, "/readyz").await.0, 200, "decisions are made from memory");

    world.database.set_read_only(false);
    world.store.check_writable().await.unwrap();
    let page = get(&world, "/health").await.1;
    assert_eq!(page["problems"], json!(["store_refuses_transitions"]), "the batch was not taken yet");
    world.store.propose(&[]).await.unwrap();
    assert_eq!(get(&world, "/health").await.1["status"], "healthy");
    assert_eq!(world.scrape().await.value("breakerd_store_writable"), Some(1.0));
}

#[tokio::test]
async fn a_journal_that_lags_or_cannot_be_written_is_degraded() {
    let world = World::loaded().await;
    world.store.ping().await.unwrap();
    let stats = Arc::new(parking_lot::Mutex::new(JournalStats::default()));
    let shown = Arc::clone(&stats);
    world.app.metrics.show_journal(Arc::new(move || *shown.lock())).unwrap();
    for (now, problems) in [
        (JournalStats::default(), json!([])),
        (JournalStats { lag: JOURNAL_LAG_MAX, ..JournalStats::default() }, json!([])),
        (
            JournalStats { lag: JOURNAL_LAG_MAX + Duration::from_secs(1), ..JournalStats::default() },
            json!(["journal_lags"]),
        ),
        (JournalStats { write_failing: true, ..JournalStats::default() }, json!(["journal_unwritable"])),
    ] {
        *stats.lock() = now;
        let page = get(&world, "/health").await.1;
        assert_eq!(page["status"], if problems == json!([]) { "healthy" } else { "degraded" });
        assert_eq!(page["problems"], problems);
        assert_eq!(page["journal"]["writable"], !now.write_failing);
    }
}

#[tokio::test]
async fn whoever_is_shutting_down_says_so() {
    let world = World::loaded().await;
    world.app.status.shut_down();
    let not_ready = json!({ "status": "not_ready", "reason": "shutting_down" });
    assert_eq!(get(&world, "/readyz").await, (503, not_ready));
    let (status, page) = get(&world, "/health").await;
    assert_eq!((status, &page["status"]), (503, &json!("shutting_down")));
    assert_eq!(get(&world, "/livez").await.0, 200);
}
