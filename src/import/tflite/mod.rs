//! TFLite files (LiteRT's): a graph of operators in a FlatBuffer, with its weights.
//!
//! | File | What it does |
//! |---|---|
//! | `flatbuffer`, `schema` | the file's tables, read in place and bounded |
//! | `constant`, `sparse`, `fold` | numbers known at import, and arithmetic on them |
//! | `importer`, `call` | the graph under construction; one operator with inputs and options |
//! | `ops` | what each operator becomes |
//! | `metadata` | class names, pixel range, converter |
//!
//! The batch is one photo whatever the file says. Tensors are NHWC as a rule, as the graph's values
//! are; a transpose in the file changes how a value is seen ([`View`]) and makes no node. Weights may
//! be stored in 16 or 8 bits, and stay so. What cannot be said in the graph is refused by operator;
//! operators that are not known are listed all at once.
//!
//! An operator on integers is, by definition, the one on the real numbers that they stand for,
//! rounded to the integers of its result. So it is written down as that, between `Dequantize` and
//! `Quantize` (see [`quantized`](super::quantized)), and no operator needs a form for integers.
//!
//! Source: <https://ai.google.dev/edge/litert/models/ops_compatibility>.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use super::affine::Affine;
use super::archive::Archive;
use super::builder::{GraphBuilder, Site, only_what_is_read};
use super::bytes::SourceBytes;
use super::error::{ImportError, Place, UnsupportedOperator, invalid};
use super::input_size::InputSizes;
use super::options::{ImportOptions, Imported, LabelsFile, Progress};
use super::quantized::{Integers, value_map};
use super::view::View;
use crate::graph::NodeId;
use crate::quantization::Quantization;
use crate::text::shorten;

mod call;
mod constant;
mod flatbuffer;
mod fold;
mod importer;
mod metadata;
mod ops;
mod schema;
mod sparse;

pub(super) use ops::supported_ops;

use call::{Call, Options, Value};
use constant::{Constant, Element};
use flatbuffer::damaged;
use importer::Importer;
use ops::Operator as Known;
use schema::{Model, Operator, Tensor, element_name};

/// Where a TFLite model lies.
pub(super) enum TfliteFile {
    /// A file of its own.
    Whole,
    /// In a zip, with the names of its classes, as Teachable Machine exports it.
    Packed {
        archive: Archive,
        model: String,
        labels: Option<String>,
    },
}

/// Most bytes of a file of labels.
const MAX_LABELS_BYTES: u64 = 1 << 20;

/// Imports from a file, which lies at `path`.
pub(super) fn import(
    file: TfliteFile,
    bytes: &SourceBytes,
    path: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let source_bytes = bytes.as_ref().len() as u64;
    let (bytes, packed) = match file {
        TfliteFile::Whole => (bytes.clone(), None),
        TfliteFile::Packed {
            mut archive,
            model,
            labels,
        } => {
            let limit = options.limits.max_file_bytes;
            let bytes = archive.large(&model, limit, &mut |_| {})?;
            let labels = match labels {
                None => None,
                Some(name) => Some(LabelsFile {
                    bytes: archive.small(&name, MAX_LABELS_BYTES)?,
                    name,
                }),
            };
            (bytes, Some(labels))
        }
    };
    let model = Model::read(bytes.as_ref())?;
    if model.version != 3 {
        let message = format!("its schema has version {}, expected 3", model.version);
        return Err(invalid("the file", message));
    }
    let mut report = |done: u64| {
        progress(Progress {
            done_bytes: done.min(source_bytes),
            total_bytes: source_bytes,
        });
    };
    let limits = options.limits.of_file(bytes.as_ref().len() as u64);
    let graph = GraphBuilder::new("tflite", &limits, &mut report);
    let mut reader = Reader {
        model: &model,
        importer: Importer::new(graph),
    };
    reader.check_values()?;
    let known = reader.known()?;
    let outputs = reader.outputs(options.output.as_deref())?;
    reader.inputs(options)?;
    reader.nodes(&known, &outputs)?;
    let values = reader.results(&outputs)?;
    let asked = options.output.as_deref();
    let (graph, _) = reader.importer.graph.finish(&values, asked, "the graph")?;
    let output = graph.output();
    let graph = only_what_is_read(&graph, output)
        .map_err(|error| invalid("the graph", error.to_string()))?;
    report(source_bytes);
    let described = metadata::described(&model)?;
    // Bytes of a photo go in as they are: the input's scale says what they stand for, and LiteRT's
    // task library leaves the metadata's normalization out as well.
    let takes_bytes = model.inputs.iter().any(|&index| {
        let tensor = usize::try_from(index)
            .ok()
            .and_then(|i| model.tensors.get(i));
        tensor.is_some_and(|t| t.shape.len() == 4 && integers_of(t).is_some())
    });
    let is_packed = packed.is_some();
    let mut labels = packed.flatten();
    let mut also_read = Vec::new();
    if labels.is_none() {
        labels = metadata::labels(&bytes, &described);
    }
    if labels.is_none() && !is_packed {
        (labels, also_read) = metadata::labels_beside(path);
    }
    Ok(Imported {
        graph,
        source_format: metadata::source_format(&model),
        source_bytes,
        loss: None,
        labels,
        preset: if takes_bytes {
            Some(metadata::BYTES_PRESET)
        } else {
            described.preset()
        },
        recipe: described.recipe().filter(|_| !takes_bytes),
        likely_preset: Some(metadata::LIKELY_PRESET),
        stated: crate::import::options::Stated::default(),
        also_read,
    })
}

