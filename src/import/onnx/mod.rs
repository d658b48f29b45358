//! ONNX files: a graph of operators in protocol buffers, with weights inside or beside it.
//!
//! | File | What it does |
//! |---|---|
//! | `wire`, `proto` | the file's messages, read in place and bounded |
//! | `external` | weights in files beside the model |
//! | `constant`, `fold` | numbers known at import, and arithmetic on them |
//! | `dynamic` | models that quantize while they run |
//! | `importer`, `call` | the graph under construction; one node with inputs and attributes |
//! | `nested` | functions of the file, and branches of `If` whose condition is known |
//! | `whole` | photos of integers, with which little may be computed |
//! | `ops` | what each operator becomes |
//! | `metadata` | class names, pixel range, exporter |
//!
//! The batch is one photo whatever the file says, and names of extents mean nothing. Nodes are
//! sorted here. What cannot be said in the graph is refused by node; operators that are not known
//! are listed all at once.
//!
//! Source: <https://github.com/onnx/onnx/blob/main/docs/Operators.md>.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::builder::{GraphBuilder, Site, only_what_is_read};
use super::error::{ImportError, Place, UnsupportedOperator, invalid};
use super::input_size::InputSizes;
use super::options::{ImportOptions, Imported, LabelsFile, Progress};
use super::view::View;
use crate::graph::NodeId;
use crate::text::{json_list, shorten};

mod call;
mod constant;
mod dynamic;
mod external;
mod fold;
mod importer;
mod metadata;
mod nested;
mod ops;
mod order;
mod proto;
mod whole;
mod wire;

pub(super) use ops::supported_ops;

use call::{Attributes, Call, Value};
use constant::Constant;
use external::External;
use importer::Importer;
use proto::{Graph, Model, Node, Tensor, ValueInfo};

/// Versions of the default operators that are read. Before 7 broadcasting was another.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// Nodes that lead to an output. Swin with the shape arithmetic of the older exporter has 8,000.
const MAX_NODES: usize = 50_000;

/// Imports from the bytes of a file, which lies at `path`.
pub(super) fn import(
    bytes: &[u8],
    path: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let source_bytes = bytes.len() as u64;
    let model = proto::model(bytes)?;
    let opset = opset(&model)?;
    if model.graph.sparse_initializers > 0 {
        return Err(whole(&model).invalid("it has sparse weights, which are not read"));
    }
    let external = External::open(&model.graph, path, options.limits.max_file_bytes)?;
    let total_bytes = source_bytes;
    let mut report = |done: u64| {
        progress(Progress {
            done_bytes: done.min(total_bytes),
            total_bytes,
        });
    };
    let name = if model.graph.name.is_empty() {
        "onnx"
    } else {
        model.graph.name
    };
    let in_all = source_bytes.saturating_add(external.bytes_in_all());
    let limits = options.limits.of_file(in_all);
    let graph = GraphBuilder::new(&shorten(name), &limits, &mut report);
    let weights = usize::try_from(in_all / 4).unwrap_or(usize::MAX);
    let importer = Importer::new(graph, opset, weights);
    let mut reader = Reader::new(&model, &external, importer)?;
    let outputs = reader.outputs(options.output.as_deref())?;
    reader.inputs(options)?;
    reader.nodes(&outputs)?;
    let values = reader.results(&outputs)?;
    let asked = options.output.as_deref();
    let labels = reader.importer.labels.take();
    let (graph, _) = reader.importer.graph.finish(&values, asked, "the graph")?;
    let output = graph.output();
    let graph = only_what_is_read(&graph, output)
        .map_err(|error| invalid("the graph", error.to_string()))?;
    report(total_bytes);
    Ok(Imported {
        graph,
        source_format: metadata::source_format(&model, opset),
        source_bytes,
        loss: None,
        labels: metadata::labels(&model).or_else(|| labels.as_deref().map(of_node)),
        preset: metadata::preset(&model),
        recipe: metadata::recipe(&model),
        likely_preset: None,
        stated: metadata::stated(&model),
        also_read: external.paths,
    })
}

/// Class names that a node at the end holds.
fn of_node(names: &[String]) -> LabelsFile {
    LabelsFile {
        name: "node `ZipMap`".into(),
        bytes: json_list(names).into_bytes(),
    }
}

