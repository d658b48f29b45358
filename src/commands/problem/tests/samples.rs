//! An error of each variant, with values that a message can be searched for.

use std::io;

use super::Samples;
use crate::artifact::{
    self, ArtifactError, ByteCount, FieldMappingError, LoadError, ModelSource, PreprocessingError,
};
use crate::classifier::ClassifierError;
use crate::commands::CommandError;
use crate::compress::CompressError;
use crate::engine::{EngineError, LowerError};
use crate::estimate::EstimateError;
use crate::evaluate::dataset::DatasetError;
use crate::evaluate::metrics::MetricsError;
use crate::evaluate::pass::PassError;
use crate::evaluate::trial::TrialError;
use crate::explain::ExplainError;
use crate::file::GuardError;
use crate::file::atomic::AtomicError;
use crate::graph::{ExposeError, GraphError, ShapeError, StorageError, WeightError};
use crate::import::head::HeadError;
use crate::import::labels::LabelsError;
use crate::import::{ImportError, ModelError, OutputChoice, Place};
use crate::kernels::{IsaError, KernelError, ProgramError, ThreadsError};
use crate::layer_check::LayerCheckError;
use crate::memory::sandbox::SandboxError;
use crate::predict::decode::Format;
use crate::predict::selftest::{RecordError, SelfTestError};
use crate::predict::{DecodeError, FieldError, InputError, PredictError};
use crate::probe::ProbeError;
use crate::prove::ProveError;
use crate::quantization::Quantization;
use crate::quantize::QuantizeError;
use crate::quantize::weights::{WeightType, WeightsError};
use crate::readiness::platforms::PlatformError;
use crate::readiness::settings::SettingsError;
use crate::reference::ReferenceError;
use crate::report::ReportError;
use crate::serve::ServeError;
use crate::survey::SurveyError;
use crate::tensor::{DType, Shape, TensorError};
use crate::text::{SyntaxError, SyntaxKind, TextError};

pub(super) fn all() -> Vec<Samples> {
    let mut all = ground();
    all.extend(graphs());
    all.extend(engine());
    all.extend(photos());
    all.extend(artifacts());
    all.extend(imports());
    all.extend(evaluation());
    all.extend(program());
    all
}

fn io() -> io::Error {
    io::Error::other("the disk is gone")
}

fn json() -> serde_json::Error {
    serde_json::from_str::<u8>("x").unwrap_err()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims)
}

fn busy() -> AtomicError {
    AtomicError::Busy("out.png".into())
}

fn weight() -> WeightError {
    WeightError {
        node: text("fc"),
        key: text("fc/bias"),
    }
}

fn tensor() -> TensorError {
    TensorError::Alignment {
        offset: 3,
        dtype: DType::F32,
    }
}

fn kernel() -> KernelError {
    KernelError::Geometry {
        what: "stride",
        got: text("0"),
        rule: "it must be positive",
    }
}

fn lower() -> EngineError {
    EngineError::Lower {
        node: text("conv1"),
        op: "Conv",
        source: kernel().into(),
    }
}

fn damaged() -> DecodeError {
    DecodeError::Corrupt {
        format: Format::Png,
        detail: text("no header"),
    }
}

fn missing_input() -> InputError {
    InputError::Missing {
        name: text("patient"),
        expected: 3,
    }
}

fn no_number() -> FieldError {
    FieldError::NotANumber {
        field: text("age"),
        got: text("old"),
    }
}

fn not_finite() -> PredictError {
    PredictError::NotFinite {
        index: 4,
        value: f32::NAN,
    }
}

fn load() -> LoadError {
    LoadError {
        from: ModelSource::File("model.safetensors".into()),
        source: ArtifactError::NotAFile,
    }
}

fn no_map() -> ExplainError {
    ExplainError::NoMap
}

fn no_platform() -> PlatformError {
    PlatformError::Unknown(text("moon"))
}

fn syntax() -> DatasetError {
    DatasetError::FilterSyntax { text: text("sex") }
}

fn no_text() -> TextError {
    TextError::Missing("a.yaml".into())
}

