//! Attention as one operator: ONNX's of opset 23 on, and the two that ONNX Runtime's optimizer
//! writes. It becomes two products and a softmax.
//!
//! Sources: <https://onnx.ai/onnx/operators/onnx__Attention.html>,
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>.

use super::super::call::{Call, Outputs};
use super::super::constant::{Constant, Kind};
use super::super::importer::Importer;
use super::dense::{product, product_of_values};
use super::part::cut;
use super::shape::expanded;
use crate::activation::Activation;
use crate::graph::Op;
use crate::import::error::ImportError;
use crate::import::view::{View, broadcast};

/// Stands for minus infinity in a mask: `e^x` of it is 0, and a sum with it is a number.
const NEVER: f64 = -1e30;

/// What is computed of queries, keys and values.
struct Asked {
    /// Of the products; one over the square root of a head's width if it is not given.
    scale: Option<f32>,
    /// Bounds products smoothly; 0 for not at all.
    softcap: f32,
    is_causal: bool,
}

/// An input as heads `[1, H, S, D]`: it is that, or `[1, S, H * D]`.
fn heads(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    count: Option<usize>,
) -> Result<View, ImportError> {
    match (x.dims().as_slice(), count) {
        (&[1, _, _, _], _) => Ok(x.clone()),
        (&[1, s, width], Some(n)) if n > 0 && width.is_multiple_of(n) => {
            let x = importer.reshape(&call.site, x, &[1, s, n, width / n])?;
            Ok(x.transposed(&[0, 2, 1, 3]))
        }
        _ => {
            let shown = format!("{:?}", x.dims());
            let expected = "queries, keys and values of one photo, in whole heads";
            Err(call.place().refused("shape", shown, expected))
        }
    }
}

/// A whole number from 1 up.
fn counted(call: &Call, name: &str) -> Result<Option<usize>, ImportError> {
    let Some(value) = call.attributes.optional_int(name)? else {
        return Ok(None);
    };
    match usize::try_from(value) {
        Ok(0) => Ok(None),
        Ok(n) if n < 1 << 20 => Ok(Some(n)),
        _ => Err(call.place().refused(name, value, "a number from 1 up")),
    }
}

/// Refuses inputs from `first` on, which are for text and not for photos.
fn nothing_from(call: &Call, first: usize) -> Result<(), ImportError> {
    if (first..call.inputs.len()).any(|i| call.optional(i).is_some()) || call.outputs_read > 1 {
        return Err(call.refused(
            "it takes or gives keys and values of earlier steps, or lengths of texts",
            "only attention of one photo at once is supported: rebuild this part of the model",
        ));
    }
    Ok(())
}

/// ONNX's own: queries, keys, values, mask.
pub(super) fn attention<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    nothing_from(call, 4)?;
    call.attributes
        .ignore(&["softmax_precision", "qk_matmul_output_mode"]);
    let (of_queries, of_keys) = (
        counted(call, "q_num_heads")?,
        counted(call, "kv_num_heads")?,
    );
    let asked = Asked {
        scale: call.attributes.optional_float("scale")?,
        softcap: call.attributes.float("softcap", 0.0)?,
        is_causal: call.attributes.flag("is_causal", false)?,
    };
    let mut inputs = Vec::new();
    let mut is_flat = false;
    for (index, count) in [of_queries, of_keys, of_keys].into_iter().enumerate() {
        let x = importer.value(call, index)?;
        is_flat = x.rank() == 3;
        inputs.push(heads(importer, call, &x, count)?);
    }
    let mask = call.optional_constant(3, "mask")?.cloned();
    let y = attended(importer, call, &inputs, mask.as_deref(), &asked)?;
    Ok(vec![joined(importer, call, &y, is_flat)?.into()])
}

