//! Intervals and tests for counts of successes.

use super::special::{incomplete_beta, incomplete_beta_inverse, normal_quantile};

/// Wilson's score interval (1927) without continuity correction; `None` for `n = 0` or more
/// successes than trials.
#[must_use]
pub fn wilson(successes: u64, n: u64, confidence: f64) -> Option<(f64, f64)> {
    if n == 0 || successes > n {
        return None;
    }
    let z = normal_quantile(0.5 + 0.5 * confidence);
    let (count, p) = (n as f64, successes as f64 / n as f64);
    let scale = 1.0 + z * z / count;
    let centre = (p + z * z / (2.0 * count)) / scale;
    let half = z / scale * (p * (1.0 - p) / count + z * z / (4.0 * count * count)).sqrt();
    // Exact at the ends, where rounding would leave -1e-17.
    let low = if successes == 0 { 0.0 } else { centre - half };
    let high = if successes == n { 1.0 } else { centre + half };
    Some((low.max(0.0), high.min(1.0)))
}

/// Clopper and Pearson's exact interval (1934), which covers at least `confidence`; `None` for
/// `n = 0` or more successes than trials.
#[must_use]
pub fn clopper_pearson(successes: u64, n: u64, confidence: f64) -> Option<(f64, f64)> {
    if n == 0 || successes > n {
        return None;
    }
    let tail = 0.5 * (1.0 - confidence);
    let (k, failures) = (successes as f64, (n - successes) as f64);
    let low = match successes {
        0 => 0.0,
        _ => incomplete_beta_inverse(k, failures + 1.0, tail),
    };
    let high = match n - successes {
        0 => 1.0,
        // The mirrored inverse keeps the digits of an end close to one.
        _ => 1.0 - incomplete_beta_inverse(failures, k + 1.0, tail),
    };
    Some((low, high))
}

/// Probability of at most `k` successes in `n` trials at success rate `p`.
#[must_use]
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    incomplete_beta((n - k) as f64, k as f64 + 1.0, 1.0 - p)
}

/// Two-sided p of the exact McNemar test (1947): given the discordant pairs, both directions are
/// equally likely. It is 1 if no pair is discordant, since there is no evidence of a difference.
#[must_use]
pub fn mcnemar_exact(right_to_wrong: u64, wrong_to_right: u64) -> f64 {
    let fewer = right_to_wrong.min(wrong_to_right);
    let discordant = right_to_wrong.saturating_add(wrong_to_right);
    (2.0 * binomial_cdf(fewer, discordant, 0.5)).min(1.0)
}

/// Mean of independent proportions, `(value, low, high)`, from the `(successes, n)` of each.
///
/// The interval is the "method of variance estimates recovery" over Wilson intervals (Zou and
/// Donner, Statistics in Medicine 27, 2008). Unlike a bootstrap it has a width even if every group
/// is all right. Groups with `n = 0` are left out; `None` if no group remains.
#[must_use]
pub fn mean_of_proportions(groups: &[(u64, u64)], confidence: f64) -> Option<(f64, f64, f64)> {
    let (mut sum, mut below, mut above, mut present) = (0.0, 0.0, 0.0, 0.0);
    for &(successes, n) in groups {
        let Some((low, high)) = wilson(successes, n, confidence) else {
            continue;
        };
        let p = successes as f64 / n as f64;
        sum += p;
        below += (p - low) * (p - low);
        above += (high - p) * (high - p);
        present += 1.0;
    }
    if present == 0.0 {
        return None;
    }
    let mean = sum / present;
    let low = mean - below.sqrt() / present;
    let high = mean + above.sqrt() / present;
    Some((mean, low.max(0.0), high.min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_discordant_is_no_evidence() {
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(3, 3), 1.0);
        // 2 * (1 + 5) / 32
        assert!((mcnemar_exact(1, 4) - 0.375).abs() < 1e-15);
        assert!((mcnemar_exact(5, 0) - 0.0625).abs() < 1e-15);
    }

    #[test]
    fn undefined_proportions_have_no_interval() {
        assert!(wilson(0, 0, 0.95).is_none() && wilson(2, 1, 0.95).is_none());
        assert!(clopper_pearson(0, 0, 0.95).is_none() && clopper_pearson(2, 1, 0.95).is_none());
        assert!(mean_of_proportions(&[(0, 0)], 0.95).is_none());
    }

    #[test]
    fn one_group_is_its_own_mean() {
        let (low, high) = wilson(3, 8, 0.95).unwrap();
        let (mean, mean_low, mean_high) = mean_of_proportions(&[(3, 8), (0, 0)], 0.95).unwrap();
        assert_eq!(mean, 0.375);
        assert!((mean_low - low).abs() < 1e-15 && (mean_high - high).abs() < 1e-15);
    }
}