fn ground() -> Vec<Samples> {
    let syntax = |kind| SyntaxError {
        line: 3,
        column: 7,
        message: text("a tab in the indent"),
        kind,
    };
    vec![
        Samples::of(vec![
            AtomicError::NoFileName("..".into()),
            AtomicError::IsFolder("photos".into()),
            AtomicError::NotRegular("/dev/null".into()),
            AtomicError::NoFolder("a/b".into()),
            busy(),
            AtomicError::Io {
                path: "a".into(),
                source: io(),
            },
        ]),
        Samples::of(vec![
            GuardError::Read {
                output: "./m".into(),
                option: text("-o"),
                what: "the model",
                input: "m".into(),
            },
            GuardError::Twice {
                output: "m".into(),
                first: text("-o"),
                second: text("--report"),
            },
            busy().into(),
        ]),
        Samples::of(vec![
            syntax(SyntaxKind::Invalid),
            syntax(SyntaxKind::Refused),
            syntax(SyntaxKind::TooLarge),
        ]),
        Samples::of(vec![
            no_text(),
            TextError::Directory("photos".into()),
            TextError::Io {
                path: "a".into(),
                source: io(),
            },
            TextError::TooLong {
                path: "a".into(),
                limit: 65_536,
            },
            TextError::Encoding {
                path: "a".into(),
                line: 3,
                what: "it is UTF-16",
            },
            TextError::NotText {
                path: "a".into(),
                what: "a PNG image",
            },
        ]),
        Samples::of(vec![
            TensorError::ByteCount {
                shape: shape(&[2, 3]),
                dtype: DType::F32,
                expected: 24,
                got: 20,
            },
            TensorError::Range {
                start: 8,
                end: 16,
                len: 12,
            },
            tensor(),
        ]),
        Samples::of(vec![
            ReportError::Closed,
            ReportError::Io(io()),
            ReportError::Json(json()),
        ]),
    ]
}

fn graphs() -> Vec<Samples> {
    let quantization = |scale| Quantization {
        scale,
        zero_point: 7,
    };
    vec![
        Samples::of(vec![
            StorageError::Scale(-0.5),
            StorageError::NotQuantized("the input"),
            StorageError::Quantized("the bias"),
            StorageError::Changed {
                expected: quantization(0.5),
                got: quantization(0.25),
            },
            StorageError::Tensor {
                tensor: text("fc/kernel"),
                expected: "i8",
                got: DType::F32,
            },
        ]),
        Samples::of(vec![weight()]),
        Samples::of(vec![
            ExposeError::Zero {
                scale: text("bn/scale"),
                channel: 5,
            },
            ExposeError::MissingTensor(text("bn/shift")),
            ExposeError::Quantized(text("conv1")),
            GraphError::Empty.into(),
        ]),
        Samples::of(vec![
            GraphError::Shape {
                node: text("add"),
                op: "Add",
                source: ShapeError::Mismatch(shape(&[2]), shape(&[3])),
            },
            GraphError::Storage {
                node: text("conv"),
                op: "Conv",
                source: StorageError::Scale(0.0),
            },
            GraphError::DuplicateName(text("conv")),
            GraphError::Order {
                node: text("conv"),
                input: 9,
            },
            GraphError::StoredShape {
                node: text("conv"),
                expected: shape(&[1, 2]),
                got: shape(&[3, 4]),
            },
            GraphError::Empty,
            GraphError::Output { output: 7, len: 5 },
        ]),
        Samples::of(vec![
            ShapeError::Arity {
                expected: 2,
                got: 1,
            },
            ShapeError::NotImage(shape(&[10])),
            ShapeError::Window {
                kernel: [7, 8],
                dilations: [1, 2],
                input: shape(&[3, 4, 5]),
            },
            ShapeError::MissingTensor(text("fc/kernel")),
            ShapeError::TensorShape {
                name: text("fc/kernel"),
                expected: shape(&[1, 2]),
                got: shape(&[3, 4]),
            },
            ShapeError::Mismatch(shape(&[2]), shape(&[3])),
            ShapeError::Attribute {
                what: text("axis 5"),
                input: shape(&[3, 4]),
            },
            ShapeError::Size(shape(&[0])),
        ]),
        Samples::of(vec![
            ReferenceError::MissingInput(text("photo")),
            ReferenceError::ValueLen {
                node: text("fc"),
                expected: 6,
                got: 7,
            },
            weight().into(),
            ReferenceError::Candle {
                node: text("fc"),
                op: "Gemm",
                source: candle_core::Error::Msg(text("no")),
            },
            ReferenceError::Backward(candle_core::Error::Msg(text("no"))),
        ]),
    ]
}

