//! Errors about photos, artifacts, and files of other formats.

use std::path::Path;

use super::super::Samples;
use super::{
    busy, damaged, io, json, load, lower, missing_input, no_map, no_number, no_text, not_finite,
    shape, tensor, text, weight,
};
use crate::artifact::{self, ArtifactError, ByteCount, FieldMappingError, PreprocessingError};
use crate::classifier::ClassifierError;
use crate::explain::ExplainError;
use crate::export::ExportError;
use crate::graph::{ExposeError, GraphError};
use crate::import::head::HeadError;
use crate::import::labels::LabelsError;
use crate::import::{ImportError, ModelError, OutputChoice, Place, UnsupportedOperator};
use crate::predict::decode::Format;
use crate::predict::selftest::{RecordError, SelfTestError};
use crate::predict::{DecodeError, FieldError, InputError, PredictError};
use crate::reference::ReferenceError;

pub(super) fn photos() -> Vec<Samples> {
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
        Samples::of(vec![
            RecordError::Predict(not_finite()),
            lower().into(),
            RecordError::TooMuch {
                bytes: 1 << 30,
                most_bytes: 1 << 29,
                operations: 9_000_000_000,
                most_operations: 8_000_000_000,
            },
        ]),
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
/// A file of another kind is only known to who reads it.
fn foreign() -> ArtifactError {
    let zip = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import/nested.keras");
    artifact::load(&zip).unwrap_err()
}

pub(super) fn artifacts() -> Vec<Samples> {
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

pub(super) fn imports() -> Vec<Samples> {
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
            ImportError::Protobuf {
                offset: 12,
                message: "a field of 90 bytes, and 3 are left".into(),
            },
            ImportError::FlatBuffer {
                offset: 12,
                message: "an offset leads out of the file".into(),
            },
            ImportError::ExternalData {
                location: text("m.onnx.data"),
                message: "there is no such file".into(),
                hint: "copy it to the model's folder".into(),
            },
            ImportError::UnsupportedOperators {
                operators: vec![UnsupportedOperator {
                    name: text("GridSample"),
                    note: "",
                    count: 2,
                    example: text("/warp/GridSample"),
                }],
            },
            ImportError::Unrepresentable {
                place: place(),
                message: "its weights are computed from the photo".into(),
                hint: "export the model with constant weights".into(),
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
        Samples::of(vec![
            ExportError::Node {
                node: text("pool"),
                op: "AveragePool",
                reason: text("opset 17 has no dilations for it"),
            },
            weight().into(),
            ExportError::Preprocessing {
                recipe: text("keras-xception"),
                reason: text("its filter averages in fixed point"),
            },
            ExportError::TooLarge {
                bytes: 3_000_000_000,
                limit: 2_147_483_647,
            },
            busy().into(),
        ]),
    ]
}
