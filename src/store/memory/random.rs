//! Numbers that look random and follow from a seed: what a simulation draws is drawn again when it is run again.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Where a store in memory takes its nonces, steps and keys from.
#[derive(Debug)]
pub(super) struct SeededRandom {
    seed: u64,
    drawn: u64,
}

impl SeededRandom {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0);
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    pub(super) fn key(&mut self) -> [u8; 16] {
        let number = u128::from(self.number()) << 64 | u128::from(self.number());
        number.to_le_bytes()
    }

    pub(super) fn step(&mut self) -> u16 {
        let [low, high, ..] = self.number().to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}
