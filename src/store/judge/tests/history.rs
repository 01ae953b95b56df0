//! What of the history is kept as it happens: outages, the time in OPEN, and how long each state lasted.

use super::*;

#[test]
fn time_in_open_adds_up_by_day_and_breaker() {
    let lasted =
        |transition, seconds| Transition { lasted: Some(Duration::from_secs(seconds)), ..transition };
    let us = Proposal { key: key("us"), ..own(4, lasted(transition(State::Open, State::HalfOpen, 1), 7)) };
    let batch = [
        own(1, lasted(transition(State::Open, State::HalfOpen, 1), 3)),
        own(2, transition(State::HalfOpen, State::Open, 2)),
        own(3, lasted(transition(State::Open, State::Closed, 3), 4)),
        us,
    ];
    let judgement = judge(&batch, LockedRows::default(), at(30));
    let open_time: Vec<_> = judgement
        .open_time
        .iter()
        .map(|((day, key), time)| (*day, key.to_string(), time.day, time.open_us, time.openings))
        .collect();
    assert_eq!(
        open_time,
        [
            (DAY, "payments/eu".to_owned(), DAY, 7_000_000, 2),
            (DAY, "payments/us".to_owned(), DAY, 7_000_000, 1)
        ]
    );
}

#[test]
fn an_outage_that_is_over_names_the_row_that_ended_it() {
    let batch = [
        own(1, transition(State::Closed, State::Open, 0)),
        own(2, transition(State::Open, State::HalfOpen, 1)),
        own(3, transition(State::HalfOpen, State::Closed, 2)),
    ];
    let judgement = judged(&batch, None);
    let [(entry, key, ended)] = judgement.ended.as_slice() else { panic!("{:?}", judgement.ended) };
    assert_eq!((*entry, key.to_string()), (2, "payments/eu".to_owned()));
    assert_eq!((ended.episode.epoch, ended.closed_at), (1, Some(at(10))));
    assert_eq!(judgement.changed.values().next().unwrap().episode, None);
    // While it lasts it stands in the row.
    let judgement = judged(&batch[..2], None);
    assert!(judgement.ended.is_empty());
    let episode = judgement.changed.values().next().unwrap().episode.clone().unwrap();
    assert_eq!((episode.epoch, episode.half_open_at_us), (1, Some(at(10).as_micros())));
}

#[test]
fn a_row_of_the_history_says_how_long_the_state_had_lasted() {
    let lasted = |transition| {
        let batch = [own(1, transition)];
        judged(&batch, Some(snapshot(State::Closed, 4))).entries[0].lasted
    };
    let measured = Some(Duration::from_secs(3));
    assert_eq!(
        lasted(Transition { lasted: measured, ..transition(State::Closed, State::Open, 4) }),
        measured
    );
    // By the times of the history, where it follows on what stands.
    assert_eq!(lasted(transition(State::Closed, State::Open, 4)), Some(Duration::from_secs(10)));
    assert_eq!(lasted(transition(State::Closed, State::Open, 5)), None);
}
