//! Is the candidate as good as the base on the same images?
//!
//! **The rule**, in this order. `low..high` is Tango's interval of the difference of top-1
//! (candidate minus base) at `1 - 2 alpha`, which matches two one-sided tests at `alpha`:
//!
//! 1. [`Verdict::Equivalent`]: both tests reject, `-margin < low` and `high < margin`.
//! 2. [`Verdict::Better`]: `0 < low`.
//! 3. [`Verdict::NotWorse`]: `-margin < low`. A loss beyond the margin is ruled out, a gain is not.
//! 4. [`Verdict::Worse`]: `high < -margin`; or the observed loss is the margin or more and the
//!    exact McNemar test rejects "no difference" at `alpha`.
//! 5. [`Verdict::CannotTell`] otherwise, with the number of images that would settle it
//!    ([`images_needed`]).
//!
//! Top-1 alone decides. Subgroups are shown with their intervals and flagged. Of many small groups
//! some will lose a margin by chance, so a flag does not change the verdict.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::metrics::{MetricsError, argmax_rows, check_open_unit, validate};
use super::statistics::binomial::mcnemar_exact;
use super::statistics::paired::{PairedTable, Tost, images_needed, tango_interval};
use super::statistics::{Estimate, IntervalMethod};

/// The criteria for the verdict on two models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Criteria {
    /// The largest loss of top-1 that is accepted, as a fraction: 0.01 is one point.
    pub margin: f64,
    /// Level of each test.
    pub alpha: f64,
    /// Confidence of reported intervals.
    pub confidence: f64,
}

impl Default for Criteria {
    fn default() -> Self {
        Self {
            margin: 0.01,
            alpha: 0.05,
            confidence: 0.95,
        }
    }
}

impl Criteria {
    fn check(&self) -> Result<(), MetricsError> {
        check_open_unit("margin", self.margin)?;
        check_open_unit("confidence", self.confidence)?;
        if self.alpha > 0.0 && self.alpha < 0.5 {
            return Ok(());
        }
        Err(MetricsError::Option {
            name: "alpha",
            expected: "more than 0 and less than 0.5",
            got: self.alpha,
        })
    }
}

/// The verdict; the module's documentation has the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The difference is smaller than the margin, either way.
    Equivalent,
    /// The candidate is right more often.
    Better,
    /// The loss is smaller than the margin, if there is one.
    NotWorse,
    /// The candidate is right less often, by more than the margin.
    Worse,
    /// These images do not decide it.
    CannotTell {
        /// The number of images that would, with a power of 80 %; `None` if no number below 10^9
        /// would.
        needed: Option<u64>,
    },
}

impl Verdict {
    /// The verdict on a table; `None` without images, or for a margin or level out of range.
    #[must_use]
    pub fn of(table: &PairedTable, margin: f64, alpha: f64) -> Option<Self> {
        let tost = Tost::new(table, margin, alpha)?;
        Some(Self::from_tost(&tost, table))
    }

    fn from_tost(tost: &Tost, table: &PairedTable) -> Self {
        if tost.equivalent() {
            return Self::Equivalent;
        }
        if tost.low > 0.0 {
            return Self::Better;
        }
        if tost.not_inferior() {
            return Self::NotWorse;
        }
        let loses = table.difference() <= -tost.margin;
        let p = mcnemar_exact(table.right_to_wrong, table.wrong_to_right);
        if tost.high < -tost.margin || (loses && p < tost.alpha) {
            return Self::Worse;
        }
        Self::CannotTell {
            needed: images_needed(table, tost.margin, tost.alpha),
        }
    }

    /// Its name in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Equivalent => "equivalent",
            Self::Better => "better",
            Self::NotWorse => "not_worse",
            Self::Worse => "worse",
            Self::CannotTell { .. } => "cannot_tell",
        }
    }

    /// Whether the candidate may replace the base.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Equivalent | Self::Better | Self::NotWorse)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equivalent => "equivalent",
            Self::Better => "better",
            Self::NotWorse => "not worse",
            Self::Worse => "worse",
            Self::CannotTell { .. } => "cannot tell",
        })
    }
}

