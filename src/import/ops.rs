//! The list of what can be imported, for people.

/// A layer, operator or function of a format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedOp {
    /// The format: `keras`, `onnx`, `tflite`.
    pub format: &'static str,
    /// Its name there: a class of layers, a function called on tensors, or an operator.
    pub name: &'static str,
    /// What it becomes in the graph.
    pub becomes: &'static str,
    /// What is not supported about it, or empty.
    pub limits: &'static str,
}