/// A model on its way into a graph.
struct Reader<'a, 'b> {
    model: &'a Model<'a>,
    importer: Importer<'a, 'b>,
}

impl<'a> Reader<'a, '_> {
    fn tensor(&self, index: i32) -> Result<&'a Tensor<'a>, ImportError> {
        let found = usize::try_from(index).ok();
        found
            .and_then(|i| self.model.tensors.get(i))
            .ok_or_else(|| {
                let message = format!("there is no tensor {index}");
                damaged(0, message)
            })
    }

    /// An operator as a place for errors: it has no name, but what it makes has.
    fn place_of(&self, index: usize, op: &str) -> Result<Place, ImportError> {
        let first = self.model.operators[index].outputs.i32(0);
        let made = first.map(|i| self.tensor(i)).transpose()?;
        // The name of fused operators lists those of all.
        let name = made.map_or("", |t| t.name.split(';').next().unwrap_or_default());
        let name = match name.len() {
            1..=200 => name.to_owned(),
            _ => format!("{op}_{index}"),
        };
        Ok(Place {
            what: "operator",
            name,
            class: shorten(op),
        })
    }

    /// The operators, all of which are known.
    fn known(&self) -> Result<Vec<&'static Known>, ImportError> {
        let mut known = Vec::new();
        let mut unsupported: BTreeMap<String, UnsupportedOperator> = BTreeMap::new();
        for (index, operator) in self.model.operators.iter().enumerate() {
            let code = self.model.code(operator)?;
            if let Some(found) = ops::find(code.builtin) {
                known.push(found);
                continue;
            }
            let (name, note) = name_of(code);
            let place = self.place_of(index, &name)?;
            let entry = unsupported.entry(name.clone());
            let entry = entry.or_insert(UnsupportedOperator {
                name,
                note,
                count: 0,
                example: place.name,
            });
            entry.count += 1;
        }
        if unsupported.is_empty() {
            return Ok(known);
        }
        Err(ImportError::UnsupportedOperators {
            operators: unsupported.into_values().collect(),
        })
    }

    /// Refuses states that last from photo to photo.
    fn check_values(&self) -> Result<(), ImportError> {
        let operators = self.model.operators.iter();
        let made = operators.flat_map(|operator| operator.outputs.ints());
        for index in self.model.inputs.iter().copied().chain(made) {
            let tensor = self.tensor(index)?;
            if tensor.is_variable {
                let place = Place {
                    what: "tensor",
                    name: shorten(&tensor.name),
                    class: element_name(tensor.element),
                };
                return Err(place.invalid("it keeps its value from one photo to the next"));
            }
        }
        Ok(())
    }

    /// The outputs to compute, with their names: the one that is asked for, or all.
    fn outputs(&self, asked: Option<&str>) -> Result<Vec<(String, i32)>, ImportError> {
        let mut named: Vec<(String, i32)> = Vec::new();
        for &index in &self.model.outputs {
            let mut name = self.tensor(index)?.name.clone().into_owned();
            if name.is_empty() || named.iter().any(|(other, _)| *other == name) {
                name = format!("{name}:{}", named.len());
            }
            named.push((name, index));
        }
        if named.is_empty() {
            return Err(invalid("the graph", "it has no outputs".into()));
        }
        Ok(
            match named.iter().find(|(name, _)| Some(name.as_str()) == asked) {
                Some(found) => vec![found.clone()],
                None => named,
            },
        )
    }

    /// Appends the inputs.
    fn inputs(&mut self, options: &ImportOptions) -> Result<(), ImportError> {
        let mut sizes = InputSizes::new(options.input_size);
        let mut first = None;
        for (i, &index) in self.model.inputs.iter().enumerate() {
            let tensor = self.tensor(index)?;
            let name = match &*tensor.name {
                "" => format!("input_{i}"),
                name => name.to_owned(),
            };
            let place = Place {
                what: "input",
                name: shorten(&name),
                class: element_name(tensor.element),
            };
            let is_cast = is_bare(tensor);
            let map = if is_cast {
                None
            } else {
                map_of(&place, tensor)?
            };
            let written = if tensor.signature.is_empty() {
                &tensor.shape
            } else {
                &tensor.signature
            };
            let extent = |&d: &i32| usize::try_from(d).ok().filter(|&d| d > 0);
            let dims: Vec<Option<usize>> = written.iter().map(extent).collect();
            if let Some(&Some(batch @ 2..)) = dims.first()
                && dims.len() == 4
            {
                return Err(ImportError::Unrepresentable {
                    place,
                    message: format!("it takes {batch} photos at once").into(),
                    hint: "convert the model again for one photo: build it with a batch size of 1 \
                           or an open one"
                        .into(),
                });
            }
            let order = order_of_image(&dims);
            let lying: Vec<Option<usize>> = match order {
                Some(order) => [0].iter().chain(&order).map(|&a| dims[a]).collect(),
                None => dims.clone(),
            };
            let shape = sizes.shape(&name, Some(&lying))?;
            let rank = shape.rank() + 1;
            let order = order.map_or_else(|| (1..rank).collect(), |order| order.to_vec());
            let mut logical = vec![1; rank];
            for (&axis, &extent) in order.iter().zip(shape.dims()) {
                logical[axis] = extent;
            }
            let id = self.importer.graph.push_input(&place, &name, shape)?;
            first = first.or(Some(id));
            let id = match map {
                Some(map) => self.pixels(&place, id, map)?,
                None => id,
            };
            let view = View::ordered(id, &logical, &order);
            let value = if is_cast {
                Value::Pixels(view)
            } else {
                Value::View(view)
            };
            let taken = self.importer.values.insert(index, value);
            if taken.is_some() {
                return Err(place.invalid("it is listed twice"));
            }
        }
        sizes.check_used(first.map(|id: NodeId| self.importer.graph.node(id)))
    }

    /// An input that the file takes in bytes. The recipe of the photo makes numbers of 0 to 255 of it;
    /// here they become the real numbers that the bytes stand for, and then bytes.
    fn pixels(
        &mut self,
        place: &Place,
        id: NodeId,
        map: Quantization,
    ) -> Result<NodeId, ImportError> {
        let name = self.importer.graph.node(id).name.clone();
        let name = self.importer.unique(&name);
        let site = Site {
            place: place.clone(),
            name: name.clone(),
            constants: name,
        };
        let (scale, zero_point) = (f64::from(map.scale), f64::from(map.zero_point));
        let affine = Affine::scalar(scale, -zero_point * scale);
        let graph = &mut self.importer.graph;
        let real = graph.affine(&site, Some("pixels"), id, &affine)?;
        graph.quantize(&site, Some("bytes"), real, map)
    }

    /// A value by its tensor: what was made, an input, or a weight. `None` if it is left out.
    fn value(&mut self, index: i32) -> Result<Option<Value<'a>>, ImportError> {
        if index == -1 {
            return Ok(None);
        }
        if let Some(value) = self.importer.values.get(&index) {
            return Ok(Some(value.clone()));
        }
        let tensor = self.tensor(index)?;
        let Some(constant) = Constant::of_tensor(self.model, tensor)? else {
            let message = format!(
                "tensor `{}` is read before it is made",
                shorten(&tensor.name)
            );
            return Err(invalid("the graph", message));
        };
        let value = Value::from(constant);
        self.importer.values.insert(index, value.clone());
        Ok(Some(value))
    }

    /// Appends the operators that `outputs` need. The file has them in the order in which they run.
    fn nodes(
        &mut self,
        known: &[&'static Known],
        outputs: &[(String, i32)],
    ) -> Result<(), ImportError> {
        let operators = &self.model.operators;
        let mut needed: HashSet<i32> = outputs.iter().map(|&(_, index)| index).collect();
        let mut reads: HashSet<i32> = HashSet::new();
        let mut live = vec![false; operators.len()];
        for (operator, live) in operators.iter().zip(&mut live).rev() {
            *live = operator.outputs.ints().any(|i| needed.contains(&i));
            if *live {
                needed.extend(operator.inputs.ints());
                reads.extend(operator.inputs.ints());
            }
        }
        for (index, _) in live.iter().enumerate().filter(|(_, live)| **live) {
            let only = match outputs {
                [(_, only)] if !reads.contains(only) => Some(*only),
                _ => None,
            };
            self.node(index, known[index], only)?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        index: usize,
        known: &'static Known,
        answer: Option<i32>,
    ) -> Result<(), ImportError> {
        let operator = &self.model.operators[index];
        let op = known.op.name;
        let place = self.place_of(index, op)?;
        let [least, most] = known.inputs;
        let given = operator.inputs.len();
        if !(least..=most).contains(&given) {
            let message = format!("it has {given} inputs, expected {least} to {most}");
            return Err(place.invalid(message));
        }
        let type_of_options = operator.options_type;
        if known.options != 0 && type_of_options != 0 && type_of_options != known.options {
            let message = format!("its options are those of another operator ({type_of_options})");
            return Err(place.invalid(message));
        }
        let mut inputs = Vec::with_capacity(given);
        for index in operator.inputs.ints() {
            inputs.push(self.value(index)?);
        }
        self.undo_legacy_types(operator, op, &mut inputs)?;
        let name = self.importer.unique(&place.name);
        let site = Site {
            place: place.clone(),
            name: name.clone(),
            constants: name.clone(),
        };
        let folds = fold::is_known(op, &inputs);
        for (i, input) in inputs.iter_mut().enumerate() {
            if let Some(Value::View(view)) = input
                && !folds
            {
                *view = self.importer.real(&site, &format!("real{i}"), view)?;
            }
        }
        let call = Call {
            site,
            op,
            inputs,
            options: Options::new(place.clone(), operator.options),
            outputs: operator.outputs.len(),
            is_answer: answer.is_some() && operator.outputs.i32(0) == answer,
        };
        let before = self.importer.graph.len();
        let made = if folds {
            fold::fold(&mut self.importer, &call)?
        } else {
            (known.emit)(&mut self.importer, &call)?
        };
        call.options.finish()?;
        if made.len() != operator.outputs.len() {
            let message = format!("it has {} outputs, expected {}", call.outputs, made.len());
            return Err(place.invalid(message));
        }
        if let Some(Value::View(view)) = made.first()
            && view.id.0 >= before
        {
            self.importer.graph.mark(view.id, &name, op);
        }
        for (i, (output, mut value)) in operator.outputs.ints().zip(made).enumerate() {
            if let Value::View(view) = &mut value
                && let Some(map) = map_of(&place, self.tensor(output)?)?
            {
                let suffix = format!("bytes{i}");
                let graph = &mut self.importer.graph;
                let id = graph.quantize(&call.site, Some(&suffix), view.id, map)?;
                *view = view.of(id);
            }
            if self.importer.values.insert(output, value).is_some() {
                let message = format!("its output, tensor {output}, is made twice");
                return Err(place.invalid(message));
            }
        }
        Ok(())
    }

    /// Before there was an integer type with a sign, the converter stored such weights of operators on
    /// real numbers as `UINT8`. LiteRT reads their bits as `INT8`, too.
    fn undo_legacy_types(
        &self,
        operator: &Operator,
        op: &str,
        inputs: &mut [Option<Value<'a>>],
    ) -> Result<(), ImportError> {
        let Some(Some(Value::Constant(weights))) = inputs.get_mut(1) else {
            return Ok(());
        };
        let is_product = matches!(op, "CONV_2D" | "FULLY_CONNECTED");
        if !is_product || weights.element != Element::U8 {
            return Ok(());
        }
        let Some(x) = operator.inputs.i32(0) else {
            return Ok(());
        };
        if Element::of(self.tensor(x)?.element) == Some(Element::F32) {
            *weights = Rc::new(weights.as_signed());
        }
        Ok(())
    }

    /// The outputs as values of the graph, without the batch axis.
    fn results(&mut self, outputs: &[(String, i32)]) -> Result<Vec<(String, NodeId)>, ImportError> {
        let mut results = Vec::new();
        for (name, index) in outputs {
            let place = Place {
                what: "output",
                name: shorten(name),
                class: "tensor".into(),
            };
            let Some(Value::View(view)) = self.value(*index)? else {
                return Err(place.invalid("it does not depend on the photo"));
            };
            let own = self.importer.unique(&format!("{name}/output"));
            let site = Site {
                place,
                name: own.clone(),
                constants: own,
            };
            // An answer in bytes is given as the real numbers that they stand for.
            let view = self.importer.real(&site, "real", &view)?;
            results.push((name.clone(), self.importer.result(&site, &view)?));
        }
        Ok(results)
    }
}

/// How a tensor stores integers of 8 bits, if it does.
fn integers_of(tensor: &Tensor) -> Option<Integers> {
    match Element::of(tensor.element)? {
        Element::I8 => Some(Integers::I8),
        Element::U8 => Some(Integers::U8),
        _ => None,
    }
}

/// Whether a tensor has bytes that stand for themselves.
fn is_bare(tensor: &Tensor) -> bool {
    integers_of(tensor) == Some(Integers::U8) && tensor.quantization.is_none()
}

/// How the bytes of a value stand for real numbers; `None` if it has real numbers.
fn map_of(place: &Place, tensor: &Tensor) -> Result<Option<Quantization>, ImportError> {
    if Element::of(tensor.element).is_some_and(Element::is_float) {
        return Ok(None);
    }
    let Some(integers) = integers_of(tensor) else {
        let element = element_name(tensor.element);
        return Err(ImportError::Unrepresentable {
            place: place.clone(),
            message: format!("its values are of type {element}, and not real numbers or bytes")
                .into(),
            hint: "convert the model again with values of 8 bits \
                   (`tf.lite.OpsSet.TFLITE_BUILTINS_INT8`), or in f32, and run `dermal quantize`"
                .into(),
        });
    };
    let Some(stored) = &tensor.quantization else {
        return Err(place.invalid("its values are integers without a scale"));
    };
    if stored.scales.len() != 1 {
        let shown = format!("a list of {}", stored.scales.len());
        return Err(place.refused("scale", shown, "one number for the whole value"));
    }
    let scale = f64::from(stored.scales.f32(0).unwrap_or(0.0));
    let zero_point = stored.zero_points.i64(0).unwrap_or(0);
    value_map(place, integers, scale, zero_point).map(Some)
}

/// What an operator that is not known is called, and what it is.
fn name_of(code: &schema::Code) -> (String, &'static str) {
    const CUSTOM: i32 = 32;
    match (code.builtin, code.custom.strip_prefix("Flex")) {
        (CUSTOM, Some(op)) => (format!("Flex{op}"), "TensorFlow's own operator"),
        (CUSTOM, None) => (
            code.custom.clone().into_owned(),
            "an operator of its author",
        ),
        (118 | 119 | 129, _) => (number_name(code.builtin), "control flow"),
        (48 | 56 | 79, _) => (number_name(code.builtin), "it picks the answer"),
        (67, _) => (number_name(code.builtin), "it makes a map larger"),
        (number, _) => (number_name(number), ""),
    }
}

fn number_name(number: i32) -> String {
    let found = schema::OPERATOR_NAMES.iter().find(|(n, _)| *n == number);
    found.map_or_else(
        || format!("operator {number}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// The order in which the axes of an image lie in the graph: rows, columns, channels. `None` for what
/// is not an image. Channels are the last axis, unless only the second one has few elements.
fn order_of_image(dims: &[Option<usize>]) -> Option<[usize; 3]> {
    let &[_, second, third, last] = dims else {
        return None;
    };
    let few = |n: Option<usize>| matches!(n, Some(1..=4));
    Some(if few(second) && !few(third) && !few(last) {
        [2, 3, 1]
    } else {
        [1, 2, 3]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_found_by_their_number() {
        let order = |dims: [Option<usize>; 4]| order_of_image(&dims);
        let nchw = Some([2, 3, 1]);
        let nhwc = Some([1, 2, 3]);
        assert_eq!(order([None, Some(3), Some(32), Some(32)]), nchw);
        assert_eq!(order([None, None, None, Some(3)]), nhwc);
        assert_eq!(order([Some(1), Some(3), Some(3), Some(3)]), nhwc);
        assert_eq!(order([Some(1), Some(28), Some(28), Some(1)]), nhwc);
        assert_eq!(order([Some(1), Some(4), Some(4), Some(8)]), nhwc);
        assert_eq!(order_of_image(&[Some(1), Some(3)]), None);
    }
}
