//! The result of a trial, as `dermal compare --json` prints it.

use serde::Serialize;

use crate::evaluate::comparison::{Comparison, FlipKind, Subgroup};
use crate::evaluate::metrics::Evaluation;

/// The result of a trial of one or two models.
#[derive(Clone, Debug, Serialize)]
pub struct TrialReport {
    /// Photos that were judged.
    pub photos: usize,
    /// Where they come from, in words.
    pub source: String,
    /// Rows of the table that the filters removed.
    pub filtered_out: usize,
    /// Photos that could not be read, each with the reason.
    pub left_out: Vec<String>,
    /// Names of the classes, in the base's order.
    pub labels: Vec<String>,
    /// Threads of the engine.
    pub threads: usize,
    /// Tier of its kernels.
    pub isa: &'static str,
    /// The one model, or base and candidate.
    pub models: Vec<ModelReport>,
    /// The candidate compared with the base; absent for one model.
    pub comparison: Option<Comparison>,
    /// Photos whose class changed.
    pub flips: Vec<FlippedPhoto>,
    /// How similar the heat maps are; absent if none were compared.
    pub heat_maps: Option<HeatMapAgreement>,
    /// The comparison within each value of some columns.
    pub groups: Vec<GroupReport>,
}

/// One model's share of a [`TrialReport`].
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// Its given name.
    pub path: String,
    /// Bytes of its file; absent until the caller adds it.
    pub bytes: Option<u64>,
    /// SHA-256 of its file, in hexadecimal; absent until the caller adds it.
    pub sha256: Option<String>,
    /// Median time of one inference, interleaved with the other model's on the same photos.
    pub latency_ms: f64,
    /// Peak RSS of a separate process that classifies one of the photos; absent if none was
    /// started.
    pub peak_rss_bytes: Option<u64>,
    /// How good it is.
    pub evaluation: Evaluation,
}

/// How similar the heat maps of two models are: Pearson's correlation of each pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeatMapAgreement {
    /// Photos whose heat maps were compared.
    pub photos: usize,
    /// The median.
    pub median_correlation: f64,
    /// The least.
    pub worst_correlation: f64,
}

impl HeatMapAgreement {
    /// `None` without a correlation.
    pub(super) fn of(correlations: &[f64]) -> Option<Self> {
        let mut sorted = correlations.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            photos: sorted.len(),
            median_correlation: *sorted.get(sorted.len() / 2)?,
            worst_correlation: *sorted.first()?,
        })
    }
}

/// A photo whose class changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlippedPhoto {
    /// Its name in the dataset.
    pub file: String,
    /// Its label.
    pub truth: String,
    /// The base's answer.
    pub base: String,
    /// The candidate's answer.
    pub candidate: String,
    /// How it changed.
    pub kind: FlipKind,
}

/// Two models within each value of a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupReport {
    /// The column.
    pub column: String,
    /// Its values, in the order of their names.
    pub groups: Vec<Subgroup>,
}
