//! Finds the dataset of each variable of each layer.
//!
//! Keras has written weights in three ways:
//! 1. `layers/<group>/vars/<i>` (`.keras`, `.weights.h5`), models nested as
//!    `layers/functional/layers/...`. The group is the class in snake case with a counter over the
//!    layers of that class in their container (`conv2d`, `conv2d_1`), or the layer's own name.
//!    Keras up to 2.13 wrote `_layer_checkpoint_dependencies` for `layers`. That list has a layer with
//!    weights twice, so the layer counts twice: `conv2d`, `conv2d_2`, `conv2d_4`
//!    (keras-team/keras issue 18830).
//! 2. `<layer>/<weight name>` with the names listed in attributes (`.h5`); a nested model's
//!    weights are in one list under the outermost model's layer: trainable ones first.
//! 3. As 2 under `model_weights` (`.h5` with configuration).
//!
//! Here every convention becomes one map from a layer's path to its datasets. Weights that belong
//! to no layer are an error: file and configuration then belong to different models.
//!
//! Source: `saving_lib.py` and `legacy_h5_format.py` in `keras/src/saving`.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{LayerConfig, ModelConfig, is_model};
use super::hdf5::Hdf5Weights;
use super::variables::{Variable, variables};
use crate::import::error::ImportError;
use crate::import::weights::WeightSource;

/// For each layer's path, its variables' names and datasets, in the order of Keras.
#[derive(Debug, Default)]
pub(super) struct WeightMap {
    of: BTreeMap<String, Vec<(&'static str, String)>>,
}

impl WeightMap {
    /// The dataset of a layer's variable.
    pub(super) fn dataset(&self, layer: &LayerConfig, variable: &str) -> Result<&str, ImportError> {
        self.of
            .get(&layer.path)
            .and_then(|list| list.iter().find(|(name, _)| *name == variable))
            .map(|(_, dataset)| dataset.as_str())
            .ok_or_else(|| missing(layer, variable, String::new()))
    }

    /// All datasets that the model uses.
    pub(super) fn datasets(&self) -> BTreeSet<&str> {
        self.of
            .values()
            .flatten()
            .map(|(_, dataset)| dataset.as_str())
            .collect()
    }
}

/// How a file names its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `layers/<group>/vars/<i>`.
    Nested,
    /// `layer_names` and `weight_names` attributes, under a group or at the root.
    Listed { root: &'static str },
}

impl Layout {
    /// The convention of an HDF5 file; `None` if Keras did not write it.
    pub(super) fn find(source: &Hdf5Weights) -> Result<Option<Self>, ImportError> {
        for root in ["model_weights", ""] {
            if source.strings(root, "layer_names")?.is_some() {
                return Ok(Some(Self::Listed { root }));
            }
        }
        let nested = CONTAINERS.iter().any(|c| source.has_group(c));
        Ok(nested.then_some(Self::Nested))
    }
}

const CONTAINERS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];

pub(super) fn resolve(
    model: &ModelConfig,
    source: &Hdf5Weights,
    layout: Layout,
) -> Result<WeightMap, ImportError> {
    let mut resolver = Resolver {
        source,
        map: WeightMap::default(),
        shared: BTreeMap::new(),
        elsewhere: Vec::new(),
    };
    match layout {
        Layout::Nested => resolver.nested(model, "")?,
        Layout::Listed { root } => resolver.listed(model, root)?,
    }
    resolver.finish()
}

struct Resolver<'a> {
    source: &'a Hdf5Weights,
    map: WeightMap,
    /// Path of the layer that has the weights of a shared layer.
    shared: BTreeMap<u64, String>,
    /// Shared layers whose weights are stored under another model.
    elsewhere: Vec<&'a LayerConfig>,
}

impl<'a> Resolver<'a> {
    fn finish(mut self) -> Result<WeightMap, ImportError> {
        for layer in std::mem::take(&mut self.elsewhere) {
            let found = layer
                .shared_id
                .and_then(|id| self.shared.get(&id))
                .and_then(|path| self.map.of.get(path))
                .cloned();
            let Some(found) = found else {
                let first = variables(layer)?.first().map_or("", |v| v.name);
                return Err(missing(layer, first, String::new()));
            };
            self.map.of.insert(layer.path.clone(), found);
        }
        Ok(self.map)
    }

