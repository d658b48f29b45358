//! Pooling layers.

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall};
use super::window;
use crate::graph::{NodeId, Op, PoolKind, ReduceKind};
use crate::import::error::ImportError;

fn kind(call: &LayerCall) -> PoolKind {
    if call.layer.class.contains("Max") {
        PoolKind::Max
    } else {
        PoolKind::Average
    }
}

pub(super) fn window(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let [h, w, _] = builder.shape(input).hwc().unwrap_or([1, 1, 1]);
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let pool = attributes.pair("pool_size", None)?;
    let strides = attributes.pair("strides", Some(pool))?;
    let window = window::window(&attributes, pool, strides, [1, 1], [h, w])?;
    attributes.finish()?;
    let op = Op::Pool2d {
        kind: kind(call),
        window,
    };
    builder.push(call, None, op, &[input])
}

pub(super) fn global(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    attributes.data_format()?;
    let op = Op::GlobalPool {
        kind: kind(call),
        keep_dims: attributes.flag("keepdims", false)?,
    };
    attributes.finish()?;
    builder.push(call, None, op, &[input])
}

/// Of tokens `[S, C]`, what a transformer ends in.
pub(super) fn of_tokens(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let input = call.input()?;
    let attributes = Attributes::new(call.layer);
    attributes.channels_last()?;
    let keep_dims = attributes.flag("keepdims", false)?;
    attributes.finish()?;
    let shape = builder.shape(input);
    if shape.rank() != 2 {
        let message = format!("expected tokens [S, C], got {shape}");
        return Err(call.site.place.invalid(message));
    }
    let op = Op::Reduce {
        kind: match kind(call) {
            PoolKind::Max => ReduceKind::Max,
            PoolKind::Average => ReduceKind::Mean,
        },
        axes: vec![0],
        keep_dims,
    };
    builder.push(call, None, op, &[input])
}
