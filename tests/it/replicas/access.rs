//! Who may have a database, and how it is reached.

use breakerd::store::{
    RowCursor, Shared, StoreError, Target, Told, open, open_shared, open_shared_listening,
};

use crate::cluster::Pooler;
use crate::process::{ends, program};
use crate::severable_proxy::Road;
use crate::store_contract::change::{key, trip};
use crate::support::new_database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_had_alone_or_shared_and_never_both() {
    let url = new_database().await;
    let refusal = |error: StoreError| match error {
        StoreError::LockedByAnother(why) => why,
        error => panic!("{error}"),
    };
    let alone = open(&Target::Postgres(url.clone())).await.unwrap();
    let Err(error) = open_shared(&url).await else { panic!("shared what another has alone") };
    let why = refusal(error);
    assert!(why.contains("has the database for itself") && why.contains("stop it"), "{why}");
    alone.close().await;

    let (one, two) = (open_shared(&url).await.unwrap(), open_shared(&url).await.unwrap());
    let Err(error) = open(&Target::Postgres(url.clone())).await else { panic!("has alone what is shared") };
    let why = refusal(error);
    assert!(why.contains("leave out store.shared = false here"), "{why}");
    one.store.check_writable().await.unwrap();
    two.store.check_writable().await.unwrap();
    one.store.close().await;
    two.store.close().await;
    open(&Target::Postgres(url)).await.unwrap().close().await;
}

/// `PgBouncer` follows prepared statements since 1.21, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_works_or_is_refused_with_what_to_set() {
    let pooler = Pooler::start(&new_database().await, "transaction");
    match open_shared(&pooler.url).await {
        Ok(Shared { store, shared, .. }) => {
            store.check_writable().await.unwrap();
            shared.rows_after(&RowCursor::default(), &[], 1).await.unwrap();
            store.close().await;
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
            assert!(error.to_string().contains("max_prepared_statements"), "{error}");
        }
    }
}

/// By a road of its own: what is told comes by that, and ends when it is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_listens_by_a_url_of_its_own() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let Shared { store, shared, .. } = open_shared_listening(&url, Some(&road.url)).await.unwrap();
    let (told, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let tell = move |what| {
        // Nobody may wait for it any more.
        let _ = told.send(what);
    };
    let listening = tokio::spawn(async move { shared.listen(&tell).await });
    for begins in [Told::Changes, Told::Counts] {
        assert_eq!(changes.recv().await, Some(begins));
    }
    store.propose(&[trip(1, &key("db", ""))]).await.unwrap();
    assert_eq!(changes.recv().await, Some(Told::Changes));
    road.cut();
    let error = listening.await.unwrap();
    assert!(error.is_transient(), "{error:?}");
    store.ping().await.unwrap();
    store.close().await;

    let other = new_database().await;
    open_shared(&other).await.unwrap().store.close().await;
    let Shared { store, shared, .. } = open_shared_listening(&url, Some(&other)).await.unwrap();
    let error = shared.listen(&|_| ()).await;
    assert!(error.to_string().contains("another database"), "{error}");
    store.close().await;
    let Err(error) = open_shared_listening(&url, Some("nowhere")).await else { panic!("opened") };
    assert!(error.to_string().contains("store.listen_url: "), "{error}");
}

#[tokio::test]
async fn sqlite_is_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(folder.path(), None);
    program.env("BREAKERD_STORE_SHARED", "true");
    let output = ends(program).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("store.shared"), "{said}");
    assert!(said.contains("SQLite cannot be shared"), "{said}");
}