    fn assign(&mut self, layer: &LayerConfig, found: Vec<(&'static str, String)>) {
        if let Some(id) = layer.shared_id {
            self.shared.entry(id).or_insert_with(|| layer.path.clone());
        }
        self.map.of.insert(layer.path.clone(), found);
    }

    // `layers/<group>/vars/<i>`

    fn nested(&mut self, model: &'a ModelConfig, base: &str) -> Result<(), ImportError> {
        let container = CONTAINERS
            .iter()
            .map(|c| join(base, c))
            .find(|c| self.source.has_group(c))
            .unwrap_or_else(|| join(base, CONTAINERS[0]));
        let mut layers = Vec::new();
        for layer in model.layers.iter().filter(|layer| !layer.operation) {
            layers.push((layer, has_weights(layer)?));
        }
        let needed: Vec<&LayerConfig> = layers
            .iter()
            .filter_map(|(layer, weighted)| weighted.then_some(*layer))
            .collect();
        let exists = |group: &str| self.has_content(&join(&container, group));
        let complete = |groups: &Vec<String>| {
            let mut pairs = needed.iter().zip(groups);
            pairs.all(|(layer, group)| exists(group) || layer.shared_id.is_some())
        };
        // Published Keras versions count by class, so this comes first. Names are usually generated
        // by the same rule, and then both give the same answer.
        let [once, twice] = [1, 2].map(|count| counted(&layers, count));
        let names = needed.iter().map(|layer| layer.name.clone()).collect();
        let groups = [twice, names, self.in_order(&container, &needed)];
        let groups = std::iter::once(&once)
            .chain(&groups)
            .find(|groups| groups.len() == needed.len() && complete(groups))
            .unwrap_or(&once)
            .clone();
        for (layer, group) in needed.into_iter().zip(groups) {
            let path = join(&container, &group);
            match &layer.model {
                Some(_) if !self.source.has_group(&path) && layer.shared_id.is_none() => {
                    return Err(missing_group(layer, &path));
                }
                Some(model) => self.nested(model, &path)?,
                None => self.leaf(layer, &path)?,
            }
        }
        Ok(())
    }

    /// Whether there is anything below a group, except the state of a random generator.
    fn has_content(&self, group: &str) -> bool {
        self.source
            .paths_below(group)
            .any(|path| !path.contains("seed_generator") && !path.contains("StateVar"))
    }

    /// For each layer, the group of its class with the same position among those of its class, if
    /// there are equally many. This works whatever else a version may have counted.
    fn in_order(&self, container: &str, needed: &[&LayerConfig]) -> Vec<String> {
        let from = format!("{container}/");
        let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for path in self.source.paths_below(container) {
            let group = path[from.len()..].split('/').next().unwrap_or_default();
            let number = group.rsplit_once('_');
            let numbered = number.and_then(|(class, n)| Some((class, n.parse::<usize>().ok()?)));
            let (class, number) = numbered.unwrap_or((group, 0));
            if self.has_content(&join(container, group)) {
                found.entry(class.to_owned()).or_default().insert(number);
            }
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for layer in needed {
            *counts.entry(snake_case(&layer.class)).or_insert(0) += 1;
        }
        found.retain(|class, numbers| counts.get(class) == Some(&numbers.len()));
        let mut left: BTreeMap<_, _> = found
            .into_iter()
            .map(|(class, numbers)| (class, numbers.into_iter()))
            .collect();
        let mut groups = Vec::new();
        for layer in needed {
            let class = snake_case(&layer.class);
            let Some(number) = left.get_mut(&class).and_then(Iterator::next) else {
                return Vec::new();
            };
            groups.push(group_name(class, number));
        }
        groups
    }

    fn leaf(&mut self, layer: &'a LayerConfig, path: &str) -> Result<(), ImportError> {
        if !self.source.has_group(path) {
            if layer.shared_id.is_some() {
                self.elsewhere.push(layer);
                return Ok(());
            }
            return Err(missing_group(layer, path));
        }
        let list = variables(layer)?;
        let number = |i: usize| {
            let before = list[..i].iter();
            before.filter(|v| v.part == list[i].part).count()
        };
        let found: Vec<_> = list
            .iter()
            .enumerate()
            .map(|(i, v)| (v.name, format!("{}/vars/{}", join(path, v.part), number(i))))
            .collect();
        if let Some((name, dataset)) = found
            .iter()
            .find(|(_, dataset)| self.source.shape(dataset).is_none())
        {
            let looked_for = format!(": there is no dataset `{dataset}`");
            return Err(missing(layer, name, looked_for));
        }
        self.assign(layer, found);
        Ok(())
    }

    // `layer_names` and `weight_names`

    fn listed(&mut self, model: &'a ModelConfig, root: &str) -> Result<(), ImportError> {
        let names = self
            .source
            .strings(root, "layer_names")?
            .unwrap_or_default();
        let mut groups = Vec::new();
        for name in names {
            let group = join(root, &name);
            let weights = self
                .source
                .strings(&group, "weight_names")?
                .unwrap_or_default()
                .iter()
                .map(|weight| join(&group, weight))
                .filter(|path| !self.is_state(path))
                .collect::<Vec<_>>();
            groups.push((name, weights));
        }
        groups.retain(|(_, weights)| !weights.is_empty());
        let mut needed = Vec::new();
        for layer in &model.layers {
            if has_weights(layer)? {
                needed.push(layer);
            }
        }
        let by_name = needed
            .iter()
            .all(|l| groups.iter().any(|(name, _)| *name == l.name));
        // Names that were generated in another session differ; Keras then goes by order.
        let by_order = !by_name && needed.len() == groups.len();
        for (i, layer) in needed.into_iter().enumerate() {
            let group = if by_order {
                groups.get(i)
            } else {
                groups.iter().find(|(name, _)| *name == layer.name)
            };
            let Some((_, weights)) = group else {
                let first = first_variable(layer).unwrap_or("weights");
                let looked_for = format!(": there is no group `{}`", join(root, &layer.name));
                return Err(missing(layer, first, looked_for));
            };
            self.listed_layer(layer, weights)?;
        }
        Ok(())
    }

    /// Some versions list states of random generators as weights.
    fn is_state(&self, path: &str) -> bool {
        let last = path.rsplit('/').next().unwrap_or_default();
        last.starts_with("StateVar")
            || path.contains("seed_generator")
            || (self.source.is_integer(path) && !last.starts_with("count"))
    }

    fn listed_layer(
        &mut self,
        layer: &'a LayerConfig,
        weights: &[String],
    ) -> Result<(), ImportError> {
        let mut leaves = Vec::new();
        collect_leaves(layer, &mut leaves, &mut BTreeSet::new())?;
        let expected: usize = leaves.iter().map(|(_, v)| v.len()).sum();
        if expected != weights.len() {
            let name = leaves
                .iter()
                .flat_map(|(leaf, v)| v.iter().map(|v| (*leaf, v.name)))
                .nth(weights.len());
            return Err(match name {
                Some((leaf, variable)) => missing(
                    leaf,
                    variable,
                    format!(": `{}` lists {} of {expected}", layer.name, weights.len()),
                ),
                None => ImportError::UnusedWeights {
                    weight: weights[expected].clone(),
                },
            });
        }
        let orders = [
            by_layer_names(&leaves, weights),
            by_trainability(&leaves, weights),
            in_layer_order(&leaves, weights),
        ];
        let Some(found) = orders.into_iter().flatten().next() else {
            let (leaf, v) = leaves[0].clone();
            let first = v.first().map_or("weights", |v| v.name);
            let looked_for = format!(
                ": the {expected} weight names of `{}` do not match its layers",
                layer.name
            );
            return Err(missing(leaf, first, looked_for));
        };
        for ((leaf, variables), datasets) in leaves.iter().zip(found) {
            let list = variables.iter().map(|v| v.name).zip(datasets).collect();
            self.assign(leaf, list);
        }
        let mut all = Vec::new();
        collect_all(layer, &mut all);
        for leaf in all {
            if !self.map.of.contains_key(&leaf.path) && has_weights(leaf)? {
                self.elsewhere.push(leaf);
            }
        }
        Ok(())
    }
}

/// The group of each layer, from the number of layers of its class before it; a layer with weights
/// counts `count` times.
fn counted(layers: &[(&LayerConfig, bool)], count: usize) -> Vec<String> {
    let mut counters: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups = Vec::new();
    for (layer, weighted) in layers {
        let class = snake_case(&layer.class);
        let number = counters.entry(class.clone()).or_insert(0);
        if *weighted {
            groups.push(group_name(class, *number));
        }
        *number += if *weighted { count } else { 1 };
    }
    groups
}

fn group_name(class: String, number: usize) -> String {
    match number {
        0 => class,
        n => format!("{class}_{n}"),
    }
}

/// Datasets that belong to a layer of some model, but not to one of this model.
pub(super) fn check_unused(
    source: &Hdf5Weights,
    layout: Layout,
    map: &WeightMap,
) -> Result<(), ImportError> {
    let used = map.datasets();
    let unused = source.paths().find(|path| {
        let of_a_layer = match layout {
            Layout::Nested => CONTAINERS
                .iter()
                .any(|c| path.starts_with(c) && path[c.len()..].starts_with('/')),
            Layout::Listed { root: "" } => !path.starts_with("optimizer_weights/"),
            Layout::Listed { root } => path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/')),
        };
        of_a_layer
            && !used.contains(path)
            && !source.is_integer(path)
            && !path.contains("seed_generator")
            && !path.contains("StateVar")
    });
    match unused {
        Some(path) => Err(ImportError::UnusedWeights {
            weight: path.to_owned(),
        }),
        None => Ok(()),
    }
}

type Leaf<'a> = (&'a LayerConfig, Vec<Variable>);

/// The weighted layers of a layer or nested model, in order; shared ones once.
fn collect_leaves<'a>(
    layer: &'a LayerConfig,
    into: &mut Vec<Leaf<'a>>,
    shared: &mut BTreeSet<u64>,
) -> Result<(), ImportError> {
    if let Some(id) = layer.shared_id
        && !shared.insert(id)
    {
        return Ok(());
    }
    if let Some(model) = &layer.model {
        return model
            .layers
            .iter()
            .try_for_each(|l| collect_leaves(l, into, shared));
    }
    let list = variables(layer)?;
    if !list.is_empty() {
        into.push((layer, list));
    }
    Ok(())
}

