//! Properties of their own, beside the comparison with the model.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Breaker, CallerId, Field, Identity, Layer, Numbering, Origin, Outcome, ProposalAnswer, ProposalId,
    Report, RowVersion, Snapshot, State, StoredRow, Thresholds, Ticket, Time, Value, WallOffset, merge,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::play::{Play, ann};
use crate::rules::KEY_HASH;
use crate::settings::settings;
use crate::steps::steps;
use crate::{beginning, config};

const START: Time = Time::from_micros(1_000_000_800_000_000);

fn identity(key_hash: u64) -> Identity {
    Identity {
        key_hash,
        salt: 1,
        first_number: 0,
        numbering: Numbering::Own,
        stagger: Duration::ZERO,
        wall: WallOffset::ZERO,
    }
}

fn thresholds(values: &[(Field, Value)]) -> Arc<Thresholds> {
    let mut layer = Layer::default();
    for (field, value) in values {
        layer.set(*field, value.clone()).unwrap();
    }
    Arc::new(merge(&[(Origin::Api, &layer)]).unwrap().thresholds)
}

fn open(thresholds: Arc<Thresholds>, key_hash: u64, epoch: u64, open_count: u32) -> Breaker {
    let kept = Snapshot { epoch, state: State::Open, open_count, entered_at: START, ..Snapshot::pristine() };
    Breaker::restore(thresholds, 0, identity(key_hash), kept, START)
}

fn wait_ms(value: u64) -> Value {
    Value::Duration(Duration::from_millis(value))
}

/// Changes the thresholds of a breaker, and compares it with what its snapshot of before says of that. False: it is
/// not open any more, or was not.
fn changes_alike(
    breaker: &mut Breaker,
    thresholds: &Arc<Thresholds>,
    key_hash: u64,
    revision: u64,
    now: Time,
) -> Result<bool, TestCaseError> {
    breaker.poll(now);
    let kept = breaker.snapshot();
    let wait = kept.wait_under(thresholds, key_hash);
    prop_assert_eq!(wait.is_some(), kept.state == State::Open);
    let Some(wait) = wait else { return Ok(false) };
    let as_kept = Snapshot { wait: Some(wait), ..kept };
    let open_until = as_kept.open_until().unwrap();

    let transitions = breaker.set_thresholds(Arc::clone(thresholds), revision, now);
    let running = breaker.snapshot();
    if open_until <= now {
        prop_assert_eq!(transitions.len(), 1);
        prop_assert_eq!((running.state, running.entered_at), (State::HalfOpen, now));
        return Ok(false);
    }
    prop_assert!(transitions.is_empty());
    prop_assert_eq!(&running, &as_kept);
    prop_assert_eq!((running.open_until(), breaker.next_deadline()), (Some(open_until), Some(open_until)));
    // And whoever starts with what was kept waits as long.
    let restored = Breaker::restore(Arc::clone(thresholds), revision, identity(key_hash), as_kept, now);
    prop_assert_eq!(restored.snapshot().open_until(), Some(open_until));
    Ok(true)
}

