//! Errors of evaluation, of the server and the checks, and of the commands.

use super::super::Samples;
use super::{
    io, load, lower, missing_input, no_map, no_number, no_platform, no_text, not_finite, syntax,
    text,
};
use crate::artifact::{ArtifactError, LoadError};
use crate::classifier::ClassifierError;
use crate::commands::CommandError;
use crate::compress::CompressError;
use crate::estimate::EstimateError;
use crate::evaluate::dataset::DatasetError;
use crate::evaluate::metrics::MetricsError;
use crate::evaluate::pass::PassError;
use crate::evaluate::trial::TrialError;
use crate::graph::GraphError;
use crate::memory::sandbox::SandboxError;
use crate::predict::PredictError;
use crate::probe::ProbeError;
use crate::prove::ProveError;
use crate::quantize::QuantizeError;
use crate::quantize::weights::WeightsError;
use crate::readiness::platforms::PlatformError;
use crate::readiness::settings::SettingsError;
use crate::serve::ServeError;
use crate::survey::SurveyError;

pub(super) fn evaluation() -> Vec<Samples> {
    vec![
        Samples::of(vec![
            MetricsError::Empty,
            MetricsError::TooFewClasses { got: 1 },
            MetricsError::Shape {
                images: 3,
                n_classes: 2,
                got: 5,
            },
            MetricsError::Label {
                image: 4,
                n_classes: 2,
                got: 9,
            },
            MetricsError::NotFinite {
                image: 4,
                class: 1,
                got: f64::NAN,
            },
            MetricsError::OutOfRange {
                image: 4,
                class: 1,
                got: 1.5,
            },
            MetricsError::Option {
                name: "confidence",
                expected: "0 to 1",
                got: 2.5,
            },
            MetricsError::Length {
                what: "labels",
                images: 3,
                got: 2,
            },
        ]),
        Samples::of(vec![
            PassError::Threads(io()),
            PassError::Unreadable {
                photo: text("a.jpg: it is empty"),
                count: 2,
                allowed: 1,
            },
        ]),
        datasets(),
        Samples::of(vec![
            TrialError::NoPhotos,
            TrialError::NoLabel {
                photo: text("a.jpg"),
            },
            TrialError::NothingRead,
            TrialError::ClassesOverlap {
                model: text("m.safetensors"),
            },
            TrialError::OtherClasses {
                base: text("a"),
                only_base: vec![text("bcc")],
                candidate: text("b"),
                only_candidate: vec![text("nv")],
            },
            TrialError::Group(DatasetError::UnknownColumn {
                column: text("sex"),
                hint: text("known: age"),
            }),
            TrialError::Rows {
                model: text("a"),
                source: syntax(),
            },
            PassError::Threads(io()).into(),
            TrialError::Photo {
                photo: "a.jpg".into(),
                source: not_finite(),
            },
            ClassifierError::Engine(lower()).into(),
            MetricsError::Empty.into(),
        ]),
        Samples::of(vec![
            CompressError::AlreadyInt8,
            CompressError::HalfWeights,
            CompressError::NoPhotos,
            CompressError::NoLabel {
                photo: text("a.jpg"),
            },
            CompressError::UnknownLayer {
                name: text("fd"),
                nearest: Some(text("fc")),
            },
            CompressError::LayerWithoutWeights {
                name: text("relu"),
                nearest: None,
            },
            CompressError::Memory {
                needed_bytes: 3_000_000,
                allowed_bytes: 2_000_000,
                parts: vec![("histograms", 1_000_000)],
                decode_bytes: 500_000,
            },
            CompressError::Rows(syntax()),
            PassError::Threads(io()).into(),
            CompressError::Photo {
                photo: "a.jpg".into(),
                source: QuantizeError::Value { layer: text("fc") },
            },
            QuantizeError::NothingObserved.into(),
            WeightsError::NotPacked {
                node: text("fc"),
                tensor: text("fc/kernel"),
            }
            .into(),
            PredictError::Model(text("it has no photo")).into(),
            lower().into(),
        ]),
    ]
}

