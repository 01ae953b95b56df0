//! Rows that a later version wrote, which this one cannot read: they keep nobody from the others.

use breaker::State;
use breakerd::store::{ProbeRequest, ProbeResponse, RowCursor, RowPlace};

use super::bed::{SharedBed, claim, claimed, succeeded};
use crate::store_contract::change::{key, proposed};

/// As if a later version had written it.
async fn write_by_a_later_version(bed: &SharedBed, set: &str, service: &str) {
    let database = bed.database().unwrap();
    database.sql("ALTER TABLE breaker DROP CONSTRAINT IF EXISTS breaker_state_check").await;
    database.sql(&format!("UPDATE breaker SET {set} WHERE service = '{service}'")).await;
}

#[tokio::test]
async fn who_follows_passes_over_a_row_that_cannot_be_read() {
    for (set, name, problem) in [
        ("state = 'QUARANTINED'", "b", "state cannot be QUARANTINED"),
        (
            r#"entered_by = '{"from":"CLOSED","reason":"BOREDOM"}'"#,
            "b",
            "entered_by.reason cannot be BOREDOM",
        ),
        ("name = 'no key'", "no key", "invalid character ' ' at byte 2"),
    ] {
        let bed = SharedBed::postgres().await;
        let batch: Vec<_> = (1..)
            .zip(["a", "b", "c"])
            .map(|(seq, service)| proposed(seq, &key(service, ""), State::Closed, State::Open, 0))
            .collect();
        bed.store.propose_shared(&batch).await.unwrap();
        write_by_a_later_version(&bed, set, "b").await;
        for limit in 1..=4 {
            let (mut after, mut read, mut unreadable) = (RowCursor::default(), Vec::new(), Vec::new());
            for _ in 0..4 {
                let page = bed.rows_after(&after, limit).await;
                read.extend(page.rows.iter().map(|row| row.key.service().to_string()));
                unreadable.extend(page.unreadable);
                after = page.next;
                if page.is_last {
                    break;
                }
            }
            assert_eq!(read, ["a", "c"], "{set}, limit {limit}");
            assert_eq!(after, RowCursor { revision: 1, part: None });
            let [unreadable] = &unreadable[..] else { panic!("{unreadable:?}") };
            let place = RowPlace { revision: 1, service: "b".to_owned(), name: name.to_owned() };
            assert_eq!(unreadable.place, place);
            assert!(unreadable.problem.contains(problem), "{unreadable:?}");
        }
        bed.end().await;
    }
}

#[tokio::test]
async fn a_batch_goes_on_without_a_breaker_that_cannot_be_read() {
    for set in ["state = 'QUARANTINED'", "episode = '{}'", "slot"] {
        let bed = SharedBed::postgres().await;
        let (a, b, c) = (key("a", ""), key("b", ""), key("c", ""));
        bed.half_open([&a, &b, &c], 1, 1).await;
        let probe = bed.probes(&b, &[7]).await.remove(0);
        let done = bed.probes(&c, &[8]).await.remove(0);
        if set == "slot" {
            bed.database().unwrap().sql("UPDATE probe SET slot = 70000 WHERE service = 'b'").await;
        } else {
            write_by_a_later_version(&bed, set, "b").await;
        }
        let release = ProbeRequest::Release { key: b.clone(), epoch: 1, nonces: vec![7] };
        let batch =
            [claim(&b, 1, &[1]), claim(&a, 1, &[2]), release, succeeded(&b, probe), succeeded(&c, done)];
        let responses = bed.store.ask_probes(&batch).await.unwrap();
        for of_b in [0, 2, 3] {
            assert!(matches!(responses[of_b], ProbeResponse::Unreadable(_)), "{set}: {:?}", responses[of_b]);
        }
        assert_eq!(claimed(responses[1].clone()).0.unwrap().probes.len(), 1, "{set}");
        let ProbeResponse::Settled { answer, .. } = &responses[4] else { panic!("{responses:?}") };
        assert_eq!(answer.row.snapshot.state, State::Closed, "{set}");
        bed.end().await;
    }
}