proptest! {
    #![proptest_config(config())]

    /// Whatever happened before: when calls come, and only so many of them are lost, half-open ends.
    #[test]
    fn a_half_open_breaker_reaches_a_verdict_while_calls_come(
        settings in settings(),
        now in beginning(),
        steps in steps(40),
        outcomes in vec(0_u8..4, 30),
    ) {
        let mut play = Play::begin(&settings, now);
        for step in &steps {
            play.step(step);
        }
        let (mut breaker, mut now) = (play.breaker().clone(), play.now());
        breaker.poll(now);
        if breaker.state() != State::HalfOpen {
            return Ok(());
        }
        let terms = breaker.snapshot().half_open.unwrap();
        let epoch = breaker.epoch();
        let mut outcomes = outcomes.into_iter();
        // Each round takes every free place; a lost probe costs a lease.
        for _ in 0..=30 {
            let passes: Vec<_> =
                (0..=terms.permitted).filter_map(|_| breaker.allow(now).0.pass).collect();
            for pass in passes {
                let outcome = match outcomes.next() {
                    Some(0) => continue,
                    Some(1) => Outcome::Ignored,
                    Some(2) => Outcome::Failure,
                    Some(_) | None => Outcome::Success,
                };
                breaker.record(Ticket::Own(pass), &Report::plain(outcome), now);
            }
            now = now + terms.lease;
        }
        prop_assert!(breaker.epoch() > epoch, "{:?}", breaker.view(now));
    }

    /// The wait is within its bounds, the same wherever it is drawn, and never above the cap.
    #[test]
    fn a_wait_by_chance_is_within_its_bounds_and_the_same_everywhere(
        key_hash: u64,
        epoch in 1_u64..1_000_000,
        open_count in 1_u32..100,
        wait in 1_u64..100_000,
        room in 0_u64..1_000_000,
        multiplier in 1_001_u32..=10_000,
        factor in 0_u32..1_000,
    ) {
        let thresholds = thresholds(&[
            (Field::Timeout, wait_ms(wait)),
            (Field::MaxWait, wait_ms(wait + room)),
            (Field::WaitInterval, Value::Word("EXPONENTIAL")),
            (Field::Multiplier, Value::Factor(multiplier)),
            (Field::RandomizationFactor, Value::Factor(factor)),
        ]);
        let drawn = |thresholds: &Arc<Thresholds>| open(Arc::clone(thresholds), key_hash, epoch, open_count).snapshot().wait.unwrap();
        let seconds = drawn(&thresholds).as_secs_f64();
        prop_assert_eq!(drawn(&thresholds), drawn(&thresholds));

        let cap = thresholds.max_wait().as_secs_f64();
        let grown = thresholds.wait().as_secs_f64() * (f64::from(multiplier) / 1_000.0).powf(f64::from(open_count - 1));
        let share = f64::from(factor) / 1_000.0;
        // Every step of growth rounds down to a microsecond.
        let rounding = 1.0 - 1e-6 * f64::from(open_count) / thresholds.wait().as_secs_f64();
        let (least, most) = (grown * (1.0 - share) * rounding, grown * (1.0 + share));
        prop_assert!(seconds <= most.min(cap) + 1e-5, "{seconds} above {most} or {cap}");
        prop_assert!(seconds >= least.min(cap) - 1e-5, "{seconds} below {least} and {cap}");
    }

    /// What the store writes down for an OPEN breaker, when its thresholds change, is what the running one does: however
    /// it came to be open, whichever thresholds come, and however often they change.
    #[test]
    fn a_kept_wait_changes_as_that_of_the_running_breaker_does(
        before in settings(),
        changes in vec((settings(), 0_u64..200_000), 1..4),
        key_hash: u64,
        epoch in 1_u64..1_000_000,
        open_count in prop_oneof![1_u32..8, 1_u32..1_000],
        retry_after in proptest::option::of((1_u64..400_000).prop_map(Duration::from_millis)),
    ) {
        let thresholds = before.thresholds();
        let retry_after = retry_after.filter(|_| thresholds.honor_retry_after());
        let kept = Snapshot {
            epoch, state: State::Open, open_count, retry_after, entered_at: START, ..Snapshot::pristine()
        };
        let mut breaker = Breaker::restore(thresholds, 0, identity(key_hash), kept, START);
        let mut now = START;
        for (revision, (after, pause_ms)) in (1..).zip(&changes) {
            now = now + Duration::from_millis(*pause_ms);
            if !changes_alike(&mut breaker, &after.thresholds(), key_hash, revision, now)? {
                break;
            }
        }
    }

    /// The same of breakers that opened by themselves.
    #[test]
    fn a_kept_wait_changes_as_the_running_ones_whatever_opened_it(
        before in settings(),
        after in settings(),
        now in beginning(),
        steps in steps(40),
    ) {
        let mut play = Play::begin(&before, now);
        for step in &steps {
            play.step(step);
            let mut breaker = play.breaker().clone();
            changes_alike(&mut breaker, &after.thresholds(), KEY_HASH, u64::MAX, play.now())?;
        }
    }

    /// What a change of a time window's size keeps may hang on the slices of both sizes, but not on more.
    #[test]
    fn a_window_of_time_of_another_size_keeps_what_both_sizes_held(
        outcomes in vec((0_u64..60_000_000, any::<bool>()), 1..40),
        sizes in (1_u32..60, 1_u32..60),
        pause in 0_u64..20_000_000,
    ) {
        let of = |size| thresholds(&[
            (Field::FailureThreshold, Value::Count(0)),
            (Field::SlidingWindowType, Value::Word("TIME_BASED")),
            (Field::SlidingWindowSize, Value::Count(size)),
        ]);
        let mut outcomes = outcomes;
        outcomes.sort_unstable();
        let mut breaker = Breaker::new(of(sizes.0), 0, identity(1), START);
        let at = |micros| START + Duration::from_micros(micros);
        for (micros, failed) in &outcomes {
            let outcome = if *failed { Outcome::Failure } else { Outcome::Success };
            breaker.record(Ticket::Bare { epoch: None }, &Report::plain(outcome), at(*micros));
        }
        let now = outcomes.last().unwrap().0 + pause;
        breaker.set_thresholds(of(sizes.1), 1, at(now));
        breaker.poll(at(now));
        let stats = breaker.view(at(now)).stats;

        // An outcome lives between 0.95 of the size and the size; it may gain a slice of the former size.
        let slices = |size: u32, number: u64| u64::from(size) * 50_000 * number;
        let within = |age: u64| outcomes.iter().filter(move |(micros, _)| now - micros < age);
        let kept = slices(sizes.0, 19).min(slices(sizes.1, 19));
        let perhaps = slices(sizes.0, 20).min(slices(sizes.1, 20) + slices(sizes.0, 1));
        let calls = stats.calls as usize;
        prop_assert!(within(kept).count() <= calls && calls <= within(perhaps).count(), "{stats:?}");
        let failed = |age| within(age).filter(|(_, failed)| *failed).count();
        let failures = stats.failures as usize;
        prop_assert!(failed(kept) <= failures && failures <= failed(perhaps), "{stats:?}");
    }
}

