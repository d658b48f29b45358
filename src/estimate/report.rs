//! An estimate as a document: what `dermal estimate --json` prints, without the proof.

use serde::Serialize;

use super::{Estimate, Times, WhatIf};
use crate::memory::estimate::{Facts, State, worst};
use crate::readiness::platforms::Platform;
use crate::readiness::verdict::{DOES_NOT_FIT, Demand, FITS, Verdict};

/// The size of what is deployed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiskBytes {
    /// The program.
    pub program: u64,
    /// The artifact; 0 for the embedded model.
    pub model: u64,
}

/// The limit on memory, and whether the load fits into it.
#[derive(Clone, Debug, Serialize)]
pub struct LimitReport {
    /// The limit in bytes.
    pub bytes: u64,
    /// Where the limit comes from.
    pub from: String,
    /// Whether it fits.
    pub verdict: Verdict,
    /// The rest of the limit; negative if it is exceeded.
    pub margin_bytes: i64,
    /// The same, in percent of the limit.
    pub margin_percent: f64,
    /// Share of the limit up to which a load fits.
    pub fits_up_to: f64,
    /// Share of the limit above which a load does not fit.
    pub does_not_fit_from: f64,
    /// The least budget: with a smaller one the server does not start, or turns the load away.
    pub admission_bytes: u64,
}

impl LimitReport {
    /// A demand under a limit that `from` sets.
    #[must_use]
    pub fn new(bytes: u64, from: impl Into<String>, demand: &Demand) -> Self {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let margin_bytes = signed(bytes) - signed(demand.all_bytes);
        Self {
            bytes,
            from: from.into(),
            verdict: Verdict::of(demand, bytes),
            margin_bytes,
            margin_percent: margin_bytes as f64 / bytes as f64 * 100.0,
            fits_up_to: FITS,
            does_not_fit_from: DOES_NOT_FIT,
            admission_bytes: demand.admission_bytes,
        }
    }
}

/// A state and its sums.
#[derive(Clone, Debug, Serialize)]
pub struct StateReport {
    /// The state and its terms.
    #[serde(flatten)]
    pub state: State,
    /// Resident memory.
    pub resident_bytes: u64,
    /// The part that the kernel cannot take back.
    pub anonymous_bytes: u64,
    /// All memory that counts against a cgroup's limit.
    pub charged_bytes: u64,
}

impl From<State> for StateReport {
    fn from(state: State) -> Self {
        Self {
            resident_bytes: state.resident_bytes(),
            anonymous_bytes: state.anonymous_bytes(),
            charged_bytes: state.charged_bytes(),
            state,
        }
    }
}

/// The state that needs the most memory.
#[derive(Clone, Debug, Serialize)]
pub struct PeakReport {
    /// The activity of the server.
    pub moment: &'static str,
    /// Photos in work.
    pub photos: u64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Memory that the kernel cannot take back, its own included.
    pub unreclaimable_bytes: u64,
    /// All memory that counts against a cgroup's limit.
    pub charged_bytes: u64,
}

/// Wall time of one request and of a cold start, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LatencyReport {
    /// One request on this machine.
    pub here: f64,
    /// One request at the platform's CPU share; absent without a platform.
    pub there: Option<f64>,
    /// That share: 1 is a whole CPU.
    pub cpu_share: Option<f64>,
    /// From start to first answer on this machine.
    pub cold_start_here: f64,
    /// The same at the platform's CPU share.
    pub cold_start_there: Option<f64>,
}

/// An estimate, its limit, and what would change it.
#[derive(Clone, Debug, Serialize)]
pub struct EstimateReport {
    /// The model's name.
    pub model: String,
    /// The size of what is deployed.
    pub disk_bytes: DiskBytes,
    /// The limit; absent if there is none.
    pub limit: Option<LimitReport>,
    /// The platform; absent if none was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The input of the memory arithmetic.
    pub facts: Facts,
    /// Each state of the server.
    pub states: Vec<StateReport>,
    /// The state that needs the most memory.
    pub peak: PeakReport,
    /// The time of each part of a request on this machine.
    pub times: Times,
    /// The time of a request.
    pub latency_ms: LatencyReport,
    /// What a change would save.
    pub what_if: Vec<WhatIf>,
}

impl Estimate {
    /// The whole estimate as a document. `name` is the model's.
    #[must_use]
    pub fn report(
        &self,
        name: impl Into<String>,
        limit: Option<LimitReport>,
        platform: Option<Platform>,
    ) -> EstimateReport {
        let states = self.states();
        let most = worst(&states);
        let peak = PeakReport {
            moment: most.moment.name(),
            photos: most.photos,
            resident_bytes: most.resident_bytes(),
            unreclaimable_bytes: most.unreclaimable_bytes(),
            charged_bytes: most.charged_bytes(),
        };
        EstimateReport {
            model: name.into(),
            disk_bytes: self.disk,
            what_if: self.what_if(limit.as_ref().map(|limit| limit.bytes)),
            limit,
            latency_ms: self.latency(platform.as_ref()),
            platform,
            facts: self.facts,
            states: states.into_iter().map(StateReport::from).collect(),
            peak,
            times: self.times,
        }
    }
}
