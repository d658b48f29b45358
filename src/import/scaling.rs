//! Whether the pixels of a recipe are the ones that the model's own first layers expect.
//!
//! Many models scale the photo themselves: with a `Rescaling` or `Normalization` layer, or with
//! arithmetic in the graph. If a recipe scales as well, the input hardly varies, and the model
//! gives the same answer to every photo, without an error. No file says which pixels the model was
//! trained on, but the values after the scaling show it: networks are trained on values such as
//! 0..1, -1..1, ImageNet's -2.1..2.6 or 0..255, not on 0..0.004.

use super::facts::input_scaling;
use crate::artifact::Preprocessing;
use crate::graph::Graph;

/// The values that reach the first layer with weights, in the model's first channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reach {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The combined effect of a recipe and the model's own scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fit {
    /// The model does not scale, so nothing is known.
    NotScaled,
    /// Values as networks are trained on them.
    Usual,
    /// Both scale, or both centre: no network is trained on such values.
    Twice(Reach),
    /// The model's own scaling is for smaller numbers than these.
    TooLarge(Reach),
}

/// Judges a recipe by the values after the model's own scaling.
pub(super) fn judge(graph: &Graph, recipe: &Preprocessing) -> Fit {
    let Some(own) = input_scaling(graph) else {
        return Fit::NotScaled;
    };
    for channel in 0..own.scale.len() {
        let c = channel.min(2);
        let prepared = |pixel: f64| (pixel * recipe.scale - recipe.mean[c]) / recipe.std[c];
        let reach = |[a, b]: [f64; 2]| {
            let [a, b] = [a, b].map(|x| x * own.scale[channel] + own.shift[channel]);
            Reach {
                low: a.min(b),
                high: a.max(b),
            }
        };
        let of_bytes = reach([0.0, 255.0]);
        let of_recipe = reach([prepared(0.0), prepared(255.0)]);
        if !recipe_changes(recipe) {
            if of_bytes.high - of_bytes.low > 600.0 {
                return Fit::TooLarge(of_bytes);
            }
        } else if !of_recipe.is_usual() || (of_bytes.is_usual() && !of_recipe.is_narrower(of_bytes))
        {
            return Fit::Twice(of_recipe);
        }
    }
    Fit::Usual
}

impl Reach {
    /// Whether these values are small and the others as large as pixels. Then the model's own
    /// scaling expects the recipe's pixels, as `2 x - 1` expects pixels of 0..1.
    fn is_narrower(self, other: Self) -> bool {
        self.high - self.low < 20.0 && other.high - other.low >= 100.0
    }

    /// Whether networks are trained on such values. 0..1 is 1 wide, -1..1 is 2, ImageNet's 4.4, and
    /// 0..255 is 255; all lie around 0 or begin there. A batch normalization as first layer may
    /// stretch each a few times.
    fn is_usual(self) -> bool {
        let width = self.high - self.low;
        let centre = f64::midpoint(self.low, self.high) / width;
        let wide = (0.2..=18.0).contains(&width) || (100.0..=600.0).contains(&width);
        wide && (-0.3..=0.8).contains(&centre)
    }
}

/// Whether the recipe changes pixels from 0..255 to anything else.
pub(super) fn recipe_changes(recipe: &Preprocessing) -> bool {
    recipe.scale != 1.0 || recipe.mean != [0.0; 3] || recipe.std != [1.0; 3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{NodeId, Op, Padding, PoolKind};
    use crate::tensor::Tensor;

    const RGB: [usize; 3] = [8, 8, 3];

    fn scale_shift(graph: &mut Graph, x: NodeId, scale: &[f32], shift: &[f32]) -> NodeId {
        let name = format!("scale{}", graph.nodes().len());
        let keys = ["scale", "shift"].map(|part| format!("{name}/{part}"));
        for (key, values) in keys.iter().zip([scale, shift]) {
            let tensor = Tensor::from_f32([values.len()], values).unwrap();
            graph.tensors.insert(key.clone(), tensor);
        }
        let [scale, shift] = keys;
        graph
            .push(name, Op::ScaleShift { scale, shift }, &[x])
            .unwrap()
    }

    /// A graph that applies `layers` to its photo and then pools it.
    fn graph(layers: &[(f32, f32)]) -> Graph {
        let mut graph = Graph::new("test");
        let mut x = graph.push_input("photo", RGB.into()).unwrap();
        for &(scale, shift) in layers {
            x = scale_shift(&mut graph, x, &[scale], &[shift]);
            let pad = Op::Pad(Padding {
                top: 1,
                ..Padding::default()
            });
            let name = format!("pad{}", graph.nodes().len());
            x = graph.push(name, pad, &[x]).unwrap();
        }
        let pool = Op::GlobalPool {
            kind: PoolKind::Average,
            keep_dims: false,
        };
        graph.push("pool", pool, &[x]).unwrap();
        graph
    }

    #[test]
    fn what_reaches_the_first_layer_decides() {
        let unit: (f32, f32) = (1.0 / 255.0, 0.0);
        let signed = (1.0 / 127.5, -1.0);
        let imagenet = (1.0 / 0.226, -2.0);
        let caffe = (1.0, -116.0);
        for (layers, preset, expected) in [
            (&[unit][..], "raw", "usual"),
            (&[unit], "unit", "twice"),
            (&[unit], "signed-unit", "twice"),
            (&[unit], "keras-resnet", "twice"),
            (&[unit], "imagenet-torchvision", "twice"),
            (&[signed], "raw", "usual"),
            (&[signed], "unit", "twice"),
            (&[signed], "keras-mobilenet-v2", "twice"),
            (&[unit, imagenet], "raw", "usual"),
            (&[unit, imagenet], "unit", "twice"),
            // The layer expects pixels of 0..1, which the preset makes.
            (&[imagenet], "unit", "usual"),
            (&[(2.0, -1.0)], "unit", "usual"),
            (&[imagenet], "raw", "too large"),
            (&[imagenet], "keras-densenet", "twice"),
            (&[caffe], "raw", "usual"),
            (&[caffe], "keras-resnet", "twice"),
            (&[], "unit", "not scaled"),
            (&[], "raw", "not scaled"),
        ] {
            let recipe = Preprocessing::preset(preset, RGB).unwrap();
            let got = match judge(&graph(layers), &recipe) {
                Fit::NotScaled => "not scaled",
                Fit::Usual => "usual",
                Fit::Twice(_) => "twice",
                Fit::TooLarge(_) => "too large",
            };
            assert_eq!(got, expected, "{layers:?} with {preset}");
        }
    }
}
