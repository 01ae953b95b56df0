//! The part of published counts that only replicas read, as bytes: numbers of 7 bits a byte, the lowest first.
//!
//! A row is written by each replica up to five times a second, so it is kept small: of a window most numbers are below 128.

use std::time::Duration;

use breaker::{AgedCalls, CallCounts, CallerId, CallerSighting, FailureRun, PublishedCounts};

/// Says how the rest is laid out; another layout takes another number, and is not read by who does not know it.
const LAYOUT: u64 = 1;
/// Parts of a window, and callers of each kind, that are read. More than anybody writes.
const PARTS_MAX: u64 = 64;
const CALLERS_MAX: u64 = 1_000;

/// All but the epoch.
pub(super) fn encode(counts: &PublishedCounts) -> Vec<u8> {
    let mut bytes = Writer(Vec::with_capacity(96));
    bytes.number(LAYOUT);
    bytes.number(counts.series);
    bytes.calls(&counts.total);
    bytes.number(counts.window.len() as u64);
    for AgedCalls { age, calls } in &counts.window {
        bytes.age(*age);
        bytes.calls(calls);
    }
    bytes.age(counts.run.map(|run| run.age));
    bytes.number(counts.run.map_or(0, |run| run.failures));
    bytes.age(counts.success_age);
    for callers in [&counts.failed_callers, &counts.slow_callers] {
        bytes.number(callers.len() as u64);
        for CallerSighting { caller, age } in callers {
            bytes.0.extend(caller.0.to_le_bytes());
            bytes.age(Some(*age));
        }
    }
    bytes.age(counts.trouble_age);
    bytes.0
}

/// None: these are no such bytes.
pub(super) fn decode(epoch: u64, bytes: &[u8]) -> Option<PublishedCounts> {
    let mut reader = Reader(bytes);
    if reader.number()? != LAYOUT {
        return None;
    }
    let series = reader.number()?;
    let total = reader.calls()?;
    let parts = reader.number().filter(|parts| *parts <= PARTS_MAX)?;
    let window = (0..parts)
        .map(|_| Some(AgedCalls { age: reader.age()?, calls: reader.calls()? }))
        .collect::<Option<Vec<_>>>()?;
    let (run_age, failures) = (reader.age()?, reader.number()?);
    let run = run_age.map(|age| FailureRun { failures, age });
    let success_age = reader.age()?;
    let failed_callers = reader.callers()?;
    let slow_callers = reader.callers()?;
    let trouble_age = reader.age()?;
    reader.0.is_empty().then_some(PublishedCounts {
        epoch,
        series,
        total,
        window,
        run,
        success_age,
        failed_callers,
        slow_callers,
        trouble_age,
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                return self.0.push(low & 0x7f);
            }
            self.0.push(low | 0x80);
        }
    }

    /// Milliseconds, and one more; 0: none.
    fn age(&mut self, age: Option<Duration>) {
        let millis = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX - 1));
        self.number(millis.map_or(0, |millis| millis.saturating_add(1)));
    }

    fn calls(&mut self, calls: &CallCounts) {
        for number in [calls.successes, calls.slow_successes, calls.failures, calls.slow_failures] {
            self.number(number);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let low = u64::from(byte & 0x7f);
            number |= low.checked_shl(shift).filter(|shifted| shifted >> shift == low)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    #[expect(clippy::option_option, reason = "it cannot be read, or there is none")]
    fn age(&mut self) -> Option<Option<Duration>> {
        Some(self.number()?.checked_sub(1).map(Duration::from_millis))
    }

    fn calls(&mut self) -> Option<CallCounts> {
        Some(CallCounts {
            successes: self.number()?,
            slow_successes: self.number()?,
            failures: self.number()?,
            slow_failures: self.number()?,
        })
    }

    fn callers(&mut self) -> Option<Vec<CallerSighting>> {
        let callers = self.number().filter(|callers| *callers <= CALLERS_MAX)?;
        let caller = |reader: &mut Self| {
            let (id, rest) = reader.0.split_first_chunk::<8>()?;
            reader.0 = rest;
            Some(CallerSighting { caller: CallerId(u64::from_le_bytes(*id)), age: reader.age()?? })
        };
        (0..callers).map(|_| caller(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> PublishedCounts {
        let calls = |successes, failures| CallCounts { successes, failures, ..CallCounts::default() };
        let sighting =
            |caller, millis| CallerSighting { caller: CallerId(caller), age: Duration::from_millis(millis) };
        PublishedCounts {
            epoch: 7,
            series: 1_700_000_000_000_000,
            total: CallCounts { successes: u64::MAX, slow_successes: 127, failures: 128, slow_failures: 0 },
            window: vec![
                AgedCalls { age: None, calls: calls(100, 0) },
                AgedCalls { age: Some(Duration::ZERO), calls: calls(3, 9) },
            ],
            run: Some(FailureRun { failures: 3, age: Duration::from_millis(20) }),
            success_age: None,
            failed_callers: vec![sighting(u64::MAX, 0), sighting(0, 5_000)],
            slow_callers: vec![sighting(5, 1)],
            trouble_age: Some(Duration::from_millis(1)),
        }
    }

    #[test]
    fn counts_come_back_as_they_were() {
        let none = PublishedCounts {
            run: None,
            success_age: Some(Duration::from_hours(9)),
            failed_callers: vec![],
            slow_callers: vec![],
            trouble_age: None,
            window: vec![],
            ..counts()
        };
        for counts in [counts(), none] {
            assert_eq!(decode(7, &encode(&counts)), Some(counts));
        }
    }

    #[test]
    fn bytes_that_are_cut_or_too_many_are_none() {
        let bytes = encode(&counts());
        for length in 0..bytes.len() {
            assert_eq!(decode(7, &bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(decode(7, &[bytes.as_slice(), &[0]].concat()), None);
        assert_eq!(decode(7, &[2]), None, "another layout");
        assert_eq!(decode(7, &[0xff; 11]), None, "no number of 64 bits");
    }
}
