//! The graph under construction, as the operators of a file see it: views in, views out.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::call::{Call, Value};
use super::constant::{Constant, MAX_FOLDED, Weights};
use crate::activation::Activation;
use crate::graph::{Kernel, NodeId, Op};
use crate::import::arrange::{self, Arranged};
pub(super) use crate::import::arrange::{Broadcast, MAX_SPELLED_OUT};
use crate::import::builder::{GraphBuilder, Site};
use crate::import::error::ImportError;
use crate::import::names::{Names, underscored};
use crate::import::quantized::IntegerWeights;
use crate::import::view::View;
use crate::tensor::Shape;

/// Elements of a computed weight that is stored once for all who read it.
const MAX_SHARED: usize = 1 << 16;

/// What identifies a weight in the graph: the constant, and the form in which it is stored.
type WeightKey = (usize, Vec<usize>, Vec<usize>, String);

/// Builds the graph; operators call its methods.
pub(super) struct Importer<'a, 'b> {
    pub(super) graph: GraphBuilder<'b>,
    /// Version of the default domain's operators.
    pub(super) opset: i64,
    /// Values by their names in the file.
    pub(super) values: HashMap<&'a str, Value<'a>>,
    /// The extent of the batch axis that the file's input has, if it is not open.
    pub(super) batch: Option<usize>,
    /// Class names that a node at the end of the graph holds.
    pub(super) labels: Option<Vec<String>>,
    /// Elements that arithmetic on constants may still make.
    pub(super) foldable: usize,
    /// Most elements of one constant in such arithmetic.
    pub(super) largest: usize,
    names: Names,
    arranged: Arranged,
    /// Keys of stored weights. The constants are kept, so that no other gets their address.
    weights: HashMap<WeightKey, (String, Constant<'a>)>,
    /// The same for kernels that are not f32.
    kernels: HashMap<WeightKey, Kernel>,
    kept: Vec<Constant<'a>>,
}

impl<'a, 'b> Importer<'a, 'b> {
    /// `elements` is about how many weights the file holds.
    pub(super) fn new(graph: GraphBuilder<'b>, opset: i64, elements: usize) -> Self {
        Self {
            graph,
            opset,
            values: HashMap::new(),
            batch: None,
            labels: None,
            // Arithmetic on shapes is small. Networks that standardize their weights (NFNet)
            // compute each of them in a few steps.
            foldable: (1usize << 22).saturating_add(elements.saturating_mul(16)),
            largest: MAX_FOLDED.max(elements / 4),
            names: Names::default(),
            arranged: Arranged::default(),
            weights: HashMap::new(),
            kernels: HashMap::new(),
            kept: Vec::new(),
        }
    }

    /// A name that no other node of the file has.
    pub(super) fn unique(&mut self, name: &str) -> String {
        self.names.unique(name, underscored)
    }

