//! Attention: each token becomes a mean of all tokens' values, weighted by how alike they are.

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall, Operand};
use crate::graph::{Dense, Epilogue, Kernel, NodeId, Op};
use crate::import::affine::Affine;
use crate::import::error::ImportError;
use crate::tensor::Shape;

/// `MultiHeadAttention` of tokens `[T, C]`, or of a map `[H, W, C]` whose pixels are the tokens.
/// Per head: `softmax(query key^T / sqrt(key_dim)) value`; then all heads side by side through a
/// dense layer.
pub(super) fn multi_head(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let attributes = Attributes::new(call.layer);
    let heads = attributes.count("num_heads")?;
    let width = attributes.count("key_dim")?;
    let value_width = attributes.count_or("value_dim", width)?;
    let use_bias = attributes.flag("use_bias", true)?;
    let [query, value, key] = operands(call)?;
    let shape = builder.shape(query).clone();
    let (tokens, channels) = tokens(builder, call, query)?;
    every_token(&attributes, shape.rank())?;
    attributes.must_be_off("use_gate")?;
    // How it is computed, and training.
    attributes.ignore(&["flash_attention", "dropout", "seed"]);
    // The shapes that it was built for.
    attributes.ignore(&["query_shape", "key_shape", "value_shape"]);
    let out = match attributes.get("output_shape") {
        None => channels,
        Some(given) => {
            let one = match given.as_array().map(Vec::as_slice) {
                Some([one]) => one,
                _ => given,
            };
            let count = one.as_u64().and_then(|n| usize::try_from(n).ok());
            match count.filter(|&n| n > 0) {
                Some(n) => n,
                None => return attributes.refuse("output_shape", given, "one number above 0"),
            }
        }
    };
    attributes.finish()?;

    let project = |builder: &mut Builder, of: NodeId, [name, kernel, bias]: [&str; 3], width| {
        let (of, channels) = self::tokens(builder, call, of)?;
        let stored = [channels, heads, width];
        // Saturated products fit no weight, and are refused by their shape.
        let plain = [channels, heads.saturating_mul(width)];
        let dense = Dense {
            units: plain[1],
            kernel: Kernel::plain(builder.weight(call, kernel, &stored, &plain)?),
            bias: if use_bias {
                Some(builder.weight(call, bias, &stored[1..], &plain[1..])?)
            } else {
                None
            },
            epilogue: Epilogue::default(),
        };
        builder.push(call, Some(name), Op::Dense(dense), &[of])
    };
    let split =
        |builder: &mut Builder, of: NodeId, [name, turned]: [&str; 2], order: [usize; 3]| {
            let [rows, columns] = [builder.shape(of).dims()[0], builder.shape(of).channels()];
            let shape = Shape::new(&[rows, heads, columns / heads]);
            let of = (builder.graph).reshape(&call.site, Some(name), of, shape)?;
            let permutation = order.to_vec();
            builder.push(call, Some(turned), Op::Transpose { permutation }, &[of])
        };
    let of_query = ["query", "query_kernel", "query_bias"];
    let queries = project(builder, tokens, of_query, width)?;
    let root = (width as f64).sqrt();
    let smaller = Affine::scalar(1.0 / root, 0.0);
    let queries = builder
        .graph
        .affine(&call.site, Some("scaled"), queries, &smaller)?;
    let keys = project(builder, key, ["key", "key_kernel", "key_bias"], width)?;
    let of_value = ["value", "value_kernel", "value_bias"];
    let values = project(builder, value, of_value, value_width)?;
    // `[heads, tokens, width]` each; the keys as columns.
    let queries = split(builder, queries, ["query/heads", "query/first"], [1, 0, 2])?;
    let keys = split(builder, keys, ["key/heads", "key/first"], [1, 2, 0])?;
    let values = split(builder, values, ["value/heads", "value/first"], [1, 0, 2])?;
    let scores = builder.push(call, Some("scores"), Op::MatMul, &[queries, keys])?;
    let softmax = Op::Softmax { axis: None };
    let weights = builder.push(call, Some("weights"), softmax, &[scores])?;
    let mixed = builder.push(call, Some("mixed"), Op::MatMul, &[weights, values])?;
    let permutation = vec![1, 0, 2];
    let back = builder.push(call, Some("back"), Op::Transpose { permutation }, &[mixed])?;
    let rows = builder.shape(back).dims()[0];
    let joined = Shape::new(&[rows, heads.saturating_mul(value_width)]);
    let joined = (builder.graph).reshape(&call.site, Some("joined"), back, joined)?;
    let stored = [heads, value_width, out];
    let plain = [heads.saturating_mul(value_width), out];
    let dense = Op::Dense(Dense {
        units: out,
        kernel: Kernel::plain(builder.weight(call, "output_kernel", &stored, &plain)?),
        bias: if use_bias {
            Some(builder.weight(call, "output_bias", &[out], &[out])?)
        } else {
            None
        },
        epilogue: Epilogue::default(),
    });
    if shape.rank() == 2 {
        return builder.push(call, None, dense, &[joined]);
    }
    let rows = builder.push(call, Some("output"), dense, &[joined])?;
    let mut dims = shape.dims().to_vec();
    dims[2] = out;
    builder
        .graph
        .reshape(&call.site, None, rows, Shape::new(&dims))
}

