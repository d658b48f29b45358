//! Two models on the same images: the difference of their accuracies.
//!
//! A difference is candidate minus base, `(wrong_to_right - right_to_wrong) / n`, so a loss is
//! negative. Tests and intervals use Tango's score method: the variance is that of the most likely
//! pair of rates *whose difference is the one under test*. Therefore it is not zero if no pair is
//! discordant. Wald's variance would be, and a Wald test would then call any two models equivalent.
//! References: Tango, "Equivalence test and confidence interval for the difference in proportions
//! for the paired-sample design", Statistics in Medicine 17 (1998) 891-908; Liu, Hsueh, Hsieh and
//! Chen, "Tests for equivalence or non-inferiority for paired binary data", Statistics in Medicine
//! 21 (2002) 231-245.
//!
//! Error of the first kind at a nominal 5 %: between 4.0 and 5.5 % in the scenarios of
//! `tests/library/statistics_golden.rs`, which computes it exactly and simulates it. It is far lower if the
//! images are too few to show equivalence at all. It can reach 7 % in the corner in which all true
//! flips are losses and only about three of them are expected.

use serde::Serialize;

use super::special::{bisect, normal_cdf, normal_quantile};

/// Counts of images by which of the two models were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PairedTable {
    /// Base and candidate right.
    pub both_right: u64,
    /// Base right, candidate wrong: the candidate's losses.
    pub right_to_wrong: u64,
    /// Base wrong, candidate right: the candidate's gains.
    pub wrong_to_right: u64,
    /// Neither right.
    pub both_wrong: u64,
}

impl PairedTable {
    /// Number of images.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.both_right + self.right_to_wrong + self.wrong_to_right + self.both_wrong
    }

    /// Images that exactly one model has right.
    #[must_use]
    pub fn discordant(&self) -> u64 {
        self.right_to_wrong + self.wrong_to_right
    }

    /// Accuracy of the candidate minus the base's, in -1 to 1; 0 without images.
    #[must_use]
    pub fn difference(&self) -> f64 {
        match self.n() {
            0 => 0.0,
            n => (self.wrong_to_right as f64 - self.right_to_wrong as f64) / n as f64,
        }
    }

    fn rates(&self) -> Rates {
        Rates {
            n: self.n() as f64,
            won: self.wrong_to_right as f64,
            lost: self.right_to_wrong as f64,
        }
    }
}

/// A table's numbers as floats.
#[derive(Clone, Copy)]
struct Rates {
    n: f64,
    won: f64,
    lost: f64,
}

/// Most likely rate of right-to-wrong among rates whose difference is `delta >= 0`: the positive
/// root of the likelihood's derivative.
fn restricted_loss(rates: Rates, delta: f64) -> f64 {
    let Rates { n, won, lost } = rates;
    let a = 2.0 * n;
    let b = delta * (2.0 * n - won + lost) - won - lost;
    let c = -lost * delta * (1.0 - delta);
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    // The form without cancellation for each sign of b; c <= 0.
    if b > 0.0 {
        -2.0 * c / (b + root)
    } else {
        (root - b) / (2.0 * a)
    }
}

/// Tango's score statistic for a true difference of `delta`. Under it the statistic is standard
/// normal, and above zero if the observed difference is larger. `None` without images.
#[must_use]
pub fn tango_score(table: &PairedTable, delta: f64) -> Option<f64> {
    let rates = table.rates();
    if table.n() == 0 || !(-1.0..=1.0).contains(&delta) {
        return None;
    }
    Some(score(rates, delta))
}

fn score(rates: Rates, delta: f64) -> f64 {
    if delta < 0.0 {
        // With the models swapped the root is the positive one, which has no cancellation.
        let swapped = Rates {
            won: rates.lost,
            lost: rates.won,
            ..rates
        };
        return -score(swapped, -delta);
    }
    let excess = rates.won - rates.lost - rates.n * delta;
    if excess == 0.0 {
        return 0.0;
    }
    let loss = restricted_loss(rates, delta);
    let variance = rates.n * (2.0 * loss + delta * (1.0 - delta));
    if variance <= 0.0 {
        return excess * f64::INFINITY;
    }
    excess / variance.sqrt()
}

/// Tango's interval of the difference at `confidence`: all differences that the score test does
/// not reject at `1 - confidence`. `None` without images.
#[must_use]
pub fn tango_interval(table: &PairedTable, confidence: f64) -> Option<(f64, f64)> {
    if table.n() == 0 {
        return None;
    }
    let rates = table.rates();
    let z = normal_quantile(0.5 + 0.5 * confidence);
    let difference = table.difference();
    let low = bisect(-1.0, difference, |delta| score(rates, delta) > z);
    let high = bisect(difference, 1.0, |delta| score(rates, delta) > -z);
    Some((low, high))
}

/// Two one-sided tests of equivalence within a margin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tost {
    /// The largest difference that counts as none, as a fraction: 0.01 is one point.
    pub margin: f64,
    /// Level of each one-sided test.
    pub alpha: f64,
    /// p against "the candidate loses the margin or more" (non-inferiority).
    pub p_loss: f64,
    /// p against "the candidate wins the margin or more".
    pub p_gain: f64,
    /// The larger of the two: the p of equivalence.
    pub p: f64,
    /// Interval of the difference at `1 - 2 alpha`. It lies within the margin exactly if both tests
    /// reject.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Tost {
    /// Tests at `margin` and `alpha`. `None` without images, or unless `0 < margin < 1` and
    /// `0 < alpha < 0.5`.
    #[must_use]
    pub fn new(table: &PairedTable, margin: f64, alpha: f64) -> Option<Self> {
        let sane = margin > 0.0 && margin < 1.0 && alpha > 0.0 && alpha < 0.5;
        if !sane {
            return None;
        }
        let p_loss = normal_cdf(-tango_score(table, -margin)?);
        let p_gain = normal_cdf(tango_score(table, margin)?);
        let (low, high) = tango_interval(table, 1.0 - 2.0 * alpha)?;
        Some(Self {
            margin,
            alpha,
            p_loss,
            p_gain,
            p: p_loss.max(p_gain),
            low,
            high,
        })
    }

    /// Both tests reject: the difference is smaller than the margin.
    #[must_use]
    pub fn equivalent(&self) -> bool {
        self.p < self.alpha
    }

    /// The loss is smaller than the margin, if there is one.
    #[must_use]
    pub fn not_inferior(&self) -> bool {
        self.p_loss < self.alpha
    }
}

