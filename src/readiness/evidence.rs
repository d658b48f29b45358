//! The known facts about a model's accuracy: the JSON of `dermal compare`, the record in the
//! artifact, or a comparison that the check makes itself.

use super::located::{self, Located};

/// Accuracy of a model on labelled photos, and how it compares with another model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The file of the project that contains it.
    pub file: String,
    /// Its line, if there is one.
    pub line: Option<usize>,
    /// SHA-256 of the model that was judged, if it is known.
    pub sha256: Option<String>,
    /// The comparison with the model that it replaces; absent if it was judged alone.
    pub comparison: Option<Judgement>,
    /// Top-1 accuracy.
    pub top1: Option<f64>,
    /// Classes and the share of their photos that the model finds; absent for a class without
    /// photos.
    pub sensitivity: Vec<(String, Option<f64>)>,
}

/// The verdict on two models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Its name in `dermal compare --json`.
    pub verdict: String,
    /// The verdict as a sentence.
    pub sentence: String,
}

/// Why a text cannot be used as evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, if one line is wrong.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl Evidence {
    /// Reads the JSON of `dermal compare`. The last of its models is the one that is deployed.
    pub(super) fn read(file: &str, text: &str) -> Result<Self, Unreadable> {
        let root = located::json(text).map_err(|error| Unreadable {
            line: Some(error.line),
            message: error.message,
        })?;
        let missing = |what: &str| Unreadable {
            line: None,
            message: format!("it has no {what}"),
        };
        let models = root.get("models").map_or(&[][..], Located::items);
        let model = models.last().ok_or_else(|| missing("`models`"))?;
        let evaluation = model.get("evaluation");
        let comparison = root.get("comparison");
        let said = |key| comparison.and_then(|c| c.get(key)).and_then(Located::text);
        let labels = root.get("labels").map_or(&[][..], Located::items);
        let classes = evaluation.and_then(|e| e.get("classes"));
        let classes = classes.map_or(&[][..], Located::items);
        let sensitivity = labels.iter().zip(classes).filter_map(|(label, class)| {
            Some((label.text()?.to_owned(), estimate(class, "sensitivity")))
        });
        Ok(Self {
            file: file.to_owned(),
            line: None,
            sha256: model
                .get("sha256")
                .and_then(Located::text)
                .map(str::to_owned),
            comparison: said("verdict").map(|verdict| Judgement {
                verdict: verdict.to_owned(),
                sentence: said("sentence").unwrap_or(verdict).to_owned(),
            }),
            top1: evaluation.and_then(|e| estimate(e, "top1")),
            sensitivity: sensitivity.collect(),
        })
    }

    /// The share of a class's photos that the model finds, if it is known.
    pub(super) fn sensitivity_of(&self, class: &str) -> Option<f64> {
        let known = self.sensitivity.iter().find(|(label, _)| label == class);
        known.and_then(|(_, share)| *share)
    }
}

/// The value of an estimate with an interval: `{"value": 0.9, "low": ..., ...}`.
fn estimate(of: &Located, key: &str) -> Option<f64> {
    of.get(key)?.get("value")?.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_model_is_the_one_that_is_judged() {
        let text = r#"{
            "labels": ["mel", "nv"],
            "models": [
                {"evaluation": {"top1": {"value": 0.9}, "classes": []}},
                {"sha256": "ab", "evaluation": {"top1": {"value": 0.8},
                    "classes": [{"sensitivity": {"value": 0.7}}, {"sensitivity": null}]}}
            ],
            "comparison": {"verdict": "worse", "sentence": "Worse."}
        }"#;
        let evidence = Evidence::read("c.json", text).unwrap();
        assert_eq!(evidence.sha256.as_deref(), Some("ab"));
        assert_eq!(evidence.top1, Some(0.8));
        assert_eq!(evidence.sensitivity_of("mel"), Some(0.7));
        assert_eq!(evidence.sensitivity_of("nv"), None);
        assert_eq!(evidence.comparison.unwrap().sentence, "Worse.");
    }

    #[test]
    fn what_is_no_evidence_says_so() {
        assert_eq!(Evidence::read("c.json", "{").unwrap_err().line, Some(1));
        let error = Evidence::read("c.json", r#"{"models": []}"#).unwrap_err();
        assert_eq!(error.message, "it has no `models`");
        let alone = r#"{"models": [{}], "comparison": null}"#;
        assert_eq!(Evidence::read("c.json", alone).unwrap().comparison, None);
    }
}
