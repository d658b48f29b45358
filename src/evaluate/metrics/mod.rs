//! One model on labelled images.
//!
//! In: the true class of each of `n` images and an `n x n_classes` matrix of probabilities, one row
//! for each image (for a model with one sigmoid output, the columns are `1 - p` and `p`). Out: an
//! [`Evaluation`]. The predicted class is the first of the largest probabilities, as in NumPy's
//! `argmax`. Definitions and edge cases are scikit-learn's with `zero_division=0`. An undefined
//! metric (AUC of a class without images) is `None`, never 0 or NaN.
//!
//! Counts of successes have Wilson intervals, and balanced accuracy combines those of its classes.
//! Metrics that are not proportions have the percentile bootstrap over images of
//! [`bootstrap`](super::statistics::bootstrap).

mod scores;

use serde::Serialize;

use super::statistics::bootstrap::{percentile_interval, resample};
use super::statistics::{Estimate, IntervalMethod, binomial};
use scores::{Prepared, Summary};

use crate::hint::{Arguments, Hint, named};

/// Bins of the calibration error and of the reliability table.
pub const RELIABILITY_BINS: usize = 15;

/// Why predictions cannot be evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricsError {
    /// No image at all.
    #[error("no labelled images to evaluate")]
    Empty,
    /// A classifier needs at least two classes.
    #[error("expected at least 2 classes, got {got}; give a sigmoid's `p` as `1 - p` and `p`")]
    TooFewClasses {
        /// Number of classes.
        got: usize,
    },
    /// The size of the matrix does not match the images and classes.
    #[error("expected {images} x {n_classes} probabilities, got {got} values")]
    Shape {
        /// Number of labels.
        images: usize,
        /// Number of classes.
        n_classes: usize,
        /// Number of probabilities.
        got: usize,
    },
    /// A label is not the index of a class.
    #[error("image {image}: expected a class below {n_classes}, got {got}")]
    Label {
        /// Index of the image.
        image: usize,
        /// Number of classes.
        n_classes: usize,
        /// Its label.
        got: usize,
    },
    /// NaN or infinite.
    #[error("image {image}, class {class}: the probability is {got}, not a number")]
    NotFinite {
        /// Index of the image.
        image: usize,
        /// Index of the class.
        class: usize,
        /// The value.
        got: f64,
    },
    /// Outside of 0 to 1 by more than rounding.
    #[error("image {image}, class {class}: expected a probability within 0 to 1, got {got}")]
    OutOfRange {
        /// Index of the image.
        image: usize,
        /// Index of the class.
        class: usize,
        /// The value.
        got: f64,
    },
    /// An option out of range.
    #[error("option `{name}`: expected {expected}, got {got}")]
    Option {
        /// Its name.
        name: &'static str,
        /// The allowed range.
        expected: &'static str,
        /// The value.
        got: f64,
    },
    /// A list whose length is not the number of images.
    #[error("expected {images} {what}, got {got}")]
    Length {
        /// What the list contains.
        what: &'static str,
        /// Number of images.
        images: usize,
        /// Length of the list.
        got: usize,
    },
}

impl Hint for MetricsError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooFewClasses { .. } => "too_few_classes",
            Self::Shape { .. } => "shape",
            Self::Label { .. } => "label",
            Self::NotFinite { .. } => "not_finite",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Option { .. } => "option",
            Self::Length { .. } => "length",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Empty => "give a folder or a CSV with at least one labelled image",
            Self::TooFewClasses { .. } | Self::Shape { .. } | Self::Length { .. } => {
                "give one row of probabilities for each image and one column for each class"
            }
            Self::Label { .. } => "labels are the model's classes, counted from 0",
            Self::NotFinite { .. } => "the model overflows on this image: look at its layers",
            Self::OutOfRange { .. } => {
                "these look like logits: the model's last layer must be softmax or sigmoid"
            }
            Self::Option { .. } => "change the option",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::TooFewClasses { got } => named!(got),
            Self::Shape {
                images,
                n_classes,
                got,
            } => named!(images, n_classes, got),
            Self::Label {
                image,
                n_classes,
                got,
            } => named!(image, n_classes, got),
            Self::NotFinite { image, class, got } | Self::OutOfRange { image, class, got } => {
                named!(image, class, got)
            }
            Self::Option {
                name,
                expected,
                got,
            } => named!(name, expected, got),
            Self::Length { what, images, got } => named!(what, images, got),
            Self::Empty => named!(),
        }
    }
}

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EvaluationOptions {
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Number of bootstrap resamples; 0 leaves out the intervals that need them.
    pub resamples: usize,
    /// The specificity at which sensitivity is measured, within 0 to 1.
    pub specificity: f64,
    /// Confidence of intervals, between 0 and 1.
    pub confidence: f64,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            resamples: 2000,
            specificity: 0.9,
            confidence: 0.95,
        }
    }
}

