//! Why models cannot be judged on a set of photos.

use std::path::PathBuf;

use super::DatasetError;
use crate::classifier::ClassifierError;
use crate::evaluate::metrics::MetricsError;
use crate::evaluate::pass::PassError;
use crate::hint::{Arguments, Hint, named};
use crate::predict::PredictError;

/// Why models cannot be judged on a set of photos.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The dataset is empty.
    #[error("there are no photos")]
    NoPhotos,
    /// A photo has no label.
    #[error("photo `{photo}` has no label")]
    NoLabel {
        /// As the dataset names it.
        photo: String,
    },
    /// Every photo was left out.
    #[error("no photo could be read")]
    NothingRead,
    /// Accuracy needs classes that exclude each other.
    #[error("the classes of `{model}` do not exclude each other")]
    ClassesOverlap {
        /// The model's name.
        model: String,
    },
    /// The models have different classes.
    #[error(
        "the models have different classes: only `{base}` has {only_base:?}, only `{candidate}` has \
         {only_candidate:?}"
    )]
    OtherClasses {
        /// The base's name.
        base: String,
        /// Labels that the candidate lacks.
        only_base: Vec<String>,
        /// The candidate's name.
        candidate: String,
        /// Labels that the base lacks.
        only_candidate: Vec<String>,
    },
    /// The column to group by does not exist.
    #[error("the photos cannot be grouped")]
    Group(#[source] DatasetError),
    /// The table's rows do not give a model its inputs.
    #[error("cannot use the photos for `{model}`")]
    Rows {
        /// The model's name.
        model: String,
        /// What is missing.
        source: DatasetError,
    },
    /// A pass over the photos ended early.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A model has no answer for a photo.
    #[error("photo `{}`", photo.display())]
    Photo {
        /// Its file.
        photo: PathBuf,
        /// Why.
        source: PredictError,
    },
    /// A model cannot be prepared to answer.
    #[error(transparent)]
    Model(#[from] ClassifierError),
    /// The answers of the models cannot be evaluated.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl Hint for TrialError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NoPhotos => "no_photos",
            Self::NoLabel { .. } => "no_label",
            Self::NothingRead => "no_photo_readable",
            Self::ClassesOverlap { .. } => "classes_overlap",
            Self::OtherClasses { .. } => "other_classes",
            Self::Group(source) | Self::Rows { source, .. } => source.kind(),
            Self::Pass(error) => error.kind(),
            Self::Photo { source, .. } => source.kind(),
            Self::Model(error) => error.kind(),
            Self::Metrics(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoPhotos | Self::NoLabel { .. } => {
                "give labelled photos with `--fixtures`".to_owned()
            }
            Self::NothingRead => "the warnings above say why".to_owned(),
            Self::ClassesOverlap { .. } => {
                "accuracy and its tests are for models that answer with one class; judge each \
                 class of this one as a separate model"
                    .to_owned()
            }
            Self::OtherClasses { .. } => {
                "compare models of the same classes; labels are given when importing".to_owned()
            }
            Self::Group(source) | Self::Rows { source, .. } => source.hint(),
            Self::Pass(error) => error.hint(),
            Self::Photo { source, .. } => source.hint(),
            Self::Model(error) => error.hint(),
            Self::Metrics(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NoLabel { photo } => named!(photo),
            Self::ClassesOverlap { model } => named!(model),
            Self::OtherClasses {
                base,
                only_base,
                candidate,
                only_candidate,
            } => named!(base, only_base, candidate, only_candidate),
            Self::Group(error) => error.arguments(),
            Self::Rows { model, source } => named!(model).and(source),
            Self::Pass(error) => error.arguments(),
            Self::Photo { photo, source } => named!(photo).and(source),
            Self::Model(error) => error.arguments(),
            Self::Metrics(error) => error.arguments(),
            Self::NoPhotos | Self::NothingRead => named!(),
        }
    }
}
