//! Metrics of images with integer weights: 1 for the value itself, the number of draws for a
//! resample. Scores are sorted once.

use super::{RELIABILITY_BINS, ReliabilityBin, argmax_rows};
use crate::evaluate::statistics::Estimate;

/// The metrics that the bootstrap computes for each resample.
pub(super) struct Summary {
    pub(super) macro_f1: f64,
    pub(super) ece: f64,
    pub(super) brier: f64,
    /// One-vs-rest, for each class.
    pub(super) auc: Vec<Option<f64>>,
    /// The best point at the wanted specificity, for each class.
    pub(super) operating: Vec<Option<Operating>>,
}

/// A point of a ROC curve.
#[derive(Clone, Copy)]
pub(super) struct Operating {
    pub(super) sensitivity: f64,
    pub(super) specificity: f64,
    pub(super) threshold: Option<f64>,
}

/// An image in the order of one class's scores.
#[derive(Clone, Copy)]
struct Ranked {
    image: u32,
    positive: bool,
    /// The last image with this score.
    ends_tie: bool,
}

/// The images in descending order of one class's score.
struct Ranking {
    /// Eight bytes for each image, because every resample walks through them.
    order: Vec<Ranked>,
    scores: Vec<f64>,
}

/// The images, and everything that does not depend on how often each one counts.
pub(super) struct Prepared {
    n_classes: usize,
    specificity: f64,
    /// `truth * n_classes + predicted`.
    cell: Vec<usize>,
    right: Vec<bool>,
    confidence: Vec<f64>,
    bin: Vec<usize>,
    brier: Vec<f64>,
    /// For each class.
    rankings: Vec<Ranking>,
}

/// `2 tp / (2 tp + fp + fn)`; 0 if the class is neither true nor predicted.
pub(super) fn f1(hit: u64, support: u64, predicted: u64) -> f64 {
    match support + predicted {
        0 => 0.0,
        sum => 2.0 * hit as f64 / sum as f64,
    }
}

/// Bin of a confidence: `(i / 15, (i + 1) / 15]`, with 0 in the first.
fn bin_of(confidence: f64) -> usize {
    (1..RELIABILITY_BINS)
        .find(|i| confidence <= edge(*i))
        .map_or(RELIABILITY_BINS - 1, |i| i - 1)
}

fn edge(i: usize) -> f64 {
    i as f64 / RELIABILITY_BINS as f64
}

impl Prepared {
    /// `probabilities` are validated: finite, `truth.len() x n_classes`.
    pub(super) fn new(
        truth: &[usize],
        probabilities: &[f64],
        n_classes: usize,
        specificity: f64,
    ) -> Self {
        let predicted = argmax_rows(probabilities, n_classes);
        let rows = || probabilities.chunks_exact(n_classes);
        let confidence: Vec<f64> = rows().zip(&predicted).map(|(row, p)| row[*p]).collect();
        let rankings = (0..n_classes)
            .map(|class| {
                let scores = rows().map(|row| row[class]);
                let mut ranked: Vec<(f64, u32)> = scores.zip(0_u32..).collect();
                ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
                let scores: Vec<f64> = ranked.iter().map(|r| r.0).collect();
                let order = ranked
                    .iter()
                    .enumerate()
                    .map(|(i, &(score, image))| Ranked {
                        image,
                        positive: truth[image as usize] == class,
                        ends_tie: scores.get(i + 1) != Some(&score),
                    });
                Ranking {
                    order: order.collect(),
                    scores,
                }
            })
            .collect();
        Self {
            n_classes,
            specificity,
            cell: truth
                .iter()
                .zip(&predicted)
                .map(|(t, p)| t * n_classes + p)
                .collect(),
            right: truth.iter().zip(&predicted).map(|(t, p)| t == p).collect(),
            bin: confidence.iter().map(|c| bin_of(*c)).collect(),
            confidence,
            brier: rows()
                .zip(truth)
                .map(|(row, t)| {
                    let squares = row.iter().enumerate().map(|(class, p)| {
                        let error = p - f64::from(u8::from(class == *t));
                        error * error
                    });
                    squares.sum()
                })
                .collect(),
            rankings,
        }
    }

    /// `[truth][predicted]`.
    pub(super) fn confusion(&self, counts: &[u32]) -> Vec<Vec<u64>> {
        let mut confusion = vec![vec![0; self.n_classes]; self.n_classes];
        for (cell, count) in self.cell.iter().zip(counts) {
            confusion[cell / self.n_classes][cell % self.n_classes] += u64::from(*count);
        }
        confusion
    }