/// The metrics of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of images.
    pub n: usize,
    /// The options of the evaluation.
    pub options: EvaluationOptions,
    /// Fraction of images whose predicted class is the true one.
    pub top1: Estimate,
    /// Mean sensitivity of the classes that have images.
    pub balanced_accuracy: Estimate,
    /// Mean F1 of the classes that are true or predicted for any image; F1 is
    /// `2 tp / (2 tp + fp + fn)`.
    pub macro_f1: Estimate,
    /// Expected calibration error: over 15 equal bins of the largest probability, each `(low,
    /// high]`, the mean of |accuracy - mean confidence| weighted by images (Guo et al. 2017).
    pub ece_15_bins: Estimate,
    /// Mean over images of the sum over classes of `(p - [class is true])^2`, in 0 to 2
    /// (Brier 1950). With two classes it is twice scikit-learn's `brier_score_loss`.
    pub brier: Estimate,
    /// One row for each class.
    pub classes: Vec<ClassMetrics>,
    /// `confusion[truth][predicted]` counts images.
    pub confusion: Vec<Vec<u64>>,
    /// The 15 bins behind `ece_15_bins`, lowest confidence first.
    pub reliability: Vec<ReliabilityBin>,
}

/// One class against all others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// Index of the class.
    pub class: usize,
    /// Images of this class.
    pub support: u64,
    /// Images predicted as this class.
    pub predicted: u64,
    /// Fraction of its images that are predicted as it (recall); `None` without images.
    pub sensitivity: Option<Estimate>,
    /// Fraction of other images that are not predicted as it; `None` if there are no others.
    pub specificity: Option<Estimate>,
    /// Fraction of images predicted as it that are it; `None` if there are none.
    pub precision: Option<Estimate>,
    /// `2 tp / (2 tp + fp + fn)`; 0 for a class neither true nor predicted.
    pub f1: f64,
    /// Probability that an image of the class has a higher score than another, ties counted half;
    /// `None` unless there are both.
    pub auc: Option<Estimate>,
    /// Sensitivity at the wanted specificity; `None` unless there are images of the class and
    /// others.
    pub operating_point: Option<OperatingPoint>,
}

/// The best point of a ROC curve at a specificity.
/// Thresholds are the scores themselves: an image is called positive if its score is at least the
/// threshold. Of all thresholds whose specificity is at least the wanted one, this is the one with
/// the highest sensitivity (on scikit-learn's `roc_curve`, the highest `tpr` with `1 - fpr >=
/// specificity`); of several such thresholds, it is the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// The specificity that was asked for.
    pub wanted_specificity: f64,
    /// Specificity at the threshold.
    pub specificity: f64,
    /// Sensitivity at the threshold; each bootstrap resample chooses its own threshold.
    pub sensitivity: Estimate,
    /// The threshold; `None` if no threshold is specific enough and nothing may be called positive.
    pub threshold: Option<f64>,
}

/// One bin of confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Lower end, not in the bin (except for 0 in the first).
    pub low: f64,
    /// Upper end, in the bin.
    pub high: f64,
    /// Images in the bin.
    pub n: u64,
    /// Mean largest probability; `None` in an empty bin.
    pub confidence: Option<f64>,
    /// Fraction of right predictions; `None` in an empty bin.
    pub accuracy: Option<Estimate>,
}

/// Checks labels and probabilities, and returns the probabilities as f64.
pub(super) fn validate<P: Copy + Into<f64>>(
    truth: &[usize],
    probabilities: &[P],
    n_classes: usize,
) -> Result<Vec<f64>, MetricsError> {
    // f32 softmax and sigmoid stay within a few ulp of 0 to 1; half floats within this.
    const ROUNDING: f64 = 1e-3;
    if truth.is_empty() {
        return Err(MetricsError::Empty);
    }
    if n_classes < 2 {
        return Err(MetricsError::TooFewClasses { got: n_classes });
    }
    if truth.len().checked_mul(n_classes) != Some(probabilities.len()) {
        return Err(MetricsError::Shape {
            images: truth.len(),
            n_classes,
            got: probabilities.len(),
        });
    }
    if let Some((image, &got)) = truth.iter().enumerate().find(|(_, t)| **t >= n_classes) {
        return Err(MetricsError::Label {
            image,
            n_classes,
            got,
        });
    }
    let mut values = Vec::with_capacity(probabilities.len());
    for (i, &probability) in probabilities.iter().enumerate() {
        let (image, class, got) = (i / n_classes, i % n_classes, probability.into());
        if !got.is_finite() {
            return Err(MetricsError::NotFinite { image, class, got });
        }
        if !(-ROUNDING..=1.0 + ROUNDING).contains(&got) {
            return Err(MetricsError::OutOfRange { image, class, got });
        }
        values.push(got);
    }
    Ok(values)
}

