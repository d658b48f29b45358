//! Which platform and which file to choose, cheapest first, and why each cheaper choice fails.

use serde::Serialize;

use super::{Estimate, EstimateError, deployment, what_if};
use crate::memory::estimate::Facts;
use crate::readiness::calendar::Date;
use crate::readiness::platforms::{self, Platform};
use crate::readiness::verdict::Verdict;
use crate::units::Millis;

/// Longest answer that people wait for, in milliseconds: ten seconds keep attention (Nielsen,
/// "Response times: the 3 important limits").
const PATIENCE_MS: f64 = 10_000.0;

/// A platform that is up for less than this share of the time is not recommended.
const UPTIME_PERCENT: f64 = 99.0;

/// The name of the unchanged file.
const AS_IT_IS: &str = "as it is";

/// Every platform with the first file that fits it, or with every file if none does.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// The model's name.
    pub model: String,
    /// Cheapest first.
    pub choices: Vec<Choice>,
    /// Index of the first choice without an objection; absent if there is none.
    pub chosen: Option<usize>,
}

/// A platform with a file.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// The platform's short name.
    pub platform: String,
    /// The file: unchanged, or the command that makes it.
    pub file: String,
    /// The price.
    pub usd_per_month: f64,
    /// All memory in the worst state.
    pub peak_bytes: u64,
    /// The platform's memory.
    pub limit_bytes: u64,
    /// Whether it fits.
    pub verdict: Verdict,
    /// Wall time of one request there.
    pub latency_ms: f64,
    /// The known uptime; absent if no source says that the platform is ever off.
    pub uptime_percent: Option<f64>,
    /// Whether it stops when there are no requests.
    pub sleeps: bool,
    /// Whether it opens a private network.
    pub exposes_home: bool,
    /// The objections; empty if there are none.
    pub against: Vec<String>,
}

impl Choice {
    /// Whether the choice uses the file that was estimated.
    #[must_use]
    pub fn is_present_file(&self) -> bool {
        self.file == AS_IT_IS
    }
}

impl Estimate {
    /// Compares all platforms. `name` is the model's; `today` shows which facts are old.
    ///
    /// # Errors
    /// [`EstimateError::Platforms`].
    pub fn advise(&self, name: impl Into<String>, today: Date) -> Result<Advice, EstimateError> {
        let mut files = vec![(AS_IT_IS.to_owned(), self.facts)];
        files.extend(what_if::halves_and_bytes(&self.model, &self.facts));
        let mut platforms = platforms::all()?;
        platforms.sort_by(|a, b| a.usd.value.total_cmp(&b.usd.value));
        let mut choices = Vec::new();
        for platform in &platforms {
            // The present file costs no accuracy: smaller files are considered only if it does not
            // fit.
            for (file, facts) in &files {
                let choice = self.choice(platform, file, facts, today);
                let fits = choice.verdict == Verdict::Fits;
                choices.push(choice);
                if fits {
                    break;
                }
            }
        }
        Ok(Advice {
            model: name.into(),
            chosen: choices.iter().position(|choice| choice.against.is_empty()),
            choices,
        })
    }

    fn choice(&self, platform: &Platform, file: &str, facts: &Facts, today: Date) -> Choice {
        let demand = deployment::demand(facts);
        let limit_bytes = platform.ram_bytes();
        let verdict = Verdict::of(&demand, limit_bytes);
        let latency_ms = self.latency(Some(platform)).there.unwrap_or(f64::NAN);
        let mut against = Vec::new();
        if !platform.runs_servers {
            against.push("the platform runs no servers of your own".to_owned());
        }
        match verdict {
            Verdict::Fits => {}
            Verdict::Tight => against.push(format!(
                "tight: {} of {}",
                mb(demand.all_bytes),
                mb(limit_bytes)
            )),
            Verdict::DoesNotFit => against.push(format!(
                "does not fit: {} of {}",
                mb(demand.least_bytes()),
                mb(limit_bytes)
            )),
        }
        let patience = platform
            .request_s
            .map_or(PATIENCE_MS, |s| PATIENCE_MS.min(s.value * 1e3));
        if latency_ms > patience {
            against.push(format!(
                "a photo takes {} at {} CPU",
                Millis(latency_ms),
                platform.cpu.value
            ));
        }
        let uptime = platform.uptime_percent.map(|p| p.value);
        if uptime.is_some_and(|percent| percent < UPTIME_PERCENT) {
            against.push("it is often not reachable".to_owned());
        }
        if platform.exposes_home {
            against.push("it opens a private network to strangers".to_owned());
        }
        if platform.is_stale(today) {
            against.push(format!(
                "its facts are old ({}): check them",
                platform.checked
            ));
        }
        Choice {
            platform: platform.name.clone(),
            file: file.to_owned(),
            usd_per_month: platform.usd.value,
            peak_bytes: demand.all_bytes,
            limit_bytes,
            verdict,
            latency_ms,
            uptime_percent: uptime,
            sleeps: platform.sleeps_after_s.is_some(),
            exposes_home: platform.exposes_home,
            against,
        }
    }
}

/// Bytes as platforms count them: `118.3 MB` is 118,300,000.
fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