fn engine() -> Vec<Samples> {
    vec![
        Samples::of(vec![
            KernelError::TensorShape {
                what: "weights",
                expected: shape(&[1, 2]),
                got: shape(&[3, 4]),
            },
            KernelError::TensorDType {
                what: "bias",
                expected: DType::F32,
                got: DType::I8,
            },
            kernel(),
        ]),
        Samples::of(vec![
            IsaError::Unknown(text("neon")),
            IsaError::Missing(text("avx512"), text("portable, avx2")),
        ]),
        Samples::of(vec![ThreadsError(text("no more threads"))]),
        Samples::of(vec![
            ProgramError::Arity {
                kernel: "add",
                expected: 2,
                got: 3,
            },
            ProgramError::TooManyInputs {
                kernel: "concat",
                got: 99,
            },
            ProgramError::Bounds {
                kernel: "add",
                start: 3,
                end: 9,
                len: 5,
            },
            ProgramError::Overlap {
                kernel: "add",
                output: 3..9,
                input: 5..7,
            },
        ]),
        Samples::of(vec![
            LowerError::NotPacked(text("fc/kernel")),
            LowerError::MissingTensor(text("fc/kernel")),
            LowerError::NotImage(shape(&[10])),
            LowerError::NoIntegerKernel,
            kernel().into(),
        ]),
        Samples::of(vec![
            lower(),
            EngineError::Program {
                node: text("add"),
                source: ProgramError::Arity {
                    kernel: "add",
                    expected: 2,
                    got: 3,
                },
            },
            EngineError::Threads {
                threads: 1_000,
                source: ThreadsError(text("no more threads")),
            },
        ]),
        Samples::of(vec![
            LayerCheckError::Engine(lower()),
            ReferenceError::MissingInput(text("photo")).into(),
        ]),
        Samples::of(vec![
            WeightsError::NotFinite {
                node: text("fc"),
                tensor: text("fc/kernel"),
                value: f32::INFINITY,
            },
            WeightsError::TooLarge {
                node: text("fc"),
                tensor: text("fc/kernel"),
                value: 70_000.0,
                to: WeightType::F16,
            },
            WeightsError::AlreadyConverted {
                node: text("fc"),
                tensor: text("fc/kernel"),
                got: DType::F16,
            },
            WeightsError::NotPacked {
                node: text("fc"),
                tensor: text("fc/kernel"),
            },
            WeightsError::UnknownLayer(text("fd")),
            GraphError::Empty.into(),
            tensor().into(),
        ]),
        Samples::of(vec![
            QuantizeError::AlreadyQuantized,
            QuantizeError::Weight {
                tensor: text("fc/kernel"),
                index: 12,
                value: f32::NAN,
            },
            QuantizeError::Value { layer: text("fc") },
            QuantizeError::NothingObserved,
            QuantizeError::UnknownLayer {
                name: text("fd"),
                nearest: text("; did you mean `fc`?"),
            },
            GraphError::Empty.into(),
            lower().into(),
        ]),
    ]
}

