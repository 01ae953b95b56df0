//! Layers of settings, and how they become the thresholds of one service.
//!
//! Built-in < file defaults < file per service < set over the API. Each layer may set any field; the nearest
//! layer that sets one wins. There is one exception, the *choice of trip*: a layer that sets a rate and no
//! `failure_threshold` means to be judged by the rate, so that a `failure_threshold` of a layer behind it
//! does not apply (likewise `success_threshold`).
//!
//! What comes out is checked whole. Nothing is clamped in silence: what contradicts is refused, and the
//! refusal names the field, the value, what it takes, and the layers at odds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::field::{Field, Value};
use crate::thresholds::{AfterMaxWait, Terms, Thresholds, WaitInterval, WindowKind};

/// Settings of one origin: each field set or not, each value within its range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer {
    values: BTreeMap<Field, Value>,
}

impl Layer {
    /// Sets a field.
    ///
    /// # Errors
    /// [`Problem`] when the value is not of the field's kind, or out of its range; nothing is set then.
    pub fn set(&mut self, field: Field, value: Value) -> Result<(), Problem> {
        if !field.accepts(&value) {
            return Err(Problem {
                field,
                value: value.to_string(),
                expected: field.range(),
                layers: Vec::new(),
            });
        }
        self.values.insert(field, value);
        Ok(())
    }

    /// Sets a field, for layers written out in code.
    ///
    /// # Errors
    /// As [`Layer::set`].
    pub fn with(mut self, field: Field, value: Value) -> Result<Self, Problem> {
        self.set(field, value)?;
        Ok(self)
    }

    /// Takes a field back.
    pub fn unset(&mut self, field: Field) {
        self.values.remove(&field);
    }

    /// What a field is set to.
    pub fn get(&self, field: Field) -> Option<&Value> {
        self.values.get(&field)
    }

    /// The fields that are set, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.values.iter().map(|(field, value)| (*field, value))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn sets_rate(&self) -> bool {
        [Field::FailureRateThreshold, Field::SlowCallRateThreshold]
            .iter()
            .any(|field| self.values.contains_key(field))
    }

    fn sets_trip_beside_failure_threshold(&self) -> bool {
        self.sets_rate() || self.values.contains_key(&Field::FailureCountThreshold)
    }
}

crate::words::words! {
    /// Where a setting came from, from the farthest to the nearest.
    Origin {
        /// breakerd's own defaults.
        BuiltIn = "built-in",
        /// The file's `[circuit_breaker]`.
        FileDefaults = "file defaults",
        /// The file's `[circuit_breaker.<service>]`.
        FileService = "file, service",
        /// Set over the API.
        Api = "API",
    }
}

/// Why settings cannot be: one field, what it was given, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field at fault.
    pub field: Field,
    /// What it was given; empty when the value alone is not at fault.
    pub value: String,
    /// What it takes.
    pub expected: String,
    /// The layers that contradict each other; empty when the value is wrong by itself.
    pub layers: Vec<Origin>,
}

