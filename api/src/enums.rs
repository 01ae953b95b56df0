//! The enums of the API and of the domain, both ways.
//!
//! `From` makes the API's value of the domain's. `TryFrom` is the way back: the API has a value for "unspecified", and a newer
//! peer may send numbers that are not known here. The compiler checks that no value is left out in either direction.

use breaker::{Origin, Outcome, Reason, Recorded, State, Verdict};

use crate::v1;

/// A number without a value in the domain: unspecified, or of a newer version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown value {0}")]
pub struct UnknownValue(pub i32);

/// An enum of the API.
pub trait ApiEnum: TryFrom<i32> {
    /// What its values are called in proto/ begins with this: `STATE_`.
    const PREFIX: &'static str;

    /// What a value is called in proto/.
    fn full_name(&self) -> &'static str;

    /// The value with that name, without the prefix. None: there is none.
    fn from_name(name: &str) -> Option<Self>;

    /// The name without the prefix: `HALF_OPEN`.
    fn name(&self) -> &'static str {
        let name = self.full_name();
        name.strip_prefix(Self::PREFIX).unwrap_or(name)
    }

    /// The name, without the prefix, of a number in a message. None: the number is of a newer version of the API.
    fn name_of(number: i32) -> Option<&'static str> {
        Self::try_from(number).ok().map(|value| value.name())
    }
}

/// The domain's value of a number in a message.
///
/// # Errors
/// That the number is unspecified or unknown.
pub fn from_number<Domain, Api>(number: i32) -> Result<Domain, UnknownValue>
where
    Api: ApiEnum,
    Domain: TryFrom<Api>,
{
    let unknown = UnknownValue(number);
    Api::try_from(number).map_err(|_| unknown)?.try_into().map_err(|_| unknown)
}

macro_rules! api_enums {
    ($($api:ident $prefix:literal;)+) => {
        $(impl ApiEnum for v1::$api {
            const PREFIX: &'static str = $prefix;

            fn full_name(&self) -> &'static str {
                self.as_str_name()
            }

            fn from_name(name: &str) -> Option<Self> {
                Self::from_str_name(&format!("{}{name}", Self::PREFIX))
            }
        })+
    };
}

api_enums! {
    State "STATE_";
    Outcome "OUTCOME_";
    AllowReason "ALLOW_REASON_";
    RecordResult "RECORD_RESULT_";
    TransitionReason "TRANSITION_REASON_";
    ChangeKind "CHANGE_KIND_";
    ConfigSource "CONFIG_SOURCE_";
    SlidingWindowType "SLIDING_WINDOW_TYPE_";
    WaitInterval "WAIT_INTERVAL_";
}

macro_rules! both_ways {
    ($($domain:ident = $api:ident { $($domain_value:ident = $api_value:ident),+ $(,)? })+) => {
        $(impl From<$domain> for v1::$api {
            fn from(value: $domain) -> Self {
                match value {
                    $($domain::$domain_value => Self::$api_value,)+
                }
            }
        }

        impl TryFrom<v1::$api> for $domain {
            type Error = UnknownValue;

            fn try_from(value: v1::$api) -> Result<Self, UnknownValue> {
                match value {
                    v1::$api::Unspecified => Err(UnknownValue(value as i32)),
                    $(v1::$api::$api_value => Ok(Self::$domain_value),)+
                }
            }
        })+
    };
}

both_ways! {
    State = State {
        Closed = Closed,
        Open = Open,
        HalfOpen = HalfOpen,
        ForcedOpen = ForcedOpen,
        Disabled = Disabled,
        MetricsOnly = MetricsOnly,
    }
    Outcome = Outcome { Success = Success, Failure = Failure, Ignored = Ignored }
    Verdict = AllowReason {
        Closed = Closed,
        Probe = Probe,
        Open = Open,
        HalfOpenExhausted = HalfOpenExhausted,
        ForcedOpen = ForcedOpen,
        Disabled = Disabled,
        MetricsOnly = MetricsOnly,
    }
    Recorded = RecordResult {
        Recorded = Recorded,
        Late = Late,
        Duplicate = Duplicate,
        NotCounted = NotCounted,
    }
    Reason = TransitionReason {
        ConsecutiveFailures = ConsecutiveFailures,
        FailureCount = FailureCount,
        FailureRate = FailureRate,
        SlowCallRate = SlowCallRate,
        WaitElapsed = WaitElapsed,
        ProbesSucceeded = ProbesSucceeded,
        ProbesFailed = ProbesFailed,
        ProbesSlow = ProbesSlow,
        HalfOpenTimeout = HalfOpenTimeout,
        Restart = Restart,
        OverrideSet = OverrideSet,
        OverrideCleared = OverrideCleared,
        OverrideExpired = OverrideExpired,
        Reset = Reset,
        Deleted = Deleted,
        Idle = Idle,
        ProbeRequested = ProbeRequested,
        ThresholdsChanged = ThresholdsChanged,
        HistoryGap = HistoryGap,
    }
    Origin = ConfigSource {
        BuiltIn = BuiltIn,
        FileDefaults = FileDefaults,
        FileService = FileService,
        Api = Api,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_as_it_went() {
        for state in State::ALL.iter().copied() {
            let number = v1::State::from(state) as i32;
            assert_eq!(from_number::<State, v1::State>(number), Ok(state));
            assert_eq!(v1::State::name_of(number), Some(state.as_str()), "named alike on both sides");
        }
    }

    #[test]
    fn what_is_unspecified_or_newer_stands_for_nothing() {
        for number in [0, 99, -1] {
            assert_eq!(from_number::<State, v1::State>(number), Err(UnknownValue(number)));
            assert_eq!(from_number::<Outcome, v1::Outcome>(number), Err(UnknownValue(number)));
        }
        assert_eq!(v1::State::name_of(99), None);
    }

    /// The prefixes are those of the generated names, for every value that there is.
    #[test]
    fn every_prefix_is_right() {
        fn check<E: ApiEnum>() {
            let mut values = 0;
            for value in (0..100).filter_map(|number| E::try_from(number).ok()) {
                values += 1;
                assert!(value.full_name().starts_with(E::PREFIX), "{}", value.full_name());
                assert!(E::from_name(value.name()).is_some());
            }
            assert!(values > 1, "{}", E::PREFIX);
        }
        check::<v1::State>();
        check::<v1::Outcome>();
        check::<v1::AllowReason>();
        check::<v1::RecordResult>();
        check::<v1::TransitionReason>();
        check::<v1::ChangeKind>();
        check::<v1::ConfigSource>();
        check::<v1::SlidingWindowType>();
        check::<v1::WaitInterval>();
    }
}
