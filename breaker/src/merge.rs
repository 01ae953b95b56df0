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
use crate::layer::{Layer, Origin, Problem};
use crate::thresholds::{AfterMaxWait, Terms, Thresholds, WaitInterval, WindowKind};

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
        let mut at_odds = |field, value: &dyn fmt::Display, expected, other| {
            let between = vec![self.part(field), other];
            problems.push(Problem { field, value: value.to_string(), expected, between });
        };
        if terms.success_threshold > terms.permitted {
            at_odds(
                Field::SuccessThreshold,
                &terms.success_threshold,
                format!("at most {} ({})", Field::PermittedCalls, terms.permitted),
                self.part(Field::PermittedCalls),
            );
        }
        if terms.window == WindowKind::Time && terms.size > 3_600 {
            at_odds(
                Field::SlidingWindowSize,
                &terms.size,
                "1..=3600 (seconds) if sliding_window_type is TIME_BASED".to_owned(),
                self.part(Field::SlidingWindowType),
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
                self.part(field),
            );
        }
        for (field, wants_it) in [
            (Field::SlowCallRateThreshold, terms.slow_rate.is_some()),
            (Field::SlowCallsAsFailures, terms.slow_as_failures),
        ] {
            if wants_it && terms.slow_duration.is_none() {
                let duration = Field::SlowCallDurationThreshold;
                at_odds(field, &"", format!("set together with {duration}"), (duration, None));
            }
        }
        if terms.max_wait < terms.wait {
            at_odds(
                Field::MaxWait,
                &Value::Duration(terms.max_wait),
                format!("at least {} ({})", Field::Timeout, Value::Duration(terms.wait)),
                self.part(Field::Timeout),
            );
        }
        problems
    }

    /// A field's part in a contradiction.
    fn part(&self, field: Field) -> (Field, Option<Origin>) {
        (field, Some(self.find(field).map_or(Origin::BuiltIn, |(origin, _)| origin)))
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
}

#[cfg(test)]
mod tests;