/// ONNX Runtime's of queries, keys and values: query, key, value, bias, and more that is refused.
pub(super) fn multi_head<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    nothing_from(call, 4)?;
    let asked = asked_of_runtime(call)?;
    let count = counted(call, "num_heads")?;
    let mut inputs = Vec::new();
    for index in 0..3 {
        inputs.push(importer.value(call, index)?);
    }
    if inputs.iter().any(|x| x.rank() != 3) {
        let shown = format!("{:?}", inputs[0].dims());
        return Err(call.place().refused("shape", shown, "three axes"));
    }
    if let Some(bias) = call.optional_constant(3, "bias")? {
        let values = bias.values().unwrap_or_default();
        let widths: Vec<usize> = inputs.iter().map(|x| x.extent(2)).collect();
        if values.len() != widths.iter().sum::<usize>() {
            let shown = format!("{:?}", bias.dims());
            let expected = format!("{} numbers", widths.iter().sum::<usize>());
            return Err(call.place().refused("bias", shown, expected));
        }
        let mut start = 0;
        for (index, width) in widths.into_iter().enumerate() {
            let value = |at: usize| values[start + at];
            let suffix = format!("bias{index}");
            let x = &inputs[index];
            inputs[index] =
                importer.affine(call, Some(&suffix), x, (&[width], &|_| 1.0, &value))?;
            start += width;
        }
    }
    for x in &mut inputs {
        *x = heads(importer, call, x, count)?;
    }
    let y = attended(importer, call, &inputs, None, &asked)?;
    Ok(vec![joined(importer, call, &y, true)?.into()])
}

/// ONNX Runtime's of one value: input, weights and bias of the three projections.
pub(super) fn projected<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    nothing_from(call, 3)?;
    let asked = asked_of_runtime(call)?;
    let count = counted(call, "num_heads")?;
    call.attributes.must_be("do_rotary", 0)?;
    let x = call.view(0)?.clone();
    let weights = call.constant(1, "weights")?.clone();
    let &[_, width] = weights.dims() else {
        let shown = format!("{:?}", weights.dims());
        return Err(call.place().refused("weights", shown, "two axes"));
    };
    let bias = match call.optional_constant(2, "bias")?.cloned() {
        Some(bias) => Some(importer.vector(call, "bias", &bias, width)?),
        None => None,
    };
    let name = (Some("projected"), "kernel");
    let all = product(importer, call, name, &x, &weights, (1.0, bias))?;
    let each = width / 3;
    if !width.is_multiple_of(3) || all.rank() != 3 {
        let shown = format!("{:?}", weights.dims());
        return Err(call.place().refused("weights", shown, "three equal parts"));
    }
    let mut inputs = Vec::new();
    for part in 0..3 {
        let suffix = format!("part{part}");
        let part = cut(importer, call, Some(&suffix), &all, (2, part * each, each))?;
        inputs.push(heads(importer, call, &part, count)?);
    }
    let y = attended(importer, call, &inputs, None, &asked)?;
    Ok(vec![joined(importer, call, &y, true)?.into()])
}

fn asked_of_runtime(call: &Call) -> Result<Asked, ImportError> {
    // Of masks that are refused.
    call.attributes.ignore(&["mask_filter_value"]);
    let scale = call.attributes.optional_float("scale")?;
    Ok(Asked {
        scale: scale.filter(|scale| *scale != 0.0),
        softcap: 0.0,
        is_causal: call.attributes.flag("unidirectional", false)?,
    })
}

/// Heads `[1, H, S, D]` as `[1, S, H * D]` if the inputs were that.
fn joined(
    importer: &mut Importer,
    call: &Call,
    y: &View,
    is_flat: bool,
) -> Result<View, ImportError> {
    let &[n, h, s, d] = y.dims().as_slice() else {
        return Err(call.place().unsupported());
    };
    if !is_flat {
        return Ok(y.clone());
    }
    importer.reshape(&call.site, &y.transposed(&[0, 2, 1, 3]), &[n, s, h * d])
}

