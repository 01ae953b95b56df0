//! The HTTP API of the incident manager, with no breakerd anywhere: it decides by itself.

use incident_manager::app::{self, App};
use incident_manager::config::Config;
use incident_manager::routes;
use incident_manager::stand_ins::{Behavior, Nobody, Peer};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::support::eventually;

/// A running incident manager, and all that is around it.
struct World {
    folder: TempDir,
    sentinel: Peer,
    slack: Peer,
    /// Where breakerd is looked for.
    _breakerd: Nobody,
    app: App,
    url: String,
    http: Client,
}

impl World {
    async fn start() -> Self {
        Self::with("").await
    }

    /// With more settings.
    async fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sentinel, slack) = (Peer::sentinel().await.unwrap(), Peer::slack().await.unwrap());
        let breakerd = Nobody::listens().unwrap();
        let config = format!(
            "listen = '127.0.0.1:0'\n\
             [breakerd]\naddresses = ['http://{}']\n\
             [sentinel]\nurl = '{}'\n[store]\nurl = 'sqlite:{}/incidents.db'\n[slack]\nwebhook_url = '{}'\n\
             [circuit_breaker.sentinel]\nfailure_threshold = 3\n[circuit_breaker.database]\nfailure_threshold = 3\n{settings}",
            breakerd.address(),
            sentinel.url("http"),
            folder.path().display(),
            slack.url("http"),
        );
        let app = App::start(&Config::parse(&config, |_| None).unwrap()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes::router(app.clone())).into_future());
        Self { folder, sentinel, slack, _breakerd: breakerd, app, url, http: Client::new() }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(format!("{}{path}", self.url)).send().await.unwrap()).await
    }

    async fn post(&self, report: &Value) -> (StatusCode, Value) {
        answer(self.http.post(format!("{}/incidents", self.url)).json(report).send().await.unwrap()).await
    }

    async fn sql(&self, statement: &'static str) {
        let url = format!("sqlite:{}/incidents.db", self.folder.path().display());
        SqliteConnection::connect(&url).await.unwrap().execute(statement).await.unwrap();
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    (response.status(), response.json().await.unwrap())
}

fn report() -> Value {
    json!({ "title": "checkout is slow", "source": "checkout", "severity": "error" })
}

