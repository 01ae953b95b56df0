//! A long-lived task that ends early ends the process, by name; shown on the whole server with a clock that fails.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use breaker::{Time, WallOffset};
use breakerd::config::{self, Sources};
use breakerd::server::{self, Listeners, Start};
use breakerd::supervisor::TaskFailure;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::{Outcome, RecordOutcomeRequest};
use breakerd_common::clock::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::process::{PATIENCE, eventually};

/// The wait in OPEN: what the timer sleeps for, and nobody else.
const WAIT: Duration = Duration::from_secs(1_000);

/// The system's clock, until whoever sleeps by it for about [`WAIT`] panics.
struct FailingClock {
    system: SystemClock,
    fails: AtomicBool,
}

impl Clock for FailingClock {
    fn wall_offset(&self) -> WallOffset {
        WallOffset::ZERO
    }

    fn now(&self) -> Time {
        self.system.now()
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let is_the_wait = (WAIT / 2..WAIT * 2).contains(&deadline.since(self.now()));
        assert!(!(is_the_wait && self.fails.load(SeqCst)), "the clock fails on purpose");
        self.system.sleep_until(deadline)
    }
}

#[tokio::test]
async fn a_task_that_panics_ends_the_server_with_its_name_and_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "data_dir = {:?}\n[grpc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 1_000\n",
        folder.path().join("data")
    );
    let config = config::parse(&text, &folder.path().join("breakerd.toml"), &Sources::none()).unwrap();
    let listeners = Listeners::bind(&config.settings).await.unwrap();
    let grpc = format!("http://{}", listeners.grpc.local_addr().unwrap());
    let ready = format!("http://{}/readyz", listeners.http.local_addr().unwrap());
    let clock = Arc::new(FailingClock { system: SystemClock::start(), fails: AtomicBool::new(false) });
    let clock_of_server = Arc::clone(&clock) as Arc<dyn Clock>;
    let start = Start { config, sources: None, listeners, clock: clock_of_server, greet: None };
    let trip = async {
        let is_ready = async || reqwest::get(&ready).await.is_ok_and(|page| page.status() == 200);
        eventually("it is ready", is_ready).await;
        clock.fails.store(true, SeqCst);
        // The trip has a deadline, for which the timer sleeps.
        let failure = RecordOutcomeRequest {
            service: "db".into(),
            outcome: Outcome::Failure.into(),
            ..Default::default()
        };
        BreakerServiceClient::connect(grpc).await.unwrap().record_outcome(failure).await.unwrap();
    };
    let server = tokio::time::timeout(PATIENCE, server::run(start, CancellationToken::new()));
    let (ended, ()) = tokio::join!(server, trip);
    let error = ended.expect("the server ends").unwrap_err();
    let failure = error.downcast_ref::<TaskFailure>().unwrap_or_else(|| panic!("{error:#}"));
    assert_eq!(failure.task, "timer");
    assert_eq!(format!("{error:#}"), "task timer ended early: it panicked: the clock fails on purpose");
    assert_eq!(server::exit_code(&error), 5);
}
