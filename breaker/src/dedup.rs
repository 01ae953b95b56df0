//! Which passes have been reported: a repeat counts once, so that clients may retry.

/// How many of the newest numbers are remembered: more calls than a breaker has between a report and its retry (a quarter of
/// a second at 10,000 calls a second). In 320 bytes, with which a breaker that is called often stays within 1 KiB.
const REMEMBERED: u64 = 2_560;
const WORDS: usize = (REMEMBERED / 64) as usize;

/// Numbers that the smaller ring remembers, in 64 bytes. Most breakers of a large fleet are seldom called, and never need more.
const REMEMBERED_BY_FEW: u64 = 512;
const WORDS_OF_FEW: usize = (REMEMBERED_BY_FEW / 64) as usize;

/// The newest numbers, a bit each; allocated on first use.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReportedNumbers {
    /// One above the highest number reported so far.
    end: u64,
    ring: Option<Ring>,
}

/// The bit of a number is at its remainder. Bits of numbers that were never reported are 0.
#[derive(Debug, Clone)]
enum Ring {
    /// As long as no number was reported that is further back.
    Few(Box<[u64; WORDS_OF_FEW]>),
    All(Box<[u64; WORDS]>),
}

impl ReportedNumbers {
    /// Takes note of a number; false when it was noted before. A number too old to tell counts as new.
    pub(crate) fn note(&mut self, number: u64) -> bool {
        if self.end.saturating_sub(number) > REMEMBERED {
            return true;
        }
        let Self { end, ring } = self;
        let words = ring.get_or_insert_with(|| Ring::Few(Box::default())).room_for(number, *end);
        if number >= *end {
            forget(words, *end, number);
            *end = number + 1;
        }
        let (word, mask) = bit_of(number, words.len());
        let is_new = words[word] & mask == 0;
        words[word] |= mask;
        is_new
    }
}

impl Ring {
    /// The bits that `number` goes into: those of the larger ring before the smaller would lose a number that was reported. `end`
    /// is one above the highest of those.
    fn room_for(&mut self, number: u64, end: u64) -> &mut [u64] {
        if let Self::Few(few) = self {
            let is_too_old = end.saturating_sub(number) > REMEMBERED_BY_FEW;
            // So far ahead that the larger ring would lose all of them too.
            let is_far = (number + 1).saturating_sub(end) >= REMEMBERED;
            let loses = !is_far && loses(&few[..], end, number);
            if is_too_old || loses {
                *self = Self::All(larger(few, end));
            }
        }
        match self {
            Self::Few(words) => &mut words[..],
            Self::All(words) => &mut words[..],
        }
    }
}

/// The numbers of the smaller ring, in the larger.
fn larger(few: &[u64; WORDS_OF_FEW], end: u64) -> Box<[u64; WORDS]> {
    let mut all = Box::new([0; WORDS]);
    for number in end.saturating_sub(REMEMBERED_BY_FEW)..end {
        let (word, mask) = bit_of(number, WORDS_OF_FEW);
        if few[word] & mask != 0 {
            let (word, mask) = bit_of(number, WORDS);
            all[word] |= mask;
        }
    }
    all
}

/// Whether a number that was reported has its bit where one of `end` to `number` will have it.
fn loses(words: &[u64], end: u64, number: u64) -> bool {
    bits_from(words.len(), end, number).any(|(word, mask)| words[word] & mask != 0)
}

/// Clears the bits of `end` to `number`: those there were are of numbers that are too old now.
fn forget(words: &mut [u64], end: u64, number: u64) {
    for (word, mask) in bits_from(words.len(), end, number) {
        words[word] &= !mask;
    }
}

/// Where the bits of `end` to `number` are, each place once.
fn bits_from(words: usize, end: u64, number: u64) -> impl Iterator<Item = (usize, u64)> {
    (end..=number).take(words * 64).map(move |next| bit_of(next, words))
}

fn bit_of(number: u64, words: usize) -> (usize, u64) {
    let bit = number % (words as u64 * 64);
    // Below the number of words.
    ((bit / 64) as usize, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// How many numbers there is memory for.
    fn bits(seen: &ReportedNumbers) -> usize {
        8 * match seen.ring.as_ref().unwrap() {
            Ring::Few(words) => size_of_val(&**words),
            Ring::All(words) => size_of_val(&**words),
        }
    }

    #[test]
    fn a_repeat_within_the_last_2560_is_told() {
        let mut seen = ReportedNumbers::default();
        assert!(seen.note(1_000_000));
        assert!(!seen.note(1_000_000));
        assert!(seen.note(1_000_000 - 2_559));
        assert!(!seen.note(1_000_000 - 2_559));
        assert!(seen.note(1_000_000 - 2_560), "too old to tell");
        assert!(seen.note(1_000_000 - 2_560), "too old to tell");
        assert!(seen.note(1_000_001));
        assert!(!seen.note(1_000_000));
        assert!(seen.note(2_000_000));
        assert!(seen.note(1_999_999));
        assert!(!seen.note(2_000_000));
    }

    #[test]
    fn a_breaker_that_is_seldom_called_takes_the_smaller_ring() {
        let mut seen = ReportedNumbers::default();
        assert!((0..512).all(|number| seen.note(number)));
        assert!((0..512).all(|number| !seen.note(number)));
        assert_eq!(bits(&seen), 512);
        assert!(seen.note(512));
        assert_eq!(bits(&seen), 2_560);
        assert!((0..=512).all(|number| !seen.note(number)), "nothing is lost on the way");
    }

    #[test]
    fn the_smaller_ring_stays_when_the_larger_would_lose_as_much() {
        let mut seen = ReportedNumbers::default();
        assert!(seen.note(10));
        assert!(seen.note(10 + 2_560));
        assert_eq!(bits(&seen), 512);
        assert!(seen.note(10), "too old to tell");
        // One less, and a repeat of the first is told.
        let mut seen = ReportedNumbers::default();
        assert!(seen.note(10));
        assert!(seen.note(10 + 2_559));
        assert_eq!(bits(&seen), 2_560);
        assert!(!seen.note(10));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_set_where_numbers_are_near(steps in proptest::collection::vec(0_u64..40, 1..900)) {
            // Forwards, now and then by much, and back by up to some hundred.
            let (mut seen, mut set, mut at) = (ReportedNumbers::default(), HashSet::new(), 1_000_u64);
            for step in steps {
                let number = match step {
                    0 => { at += 300; at }
                    1 => { at += 5_000; at }
                    2..20 => { at += step; at }
                    _ => at - (step - 20) * 31,
                };
                let highest = set.iter().copied().max().unwrap_or(0).max(number);
                let new = set.insert(number) || number + REMEMBERED <= highest;
                proptest::prop_assert_eq!(seen.note(number), new);
            }
        }

        #[test]
        fn it_agrees_with_a_set(steps in proptest::collection::vec(0_u64..9_000, 1..600)) {
            let mut seen = ReportedNumbers::default();
            let mut set = HashSet::new();
            let mut highest = 0;
            for number in steps {
                highest = highest.max(number);
                let new = set.insert(number) || number + REMEMBERED <= highest;
                proptest::prop_assert_eq!(seen.note(number), new);
            }
        }
    }
}