#[tokio::test]
async fn an_incident_is_enriched_kept_and_told() {
    let world = World::start().await;
    let (status, incident) = world.post(&report()).await;
    assert_eq!(status, 201, "{incident}");
    assert_eq!(
        (&incident["stored"], &incident["notifications"]),
        (&json!(true), &json!([{ "channel": "slack" }]))
    );
    assert_eq!(incident["analysis"]["severity"], "critical");
    assert_eq!(incident["related_alerts"][0]["id"], "a-1");

    let (status, read) = world.get(&format!("/incidents/{}", incident["id"].as_str().unwrap())).await;
    assert_eq!((status, &read["title"]), (StatusCode::OK, &json!("checkout is slow")));
    let (_, list) = world.get("/incidents").await;
    assert_eq!(list, json!({ "incidents": [read] }));
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_what_is_wrong() {
    let world = World::start().await;
    for (wrong, expected) in [
        (json!({ "title": "", "source": "a", "severity": "error" }), "title: invalid length 0"),
        (json!({ "title": "a", "source": "a", "severity": "bad" }), "unknown variant `bad`"),
        (json!({ "title": "a", "source": "a", "severity": "error", "x": 1 }), "unknown field `x`"),
    ] {
        let (status, problem) = world.post(&wrong).await;
        assert!(status.is_client_error(), "{status}");
        assert!(problem["error"].as_str().unwrap().contains(expected), "{problem}");
    }
    let long = "x".repeat(100_000);
    assert_eq!(
        world.post(&json!({ "title": "a", "source": "a", "severity": "info", "description": long })).await.0,
        413
    );
    assert_eq!(world.get("/incidents?limit=0").await.0, 400);
    assert_eq!(world.get("/incidents/7").await.0, 400);
    assert_eq!(world.get(&format!("/incidents/{}", Uuid::now_v7())).await.0, 404);
    assert_eq!(world.slack.count(), 0, "nobody hears of what is no incident");
}

#[tokio::test]
async fn people_hear_of_an_incident_that_cannot_be_stored() {
    let world = World::start().await;
    world.sql("ALTER TABLE incident RENAME TO gone").await;
    let (status, incident) = world.post(&report()).await;
    assert_eq!((status, &incident["stored"]), (StatusCode::ACCEPTED, &json!(false)));
    assert_eq!(world.slack.count(), 1);

    // Now nobody has it: the reporter is to try again.
    world.slack.behave(Behavior::Status(500));
    let id = Uuid::now_v7();
    let again = json!({ "id": id, "title": "checkout is slow", "source": "checkout", "severity": "error" });
    let response = world.http.post(format!("{}/incidents", world.url)).json(&again).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(world.get("/incidents").await.0, 503);

    // Three failures: the circuit is open, and says when to come again.
    let response = world.http.get(format!("{}/incidents", world.url)).send().await.unwrap();
    assert_eq!(response.status(), 503);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((2..=61).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_incident_that_was_stored_but_not_told_says_so() {
    let world = World::start().await;
    world.slack.behave(Behavior::Status(400));
    let (status, incident) = world.post(&report()).await;
    assert_eq!((status, &incident["stored"]), (StatusCode::CREATED, &json!(true)));
    let error = incident["notifications"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("the request is invalid (400)"), "{error}");
}

#[tokio::test]
async fn pages_show_every_breaker_from_the_first_moment() {
    let world = World::start().await;
    let (status, page) = world.get("/health/circuit-breakers").await;
    assert_eq!((status, &page["status"]), (StatusCode::OK, &json!("healthy")));
    assert_eq!(page["circuit_breakers"], json!({ "total": 5, "closed": 5, "open": 0, "half_open": 0 }));
    let metrics =
        world.http.get(format!("{}/metrics", world.url)).send().await.unwrap().text().await.unwrap();
    for name in ["sentinel-llm", "incident-store", "slack", "email", "pagerduty"] {
        assert!(page["details"].as_array().unwrap().iter().any(|detail| detail["name"] == name), "{page}");
        let series = |line: &&str| {
            line.starts_with("llm_incident_manager_circuit_breaker_state") && line.contains(name)
        };
        assert_eq!(metrics.lines().filter(series).count(), 1, "{name}: {metrics}");
    }

    // Sentinel dies. With no breakerd in reach, the thresholds of the settings apply.
    world.sentinel.behave(Behavior::Reset);
    for _ in 0..2 {
        let (status, incident) = world.post(&report()).await;
        assert_eq!((status, &incident["analysis"]), (StatusCode::CREATED, &Value::Null));
    }
    let arrived = world.sentinel.count();
    assert_eq!(world.post(&report()).await.0, 201);
    assert_eq!(world.sentinel.count(), arrived, "rejected at once");

    let (status, page) = world.get("/health/circuit-breakers").await;
    assert_eq!((status, &page["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("degraded")));
    assert_eq!(page["circuit_breakers"]["open"], 1);
    let detail =
        page["details"].as_array().unwrap().iter().find(|detail| detail["name"] == "sentinel-llm").unwrap();
    assert_eq!((&detail["service"], &detail["state"]), (&json!("sentinel"), &json!("Open")));
    let (status, health) = world.get("/health").await;
    assert_eq!(
        (status, &health["status"], &health["channels"]),
        (StatusCode::OK, &json!("degraded"), &json!(["slack"]))
    );
}

#[tokio::test]
async fn without_breakers_every_call_is_made() {
    let world = World::with("[circuit_breaker]\nenabled = false\n").await;
    world.sentinel.behave(Behavior::Status(500));
    for _ in 0..5 {
        assert_eq!(world.post(&report()).await.0, 201);
    }
    assert_eq!(world.sentinel.count(), 10, "an analysis and the alerts of each");
    assert_eq!(world.get("/health/circuit-breakers").await.0, 200);
}

#[tokio::test]
async fn more_incidents_than_fit_are_rejected_and_may_come_again() {
    let world = World::start().await;
    let all = u32::try_from(app::IN_PROGRESS_MAX).unwrap();
    let taken = world.app.in_progress.try_acquire_many(all).unwrap();
    let response = world.http.post(format!("{}/incidents", world.url)).json(&report()).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    drop(taken);
    assert_eq!(world.post(&report()).await.0, 201);
}

#[tokio::test]
async fn an_incident_goes_on_when_its_reporter_disconnects() {
    let world = World::start().await;
    world.sentinel.behave(Behavior::Hang);
    let request = world.http.post(format!("{}/incidents", world.url)).json(&report());
    let reporter = tokio::spawn(request.send());
    eventually("Sentinel is asked", async || world.sentinel.count() > 0).await;
    reporter.abort();
    assert!(reporter.await.unwrap_err().is_cancelled());
    world.sentinel.behave(Behavior::Answer);
    eventually("it is stored", async || world.get("/incidents").await.1["incidents"][0].is_object()).await;
    eventually("it is told", async || world.slack.count() == 1).await;
}
