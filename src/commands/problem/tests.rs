//! Every public error of the crate, in each of its variants: it has a kind, a next step, and the
//! values of its message.
//!
//! The names of the types and variants, and the templates of the messages, come from the sources, so
//! that a new error without a sample fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Problem;
use crate::commands::CommandError;
use crate::hint::{Arguments, Hint};
use crate::report::ReportError;

mod samples;
mod sources;

/// Errors of one type.
struct Samples {
    type_name: &'static str,
    errors: Vec<Box<dyn Hint>>,
}

impl Samples {
    fn of<E: Hint>(errors: Vec<E>) -> Self {
        let path = std::any::type_name::<E>();
        Self {
            type_name: path.rsplit("::").next().unwrap(),
            errors: errors.into_iter().map(|e| Box::new(e) as _).collect(),
        }
    }
}

/// The variant's name; the type's, if it is a struct.
fn variant(error: &dyn Hint) -> String {
    let shown = format!("{error:?}");
    let end = shown.find(|c: char| !c.is_alphanumeric());
    shown[..end.unwrap_or(shown.len())].to_owned()
}

/// An error with its causes, as `--json` shows it.
fn whole_message(error: &dyn Hint) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message += &format!(": {error}");
        cause = error.source();
    }
    message
}

/// The texts that a message shows of an argument.
fn shown(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(shown).collect(),
        // JSON writes a whole number of a float as `2.0`.
        Value::Number(number) if number.is_f64() => {
            number.as_f64().iter().map(ToString::to_string).collect()
        }
        other => vec![other.to_string()],
    }
}

/// Kinds that several variants of a type share, because documents and scripts know them so.
const SHARED: [(&str, &str); 8] = [
    ("ArtifactError", "head"),
    ("CommandError", "no_photos"),
    ("DatasetError", "unreadable_dataset"),
    ("ExplainError", "gradient"),
    ("HeadError", "graph"),
    ("ImportError", "outputs"),
    ("LabelsError", "label"),
    ("SurveyError", "io"),
];

/// Whether a message does not show an argument as it is: bytes of memory have units there, and a
/// truth value chooses between two wordings.
fn is_reworded(type_name: &str, name: &str, value: &Value) -> bool {
    let bytes = name.ends_with("_bytes") || name == "histograms";
    value.is_boolean() || (type_name == "CompressError" && bytes)
}

#[test]
fn every_public_error_has_samples_of_all_variants() {
    let found = sources::errors();
    assert!(found.len() > 40, "errors not found");
    let samples = samples::all();
    let mut missing = Vec::new();
    for (name, error) in &found {
        let Some(samples) = samples.iter().find(|s| s.type_name == name) else {
            missing.push(format!("{name} ({})", error.file));
            continue;
        };
        let sampled: BTreeSet<_> = samples.errors.iter().map(|e| variant(&**e)).collect();
        for variant in error.templates.keys().filter(|v| !sampled.contains(*v)) {
            missing.push(format!("{name}::{variant} ({})", error.file));
        }
    }
    assert!(missing.is_empty(), "without a sample: {missing:#?}");
    let unknown: Vec<_> = samples
        .iter()
        .filter(|s| !found.contains_key(s.type_name))
        .map(|s| s.type_name)
        .collect();
    assert!(unknown.is_empty(), "no public errors: {unknown:?}");
}

/// Says everything that is wrong, not only the first.
fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_public_error_has_a_kind_and_a_next_step() {
    let mut wrong = Vec::new();
    for Samples { type_name, errors } in samples::all() {
        let mut kinds = BTreeMap::new();
        for error in errors {
            let (name, message) = (variant(&*error), whole_message(&*error));
            let (kind, hint) = (error.kind(), error.hint());
            let mut refuse = |why: &str| {
                wrong.push(format!(
                    "{type_name}::{name} (`{kind}`), `{message}`: {why}"
                ));
            };
            let in_snake_case = kind
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !in_snake_case || !kind.starts_with(|c: char| c.is_ascii_lowercase()) {
                refuse("its kind is not in snake_case");
            }
            let other = kinds.insert(kind, name.clone()).filter(|o| *o != name);
            if let Some(other) = other.filter(|_| !SHARED.contains(&(type_name, kind))) {
                refuse(&format!("`{other}` has the same kind"));
            }
            if hint.len() < 8 || hint.ends_with('.') {
                refuse(&format!("the hint is `{hint}`"));
            }
            if message.contains(&hint) {
                refuse("the hint says the message again");
            }
        }
    }
    report(&wrong);
}

#[test]
fn arguments_are_what_the_message_shows() {
    let mut wrong = Vec::new();
    for Samples { type_name, errors } in samples::all() {
        for error in errors {
            let text = format!("{} {}", whole_message(&*error), error.hint());
            for (name, value) in error.arguments().iter() {
                let is_there = shown(value).iter().all(|part| text.contains(part.as_str()));
                if !is_there && !is_reworded(type_name, name, value) {
                    wrong.push(format!("{type_name}: `{name}` is {value}, in `{text}`"));
                }
            }
        }
    }
    report(&wrong);
}

#[test]
fn messages_show_nothing_but_arguments() {
    let found = sources::errors();
    let mut wrong = Vec::new();
    for Samples { type_name, errors } in samples::all() {
        for error in errors {
            let name = variant(&*error);
            let Some(Some(template)) = found[type_name].templates.get(&name) else {
                continue;
            };
            let message = error.to_string();
            let Some(filled) = sources::filled(template, &message) else {
                wrong.push(format!("{type_name}::{name}: `{message}` of `{template}`"));
                continue;
            };
            let arguments = error.arguments();
            let texts: Vec<String> = arguments.iter().flat_map(|(_, v)| shown(v)).collect();
            let reworded = arguments
                .iter()
                .any(|(name, value)| is_reworded(type_name, name, value));
            for part in filled.into_iter().filter(|part| !part.is_empty()) {
                if !reworded && !texts.iter().any(|text| part.contains(text.as_str())) {
                    wrong.push(format!(
                        "{type_name}::{name}: `{part}` of `{message}` is not among {arguments:?}"
                    ));
                }
            }
        }
    }
    report(&wrong);
}

#[test]
fn a_problem_says_what_was_done_and_why_it_failed() {
    use crate::commands::{Context, Result};

    let failed: Result<(), CommandError> = Err(CommandError::Read {
        path: PathBuf::from("a.csv"),
        source: std::io::Error::other("the disk is gone"),
    });
    let failed = failed.context("cannot count").context("cannot compare");
    let problem = failed.unwrap_err();
    assert_eq!(
        problem.causes(),
        [
            "cannot compare",
            "cannot count",
            "cannot read `a.csv`",
            "the disk is gone"
        ]
    );
    assert_eq!(
        problem.hint(),
        "check the path, and that this user may read it"
    );
    assert_eq!(
        problem.arguments(),
        Arguments::default().with("path", "a.csv")
    );
    assert!(!problem.is_closed_pipe());
    assert!(Problem::from(ReportError::Closed).is_closed_pipe());
}