/// How an image changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipKind {
    /// Right to wrong.
    RightToWrong,
    /// Wrong to right.
    WrongToRight,
    /// Wrong to a different wrong class.
    WrongToWrong,
}

/// An image that the two models put into different classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// Index of the image.
    pub image: usize,
    /// Its class.
    pub truth: usize,
    /// The base's prediction.
    pub base: usize,
    /// The candidate's prediction.
    pub candidate: usize,
    /// How it changed.
    pub kind: FlipKind,
}

/// How far probabilities moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// Mean |dp| over all images and classes.
    pub mean_abs_dp: f64,
    /// Largest |dp|.
    pub max_abs_dp: f64,
    /// Image of the largest |dp|.
    pub max_image: usize,
    /// Mean |dp| of the base's predicted class.
    pub mean_abs_dp_top1: f64,
}

/// Two models on the same images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Number of images.
    pub n: usize,
    /// The criteria.
    pub criteria: Criteria,
    /// Top-1 of the base.
    pub base_top1: Estimate,
    /// Top-1 of the candidate.
    pub candidate_top1: Estimate,
    /// Candidate minus base.
    pub difference: Estimate,
    /// Fraction of images that both put into the same class, right or wrong.
    pub agreement: Estimate,
    /// Counts behind the tests.
    pub table: PairedTable,
    /// Two-sided p of the exact McNemar test.
    pub mcnemar_p: f64,
    /// Equivalence within the margin.
    pub tost: Tost,
    /// Images whose predicted class changed, in order.
    pub flips: Vec<Flip>,
    /// How far probabilities moved.
    pub drift: Drift,
    /// The answer.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The answer in a sentence.
    pub sentence: String,
}

/// Compares two models. `truth` has the class of each image; `base` and `candidate` have a row of
/// `n_classes` probabilities for each image.
///
/// # Errors
/// [`MetricsError`] as for [`evaluate`](super::metrics::evaluate).
pub fn compare<P: Copy + Into<f64>>(
    truth: &[usize],
    base: &[P],
    candidate: &[P],
    n_classes: usize,
    criteria: &Criteria,
) -> Result<Comparison, MetricsError> {
    criteria.check()?;
    let base = validate(truth, base, n_classes)?;
    let candidate = validate(truth, candidate, n_classes)?;
    let base_class = argmax_rows(&base, n_classes);
    let candidate_class = argmax_rows(&candidate, n_classes);
    let table = paired_table(truth, &base_class, &candidate_class);
    let flips = flips(truth, &base_class, &candidate_class);
    let n = table.n();
    let confidence = criteria.confidence;
    let (Some(tops), Some(agreement), Some(tost)) = (
        tops(&table, confidence),
        Estimate::proportion(n - flips.len() as u64, n, confidence),
        Tost::new(&table, criteria.margin, criteria.alpha),
    ) else {
        return Err(MetricsError::Empty);
    };
    let verdict = Verdict::from_tost(&tost, &table);
    Ok(Comparison {
        n: truth.len(),
        criteria: *criteria,
        base_top1: tops.base,
        candidate_top1: tops.candidate,
        difference: tops.difference,
        agreement,
        table,
        mcnemar_p: mcnemar_exact(table.right_to_wrong, table.wrong_to_right),
        tost,
        flips,
        drift: drift(&base, &candidate, n_classes, &base_class),
        verdict,
        sentence: sentence(&verdict, &tost, &table),
    })
}

fn paired_table(truth: &[usize], base: &[usize], candidate: &[usize]) -> PairedTable {
    let mut table = PairedTable::default();
    for ((t, b), c) in truth.iter().zip(base).zip(candidate) {
        let cell = match (b == t, c == t) {
            (true, true) => &mut table.both_right,
            (true, false) => &mut table.right_to_wrong,
            (false, true) => &mut table.wrong_to_right,
            (false, false) => &mut table.both_wrong,
        };
        *cell += 1;
    }
    table
}