/// Power of the sample size that [`images_needed`] gives.
pub const POWER: f64 = 0.8;

/// The largest number of images that is reported; beyond it the answer is `None`.
const MAX_NEEDED: f64 = 1e9;

/// Number of images at which the comparison would be settled with a power of 80 %, if images
/// changed at the observed rates. Settled means that the loss is shown to be below the margin, or,
/// if the observed loss is beyond it, that the candidate is shown to be worse.
///
/// `d` is the observed difference and `f` the discordant fraction. Non-inferiority needs
/// `(z_alpha + z_power)^2 (f - d^2) / (d + margin)^2` images (Liu et al. 2002, with the variance at
/// `d`), and at least `z_alpha^2 (1 - margin) / margin`, which [`Tost`] needs if no pair is
/// discordant. McNemar's test also settles a loss beyond the margin. It needs
/// `(z_(alpha/2) f^(1/2) + z_power (f - d^2)^(1/2))^2 / d^2` images (Connor, Biometrics 43, 1987).
/// The answer is always more than the given images. `None` if no number below 10^9 would do: the
/// observed loss equals the margin.
#[must_use]
pub fn images_needed(table: &PairedTable, margin: f64, alpha: f64) -> Option<u64> {
    let tost = Tost::new(table, margin, alpha)?;
    let n = table.n() as f64;
    let fraction = table.discordant() as f64 / n;
    let difference = table.difference();
    let z_power = normal_quantile(POWER);
    let z_alpha = normal_quantile(1.0 - tost.alpha);
    let variance = (fraction - difference * difference).max(0.0);
    let distance = difference + margin;
    let by_margin = (z_alpha + z_power).powi(2) * variance / (distance * distance);
    let needed = if distance >= 0.0 {
        by_margin.max(z_alpha * z_alpha * (1.0 - margin) / margin)
    } else {
        let z_two_sided = normal_quantile(1.0 - 0.5 * alpha);
        let spread = z_two_sided * fraction.sqrt() + z_power * variance.sqrt();
        by_margin.min((spread / difference).powi(2))
    };
    let needed = needed.ceil().max(n + 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 10^9"
    )]
    (needed <= MAX_NEEDED).then_some(needed as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(n: u64, right_to_wrong: u64, wrong_to_right: u64) -> PairedTable {
        PairedTable {
            both_right: n - right_to_wrong - wrong_to_right,
            right_to_wrong,
            wrong_to_right,
            both_wrong: 0,
        }
    }

    #[test]
    fn nothing_discordant_has_the_closed_form() {
        // With no discordant pair the score is (n delta / (1 - delta))^(1/2).
        let z = normal_quantile(0.95);
        for n in [1_u64, 10, 500] {
            let (low, high) = tango_interval(&table(n, 0, 0), 0.9).unwrap();
            let end = z * z / (n as f64 + z * z);
            assert!((high - end).abs() < 1e-14 && (low + end).abs() < 1e-14);
        }
        assert!(
            Tost::new(&table(268, 0, 0), 0.01, 0.05)
                .unwrap()
                .equivalent()
        );
        assert!(
            !Tost::new(&table(267, 0, 0), 0.01, 0.05)
                .unwrap()
                .equivalent()
        );
        assert_eq!(images_needed(&table(20, 0, 0), 0.01, 0.05), Some(268));
    }

    #[test]
    fn all_lost_and_all_won_end_at_one() {
        let (low, high) = tango_interval(&table(5, 5, 0), 0.95).unwrap();
        assert!(low == -1.0 && high < 0.0);
        let (low, high) = tango_interval(&table(5, 0, 5), 0.95).unwrap();
        assert!(high == 1.0 && low > 0.0);
    }

    #[test]
    fn tests_and_interval_agree() {
        for n in [1_u64, 7, 60, 400] {
            for lost in 0..=n.min(9) {
                for won in 0..=(n - lost).min(9) {
                    let tost = Tost::new(&table(n, lost, won), 0.02, 0.05).unwrap();
                    assert_eq!(tost.not_inferior(), tost.low > -0.02, "{n} {lost} {won}");
                    let within = tost.low > -0.02 && tost.high < 0.02;
                    assert_eq!(tost.equivalent(), within, "{n} {lost} {won}");
                }
            }
        }
    }

    #[test]
    fn undefined_tests_are_none() {
        assert!(Tost::new(&table(0, 0, 0), 0.01, 0.05).is_none());
        assert!(tango_interval(&table(0, 0, 0), 0.95).is_none());
        for (margin, alpha) in [(0.0, 0.05), (1.0, 0.05), (f64::NAN, 0.05), (0.01, 0.5)] {
            assert!(Tost::new(&table(9, 1, 1), margin, alpha).is_none());
        }
        // The observed loss equals the margin: no number of images settles it.
        assert_eq!(images_needed(&table(100, 3, 1), 0.02, 0.05), None);
    }
}