/// The model as a place for errors.
fn whole(model: &Model) -> Place {
    Place {
        what: "graph",
        name: shorten(model.graph.name),
        class: "ONNX".into(),
    }
}

fn opset(model: &Model) -> Result<i64, ImportError> {
    let default = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let mut versions = model.opsets.iter().filter(|(domain, _)| default(domain));
    let version = versions.next().map(|(_, version)| *version);
    match version {
        Some(version) if OPSETS.contains(&version) => Ok(version),
        Some(version) => Err(ImportError::Unrepresentable {
            place: whole(model),
            message: format!(
                "its operators are of opset {version}, supported are {} to {}",
                OPSETS.start(),
                OPSETS.end()
            )
            .into(),
            hint: "export the model again with `opset_version=17`, or convert it with \
                   `onnx.version_converter.convert_version(model, 17)`"
                .into(),
        }),
        None => Err(whole(model).invalid("it does not say of which opset its operators are")),
    }
}

/// A model on its way into a graph.
struct Reader<'a, 'b> {
    model: &'a Model<'a>,
    external: &'a External,
    initializers: HashMap<&'a str, &'a Tensor<'a>>,
    importer: Importer<'a, 'b>,
    unsupported: BTreeMap<String, UnsupportedOperator>,
    /// Values made of an integer photo that are integers still.
    whole: whole::Integers<'a>,
    /// Nodes read so far, those of functions and branches included.
    nodes_read: usize,
    /// Functions and branches around the current node.
    depth: usize,
}

/// The nodes of a graph, of a function or of a branch.
#[derive(Clone, Copy)]
struct Block<'n, 'a> {
    nodes: &'n [Node<'a>],
    /// Which of them lead to an output, sorted.
    order: &'n [usize],
    outputs: &'n [&'a str],
    /// What the names of its nodes begin with.
    prefix: &'n str,
    /// Whether its first output is the model's answer.
    is_answer: bool,
}

impl<'a> Block<'_, 'a> {
    /// How often its nodes read each value.
    fn reads(&self) -> HashMap<&'a str, usize> {
        let mut reads = HashMap::new();
        for &name in self.order.iter().flat_map(|&i| &self.nodes[i].inputs) {
            *reads.entry(name).or_default() += 1;
        }
        reads
    }
}

impl<'a, 'b> Reader<'a, 'b> {
    fn new(
        model: &'a Model<'a>,
        external: &'a External,
        importer: Importer<'a, 'b>,
    ) -> Result<Self, ImportError> {
        let mut initializers = HashMap::new();
        for tensor in &model.graph.initializers {
            if initializers.insert(tensor.name, tensor).is_some() {
                let message = format!("weight `{}` is given twice", shorten(tensor.name));
                return Err(invalid("the graph", message));
            }
        }
        Ok(Self {
            model,
            external,
            initializers,
            importer,
            unsupported: BTreeMap::new(),
            whole: whole::Integers::default(),
            nodes_read: 0,
            depth: 0,
        })
    }

    fn graph(&self) -> &'a Graph<'a> {
        &self.model.graph
    }

    /// Inputs other than weights, which old files list as inputs, too.
    fn given(&self) -> Vec<&'a ValueInfo<'a>> {
        let inputs = self.graph().inputs.iter();
        inputs
            .filter(|i| !self.initializers.contains_key(i.name))
            .collect()
    }

