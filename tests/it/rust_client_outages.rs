//! The Rust client while breakerd is killed, paused, far away, or was never there: calls go on, and no trip is lost.

use std::time::Duration;

use breakerd_client::{Client, Error, Field, Layer, State, Value, WhenUnreachable};

use crate::client_road::ClientRoad;
use crate::process::{Process, eventually};
use crate::rust_client::{becomes, breakerd, connected, recovers, sum, trip};

#[tokio::test]
async fn a_process_goes_on_by_itself_when_breakerd_is_killed_and_follows_it_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let road = ClientRoad::to(&process.grpc).await;
    let client = connected(&road.url).await;
    let breaker = client.breaker("sentinel").unwrap();
    breaker.call(async { Ok::<_, ()>(()) }).await.unwrap();
    process.kill();
    road.cut();
    // Its dependency dies while breakerd is away: it trips here, by the thresholds that breakerd had told.
    let tripped = async || {
        let _ = breaker.call(async { Err::<(), _>(()) }).await;
        breaker.state() == State::Open && !client.is_connected()
    };
    eventually("it trips alone", tripped).await;
    assert!(matches!(breaker.call(async { Ok::<_, ()>(()) }).await, Err(Error::Open { .. })));
    // And recovers alone.
    recovers(&breaker).await;
    assert!(!client.is_connected());
    let back = Process::ready(folder.path(), None).await;
    road.lead_to(&back.grpc);
    eventually("the client is connected again", async || client.is_connected()).await;
    trip(&breaker).await;
    let another = connected(&back.grpc).await;
    becomes(&another.breaker("sentinel").unwrap(), State::Open).await;
    recovers(&breaker).await;
    eventually("all is answered", async || breaker.stats().reports.waiting == 0).await;
    let reports = breaker.stats().reports;
    assert_eq!(reports.reported, sum(reports), "{reports:?}");
    assert!(reports.alone > 0);
}

#[tokio::test]
async fn calls_that_were_decided_alone_are_counters_at_breakerd_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let road = ClientRoad::to(&process.grpc).await;
    let client = connected(&road.url).await;
    let breaker = client.breaker("patient").unwrap();
    road.cut();
    let tripped = async || {
        let _ = breaker.call(async { Err::<(), _>(()) }).await;
        breaker.state() == State::Open && !client.is_connected()
    };
    eventually("it trips alone", tripped).await;
    let stats = breaker.stats();
    road.lead_to(&process.grpc);
    eventually("the client is connected again", async || client.is_connected()).await;
    // It tripped here alone: its own wait goes on, so that not all processes flood a dependency that is dead together.
    assert_eq!(breaker.state(), State::Open);
    let counted = async || {
        let page = process.page("/metrics").await;
        let value = |name: &str, labels: &str| {
            let series = format!("llm_incident_manager_circuit_breaker_{name}{{{labels}}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned));
            line.map_or(0, |value| value.parse::<u64>().unwrap())
        };
        let own = "service=\"patient\",name=\"patient\"";
        let rejected = value("rejected_calls_total", "service=\"patient\",name=\"patient\",reason=\"OPEN\"");
        value("state", own) == 0
            && value("failed_calls_total", own) == stats.failed
            && rejected >= stats.rejected.open
    };
    eventually("breakerd counted what was decided alone, and stayed CLOSED", counted).await;
}

#[tokio::test]
async fn a_paused_breakerd_does_not_hold_up_calls_and_loses_no_trip() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = connected(&process.grpc).await;
    let breaker = client.breaker("patient").unwrap();
    process.signal("STOP");
    let tripped = async || {
        let _ = breaker.call(async { Err::<(), _>(()) }).await;
        breaker.state() == State::Open
    };
    eventually("it trips although breakerd says nothing", tripped).await;
    process.signal("CONT");
    let settled = async || client.is_connected() && breaker.stats().reports.waiting == 0;
    eventually("breakerd answers again", settled).await;
    let reports = breaker.stats().reports;
    assert_eq!(reports.reported, sum(reports), "{reports:?}");
}

