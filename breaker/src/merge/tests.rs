use super::*;

fn layer(values: &[(Field, Value)]) -> Layer {
    let mut layer = Layer::default();
    for (field, value) in values {
        layer.set(*field, value.clone()).unwrap();
    }
    layer
}

fn of(values: &[(Field, Value)]) -> Thresholds {
    merge(&[(Origin::Api, &layer(values))]).unwrap().thresholds
}

#[test]
fn nothing_set_is_five_failures_two_successes_a_minute() {
    let built_in = of(&[]);
    assert_eq!(built_in.failure_threshold(), 5);
    assert_eq!(built_in.success_threshold(), 2);
    assert_eq!(built_in.permitted(), 2);
    assert_eq!(built_in.wait(), Duration::from_mins(1));
    assert_eq!(built_in.max_wait(), Duration::from_mins(10));
    assert!(!built_in.slow_calls_as_failures() && !built_in.honor_retry_after());
    assert_eq!(built_in.max_wait_in_half_open(), None);
    assert!(built_in.ignore_error_classes().is_empty() && built_in.record_error_classes().is_empty());
}

#[test]
fn a_rate_takes_the_place_of_the_thresholds_behind_it() {
    let defaults =
        layer(&[(Field::FailureThreshold, Value::Count(7)), (Field::SuccessThreshold, Value::Count(3))]);
    let service = layer(&[(Field::FailureRateThreshold, Value::Rate(50_000))]);
    let merged = merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &service)]).unwrap();
    assert_eq!(merged.thresholds.failure_threshold(), 0);
    assert_eq!(merged.thresholds.success_threshold(), 0);
    assert_eq!(merged.thresholds.permitted(), 10);
    assert_eq!(merged.origins.get(&Field::FailureThreshold), None);
    let both = layer(&[
        (Field::FailureRateThreshold, Value::Rate(50_000)),
        (Field::FailureThreshold, Value::Count(9)),
    ]);
    let merged = merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &both)]).unwrap();
    assert_eq!(merged.thresholds.failure_threshold(), 9);
    let behind = merge(&[(Origin::FileDefaults, &service), (Origin::FileService, &defaults)]).unwrap();
    assert_eq!(behind.thresholds.failure_threshold(), 7, "the nearer layer chose to count as well");
}

#[test]
fn permitted_and_success_threshold_stand_in_for_each_other() {
    assert_eq!(of(&[(Field::PermittedCalls, Value::Count(4))]).success_threshold(), 4);
    assert_eq!(of(&[(Field::SuccessThreshold, Value::Count(4))]).permitted(), 4);
    assert_eq!(of(&[(Field::SuccessThreshold, Value::Count(0))]).permitted(), 10);
    let rate = of(&[(Field::FailureRateThreshold, Value::Rate(1)), (Field::PermittedCalls, Value::Count(4))]);
    assert_eq!((rate.success_threshold(), rate.permitted()), (0, 4));
}

#[test]
fn contradictions_are_all_named_with_their_layers() {
    let defaults = layer(&[
        (Field::PermittedCalls, Value::Count(3)),
        (Field::SlowCallRateThreshold, Value::Rate(10_000)),
        (Field::SlidingWindowType, Value::Word("TIME_BASED")),
        (Field::MaxWait, Value::Duration(Duration::from_secs(30))),
    ]);
    let service =
        layer(&[(Field::SuccessThreshold, Value::Count(5)), (Field::SlidingWindowSize, Value::Count(4_000))]);
    let problems = merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &service)]).unwrap_err();
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "success_threshold: invalid value 5: must be at most permitted_number_of_calls_in_half_open_state (3) \
             (set by: file, service; file defaults)",
            "sliding_window_size: invalid value 4000: must be 1..=3600 (seconds) if sliding_window_type is \
             TIME_BASED \
             (set by: file, service; file defaults)",
            "slow_call_rate_threshold: must be set together with slow_call_duration_threshold \
             (set by: file defaults)",
            "max_wait: invalid value 30s: must be at least timeout_seconds (1m) (set by: file defaults; built-in)",
        ]
    );
    let both = layer(&[(Field::SuccessThreshold, Value::Count(5)), (Field::PermittedCalls, Value::Count(3))]);
    let problems = merge(&[(Origin::Api, &both)]).unwrap_err();
    assert!(problems[0].to_string().ends_with(" (set by: API)"), "{}", problems[0]);
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn a_field_that_was_taken_back_is_not_set() {
    let mut layer =
        layer(&[(Field::FailureThreshold, Value::Count(7)), (Field::Timeout, Value::Duration(DAY))]);
    layer.unset(Field::FailureThreshold);
    assert_eq!(layer.get(Field::FailureThreshold), None);
    assert_eq!(layer.iter().collect::<Vec<_>>(), [(Field::Timeout, &Value::Duration(DAY))]);
    assert!(!layer.is_empty());
    layer.unset(Field::Timeout);
    assert!(layer.is_empty());
}

