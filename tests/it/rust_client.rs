//! The Rust client against a breakerd of its own process: decided here, and shared by all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use breakerd_client::{Breaker, Client, Error, Mode, Permit, Rejected, Reports, State};

use crate::process::{Process, eventually};

/// Three failures open, for 300 ms; two probes close.
const CONFIG: &str = "[circuit_breaker]\nfailure_threshold = 3\nsuccess_threshold = 2\ntimeout_seconds = 0.3\n\
    [circuit_breaker.patient]\ntimeout_seconds = 600\n\
    [circuit_breaker.quorum]\nminimum_reporters = 2\n";

pub(crate) async fn breakerd(folder: &tempfile::TempDir) -> Process {
    std::fs::write(folder.path().join("breakerd.toml"), CONFIG).unwrap();
    Process::ready(folder.path(), None).await
}

pub(crate) async fn connected(url: &str) -> Client {
    let client = Client::builder(url).deadline(Duration::from_secs(5)).connect().await.unwrap();
    eventually("the client is connected", async || client.is_connected()).await;
    client
}

async fn fails(breaker: &Breaker) {
    let result = breaker.call(async { Err::<(), _>("it is down") }).await;
    assert!(matches!(result, Err(Error::Inner("it is down"))), "{result:?}");
}

pub(crate) async fn trip(breaker: &Breaker) {
    for _ in 0..3 {
        fails(breaker).await;
    }
}

pub(crate) async fn becomes(breaker: &Breaker, state: State) {
    eventually(state.as_str(), async || breaker.state() == state).await;
}

pub(crate) async fn recovers(breaker: &Breaker) {
    let closed = async || {
        let _ = breaker.call(async { Ok::<_, ()>(()) }).await;
        breaker.state() == State::Closed
    };
    eventually("it closes again", closed).await;
}

pub(crate) fn sum(reports: Reports) -> u64 {
    let Reports { recorded, late, not_counted, refused, dropped, unknown, alone, waiting, .. } = reports;
    recorded + late + not_counted + refused + dropped + unknown + alone + waiting
}

#[tokio::test]
async fn what_fails_in_one_process_is_open_in_all_and_recovers_by_probes() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let (one, other) = (connected(&process.grpc).await, connected(&process.grpc).await);
    let (here, there) = (one.breaker("sentinel").unwrap(), other.breaker("sentinel").unwrap());
    assert_eq!((here.state(), there.state()), (State::Closed, State::Closed));
    trip(&here).await;
    becomes(&there, State::Open).await;
    let result = there.call(async { Ok::<_, ()>(()) }).await;
    let Err(Error::Open { state: State::Open, retry_after: Some(rest) }) = result else {
        panic!("{result:?}")
    };
    assert!(rest <= Duration::from_millis(300));
    recovers(&there).await;
    becomes(&here, State::Closed).await;
    // The outcomes came in the order in which they happened, and each once.
    eventually("all is answered", async || here.stats().reports.waiting == 0).await;
    let reports = here.stats().reports;
    assert_eq!((reports.reported, reports.recorded), (3, 3), "{reports:?}");
}

#[tokio::test]
async fn a_breaker_that_is_open_when_a_process_starts_is_open_in_it_from_its_first_use() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let one = connected(&process.grpc).await;
    trip(&one.breaker(("patient", "a")).unwrap()).await;
    becomes(&one.breaker(("patient", "a")).unwrap(), State::Open).await;
    let late = connected(&process.grpc).await;
    let breaker = late.breaker(("patient", "a")).unwrap();
    assert_eq!(breaker.state(), State::Open);
    assert!(breaker.try_acquire().is_err());
    assert!(late.breaker(("patient", "b")).unwrap().try_acquire().is_ok());
}