/// Query, value and key, by position or by name; the key is the value if it is not given.
fn operands(call: &LayerCall) -> Result<[NodeId; 3], ImportError> {
    let place = &call.site.place;
    let names = ["query", "value", "key"];
    let mut found = [None; 3];
    for (slot, argument) in found.iter_mut().zip(&call.args) {
        match argument {
            Operand::Node(id) => *slot = Some(*id),
            other if other.is_off() => {}
            _ => return Err(place.invalid("a positional argument is not a tensor")),
        }
    }
    if call.args.iter().skip(3).any(|argument| !argument.is_off()) {
        return Err(place.refused("call argument 3", "a mask", "nothing"));
    }
    for (key, argument) in &call.kwargs {
        match (names.iter().position(|name| name == key), argument) {
            (Some(slot), Operand::Node(id)) => found[slot] = Some(*id),
            // In Keras 3 `predict` overrides a recorded `training`; without dropout it means nothing.
            (None, _) if key == "training" => {}
            (_, argument) if argument.is_off() => {}
            _ => {
                let given = format!("call argument {key}");
                return Err(place.refused(given, "given", "nothing or false"));
            }
        }
    }
    match found {
        [Some(query), Some(value), key] => Ok([query, value, key.unwrap_or(value)]),
        _ => Err(place.invalid("expected a query and a value")),
    }
}

/// A value as `[tokens, channels]`, and its channels.
fn tokens(
    builder: &mut Builder,
    call: &LayerCall,
    value: NodeId,
) -> Result<(NodeId, usize), ImportError> {
    let shape = builder.shape(value).clone();
    let channels = shape.channels();
    let rows = match shape.rank() {
        2 => return Ok((value, channels)),
        3 => shape.len() / channels,
        _ => {
            let expected = "[tokens, channels] or [rows, columns, channels]";
            let place = &call.site.place;
            return Err(place.refused("query", shape.to_string(), expected));
        }
    };
    let to = Shape::new(&[rows, channels]);
    let id = (builder.graph).reshape(&call.site, Some("tokens"), value, to)?;
    Ok((id, channels))
}

/// Refuses attention along some axes only.
fn every_token(attributes: &Attributes, rank: usize) -> Result<(), ImportError> {
    let Some(value) = attributes.get("attention_axes") else {
        return Ok(());
    };
    let listed: Option<Vec<i64>> = match value {
        serde_json::Value::Array(items) => items.iter().map(serde_json::Value::as_i64).collect(),
        one => one.as_i64().map(|axis| vec![axis]),
    };
    let axes = listed.and_then(|listed| crate::import::axes::axes(&listed, rank));
    if axes.is_some_and(|axes| axes.into_iter().eq(0..rank - 1)) {
        return Ok(());
    }
    attributes.refuse("attention_axes", value, "all axes but batch and channels")
}
