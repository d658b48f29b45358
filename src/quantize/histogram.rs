//! How often a value lay in which range, in bounded memory, and the range of bytes that follows
//! from it.

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::quantization::Quantization;

/// Bins on each side of zero. On the larger side at least half of them are in use, so that a byte's
/// step covers eight bins or more.
const HALF: usize = 4096;

/// How many shares of the observed range are tried as ends of the range of bytes.
const CANDIDATES: usize = 60;

/// The smallest share that is tried. On the models that were tried, more clipping never helped.
const SMALLEST_SHARE: f64 = 0.2;

/// How to choose the range of bytes from the observed values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method")]
pub enum RangeMethod {
    /// The whole observed range.
    MinMax,
    /// The range without the most extreme elements, the same number at each end.
    Percentile {
        /// The share that is kept, in percent: 99.99.
        percent: f64,
    },
    /// The range with the least mean squared error of the bytes.
    Mse,
}

impl RangeMethod {
    /// Its name in records and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Percentile { .. } => "percentile",
            Self::Mse => "mse",
        }
    }
}

/// Bytes that the histograms of this many values take.
#[must_use]
pub fn histogram_bytes(values: usize) -> u64 {
    (values * 2 * HALF * size_of::<u64>()) as u64
}

/// A histogram over `-limit..limit` whose limit doubles when a value lies outside.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    limit: f32,
    low: f32,
    high: f32,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; 2 * HALF],
            limit: 0.0,
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
        }
    }

    /// The least and the largest seen.
    pub(super) fn range(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    /// Counts finite values.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "inside the limit after `widen`"
    )]
    pub(super) fn add(&mut self, values: &[f32]) {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for &v in values {
            low = low.min(v);
            high = high.max(v);
        }
        self.low = self.low.min(low);
        self.high = self.high.max(high);
        self.widen(low.abs().max(high.abs()));
        let per_bin = HALF as f32 / self.limit;
        for &v in values {
            let bin = (v * per_bin + HALF as f32) as usize;
            self.counts[bin.min(2 * HALF - 1)] += 1;
        }
    }

    /// Joins bins in pairs until `reach` lies inside.
    fn widen(&mut self, reach: f32) {
        if self.limit == 0.0 {
            // Values of less than this are as good as zero.
            self.limit = (reach * 1.000_001).max(1e-6);
            return;
        }
        while reach >= self.limit {
            self.limit *= 2.0;
            let mut joined = vec![0; 2 * HALF];
            for (i, pair) in self.counts.as_chunks::<2>().0.iter().enumerate() {
                joined[HALF / 2 + i] = pair[0] + pair[1];
            }
            self.counts = joined;
        }
    }

    /// The bins that are not empty: the middle of each and its count.
    fn bins(&self) -> Vec<(f64, f64)> {
        let width = f64::from(self.limit) / HALF as f64;
        let middle = |i: usize| (i as f64 - HALF as f64 + 0.5) * width;
        let counts = self.counts.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(i, &count)| (middle(i), count as f64))
            .collect()
    }

    /// The map of the bytes by the given method; `None` if a value was not finite. `then` is the
    /// table in which the bytes are looked up, and its result's error counts. For example, SiLU is
    /// flat far below zero, so fine steps would be wasted there.
    pub(super) fn quantization(
        &self,
        method: RangeMethod,
        then: Activation,
    ) -> Option<Quantization> {
        let (low, high) = match method {
            RangeMethod::MinMax => (self.low, self.high),
            RangeMethod::Percentile { percent } => self.percentile(percent),
            RangeMethod::Mse => self.least_error(then),
        };
        Quantization::covering(low, high)
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
    fn percentile(&self, percent: f64) -> (f32, f32) {
        let bins = self.bins();
        let total: f64 = bins.iter().map(|(_, count)| count).sum();
        let cut = total * (1.0 - percent / 100.0) / 2.0;
        let end = |bins: &mut dyn Iterator<Item = &(f64, f64)>| {
            let mut passed = 0.0;
            for &(middle, count) in bins {
                passed += count;
                if passed > cut {
                    return middle as f32;
                }
            }
            0.0
        };
        let (low, high) = (end(&mut bins.iter()), end(&mut bins.iter().rev()));
        (low.max(self.low), high.min(self.high))
    }

    /// Tries both ends together, then each end alone, twice.
    fn least_error(&self, then: Activation) -> (f32, f32) {
        let width = f64::from(self.limit) / HALF as f64;
        let bins: Vec<Bin> = self
            .bins()
            .into_iter()
            .map(|(middle, count)| Bin::new(middle, count, width, then))
            .collect();
        let (low, high) = (self.low.min(0.0), self.high.max(0.0));
        let share = |i: usize| {
            let step = (1.0 - SMALLEST_SHARE) / (CANDIDATES - 1) as f64;
            #[expect(clippy::cast_possible_truncation, reason = "a share of an f32")]
            {
                (1.0 - step * i as f64) as f32
            }
        };
        let mut best = (low, high);
        let mut least = error(&bins, best, then);
        let mut consider = |candidate: (f32, f32), best: &mut (f32, f32)| {
            let got = error(&bins, candidate, then);
            if got < least {
                least = got;
                *best = candidate;
            }
        };
        for i in 1..CANDIDATES {
            consider((low * share(i), high * share(i)), &mut best);
        }
        for _ in 0..2 {
            let (_, top) = best;
            for i in 0..CANDIDATES {
                consider((low * share(i), top), &mut best);
            }
            let (bottom, _) = best;
            for i in 0..CANDIDATES {
                consider((bottom, high * share(i)), &mut best);
            }
        }
        best
    }
}

