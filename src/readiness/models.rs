//! Rules about the artifacts of a project: the served one is the one that was checked, it loads,
//! and it still gives the same answers.

use super::judge::Served;
use super::project::{ModelReport, Project, SETTINGS_FILE};
use super::rules::{self, Findings};
use crate::text as suggest;

/// Longer than any sentence of the import; the artifact may come from elsewhere.
const MAX_WARNING: usize = 240;

impl Project {
    pub(super) fn models(&self, served: &[Served], out: &mut Findings) {
        let settings = &self.settings;
        for served in served {
            let Some(own) = served.own() else { continue };
            let (file, line) = (&served.place.file, served.place.line);
            if let Some((wanted, _)) = &settings.model
                && wanted != own
            {
                let what = format!("`{own}` is served, {SETTINGS_FILE} checks `{wanted}`");
                out.add(&rules::MODEL_NOT_SERVED, file, line, what);
            }
            self.better_file(own, served, out);
        }
        if let Some((model, line)) = &settings.model {
            if !self.files.contains_key(model) {
                out.add(
                    &rules::MODEL_MISSING,
                    SETTINGS_FILE,
                    *line,
                    format!("there is no `{}`", suggest::shorten(model)),
                );
            }
            self.pinned(model, out);
        }
        for (path, report) in &self.models {
            let used = served
                .iter()
                .filter_map(Served::own)
                .chain(settings.model.as_ref().map(|(model, _)| model.as_str()))
                .any(|model| model == path);
            if used {
                self.artifact(path, report, out);
            }
        }
        for golden in &self.golden {
            let what = match &golden.got {
                Err(reason) => format!("`{}`: {reason}", golden.image),
                Ok((class, _)) if *class != golden.expected => {
                    format!(
                        "`{}` is `{class}`, expected `{}`",
                        golden.image, golden.expected
                    )
                }
                Ok((_, probability)) => match golden.at_least {
                    Some(least) if *probability < least => format!(
                        "`{}`: `{}` has {probability:.3}, expected {least} or more",
                        golden.image, golden.expected
                    ),
                    _ => continue,
                },
            };
            out.add(
                &rules::MODEL_GOLDEN,
                SETTINGS_FILE,
                settings.golden_line,
                what,
            );
        }
    }

    /// Finds a quantized file that was made from the served one and is not used.
    fn better_file(&self, own: &str, served: &Served, out: &mut Findings) {
        let Some(ModelReport::Loaded {
            sha256,
            quantized: None,
            ..
        }) = self.models.get(own)
        else {
            return;
        };
        for (path, report) in &self.models {
            if let ModelReport::Loaded {
                quantized: Some(to),
                base_sha256: Some(base),
                ..
            } = report
                && base == sha256
            {
                out.add(
                    &rules::MODEL_QUANTIZED_UNUSED,
                    &served.place.file,
                    served.place.line,
                    format!("`{path}` ({to}) was made from `{own}`, which is served"),
                );
            }
        }
    }

    fn pinned(&self, model: &str, out: &mut Findings) {
        let Some(ModelReport::Loaded { sha256, labels, .. }) = self.models.get(model) else {
            return;
        };
        match &self.settings.sha256 {
            None => out.add(
                &rules::MODEL_UNPINNED,
                SETTINGS_FILE,
                None,
                format!("`sha256: {sha256}` is missing"),
            ),
            Some((pinned, line)) if !pinned.eq_ignore_ascii_case(sha256) => out.add(
                &rules::MODEL_HASH,
                SETTINGS_FILE,
                *line,
                format!("`{model}` has {sha256}"),
            ),
            Some(_) => {}
        }
        if let Some((wanted, line)) = &self.settings.labels
            && wanted != labels
        {
            out.add(
                &rules::MODEL_LABELS,
                SETTINGS_FILE,
                *line,
                format!("the artifact has {}", suggest::shorten(&labels.join(", "))),
            );
        }
    }

    fn artifact(&self, path: &str, report: &ModelReport, out: &mut Findings) {
        if self.files.get(path).is_some_and(|file| file.lfs_pointer) {
            out.add(
                &rules::MODEL_LFS_POINTER,
                path,
                None,
                "it is a git-LFS pointer",
            );
            return;
        }
        match report {
            ModelReport::Invalid { reason } => {
                out.add(&rules::MODEL_INVALID, path, None, reason.clone());
            }
            ModelReport::Loaded {
                labels,
                raw_pixels,
                warnings,
                quantized,
                ..
            } => {
                let placeholder = |(i, label): (usize, &String)| *label == format!("class_{i}");
                if !labels.is_empty() && labels.iter().enumerate().all(placeholder) {
                    out.add(
                        &rules::MODEL_LABELS_PLACEHOLDER,
                        path,
                        None,
                        format!("its classes are {}", suggest::shorten(&labels.join(", "))),
                    );
                }
                if *raw_pixels {
                    out.add(
                        &rules::MODEL_PREPROCESSING,
                        path,
                        None,
                        "its preprocessing is `raw`",
                    );
                }
                for (kind, message) in warnings {
                    let rule = match kind.as_str() {
                        "scaled_twice" | "not_scaled" => &rules::MODEL_SCALING,
                        "assumed_softmax" => &rules::MODEL_HEAD_ASSUMED,
                        // The artifact itself shows labels, preprocessing and self-test.
                        _ => continue,
                    };
                    out.add(rule, path, None, suggest::shorten_to(message, MAX_WARNING));
                }
                if quantized.is_some() && self.has_settings && !self.is_compared(path, report) {
                    out.add(
                        &rules::ACCURACY_NO_EVIDENCE,
                        path,
                        None,
                        "it is quantized, and nothing compares it with what it was made from",
                    );
                }
            }
        }
    }

    /// Whether the project compares a model with the one that it replaces.
    fn is_compared(&self, path: &str, report: &ModelReport) -> bool {
        let settings = &self.settings;
        let own = report.evidence();
        let named = settings
            .model
            .as_ref()
            .is_some_and(|(model, _)| model == path);
        let measured = self.measured.as_ref().filter(|_| named);
        settings.evidence.is_some()
            || [own, measured]
                .into_iter()
                .flatten()
                .any(|e| e.comparison.is_some())
    }
}
