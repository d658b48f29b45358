//! The parts of the check that hold numbers to limits: accuracy by the evidence of `dermal
//! compare`, memory and time by an estimate.

use super::located::{self, Located};
use super::project::{Project, SETTINGS_FILE};
use super::rules::{self, Findings};
use super::verdict::Verdict;
use crate::suggest;

impl Project {
    pub(super) fn accuracy(&self, out: &mut Findings) {
        let settings = &self.settings;
        let Some((path, line)) = &settings.evidence else {
            return;
        };
        let Some(text) = self.text(path) else {
            out.add(
                &rules::ACCURACY_EVIDENCE,
                SETTINGS_FILE,
                *line,
                format!("there is no `{}`", suggest::shorten(path)),
            );
            return;
        };
        let root = match located::json(text) {
            Ok(root) => root,
            Err(error) => {
                out.add(&rules::ACCURACY_EVIDENCE, path, error.line, error.message);
                return;
            }
        };
        let unreadable = |out: &mut Findings, message: String| {
            out.add(&rules::ACCURACY_EVIDENCE, path, None, message);
        };
        let comparison = root.get("comparison");
        let said = |key| comparison.and_then(|c| c.get(key)).and_then(Located::text);
        match said("verdict") {
            Some("worse") => out.add(
                &rules::ACCURACY_WORSE,
                path,
                None,
                said("sentence").unwrap_or("worse"),
            ),
            Some("cannot_tell") => out.add(
                &rules::ACCURACY_UNDECIDED,
                path,
                None,
                said("sentence").unwrap_or("it cannot tell"),
            ),
            Some(_) => {}
            None => unreadable(out, "it compares no two models".to_owned()),
        }
        // The candidate, which is the last of the models, is what is deployed.
        let evaluation = root
            .get("models")
            .and_then(|models| models.items().last()?.get("evaluation"));
        if let Some((least, line)) = settings.minimum_top1 {
            match evaluation.and_then(|e| estimate(e, "top1")) {
                Some(value) if value < least => out.add(
                    &rules::ACCURACY_MINIMUM,
                    SETTINGS_FILE,
                    line,
                    format!("top-1 is {value:.3}, expected {least} or more"),
                ),
                Some(_) => {}
                None => unreadable(out, "it has no top-1".to_owned()),
            }
        }
        let labels = root.get("labels").map_or(&[][..], Located::items);
        for (class, least, line) in &settings.sensitivity {
            let value = labels
                .iter()
                .position(|label| label.text() == Some(class))
                .and_then(|i| evaluation?.get("classes")?.items().get(i))
                .and_then(|class| estimate(class, "sensitivity"));
            match value {
                Some(value) if value < *least => out.add(
                    &rules::ACCURACY_SENSITIVITY,
                    SETTINGS_FILE,
                    *line,
                    format!("`{class}`: {value:.3}, expected {least} or more"),
                ),
                Some(_) => {}
                None => unreadable(
                    out,
                    format!("it has no sensitivity of `{}`", suggest::shorten(class)),
                ),
            }
        }
    }

    pub(super) fn resources(&self, out: &mut Findings) {
        let Some((platform, stale)) = &self.platform else {
            return;
        };
        let line = self.settings.platform_line;
        if *stale {
            out.add(
                &rules::PLATFORM_STALE,
                SETTINGS_FILE,
                line,
                platform.age_in_words(),
            );
        }
        if !platform.runs_servers {
            out.add(
                &rules::PLATFORM_NO_SERVERS,
                SETTINGS_FILE,
                line,
                platform.title.clone(),
            );
        }
        let Some(resources) = &self.resources else {
            return;
        };
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let ram = mb(platform.ram_bytes());
        let rule = match resources.verdict {
            Verdict::Fits => None,
            Verdict::Tight => Some((&rules::MEMORY_TIGHT, resources.peak_bytes)),
            Verdict::DoesNotFit => Some((&rules::MEMORY_DOES_NOT_FIT, resources.must_fit_bytes)),
        };
        if let Some((rule, bytes)) = rule {
            out.add(
                rule,
                SETTINGS_FILE,
                line,
                format!(
                    "{:.0} of {ram:.0} MB with {} photos at once",
                    mb(bytes),
                    self.settings.concurrency
                ),
            );
        }
        let seconds = resources.latency_ms / 1e3;
        let timeout = platform.request_s.map(|s| s.value);
        if timeout.is_some_and(|timeout| seconds > timeout) {
            out.add(
                &rules::LATENCY_REQUEST,
                SETTINGS_FILE,
                line,
                format!(
                    "a photo takes {seconds:.1} s, requests end after {} s",
                    timeout.unwrap_or(0.0)
                ),
            );
        } else if seconds > self.settings.max_latency_s {
            out.add(
                &rules::LATENCY_SLOW,
                SETTINGS_FILE,
                line,
                format!("a photo takes {seconds:.1} s at {} CPU", platform.cpu.value),
            );
        }
        let start = platform.start_s.or(platform.health_s).map(|s| s.value);
        let cold = resources.cold_start_ms / 1e3;
        if start.is_some_and(|start| cold > start) {
            out.add(
                &rules::COLD_START,
                SETTINGS_FILE,
                line,
                format!(
                    "it takes {cold:.1} s to start, {} s are given",
                    start.unwrap_or(0.0)
                ),
            );
        }
        if platform
            .disk_bytes()
            .is_some_and(|disk| resources.disk_bytes > disk)
        {
            out.add(
                &rules::DISK,
                SETTINGS_FILE,
                line,
                format!("{:.0} MB", mb(resources.disk_bytes)),
            );
        }
        if let (Some(ms), Some(patience)) = (resources.health_ms, platform.health_s)
            && ms / 1e3 > patience.value
        {
            let (seconds, given) = (ms / 1e3, patience.value);
            out.add(
                &rules::HEALTH_SLOW,
                SETTINGS_FILE,
                line,
                format!(
                    "`/health` took {seconds:.1} s while {} photos were computed, {given} s are given",
                    self.settings.concurrency
                ),
            );
        }
        if resources.proved == Some(false) {
            out.add(
                &rules::PROOF_FAILED,
                SETTINGS_FILE,
                line,
                platform.title.clone(),
            );
        }
    }
}

/// The value of an estimate with an interval: `{"value": 0.9, "low": ..., ...}`.
fn estimate(of: &Located, key: &str) -> Option<f64> {
    of.get(key)?.get("value")?.number()
}