#[tokio::test]
async fn without_a_breakerd_each_client_decides_as_it_was_told() {
    let layer = Layer::default().with(Field::FailureThreshold, Value::Count(2)).unwrap();
    // Nobody listens there.
    let nobody = "http://127.0.0.1:1";
    for what in [
        WhenUnreachable::Local,
        WhenUnreachable::Allow,
        WhenUnreachable::LastKnown { at_most: Duration::from_mins(1) },
        WhenUnreachable::Deny,
    ] {
        let builder = Client::builder(nobody).when_unreachable(what).fallback_thresholds("", layer.clone());
        let client = builder.wait_for_first_snapshot(Duration::ZERO).connect().await.unwrap();
        let breaker = client.breaker("sentinel").unwrap();
        let mut calls = 0;
        for _ in 0..5 {
            let call = async {
                calls += 1;
                Err::<(), _>(())
            };
            let _ = breaker.call(call).await;
        }
        let expected = match what {
            WhenUnreachable::Local => 2,
            WhenUnreachable::Deny => 0,
            _ => 5,
        };
        assert_eq!(calls, expected, "{what:?}");
        client.shutdown().await;
    }
}

#[tokio::test]
async fn a_road_that_takes_a_second_each_way_holds_up_no_call() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let road = ClientRoad::to(&process.grpc).await;
    let client = connected(&road.url).await;
    let breaker = client.breaker("patient").unwrap();
    road.delay(Duration::from_secs(1));
    let tripped = async || {
        let _ = breaker.call(async { Err::<(), _>(()) }).await;
        breaker.state() == State::Open
    };
    eventually("it trips", tripped).await;
    eventually("all is answered", async || breaker.stats().reports.waiting == 0).await;
    let reports = breaker.stats().reports;
    assert_eq!((reports.reported, reports.unknown), (sum(reports), 0), "{reports:?}");
}

#[tokio::test]
async fn why_there_is_no_connection_is_told() {
    let client = Client::builder("http://127.0.0.1:1").connect().await.unwrap();
    let error = client.connection_error().unwrap();
    assert!(error.contains("127.0.0.1:1") && error.contains("refused"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = connected(&process.grpc).await;
    assert_eq!(client.connection_error(), None);
    process.kill();
    eventually("it is gone", async || client.connection_error().is_some()).await;
}

/// Every call goes ahead or is rejected at once, whatever becomes of breakerd.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_load_go_on_while_breakerd_is_killed_and_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = breakerd(&folder).await;
    let road = ClientRoad::to(&process.grpc).await;
    let client = connected(&road.url).await;
    let breaker = client.breaker("sentinel").unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let calls: Vec<_> = (0..4)
        .map(|caller| {
            let (breaker, stop) = (breaker.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut made, mut rejected) = (0_u64, 0_u64);
                for turn in 0_u64.. {
                    // Mostly well; sometimes it fails three times in a row.
                    let fails = caller == 0 && turn % 5_000 < 3;
                    let result = breaker.call(async { if fails { Err(()) } else { Ok(()) } }).await;
                    match result {
                        Err(Error::Open { .. }) => rejected += 1,
                        _ => made += 1,
                    }
                    if turn % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                    if stop.is_cancelled() {
                        break;
                    }
                }
                (made, rejected)
            })
        })
        .collect();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.kill();
        road.cut();
        tokio::time::sleep(Duration::from_millis(200)).await;
        process = Process::ready(folder.path(), None).await;
        road.lead_to(&process.grpc);
        eventually("the client is connected again", async || client.is_connected()).await;
    }
    stop.cancel();
    let (mut made, mut rejected) = (0, 0);
    for call in calls {
        let (of_one, rejected_of_one) = call.await.unwrap();
        made += of_one;
        rejected += rejected_of_one;
    }
    eventually("all is answered", async || breaker.stats().reports.waiting == 0).await;
    let stats = breaker.stats();
    assert_eq!((stats.reports.reported, stats.rejected.total()), (made, rejected));
    assert_eq!(stats.reports.reported, sum(stats.reports), "{stats:?}");
}
