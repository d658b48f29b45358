//! The result for each photo, as JSON and for people.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::HeatMapQuestion;
use crate::classifier::Answer;
use crate::commands::{Problem, fields::FieldsRecord};
use crate::explain::HeatMap;
use crate::file::Output;
use crate::hint::{Arguments, Hint};
use crate::predict::{Photo, PredictError};
use crate::report::{self, Align, Table, bar, percent};
use crate::units::Millis;

/// Milliseconds, rounded as in JSON.
pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema_version: u32,
    pub(super) model: String,
    /// How extra inputs were made from fields; absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fields: Option<FieldsRecord>,
    pub(super) images: Vec<Record>,
    /// `VmHWM` of this process.
    pub(super) peak_rss_bytes: Option<u64>,
}

/// The result for one photo.
#[derive(Serialize)]
pub(super) struct Record {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top1: Option<String>,
    /// Every class, likeliest first.
    predictions: Vec<ClassRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gradcam: Option<GradcamRecord>,
    pub(super) timing_ms: TimingRecord,
}

#[derive(Serialize)]
pub(super) struct ErrorRecord {
    kind: &'static str,
    message: String,
    hint: String,
    /// The values in the message, so that it can be said in another language.
    #[serde(skip_serializing_if = "Arguments::is_empty")]
    arguments: Arguments,
}

#[derive(Serialize)]
pub(super) struct ClassRecord {
    class: String,
    index: usize,
    probability: f32,
}

#[derive(Serialize)]
pub(super) struct GradcamRecord {
    layer: String,
    /// Absent for methods that do not depend on a class.
    class: Option<String>,
    method: &'static str,
    /// The picture.
    path: Option<String>,
    raw_map_path: Option<String>,
    /// Rows and columns of the map before it is enlarged.
    map_size: [usize; 2],
    /// Whether nothing on the map supports the class.
    blank: bool,
}

#[derive(Default, Serialize)]
pub(super) struct TimingRecord {
    pub(super) decode: f64,
    preprocess: f64,
    inference: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gradcam: Option<f64>,
    pub(super) total: f64,
}

impl GradcamRecord {
    pub(super) fn new(
        wanted: &HeatMapQuestion,
        answer: &Answer<'_>,
        map: &HeatMap,
        files: [Option<&Output>; 2],
    ) -> Self {
        let [path, raw_map_path] = files.map(|file| Some(file?.path().display().to_string()));
        let class = wanted.method.needs_gradient().then(|| match wanted.class {
            Some(class) => answer.labels()[class].clone(),
            None => answer.label().to_owned(),
        });
        Self {
            layer: answer.layer().unwrap_or_default().to_owned(),
            class,
            method: wanted.method.name(),
            path,
            raw_map_path,
            map_size: [map.height, map.width],
            blank: map.is_blank(),
        }
    }
}

impl Record {
    pub(super) fn new(path: &Path, photo: &Photo, answer: &Answer<'_>) -> Self {
        let prediction = answer.prediction();
        let class = |(index, probability): (usize, f32)| ClassRecord {
            class: answer.labels()[index].clone(),
            index,
            probability,
        };
        let timing = prediction.timing;
        Self {
            path: path.display().to_string(),
            error: None,
            width: Some(photo.width()),
            height: Some(photo.height()),
            top1: Some(answer.label().to_owned()),
            predictions: prediction.ranked().into_iter().map(class).collect(),
            gradcam: None,
            timing_ms: TimingRecord {
                decode: ms(timing.decode),
                preprocess: ms(timing.preprocess),
                inference: ms(timing.inference),
                ..TimingRecord::default()
            },
        }
    }

    pub(super) fn failed(path: &Path, problem: &Problem) -> Self {
        let kind = problem.find().map(PredictError::kind);
        Self {
            path: path.display().to_string(),
            error: Some(ErrorRecord {
                kind: kind.unwrap_or("heat_map"),
                message: problem.causes().join(": "),
                hint: problem.hint(),
                arguments: problem.arguments(),
            }),
            width: None,
            height: None,
            top1: None,
            predictions: Vec::new(),
            gradcam: None,
            timing_ms: TimingRecord::default(),
        }
    }

    /// One line for each photo, if there are several.
    pub(super) fn line(&self) -> String {
        let best = self.predictions.first();
        let best = best.map(|b| format!("{:<12} {:>8}", b.class, percent(b.probability)));
        format!(
            "{}  {}",
            best.unwrap_or_default(),
            report::printable(&self.path)
        )
    }

    pub(super) fn table(&self, top: usize) -> String {
        let mut table = Table::new(&[
            ("class", Align::Left),
            ("probability", Align::Right),
            ("", Align::Left),
        ]);
        for class in self.predictions.iter().take(top) {
            let p = class.probability;
            table.row([class.class.as_str(), &percent(p), &bar(p, 30)]);
        }
        let mut text = format!("{}\n\n{table}", report::printable(&self.path));
        let hidden = self.predictions.len().saturating_sub(top);
        if hidden > 0 {
            let all = self.predictions.len();
            text.push_str(&format!("({hidden} more with `--top {all}`)\n"));
        }
        if let Some(map) = &self.gradcam {
            text += &map.text();
        }
        let t = &self.timing_ms;
        let parts = [
            ("decode", Some(t.decode)),
            ("preprocess", Some(t.preprocess)),
            ("inference", Some(t.inference)),
            ("heat map", t.gradcam),
        ];
        let shown = parts
            .into_iter()
            .filter_map(|(name, ms)| Some((name, Millis(ms?))));
        let shown: Vec<String> = shown.map(|(name, ms)| format!("{name} {ms}")).collect();
        text += &format!("\n{} ({})\n", Millis(t.total), shown.join(", "));
        text
    }
}

impl GradcamRecord {
    fn text(&self) -> String {
        let of = self
            .class
            .as_ref()
            .map_or(String::new(), |class| format!(" of `{class}`"));
        let mut text = String::new();
        for path in self.path.iter().chain(&self.raw_map_path) {
            text += &format!(
                "\nheat map{of}: {} ({} at `{}`, {} x {})",
                report::printable(path),
                self.method,
                report::printable(&self.layer),
                self.map_size[0],
                self.map_size[1],
            );
        }
        text.push('\n');
        if self.blank {
            text += "The map is blank: nothing at this layer supports the class.\n";
        }
        text
    }
}
