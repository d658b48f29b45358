//! `channels_first` models: their maps are `[C, H, W]`, and the graph's are `[H, W, C]`.
//!
//! A map of such a model is stored channels last in the graph, and this module remembers that its
//! axes are those of the file in another order. Layers that say what they do with rows, columns and
//! channels work on it as it is; their kernels are the same in both formats. Any other layer gets
//! the value in the order of the file, for which a `Transpose` is put into the graph. A map that is
//! flattened in the file's order keeps the graph's as long as only elementwise functions follow,
//! and the rows of the dense layer behind them are permuted instead.

use std::collections::HashMap;

use serde_json::Value;

use super::attributes::axis;
use super::config::{LayerConfig, ModelConfig};
use crate::graph::{NodeId, Op};
use crate::import::builder::{GraphBuilder, Site};
use crate::import::error::ImportError;

/// How the elements of a value of the file lie in the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    File,
    /// A map: `[C, H, W]` in the file, `[H, W, C]` in the graph.
    Map,
    /// A vector that is `[C, H, W]` in the file and `[H, W, C]` in the graph, with these extents.
    Flat([usize; 3]),
}

/// The values that do not lie as in the file, and what was made of them.
#[derive(Debug, Default)]
pub(super) struct Orders {
    known: HashMap<NodeId, Order>,
    in_file_order: HashMap<NodeId, NodeId>,
    as_map: HashMap<NodeId, NodeId>,
}

impl Orders {
    pub(super) fn order(&self, id: NodeId) -> Order {
        self.known.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, id: NodeId, order: Order) {
        self.known.insert(id, order);
    }

    /// Whether it is known how the value lies.
    pub(super) fn knows(&self, id: NodeId) -> bool {
        self.known.contains_key(&id)
    }

    /// The value as it is in the file.
    pub(super) fn in_file_order(
        &mut self,
        graph: &mut GraphBuilder,
        site: &Site,
        id: NodeId,
    ) -> Result<NodeId, ImportError> {
        let (order, shape) = (self.order(id), graph.shape(id).clone());
        let ((Order::Flat(hwc), _) | (Order::Map, Some(hwc))) = (order, shape.hwc()) else {
            return Ok(id);
        };
        if let Some(&made) = self.in_file_order.get(&id) {
            return Ok(made);
        }
        let map = graph.reshape(site, Some("map"), id, hwc.into())?;
        let turned = turn(graph, site, map, [2, 0, 1])?;
        let made = match order {
            Order::Map => turned,
            _ => graph.reshape(site, Some("flat"), turned, shape)?,
        };
        self.in_file_order.insert(id, made);
        Ok(made)
    }

    /// A value of three axes as a map of the graph, whose channels are the file's first axis.
    /// Others stay as they are, and the layer refuses their rank.
    pub(super) fn as_map(
        &mut self,
        graph: &mut GraphBuilder,
        site: &Site,
        id: NodeId,
    ) -> Result<NodeId, ImportError> {
        match self.order(id) {
            Order::Map => return Ok(id),
            Order::Flat(_) => return self.in_file_order(graph, site, id),
            Order::File if graph.shape(id).rank() != 3 => return Ok(id),
            Order::File => {}
        }
        if let Some(&made) = self.as_map.get(&id) {
            return Ok(made);
        }
        let made = turn(graph, site, id, [1, 2, 0])?;
        self.as_map.insert(id, made);
        self.set(made, Order::Map);
        Ok(made)
    }

    /// The values of several layers in one order: maps, if one is a map and all could be.
    pub(super) fn in_one_order(
        &mut self,
        graph: &mut GraphBuilder,
        site: &Site,
        ids: &[NodeId],
    ) -> Result<Vec<NodeId>, ImportError> {
        let first = ids.first().map_or(Order::File, |&id| self.order(id));
        if ids.iter().all(|&id| self.order(id) == first) {
            return Ok(ids.to_vec());
        }
        let maps = ids.iter().any(|&id| self.order(id) == Order::Map)
            && ids.iter().all(|&id| graph.shape(id).rank() == 3);
        ids.iter()
            .map(|&id| {
                if maps {
                    self.as_map(graph, site, id)
                } else {
                    self.in_file_order(graph, site, id)
                }
            })
            .collect()
    }
}

/// A new value with the axes in another order. No element moves if only one axis has several.
fn turn(
    graph: &mut GraphBuilder,
    site: &Site,
    id: NodeId,
    permutation: [usize; 3],
) -> Result<NodeId, ImportError> {
    let dims = graph.shape(id).dims();
    let turned = permutation.map(|axis| dims[axis]);
    let long = |dims: &[usize]| dims.iter().copied().filter(|&n| n > 1).collect::<Vec<_>>();
    let op = if long(dims) == long(&turned) {
        Op::Reshape {
            shape: turned.into(),
        }
    } else {
        Op::Transpose {
            permutation: permutation.to_vec(),
        }
    };
    graph.push(site, Some("order"), op, &[id])
}

