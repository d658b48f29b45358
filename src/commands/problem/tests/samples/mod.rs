//! An error of each variant, with values that a message can be searched for.

use std::io;

use super::Samples;
use crate::artifact::{ArtifactError, LoadError, ModelSource};
use crate::engine::{EngineError, LowerError};
use crate::evaluate::dataset::DatasetError;
use crate::explain::ExplainError;
use crate::file::GuardError;
use crate::file::atomic::AtomicError;
use crate::graph::{ExposeError, GraphError, ShapeError, StorageError, WeightError};
use crate::kernels::{IsaError, KernelError, ProgramError, ThreadsError};
use crate::layer_check::LayerCheckError;
use crate::predict::decode::Format;
use crate::predict::{DecodeError, FieldError, InputError, PredictError};
use crate::quantization::Quantization;
use crate::quantize::QuantizeError;
use crate::quantize::weights::{WeightType, WeightsError};
use crate::readiness::platforms::PlatformError;
use crate::reference::ReferenceError;
use crate::report::ReportError;
use crate::tensor::{DType, Shape, TensorError};
use crate::text::{SyntaxError, SyntaxKind, TextError};

mod models;
mod program;

pub(super) fn all() -> Vec<Samples> {
    let mut all = ground();
    all.extend(graphs());
    all.extend(engine());
    all.extend(models::photos());
    all.extend(models::artifacts());
    all.extend(models::imports());
    all.extend(program::evaluation());
    all.extend(program::program());
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
