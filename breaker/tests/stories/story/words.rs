//! What the words of an event say: times, counts, names.

use std::time::Duration;

use breaker::{Attribution, CallCounts, CallerId, CallerSighting, Deltas, Time, WallOffset};

/// When stories begin: a whole number of slices of every window, so that `0` stands at the start of one.
pub(super) const START: Time = Time::from_micros(1_000_000_800_000_000);

pub(super) fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    let place = words.iter().position(|candidate| *candidate == word)?;
    words.get(place + 1).copied()
}

pub(super) fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

pub(super) fn seconds(text: &str) -> Duration {
    Duration::try_from_secs_f64(text.parse().expect("seconds")).expect("seconds")
}

pub(super) fn clock(time: Time) -> f64 {
    time.since(START).as_secs_f64()
}

pub(super) fn wall(ahead: &str) -> WallOffset {
    WallOffset::from_micros(ahead.parse::<i64>().expect("seconds") * 1_000_000)
}

/// A caller's name as a number that is never the anonymous one.
pub(super) fn caller(name: &str) -> CallerId {
    CallerId(name.bytes().fold(1, |sum, byte| sum * 256 + u64::from(byte)))
}

/// Whoever does something by hand in these tests.
pub(super) fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() }
}

pub(super) fn deltas(words: &[&str]) -> Deltas {
    let count = |what| {
        let place = words.iter().position(|word| *word == what);
        place.map_or(0, |place| number(words[place - 1]))
    };
    let calls = CallCounts {
        successes: count("succeeded"),
        slow_successes: count("slow"),
        failures: count("failed"),
        slow_failures: 0,
    };
    let callers = words.iter().skip_while(|word| **word != "by").skip(1);
    let failed_callers = callers.map(|name| sighting(caller(name))).collect();
    Deltas { calls, failed_callers, ..Deltas::default() }
}

fn sighting(caller: CallerId) -> CallerSighting {
    CallerSighting { caller, age: Duration::ZERO }
}