    /// The outputs to compute: the one that is asked for, which may also be a value inside of the
    /// graph, or all that can be probabilities. Texts and whole numbers beside them are the class
    /// that the model picks.
    fn outputs(&self, asked: Option<&str>) -> Result<Vec<&'a str>, ImportError> {
        let names: Vec<&str> = self.graph().outputs.iter().map(|o| o.name).collect();
        if names.is_empty() {
            return Err(invalid("the graph", "it has no outputs".into()));
        }
        let distinct: HashSet<&str> = names.iter().copied().collect();
        if distinct.len() != names.len() {
            return Err(invalid(
                "the graph",
                "two of its outputs have one name".into(),
            ));
        }
        if let Some(asked) = asked {
            let made = self.graph().nodes.iter().flat_map(|node| &node.outputs);
            let mut values = names.iter().chain(made.filter(|name| !name.is_empty()));
            if let Some(&value) = values.find(|name| **name == asked) {
                return Ok(vec![value]);
            }
            return Ok(names);
        }
        // What is not a tensor is what `ZipMap` makes of probabilities.
        let is_real = |output: &&ValueInfo| {
            let kind = output.element.map(constant::kind_of);
            matches!(kind, None | Some(Some(constant::Kind::Float)))
        };
        let outputs = self.graph().outputs.iter();
        let real: Vec<&str> = outputs.filter(is_real).map(|output| output.name).collect();
        Ok(if real.is_empty() { names } else { real })
    }

    /// Appends the inputs.
    fn inputs(&mut self, options: &ImportOptions) -> Result<(), ImportError> {
        let mut sizes = InputSizes::new(options.input_size);
        let mut first = None;
        for input in self.given() {
            let place = Place {
                what: "input",
                name: shorten(input.name),
                class: input
                    .element
                    .map_or_else(|| "no tensor".to_owned(), constant::element_name),
            };
            if input.element.and_then(constant::kind_of).is_none() {
                return Err(place.invalid("inputs are tensors of numbers"));
            }
            let extent = |d: &Option<i64>| d.and_then(|n| usize::try_from(n).ok());
            let dims: Option<Vec<Option<usize>>> = input
                .dims
                .as_ref()
                .map(|dims| dims.iter().map(extent).collect());
            let order = order_of_image(dims.as_deref(), || self.is_turned(input.name));
            // The batch, then the axes as they lie in the graph.
            let lying: Option<Vec<Option<usize>>> = dims.as_ref().map(|dims| match order {
                Some(order) => [0].iter().chain(&order).map(|&a| dims[a]).collect(),
                None => dims.clone(),
            });
            let shape = sizes.shape(input.name, lying.as_deref())?;
            let rank = shape.rank() + 1;
            let order = order.map_or_else(|| (1..rank).collect(), |order| order.to_vec());
            let mut logical = vec![1; rank];
            for (&axis, &extent) in order.iter().zip(shape.dims()) {
                logical[axis] = extent;
            }
            if rank == 4 {
                self.importer.batch = dims.and_then(|dims| dims[0]).filter(|&n| n > 1);
            }
            let id = self.importer.graph.push_input(&place, input.name, shape)?;
            first = first.or(Some(id));
            let view = View::ordered(id, &logical, &order);
            self.importer.values.insert(input.name, view.into());
            self.whole.input(input);
        }
        sizes.check_used(first.map(|id: NodeId| self.importer.graph.node(id)))
    }

    /// Whether an input is only read by transposes from NHWC.
    fn is_turned(&self, input: &str) -> bool {
        let mut readers = self
            .graph()
            .nodes
            .iter()
            .filter(|n| n.inputs.contains(&input));
        readers.next().is_some_and(|node| node.op == "Transpose")
    }

    /// A value by its name: what was made, an input, or a weight.
    fn value(&mut self, name: &'a str) -> Result<Value<'a>, ImportError> {
        if let Some(value) = self.importer.values.get(name) {
            return Ok(value.clone());
        }
        let Some(tensor) = self.initializers.get(name) else {
            let message = format!("value `{}` is made by no node", shorten(name));
            return Err(invalid("the graph", message));
        };
        let external = self.external;
        let constant = Constant::of_tensor(tensor, &mut |name, entries, expected| {
            external.bytes(name, entries, expected)
        })?;
        let value = Value::from(constant);
        self.importer.values.insert(name, value.clone());
        Ok(value)
    }

    /// Appends the nodes that `outputs` need.
    fn nodes(&mut self, outputs: &[&'a str]) -> Result<(), ImportError> {
        let graph = self.graph();
        let given: HashSet<&str> = self
            .given()
            .iter()
            .map(|input| input.name)
            .chain(self.initializers.keys().copied())
            .collect();
        let order = order::sorted(&graph.nodes, outputs, &|name| given.contains(name))?;
        self.count(order.len())?;
        dynamic::check(graph, &order, outputs)?;
        let block = Block {
            nodes: &graph.nodes,
            order: &order,
            outputs,
            prefix: "",
            is_answer: outputs.len() == 1,
        };
        let reads = block.reads();
        let mut left = reads.clone();
        for &index in &order {
            self.node(block, index, &reads)?;
            // Constants that are computed take memory: none is kept after its last reader.
            for name in &graph.nodes[index].inputs {
                if let Some(left) = left.get_mut(name) {
                    *left -= 1;
                    if *left == 0 && !outputs.contains(name) {
                        self.importer.values.remove(name);
                    }
                }
            }
        }
        if self.unsupported.is_empty() {
            return Ok(());
        }
        let operators = std::mem::take(&mut self.unsupported)
            .into_values()
            .collect();
        Err(ImportError::UnsupportedOperators { operators })
    }

    /// Counts nodes that will be read. Functions that call functions could make any number of them.
    fn count(&mut self, nodes: usize) -> Result<(), ImportError> {
        self.nodes_read = self.nodes_read.saturating_add(nodes);
        if self.nodes_read > MAX_NODES {
            let message = format!("it has more than {MAX_NODES} nodes");
            return Err(invalid("the graph", message));
        }
        Ok(())
    }

    fn node(
        &mut self,
        block: Block<'_, 'a>,
        index: usize,
        reads: &HashMap<&'a str, usize>,
    ) -> Result<(), ImportError> {
        let node = &block.nodes[index];
        let mut place = order::place_of(node, index);
        if !block.prefix.is_empty() {
            place.name = shorten(&format!("{}/{}", block.prefix, place.name));
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &name in &node.inputs {
            inputs.push(if name.is_empty() {
                None
            } else {
                Some(self.value(name)?)
            });
        }
        let read = |name: &&str| reads.contains_key(*name) || block.outputs.contains(name);
        let first = node.outputs.first().copied().unwrap_or_default();
        let is_answer =
            block.is_answer && block.outputs.first() == Some(&first) && !reads.contains_key(first);
        let made = if let Some(made) = self.nested(node, &place, &inputs, is_answer)? {
            made
        } else {
            let outputs_read = node.outputs.iter().rposition(read).map_or(0, |i| i + 1);
            self.operator(node, &place, inputs, (outputs_read, is_answer))?
        };
        let mut made = made.into_iter();
        for &output in &node.outputs {
            match made.next() {
                _ if output.is_empty() => {}
                Some(value) => {
                    self.importer.values.insert(output, value);
                }
                None if read(&output) => {
                    let message = format!("its output `{}` is not made", shorten(output));
                    return Err(place.invalid(message));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Appends or evaluates one operator.
    fn operator(
        &mut self,
        node: &Node<'a>,
        place: &Place,
        inputs: Vec<Option<Value<'a>>>,
        (outputs_read, is_answer): (usize, bool),
    ) -> Result<Vec<Value<'a>>, ImportError> {
        let missing = inputs.iter().flatten().any(|v| matches!(v, Value::Missing));
        let listed = ops::listed(node.domain, node.op);
        let known = listed.is_some_and(ops::is_known);
        let listed = listed.unwrap_or(node.op);
        let shapes = matches!(node.op, "Shape" | "Size") && !missing;
        let folds = known
            && fold::FOLDED.contains(&listed)
            && (shapes
                || inputs
                    .iter()
                    .flatten()
                    .all(|v| matches!(v, Value::Constant(_))));
        let emit = if known { ops::emitter(listed) } else { None };
        let on_integers = !ops::quantized::reads_integers(listed)
            && (inputs.iter().flatten()).any(|value| self.importer.map_of(value).is_some());
        if !known || (!folds && !missing && emit.is_none()) {
            if is_answer && matches!(node.op, "ArgMax" | "Hardmax" | "TopK") {
                return Err(picks_the_class(node, place));
            }
            self.unsupported(node, place);
        }
        if !known || missing || (!folds && emit.is_none()) {
            return Ok(vec![Value::Missing; node.outputs.len()]);
        }
        let name = self.importer.unique(&place.name);
        let call = Call {
            site: Site {
                place: place.clone(),
                name: name.clone(),
                constants: name.clone(),
            },
            op: node.op,
            inputs,
            attributes: Attributes::new(place.clone(), &node.attributes),
            outputs: node.outputs.len(),
            outputs_read,
            is_answer,
        };
        let whole = self.whole.computed(node, &call, (listed, shapes))?;
        let before = self.importer.graph.len();
        let made = match emit {
            Some(emit) if !folds && on_integers => {
                ops::quantized::moved(&mut self.importer, &call, emit)?
            }
            Some(_) if !folds && whole == whole::Result::Retyped => {
                call.attributes.ignore(&["to", "saturate", "round_mode"]);
                vec![Value::View(call.view(0)?.clone())]
            }
            Some(emit) if !folds => emit(&mut self.importer, &call)?,
            _ => fold::fold(&mut self.importer, &call)?,
        };
        call.attributes.finish()?;
        if let Some(Value::View(view)) = made.first()
            && view.id.0 >= before
            && !ops::quantized::is_rounding(listed)
        {
            self.importer.graph.mark(view.id, &name, node.op);
        }
        Ok(made)
    }

    fn unsupported(&mut self, node: &Node, place: &Place) {
        let name = match node.domain {
            "" | "ai.onnx" => node.op.to_owned(),
            domain => format!("{domain}.{}", node.op),
        };
        let note = match node.op {
            "If" | "Loop" | "Scan" => "control flow",
            op if fold::FOLDED.contains(&op) => "of values of the photo",
            _ => "",
        };
        let entry = self
            .unsupported
            .entry(name.clone())
            .or_insert(UnsupportedOperator {
                name,
                note,
                count: 0,
                example: place.name.clone(),
            });
        entry.count += 1;
    }

    /// The outputs as values of the graph, without the batch axis.
    fn results(&mut self, outputs: &[&'a str]) -> Result<Vec<(String, NodeId)>, ImportError> {
        let mut results = Vec::new();
        for &name in outputs {
            let place = Place {
                what: "output",
                name: shorten(name),
                class: "tensor".into(),
            };
            let mut view = match self.value(name)? {
                Value::View(view) if self.importer.reads_input(view.id) => view,
                _ => return Err(place.invalid("it does not depend on the photo")),
            };
            let own = self.importer.unique(&format!("{name}/output"));
            let site = Site {
                place,
                name: own.clone(),
                constants: own,
            };
            // An answer in bytes is given as the real numbers that they stand for.
            let real = self
                .importer
                .graph
                .dequantize(&site, Some("real"), view.id)?;
            view = view.of(real);
            let first = usize::from(view.rank() > 1 && view.extent(0) == 1);
            let axes: Vec<usize> = (first..view.rank()).collect();
            let groups: Vec<&[usize]> = axes.chunks(1).collect();
            let id = self.importer.arrange(&site, &view, &groups)?;
            results.push((name.to_owned(), id));
        }
        Ok(results)
    }
}

/// The error of a model whose answer is not the probabilities that it computes.
fn picks_the_class(node: &Node, place: &Place) -> ImportError {
    let before = node.inputs.first().copied().unwrap_or_default();
    ImportError::Unrepresentable {
        place: place.clone(),
        message: "the model picks the class itself, and probabilities are needed".into(),
        hint: format!(
            "use the value before it: `--output-name '{}'`",
            shorten(before)
        )
        .into(),
    }
}

/// The order in which the axes of an image lie in the graph: rows, columns, channels. `None` for
/// what is not an image. Channels are the second axis or the last one: their number tells which, or
/// else a transpose behind the input.
fn order_of_image(
    dims: Option<&[Option<usize>]>,
    is_turned: impl Fn() -> bool,
) -> Option<[usize; 3]> {
    let &[_, second, _, last] = dims? else {
        return None;
    };
    let few = |n: Option<usize>| matches!(n, Some(1..=4));
    let channels_last = match (few(second), few(last)) {
        (true, false) => false,
        (false, true) => true,
        _ => is_turned(),
    };
    Some(if channels_last { [1, 2, 3] } else { [2, 3, 1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_found_by_their_number_or_the_transpose() {
        let order = |dims: [Option<usize>; 4], turned: bool| order_of_image(Some(&dims), || turned);
        let nchw = Some([2, 3, 1]);
        let nhwc = Some([1, 2, 3]);
        assert_eq!(order([None, Some(3), None, None], false), nchw);
        assert_eq!(order([None, None, None, Some(3)], false), nhwc);
        assert_eq!(order([Some(1), Some(3), Some(3), Some(3)], false), nchw);
        assert_eq!(order([Some(1), Some(3), Some(3), Some(3)], true), nhwc);
        assert_eq!(order([Some(1), Some(1), Some(28), Some(28)], true), nchw);
        assert_eq!(order_of_image(Some(&[Some(1), Some(3)]), || false), None);
        assert_eq!(order_of_image(None, || false), None);
    }
}
