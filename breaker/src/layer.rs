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

crate::state::words! {
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
    /// What it was given.
    pub value: String,
    /// What it takes.
    pub expected: String,
    /// The layers that contradict each other; empty when the value is wrong by itself.
    pub layers: Vec<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, but takes {}", self.field, self.value, self.expected)?;
        if !self.layers.is_empty() {
            let layers: Vec<_> = self.layers.iter().map(|origin| origin.as_str()).collect();
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

/// Merges layers, the farthest first, and checks the result whole.
///
/// # Errors
/// Every contradiction, not only the first.
pub fn merge(layers: &[(Origin, &Layer)]) -> Result<Merged, Vec<Problem>> {
    let nearest = Nearest { layers };
    let mut problems = Vec::new();

    let failure_rate = nearest.rate(Field::FailureRateThreshold);
    let slow_rate = nearest.rate(Field::SlowCallRateThreshold);
    let failure_count = nearest.count(Field::FailureCountThreshold);
    let has_rate = failure_rate.is_some() || slow_rate.is_some();

    let failure_threshold = nearest
        .chosen(Field::FailureThreshold, Layer::sets_trip_beside_failure_threshold)
        .unwrap_or(if has_rate || failure_count.is_some() { 0 } else { 5 });
    let permitted_set = nearest.count(Field::PermittedCalls);
    let success_threshold = nearest
        .chosen(Field::SuccessThreshold, Layer::sets_rate)
        .unwrap_or(if has_rate { 0 } else { permitted_set.unwrap_or(2) });
    let permitted = permitted_set.unwrap_or(if success_threshold == 0 { 10 } else { success_threshold });
    if success_threshold > permitted {
        problems.push(nearest.contradiction(
            Field::SuccessThreshold,
            &success_threshold,
            format!("at most {} ({permitted})", Field::PermittedCalls),
            &[Field::SuccessThreshold, Field::PermittedCalls],
        ));
    }

    let window = match nearest.word(Field::SlidingWindowType) {
        Some("TIME_BASED") => WindowKind::Time,
        _ => WindowKind::Count,
    };
    let size = nearest.count(Field::SlidingWindowSize).unwrap_or(100);
    if window == WindowKind::Time && size > 3_600 {
        problems.push(nearest.contradiction(
            Field::SlidingWindowSize,
            &size,
            "1..=3600 seconds when the window is TIME_BASED".to_owned(),
            &[Field::SlidingWindowSize, Field::SlidingWindowType],
        ));
    }
    if let Some(count) = failure_count
        && window == WindowKind::Count
        && count > size
    {
        problems.push(nearest.contradiction(
            Field::FailureCountThreshold,
            &count,
            format!(
                "at most {} ({size}), which a COUNT_BASED window cannot exceed",
                Field::SlidingWindowSize
            ),
            &[Field::FailureCountThreshold, Field::SlidingWindowSize],
        ));
    }

    let slow_duration = nearest.duration(Field::SlowCallDurationThreshold);
    let slow_as_failures = nearest.flag(Field::SlowCallsAsFailures).unwrap_or(false);
    for (field, wants_it) in
        [(Field::SlowCallRateThreshold, slow_rate.is_some()), (Field::SlowCallsAsFailures, slow_as_failures)]
    {
        if wants_it && slow_duration.is_none() {
            problems.push(nearest.contradiction(
                field,
                &"set",
                format!("{} beside it", Field::SlowCallDurationThreshold),
                &[field],
            ));
        }
    }

    let wait = nearest.duration(Field::Timeout).unwrap_or(Duration::from_mins(1));
    let max_wait = nearest.duration(Field::MaxWait);
    if let Some(max_wait) = max_wait
        && max_wait < wait
    {
        problems.push(nearest.contradiction(
            Field::MaxWait,
            &Value::Duration(max_wait),
            format!("at least {} ({})", Field::Timeout, Value::Duration(wait)),
            &[Field::MaxWait, Field::Timeout],
        ));
    }

    if !problems.is_empty() {
        return Err(problems);
    }

    let max_wait_in_half_open = nearest.duration(Field::MaxWaitInHalfOpen).filter(|wait| !wait.is_zero());
    let thresholds = Thresholds::from_terms(Terms {
        failure_threshold,
        success_threshold,
        wait,
        failure_rate,
        slow_rate,
        slow_duration,
        failure_count,
        slow_as_failures,
        window,
        size,
        minimum_calls: nearest.count(Field::MinimumNumberOfCalls).unwrap_or(100),
        permitted,
        lease: nearest.duration(Field::HalfOpenPermitTimeout).unwrap_or(Duration::from_mins(1)),
        max_wait_in_half_open,
        after_max_wait: match nearest.word(Field::StateAfterMaxWait) {
            Some("CLOSED") => AfterMaxWait::Closed,
            _ => AfterMaxWait::Open,
        },
        wait_interval: match nearest.word(Field::WaitInterval) {
            Some("EXPONENTIAL") => WaitInterval::Exponential,
            _ => WaitInterval::Fixed,
        },
        multiplier: nearest.factor(Field::Multiplier).unwrap_or(2_000),
        randomization: nearest.factor(Field::RandomizationFactor).unwrap_or(0),
        max_wait: max_wait.unwrap_or(Duration::from_mins(10).max(wait)),
        honor_retry_after: nearest.flag(Field::HonorRetryAfter).unwrap_or(false),
        minimum_reporters: nearest.count(Field::MinimumReporters).unwrap_or(1),
        ignore_classes: nearest.classes(Field::IgnoreErrorClasses),
        record_classes: nearest.classes(Field::RecordErrorClasses),
    });
    let origins =
        Field::ALL.iter().filter_map(|field| nearest.origin(*field).map(|origin| (*field, origin))).collect();
    Ok(Merged { thresholds, origins })
}

/// Looks fields up from the nearest layer to the farthest.
struct Nearest<'a> {
    layers: &'a [(Origin, &'a Layer)],
}

impl<'a> Nearest<'a> {
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
                "success_threshold is 5, but takes at most permitted_number_of_calls_in_half_open_state (3) \
                 (set by: file, service; file defaults)",
                "sliding_window_size is 4000, but takes 1..=3600 seconds when the window is TIME_BASED \
                 (set by: file, service; file defaults)",
                "slow_call_rate_threshold is set, but takes slow_call_duration_threshold beside it \
                 (set by: file defaults)",
                "max_wait is 30s, but takes at least timeout_seconds (60s) (set by: file defaults; built-in)",
            ]
        );
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
        ] {
            let problem = layer.set(field, value).unwrap_err();
            assert_eq!(problem.field, field);
        }
        assert!(layer.is_empty());
    }
}