fn photos() -> Vec<Samples> {
    vec![
        Samples::of(vec![
            DecodeError::Missing("a.jpg".into()),
            DecodeError::Directory("photos".into()),
            DecodeError::Io {
                path: "a.jpg".into(),
                source: io(),
            },
            DecodeError::Empty,
            DecodeError::TooManyBytes {
                bytes: 12,
                at_least: true,
                limit: 10,
            },
            DecodeError::TooManyPixels {
                width: 30,
                height: 40,
                limit: 1_000,
            },
            DecodeError::TooMuchMemory {
                bytes: 12,
                limit: 10,
            },
            DecodeError::NotAPhoto("a PDF"),
            DecodeError::Truncated(Format::Jpeg),
            damaged(),
            DecodeError::Unsupported {
                format: Format::Jpeg,
                detail: text("12 bits"),
            },
        ]),
        Samples::of(vec![
            InputError::Syntax { text: text("age") },
            InputError::Number {
                name: text("age"),
                position: 2,
                got: text("x"),
            },
            InputError::Unknown {
                name: text("agf"),
                hint: text("did you mean `age`?"),
            },
            InputError::Photo {
                name: text("image"),
            },
            InputError::Twice { name: text("age") },
            InputError::Length {
                name: text("age"),
                expected: 3,
                got: 2,
            },
            missing_input(),
        ]),
        Samples::of(vec![
            FieldError::NoMapping { field: text("age") },
            FieldError::Unknown {
                field: text("agf"),
                hint: text("did you mean `age`?"),
            },
            FieldError::Twice { field: text("age") },
            FieldError::Conflict {
                field: text("age"),
                input: text("patient"),
            },
            FieldError::Required {
                field: text("age"),
                takes: text("a number"),
            },
            FieldError::UnknownValue {
                field: text("sex"),
                got: text("x"),
                hint: text("known: f, m"),
            },
            no_number(),
            FieldError::OutOfRange {
                field: text("age"),
                expected: text("0 to 120"),
                got: text("200"),
            },
        ]),
        Samples::of(vec![
            damaged().into(),
            missing_input().into(),
            PredictError::Preprocessing {
                input: text("image"),
                source: PreprocessingError::Input {
                    height: 10,
                    width: 20,
                    channels: 4,
                    problem: text("it has no alpha"),
                },
            },
            PredictError::Model(text("it has no photo")),
            not_finite(),
            PredictError::NotProbability {
                index: 2,
                value: 1.5,
            },
        ]),
        Samples::of(vec![RecordError::Predict(not_finite()), lower().into()]),
        Samples::of(vec![
            SelfTestError::Run(not_finite()),
            SelfTestError::Length {
                expected: 7,
                got: 6,
            },
            SelfTestError::Differs {
                class: 3,
                expected: 0.25,
                got: 0.5,
            },
        ]),
        Samples::of(vec![
            ExplainError::UnknownLayer {
                name: text("conf1"),
                nearest: vec![text("conv1"), text("conv2")],
            },
            ExplainError::AmbiguousLayer {
                name: text("conv"),
                found: vec![text("a/conv"), text("b/conv")],
            },
            ExplainError::NotSpatial {
                name: text("fc"),
                shape: shape(&[10]),
            },
            ExplainError::NotUpstream(text("side")),
            no_map(),
            ExplainError::Expose {
                name: text("conv1"),
                source: ExposeError::Quantized(text("conv1")),
            },
            ExplainError::Class {
                class: 9,
                classes: 7,
            },
            ExplainError::UnknownClass {
                name: text("bbc"),
                classes: vec![text("bcc"), text("nv")],
            },
            ExplainError::NoGradient {
                method: "gradcam",
                layer: text("conv1"),
                node: text("pool"),
                op: "MaxPool",
            },
            weight().into(),
            ReferenceError::MissingInput(text("photo")).into(),
        ]),
        Samples::of(vec![
            load().into(),
            ClassifierError::Bytes(ArtifactError::TooShort { got: 5 }),
            ClassifierError::Engine(lower()),
            not_finite().into(),
            no_map().into(),
        ]),
    ]
}

