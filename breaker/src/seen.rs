//! Which passes have been reported: a repeat counts once, so that clients may retry.

/// How many of the newest numbers are remembered: 512 bytes a breaker, and more calls than a breaker has
/// between a report and its retry.
const REMEMBERED: u64 = 4_096;
const WORDS: usize = (REMEMBERED / 64) as usize;

/// The newest numbers, a bit each; allocated on first use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// One above the highest number reported so far.
    end: u64,
    bits: Option<Box<[u64; WORDS]>>,
}

impl Seen {
    /// Takes note of a number; false when it was noted before. A number too old to tell counts as new.
    pub(crate) fn note(&mut self, number: u64) -> bool {
        let bits = self.bits.get_or_insert_with(|| Box::new([0; WORDS]));
        if number >= self.end {
            if number - self.end >= REMEMBERED {
                bits.fill(0);
            } else {
                for skipped in self.end..number {
                    let (word, mask) = place(skipped);
                    bits[word] &= !mask;
                }
            }
            self.end = number + 1;
            let (word, mask) = place(number);
            bits[word] |= mask;
            return true;
        }
        if self.end - number > REMEMBERED {
            return true;
        }
        let (word, mask) = place(number);
        let new = bits[word] & mask == 0;
        bits[word] |= mask;
        new
    }
}

fn place(number: u64) -> (usize, u64) {
    (((number % REMEMBERED) / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_repeat_within_the_last_4096_is_told() {
        let mut seen = Seen::default();
        assert!(seen.note(1_000_000));
        assert!(!seen.note(1_000_000));
        assert!(seen.note(1_000_000 - 4_095));
        assert!(!seen.note(1_000_000 - 4_095));
        assert!(seen.note(1_000_000 - 4_096), "too old to tell");
        assert!(seen.note(1_000_000 - 4_096), "too old to tell");
        assert!(seen.note(1_000_001));
        assert!(!seen.note(1_000_000));
        assert!(seen.note(2_000_000));
        assert!(seen.note(1_999_999));
        assert!(!seen.note(2_000_000));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_set(steps in proptest::collection::vec(0_u64..9_000, 1..600)) {
            let mut seen = Seen::default();
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