#[tokio::test]
async fn many_processes_together_make_no_more_probes_than_one_may() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(connected(&process.grpc).await);
    }
    let breakers: Vec<_> = clients.iter().map(|client| client.breaker("sentinel").unwrap()).collect();
    trip(&breakers[0]).await;
    for breaker in &breakers {
        becomes(breaker, State::Open).await;
    }
    // Calls that never end: a probe keeps its slot, and no other may take it.
    let probes = Arc::new(AtomicU32::new(0));
    let attempts: Vec<_> = breakers
        .iter()
        .cloned()
        .map(|breaker| {
            let probes = Arc::clone(&probes);
            tokio::spawn(async move {
                loop {
                    let call = async {
                        probes.fetch_add(1, Ordering::SeqCst);
                        std::future::pending::<Result<(), ()>>().await
                    };
                    let _ = breaker.call(call).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    eventually("both probes are out", async || probes.load(Ordering::SeqCst) >= 2).await;
    // Long after everybody has asked again.
    let rejected = || breakers.iter().map(|breaker| breaker.stats().rejected.half_open).sum::<u64>();
    eventually("others were rejected", async || rejected() > 1_000).await;
    assert_eq!(probes.load(Ordering::SeqCst), 2);
    for attempt in attempts {
        attempt.abort();
    }
}

#[tokio::test]
async fn a_probe_whose_caller_went_away_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = connected(&process.grpc).await;
    let breaker = client.breaker("sentinel").unwrap();
    trip(&breaker).await;
    becomes(&breaker, State::Open).await;
    // Each of these requests a probe and does not wait for it.
    let requested = async || {
        let _ = breaker.try_acquire().map(Permit::ignored);
        breaker.state() == State::HalfOpen
    };
    eventually("it is half-open", requested).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    // With both slots lost, it would stay half-open for the minute of their lease.
    recovers(&breaker).await;
}

#[tokio::test]
async fn failures_that_breakerd_does_not_trip_on_do_not_trip_here_while_it_rules() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let (one, other) = (connected(&process.grpc).await, connected(&process.grpc).await);
    let (here, there) = (one.breaker("quorum").unwrap(), other.breaker("quorum").unwrap());
    for _ in 0..10 {
        fails(&here).await;
    }
    eventually("all is answered", async || here.stats().reports.waiting == 0).await;
    assert_eq!(here.state(), State::Closed, "one reporter of two");
    // The labels of two clients of one process are the same.
    assert_eq!(there.state(), State::Closed);
    let third = Client::builder(&*process.grpc).caller("another").connect().await.unwrap();
    let elsewhere = third.breaker("quorum").unwrap();
    fails(&elsewhere).await;
    becomes(&here, State::Open).await;
}

#[tokio::test]
async fn a_run_of_successes_costs_a_few_reports_and_counts_each_call() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = connected(&process.grpc).await;
    let breaker = client.breaker("sentinel").unwrap();
    for _ in 0..100_000 {
        breaker.try_acquire().unwrap().success();
    }
    eventually("all is answered", async || {
        let reports = breaker.stats().reports;
        reports.recorded == 100_000 && reports.waiting == 0
    })
    .await;
    let page = process.page("/metrics").await;
    let counted = "llm_incident_manager_circuit_breaker_successful_calls_total{service=\"sentinel\",name=\"sentinel\"} 100000";
    assert!(page.contains(counted), "{page}");
    let observed = page
        .lines()
        .find(|line| line.contains("circuit_breaker_call_duration_seconds_count{service=\"sentinel\""));
    let observed: u64 = observed.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    assert!(observed > 99_900, "durations: {observed}");
}

#[tokio::test]
async fn in_remote_mode_breakerd_decides_each_call() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = Client::builder(&*process.grpc)
        .mode(Mode::Remote)
        .deadline(Duration::from_secs(5))
        .connect()
        .await
        .unwrap();
    eventually("the client is connected", async || client.is_connected()).await;
    let breaker = client.breaker("sentinel").unwrap();
    breaker.call(async { Ok::<_, ()>(()) }).await.unwrap();
    trip(&breaker).await;
    becomes(&breaker, State::Open).await;
    assert!(matches!(breaker.call(async { Ok::<_, ()>(()) }).await, Err(Error::Open { .. })));
    recovers(&breaker).await;
    // breakerd is gone, and the call is decided here: by the thresholds that it had told.
    process.kill();
    let tripped = async || {
        let _ = breaker.call(async { Err::<(), _>(()) }).await;
        breaker.state() == State::Open
    };
    eventually("it trips alone", tripped).await;
}