impl Problem {
    /// What is wrong, without the field and the layers.
    pub fn fault(&self) -> String {
        match &*self.value {
            "" => format!("must be {}", self.expected),
            value => format!("invalid value {value}: must be {}", self.expected),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.fault())?;
        if !self.layers.is_empty() {
            let mut layers: Vec<_> = self.layers.iter().map(|origin| origin.as_str()).collect();
            // Two fields of one layer.
            layers.dedup();
            write!(f, " (set by: {})", layers.join("; "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The merged thresholds of a service, and which layer each field came from.
#[derive(Debug, Clone)]
pub struct Merged {
    /// What breakers are judged by.
    pub thresholds: Thresholds,
    /// For each field that a layer set and that is in force: the layer. What is missing is built in.
    pub origins: BTreeMap<Field, Origin>,
}

impl Default for Thresholds {
    /// What applies when nothing is set.
    fn default() -> Self {
        merge(&[]).expect("no layer contradicts itself when there is none").thresholds
    }
}

/// Merges layers, the farthest first, and checks the result whole.
///
/// # Errors
/// Every contradiction, not only the first.
pub fn merge(layers: &[(Origin, &Layer)]) -> Result<Merged, Vec<Problem>> {
    let nearest = Nearest { layers };
    let terms = nearest.terms();
    let problems = nearest.contradictions(&terms);
    if !problems.is_empty() {
        return Err(problems);
    }
    let origins =
        Field::ALL.iter().filter_map(|field| nearest.origin(*field).map(|origin| (*field, origin))).collect();
    Ok(Merged { thresholds: Thresholds::from_terms(terms), origins })
}

/// Looks fields up from the nearest layer to the farthest.
struct Nearest<'a> {
    layers: &'a [(Origin, &'a Layer)],
}

impl<'a> Nearest<'a> {
    /// What the layers come to, right or wrong.
    fn terms(&self) -> Terms {
        let failure_rate = self.rate(Field::FailureRateThreshold);
        let slow_rate = self.rate(Field::SlowCallRateThreshold);
        let failure_count = self.count(Field::FailureCountThreshold);
        let has_rate = failure_rate.is_some() || slow_rate.is_some();
        let has_other_trip = has_rate || failure_count.is_some();
        let permitted = self.count(Field::PermittedCalls);
        let success_threshold = self
            .chosen(Field::SuccessThreshold, Layer::sets_rate)
            .unwrap_or(if has_rate { 0 } else { permitted.unwrap_or(2) });
        let wait = self.duration(Field::Timeout).unwrap_or(Duration::from_mins(1));
        Terms {
            failure_threshold: self
                .chosen(Field::FailureThreshold, Layer::sets_trip_beside_failure_threshold)
                .unwrap_or(if has_other_trip { 0 } else { 5 }),
            success_threshold,
            wait,
            failure_rate,
            slow_rate,
            slow_duration: self.duration(Field::SlowCallDurationThreshold),
            failure_count,
            slow_as_failures: self.flag(Field::SlowCallsAsFailures).unwrap_or(false),
            window: match self.word(Field::SlidingWindowType) {
                Some("TIME_BASED") => WindowKind::Time,
                _ => WindowKind::Count,
            },
            size: self.count(Field::SlidingWindowSize).unwrap_or(100),
            minimum_calls: self.count(Field::MinimumNumberOfCalls).unwrap_or(100),
            permitted: permitted.unwrap_or(if success_threshold == 0 { 10 } else { success_threshold }),
            lease: self.duration(Field::HalfOpenPermitTimeout).unwrap_or(Duration::from_mins(1)),
            max_wait_in_half_open: self.duration(Field::MaxWaitInHalfOpen).filter(|wait| !wait.is_zero()),
            after_max_wait: match self.word(Field::StateAfterMaxWait) {
                Some("CLOSED") => AfterMaxWait::Closed,
                _ => AfterMaxWait::Open,
            },
            wait_interval: match self.word(Field::WaitInterval) {
                Some("EXPONENTIAL") => WaitInterval::Exponential,
                _ => WaitInterval::Fixed,
            },
            multiplier: self.factor(Field::Multiplier).unwrap_or(2_000),
            randomization: self.factor(Field::RandomizationFactor).unwrap_or(0),
            max_wait: self.duration(Field::MaxWait).unwrap_or(Duration::from_mins(10).max(wait)),
            honor_retry_after: self.flag(Field::HonorRetryAfter).unwrap_or(false),
            minimum_reporters: self.count(Field::MinimumReporters).unwrap_or(1),
            ignore_classes: self.classes(Field::IgnoreErrorClasses),
            record_classes: self.classes(Field::RecordErrorClasses),
        }
    }

    /// What cannot stand together in `terms`.
    fn contradictions(&self, terms: &Terms) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut at_odds = |field, value: &dyn fmt::Display, expected, involved: &[Field]| {
            problems.push(self.contradiction(field, value, expected, involved));
        };
        if terms.success_threshold > terms.permitted {
            at_odds(
                Field::SuccessThreshold,
                &terms.success_threshold,
                format!("at most {} ({})", Field::PermittedCalls, terms.permitted),
                &[Field::SuccessThreshold, Field::PermittedCalls],
            );
        }
        if terms.window == WindowKind::Time && terms.size > 3_600 {
            at_odds(
                Field::SlidingWindowSize,
                &terms.size,
                "1..=3600 (seconds) if sliding_window_type is TIME_BASED".to_owned(),
                &[Field::SlidingWindowSize, Field::SlidingWindowType],
            );
        }
        if let Some(count) = terms.failure_count
            && terms.window == WindowKind::Count
            && count > terms.size
        {
            let (field, size) = (Field::SlidingWindowSize, terms.size);
            at_odds(
                Field::FailureCountThreshold,
                &count,
                format!("at most {field} ({size}) if sliding_window_type is COUNT_BASED"),
                &[Field::FailureCountThreshold, field],
            );
        }
        for (field, wants_it) in [
            (Field::SlowCallRateThreshold, terms.slow_rate.is_some()),
            (Field::SlowCallsAsFailures, terms.slow_as_failures),
        ] {
            if wants_it && terms.slow_duration.is_none() {
                let beside = format!("set together with {}", Field::SlowCallDurationThreshold);
                at_odds(field, &"", beside, &[field]);
            }
        }
        if terms.max_wait < terms.wait {
            at_odds(
                Field::MaxWait,
                &Value::Duration(terms.max_wait),
                format!("at least {} ({})", Field::Timeout, Value::Duration(terms.wait)),
                &[Field::MaxWait, Field::Timeout],
            );
        }
        problems
    }

    fn find(&self, field: Field) -> Option<(Origin, &'a Value)> {
        self.layers.iter().rev().find_map(|(origin, layer)| layer.get(field).map(|value| (*origin, value)))
    }

    /// A count that a nearer layer's choice of another trip takes out of force.
    fn chosen(&self, field: Field, chooses_another: fn(&Layer) -> bool) -> Option<u32> {
        for (_, layer) in self.layers.iter().rev() {
            if let Some(Value::Count(count)) = layer.get(field) {
                return Some(*count);
            }
            if chooses_another(layer) {
                return None;
            }
        }
        None
    }

    /// The layer whose value of `field` is in force.
    fn origin(&self, field: Field) -> Option<Origin> {
        let in_force = match field {
            Field::FailureThreshold => {
                self.chosen(field, Layer::sets_trip_beside_failure_threshold).is_some()
            }
            Field::SuccessThreshold => self.chosen(field, Layer::sets_rate).is_some(),
            _ => true,
        };
        self.find(field).filter(|_| in_force).map(|(origin, _)| origin)
    }

    fn count(&self, field: Field) -> Option<u32> {
        match self.find(field)?.1 {
            Value::Count(count) => Some(*count),
            _ => None,
        }
    }

    fn rate(&self, field: Field) -> Option<u32> {
        match self.find(field)?.1 {
            Value::Rate(rate) => Some(*rate),
            _ => None,
        }
    }

    fn factor(&self, field: Field) -> Option<u32> {
        match self.find(field)?.1 {
            Value::Factor(factor) => Some(*factor),
            _ => None,
        }
    }

    fn duration(&self, field: Field) -> Option<Duration> {
        match self.find(field)?.1 {
            Value::Duration(duration) => Some(*duration),
            _ => None,
        }
    }

    fn flag(&self, field: Field) -> Option<bool> {
        match self.find(field)?.1 {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    fn word(&self, field: Field) -> Option<&'static str> {
        match self.find(field)?.1 {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    fn classes(&self, field: Field) -> Vec<String> {
        match self.find(field) {
            Some((_, Value::Classes(classes))) => classes.clone(),
            _ => Vec::new(),
        }
    }

    fn contradiction(
        &self,
        field: Field,
        value: &dyn fmt::Display,
        expected: String,
        involved: &[Field],
    ) -> Problem {
        let layers = involved
            .iter()
            .map(|field| self.find(*field).map_or(Origin::BuiltIn, |(origin, _)| origin))
            .collect();
        Problem { field, value: value.to_string(), expected, layers }
    }
}

#[cfg(test)]
mod tests {
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
        let rate =
            of(&[(Field::FailureRateThreshold, Value::Rate(1)), (Field::PermittedCalls, Value::Count(4))]);
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
        let service = layer(&[
            (Field::SuccessThreshold, Value::Count(5)),
            (Field::SlidingWindowSize, Value::Count(4_000)),
        ]);
        let problems =
            merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &service)]).unwrap_err();
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
        let both =
            layer(&[(Field::SuccessThreshold, Value::Count(5)), (Field::PermittedCalls, Value::Count(3))]);
        let problems = merge(&[(Origin::Api, &both)]).unwrap_err();
        assert!(problems[0].to_string().ends_with(" (set by: API)"), "{}", problems[0]);
    }

