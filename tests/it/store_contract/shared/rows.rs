//! The rows that others changed, in the order in which they were written.

use breaker::State;
use breakerd::store::{ChangeId, RowCursor, RowPlace, RowsPage};

use super::bed::SharedBed;
use super::on_every_shared_store;
use crate::store_contract::change::{key, proposed};

on_every_shared_store!(
    rows_come_in_the_order_of_revision_and_key,
    a_page_goes_on_within_a_revision,
    a_row_that_was_written_twice_comes_once,
    where_nothing_is_new_the_position_says_so,
    a_position_has_the_nonce_of_what_was_read,
);

fn names(page: &RowsPage) -> Vec<(u64, String)> {
    page.rows.iter().map(|row| (row.row.version.revision, row.key.service().to_string())).collect()
}

fn named(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
    rows.iter().map(|(revision, name)| (*revision, (*name).to_owned())).collect()
}

/// Trips breakers of these services, in one transaction.
async fn trip(bed: &SharedBed, first_seq: u64, services: &[&str]) {
    let batch: Vec<_> = (first_seq..)
        .zip(services)
        .map(|(seq, service)| proposed(seq, &key(service, ""), State::Closed, State::Open, 0))
        .collect();
    bed.store.propose_shared(&batch).await.unwrap();
}

async fn rows_come_in_the_order_of_revision_and_key(bed: &mut SharedBed) {
    trip(bed, 1, &["c", "a", "B"]).await;
    trip(bed, 4, &["b"]).await;
    trip(bed, 5, &["A", "a_b", "a.b", "a-b"]).await;
    let page = bed.rows_after(&RowCursor::default(), 100).await;
    // Bytes, and no alphabet of any language.
    assert_eq!(
        names(&page),
        named(&[(1, "B"), (1, "a"), (1, "c"), (2, "b"), (3, "A"), (3, "a-b"), (3, "a.b"), (3, "a_b")])
    );
    assert!(page.is_last);
    assert_eq!(page.next, RowCursor { revision: 3, part: None });
    let later = bed.rows_after(&RowCursor { revision: 2, part: None }, 100).await;
    assert_eq!(names(&later), named(&[(3, "A"), (3, "a-b"), (3, "a.b"), (3, "a_b")]));
}

async fn a_page_goes_on_within_a_revision(bed: &mut SharedBed) {
    trip(bed, 1, &["a", "b", "c", "d", "e"]).await;
    trip(bed, 6, &["0"]).await;
    for limit in 0..=7 {
        let (mut after, mut seen, mut pages) = (RowCursor::default(), Vec::new(), 0);
        loop {
            let page = bed.rows_after(&after, limit).await;
            assert!(page.rows.len() <= limit.max(1) as usize);
            seen.extend(names(&page));
            after = page.next;
            pages += 1;
            if page.is_last {
                break;
            }
        }
        assert_eq!(
            seen,
            named(&[(1, "a"), (1, "b"), (1, "c"), (1, "d"), (1, "e"), (2, "0")]),
            "limit {limit}"
        );
        assert_eq!(pages, 6_u32.div_ceil(limit.max(1)));
        assert_eq!(after, RowCursor { revision: 2, part: None });
    }
    let page = bed.rows_after(&RowCursor::default(), 2).await;
    let place = RowPlace { revision: 1, service: "b".to_owned(), name: "b".to_owned() };
    assert_eq!(page.next, RowCursor { revision: 0, part: Some(place) });
    assert_eq!(page.position.nonce, None, "of the revision that all is known of, which is none yet");
}

async fn a_row_that_was_written_twice_comes_once(bed: &mut SharedBed) {
    trip(bed, 1, &["a", "b", "c"]).await;
    let first = bed.rows_after(&RowCursor::default(), 1).await;
    assert_eq!(names(&first), named(&[(1, "a")]));
    // What was read is written again, and so is what was not.
    bed.propose(proposed(4, &key("b", ""), State::Open, State::Closed, 1)).await;
    bed.propose(proposed(5, &key("a", ""), State::Open, State::Closed, 1)).await;
    bed.propose(proposed(6, &key("b", ""), State::Closed, State::Open, 2)).await;
    let rest = bed.rows_after(&first.next, 9).await;
    assert_eq!(names(&rest), named(&[(1, "c"), (3, "a"), (4, "b")]));
    assert_eq!(rest.rows[2].row.snapshot.epoch, 3, "as it is now");
    assert!(rest.is_last);
}

async fn where_nothing_is_new_the_position_says_so(bed: &mut SharedBed) {
    let empty = bed.rows_after(&RowCursor::default(), 9).await;
    assert_eq!((empty.rows, empty.is_last, empty.next), (vec![], true, RowCursor::default()));
    assert_eq!(empty.position.newest, ChangeId::default());
    trip(bed, 1, &["a"]).await;
    // A revision that wrote no row of a breaker is passed over.
    bed.store.renew_timeline(0, 0).await.unwrap();
    let page = bed.rows_after(&RowCursor { revision: 1, part: None }, 9).await;
    assert_eq!((names(&page), page.is_last), (vec![], true));
    assert_eq!(page.next, RowCursor { revision: 2, part: None });
    assert_eq!(page.position, bed.store.position(1).await.unwrap());
}

async fn a_position_has_the_nonce_of_what_was_read(bed: &mut SharedBed) {
    trip(bed, 1, &["a"]).await;
    trip(bed, 2, &["b"]).await;
    let seen = bed.store.position(1).await.unwrap();
    let page = bed.rows_after(&RowCursor { revision: 1, part: None }, 9).await;
    assert_eq!(page.position, seen);
    assert!(page.position.nonce.is_some());
    // A cursor of another history, or ahead of this one.
    let ahead = bed.rows_after(&RowCursor { revision: 7, part: None }, 9).await;
    assert_eq!(ahead.position.nonce, None);
    assert!(ahead.position.went_back_behind(ChangeId { revision: 7, nonce: 1 }));
    assert_eq!(ahead.rows, []);
}