    /// Appends a node of the graph.
    pub(super) fn push(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, ImportError> {
        self.graph.push(&call.site, suffix, op, inputs)
    }

    /// See [`Arranged::arrange`].
    pub(super) fn arrange(
        &mut self,
        site: &Site,
        view: &View,
        groups: &[&[usize]],
    ) -> Result<NodeId, ImportError> {
        self.arranged.arrange(&mut self.graph, site, view, groups)
    }

    /// See [`Arranged::reshape`].
    pub(super) fn reshape(
        &mut self,
        site: &Site,
        view: &View,
        dims: &[usize],
    ) -> Result<View, ImportError> {
        self.arranged.reshape(&mut self.graph, site, view, dims)
    }

    /// An image `[1, C, H, W]` of the file as `[H, W, C]` of the graph.
    pub(super) fn image(
        &mut self,
        call: &Call,
        view: &View,
    ) -> Result<(NodeId, [usize; 3]), ImportError> {
        let [1, c, h, w] = *view.dims().as_slice() else {
            return Err(call.refused(
                format!(
                    "its input has shape {:?}, expected [1, C, H, W]",
                    view.dims()
                ),
                "only classifiers of single photos are supported: for sequences or volumes use \
                 ONNX Runtime",
            ));
        };
        let id = self.arrange(&call.site, view, &[&[2], &[3], &[1]])?;
        Ok((id, [h, w, c]))
    }

    /// The view of an `[H, W, C]` value of the graph as `[1, C, H, W]` of the file.
    pub(super) fn of_image(&self, id: NodeId) -> View {
        let [h, w, c] = self.graph.shape(id).hwc().unwrap_or([1, 1, 1]);
        View::ordered(id, &[1, c, h, w], &[2, 3, 1])
    }

    /// Appends an elementwise function.
    pub(super) fn activation(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        view: &View,
        activation: Activation,
    ) -> Result<View, ImportError> {
        if activation == Activation::Linear {
            return Ok(view.clone());
        }
        let id = self.push(call, suffix, Op::Activation(activation), &[view.id])?;
        Ok(view.of(id))
    }

    /// See [`arrange::rows`].
    pub(super) fn rows(
        &mut self,
        call: &Call,
        view: &View,
        len: usize,
    ) -> Result<NodeId, ImportError> {
        arrange::rows(&mut self.graph, &call.site, view, len)
    }

    /// See [`arrange::last_axis`].
    pub(super) fn last_axis(
        &mut self,
        call: &Call,
        view: &View,
        len: usize,
    ) -> Result<NodeId, ImportError> {
        arrange::last_axis(&mut self.graph, &call.site, view, len)
    }

    /// Appends `x * scale + shift` with constants of the file, which are broadcast to the value.
    pub(super) fn affine(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        view: &View,
        broadcast: Broadcast<'_>,
    ) -> Result<View, ImportError> {
        let dims = broadcast.0;
        arrange::affine(&mut self.graph, &call.site, suffix, view, broadcast)?.ok_or_else(|| {
            call.refused(
                format!(
                    "shape {dims:?} of a constant is not broadcast to {:?}",
                    view.dims()
                ),
                "write the constant with the shape of a channel, or of the value it meets",
            )
        })
    }

    /// As [`affine`](Self::affine), with one number for all elements.
    pub(super) fn scaled(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        view: &View,
        scale: f64,
        shift: f64,
    ) -> Result<View, ImportError> {
        self.affine(call, suffix, view, (&[], &|_| scale, &|_| shift))
    }

    /// Stores a weight once for each form, and returns its key.
    pub(super) fn weight(
        &mut self,
        call: &Call,
        name: &str,
        (constant, form): (&Constant<'a>, &str),
        shape: &[usize],
        fill: &mut dyn FnMut(&mut [f32]),
    ) -> Result<String, ImportError> {
        let (address, dims, strides) = constant.identity();
        let key = (address, dims.to_vec(), strides.to_vec(), form.to_owned());
        if let Some((stored, _)) = self.weights.get(&key) {
            return Ok(stored.clone());
        }
        let mut stored = format!("{}/{name}", call.site.constants);
        while self.graph.has_tensor(&stored) {
            stored.push('_');
        }
        let mut buffer = self.graph.zeroed(call.place(), Shape::new(shape).len())?;
        fill(buffer.as_mut_slice());
        self.graph
            .insert(call.place(), stored.clone(), shape, buffer)?;
        // Large weights that are computed are not kept in memory, and are not shared.
        if !constant.is_computed() || constant.len() <= MAX_SHARED {
            let kept = (stored.clone(), constant.clone());
            self.weights.insert(key, kept);
        }
        Ok(stored)
    }

    /// A constant of the file as a value of the graph.
    pub(super) fn stored(
        &mut self,
        call: &Call,
        name: &str,
        constant: &Constant<'a>,
    ) -> Result<View, ImportError> {
        let mut dims = constant.dims().to_vec();
        if dims.is_empty() {
            dims.push(1);
        }
        let shape = dims.clone();
        let tensor = self.weight(call, name, (constant, "value"), &shape, &mut |into| {
            constant.write(into);
        })?;
        let op = Op::Constant { tensor };
        let id = self.push(call, Some(name), op, &[])?;
        Ok(View::row_major(id, constant.dims()))
    }

    /// Whether an input of the model is among the values that a value is made of.
    pub(super) fn reads_input(&self, id: NodeId) -> bool {
        let mut seen = HashSet::from([id]);
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            let node = self.graph.node(id);
            if matches!(node.op, Op::Input) {
                return true;
            }
            let inputs = node.inputs.iter().copied();
            waiting.extend(inputs.filter(|&input| seen.insert(input)));
        }
        false
    }

    /// An input of a node as a value of the graph, also if it is a constant.
    pub(super) fn value(&mut self, call: &Call<'_, 'a>, index: usize) -> Result<View, ImportError> {
        match call.input(index)? {
            Value::View(view) => Ok(view.clone()),
            Value::Constant(constant) => {
                let constant = Rc::clone(constant);
                self.stored(call, &format!("input{index}"), &constant)
            }
            Value::Missing => Err(call.place().unsupported()),
        }
    }

    /// The value as rows that run over the axes `over`, in any order of their elements, and how it
    /// lies then. It is arranged only if those axes do not lie innermost.
    pub(super) fn innermost(
        &mut self,
        call: &Call,
        view: &View,
        over: &[usize],
    ) -> Result<(NodeId, View), ImportError> {
        let stored = view.stored();
        let inner = over.iter().map(|&a| view.atoms(a).len()).sum::<usize>();
        let lies_so = stored[stored.len() - inner..]
            .iter()
            .all(|step| over.contains(&step.axis));
        if lies_so {
            let len = over.iter().map(|&a| view.extent(a)).product();
            let id = self.last_axis(call, view, len)?;
            return Ok((id, view.of(id)));
        }
        // The others stay in the order in which they lie, as far as they have one.
        let others: Vec<usize> = match view.order() {
            Some(order) => order.into_iter().filter(|a| !over.contains(a)).collect(),
            None => (0..view.rank()).filter(|a| !over.contains(a)).collect(),
        };
        let id = self.arrange(&call.site, view, &[&others, over])?;
        let order: Vec<usize> = others.iter().chain(over).copied().collect();
        Ok((id, View::ordered(id, &view.dims(), &order)))
    }

    /// Stores the kernel of a convolution or matrix product: the weights, whose axes lie as the graph
    /// has them, the output channel last, or their rows in another order; times `alpha`. Integers
    /// with scales stay integers, and 16 bits stay 16 bits.
    pub(super) fn kernel(
        &mut self,
        call: &Call,
        name: &str,
        weights: &Constant<'a>,
        order: Option<&[usize]>,
        alpha: f32,
    ) -> Result<Kernel, ImportError> {
        let form = format!("kernel {order:?} {alpha}");
        let shape = weights.dims();
        let mut key = format!("{}/{name}", call.site.constants);
        while self.graph.has_tensor(&key) {
            key.push('_');
        }
        let (address, dims, strides) = weights.identity();
        let known = (address, dims.to_vec(), strides.to_vec(), form.clone());
        let kernel = match weights.weights() {
            Weights::Half(dtype) if alpha == 1.0 => {
                if let Some(kernel) = self.kernels.get(&known) {
                    return Ok(kernel.clone());
                }
                let mut bytes = Vec::with_capacity(weights.len().saturating_mul(2));
                let mut finite = true;
                weights.each_weight(order, |at| {
                    bytes.extend(weights.half_at(at));
                    finite &= weights.real_at(at).is_finite();
                });
                // What is no number is named on the way of all other weights.
                finite.then_some(()).map(|()| {
                    let stored = (dtype, shape);
                    self.graph
                        .insert_bytes(call.place(), key.clone(), stored, bytes)?;
                    Ok(Kernel::plain(key.clone()))
                })
            }
            Weights::Integers { scales } if alpha > 0.0 => {
                if let Some(kernel) = self.kernels.get(&known) {
                    return Ok(kernel.clone());
                }
                let scales: Vec<f32> = scales.iter().map(|s| s * alpha).collect();
                let mut integers = Vec::with_capacity(weights.len());
                weights.each_weight(order, |at| integers.push(weights.steps_at(at)));
                let stored = IntegerWeights {
                    integers: &integers,
                    scales: &scales,
                };
                Some(stored.store(&mut self.graph, call.place(), key.clone(), shape))
            }
            _ => None,
        };
        if let Some(kernel) = kernel {
            let kernel = kernel?;
            self.kernels.insert(known, kernel.clone());
            self.kept.push(weights.clone());
            return Ok(kernel);
        }
        let key = self.weight(call, name, (weights, &form), shape, &mut |into| {
            let mut into = into.iter_mut();
            weights.each_weight(order, |at| {
                if let Some(to) = into.next() {
                    *to = weights.real_at(at) * alpha;
                }
            });
        })?;
        Ok(Kernel::plain(key))
    }

    /// Stores a bias or another list of `len` numbers.
    pub(super) fn vector(
        &mut self,
        call: &Call,
        name: &str,
        constant: &Constant<'a>,
        len: usize,
    ) -> Result<String, ImportError> {
        let Some(flat) = constant.reshaped(&[len]) else {
            return Err(ImportError::WeightShape {
                place: call.place().clone(),
                weight: name.to_owned(),
                expected: Shape::new(&[len]),
                got: Shape::new(constant.dims()),
            });
        };
        self.weight(call, name, (&flat, "vector"), &[len], &mut |into| {
            for (i, to) in into.iter_mut().enumerate() {
                *to = flat.weight(&[i]);
            }
        })
    }
}