fn flips(truth: &[usize], base: &[usize], candidate: &[usize]) -> Vec<Flip> {
    let images = truth.iter().zip(base).zip(candidate).enumerate();
    images
        .filter(|(_, ((_, b), c))| b != c)
        .map(|(image, ((&truth, &base), &candidate))| Flip {
            image,
            truth,
            base,
            candidate,
            kind: match (base == truth, candidate == truth) {
                (true, _) => FlipKind::RightToWrong,
                (false, true) => FlipKind::WrongToRight,
                (false, false) => FlipKind::WrongToWrong,
            },
        })
        .collect()
}

fn drift(base: &[f64], candidate: &[f64], n_classes: usize, base_class: &[usize]) -> Drift {
    let (mut sum, mut top_sum) = (0.0, 0.0);
    let (mut max_abs_dp, mut max_image) = (0.0, 0);
    let rows = base
        .chunks_exact(n_classes)
        .zip(candidate.chunks_exact(n_classes));
    for (image, (b, c)) in rows.enumerate() {
        for (class, (b, c)) in b.iter().zip(c).enumerate() {
            let change = (b - c).abs();
            sum += change;
            if class == base_class[image] {
                top_sum += change;
            }
            if change > max_abs_dp {
                (max_abs_dp, max_image) = (change, image);
            }
        }
    }
    Drift {
        mean_abs_dp: sum / base.len() as f64,
        max_abs_dp,
        max_image,
        mean_abs_dp_top1: top_sum / base_class.len() as f64,
    }
}

/// Both accuracies and their difference.
struct Tops {
    base: Estimate,
    candidate: Estimate,
    difference: Estimate,
}

fn tops(table: &PairedTable, confidence: f64) -> Option<Tops> {
    let n = table.n();
    let (low, high) = tango_interval(table, confidence)?;
    Some(Tops {
        base: Estimate::proportion(table.both_right + table.right_to_wrong, n, confidence)?,
        candidate: Estimate::proportion(table.both_right + table.wrong_to_right, n, confidence)?,
        difference: Estimate {
            value: table.difference(),
            low: Some(low),
            high: Some(high),
            method: IntervalMethod::Tango,
        },
    })
}

/// Points of accuracy with a sign: `-0.52`.
fn points(fraction: f64) -> String {
    // Adding zero turns -0.0 into 0.0.
    format!("{:+.2}", 100.0 * fraction + 0.0)
}

/// The number to two digits, rounded up: nobody can plan for exactly 6,941 images.
fn about(images: u64) -> u64 {
    let mut unit = 1;
    while images / unit >= 100 {
        unit *= 10;
    }
    images.div_ceil(unit) * unit
}

fn sentence(verdict: &Verdict, tost: &Tost, table: &PairedTable) -> String {
    let margin = match 100.0 * tost.margin {
        1.0 => "1 point".to_owned(),
        points => format!("{points} points"),
    };
    let confidence = 100.0 * (1.0 - 2.0 * tost.alpha);
    let facts = format!(
        "top-1 differs by {} points ({confidence:.0} % interval {} to {}) on {} images",
        points(table.difference()),
        points(tost.low),
        points(tost.high),
        table.n(),
    );
    match verdict {
        Verdict::Equivalent => {
            format!("Equivalent: {facts}, within the margin of {margin} either way.")
        }
        Verdict::Better => format!("Better: {facts}, and the whole interval is a gain."),
        Verdict::NotWorse => {
            format!("Not worse: {facts}, so a loss of {margin} is ruled out.")
        }
        Verdict::Worse => format!("Worse: {facts}, against a margin of {margin}."),
        Verdict::CannotTell {
            needed: Some(needed),
        } => format!(
            "Cannot tell: {facts}, too wide for a margin of {margin}; it would need \
             about {} images.",
            about(*needed)
        ),
        Verdict::CannotTell { needed: None } => format!(
            "Cannot tell: {facts}, which equals the margin of {margin}; no number of \
             images would settle it."
        ),
    }
}

