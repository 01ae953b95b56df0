//! Two incident managers, as processes, that share their circuits through a breakerd.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};

use incident_manager::stand_ins::{Behavior, Peer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::breakerd::{Breakerd, STAYS_OPEN};
use crate::support::eventually;

/// An incident manager. Killed when this is dropped.
struct Manager {
    child: Child,
    url: String,
}

impl Manager {
    async fn start(folder: &Path, name: &str, breakerd: &Breakerd, sentinel: &Peer, slack: &Peer) -> Self {
        let file = |ending: &str| folder.join(format!("{name}.{ending}"));
        let config = format!(
            "listen = '127.0.0.1:0'\n[breakerd]\naddresses = ['{}']\ncaller = '{name}'\n\
             [sentinel]\nurl = '{}'\n[store]\nurl = 'sqlite:{}'\n[slack]\nwebhook_url = '{}'\n",
            breakerd.url(),
            sentinel.url("http"),
            file("db").display(),
            slack.url("http"),
        );
        std::fs::write(file("toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_incident-manager"));
        command.env_clear().arg(file("toml"));
        command.stdout(File::create(file("out")).unwrap()).stderr(File::create(file("log")).unwrap());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        eventually("the incident manager starts", async || {
            assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(file("log")).unwrap());
            let out = std::fs::read_to_string(file("out")).unwrap();
            let line = out.strip_suffix('\n').and_then(|line| line.strip_prefix("incident manager: "));
            line.unwrap_or_default().clone_into(&mut url);
            line.is_some()
        })
        .await;
        Self { child, url }
    }

    async fn report(&self) -> Value {
        let report = json!({ "title": "checkout is slow", "source": "checkout", "severity": "error" });
        let request = reqwest::Client::new().post(format!("{}/incidents", self.url)).json(&report);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The state of Sentinel's circuit, as this process sees it.
    async fn sees(&self) -> String {
        let page: Value = reqwest::get(format!("{}/health/circuit-breakers", self.url))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let details = page["details"].as_array().unwrap();
        let of_sentinel = details.iter().find(|detail| detail["name"] == "sentinel-llm").unwrap();
        of_sentinel["state"].as_str().unwrap().to_owned()
    }

    /// SIGTERM, and how it ended.
    async fn stops_cleanly(mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut ended = None;
        eventually("it ends", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.is_some_and(|status| status.success())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_circuit() {
    const SENTINEL: (&str, &str) = ("sentinel", "sentinel-llm");
    let breakerd = Breakerd::start(STAYS_OPEN).await;
    let folder = TempDir::new().unwrap();
    let (sentinel, slack) = (Peer::sentinel().await.unwrap(), Peer::slack().await.unwrap());
    let one = Manager::start(folder.path(), "one", &breakerd, &sentinel, &slack).await;
    let other = Manager::start(folder.path(), "other", &breakerd, &sentinel, &slack).await;
    assert!(one.report().await["analysis"].is_object() && other.report().await["analysis"].is_object());

    sentinel.behave(Behavior::Status(500));
    eventually("open in the process that saw the failures", async || {
        one.report().await;
        one.sees().await == "Open"
    })
    .await;
    eventually("open in the other process", async || other.sees().await == "Open").await;
    let arrived = sentinel.count();
    let incident = other.report().await;
    assert_eq!((&incident["analysis"], &incident["stored"]), (&Value::Null, &json!(true)));
    assert_eq!(sentinel.count(), arrived, "it never failed there, and is not called there");

    sentinel.behave(Behavior::Answer);
    breakerd.probe(SENTINEL).await;
    eventually("the other process finds out that Sentinel is back", async || {
        other.report().await;
        other.sees().await == "Closed"
    })
    .await;
    eventually("closed in the first process", async || one.sees().await == "Closed").await;
    assert!(one.report().await["analysis"].is_object());

    // What is queued is sent before a process ends.
    assert!(one.stops_cleanly().await && other.stops_cleanly().await);
}
