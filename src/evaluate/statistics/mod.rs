//! Intervals and tests for counts, pairs and resamples.
//!
//! Everything here is checked against SciPy, statsmodels or a numerical maximisation in
//! `tests/library/statistics_golden.rs`. Undefined results are `None`, never NaN.

pub mod binomial;
pub mod bootstrap;
pub mod correlation;
pub mod paired;
pub mod special;

use serde::Serialize;

/// How an interval was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Wilson's score interval of a proportion ([`binomial::wilson`]).
    Wilson,
    /// Clopper and Pearson's exact interval of a proportion ([`binomial::clopper_pearson`]).
    ClopperPearson,
    /// Tango's score interval of a difference of paired proportions ([`paired::tango_interval`]).
    Tango,
    /// Wilson intervals of independent proportions, combined for their mean
    /// ([`binomial::mean_of_proportions`]).
    MoverWilson,
    /// Percentile interval over resampled images ([`bootstrap`]). It has no ends if the resamples
    /// cannot tell: all of them are equal, or most of them are undefined.
    BootstrapPercentile,
}

/// A measured value with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value on the given images.
    pub value: f64,
    /// Lower end; `None` if the method gives none.
    pub low: Option<f64>,
    /// Upper end; `None` if the method gives none.
    pub high: Option<f64>,
    /// How the ends were computed.
    pub method: IntervalMethod,
}

impl Estimate {
    /// The proportion `successes / n` with Wilson's interval at `confidence`; `None` for `n = 0`.
    #[must_use]
    pub fn proportion(successes: u64, n: u64, confidence: f64) -> Option<Self> {
        let (low, high) = binomial::wilson(successes, n, confidence)?;
        Some(Self {
            value: successes as f64 / n as f64,
            low: Some(low),
            high: Some(high),
            method: IntervalMethod::Wilson,
        })
    }
}