/// What `nearer` makes of a default of 7 failures and 3 successes: the two thresholds, and where each came from.
fn over_defaults(nearer: &[(Field, Value)]) -> [(u32, Option<Origin>); 2] {
    let defaults =
        layer(&[(Field::FailureThreshold, Value::Count(7)), (Field::SuccessThreshold, Value::Count(3))]);
    let merged = merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &layer(nearer))]).unwrap();
    let origin = |field| merged.origins.get(&field).copied();
    [
        (merged.thresholds.failure_threshold(), origin(Field::FailureThreshold)),
        (merged.thresholds.success_threshold(), origin(Field::SuccessThreshold)),
    ]
}

#[test]
fn only_a_nearer_choice_of_trip_takes_the_thresholds_behind_it_out_of_force() {
    let (failures, successes) = ((7, Some(Origin::FileDefaults)), (3, Some(Origin::FileDefaults)));
    let off = (0, None);
    assert_eq!(over_defaults(&[]), [failures, successes]);
    assert_eq!(over_defaults(&[(Field::Timeout, Value::Duration(DAY))]), [failures, successes]);
    // A count of failures chooses the trip, and leaves open how half-open decides.
    assert_eq!(over_defaults(&[(Field::FailureCountThreshold, Value::Count(9))]), [off, successes]);
    assert_eq!(over_defaults(&[(Field::FailureRateThreshold, Value::Rate(50_000))]), [off, off]);
    let slow = [
        (Field::SlowCallRateThreshold, Value::Rate(50_000)),
        (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_secs(1))),
    ];
    assert_eq!(over_defaults(&slow), [off, off]);
    assert_eq!(
        over_defaults(&[(Field::SuccessThreshold, Value::Count(5))]),
        [failures, (5, Some(Origin::FileService))]
    );
}

#[test]
fn any_other_trip_turns_the_built_in_failure_threshold_off() {
    let slow_duration = (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_secs(1)));
    let slow_rate = of(&[(Field::SlowCallRateThreshold, Value::Rate(50_000)), slow_duration.clone()]);
    assert_eq!((slow_rate.failure_threshold(), slow_rate.success_threshold()), (0, 0));
    let failure_rate = of(&[(Field::FailureRateThreshold, Value::Rate(50_000))]);
    assert_eq!((failure_rate.failure_threshold(), failure_rate.success_threshold()), (0, 0));
    let count = of(&[(Field::FailureCountThreshold, Value::Count(9))]);
    assert_eq!((count.failure_threshold(), count.success_threshold()), (0, 2));
    let none = of(&[slow_duration]);
    assert_eq!((none.failure_threshold(), none.success_threshold()), (5, 2));
}