/// `softmax(scale * Q K^T + mask) V` of heads.
fn attended(
    importer: &mut Importer,
    call: &Call,
    inputs: &[View],
    mask: Option<&Constant>,
    asked: &Asked,
) -> Result<View, ImportError> {
    let [queries, keys, values] = inputs else {
        return Err(call.place().unsupported());
    };
    let (count, width) = (queries.extent(1), queries.extent(3));
    let keys = repeated(importer, call, "keys", keys, count)?;
    let values = repeated(importer, call, "values", values, count)?;
    let scale = match asked.scale {
        Some(scale) => f64::from(scale),
        None => 1.0 / (width as f64).sqrt(),
    };
    let turned = keys.transposed(&[0, 1, 3, 2]);
    let scores = product_of_values(importer, call, Some("scores"), queries, &turned)?;
    let mut scores = importer.scaled(call, Some("scaled"), &scores, scale, 0.0)?;
    if asked.softcap > 0.0 {
        if mask.is_some() || asked.is_causal {
            // Whether the mask comes before or after the bounds differs from opset to opset.
            let message = "it bounds its scores (`softcap`) and masks them";
            return Err(call.refused(message, "write one of the two as operators of its own"));
        }
        let cap = f64::from(asked.softcap);
        let x = importer.scaled(call, Some("narrowed"), &scores, 1.0 / cap, 0.0)?;
        let x = importer.activation(call, Some("bounded"), &x, Activation::Tanh)?;
        scores = importer.scaled(call, Some("capped"), &x, cap, 0.0)?;
    }
    if let Some((dims, list)) = spelled_out(call, mask, asked.is_causal, &scores.dims())? {
        let value = |at: usize| list[at];
        scores = importer.affine(call, Some("masked"), &scores, (&dims, &|_| 1.0, &value))?;
    }
    let (id, lies) = importer.innermost(call, &scores, &[3])?;
    let id = importer.push(call, Some("weights"), Op::Softmax { axis: None }, &[id])?;
    product_of_values(importer, call, None, &lies.of(id), &values)
}

/// Heads of keys or values, each for several heads of queries if there are fewer.
fn repeated(
    importer: &mut Importer,
    call: &Call,
    suffix: &str,
    x: &View,
    count: usize,
) -> Result<View, ImportError> {
    let &[n, own, s, d] = x.dims().as_slice() else {
        return Err(call.place().unsupported());
    };
    if own == count {
        return Ok(x.clone());
    }
    if own == 0 || !count.is_multiple_of(own) {
        let expected = format!("a number of heads that divides {count}");
        return Err(call.place().refused(suffix, own, expected));
    }
    let apart = importer.reshape(&call.site, x, &[n, own, 1, s, d])?;
    let all = expanded(importer, call, &apart, &[n, own, count / own, s, d])?;
    importer.reshape(&call.site, &all, &[n, count, s, d])
}

/// A shape, and the values of it.
type Mask = (Vec<usize>, Vec<f64>);

/// What is added to scores of the shape `dims`.
fn spelled_out(
    call: &Call,
    mask: Option<&Constant>,
    is_causal: bool,
    dims: &[usize],
) -> Result<Option<Mask>, ImportError> {
    let wrong = |shown: String| {
        let expected = format!("a mask that is broadcast to {dims:?} and leaves something to see");
        call.place().refused("mask", shown, expected)
    };
    let mut found = None;
    if let Some(mask) = mask {
        let shown = || wrong(format!("{:?}", mask.dims()));
        if broadcast(dims, mask.dims()).as_deref() != Some(dims) {
            return Err(shown());
        }
        let list = mask.values().ok_or_else(shown)?;
        let list: Vec<f64> = match mask.kind {
            Kind::Bool => list
                .iter()
                .map(|v| if *v == 0.0 { NEVER } else { 0.0 })
                .collect(),
            _ => list.iter().map(|v| v.max(NEVER)).collect(),
        };
        found = Some((mask.dims().to_vec(), list));
    }
    if is_causal {
        let &[.., queries, keys] = dims else {
            return Err(wrong(format!("{dims:?}")));
        };
        if found.is_some() || queries.checked_mul(keys).is_none_or(|n| n > 1 << 24) {
            return Err(wrong("causal and given".into()));
        }
        let list = (0..queries * keys)
            .map(|i| if i % keys > i / keys { NEVER } else { 0.0 })
            .collect();
        found = Some((vec![queries, keys], list));
    }
    // A query that sees nothing has an answer of its own, which the graph would not give.
    if let Some((dims, list)) = &found {
        let row = dims.last().copied().unwrap_or(1).max(1);
        if list.chunks(row).any(|row| row.iter().all(|v| *v <= NEVER)) {
            return Err(wrong("one that hides everything".into()));
        }
    }
    Ok(found)
}