/// One value of a group column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subgroup {
    /// The value.
    pub group: String,
    /// Its images.
    pub n: u64,
    /// Top-1 of the base on them.
    pub base_top1: Estimate,
    /// Top-1 of the candidate on them.
    pub candidate_top1: Estimate,
    /// Candidate minus base, with an interval that a small group makes wide.
    pub difference: Estimate,
    /// Counts behind it.
    pub table: PairedTable,
    /// The observed loss is more than the margin.
    pub flagged: bool,
    /// The whole interval is a loss: more than chance in a small group explains (without a
    /// correction for the number of groups).
    pub loss_is_clear: bool,
}

/// Compares two models within each group, in the order of group names. `base` and `candidate`
/// are predicted classes; `groups` has the name of each image's group.
///
/// # Errors
/// [`MetricsError::Empty`] without images, [`MetricsError::Length`] if lists differ in length,
/// [`MetricsError::Option`] for criteria out of range.
pub fn subgroups<S: AsRef<str>>(
    groups: &[S],
    truth: &[usize],
    predictions: Predictions<'_>,
    criteria: &Criteria,
) -> Result<Vec<Subgroup>, MetricsError> {
    criteria.check()?;
    let images = truth.len();
    if images == 0 {
        return Err(MetricsError::Empty);
    }
    let Predictions { base, candidate } = predictions;
    for (what, got) in [
        ("group names", groups.len()),
        ("predictions of the base", base.len()),
        ("predictions of the candidate", candidate.len()),
    ] {
        if got != images {
            return Err(MetricsError::Length { what, images, got });
        }
    }
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (image, group) in groups.iter().enumerate() {
        members.entry(group.as_ref()).or_default().push(image);
    }
    let pick = |from: &[usize], of: &[usize]| of.iter().map(|i| from[*i]).collect::<Vec<_>>();
    let rows = members.into_iter().filter_map(|(group, of)| {
        let table = paired_table(&pick(truth, &of), &pick(base, &of), &pick(candidate, &of));
        let tops = tops(&table, criteria.confidence)?;
        Some(Subgroup {
            group: group.to_owned(),
            n: table.n(),
            base_top1: tops.base,
            candidate_top1: tops.candidate,
            difference: tops.difference,
            table,
            flagged: table.difference() < -criteria.margin,
            loss_is_clear: tops.difference.high.is_some_and(|high| high < 0.0),
        })
    });
    Ok(rows.collect())
}

/// Predicted classes of both models.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// The base's.
    pub base: &'a [usize],
    /// The candidate's.
    pub candidate: &'a [usize],
}