fn says(layer: &LayerConfig, format: &str) -> bool {
    layer.attributes.get("data_format").and_then(Value::as_str) == Some(format)
}

/// Whether the layer's `data_format` is `channels_first`.
pub(super) fn is_channels_first(layer: &LayerConfig) -> bool {
    says(layer, "channels_first")
}

/// Whether `axis` is the first axis behind the batch, and no other.
pub(super) fn names_first_axis(layer: &LayerConfig, rank: usize) -> bool {
    let one = match layer.attributes.get("axis") {
        Some(Value::Array(items)) if items.len() == 1 => &items[0],
        Some(other) => other,
        None => return false,
    };
    axis(one, rank) == Some(0)
}

/// How many layers of the model say `format`, those of nested models included.
fn count(model: &ModelConfig, format: &str) -> usize {
    let of = |layer: &LayerConfig| {
        usize::from(says(layer, format)) + layer.model.as_ref().map_or(0, |m| count(m, format))
    };
    model.layers.iter().map(of).sum()
}

/// Whether a layer of the model is `channels_first`.
pub(super) fn has_channels_first(model: &ModelConfig) -> bool {
    count(model, "channels_first") > 0
}

/// The input's shape with its channels last, if the model is `channels_first` and the input is a
/// photo in that order. `shape` includes the batch axis.
///
/// A photo has one or three channels, or four. If both ends could be channels, the format of most
/// layers decides.
pub(super) fn photo_with_channels_last(
    model: &ModelConfig,
    shape: &[Option<usize>],
) -> Option<Vec<Option<usize>>> {
    let &[batch, first, second, third] = shape else {
        return None;
    };
    let could_be = |extent: Option<usize>| matches!(extent, Some(1 | 3 | 4));
    let most = count(model, "channels_first") > count(model, "channels_last");
    let turned = match (could_be(first), could_be(third)) {
        (true, false) => has_channels_first(model),
        (false, true) => false,
        _ => most,
    };
    turned.then(|| vec![batch, second, third, first])
}

/// Elements of `[C, H, W]`, each of them `width` numbers, in the order `[H, W, C]`.
pub(super) fn in_map_order(values: &[f32], [c, h, w]: [usize; 3], width: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(values.len());
    for y in 0..h {
        for x in 0..w {
            for channel in 0..c {
                let at = ((channel * h + y) * w + x) * width;
                turned.extend_from_slice(&values[at..at + width]);
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model(formats: &[&str]) -> ModelConfig {
        let layers: Vec<Value> = formats
            .iter()
            .enumerate()
            .map(|(i, format)| {
                json!({"class_name": "MaxPooling2D",
                    "config": {"name": format!("pool_{i}"), "data_format": format}})
            })
            .collect();
        let text = json!({"class_name": "Sequential", "config": {"name": "m", "layers": layers}});
        let root = super::super::config::parse(text.to_string().as_bytes(), "test");
        root.unwrap().model
    }

    #[test]
    fn photos_are_turned_if_their_first_axis_is_the_colours() {
        let first = model(&["channels_first", "channels_first", "channels_last"]);
        let last = model(&["channels_last"]);
        let open = [None, Some(3), None, None];
        let turned = |model: &ModelConfig, shape: &[Option<usize>]| {
            photo_with_channels_last(model, shape).map(|shape| shape[1..].to_vec())
        };
        assert_eq!(turned(&first, &open), Some(vec![None, None, Some(3)]));
        assert_eq!(turned(&last, &open), None);
        let photo = |a, b, c| [None, Some(a), Some(b), Some(c)];
        assert_eq!(turned(&first, &photo(224, 224, 3)), None);
        assert_eq!(
            turned(&first, &photo(1, 28, 20)),
            Some(vec![Some(28), Some(20), Some(1)])
        );
        // Both could be: the format of most layers.
        assert!(turned(&first, &photo(3, 5, 3)).is_some());
        assert_eq!(turned(&first, &[None, Some(7)]), None);
    }

    #[test]
    fn rows_of_a_flattened_map_are_turned() {
        // [C, H, W] = [2, 1, 3], two units: element i has the row [10 i, 10 i + 1].
        let rows: Vec<f32> = [0., 1., 10., 11., 20., 21., 30., 31., 40., 41., 50., 51.].into();
        let turned = in_map_order(&rows, [2, 1, 3], 2);
        assert_eq!(
            turned,
            [0., 1., 30., 31., 10., 11., 40., 41., 20., 21., 50., 51.]
        );
    }
}