/// Index of the first of the largest values of each row.
pub(super) fn argmax_rows(probabilities: &[f64], n_classes: usize) -> Vec<usize> {
    probabilities
        .chunks_exact(n_classes)
        .map(|row| {
            let mut best = 0;
            for (class, p) in row.iter().enumerate() {
                if *p > row[best] {
                    best = class;
                }
            }
            best
        })
        .collect()
}

impl EvaluationOptions {
    fn check(&self) -> Result<(), MetricsError> {
        if !(0.0..=1.0).contains(&self.specificity) {
            return Err(MetricsError::Option {
                name: "specificity",
                expected: "0 to 1",
                got: self.specificity,
            });
        }
        check_open_unit("confidence", self.confidence)
    }
}

/// An option between 0 and 1, both excluded.
pub(super) fn check_open_unit(name: &'static str, got: f64) -> Result<(), MetricsError> {
    if got > 0.0 && got < 1.0 {
        return Ok(());
    }
    Err(MetricsError::Option {
        name,
        expected: "more than 0 and less than 1",
        got,
    })
}

/// Measures a model: `truth` has the class of each image, `probabilities` a row of `n_classes` for
/// each image, f32 or f64.
///
/// # Errors
/// [`MetricsError`] if there are no images, if sizes do not match, if a label or an option is out
/// of range, or if a probability is not one.
pub fn evaluate<P: Copy + Into<f64>>(
    truth: &[usize],
    probabilities: &[P],
    n_classes: usize,
    options: &EvaluationOptions,
) -> Result<Evaluation, MetricsError> {
    options.check()?;
    let probabilities = validate(truth, probabilities, n_classes)?;
    let prepared = Prepared::new(truth, &probabilities, n_classes, options.specificity);
    let n = truth.len();
    let ones = vec![1; n];
    let point = prepared.summary(&ones);
    let resampled = resample(n, options.resamples, options.seed, |counts| {
        prepared.summary(counts)
    });
    let boot = |value: f64, pick: &dyn Fn(&Summary) -> Option<f64>| {
        let interval = percentile_interval(resampled.iter().map(pick), options.confidence);
        Estimate {
            value,
            low: interval.map(|i| i.0),
            high: interval.map(|i| i.1),
            method: IntervalMethod::BootstrapPercentile,
        }
    };
    let proportion = |k, n| Estimate::proportion(k, n, options.confidence);

    let confusion = prepared.confusion(&ones);
    let support: Vec<u64> = confusion.iter().map(|row| row.iter().sum()).collect();
    let predicted: Vec<u64> = (0..n_classes)
        .map(|class| confusion.iter().map(|row| row[class]).sum())
        .collect();
    let total = n as u64;
    let right: u64 = (0..n_classes).map(|class| confusion[class][class]).sum();
    let recalls: Vec<(u64, u64)> = (0..n_classes)
        .map(|class| (confusion[class][class], support[class]))
        .collect();

    let classes = (0..n_classes)
        .map(|class| {
            let hit = confusion[class][class];
            let others = total - support[class];
            let false_alarms = predicted[class] - hit;
            ClassMetrics {
                class,
                support: support[class],
                predicted: predicted[class],
                sensitivity: proportion(hit, support[class]),
                specificity: proportion(others - false_alarms, others),
                precision: proportion(hit, predicted[class]),
                f1: scores::f1(hit, support[class], predicted[class]),
                auc: point.auc[class].map(|value| boot(value, &|s| s.auc[class])),
                operating_point: point.operating[class].map(|best| OperatingPoint {
                    wanted_specificity: options.specificity,
                    specificity: best.specificity,
                    sensitivity: boot(best.sensitivity, &|s| {
                        s.operating[class].map(|o| o.sensitivity)
                    }),
                    threshold: best.threshold,
                }),
            }
        })
        .collect();

    let (Some(top1), Some((balanced, low, high))) = (
        proportion(right, total),
        binomial::mean_of_proportions(&recalls, options.confidence),
    ) else {
        return Err(MetricsError::Empty);
    };
    Ok(Evaluation {
        n,
        options: *options,
        top1,
        balanced_accuracy: Estimate {
            value: balanced,
            low: Some(low),
            high: Some(high),
            method: IntervalMethod::MoverWilson,
        },
        macro_f1: boot(point.macro_f1, &|s| Some(s.macro_f1)),
        ece_15_bins: boot(point.ece, &|s| Some(s.ece)),
        brier: boot(point.brier, &|s| Some(s.brier)),
        classes,
        confusion,
        reliability: prepared.reliability(options.confidence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> EvaluationOptions {
        EvaluationOptions {
            resamples: 200,
            ..EvaluationOptions::default()
        }
    }

    #[test]
    fn eight_predictions_summed_by_hand() {
        // Class 0: scores .9 .6 .6 .2 (truth 0), .6 .4 .1 .1 (truth 1).
        let truth = [0, 0, 0, 0, 1, 1, 1, 1];
        let first = [0.9, 0.6, 0.6, 0.2, 0.6, 0.4, 0.1, 0.1];
        let rows: Vec<f64> = first.iter().flat_map(|p| [*p, 1.0 - p]).collect();
        let e = evaluate(&truth, &rows, 2, &quick()).unwrap();
        assert_eq!(e.confusion, [[3, 1], [1, 3]]);
        assert_eq!(e.top1.value, 0.75);
        assert_eq!(e.balanced_accuracy.value, 0.75);
        assert_eq!(e.macro_f1.value, 0.75);
        // Pairs won: .9 beats 4; each .6 beats 3 and ties once; .2 beats 2: 4 + 3.5 + 3.5 + 2.
        assert_eq!(e.classes[0].auc.unwrap().value, 13.0 / 16.0);
        // Squares: .01 .16 .16 .64 .36 .16 .01 .01, twice, over eight.
        assert!((e.brier.value - 2.0 * 1.51 / 8.0).abs() < 1e-12);
        // Specificity of at least .9 of four others allows no false alarm: only .9 is above .6.
        let point = e.classes[0].operating_point.unwrap();
        assert_eq!((point.sensitivity.value, point.specificity), (0.25, 1.0));
        assert_eq!(point.threshold, Some(0.9));
        // Bins (8/15, 9/15]: .6 four times (the one of class 1 right, of truth 0 right twice, one
        // wrong), and so on by accuracy minus confidence.
        let sum: u64 = e.reliability.iter().map(|bin| bin.n).sum();
        assert_eq!((sum, e.reliability[8].n), (8, 4));
        assert_eq!(e.reliability[8].accuracy.unwrap().value, 0.75);
        // .15 * 4 in bin 8; .2 wrong at .8 (1 image): .8; .9 right three times: .3.
        assert!((e.ece_15_bins.value - (0.6 + 0.8 + 0.3) / 8.0).abs() < 1e-12);
    }

    #[test]
    fn absent_classes_and_one_image_are_defined() {
        let e = evaluate(&[1], &[0.1_f32, 0.7, 0.2], 3, &quick()).unwrap();
        assert_eq!(e.top1.value, 1.0);
        assert!(e.top1.low.unwrap() < 0.3);
        assert!(e.classes.iter().all(|c| c.auc.is_none()));
        assert!(e.classes[0].sensitivity.is_none() && e.classes[1].specificity.is_none());
        assert_eq!(e.macro_f1.value, 1.0);
        // One image resamples to itself: an interval of zero width would not mean certainty.
        assert_eq!((e.macro_f1.low, e.brier.high), (None, None));
        assert!(!serde_json::to_string(&e).unwrap().contains("NaN"));
    }

    #[test]
    fn bad_input_is_named() {
        let kind = |truth: &[usize], p: &[f64], classes| {
            evaluate(truth, p, classes, &quick()).unwrap_err().kind()
        };
        assert_eq!(kind(&[], &[], 2), "empty");
        assert_eq!(kind(&[0], &[1.0], 1), "too_few_classes");
        assert_eq!(kind(&[0], &[1.0], 2), "shape");
        assert_eq!(kind(&[0, 1], &[], usize::MAX), "shape");
        assert_eq!(kind(&[2], &[0.5, 0.5], 2), "label");
        assert_eq!(kind(&[1], &[0.5, f64::NAN], 2), "not_finite");
        assert_eq!(kind(&[1], &[-3.0, 4.0], 2), "out_of_range");
        let options = EvaluationOptions {
            confidence: 1.0,
            ..quick()
        };
        let error = evaluate(&[1], &[0.5, 0.5], 2, &options).unwrap_err();
        assert_eq!(error.kind(), "option");
    }
}