    /// All metrics with each image counted as often as `counts` says.
    pub(super) fn summary(&self, counts: &[u32]) -> Summary {
        let confusion = self.confusion(counts);
        let (mut f1_sum, mut f1_classes) = (0.0, 0.0);
        for (class, row) in confusion.iter().enumerate() {
            let support: u64 = row.iter().sum();
            let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
            if support + predicted > 0 {
                f1_sum += f1(row[class], support, predicted);
                f1_classes += 1.0;
            }
        }
        // Accuracy minus confidence, summed over each bin.
        let mut gaps = [0.0; RELIABILITY_BINS];
        let (mut brier, mut total) = (0.0, 0.0);
        for (image, count) in counts.iter().enumerate() {
            if *count == 0 {
                continue;
            }
            let count = f64::from(*count);
            let right = f64::from(u8::from(self.right[image]));
            gaps[self.bin[image]] += count * (right - self.confidence[image]);
            brier += count * self.brier[image];
            total += count;
        }
        let images: u64 = confusion.iter().flatten().sum();
        let curves = self.rankings.iter().zip(&confusion).map(|(ranking, row)| {
            let positives: u64 = row.iter().sum();
            self.curve(ranking, counts, images - positives)
        });
        let (auc, operating) = curves.unzip();
        Summary {
            macro_f1: f1_sum / f1_classes,
            ece: gaps.iter().map(|gap| gap.abs()).sum::<f64>() / total,
            brier: brier / total,
            auc,
            operating,
        }
    }

    /// Area under one class's ROC curve, and its best point, in one pass from the highest score
    /// down.
    fn curve(
        &self,
        ranking: &Ranking,
        counts: &[u32],
        all_negatives: u64,
    ) -> (Option<f64>, Option<Operating>) {
        let allowed = self.allowed_false_alarms(all_negatives);
        let (mut positives, mut negatives) = (0_u64, 0_u64);
        // Counts pairs of a positive above a negative twice, so that a tie counts one.
        let mut doubled_pairs = 0_u64;
        // Negatives and positives of the current tie. This is an index and not a branch, because a
        // branch on the truth would often be mispredicted.
        let mut tied = [0_u64; 2];
        // Positives and negatives above the best threshold so far, and its score.
        let mut best = (0_u64, 0_u64, None);
        for (rank, ranked) in ranking.order.iter().enumerate() {
            tied[usize::from(ranked.positive)] += u64::from(counts[ranked.image as usize]);
            if ranked.ends_tie {
                let [tied_negatives, tied_positives] = tied;
                doubled_pairs += tied_negatives * (2 * positives + tied_positives);
                positives += tied_positives;
                negatives += tied_negatives;
                if negatives <= allowed && positives > best.0 {
                    best = (positives, negatives, Some(ranking.scores[rank]));
                }
                tied = [0, 0];
            }
        }
        if positives == 0 || negatives == 0 {
            return (None, None);
        }
        let (p, n) = (positives as f64, negatives as f64);
        let operating = Operating {
            sensitivity: best.0 as f64 / p,
            specificity: 1.0 - best.1 as f64 / n,
            threshold: best.2,
        };
        (Some(doubled_pairs as f64 / (2.0 * p * n)), Some(operating))
    }

    /// Most false alarms that keep the wanted specificity.
    fn allowed_false_alarms(&self, negatives: u64) -> u64 {
        // A specificity such as 0.9 is not exact in floats: with 10 negatives, 1 - 0.9 must allow
        // one false alarm.
        const ROUNDING: f64 = 1e-9;
        let allowed = (1.0 - self.specificity) * negatives as f64 + ROUNDING;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a specificity within 0 to 1 gives at most the number of negatives"
        )]
        let allowed = allowed as u64;
        allowed
    }

    /// The table behind the calibration error.
    pub(super) fn reliability(&self, confidence: f64) -> Vec<ReliabilityBin> {
        (0..RELIABILITY_BINS)
            .map(|bin| {
                let (mut n, mut right, mut sum) = (0_u64, 0_u64, 0.0);
                for image in (0..self.bin.len()).filter(|i| self.bin[*i] == bin) {
                    n += 1;
                    right += u64::from(self.right[image]);
                    sum += self.confidence[image];
                }
                ReliabilityBin {
                    low: edge(bin),
                    high: edge(bin + 1),
                    n,
                    confidence: (n > 0).then(|| sum / n as f64),
                    accuracy: Estimate::proportion(right, n, confidence),
                }
            })
            .collect()
    }
}
