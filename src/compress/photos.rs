//! The photos of a calibration: each pass reads them again, in order, in bounded memory.

use super::error::CompressError;
use super::int8::Int8Settings;
use crate::artifact::{FieldMapping, Model};
use crate::evaluate::dataset::{Dataset, RowInputs, StreamOptions};
use crate::evaluate::pass::{Event, LeftOut, Pass, Watch};
use crate::graph::{Graph, NodeId};
use crate::predict::{ExtraInput, Limits, PhotoInput};

/// Labelled or unlabelled photos and how they become a model's inputs.
pub(super) struct Photos<'a> {
    model: &'a Model,
    pub(super) dataset: Dataset,
    mapping: Option<&'a FieldMapping>,
    given: &'a [ExtraInput],
    photo: PhotoInput,
    stream: StreamOptions,
    left_out: LeftOut,
}

impl<'a> Photos<'a> {
    /// Finds mistakes in the last row before the first photo is read.
    pub(super) fn new(
        model: &'a Model,
        dataset: Dataset,
        settings: &'a Int8Settings,
        limits: Limits,
        watch: &mut Watch<'_>,
    ) -> Result<Self, CompressError> {
        let photos = Self {
            photo: PhotoInput::of(model)?,
            dataset,
            mapping: settings.mapping.as_ref(),
            given: &settings.inputs,
            model,
            stream: StreamOptions {
                threads: settings.engine.threads,
                limits,
            },
            left_out: LeftOut::at_most(settings.max_bad),
        };
        let rows = photos.rows();
        let coverage = rows.check(&photos.dataset).map_err(CompressError::Rows)?;
        for name in &coverage.absent {
            watch(Event::NoColumn { name });
        }
        Ok(photos)
    }

    fn rows(&self) -> RowInputs<'a> {
        RowInputs::new(self.model, self.mapping, self.given.to_vec())
    }

    /// How many photos were read; known after a pass over all of them.
    pub(super) fn read(&self) -> usize {
        self.dataset.samples.len() - self.left_out.photos().len()
    }

    /// Photos that could not be read.
    pub(super) fn left_out(&self) -> &[String] {
        self.left_out.photos()
    }

    /// Calls `visit` with the dataset, the index and the inputs of photos in order: all, or `most`
    /// of them evenly spaced.
    pub(super) fn each(
        &mut self,
        task: &str,
        most: usize,
        watch: &mut Watch<'_>,
        mut visit: impl FnMut(&Dataset, usize, &Inputs) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let rows = self.rows();
        let pass = Pass {
            dataset: &self.dataset,
            models: std::slice::from_ref(&self.photo),
            stream: self.stream,
            most,
            task,
        };
        pass.run(&mut self.left_out, watch, |index, photo| {
            let sample = &self.dataset.samples[index];
            let extra = rows
                .of(&self.dataset, sample)
                .map_err(CompressError::Rows)?;
            let inputs = Inputs {
                photo: (self.photo.node(), photo.input(0)),
                extra,
            };
            visit(&self.dataset, index, &inputs)
        })
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
