//! Transitions that are posted: once, whichever replica decided them.

use std::collections::BTreeMap;
use std::fs;

use breakerd_api::v1::{ListTransitionsRequest, Outcome, State};

use super::{CONFIG, Replica, all_show};
use crate::process::{eventually, program};
use crate::support::new_database;
use crate::webhooks::Receiver;

#[tokio::test]
async fn a_transition_is_posted_by_one_of_three_replicas() {
    let (url, receiver) = (new_database().await, Receiver::timeless().await);
    let config = format!("{CONFIG}\n[[notify]]\nname = \"chat\"\nurl = \"{}\"\n", receiver.url("/"));
    let mut replicas = Vec::new();
    for name in ["one", "two", "three"] {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), Some(&url));
        replicas.push(Replica::run(program, &config, folder, name).await);
    }
    // A trip through one, probes through the others, and an act of an operator.
    replicas[0].trip("together").await;
    all_show(&replicas, "together", State::Open).await;
    let mut turn = 0;
    eventually("it closes", || {
        turn += 1;
        let replica = &replicas[turn % replicas.len()];
        async move {
            let allowed = replica.allow("together").await;
            let state = allowed.state();
            if state == State::HalfOpen && allowed.allowed {
                replica.record("together", allowed.permit, Outcome::Success).await;
            }
            state == State::Closed
        }
    })
    .await;
    let set = breakerd_api::v1::SetOverrideRequest {
        service: "together".into(),
        state: State::ForcedOpen.into(),
        reason: "drill".into(),
        ..Default::default()
    };
    replicas[1].process.operations().await.set_override(set).await.unwrap();
    all_show(&replicas, "together", State::ForcedOpen).await;

    let operations = replicas[0].process.operations().await;
    let listed = async || {
        let request = ListTransitionsRequest { service: "together".into(), ..Default::default() };
        operations.clone().list_transitions(request).await.unwrap().into_inner().transitions
    };
    eventually("the history has it all, and so has the receiver", async || {
        let listed = listed().await;
        listed.iter().any(|row| row.to_state() == State::ForcedOpen) && receiver.posts().len() >= listed.len()
    })
    .await;
    let listed = listed().await;
    for replica in replicas {
        // What was queued is posted by now.
        assert!(replica.process.stop().await.success());
        assert!(!fs::read_to_string(replica.folder.path().join("log")).unwrap().contains("were not posted"));
    }
    let mut posted = BTreeMap::new();
    for post in receiver.posts() {
        let json = post.json();
        let epoch = json["epoch"].as_str().unwrap().parse::<u64>().unwrap();
        *posted.entry((post.header("webhook-id").to_owned(), epoch, post.to())).or_insert(0) += 1;
    }
    let expected: BTreeMap<_, _> = listed
        .iter()
        .filter_map(|row| {
            Some(((row.id.clone(), row.epoch?, row.to_state().as_str_name().replace("STATE_", "")), 1))
        })
        .collect();
    assert!(expected.len() >= 4, "{expected:?}");
    assert_eq!(posted, expected);
}
