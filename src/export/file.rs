//! The file as pieces: messages in memory, and weights between them that are read as they are
//! written.

use std::io::{self, Write};

use super::tensor::Initializer;
use super::weights::Rounded;
use super::wire::Message;
use super::{ExportError, Exporter, Extent, Port, metadata};

/// Version of ONNX' operators in the files that are written.
pub const OPSET: i64 = 17;

/// Version of the file format that came with opset 17.
const IR_VERSION: i64 = 8;

/// Most bytes of a file: readers count them in 32 bits with a sign.
const MAX_BYTES: u64 = i32::MAX as u64;

/// An ONNX file that can be written. Its weights are those of the model it was made of.
pub struct OnnxFile<'g> {
    /// What comes before the initializers: the model's own fields, and all of the graph but them.
    head: Message,
    initializers: Vec<(Message, Initializer<'g>)>,
    bytes: u64,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    nodes: usize,
    transposes: usize,
    rounded: Vec<Rounded>,
}

/// Bytes of a field of `len` bytes with a number below 16.
fn field_bytes(len: u64) -> u64 {
    let mut message = Message::default();
    message.head(1, len);
    message.len() + len
}

fn value_info(port: &Port) -> Message {
    let mut shape = Message::default();
    for extent in &port.shape {
        let mut dimension = Message::default();
        match extent {
            Extent::Fixed(n) => dimension.int(1, i64::try_from(*n).unwrap_or(i64::MAX)),
            Extent::Open(name) => dimension.bytes(2, name.as_bytes()),
        }
        shape.message(1, &dimension);
    }
    let mut tensor = Message::default();
    tensor.int(1, port.element.number());
    tensor.message(2, &shape);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut info = Message::default();
    info.bytes(1, port.name.as_bytes());
    info.message(2, &kind);
    info
}

/// Makes a file of what an exporter has collected.
pub(super) fn assemble(exporter: Exporter<'_>, output: Port) -> Result<OnnxFile<'_>, ExportError> {
    let mut model = Message::default();
    model.int(1, IR_VERSION);
    model.bytes(2, b"dermal");
    model.bytes(3, env!("CARGO_PKG_VERSION").as_bytes());
    let mut opset = Message::default();
    opset.bytes(1, b"");
    opset.int(2, OPSET);
    model.message(8, &opset);
    for (key, value) in metadata::entries(exporter.model, exporter.options) {
        let mut entry = Message::default();
        entry.bytes(1, key.as_bytes());
        entry.bytes(2, value.as_bytes());
        model.message(14, &entry);
    }
    let mut graph = Message::default();
    let nodes = &exporter.builder.nodes;
    for node in nodes {
        graph.message(1, &node.message());
    }
    graph.bytes(2, exporter.graph.name.as_bytes());
    for input in &exporter.inputs {
        graph.message(11, &value_info(input));
    }
    graph.message(12, &value_info(&output));
    let transposes = nodes.iter().filter(|node| node.op == "Transpose").count();
    let nodes = nodes.len();
    let initializers: Vec<(Message, Initializer)> = exporter
        .builder
        .initializers
        .into_iter()
        .map(|initializer| (initializer.head(), initializer))
        .collect();
    let weights = initializers.iter().map(|(head, initializer)| {
        let len = head.len().saturating_add(initializer.data_bytes());
        field_bytes(len)
    });
    let weights = weights.fold(0, u64::saturating_add);
    let graph_bytes = graph.len().saturating_add(weights);
    let bytes = model.len().saturating_add(field_bytes(graph_bytes));
    if bytes > MAX_BYTES {
        return Err(ExportError::TooLarge {
            bytes,
            limit: MAX_BYTES,
        });
    }
    model.head(7, graph_bytes);
    model.append(&graph);
    Ok(OnnxFile {
        head: model,
        initializers,
        bytes,
        inputs: exporter.inputs,
        outputs: vec![output],
        nodes,
        transposes,
        rounded: exporter.rounded,
    })
}

impl OnnxFile<'_> {
    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it takes.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it answers: one value, the probability of each class.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Number of operators.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many of them are `Transpose`: none in a network of convolutions.
    #[must_use]
    pub fn transposes(&self) -> usize {
        self.transposes
    }

    /// What became of bf16 weights.
    #[must_use]
    pub fn rounded(&self) -> &[Rounded] {
        &self.rounded
    }

    /// Writes the file's bytes. `progress` gets the bytes done and the bytes in all.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(
        &self,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64),
    ) -> io::Result<()> {
        out.write_all(self.head.as_bytes())?;
        let mut done = self.head.len();
        for (head, initializer) in &self.initializers {
            let len = head.len() + initializer.data_bytes();
            let mut start = Message::default();
            start.head(5, len);
            out.write_all(start.as_bytes())?;
            out.write_all(head.as_bytes())?;
            initializer.write(out)?;
            done += start.len() + len;
            progress(done, self.bytes);
        }
        Ok(())
    }
}
