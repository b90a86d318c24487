//! Random choices, the same on every machine.

use crate::nn::{GOLDEN, mixed};

/// A small generator (splitmix64): the same numbers on every machine and for every version.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A separate stream for each seed and number.
    pub fn new(seed: u64, number: u64) -> Random {
        let mut random = Random { state: seed };
        random.state = random.next() ^ number;
        random.state = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        let number = mixed(self.state);
        self.state = self.state.wrapping_add(GOLDEN);
        number
    }

    /// 0 to below `limit`, which is above 0.
    pub fn below(&mut self, limit: usize) -> usize {
        // the high half of a product: without a division, biased by less than limit / 2⁶⁴
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_splitmix64() {
        // the reference implementation, from state 1234567
        let mut random = Random { state: 1_234_567 };
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert_eq!(random.next(), 9_817_491_932_198_370_423);
    }
}
