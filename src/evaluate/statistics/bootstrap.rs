//! Seeded resampling of images, and percentile intervals.
//!
//! Resample `r` draws `n` of `n` images with replacement from its own generator, seeded with the
//! user's seed and `r`, so results depend neither on the number of threads nor on their order. A
//! resample is a count for each image, so metrics over sorted scores need not sort again.
//!
//! Reference: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

use rayon::prelude::*;

use crate::random::SplitMix64;

/// Calls `statistic` with the counts of each of `resamples` resamples of `n` images, on all of
/// rayon's threads. Results are in the order of resamples.
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

/// The middle `confidence` of the defined values; ends are interpolated linearly, as in NumPy's
/// default `quantile`. `None` if resampling cannot tell: fewer than half of the values are defined,
/// or all are equal (otherwise a model that is right on a few images would get a width of zero).
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