impl Comparison {
    /// Subgroup rows of a comparison: [`subgroups`] with the predictions of the same matrices.
    ///
    /// # Errors
    /// As [`subgroups`], and [`MetricsError`] for matrices that do not fit.
    pub fn subgroups<S: AsRef<str>, P: Copy + Into<f64>>(
        &self,
        groups: &[S],
        truth: &[usize],
        base: &[P],
        candidate: &[P],
    ) -> Result<Vec<Subgroup>, MetricsError> {
        let n_classes = base.len() / truth.len().max(1);
        let base = argmax_rows(&validate(truth, base, n_classes)?, n_classes);
        let candidate = argmax_rows(&validate(truth, candidate, n_classes)?, n_classes);
        let predictions = Predictions {
            base: &base,
            candidate: &candidate,
        };
        subgroups(groups, truth, predictions, &self.criteria)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;

    fn table(n: u64, right_to_wrong: u64, wrong_to_right: u64) -> PairedTable {
        PairedTable {
            both_right: n - right_to_wrong - wrong_to_right,
            right_to_wrong,
            wrong_to_right,
            both_wrong: 0,
        }
    }

    #[test]
    fn each_verdict_has_its_case() {
        let of = |n, lost, won| Verdict::of(&table(n, lost, won), 0.01, 0.05).unwrap();
        assert_eq!(of(5000, 10, 12), Verdict::Equivalent);
        assert_eq!(of(1000, 0, 40), Verdict::Better);
        assert_eq!(of(1000, 10, 16), Verdict::NotWorse);
        assert_eq!(of(1000, 60, 5), Verdict::Worse);
        assert!(matches!(of(193, 3, 2), Verdict::CannotTell { needed: Some(n) } if n > 193));
        assert!(matches!(of(1, 0, 0), Verdict::CannotTell { .. }));
        // One image with a wrong answer does not show a loss yet.
        assert!(matches!(of(1, 1, 0), Verdict::CannotTell { .. }));
        assert_eq!(of(20, 20, 0), Verdict::Worse);
        assert!(Verdict::of(&table(0, 0, 0), 0.01, 0.05).is_none());
    }

    #[test]
    fn four_images_by_hand() {
        let truth = [0, 0, 1, 2];
        let base = [0.8, 0.1, 0.1, 0.5, 0.3, 0.2, 0.6, 0.3, 0.1, 0.7, 0.2, 0.1];
        let candidate = [0.7, 0.2, 0.1, 0.3, 0.5, 0.2, 0.2, 0.7, 0.1, 0.2, 0.7, 0.1];
        let c = compare(&truth, &base, &candidate, 3, &Criteria::default()).unwrap();
        assert_eq!(
            c.table,
            PairedTable {
                both_right: 1,
                right_to_wrong: 1,
                wrong_to_right: 1,
                both_wrong: 1
            }
        );
        let kinds: Vec<_> = c.flips.iter().map(|f| (f.image, f.kind)).collect();
        assert_eq!(
            kinds,
            [
                (1, FlipKind::RightToWrong),
                (2, FlipKind::WrongToRight),
                (3, FlipKind::WrongToWrong)
            ]
        );
        assert_eq!((c.agreement.value, c.mcnemar_p), (0.25, 1.0));
        // |dp| sums to .2 + .4 + .8 + 1.0 over twelve; of the top class .1 + .2 + .4 + .5 over 4.
        assert!((c.drift.mean_abs_dp - 0.2).abs() < 1e-12);
        assert!((c.drift.mean_abs_dp_top1 - 0.3).abs() < 1e-12);
        assert!((c.drift.max_abs_dp - 0.5).abs() < 1e-12 && c.drift.max_image == 3);
        assert!(
            c.sentence
                .starts_with("Cannot tell: top-1 differs by +0.00 points")
        );
        assert!(
            serde_json::to_string(&c)
                .unwrap()
                .contains(r#""verdict":"cannot_tell""#)
        );

        let rows = c
            .subgroups(&["f", "m", "f", "m"], &truth, &base, &candidate)
            .unwrap();
        let seen: Vec<_> = rows.iter().map(|r| (&*r.group, r.n, r.flagged)).collect();
        assert_eq!(seen, [("f", 2, false), ("m", 2, true)]);
        assert!(!rows[1].loss_is_clear, "one image of two is chance");
        let error = c.subgroups(&["f"], &truth, &base, &candidate).unwrap_err();
        assert_eq!(error.kind(), "length");
    }

    #[test]
    fn bad_criteria_are_named() {
        for (margin, alpha) in [(0.0, 0.05), (0.01, 0.5), (f64::NAN, 0.05)] {
            let criteria = Criteria {
                margin,
                alpha,
                ..Criteria::default()
            };
            let rows = [0.5, 0.5];
            let error = compare(&[0], &rows, &rows, 2, &criteria).unwrap_err();
            assert_eq!(error.kind(), "option");
        }
    }

    #[test]
    fn needed_images_are_rounded_up_to_two_digits() {
        assert_eq!(
            [about(7), about(268), about(6941), about(100)],
            [7, 270, 7000, 100]
        );
    }
}