#[tokio::test]
async fn the_end_of_a_client_sends_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = connected(&process.grpc).await;
    let breaker = client.breaker("patient").unwrap();
    for _ in 0..500 {
        breaker.try_acquire().unwrap().success();
    }
    fails(&breaker).await;
    client.shutdown().await;
    let reports = breaker.stats().reports;
    assert_eq!((reports.recorded, reports.waiting), (501, 0), "{reports:?}");
    assert!(!client.is_connected());
    // What comes now is decided here, as without breakerd.
    fails(&breaker).await;
    fails(&breaker).await;
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn a_call_that_waits_for_a_probe_does_not_wait_for_ever_when_its_client_ends() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let client = Client::builder(&*process.grpc).deadline(Duration::from_secs(10)).connect().await.unwrap();
    let breaker = client.breaker("sentinel").unwrap();
    trip(&breaker).await;
    becomes(&breaker, State::Open).await;
    process.signal("STOP");
    // Its wait ends, breakerd is asked for a probe, and says nothing.
    let waits = tokio::spawn(async move {
        while let Err(Rejected { state: State::Open, .. }) = breaker.acquire().await.map(Permit::ignored) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), waits).await;
    // HALF_OPEN, or decided alone by then: either way it went on.
    assert!(ended.is_ok(), "it waits for an answer that never comes");
}

#[tokio::test]
async fn a_probe_slot_that_no_call_took_is_free_again_when_its_client_ends() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let (one, other) = (connected(&process.grpc).await, connected(&process.grpc).await);
    let (here, there) = (one.breaker("sentinel").unwrap(), other.breaker("sentinel").unwrap());
    trip(&here).await;
    becomes(&there, State::Open).await;
    // Requests a probe, and ends with it.
    let requested = async || {
        let _ = here.try_acquire().map(Permit::ignored);
        here.state() == State::HalfOpen
    };
    eventually("it is half-open", requested).await;
    one.shutdown().await;
    // With a slot lost, two successes in a row would take the minute of its lease.
    recovers(&there).await;
}

#[tokio::test]
async fn a_listener_that_blocks_holds_up_no_call_and_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let process = breakerd(&folder).await;
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(blocked);
    let wait = move |_: &breakerd_client::StateChange| {
        let _ = blocked.lock().unwrap().recv();
    };
    let client = Client::builder(&*process.grpc).on_state_change(wait).connect().await.unwrap();
    let breaker = client.breaker("sentinel").unwrap();
    trip(&breaker).await;
    becomes(&breaker, State::Open).await;
    recovers(&breaker).await;
    eventually("all is answered", async || breaker.stats().reports.waiting == 0).await;
    assert!(client.is_connected());
    client.shutdown().await;
    drop(unblock);
}

#[tokio::test]
async fn a_wrong_setting_is_an_error_that_names_it() {
    let url = "http://127.0.0.1:1";
    for (builder, text) in [
        (Client::builder(url).deadline(Duration::ZERO), "deadline: invalid value 0ns: must be 1 ms to 10 s"),
        (Client::builder(url).breakers_max(0), "breakers_max: invalid value 0: must be at least 1"),
        (Client::builder(url).queue_bytes_max(1), "queue_bytes_max: invalid value 1: must be at least 4096"),
        (
            Client::builder(url).services(["a b"]),
            "services: invalid value \"a b\": must be 1 to 128 characters of \"A-Z a-z 0-9 . _ : -\"",
        ),
        (
            Client::builder("127.0.0.1:1"),
            "address: invalid value \"127.0.0.1:1\": must be a URL such as http://127.0.0.1:50051 or \
             https://breakerd.example:50051, without user and path",
        ),
        (
            Client::builder("http://me:secret@127.0.0.1:1/breakerd"),
            "address: invalid value \"***@127.0.0.1:1/breakerd\": must be a URL such as \
             http://127.0.0.1:50051 or https://breakerd.example:50051, without user and path",
        ),
    ] {
        let error = builder.connect().await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}
