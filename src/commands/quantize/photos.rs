//! The photos of a quantization: read again for each pass, in order, in bounded memory.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::super::failure;
use super::super::fields::read_field_mapping;
use crate::artifact::{FieldMapping, Model};
use crate::cli::QuantizeArgs;
use crate::evaluate::dataset::{Dataset, Labels, PhotoStream, RowFilter, RowInputs, StreamOptions};
use crate::graph::{Graph, NodeId};
use crate::predict::{ExtraInput, Limits, PhotoInput};
use crate::report::{self, Progress};

/// Labelled or unlabelled photos and how they become a model's inputs.
pub(super) struct Photos<'a> {
    model: &'a Model,
    pub(super) dataset: Arc<Dataset>,
    mapping: Option<FieldMapping>,
    given: Vec<ExtraInput>,
    photo: PhotoInput,
    options: StreamOptions,
    max_bad: usize,
    /// Files that could not be read, each once.
    bad: Vec<String>,
}

impl<'a> Photos<'a> {
    pub(super) fn open(
        args: &QuantizeArgs,
        model: &'a Model,
        options: StreamOptions,
    ) -> Result<Self> {
        let Some(path) = &args.calibrate else {
            return Err(failure(
                "INT8 needs photos to see in which range each layer's values lie",
                "give a folder or table of typical photos with `--calibrate` (64 are plenty), or \
                 choose `--weights-only` or `--to fp16`, which need none",
            ));
        };
        let filters: Vec<RowFilter> = args
            .filter
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()?;
        let labels = &model.manifest.labels;
        let labels = if args.max_drop.is_some() {
            Labels::Required(labels)
        } else {
            Labels::Optional(labels)
        };
        let context = || format!("cannot use the photos of `{}`", path.display());
        let mut dataset = Dataset::open(path, labels, &filters).with_context(context)?;
        let found = dataset.samples.len();
        if let Some(wanted) = args.photos.map(std::num::NonZero::get)
            && wanted < found
        {
            let chosen = |i: usize| (i + 1) * wanted / found != i * wanted / found;
            let mut i = 0;
            dataset.samples.retain(|_| {
                i += 1;
                chosen(i - 1)
            });
        }
        if dataset.samples.is_empty() {
            return Err(failure(
                format!("`{}` has no photos", path.display()),
                "give typical photos with `--calibrate`",
            ));
        }
        let mapping = match &args.fields {
            Some(file) => Some(read_field_mapping(file, &model.vector_inputs())?),
            None => None,
        };
        let given = args.input.iter().map(|named| ExtraInput {
            name: named.name.clone(),
            values: named.values.clone(),
        });
        let photos = Self {
            photo: PhotoInput::of(model)?,
            dataset: Arc::new(dataset),
            mapping,
            given: given.collect(),
            model,
            options,
            max_bad: args.max_bad,
            bad: Vec::new(),
        };
        // Mistakes of the last row are known before the first photo is read.
        let coverage = photos.rows().check(&photos.dataset).with_context(context)?;
        for name in &coverage.absent {
            report::warn(
                &format!("the table has no column `{}`", report::printable(name)),
                Some("the mapping's `missing` stands in for it on every photo"),
            );
        }
        Ok(photos)
    }

    fn rows(&self) -> RowInputs<'_> {
        RowInputs::new(self.model, self.mapping.as_ref(), self.given.clone())
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.dataset.samples.len()
    }

    /// Photos that could not be read.
    pub(super) fn bad(&self) -> &[String] {
        &self.bad
    }

    /// Bytes that a pass holds at once, at most.
    pub(super) fn limits(&mut self) -> &mut Limits {
        &mut self.options.limits
    }

    /// Calls `visit` with the index and the inputs of photos in order: all, or `most` of them
    /// evenly spaced. Photos that cannot be read are left out, up to `--max-bad`.
    pub(super) fn each(
        &mut self,
        task: &str,
        most: usize,
        visit: &mut dyn FnMut(usize, &Inputs) -> Result<()>,
    ) -> Result<()> {
        let all = self.len();
        let most = most.min(all);
        let mut part = (*self.dataset).clone();
        let mut index = 0;
        let mut indices = Vec::with_capacity(most);
        part.samples.retain(|_| {
            let chosen = (index + 1) * most / all != index * most / all;
            if chosen {
                indices.push(index);
            }
            index += 1;
            chosen
        });
        let part = Arc::new(part);
        let stream = PhotoStream::new(
            part.clone(),
            std::slice::from_ref(&self.photo),
            self.options,
        )
        .context("cannot start threads that read photos")?;
        let mut progress = Progress::items(task);
        let mut bad = Vec::new();
        for prepared in stream {
            let sample = &part.samples[prepared.index];
            match prepared.photo {
                Ok(photo) => {
                    let extra = self.rows().of(&part, sample)?;
                    let inputs = Inputs {
                        photo: (self.photo.node(), photo.input(0)),
                        extra,
                    };
                    visit(indices[prepared.index], &inputs)?;
                }
                Err(error) => {
                    let text = format!("`{}`: {error}", sample.path.display());
                    if self.bad.contains(&text) {
                        continue;
                    }
                    bad.push(text.clone());
                    let count = self.bad.len() + bad.len();
                    if count > self.max_bad {
                        return Err(failure(
                            format!(
                                "cannot read photo {text} (unreadable photos: {count}, allowed: {})",
                                self.max_bad
                            ),
                            "repair or remove it, or allow some with `--max-bad N`",
                        ));
                    }
                    progress.suspend(|| report::warn(&format!("left out {text}"), None));
                }
            }
            progress.set(prepared.index as u64 + 1, most as u64);
        }
        self.bad.append(&mut bad);
        Ok(())
    }
}

/// The inputs of one photo, by the model's nodes.
pub(super) struct Inputs<'p> {
    photo: (NodeId, &'p [f32]),
    extra: Vec<(NodeId, Vec<f32>)>,
}

impl Inputs<'_> {
    /// Each input of `graph`, a rewritten form of `model`'s with the same inputs in the same
    /// order, with its numbers.
    pub(super) fn of(&self, model: &Graph, graph: &Graph) -> Vec<(NodeId, &[f32])> {
        let nodes = model.inputs().zip(graph.inputs());
        nodes
            .filter_map(|((old, _), (new, _))| {
                if old == self.photo.0 {
                    return Some((new, self.photo.1));
                }
                let extra = self.extra.iter().find(|(id, _)| *id == old)?;
                Some((new, extra.1.as_slice()))
            })
            .collect()
    }
}
