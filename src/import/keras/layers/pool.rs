//! Pooling layers.

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall};
use super::window;
use crate::graph::{NodeId, Op, PoolKind};
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
    attributes.channels_last()?;
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
    attributes.channels_last()?;
    let op = Op::GlobalPool {
        kind: kind(call),
        keep_dims: attributes.flag("keepdims", false)?,
    };
    attributes.finish()?;
    builder.push(call, None, op, &[input])
}
