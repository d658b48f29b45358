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
        match find(&root, "verdict").and_then(Located::text) {
            Some("worse") => {
                let sentence = find(&root, "sentence").and_then(Located::text);
                out.add(
                    &rules::ACCURACY_WORSE,
                    path,
                    None,
                    sentence.unwrap_or("worse"),
                );
            }
            Some("cannot_tell") => {
                out.add(&rules::ACCURACY_UNDECIDED, path, None, "it cannot tell");
            }
            Some(_) => {}
            None => out.add(&rules::ACCURACY_EVIDENCE, path, None, "it has no `verdict`"),
        }
        if let Some((least, line)) = settings.minimum_top1 {
            let top1 = find(&root, "candidate_top1").or(find(&root, "top1"));
            let value = top1.and_then(|v| v.number().or(v.get("value")?.number()));
            match value {
                Some(value) if value < least => out.add(
                    &rules::ACCURACY_MINIMUM,
                    SETTINGS_FILE,
                    line,
                    format!("top-1 is {value:.3}, expected {least} or more"),
                ),
                Some(_) => {}
                None => out.add(&rules::ACCURACY_EVIDENCE, path, None, "it has no top-1"),
            }
        }
        for (class, least, line) in &settings.sensitivity {
            let value = find(&root, "sensitivity")
                .and_then(|all| all.get(class))
                .and_then(|v| v.number().or(v.get("value")?.number()))
                .or_else(|| sensitivity_of(&root, class));
            match value {
                Some(value) if value < *least => out.add(
                    &rules::ACCURACY_SENSITIVITY,
                    SETTINGS_FILE,
                    *line,
                    format!("`{class}`: {value:.3}, expected {least} or more"),
                ),
                Some(_) => {}
                None => out.add(
                    &rules::ACCURACY_EVIDENCE,
                    path,
                    None,
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
                format!(
                    "the profile of {} is from {}",
                    platform.title, platform.checked
                ),
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

/// The first value of a key, anywhere; outer ones first.
fn find<'a>(root: &'a Located, key: &str) -> Option<&'a Located> {
    if let Some(value) = root.get(key) {
        return Some(value);
    }
    let inside = root.entries().iter().map(|(_, value)| value);
    let mut inside = inside.chain(root.items());
    inside.find_map(|value| find(value, key))
}

/// The sensitivity in a list of classes: `classes: [{label: mel, sensitivity: {value: 0.9}}]`.
fn sensitivity_of(root: &Located, class: &str) -> Option<f64> {
    let named = |value: &Located| {
        ["class", "label", "name"]
            .iter()
            .any(|key| value.get(key).and_then(Located::text) == Some(class))
    };
    if named(root)
        && let Some(value) = root.get("sensitivity")
    {
        return value.number().or_else(|| value.get("value")?.number());
    }
    let inside = root.entries().iter().map(|(_, value)| value);
    let mut inside = inside.chain(root.items());
    inside.find_map(|value| sensitivity_of(value, class))
}
