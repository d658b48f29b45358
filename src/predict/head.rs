//! Turns logits into probabilities.

use crate::artifact::Head;

/// The score of a class before it becomes a probability: an output of the graph, or its negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// The output.
    pub output: usize,
    /// Whether the score is the output's negative.
    pub negated: bool,
}

impl Score {
    /// The score of a class. With one sigmoid output, the first class has its negative.
    #[must_use]
    pub fn of_class(class: usize, head: Head) -> Self {
        match head {
            Head::BinarySigmoid => Self {
                output: 0,
                negated: class == 0,
            },
            _ => Self {
                output: class,
                negated: false,
            },
        }
    }
}

/// How far a probability among the outputs may lie outside 0 to 1: INT8 rounds it to steps of
/// 1/255.
const PROBABILITY_TOLERANCE: f32 = 0.01;

/// The first output that should be a probability and is not.
#[must_use]
pub fn no_probability(head: Head, output: &[f32]) -> Option<usize> {
    let range = -PROBABILITY_TOLERANCE..=1.0 + PROBABILITY_TOLERANCE;
    match head {
        Head::Probabilities => output.iter().position(|value| !range.contains(value)),
        Head::Softmax | Head::BinarySigmoid | Head::MultiLabelSigmoid => None,
    }
}

/// The probability of each label, in order, from the graph's output. Sums are in `f64`. Outputs
/// that are probabilities already are clamped to 0 to 1, because rounding may carry them outside.
pub fn probabilities(head: Head, output: &[f32]) -> Vec<f32> {
    match head {
        Head::Softmax => softmax(output),
        Head::BinarySigmoid => {
            let second = output.first().copied().unwrap_or(f32::NAN);
            vec![sigmoid(-second), sigmoid(second)]
        }
        Head::MultiLabelSigmoid => output.iter().copied().map(sigmoid).collect(),
        Head::Probabilities => output.iter().map(|value| value.clamp(0.0, 1.0)).collect(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "probabilities are f32")]
fn softmax(logits: &[f32]) -> Vec<f32> {
    // Minus the largest, so that no exponential overflows.
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logits
        .iter()
        .map(|&x| (f64::from(x) - f64::from(greatest)).exp())
        .collect();
    let sum: f64 = shares.iter().sum();
    shares.iter().map(|share| (share / sum) as f32).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "probabilities are f32")]
fn sigmoid(x: f32) -> f32 {
    // exp overflows to infinity for very negative x, which gives 0.
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "literals read better")]
    fn assert_close(got: Vec<f32>, expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((f64::from(*g) - e).abs() < 1e-7, "{got:?}, {expected:?}");
        }
    }

    #[test]
    fn heads_compute_their_formula() {
        // e^0 : e^ln2 : e^ln5 = 1 : 2 : 5.
        let logits = [0.0, 2_f32.ln(), 5_f32.ln()];
        assert_close(probabilities(Head::Softmax, &logits), &[0.125, 0.25, 0.625]);
        // 1 / (1 + 1/3) = 3/4.
        let three = 3_f32.ln();
        assert_close(probabilities(Head::BinarySigmoid, &[three]), &[0.25, 0.75]);
        assert_close(
            probabilities(Head::MultiLabelSigmoid, &[three, 0.0, -three]),
            &[0.75, 0.5, 0.25],
        );
        assert_close(
            probabilities(Head::Probabilities, &[0.5, 0.25]),
            &[0.5, 0.25],
        );
    }

    #[test]
    fn what_is_no_probability_is_found_and_rounding_is_forgiven() {
        for (output, expected) in [
            (&[0.0, 1.0][..], None),
            (&[-0.004, 1.004], None),
            (&[0.5, -0.4], Some(1)),
            (&[1.05, 0.0], Some(0)),
            (&[0.2, f32::NAN], Some(1)),
        ] {
            let found = no_probability(Head::Probabilities, output);
            assert_eq!(found, expected, "{output:?}");
        }
        assert_eq!(no_probability(Head::Softmax, &[-7.0, 9.0]), None);
        assert_eq!(
            probabilities(Head::Probabilities, &[-0.004, 1.004]),
            [0.0, 1.0]
        );
    }

    #[test]
    fn extreme_logits_stay_probabilities() {
        assert_eq!(
            probabilities(Head::Softmax, &[3e38, -3e38, 0.0]),
            [1.0, 0.0, 0.0]
        );
        assert_eq!(probabilities(Head::Softmax, &[-1e4, -1e4]), [0.5, 0.5]);
        assert_eq!(probabilities(Head::BinarySigmoid, &[-3e38]), [1.0, 0.0]);
        assert_eq!(probabilities(Head::BinarySigmoid, &[3e38]), [0.0, 1.0]);
    }
}
