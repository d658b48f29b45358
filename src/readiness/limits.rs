//! The parts of the check that compare numbers with limits: accuracy from evidence, memory and time
//! from an estimate.

use super::evidence::Evidence;
use super::project::{ModelReport, Project, SETTINGS_FILE};
use super::rules::{self, Findings};
use super::verdict::Verdict;
use crate::text as suggest;

impl Project {
    /// The known accuracy of the model that dermal.yaml names: measured now, or else from the file
    /// that dermal.yaml names, or else from the artifact.
    fn evidence(&self, out: &mut Findings) -> Option<Evidence> {
        if let Some(measured) = &self.measured {
            return Some(measured.clone());
        }
        let Some((path, line)) = &self.settings.evidence else {
            let (model, _) = self.settings.model.as_ref()?;
            return self.models.get(model)?.evidence().cloned();
        };
        let Some(text) = self.text(path) else {
            out.add(
                &rules::ACCURACY_EVIDENCE,
                SETTINGS_FILE,
                *line,
                format!("there is no `{}`", suggest::shorten(path)),
            );
            return None;
        };
        let read = Evidence::read(path, text).map_err(|error| {
            out.add(&rules::ACCURACY_EVIDENCE, path, error.line, error.message);
        });
        let evidence = read.ok()?;
        if evidence.comparison.is_none() {
            out.add(
                &rules::ACCURACY_EVIDENCE,
                path,
                None,
                "it compares no two models",
            );
        }
        Some(evidence)
    }

    pub(super) fn accuracy(&self, out: &mut Findings) {
        let settings = &self.settings;
        let promised = settings.minimum_top1.map(|(_, line)| line);
        let promised = promised.or(settings.sensitivity.first().map(|(_, _, line)| *line));
        let Some(evidence) = self.evidence(out) else {
            // If a named one cannot be read, there is a finding about that.
            if let (Some(line), None) = (promised, &settings.evidence) {
                out.add(
                    &rules::ACCURACY_EVIDENCE,
                    SETTINGS_FILE,
                    line,
                    "dermal.yaml requires an accuracy, and there is no evidence of it",
                );
            }
            return;
        };
        let (file, line) = (evidence.file.as_str(), evidence.line);
        let judged = settings
            .model
            .as_ref()
            .and_then(|(m, _)| self.models.get(m));
        if let (Some(of), Some(ModelReport::Loaded { sha256, .. })) = (&evidence.sha256, judged)
            && !of.eq_ignore_ascii_case(sha256)
        {
            out.add(
                &rules::ACCURACY_OTHER_FILE,
                file,
                line,
                format!("it judges {}, the model has {sha256}", suggest::shorten(of)),
            );
        }
        if let Some(judgement) = &evidence.comparison {
            let rule = match judgement.verdict.as_str() {
                "worse" => Some(&rules::ACCURACY_WORSE),
                "cannot_tell" => Some(&rules::ACCURACY_UNDECIDED),
                _ => None,
            };
            if let Some(rule) = rule {
                out.add(rule, file, line, judgement.sentence.clone());
            }
        }
        let unknown = |out: &mut Findings, what: String| {
            out.add(&rules::ACCURACY_EVIDENCE, file, line, what);
        };
        if let Some((least, line)) = settings.minimum_top1 {
            match evidence.top1 {
                Some(value) if value < least => out.add(
                    &rules::ACCURACY_MINIMUM,
                    SETTINGS_FILE,
                    line,
                    format!("top-1 is {value:.3}, expected {least} or more"),
                ),
                Some(_) => {}
                None => unknown(out, "it has no top-1".to_owned()),
            }
        }
        for (class, least, line) in &settings.sensitivity {
            match evidence.sensitivity_of(class) {
                Some(value) if value < *least => out.add(
                    &rules::ACCURACY_SENSITIVITY,
                    SETTINGS_FILE,
                    *line,
                    format!("`{class}`: {value:.3}, expected {least} or more"),
                ),
                Some(_) => {}
                None => unknown(
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
                    "it takes {cold:.1} s to start, the limit is {} s",
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
                    "`/health` took {seconds:.1} s while {} photos were computed, the limit is {given} s",
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
