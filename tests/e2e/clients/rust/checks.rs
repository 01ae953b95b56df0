//! Puts the Guard of the document to the test: says "ok - NAME" or "not ok - NAME: WHY" of what its caller sees.

// The document's, whose `main` is not called here.
#[allow(dead_code)]
#[path = "../main.rs"]
mod client;

use std::env::var;
use std::error::Error;
use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::pb::breaker_service_client::BreakerServiceClient;
use client::pb::config_service_client::ConfigServiceClient;
use client::pb::operations_service_client::OperationsServiceClient;
use client::pb::{
    AllowRequestRequest, Counters, GetBreakerRequest, Outcome, RecordOutcomeRequest, State, Thresholds,
    UpdateConfigRequest,
};
use client::{Guard, Unmade};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// Only a hang takes so long.
const HANG: Duration = Duration::from_secs(60);

static FAILED: AtomicBool = AtomicBool::new(false);

fn check(name: &str, holds: bool, why: impl Debug) {
    if holds {
        println!("ok - {name}");
    } else {
        println!("not ok - {name}: {why:?}");
        FAILED.store(true, Ordering::Relaxed);
    }
}

fn endpoint(variable: &str) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", var(variable).unwrap())).unwrap()
}

async fn fail() -> Result<(), &'static str> {
    Err("out of order")
}

/// Waits until breakerd has so many outcomes of a service: reports are sent by tasks of their own.
async fn recorded(service: &str, outcomes: u64) -> State {
    let channel = endpoint("E2E_PLAIN").connect().await.unwrap();
    let mut operations = OperationsServiceClient::new(channel);
    loop {
        let request = GetBreakerRequest { service: service.to_owned(), ..Default::default() };
        let breaker = operations.get_breaker(request).await.unwrap().into_inner().breaker.unwrap();
        let Counters { successful, failed, ignored, .. } = breaker.counters.unwrap();
        if successful + failed + ignored >= outcomes {
            return breaker.state();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn outcomes(guard: &Guard) {
    let result = guard.call("rust.success", async { Ok::<_, &str>(42) }).await;
    check("a call's result reaches the caller", matches!(result, Ok(42)), result);
    let result = guard.call("rust.failure", fail()).await;
    check("a call's error reaches the caller", matches!(result, Err(Unmade::Failed("out of order"))), result);

    let (started, is_started) = tokio::sync::oneshot::channel();
    let ours = guard.clone();
    let task = tokio::spawn(async move {
        let endless = async {
            started.send(()).unwrap();
            std::future::pending::<Result<(), &str>>().await
        };
        ours.call("rust.cancelled", endless).await
    });
    is_started.await.unwrap();
    task.abort();
    let result = task.await;
    check("a call can be dropped", result.as_ref().is_err_and(|error| error.is_cancelled()), result);

    let ours = guard.clone();
    let panics = async { if true { panic!("out of order") } else { Ok::<(), &str>(()) } };
    let result = tokio::spawn(async move { ours.call("rust.panic", panics).await }).await;
    check("a panic reaches the caller", result.as_ref().is_err_and(|error| error.is_panic()), result);
    for service in ["rust.success", "rust.failure", "rust.cancelled", "rust.panic"] {
        recorded(service, 1).await;
    }
}

async fn opening(guard: &Guard) {
    for _ in 0..5 {
        let _ = guard.call("rust.opens", fail()).await;
    }
    let state = recorded("rust.opens", 5).await;
    check("enough failures open the breaker", state == State::Open, state);
    let made = AtomicBool::new(false);
    let call = async {
        made.store(true, Ordering::Relaxed);
        Ok::<_, &str>(())
    };
    let result = guard.call("rust.opens", call).await;
    check("an open breaker is Denied", matches!(result, Err(Unmade::Denied(Some(_)))), result);
    check("what an open breaker denies is not called", !made.into_inner(), "it was");
}

async fn without_breakerd(what: &str) {
    let guard = Guard::new(endpoint(&format!("E2E_{}", what.to_uppercase())));
    let begun = Instant::now();
    let result = guard.call(&format!("rust.{what}"), async { Ok::<_, &str>("made") }).await;
    let took = begun.elapsed();
    let holds = matches!(result, Ok("made")) && took < HANG;
    check(&format!("with breakerd {what} the call goes ahead"), holds, (result, took));
    let said = guard.ready(Duration::from_millis(100)).await;
    check(&format!("with breakerd {what} ready says no"), said.is_err(), said);
}

/// The document makes a client here, and no Guard: it is used as it is.
async fn tls() -> Result<(), Box<dyn Error>> {
    // document: TLS and tokens
    let mut breakers = breakers;
    let service = "rust.tls".to_owned();
    let question = AllowRequestRequest { service: service.clone(), ..Default::default() };
    let permit = breakers.allow_request(question).await?.into_inner().permit;
    let outcome = Outcome::Success.into();
    breakers.record_outcome(RecordOutcomeRequest { permit, service, outcome, ..Default::default() }).await?;
    Ok(())
}

async fn errors() {
    let channel: Channel = endpoint("E2E_PLAIN").connect().await.unwrap();
    let thresholds = Thresholds { failure_rate_threshold: Some(120.0), ..Default::default() };
    let wrong = UpdateConfigRequest {
        service: "rust.errors".to_owned(),
        thresholds: Some(thresholds),
        ..Default::default()
    };
    let status: Status = ConfigServiceClient::new(channel).update_config(wrong).await.unwrap_err();
    let mut said = String::new();
    {
        // In place of the one that writes to the standard output.
        macro_rules! println {
            ($($arguments:tt)*) => { said.push_str(&format!($($arguments)*)) };
        }
        // document: Errors
    }
    check("the details of an error name the field", said.contains("failure_rate_threshold"), said);
}

#[tokio::main]
async fn main() -> ExitCode {
    let guard = Guard::new(endpoint("E2E_PLAIN"));
    let said = guard.ready(HANG).await;
    check("ready says yes", said.is_ok(), said);
    outcomes(&guard).await;
    opening(&guard).await;
    without_breakerd("gone").await;
    without_breakerd("silent").await;
    let made = tls().await.map_err(|error| error.to_string());
    check("over TLS with a token the call is made", made.is_ok(), made);
    errors().await;
    if FAILED.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
