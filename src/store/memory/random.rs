//! Numbers that look random and follow from a seed: what a simulation draws is drawn again when it is run again.

use breaker::mix;

/// `SplitMix64`: multiples of the golden ratio, mixed.
#[derive(Debug)]
pub(crate) struct SeededRandom(u64);

impl SeededRandom {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
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