/// The errors about a file that is not an artifact.
fn foreign() -> ArtifactError {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_write(file.path(), b"PK\x03\x04, a zip archive");
    artifact::load(file.path()).unwrap_err()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file of a test needs no atomic write"
)]
fn fs_write(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn artifacts() -> Vec<Samples> {
    vec![
        Samples::of(vec![load()]),
        Samples::of(vec![
            ArtifactError::Io(io()),
            ArtifactError::NotAFile,
            foreign(),
            ArtifactError::TooShort { got: 5 },
            ArtifactError::HeaderTooLarge { got: 1 << 40 },
            ArtifactError::HeaderTruncated {
                expected: 90,
                got: 80,
            },
            ArtifactError::HeaderSyntax(json()),
            ArtifactError::NotAnArtifact { tensors: 12 },
            ArtifactError::Version { got: text("9") },
            ArtifactError::MissingMetadata("labels"),
            ArtifactError::Metadata {
                key: "labels",
                source: json(),
            },
            ArtifactError::TooManyNodes { got: 1 << 30 },
            ArtifactError::UnknownOp {
                node: text("conv"),
                op: text("Fft"),
            },
            GraphError::Empty.into(),
            ArtifactError::DType {
                tensor: text("fc"),
                dtype: text("F64"),
            },
            ArtifactError::Offsets {
                tensor: text("fc"),
                expected: 64,
                start: 70,
                end: 80,
            },
            ArtifactError::ByteCount {
                tensor: text("fc"),
                dtype: text("F32"),
                shape: shape(&[2, 3]),
                expected: ByteCount(Some(24)),
                got: 20,
            },
            ArtifactError::DataLength {
                expected: 90,
                got: 80,
            },
            ArtifactError::Misaligned {
                tensor: text("fc"),
                offset: 70,
            },
            ArtifactError::UnreadTensor(text("fc")),
            ArtifactError::ReservedName(text("__metadata__")),
            ArtifactError::Tensor {
                tensor: text("fc"),
                source: tensor(),
            },
            ArtifactError::Inputs {
                manifest: text("a"),
                graph: text("b"),
            },
            ArtifactError::Input {
                input: text("a"),
                what: text("expected 3 values, got 4"),
            },
            FieldMappingError::Version { got: 9 }.into(),
            ArtifactError::LabelCount {
                expected: 7,
                got: 6,
                why: text("one for each output"),
            },
            ArtifactError::Head { got: 3 },
            ArtifactError::SoftmaxOfOne,
            ArtifactError::Label {
                index: 2,
                label: text("bcc"),
                problem: "given twice",
            },
            ArtifactError::NotFinite { node: text("relu") },
            busy().into(),
        ]),
        Samples::of(vec![
            PreprocessingError::UnknownPreset {
                name: text("keras-vg"),
                hint: text("did you mean `keras-vgg16`?"),
            },
            PreprocessingError::UnknownField {
                field: text("meen"),
                hint: text("did you mean `mean`?"),
            },
            PreprocessingError::Field {
                field: "mean",
                expected: text("3 numbers"),
                got: text("`x`"),
            },
            PreprocessingError::Yaml(text("line 3: a tab")),
            PreprocessingError::TooLong {
                limit: 100,
                got: 200,
            },
            PreprocessingError::Input {
                height: 10,
                width: 20,
                channels: 4,
                problem: text("it has no alpha"),
            },
        ]),
        Samples::of(vec![
            FieldMappingError::Yaml(text("line 3: a tab")),
            FieldMappingError::UnknownKey {
                place: text("line 3"),
                key: text("one_hit"),
                hint: text("did you mean `one_hot`?"),
            },
            FieldMappingError::Value {
                place: text("line 3"),
                expected: text("a number"),
                got: text("`x`"),
            },
            FieldMappingError::Version { got: 9 },
            FieldMappingError::UnknownInput {
                input: text("patent"),
                hint: text("did you mean `patient`?"),
            },
            FieldMappingError::Length {
                input: text("patient"),
                expected: 3,
                got: 2,
                parts: text("age 1, sex 1"),
            },
            FieldMappingError::Contradiction {
                place: text("line 3"),
                problem: text("it is named twice"),
                hint: text("name it once"),
            },
        ]),
    ]
}

fn imports() -> Vec<Samples> {
    let place = || Place {
        what: "layer",
        name: text("head"),
        class: text("Dense"),
    };
    let outputs = || {
        ["left", "right"].map(|name| OutputChoice {
            name: text(name),
            shape: shape(&[2]),
        })
    };
    vec![
        Samples::of(vec![
            ImportError::Io {
                path: text("m.keras"),
                source: io(),
            },
            ImportError::Format {
                path: text("m.keras"),
                found: "a PDF".into(),
                hint: "give the model's file".into(),
            },
            ImportError::TooLarge {
                what: text("entry config.json"),
                got: 200,
                limit: 100,
            },
            ImportError::Archive {
                place: text("entry config.json"),
                message: text("it ends early"),
            },
            ImportError::Hdf5 {
                place: text("dataset 0"),
                message: text("it ends early"),
            },
            ImportError::NeedsConfig { path: text("m.h5") },
            ImportError::ConfigTwice { path: text("m.h5") },
            ImportError::Config {
                place: text("layer `head` (Dense)"),
                message: text("no units"),
            },
            ImportError::UnsupportedLayer { place: place() },
            ImportError::UnsupportedValue {
                place: place(),
                attribute: text("activation"),
                value: "snake".into(),
                expected: "relu".into(),
            },
            ImportError::Quantized {
                place: place(),
                form: text("int8"),
            },
            ImportError::MissingWeights {
                place: place(),
                weight: text("kernel"),
                looked_for: text(": no dataset `vars/0`"),
            },
            ImportError::WeightShape {
                place: place(),
                weight: text("kernel"),
                expected: shape(&[1, 2]),
                got: shape(&[3, 4]),
            },
            ImportError::NotFinite {
                place: place(),
                weight: text("`kernel` in vars/0"),
                index: 12,
                value: f32::NAN,
            },
            ImportError::UnusedWeights { weight: text("w") },
            ImportError::InputSize {
                input: text("image"),
                shape: text("[None, None, 3]"),
                message: text("rows are open"),
            },
            ImportError::Outputs {
                outputs: outputs().into(),
            },
            ImportError::NoSuchOutput {
                asked: text("lift"),
                outputs: outputs().into(),
            },
            ImportError::Graph {
                place: place(),
                source: GraphError::Empty.into(),
            },
        ]),
        Samples::of(vec![
            LabelsError::NoFile("labels.txt".into()),
            LabelsError::Folder("labels".into()),
            LabelsError::Io {
                path: "labels.txt".into(),
                source: io(),
            },
            LabelsError::Form {
                place: text("in `labels.txt`"),
                problem: text("two columns"),
                hint: "write one name a line",
            },
            LabelsError::Count {
                expected: 7,
                why: " (softmax)",
                got: 2,
                shown: text("a, b"),
            },
            LabelsError::Empty(3),
            LabelsError::Twice {
                label: text("bcc"),
                first: 1,
                second: 4,
            },
            LabelsError::Unprintable(5),
        ]),
        Samples::of(vec![
            HeadError::SoftmaxOfOne { in_graph: true },
            HeadError::Unknown {
                last: text("Gemm"),
                outputs: text("its 3 outputs"),
                because: text(": no loss is stored"),
                hint: text("give `--head`"),
            },
            HeadError::OneOutput {
                head: "sigmoid",
                got: 3,
            },
            HeadError::Contradiction {
                found: "softmax",
                asked: "sigmoid",
                fits: "probabilities",
            },
            GraphError::Empty.into(),
            tensor().into(),
        ]),
        Samples::of(vec![
            ImportError::NeedsConfig { path: text("m.h5") }.into(),
            GraphError::Empty.into(),
            HeadError::SoftmaxOfOne { in_graph: false }.into(),
            LabelsError::Empty(3).into(),
            ModelError::File(text("cannot read `m.keras`"), io()),
            no_text().into(),
            ModelError::NoFile {
                path: text("b.yaml"),
                hint: "give the name of a preset",
            },
            ModelError::Preprocessing {
                recipe: text("r.yaml"),
                source: PreprocessingError::Yaml(text("line 3: a tab")),
            },
            ModelError::Fields {
                path: text("f.yaml"),
                source: FieldMappingError::Version { got: 9 },
            },
            ModelError::Inputs {
                problem: text("there are two photos"),
                hint: text("cut one off"),
            },
            ModelError::NotProbability(not_finite()),
        ]),
    ]
}

fn evaluation() -> Vec<Samples> {
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

fn program() -> Vec<Samples> {
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
