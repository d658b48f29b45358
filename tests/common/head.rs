//! The product's arithmetic behind a graph, once more and in f64, for goldens.

use dermal::graph::pass::Answer;

/// The product's answer from the output that `split_head` leaves.
pub(crate) fn answer(answer: Answer, output: &[f32]) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "probabilities are f32")]
    let narrow = |values: Vec<f64>| values.iter().map(|&v| v as f32).collect();
    let wide = output.iter().copied().map(f64::from);
    match answer {
        Answer::Softmax => {
            let shares: Vec<f64> = wide.map(f64::exp).collect();
            let sum: f64 = shares.iter().sum();
            narrow(shares.iter().map(|s| s / sum).collect())
        }
        Answer::Sigmoid => narrow(wide.map(|x| 1.0 / (1.0 + (-x).exp())).collect()),
        Answer::Logits | Answer::Probabilities | Answer::Bounded(_) => output.to_vec(),
    }
}
