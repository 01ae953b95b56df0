//! Who may have a database, and how it is reached.

use breakerd::store::{RowCursor, Shared, StoreError, Target, open, open_shared};

use crate::cluster::Pooler;
use crate::process::{ends, program};
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
    assert!(why.contains("does not share the database") && why.contains("set store.shared there"), "{why}");
    alone.close().await;

    let (one, two) = (open_shared(&url).await.unwrap(), open_shared(&url).await.unwrap());
    let Err(error) = open(&Target::Postgres(url.clone())).await else { panic!("has alone what is shared") };
    let why = refusal(error);
    assert!(why.contains("set store.shared here too"), "{why}");
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
            shared.rows_after(&RowCursor::default(), 1).await.unwrap();
            store.close().await;
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
            assert!(error.to_string().contains("max_prepared_statements"), "{error}");
        }
    }
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