fn collect_all<'a>(layer: &'a LayerConfig, into: &mut Vec<&'a LayerConfig>) {
    match &layer.model {
        Some(model) => model.layers.iter().for_each(|l| collect_all(l, into)),
        None => into.push(layer),
    }
}

/// Assigns by names such as `backbone/conv1/kernel:0`, if each names one weight. Layer names in
/// weight names can be out of date (renamed layers), so the result counts only if it is complete.
fn by_layer_names(leaves: &[Leaf], weights: &[String]) -> Option<Vec<Vec<String>>> {
    let mut index: BTreeMap<(&str, &str), Vec<&String>> = BTreeMap::new();
    for weight in weights {
        let (head, variable) = weight.rsplit_once('/')?;
        let segment = head.rsplit('/').next().unwrap_or(head);
        index
            .entry((segment, canonical(variable)))
            .or_default()
            .push(weight);
    }
    let mut used = BTreeSet::new();
    let mut find = |layer: &str, variable: &str| {
        let segment = layer.rsplit('/').next().unwrap_or(layer);
        let middle = format!("/{layer}/");
        let mut found = index
            .get(&(segment, variable))?
            .iter()
            .filter(|weight| weight.contains(&middle));
        let one = *found.next()?;
        (found.next().is_none() && used.insert(one)).then(|| one.clone())
    };
    // A single layer's names need no check: its own list is in order.
    if leaves.len() == 1 {
        return None;
    }
    leaves
        .iter()
        .map(|(layer, variables)| {
            variables
                .iter()
                .map(|v| {
                    spellings(v.name)
                        .iter()
                        .find_map(|name| find(&layer.name, name))
                })
                .collect()
        })
        .collect()
}