fn datasets() -> Samples {
    Samples::of(vec![
        DatasetError::Io {
            path: "photos".into(),
            source: io(),
        },
        DatasetError::Text(no_text()),
        DatasetError::Empty,
        DatasetError::NoRows,
        DatasetError::NotATable("a PDF"),
        DatasetError::TooLong { limit: 100 },
        DatasetError::TooManyColumns { line: 3, limit: 64 },
        DatasetError::TooManyCells { line: 3 },
        DatasetError::NotUtf8 {
            line: 3,
            what: "it is UTF-16",
        },
        DatasetError::Csv {
            line: 3,
            detail: text("a quote is open"),
        },
        DatasetError::Ragged {
            line: 3,
            expected: 5,
            got: 4,
        },
        DatasetError::MissingColumn {
            column: "file",
            hint: text("name it `file`"),
        },
        DatasetError::ColumnTwice {
            column: text("sex"),
        },
        DatasetError::UnknownColumn {
            column: text("sez"),
            hint: text("known: sex"),
        },
        DatasetError::NoFile { line: 3 },
        DatasetError::NoLabel { line: 3 },
        DatasetError::UnknownLabel {
            line: 3,
            label: text("bbc"),
            hint: text("known: bcc"),
        },
        DatasetError::Duplicate {
            file: text("a.jpg"),
            lines: [3, 5],
        },
        DatasetError::Conflict {
            file: text("a.jpg"),
            lines: [3, 5],
            labels: [text("bcc"), text("nv")],
        },
        DatasetError::MissingFiles {
            folder: "photos".into(),
            first: vec![text("line 2: a.jpg"), text("line 3: b.jpg")],
            missing: 4,
            total: 9,
            hint: text("name the folder"),
        },
        syntax(),
        DatasetError::NoTable {
            folder: "photos".into(),
            filter: text("sex=f"),
        },
        DatasetError::NothingLeft {
            filter: text("sex=x"),
            rows: 9,
            values: vec![text("f"), text("m")],
        },
        DatasetError::NoPhotos {
            folder: "photos".into(),
            folders: vec![text("train")],
        },
        DatasetError::Mixed {
            folder: "photos".into(),
            photos: 2,
            first: text("a.jpg"),
            class: text("bcc"),
        },
        DatasetError::Unlabelled {
            folder: "photos".into(),
            photos: 2,
        },
        DatasetError::UnknownClassFolder {
            folder: text("bbc"),
            hint: text("known: bcc"),
        },
        DatasetError::TwoFolders {
            first: text("BCC"),
            second: text("bcc"),
            label: text("Bcc"),
        },
        DatasetError::Fields {
            place: text("line 3 (a.jpg)"),
            source: no_number(),
        },
        missing_input().into(),
    ])
}

pub(super) fn program() -> Vec<Samples> {
    vec![
        Samples::of(vec![
            no_platform(),
            PlatformError::Data(text("line 3: a tab")),
        ]),
        Samples::of(vec![SettingsError {
            line: 3,
            message: text("no such setting"),
        }]),
        Samples::of(vec![
            SandboxError::NotAvailable(text("no controller")),
            SandboxError::Limit {
                path: "/sys/fs/cgroup/a".into(),
                value: text("512"),
                source: io(),
            },
        ]),
        Samples::of(vec![
            ProbeError::Silent {
                url: text("http://host"),
                source: Box::new(ureq::Error::HostNotFound),
            },
            ProbeError::Folder {
                path: "photos".into(),
                source: io(),
            },
            ProbeError::NoPhotos,
            ProbeError::Url(text("host")),
        ]),
        Samples::of(vec![
            ServeError::Bind {
                address: ([127, 0, 0, 1], 80).into(),
                source: io(),
            },
            ServeError::Start(io()),
            ServeError::RedisUrl,
            ServeError::RedisCa,
            ServeError::KeysFile {
                path: "keys".into(),
                source: io(),
            },
            ServeError::RedisCaFile {
                path: "ca.pem".into(),
                source: io(),
            },
            ServeError::NoModel {
                path: "m.safetensors".into(),
                is_folder: false,
            },
            ServeError::Model(text("it is damaged")),
            ServeError::Budget {
                budget: 100,
                needed: 200,
            },
        ]),
        Samples::of(vec![
            load().into(),
            EstimateError::ImageSize {
                height: 10,
                width: 20,
                source: GraphError::Empty,
            },
            lower().into(),
            not_finite().into(),
            EstimateError::Classifier(ClassifierError::Bytes(ArtifactError::TooShort { got: 5 })),
            no_map().into(),
            EstimateError::Photo(io()),
            no_platform().into(),
        ]),
        Samples::of(vec![
            EstimateError::Photo(io()).into(),
            ProveError::Guard(io()),
            ProveError::Server(io()),
            ProveError::End(io()),
        ]),
        surveys(),
        commands(),
    ]
}

