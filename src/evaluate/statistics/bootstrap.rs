//! Seeded resampling of images, and percentile intervals.
//!
//! Resample `r` draws `n` of `n` images with replacement from its own generator, seeded by the
//! user's seed and `r`; results therefore depend on neither the number of threads nor their order.
//! A resample is a count for each image, so that metrics over sorted scores need no sorting again.
//!
//! Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

use rayon::prelude::*;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): 64 bits of state, passes BigCrush.
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

    /// The generator of resample `index`: its seed is a scrambled one, since SplitMix64 started
    /// from neighbouring states would only repeat the same sequence one step later.
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

    /// A number in `0..bound` (0 for `bound = 0`): the upper half of a 64 x 64 bit product
    /// (Lemire, 2019). Its bias is below `bound / 2^64`, far under what resamples can show.
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
}

/// Calls `statistic` with the counts of each of `resamples` resamples of `n` images, on all of
/// rayon's threads; results are in the order of resamples.
pub fn resample<T: Send>(
    n: usize,
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> T + Sync,
) -> Vec<T> {
    (0..resamples)
        .into_par_iter()
        .map_init(
            || vec![0_u32; n],
            |counts, index| {
                counts.fill(0);
                let mut random = SplitMix64::stream(seed, index as u64);
                for _ in 0..n {
                    counts[random.below(n)] += 1;
                }
                statistic(counts)
            },
        )
        .collect()
}

/// The middle `confidence` of the defined values, ends interpolated linearly as NumPy's default
/// `quantile` does. `None` where resampling cannot tell: fewer than half of the values are
/// defined, or all are equal (an all-right model would get a width of zero from few images).
#[must_use]
pub fn percentile_interval(
    values: impl Iterator<Item = Option<f64>>,
    confidence: f64,
) -> Option<(f64, f64)> {
    let mut total = 0;
    let mut defined: Vec<f64> = values.inspect(|_| total += 1).flatten().collect();
    if defined.is_empty() || defined.len() * 2 < total {
        return None;
    }
    defined.sort_by(f64::total_cmp);
    if defined[0] == defined[defined.len() - 1] {
        return None;
    }
    let tail = 0.5 * (1.0 - confidence);
    Some((quantile(&defined, tail), quantile(&defined, 1.0 - tail)))
}

/// Linear quantile of sorted, non-empty values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position between 0 and the last index"
    )]
    let index = position as usize;
    let next = sorted[(index + 1).min(sorted.len() - 1)];
    sorted[index] + (next - sorted[index]) * (position - index as f64)
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
    fn resamples_are_equal_for_any_thread_count() {
        let run = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| resample(17, 50, 9, <[u32]>::to_vec))
        };
        let one = run(1);
        assert_eq!(one, run(4));
        assert!(one.iter().all(|counts| counts.iter().sum::<u32>() == 17));
        assert_ne!(one[0], one[1]);
        assert_ne!(one, resample(17, 50, 10, <[u32]>::to_vec));
    }

    #[test]
    fn percentiles_need_defined_values_that_differ() {
        let values = || (0..=40).map(|v| Some(f64::from(v)));
        let (low, high) = percentile_interval(values(), 0.95).unwrap();
        assert!((low - 1.0).abs() < 1e-12 && (high - 39.0).abs() < 1e-12);
        assert_eq!(percentile_interval([Some(1.0); 9].into_iter(), 0.95), None);
        assert_eq!(
            percentile_interval([Some(1.0), None, None].into_iter(), 0.95),
            None
        );
        assert_eq!(percentile_interval(std::iter::empty(), 0.95), None);
    }
}