/// The epoch that the store will give, not the one that it is proposed in, draws the wait.
#[test]
fn a_proposed_wait_is_the_one_that_is_confirmed() {
    let with = |reporters| {
        thresholds(&[
            (Field::FailureThreshold, Value::Count(1)),
            (Field::RandomizationFactor, Value::Factor(900)),
            (Field::MinimumReporters, Value::Count(reporters)),
        ])
    };
    let store = Identity { numbering: Numbering::Store, ..identity(1) };
    let mut breaker = Breaker::new(with(1), 0, store, START);
    let (_, trips) = breaker.record(Ticket::Bare { epoch: None }, &Report::plain(Outcome::Failure), START);
    let id = ProposalId { boot: 1, number: 1 };
    breaker.proposed_as(id);
    let proposed = breaker.snapshot().wait;
    assert_eq!(proposed, open(with(1), 1, 1, 1).snapshot().wait);
    breaker.set_thresholds(with(2), 1, START);
    assert_eq!(breaker.snapshot().wait, proposed);
    let version = RowVersion { timeline: 1, revision: 1 };
    let row = StoredRow { version, snapshot: trips[0].after.clone(), age: Duration::ZERO };
    breaker.answered(id, ProposalAnswer::Won, &row, START);
    assert_eq!((breaker.epoch(), breaker.is_unconfirmed()), (1, false));
    breaker.set_thresholds(with(1), 2, START);
    assert_eq!(breaker.snapshot().wait, proposed);
}

/// Waits of many breakers that opened together end at many moments.
#[test]
fn chance_spreads_the_waits_over_their_whole_range() {
    let thresholds =
        thresholds(&[(Field::Timeout, wait_ms(10_000)), (Field::RandomizationFactor, Value::Factor(500))]);
    let mut tenths = [0; 10];
    for key_hash in 0..1_000 {
        let wait = open(Arc::clone(&thresholds), key_hash, 1, 1).snapshot().wait.unwrap();
        let tenth = (wait.as_micros() - 5_000_000) / 1_000_001;
        tenths[tenth as usize] += 1;
    }
    assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");

    let waits = |epoch| open(Arc::clone(&thresholds), 1, epoch, 1).snapshot().wait;
    assert_ne!(waits(1), waits(2), "each epoch draws anew");
}

/// Everything a breaker holds stands in its debug text: it must not grow with traffic, only to its bounds.
#[test]
fn memory_does_not_grow_with_traffic() {
    for kind in ["COUNT_BASED", "TIME_BASED"] {
        let thresholds = thresholds(&[
            (Field::FailureThreshold, Value::Count(0)),
            (Field::SlidingWindowType, Value::Word(kind)),
            (Field::SlidingWindowSize, Value::Count(60)),
            (Field::MinimumReporters, Value::Count(5)),
        ]);
        let mut breaker = Breaker::new(thresholds, 0, identity(1), START);
        let mut traffic = |calls: u64, callers: u64| {
            for call in 0..calls {
                let now = START + Duration::from_millis(call * 10);
                let pass = breaker.allow(now).0.pass.unwrap();
                let failure = Report { caller: CallerId(call % callers), ..Report::plain(Outcome::Failure) };
                breaker.record(Ticket::Own(pass), &failure, now);
            }
            format!("{breaker:?}").len()
        };
        let (some, much) = (traffic(10_000, 1_000), traffic(100_000, 10_000));
        // Numbers have become a few digits longer.
        assert!(much < some + 200, "{kind}: from {some} to {much}");
    }
}

#[test]
fn a_half_open_that_loses_every_probe_does_not_grow() {
    let thresholds = thresholds(&[(Field::PermittedCalls, Value::Count(5))]);
    let mut breaker = open(thresholds, 1, 1, 1);
    breaker.probe(ann(), START).0.unwrap();
    let mut lengths = Vec::new();
    for round in 0..1_000 {
        let now = START + Duration::from_mins(round + 1);
        assert_eq!((0..9).filter(|_| breaker.allow(now).0.pass.is_some()).count(), 5);
        lengths.push(format!("{breaker:?}").len());
    }
    assert!(lengths[999] < lengths[0] + 50, "from {} to {}", lengths[0], lengths[999]);
}

/// The window of calls has two bits a call, the permits a bit each of the newest 2,560.
#[test]
fn a_breaker_with_default_thresholds_takes_at_most_a_kibibyte() {
    let own = size_of::<Breaker>();
    let (window, permits) = (100_usize.div_ceil(32) * 8, 2_560 / 8);
    // Who failed: one caller. Two counts, two lists, an entry.
    let reporters = 2 * 8 + 2 * 32 + 32;
    let allocations = 4 * 16;
    let all = own + window + permits + reporters + allocations;
    assert!(all <= 1_024, "{own} + {window} + {permits} + {reporters} + {allocations}");
}