/// A bin as the search uses it.
struct Bin {
    middle: f64,
    count: f64,
    /// The function's value at the middle.
    value: f64,
    /// The function's squared slope there.
    slope: f64,
}

impl Bin {
    fn new(middle: f64, count: f64, width: f64, then: Activation) -> Self {
        let slope = (apply(then, middle + width) - apply(then, middle - width)) / (2.0 * width);
        Self {
            middle,
            count,
            value: apply(then, middle),
            slope: slope * slope,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the definition is in f32")]
fn apply(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Linear => x,
        function => f64::from(function.apply(x as f32)),
    }
}

/// The summed squared error after `then` for a range of bytes. Inside the range, a bin's error is
/// that of an even spread (a twelfth of a squared step) times the squared slope; outside, it is the
/// squared distance from the value at the end.
fn error(bins: &[Bin], (low, high): (f32, f32), then: Activation) -> f64 {
    let (low, high) = (f64::from(low), f64::from(high));
    let step = (high - low) / 255.0;
    let inside = step * step / 12.0;
    let ends = [apply(then, low), apply(then, high)];
    let sum = bins.iter().map(|bin| {
        let off = match bin.middle {
            x if x < low => bin.value - ends[0],
            x if x > high => bin.value - ends[1],
            // Zero is exactly representable, so it has no error.
            x if x.abs() < step / 64.0 => return 0.0,
            _ => 0.0,
        };
        bin.count * (off * off + inside * bin.slope)
    });
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly spread over 0..10, and one outlier at 1000.
    fn with_outlier() -> Histogram {
        let mut histogram = Histogram::new();
        let even: Vec<f32> = (0..100_000).map(|i| i as f32 / 10_000.0).collect();
        histogram.add(&even);
        histogram.add(&[1000.0, -1.0]);
        histogram
    }

    #[test]
    fn min_max_keeps_all() {
        let map = with_outlier()
            .quantization(RangeMethod::MinMax, Activation::Linear)
            .unwrap();
        assert!((map.scale - 1001.0 / 255.0).abs() < 1e-5);
        assert_eq!(map.zero_point, 0);
    }

    #[test]
    fn a_percentile_leaves_outliers_out() {
        let method = RangeMethod::Percentile { percent: 99.9 };
        let map = with_outlier().quantization(method, Activation::Linear);
        // 99.95 % of the elements lie below 10.
        let top = map.unwrap().dequantize(255);
        assert!((9.0..11.0).contains(&top), "{top}");
    }

    /// A million elements over 0..10 and one outlier. Its squared distance must outweigh what
    /// finer steps save: about `range^2 / 255^2 / 12` an element.
    #[test]
    fn least_error_weighs_an_outlier_against_all_others() {
        let top = |outlier: f32| {
            let mut histogram = Histogram::new();
            for _ in 0..10 {
                let even: Vec<f32> = (0..100_000).map(|i| i as f32 / 10_000.0).collect();
                histogram.add(&even);
            }
            histogram.add(&[outlier]);
            let map = histogram.quantization(RangeMethod::Mse, Activation::Linear);
            map.unwrap().dequantize(255)
        };
        // 30^2 / 255^2 / 12 * 10^6 = 1153, more than 20^2 + 10^2 / 255^2 / 12 * 10^6 = 528.
        assert!((10.0..16.0).contains(&top(30.0)), "{}", top(30.0));
        // 1000^2 * 1.28 = 1.3 million, but 990^2 is 0.98 million: between the ends.
        assert!((100.0..999.0).contains(&top(1000.0)), "{}", top(1000.0));
    }

    #[test]
    fn what_a_function_flattens_is_left_out() {
        let mut histogram = Histogram::new();
        let even: Vec<f32> = (0..100_000).map(|i| i as f32 / 5_000.0 - 12.0).collect();
        histogram.add(&even);
        let of = |then| histogram.quantization(RangeMethod::Mse, then).unwrap();
        let low = |map: Quantization| map.dequantize(0);
        assert!(low(of(Activation::Linear)) < -11.5);
        let silu = low(of(Activation::Silu));
        assert!((-9.0..-3.0).contains(&silu), "{silu}");
        assert!(of(Activation::Silu).scale < of(Activation::Linear).scale);
    }

    #[test]
    fn order_and_portions_change_nothing_about_the_counts() {
        let values: Vec<f32> = (0..5000)
            .map(|i| ((i * 37) % 1000) as f32 - 300.0)
            .collect();
        let mut whole = Histogram::new();
        whole.add(&values);
        let mut parts = Histogram::new();
        for part in values.chunks(7) {
            parts.add(part);
        }
        assert_eq!(whole.range(), (-300.0, 699.0));
        assert_eq!(whole.range(), parts.range());
        let total = |h: &Histogram| h.counts.iter().sum::<u64>();
        assert_eq!(total(&whole), 5000);
        assert_eq!(total(&parts), 5000);
        let limits = [whole.limit, parts.limit];
        assert!(
            limits.iter().all(|&l| (699.0..1400.0).contains(&l)),
            "{limits:?}"
        );
    }

    #[test]
    fn values_that_are_all_zero_have_a_map() {
        let mut histogram = Histogram::new();
        histogram.add(&[0.0; 10]);
        for method in [
            RangeMethod::MinMax,
            RangeMethod::Mse,
            RangeMethod::Percentile { percent: 99.0 },
        ] {
            assert!(
                histogram
                    .quantization(method, Activation::Linear)
                    .unwrap()
                    .is_valid()
            );
        }
    }
}