fn surveys() -> Samples {
    Samples::of(vec![
        SurveyError::NotAFile {
            path: "dermal.yaml".into(),
        },
        SurveyError::Settings {
            path: "dermal.yaml".into(),
            error: SettingsError {
                line: 3,
                message: text("no such setting"),
            },
        },
        SurveyError::Read {
            path: "a".into(),
            source: io(),
        },
        SurveyError::ReadFolder {
            folder: "a".into(),
            source: io(),
        },
        SurveyError::TooLong {
            path: "a".into(),
            most: 100,
        },
        SurveyError::NotText { path: "a".into() },
        SurveyError::TooManyFiles {
            folder: "a".into(),
            most: 100,
        },
        SurveyError::NotInProject {
            line: 3,
            path: text("photos"),
        },
        SurveyError::Accuracy {
            line: 3,
            source: Box::new(SurveyError::Load(load())),
        },
        SurveyError::Photos {
            path: "photos".into(),
            source: DatasetError::Empty,
        },
        syntax().into(),
        LoadError {
            source: ArtifactError::SoftmaxOfOne,
            ..load()
        }
        .into(),
        TrialError::NothingRead.into(),
        no_platform().into(),
        EstimateError::Photo(io()).into(),
        ProveError::End(io()).into(),
    ])
}

fn commands() -> Samples {
    Samples::of(vec![
        CommandError::Read {
            path: "a".into(),
            source: io(),
        },
        CommandError::ReadFolder {
            folder: "a".into(),
            source: io(),
        },
        CommandError::EmptyFolder { folder: "a".into() },
        CommandError::EmptySet {
            path: "a".into(),
            wanted: "labelled photos with `--fixtures`",
        },
        CommandError::NoReportForm { path: "a".into() },
        CommandError::NothingToImport,
        CommandError::NoPhoto,
        CommandError::TwoModels {
            old: "a".into(),
            model: "b".into(),
        },
        CommandError::Unclassified {
            failed: 2,
            photos: 9,
        },
        CommandError::ClassWithoutGradient { method: "eigencam" },
        CommandError::OneMap {
            option: text("--gradcam"),
            path: "a.png".into(),
            extension: text("png"),
        },
        CommandError::MapTwice {
            path: "a.png".into(),
        },
        CommandError::WeightsOnly { to: "fp16" },
        CommandError::NothingToCalibrate {
            option: "--calibrate",
        },
        CommandError::NoCalibration,
        CommandError::NoSettings { path: "a".into() },
        CommandError::NoProject { folder: "a".into() },
        CommandError::SettingsExist { path: "a".into() },
        CommandError::NoKeys { path: "a".into() },
        CommandError::KeysTooLong { path: "a".into() },
        CommandError::ShortKey { least: 8 },
        CommandError::GeneratedPhoto(image::ImageError::IoError(io())),
        CommandError::ManualPage(io()),
        CommandError::NoProgram,
        CommandError::ProofPart {
            step: "cannot enter the cgroup",
            source: io(),
        },
    ])
}
