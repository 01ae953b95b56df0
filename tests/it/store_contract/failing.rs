//! A database that fails in the middle of a transaction, and what comes after.

use std::collections::BTreeSet;

use breaker::{Attribution, Field, Layer, Time, Value};
use breakerd::store::{
    Answer, ConfigEdit, ConfigWrite, ConfigWritten, RequestId, Retention, StoreError, Target,
};

use super::change::{key, trip};
use super::on_every_database;
use crate::support::Bed;

on_every_database!(
    a_store_writes_again_after_a_statement_failed_in_its_transaction,
    a_store_writes_again_after_a_commit_failed,
);

/// The tables that a full disk or a fault may strike, one for each script that writes.
const STRUCK: [&str; 4] = ["receipt", "config_head", "config_request", "audit"];

/// Makes each write to a table fail as a full disk does: SQLite ends the transaction by itself, Postgres wants it ended.
async fn strike(bed: &Bed, table: &str) {
    for act in ["INSERT", "UPDATE", "DELETE"] {
        let trigger = match bed.target {
            Target::Sqlite(_) => format!(
                "CREATE TRIGGER struck_{table}_{act} BEFORE {act} ON {table}
                 BEGIN SELECT RAISE(ROLLBACK, 'no room'); END"
            ),
            Target::Postgres(_) => format!(
                "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql
                     AS 'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100''; END';
                 CREATE TRIGGER struck_{table}_{act} BEFORE {act} ON {table}
                     FOR EACH ROW EXECUTE FUNCTION no_room()"
            ),
        };
        bed.sql(&trigger).await;
    }
}

async fn make_room(bed: &Bed, table: &str) {
    for act in ["INSERT", "UPDATE", "DELETE"] {
        bed.sql(&match bed.target {
            Target::Sqlite(_) => format!("DROP TRIGGER struck_{table}_{act}"),
            Target::Postgres(_) => format!("DROP TRIGGER struck_{table}_{act} ON {table}"),
        })
        .await;
    }
}

async fn set_a_threshold(bed: &Bed, count: u32) -> Result<ConfigWritten, StoreError> {
    let stored = bed.store.configuration().await?;
    let layer = Layer::default().with(Field::FailureThreshold, Value::Count(count)).unwrap();
    let write = ConfigWrite {
        based_on: stored.revision,
        edit: ConfigEdit::Thresholds { service: "a".to_owned(), layer },
        attribution: Attribution { actor: "ann".to_owned(), reason: String::new() },
        request: None,
        touched: BTreeSet::from(["a".to_owned()]),
        waits: &|_, _| None,
    };
    bed.store.write_config(&write).await
}

async fn prune(bed: &Bed) -> Result<(), StoreError> {
    bed.store.prune(Retention { before: Time::MAX, requests_before: Time::MAX }).await.map(drop)
}

fn request(n: u64) -> RequestId {
    RequestId { id: format!("request-{n}"), digest: n }
}

async fn a_store_writes_again_after_a_statement_failed_in_its_transaction(bed: &mut Bed) {
    bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    set_a_threshold(bed, 1).await.unwrap();
    bed.store.keep_request(&request(1)).await.unwrap();
    for table in STRUCK {
        strike(bed, table).await;
    }
    // More often than there are connections.
    for round in 0..10 {
        assert!(bed.store.propose(&[trip(2, &key("b", ""))]).await.is_err(), "round {round}");
        assert!(set_a_threshold(bed, 2).await.is_err(), "round {round}");
        assert!(bed.store.keep_request(&request(2)).await.is_err(), "round {round}");
        assert!(prune(bed).await.is_err(), "round {round}");
    }
    for table in STRUCK {
        make_room(bed, table).await;
    }
    let answers = bed.store.propose(&[trip(2, &key("b", ""))]).await.unwrap();
    assert!(matches!(answers[..], [Answer::Won { epoch: 1, .. }]), "{answers:?}");
    assert!(matches!(set_a_threshold(bed, 2).await, Ok(ConfigWritten::Written(_))));
    bed.store.keep_request(&request(2)).await.unwrap();
    prune(bed).await.unwrap();
}

async fn a_store_writes_again_after_a_commit_failed(bed: &mut Bed) {
    // A foreign key that is looked at when the transaction is committed.
    bed.sql(
        "CREATE TABLE owner (id INTEGER PRIMARY KEY);
         CREATE TABLE owned (id INTEGER REFERENCES owner DEFERRABLE INITIALLY DEFERRED)",
    )
    .await;
    bed.sql(match bed.target {
        Target::Sqlite(_) => {
            "CREATE TRIGGER orphan AFTER INSERT ON receipt BEGIN INSERT INTO owned VALUES (1); END"
        }
        Target::Postgres(_) => {
            "CREATE FUNCTION orphan() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN INSERT INTO owned VALUES (1); RETURN NEW; END';
             CREATE TRIGGER orphan AFTER INSERT ON receipt FOR EACH ROW EXECUTE FUNCTION orphan()"
        }
    })
    .await;
    for _ in 0..10 {
        bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap_err();
    }
    bed.sql("INSERT INTO owner VALUES (1)").await;
    let answers = bed.store.propose(&[trip(1, &key("a", ""))]).await.unwrap();
    assert!(matches!(answers[..], [Answer::Won { epoch: 1, revision: 1 }]), "{answers:?}");
}
