//! Seeded random numbers: the same on every machine, and not for secrets.
//!
//! All generated data (resamples, noise, the photo of a self-test) comes from here, so that a seed
//! gives the same numbers everywhere, also in the scripts that check them.
//!
//! Reference: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).

/// SplitMix64: 64 bits of state, passes BigCrush.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator whose first output is a function of `seed` only.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Generator `index` of many that share a seed. Its own seed is scrambled, because SplitMix64
    /// started from neighbouring states would only repeat the same sequence one step later.
    #[must_use]
    pub fn stream(seed: u64, index: u64) -> Self {
        let mut outer = Self::new(seed);
        let mut inner = Self::new(outer.next_u64() ^ index);
        Self::new(inner.next_u64())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound` (0 for `bound = 0`): the upper half of a 64 x 64 bit product (Lemire,
    /// 2019). Its bias is below `bound / 2^64`, far below what resamples can show.
    pub fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next_u64()) * bound as u128;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the upper half is below `bound`, which is a usize"
        )]
        let index = (product >> 64) as usize;
        index
    }

    /// A number in `0.0..1.0` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `0.0..1.0` with 24 random bits, which an f32 holds exactly.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1_u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_gives_the_published_numbers() {
        // Reference outputs for seed 1234567, from the authors' C code.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_stay_in_their_ranges() {
        let mut random = SplitMix64::new(1);
        for _ in 0..10_000 {
            assert!(random.below(7) < 7);
            assert!((0.0..1.0).contains(&random.unit()));
            assert!((0.0..1.0).contains(&random.unit_f32()));
        }
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let first = |index| SplitMix64::stream(17, index).next_u64();
        assert_ne!(first(0), first(1));
        let mut zero = SplitMix64::stream(17, 0);
        zero.next_u64();
        assert_ne!(zero.next_u64(), first(1));
    }
}