    #[test]
    fn a_value_out_of_its_range_is_not_set() {
        let mut layer = Layer::default();
        for (field, value) in [
            (Field::FailureRateThreshold, Value::Rate(0)),
            (Field::FailureRateThreshold, Value::Rate(100_001)),
            (Field::Multiplier, Value::Factor(1_000)),
            (Field::RandomizationFactor, Value::Factor(1_000)),
            (Field::Timeout, Value::Duration(Duration::ZERO)),
            (Field::Timeout, Value::Count(3)),
            (Field::MinimumReporters, Value::Count(0)),
            (Field::IgnoreErrorClasses, Value::Classes(vec![String::new()])),
            (Field::IgnoreErrorClasses, Value::Classes(vec!["a\0b".to_owned()])),
            (Field::RecordErrorClasses, Value::Classes(vec!["fine".to_owned(), "a\nb".to_owned()])),
        ] {
            let problem = layer.set(field, value).unwrap_err();
            assert_eq!(problem.field, field);
        }
        assert!(layer.is_empty());
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
        let merged =
            merge(&[(Origin::FileDefaults, &defaults), (Origin::FileService, &layer(nearer))]).unwrap();
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
        assert_eq!(
            merged.thresholds,
            Thresholds::from_terms(Terms {
                failure_threshold: 11,
                success_threshold: 12,
                wait: Duration::from_secs(13),
                failure_rate: Some(14),
                slow_rate: Some(15),
                slow_duration: Some(Duration::from_secs(16)),
                failure_count: Some(17),
                slow_as_failures: true,
                window: WindowKind::Time,
                size: 18,
                minimum_calls: 19,
                permitted: 20,
                lease: Duration::from_secs(21),
                max_wait_in_half_open: Some(Duration::from_secs(22)),
                after_max_wait: AfterMaxWait::Closed,
                wait_interval: WaitInterval::Exponential,
                multiplier: 2_300,
                randomization: 240,
                max_wait: Duration::from_secs(25),
                honor_retry_after: true,
                minimum_reporters: 26,
                ignore_classes: vec!["cancelled".to_owned()],
                record_classes: vec!["timeout".to_owned()],
            })
        );
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
        merge(&[(Origin::Api, &layer(values))]).map_or_else(
            |problems| problems.into_iter().map(|problem| problem.field).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn what_is_just_within_a_bound_that_another_field_sets_is_no_contradiction() {
        let (count, time) = (Value::Word("COUNT_BASED"), Value::Word("TIME_BASED"));
        let successes = |value| {
            [(Field::SuccessThreshold, Value::Count(value)), (Field::PermittedCalls, Value::Count(4))]
        };
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
}
