//! The graph under construction, as the operators of a file see it: views in, views out.

use std::collections::HashMap;

use super::call::{Call, Fused, Value};
use super::constant::{Constant, Identity};
use crate::activation::Activation;
use crate::graph::{Kernel, NodeId, Op};
use crate::import::arrange::{self, Arranged, Broadcast};
use crate::import::builder::{GraphBuilder, Site};
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::names::{Names, underscored};
use crate::import::quantized::IntegerWeights;
use crate::import::view::View;
use crate::tensor::Shape;

/// What identifies a weight in the graph: the constant, and the form in which it is stored.
type WeightKey = (Identity, String);

/// Builds the graph; operators call its methods.
pub(super) struct Importer<'a, 'b> {
    pub(super) graph: GraphBuilder<'b>,
    /// Values by the numbers of their tensors.
    pub(super) values: HashMap<i32, Value<'a>>,
    /// Elements that arithmetic on constants may still make.
    pub(super) foldable: usize,
    names: Names,
    arranged: Arranged,
    /// Keys of stored weights. The constants are kept, so that no other gets their address.
    weights: HashMap<WeightKey, (String, Constant<'a>)>,
    /// The same for kernels, which may be of 16 or 8 bits.
    kernels: HashMap<WeightKey, (Kernel, Constant<'a>)>,
}

impl<'a, 'b> Importer<'a, 'b> {
    pub(super) fn new(graph: GraphBuilder<'b>) -> Self {
        Self {
            graph,
            values: HashMap::new(),
            foldable: 1 << 22,
            names: Names::default(),
            arranged: Arranged::default(),
            weights: HashMap::new(),
            kernels: HashMap::new(),
        }
    }

    /// A name that no other operator of the file has.
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

    /// A value of the graph that has these axes of the view, in this order.
    pub(super) fn arrange(
        &mut self,
        call: &Call,
        view: &View,
        order: &[usize],
    ) -> Result<NodeId, ImportError> {
        let groups: Vec<&[usize]> = order.chunks(1).collect();
        self.arranged
            .arrange(&mut self.graph, &call.site, view, &groups)
    }

    /// The value of an output of the model, without the batch axis.
    pub(super) fn result(&mut self, site: &Site, view: &View) -> Result<NodeId, ImportError> {
        let order = axes_behind_batch(view);
        let groups: Vec<&[usize]> = order.chunks(1).collect();
        self.arranged.arrange(&mut self.graph, site, view, &groups)
    }

    /// The value with other axes for the same elements in the order of the file.
    pub(super) fn reshape(
        &mut self,
        call: &Call,
        view: &View,
        dims: &[usize],
    ) -> Result<View, ImportError> {
        self.arranged
            .reshape(&mut self.graph, &call.site, view, dims)
    }

    /// The value with all its elements in the order of the file.
    pub(super) fn in_file_order(&mut self, call: &Call, view: &View) -> Result<View, ImportError> {
        self.arranged
            .in_file_order(&mut self.graph, &call.site, view)
    }

    /// An image `[1, H, W, C]` of the file as `[H, W, C]` of the graph.
    pub(super) fn image(
        &mut self,
        call: &Call,
        view: &View,
    ) -> Result<(NodeId, [usize; 3]), ImportError> {
        let [1, h, w, c] = *view.dims().as_slice() else {
            return Err(call.refused(
                format!(
                    "its input has shape {:?}, expected [1, rows, columns, channels]",
                    view.dims()
                ),
                "only classifiers of single photos are supported: for sequences or volumes use \
                 LiteRT",
            ));
        };
        let id = self.arrange(call, view, &[1, 2, 3])?;
        Ok((id, [h, w, c]))
    }

    /// The view of an `[H, W, C]` value of the graph as `[1, H, W, C]` of the file.
    pub(super) fn of_image(&self, id: NodeId) -> View {
        let [h, w, c] = self.graph.shape(id).hwc().unwrap_or([1, 1, 1]);
        View::row_major(id, &[1, h, w, c])
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

    /// Appends the activation that is part of an operator.
    pub(super) fn fused(
        &mut self,
        call: &Call,
        view: &View,
        fused: Fused,
    ) -> Result<View, ImportError> {
        match fused {
            Fused::Function(function) => self.activation(call, Some("activation"), view, function),
            Fused::MinusOneToOne => self.minus_one_to_one(call, Some("activation"), view),
        }
    }

    /// Appends `min(max(x, -1), 1)`.
    pub(super) fn minus_one_to_one(
        &mut self,
        call: &Call,
        suffix: Option<&str>,
        view: &View,
    ) -> Result<View, ImportError> {
        let shifted = self.scaled(call, Some("from_low"), view, 1.0, 1.0)?;
        let function = functions::relu(Some(2.0), 0.0, 0.0);
        let bounded = self.activation(call, Some("bounded"), &shifted, function)?;
        self.scaled(call, suffix, &bounded, 1.0, -1.0)
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
        let made = arrange::affine(&mut self.graph, &call.site, suffix, view, broadcast)?;
        made.ok_or_else(|| {
            let (x, hint) = (
                view.dims(),
                "write the constant with the shape of a channel",
            );
            call.refused(
                format!("shape {dims:?} of a constant is not broadcast to {x:?}"),
                hint,
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
        if !constant.is_real() {
            let message = format!("its {name} are whole numbers without a scale");
            return Err(call.place().invalid(message));
        }
        let key = (constant.identity(), form.to_owned());
        if let Some((stored, _)) = self.weights.get(&key) {
            return Ok(stored.clone());
        }
        let stored = self.free_key(call, name);
        let mut buffer = self.graph.zeroed(call.place(), Shape::new(shape).len())?;
        fill(buffer.as_mut_slice());
        self.graph
            .insert(call.place(), stored.clone(), shape, buffer)?;
        let kept = (stored.clone(), constant.clone());
        self.weights.insert(key, kept);
        Ok(stored)
    }

    /// A key for a tensor that no other has.
    fn free_key(&self, call: &Call, name: &str) -> String {
        let mut key = format!("{}/{name}", call.site.constants);
        while self.graph.has_tensor(&key) {
            key.push('_');
        }
        key
    }

    /// Stores the kernel of a convolution or matrix product in a plain layout, whose last axis is the
    /// output channel. `source` gives for each place of it the element of the constant that stands
    /// there. Integers with scales stay integers, and 16 bits stay 16 bits.
    pub(super) fn kernel(
        &mut self,
        call: &Call,
        (constant, form): (&Constant<'a>, &str),
        shape: &[usize],
        source: &dyn Fn(usize) -> usize,
    ) -> Result<Kernel, ImportError> {
        let known = (constant.identity(), form.to_owned());
        if let Some((kernel, _)) = self.kernels.get(&known) {
            return Ok(kernel.clone());
        }
        let kernel = if let Some(narrow) = self.narrow(call, constant, shape, source)? {
            narrow
        } else {
            let fill = &mut |into: &mut [f32]| {
                for (i, to) in into.iter_mut().enumerate() {
                    *to = constant.weight(source(i));
                }
            };
            Kernel::plain(self.weight(call, "kernel", (constant, form), shape, fill)?)
        };
        let kept = (kernel.clone(), constant.clone());
        self.kernels.insert(known, kept);
        Ok(kernel)
    }

    /// Stores a kernel as the file has it, if that is in 16 bits, or in 8 bits with a scale for all or
    /// for each output channel.
    fn narrow(
        &mut self,
        call: &Call,
        constant: &Constant<'a>,
        shape: &[usize],
        source: &dyn Fn(usize) -> usize,
    ) -> Result<Option<Kernel>, ImportError> {
        let key = self.free_key(call, "kernel");
        let len = constant.len();
        if let Some(dtype) = constant.half() {
            // What is no number is named on the way of all other weights.
            if !(0..len).all(|i| constant.weight(i).is_finite()) {
                return Ok(None);
            }
            let bytes: Vec<u8> = (0..len).flat_map(|i| constant.half_at(source(i))).collect();
            let stored = (dtype, shape);
            self.graph
                .insert_bytes(call.place(), key.clone(), stored, bytes)?;
            return Ok(Some(Kernel::plain(key)));
        }
        let n = shape.last().copied().unwrap_or(1).min(len);
        if n == 0 {
            return Ok(None);
        }
        let first = (0..n).map(|i| constant.steps(source(i)).map(|(_, scale)| scale));
        let Some(scales) = first.collect::<Option<Vec<f32>>>() else {
            return Ok(None);
        };
        let mut integers = Vec::with_capacity(len);
        for i in 0..len {
            match constant.steps(source(i)) {
                // Not along another axis.
                Some((steps, scale)) if scale.to_bits() == scales[i % n].to_bits() => {
                    integers.push(steps);
                }
                _ => return Ok(None),
            }
        }
        let weights = IntegerWeights {
            integers: &integers,
            scales: &scales,
        };
        let stored = weights.store(&mut self.graph, call.place(), key, shape);
        stored.map(Some)
    }

    /// The real numbers of a value in bytes. Other values are real already.
    pub(super) fn real(
        &mut self,
        site: &Site,
        suffix: &str,
        view: &View,
    ) -> Result<View, ImportError> {
        let id = self.graph.dequantize(site, Some(suffix), view.id)?;
        Ok(view.of(id))
    }

    /// Stores a list of `len` numbers.
    pub(super) fn vector(
        &mut self,
        call: &Call,
        name: &str,
        constant: &Constant<'a>,
        len: usize,
    ) -> Result<String, ImportError> {
        if constant.len() != len {
            return Err(ImportError::WeightShape {
                place: call.place().clone(),
                weight: name.to_owned(),
                expected: Shape::new(&[len]),
                got: Shape::new(constant.dims()),
            });
        }
        self.weight(call, name, (constant, "vector"), &[len], &mut |into| {
            for (i, to) in into.iter_mut().enumerate() {
                *to = constant.weight(i);
            }
        })
    }

    /// A stored value as a value of the graph, with the axes of the file.
    pub(super) fn stored(
        &mut self,
        call: &Call,
        constant: &Constant<'a>,
    ) -> Result<View, ImportError> {
        let dims = constant.dims().to_vec();
        let shape: Vec<usize> = match dims.as_slice() {
            [] => vec![1],
            [1, rest @ ..] if !rest.is_empty() => rest.to_vec(),
            all => all.to_vec(),
        };
        let tensor = self.weight(call, "value", (constant, "value"), &shape, &mut |into| {
            for (i, to) in into.iter_mut().enumerate() {
                *to = constant.weight(i);
            }
        })?;
        let id = self.push(call, Some("value"), Op::Constant { tensor }, &[])?;
        Ok(View::row_major(id, &dims))
    }
}

/// All axes, or all but the first, which is the batch.
pub(super) fn axes_behind_batch(view: &View) -> Vec<usize> {
    let first = usize::from(view.rank() > 1 && view.extent(0) == 1);
    (first..view.rank()).collect()
}

/// The axes without the batch, in the order in which they lie in the graph, or in that of the file if
/// the parts of one lie apart.
pub(super) fn lying(view: &View) -> Vec<usize> {
    let kept = axes_behind_batch(view);
    if view.lies_as(&View::row_major(view.id, &view.dims())) {
        return kept;
    }
    match view.order() {
        Some(order) => order.into_iter().filter(|a| kept.contains(a)).collect(),
        None => kept,
    }
}
