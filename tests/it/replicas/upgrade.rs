//! An upgrade, replica by replica: for a while two versions share the tables of the newer one.
//!
//! `tests/e2e/upgrade/run.sh` builds the program of the earlier version, and runs these tests.

use std::path::PathBuf;

use breakerd_api::v1::{ListReplicasRequest, State};

use super::restart::rolling;
use super::together::{count_together, open_probe_and_close, set_on_one};
use super::{Replica, Version, all_show, history};
use crate::process::{eventually, log_of};
use crate::support::new_database;

/// Streams that follow the history: fewer than where nothing but a restart is tried.
const WATCHES: usize = 50;

fn earlier() -> Version {
    let program = std::env::var_os("BREAKERD_TEST_EARLIER").expect("the program of an earlier version");
    Version::Earlier(PathBuf::from(program))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier version: make e2e"]
async fn versions_side_by_side_act_as_one() {
    let (url, earlier) = (new_database().await, earlier());
    let (one, two) = tokio::join!(
        Replica::of(&earlier, tempfile::tempdir().unwrap(), &url, "one"),
        Replica::of(&earlier, tempfile::tempdir().unwrap(), &url, "two"),
    );
    one.trip("alone").await;
    eventually("the store has it", async || history(&url, "alone").await.len() == 1).await;
    // It brings the tables up to date, under the two.
    let three = Replica::start(&url, "three").await;
    let replicas = [one, two, three];
    all_show(&replicas, "alone", State::Open).await;
    for replica in &replicas {
        let operations = replica.process.operations().await;
        eventually("each knows the others", async || {
            let listed = operations.clone().list_replicas(ListReplicasRequest {}).await.unwrap().into_inner();
            !listed.alone && listed.replicas.len() == 3
        })
        .await;
    }

    let [one, two, three] = &replicas;
    open_probe_and_close(&url, [one, two, three], "together").await;
    open_probe_and_close(&url, [three, one, two], "apart").await;
    set_on_one([one, three, two], "set").await;
    set_on_one([three, two, three], "put").await;
    count_together(&url, [one, two, three], "between").await;
    count_together(&url, [three, one, two], "beyond").await;
    for replica in replicas {
        let log = log_of(replica.folder.path());
        assert!(replica.process.stop().await.success(), "{log}");
        assert!(!log.contains(" ERROR "), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an earlier version: make e2e"]
async fn a_rolling_upgrade_fails_no_decision_and_loses_and_repeats_nothing_for_watchers() {
    rolling(&earlier(), &Version::Present, WATCHES).await;
}