/// All trainable weights in order of the layers, then all others; a frozen layer has no trainable
/// ones.
fn by_trainability(leaves: &[Leaf], weights: &[String]) -> Option<Vec<Vec<String>>> {
    let mut order = Vec::new();
    for trainable in [true, false] {
        for (i, (layer, variables)) in leaves.iter().enumerate() {
            for (j, v) in variables.iter().enumerate() {
                if (v.trainable && layer.trainable()) == trainable {
                    order.push((i, j));
                }
            }
        }
    }
    arrange(leaves, weights, &order)
}

/// Layer after layer: Keras 3, if the whole nested model is frozen.
fn in_layer_order(leaves: &[Leaf], weights: &[String]) -> Option<Vec<Vec<String>>> {
    let order: Vec<_> = leaves
        .iter()
        .enumerate()
        .flat_map(|(i, (_, variables))| (0..variables.len()).map(move |j| (i, j)))
        .collect();
    arrange(leaves, weights, &order)
}

/// The weights by layer and variable, provided that each has its variable's name.
fn arrange(
    leaves: &[Leaf],
    weights: &[String],
    order: &[(usize, usize)],
) -> Option<Vec<Vec<String>>> {
    let mut out: Vec<Vec<String>> = leaves
        .iter()
        .map(|(_, v)| vec![String::new(); v.len()])
        .collect();
    for (&(i, j), weight) in order.iter().zip(weights) {
        let last = weight.rsplit('/').next()?;
        // A single layer's list is in order, whatever its weights are called.
        if leaves.len() > 1 && !spellings(leaves[i].1[j].name).contains(&canonical(last)) {
            return None;
        }
        out[i][j].clone_from(weight);
    }
    Some(out)
}

