//! What a file declares, and what a store is.

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{Field, Layer, Value};
use breakerd::store::{Declaration, Declared, StoreError};

use super::on_every_store;
use crate::support::Bed;

on_every_store!(
    what_a_file_declares_comes_back_exactly,
    the_same_content_is_no_change,
    an_older_file_does_not_replace_a_newer_one,
    the_same_content_carries_its_generation_on,
    every_declaration_is_in_the_audit,
    two_declarations_at_once_are_one_change,
    a_declaration_that_cannot_be_is_named,
    a_store_is_the_same_after_a_restart,
    no_two_stores_are_the_same,
);

fn declaration(generation: Option<u64>, failures: u32) -> Declaration {
    let defaults = Layer::default().with(Field::FailureThreshold, Value::Count(failures)).unwrap();
    let sentinel = Layer::default()
        .with(Field::FailureRateThreshold, Value::Rate(33_500))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_millis(1_500))))
        .and_then(|layer| layer.with(Field::SlidingWindowType, Value::Word("TIME_BASED")))
        .and_then(|layer| {
            layer.with(Field::IgnoreErrorClasses, Value::Classes(vec!["Not\"Found".to_owned()]))
        })
        .unwrap();
    let services =
        BTreeMap::from([("sentinel".to_owned(), sentinel), ("empty".to_owned(), Layer::default())]);
    Declaration { generation, enabled: true, defaults, services }
}

async fn declare(bed: &Bed, generation: Option<u64>, failures: u32) -> Declared {
    bed.store.declare(&declaration(generation, failures)).await.unwrap()
}

async fn what_a_file_declares_comes_back_exactly(bed: &mut Bed) {
    assert_eq!(bed.store.declaration().await.unwrap(), None);
    assert_eq!(declare(bed, Some(4), 3).await, Declared::Written { revision: 1 });
    bed.reopen().await;
    let stored = bed.store.declaration().await.unwrap().unwrap();
    assert_eq!(stored.declaration, declaration(Some(4), 3));
    assert_eq!(stored.revision, 1);
}

async fn the_same_content_is_no_change(bed: &mut Bed) {
    declare(bed, None, 3).await;
    assert_eq!(declare(bed, None, 3).await, Declared::Unchanged { revision: 1 });
    let off = Declaration { enabled: false, ..declaration(None, 3) };
    assert_eq!(bed.store.declare(&off).await.unwrap(), Declared::Written { revision: 2 });
    assert_eq!(bed.store.declare(&off).await.unwrap(), Declared::Unchanged { revision: 2 });
    assert_eq!(bed.store.revision().await.unwrap(), 2);
}

async fn an_older_file_does_not_replace_a_newer_one(bed: &mut Bed) {
    declare(bed, Some(5), 3).await;
    assert_eq!(declare(bed, Some(4), 9).await, Declared::Older { generation: 5, revision: 1 });
    assert_eq!(bed.store.declaration().await.unwrap().unwrap().declaration, declaration(Some(5), 3));
    assert_eq!(declare(bed, Some(5), 4).await, Declared::Written { revision: 2 });
    assert_eq!(declare(bed, None, 6).await, Declared::Written { revision: 3 });
    assert_eq!(declare(bed, Some(1), 7).await, Declared::Written { revision: 4 });
}

async fn the_same_content_carries_its_generation_on(bed: &mut Bed) {
    declare(bed, Some(5), 3).await;
    assert_eq!(declare(bed, Some(7), 3).await, Declared::Unchanged { revision: 1 });
    assert_eq!(declare(bed, Some(6), 9).await, Declared::Older { generation: 7, revision: 1 });
    assert_eq!(declare(bed, Some(2), 3).await, Declared::Unchanged { revision: 1 });
    assert_eq!(declare(bed, None, 3).await, Declared::Unchanged { revision: 1 });
    assert_eq!(declare(bed, Some(6), 9).await, Declared::Older { generation: 7, revision: 1 });
}

async fn every_declaration_is_in_the_audit(bed: &mut Bed) {
    declare(bed, None, 3).await;
    declare(bed, None, 3).await;
    declare(bed, None, 4).await;
    let rows = "SELECT CAST(count(*) AS TEXT) FROM config_change WHERE actor = 'file' AND what = 'declared'";
    assert_eq!(bed.text(rows).await.as_deref(), Some("2"));
    let first = "SELECT CAST(before AS TEXT) FROM config_change WHERE revision = 1";
    assert_eq!(bed.text(first).await, None);
    let threshold = |column| {
        format!(
            "SELECT CAST({column} -> 'defaults' ->> 'failure_threshold' AS TEXT) FROM config_change WHERE revision = 2"
        )
    };
    assert_eq!(bed.text(&threshold("before")).await.as_deref(), Some("3"));
    assert_eq!(bed.text(&threshold("after")).await.as_deref(), Some("4"));
}

async fn two_declarations_at_once_are_one_change(bed: &mut Bed) {
    let (one, two) = tokio::join!(declare(bed, None, 3), declare(bed, None, 3));
    let mut revisions = [one, two];
    revisions.sort_by_key(|declared| matches!(declared, Declared::Unchanged { .. }));
    assert_eq!(revisions, [Declared::Written { revision: 1 }, Declared::Unchanged { revision: 1 }]);
}

async fn a_declaration_that_cannot_be_is_named(bed: &mut Bed) {
    declare(bed, None, 3).await;
    bed.sql(r#"UPDATE declared SET content = '{"enabled": true, "defaults": {"shiny": 1}, "services": {}}'"#)
        .await;
    let error = bed.store.declaration().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "read the declared thresholds: declared: defaults: shiny is no field that this breakerd knows"
    );
    assert!(matches!(error, StoreError::Corrupt { .. }));
}

async fn a_store_is_the_same_after_a_restart(bed: &mut Bed) {
    let meta = bed.store.meta().await.unwrap();
    assert_eq!(meta, bed.store.meta().await.unwrap());
    bed.reopen().await;
    assert_eq!(meta, bed.store.meta().await.unwrap());
    assert_eq!(meta.lineage, 0);
    assert_ne!(meta.permit_key, [0; 16]);
    bed.store.ping().await.unwrap();
}

async fn no_two_stores_are_the_same(bed: &mut Bed) {
    let other = match bed.target {
        breakerd::store::Target::Sqlite(_) => Bed::sqlite().await,
        breakerd::store::Target::Postgres(_) => Bed::postgres().await,
    };
    let (one, two) = (bed.store.meta().await.unwrap(), other.store.meta().await.unwrap());
    assert_ne!(one.store_id, two.store_id);
    assert_ne!(one.permit_key, two.permit_key);
    other.end().await;
}
