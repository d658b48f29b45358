//! The library as a program uses it: imports and operators beside their own frameworks' answers,
//! passes, quantization, statistics, and files that are wrong.
//!
//! One program: each would be linked with the whole library.

#[path = "../common/mod.rs"]
mod common;
mod demo_model;
mod fuzz_corpus;
mod import_structure;
mod keras_golden;
mod malformed;
mod model_diff;
mod onnx_bfloat16;
mod onnx_export;
mod onnx_golden;
mod onnx_quantized;
mod passes;
mod preprocess_golden;
mod quantize_int8;
mod quantize_weights;
mod statistics_golden;
mod tflite_golden;