#[test]
fn every_field_of_a_layer_comes_out_as_it_was_set() {
    let seconds = |seconds| Value::Duration(Duration::from_secs(seconds));
    let classes = |class: &str| Value::Classes(vec![class.to_owned()]);
    let values = [
        (Field::FailureThreshold, Value::Count(11)),
        (Field::SuccessThreshold, Value::Count(12)),
        (Field::Timeout, seconds(13)),
        (Field::FailureRateThreshold, Value::Rate(14)),
        (Field::SlowCallRateThreshold, Value::Rate(15)),
        (Field::SlowCallDurationThreshold, seconds(16)),
        (Field::FailureCountThreshold, Value::Count(17)),
        (Field::SlowCallsAsFailures, Value::Flag(true)),
        (Field::SlidingWindowType, Value::Word("TIME_BASED")),
        (Field::SlidingWindowSize, Value::Count(18)),
        (Field::MinimumNumberOfCalls, Value::Count(19)),
        (Field::PermittedCalls, Value::Count(20)),
        (Field::HalfOpenPermitTimeout, seconds(21)),
        (Field::MaxWaitInHalfOpen, seconds(22)),
        (Field::StateAfterMaxWait, Value::Word("CLOSED")),
        (Field::WaitInterval, Value::Word("EXPONENTIAL")),
        (Field::Multiplier, Value::Factor(2_300)),
        (Field::RandomizationFactor, Value::Factor(240)),
        (Field::MaxWait, seconds(25)),
        (Field::HonorRetryAfter, Value::Flag(true)),
        (Field::MinimumReporters, Value::Count(26)),
        (Field::IgnoreErrorClasses, classes("cancelled")),
        (Field::RecordErrorClasses, classes("timeout")),
    ];
    assert_eq!(values.len(), Field::ALL.len());
    let merged = merge(&[(Origin::Api, &layer(&values))]).unwrap();
    for (field, value) in values {
        assert_eq!(merged.thresholds.value(field), Some(value), "{field}");
    }
    let origins: Vec<_> = merged.origins.into_iter().collect();
    assert_eq!(origins, Field::ALL.iter().map(|field| (*field, Origin::Api)).collect::<Vec<_>>());
}

#[test]
fn a_half_open_without_an_end_is_one_whose_longest_wait_is_zero() {
    let longest = |wait| of(&[(Field::MaxWaitInHalfOpen, Value::Duration(wait))]).max_wait_in_half_open();
    assert_eq!(longest(Duration::ZERO), None);
    assert_eq!(longest(Duration::from_micros(1)), Some(Duration::from_micros(1)));
}

/// The fields that contradict something, in the order of the problems.
fn contradicted(values: &[(Field, Value)]) -> Vec<Field> {
    merge(&[(Origin::Api, &layer(values))])
        .map_or_else(|problems| problems.into_iter().map(|problem| problem.field).collect(), |_| Vec::new())
}

#[test]
fn what_is_just_within_a_bound_that_another_field_sets_is_no_contradiction() {
    let (count, time) = (Value::Word("COUNT_BASED"), Value::Word("TIME_BASED"));
    let successes =
        |value| [(Field::SuccessThreshold, Value::Count(value)), (Field::PermittedCalls, Value::Count(4))];
    assert_eq!(contradicted(&successes(4)), []);
    assert_eq!(contradicted(&successes(5)), [Field::SuccessThreshold]);

    let window = |kind: &Value, size| {
        [(Field::SlidingWindowType, kind.clone()), (Field::SlidingWindowSize, Value::Count(size))]
    };
    assert_eq!(contradicted(&window(&time, 3_600)), []);
    assert_eq!(contradicted(&window(&time, 3_601)), [Field::SlidingWindowSize]);
    assert_eq!(contradicted(&window(&count, 3_601)), [], "of calls it may hold more");

    let failures = |kind: &Value, failures| {
        let [kind, size] = window(kind, 10);
        [(Field::FailureCountThreshold, Value::Count(failures)), kind, size]
    };
    assert_eq!(contradicted(&failures(&count, 10)), []);
    assert_eq!(contradicted(&failures(&count, 11)), [Field::FailureCountThreshold]);
    assert_eq!(contradicted(&failures(&time, 11)), [], "seconds hold any number of calls");

    let waits = |wait, most| {
        let seconds = |seconds| Value::Duration(Duration::from_secs(seconds));
        [(Field::Timeout, seconds(wait)), (Field::MaxWait, seconds(most))]
    };
    assert_eq!(contradicted(&waits(30, 30)), []);
    assert_eq!(contradicted(&waits(31, 30)), [Field::MaxWait]);
}

#[test]
fn what_slow_calls_do_needs_a_duration_that_is_slow() {
    let slow_as_failures = (Field::SlowCallsAsFailures, Value::Flag(true));
    let duration = (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_secs(1)));
    assert_eq!(contradicted(std::slice::from_ref(&slow_as_failures)), [Field::SlowCallsAsFailures]);
    assert_eq!(contradicted(&[(Field::SlowCallsAsFailures, Value::Flag(false))]), []);
    assert_eq!(contradicted(&[slow_as_failures, duration.clone()]), []);
    assert_eq!(contradicted(&[(Field::SlowCallRateThreshold, Value::Rate(1)), duration]), []);
}
