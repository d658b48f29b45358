//! The normal and the beta distribution.
//!
//! References: Wichura, "Algorithm AS 241", Applied Statistics 37 (1988); Loader, "Fast and
//! accurate computation of binomial probabilities" (2000); NIST DLMF 8.17.22 for the continued
//! fraction of the incomplete beta function.

use std::f64::consts::{PI, SQRT_2};

/// Probability that a standard normal variable is at most `x`.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// Inverse of [`normal_cdf`]: minus and plus infinity at 0 and 1, NaN outside of `0..=1`.
///
/// A rational start (Abramowitz and Stegun 26.2.23, error below 5e-4), then Halley steps, each of
/// which triples the number of right digits.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    if p > 0.5 {
        // The lower tail keeps its digits near zero; 1 - p is exact for p >= 0.5.
        return -normal_quantile(1.0 - p);
    }
    let t = (-2.0 * p.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut x = numerator / denominator - t;
    for _ in 0..4 {
        let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
        if density == 0.0 {
            break;
        }
        let step = (normal_cdf(x) - p) / density;
        x -= step / (1.0 + 0.5 * x * step);
    }
    x
}

/// `ln n!` minus Stirling's approximation of it.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        return libm::lgamma(n + 1.0) - (n + 0.5) * n.ln() + n - 0.5 * (2.0 * PI).ln();
    }
    let r = 1.0 / (n * n);
    (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r * (1.0 / 1680.0 - r / 1188.0)))) / n
}

/// `x ln(x / mean) + mean - x`, without cancellation if the two are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let v = (x - mean) / (x + mean);
    if v.abs() >= 0.1 {
        return x * (x / mean).ln() + mean - x;
    }
    let mut sum = (x - mean) * v;
    let mut term = 2.0 * x * v;
    for j in 1..100 {
        term *= v * v;
        let next = sum + term / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// `x^a (1 - x)^b / B(a, b)` by Loader's saddle point. It keeps its digits for large `a` and `b`; a
/// difference of log-gammas would not.
fn beta_power(a: f64, b: f64, x: f64) -> f64 {
    let n = a + b;
    let exponent = stirling_error(n)
        - stirling_error(a)
        - stirling_error(b)
        - deviance(a, n * x)
        - deviance(b, n * (1.0 - x));
    // ab/n turns the binomial density's factorials into the beta function's gammas.
    (a * b / n) * exponent.exp() * (n / (2.0 * PI * a * b)).sqrt()
}

/// Lentz's evaluation of DLMF 8.17.22; fast for `x < (a + 1) / (a + b + 2)`.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    // The number of steps grows with the root of the larger parameter: enough for 10^12.
    const MAX_STEPS: u32 = 1_000_000;
    let off_zero = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / off_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for step in 1..MAX_STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / off_zero(1.0 + even * d);
        c = off_zero(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / off_zero(1.0 + odd * d);
        c = off_zero(1.0 + odd / c);
        let change = d * c;
        value *= change;
        if (change - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

/// Regularised incomplete beta function `I_x(a, b)`: the probability that a Beta(`a`, `b`)
/// variable is at most `x`. `a` and `b` are above zero; `x` outside of `0..=1` is clamped.
#[must_use]
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x < (a + 1.0) / (a + b + 2.0) {
        beta_power(a, b, x) * beta_fraction(a, b, x) / a
    } else {
        1.0 - beta_power(a, b, x) * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// Inverse of [`incomplete_beta`] in `x`, by bisection down to neighbouring floats.
#[must_use]
pub fn incomplete_beta_inverse(a: f64, b: f64, p: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    bisect(0.0, 1.0, |x| incomplete_beta(a, b, x) < p)
}

/// The point between `low` and `high` at which `below` turns from true to false, to the last bit.
pub(crate) fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    // Floats between 0 and 1 have 2^62 values, but halving the value needs at most 1075 steps.
    for _ in 0..1100 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_inverts_the_distribution_into_both_tails() {
        for p in [1e-300, 1e-12, 1e-3, 0.2, 0.5, 0.9, 0.975] {
            let back = normal_cdf(normal_quantile(p));
            assert!((back - p).abs() <= 1e-13 * p.max(1e-3) || (back / p - 1.0).abs() < 1e-11);
        }
        assert!(normal_quantile(-0.1).is_nan() && normal_quantile(f64::NAN).is_nan());
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
    }

    #[test]
    fn incomplete_beta_has_its_closed_forms() {
        for x in [0.001, 0.3, 0.5, 0.9] {
            assert!((incomplete_beta(1.0, 7.0, x) - (1.0 - (1.0 - x).powi(7))).abs() < 1e-14);
            assert!((incomplete_beta(4.0, 1.0, x) - x.powi(4)).abs() < 1e-14);
            assert!((incomplete_beta_inverse(4.0, 1.0, x) - x.powf(0.25)).abs() < 1e-13);
        }
        assert!((incomplete_beta(5e5, 5e5, 0.5) - 0.5).abs() < 1e-12);
    }
}