/// `kernel` for `kernel:0`, and today's name for the name in Keras 1 and early 2.
fn canonical(weight: &str) -> &str {
    match weight.split(':').next().unwrap_or_default() {
        "running_mean" => "moving_mean",
        "running_std" => "moving_variance",
        name => name,
    }
}

/// Names under which versions of Keras store a variable: Keras 3 calls the kernel of a
/// `DepthwiseConv2D` simply `kernel`.
fn spellings(variable: &'static str) -> &'static [&'static str] {
    match variable {
        "kernel" | "query_kernel" | "key_kernel" | "value_kernel" | "output_kernel" => &["kernel"],
        "depthwise_kernel" => &["depthwise_kernel", "kernel"],
        "pointwise_kernel" => &["pointwise_kernel"],
        "bias" | "query_bias" | "key_bias" | "value_bias" | "output_bias" => &["bias"],
        "gamma" => &["gamma"],
        // It has no name in its layer, which versions of Keras then call it by.
        "layer_scale" => &["variable", "Variable", "gamma"],
        "beta" => &["beta"],
        "moving_mean" => &["moving_mean"],
        "moving_variance" => &["moving_variance"],
        "mean" => &["mean"],
        "variance" => &["variance"],
        "count" => &["count"],
        "alpha" => &["alpha"],
        _ => &[],
    }
}

fn has_weights(layer: &LayerConfig) -> Result<bool, ImportError> {
    match &layer.model {
        Some(model) => {
            for layer in &model.layers {
                if has_weights(layer)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        None => Ok(!variables(layer)?.is_empty()),
    }
}

fn first_variable(layer: &LayerConfig) -> Option<&'static str> {
    variables(layer).ok()?.first().map(|v| v.name)
}

fn missing_group(layer: &LayerConfig, path: &str) -> ImportError {
    let first = first_variable(layer).unwrap_or("weights");
    missing(layer, first, format!(": there is no group `{path}`"))
}

fn missing(layer: &LayerConfig, weight: &str, looked_for: String) -> ImportError {
    ImportError::MissingWeights {
        place: layer.place(),
        weight: weight.to_owned(),
        looked_for,
    }
}

fn join(base: &str, name: &str) -> String {
    match (base, name) {
        ("", name) => name.to_owned(),
        (base, "") => base.to_owned(),
        _ => format!("{base}/{name}"),
    }
}

/// `keras.src.utils.naming.to_snake_case`: two substitutions, `(.)([A-Z][a-z]+)` to `\1_\2`, then
/// `([a-z])([A-Z])` to `\1_\2`, then lower case.
fn snake_case(class: &str) -> String {
    // Old configurations say `Model` where the weights say `functional`.
    let class = if class == "Model" && is_model(class) {
        "Functional"
    } else {
        class
    };
    let chars: Vec<char> = class
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut first = String::new();
    let mut i = 0;
    while i < chars.len() {
        first.push(chars[i]);
        let word = chars[i + 1..]
            .iter()
            .skip(1)
            .take_while(|c| c.is_ascii_lowercase())
            .count();
        if chars.get(i + 1).is_some_and(char::is_ascii_uppercase) && word > 0 {
            first.push('_');
            first.extend(&chars[i + 1..i + 2 + word]);
            i += 2 + word;
        } else {
            i += 1;
        }
    }
    let mut second = String::new();
    let mut previous = ' ';
    for c in first.chars() {
        if previous.is_ascii_lowercase() && c.is_ascii_uppercase() {
            second.push('_');
        }
        second.push(c.to_ascii_lowercase());
        previous = c;
    }
    second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snake_case_is_that_of_keras() {
        for (class, expected) in [
            ("Conv2D", "conv2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("PReLU", "p_re_lu"),
            ("ELU", "elu"),
            ("Functional", "functional"),
            ("Model", "functional"),
            ("Sequential", "sequential"),
            ("UpSampling2D", "up_sampling2d"),
            ("ZeroPadding2D", "zero_padding2d"),
        ] {
            assert_eq!(snake_case(class), expected);
        }
    }
}
