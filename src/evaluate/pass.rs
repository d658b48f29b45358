//! One pass over the photos of a [`Dataset`]: each is read and prepared once, for one or more
//! models, in order and in bounded memory.
//!
//! A photo that cannot be read is left out, reported once as an [`Event`], and counted. [`LeftOut`]
//! holds the count over all passes over one dataset, and how many are allowed. Nothing is printed
//! here.

use std::sync::Arc;

use super::dataset::{Dataset, PhotoStream, PreparedPhoto, StreamOptions};
use crate::hint::{Arguments, Hint, named};
use crate::predict::PhotoInput;

/// What a long piece of work reports while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Some photos of a task are done. Tasks follow one another.
    Progress {
        /// The name of the task.
        task: &'a str,
        /// The number of photos that are done.
        done: u64,
        /// The number of all photos.
        total: u64,
    },
    /// A photo could not be read and is left out.
    LeftOut {
        /// Its file, and why.
        photo: &'a str,
    },
    /// The field mapping asks for a column that the table does not have, so every photo gets the
    /// mapping's `missing` for it.
    NoColumn {
        /// Its name.
        name: &'a str,
    },
}

/// A function that receives [`Event`]s. `&mut |_| {}` ignores them.
pub type Watch<'a> = dyn FnMut(Event<'_>) + 'a;

/// Why a pass over photos ended early.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The system refused to start a thread.
    #[error("cannot start threads that read photos")]
    Threads(#[source] std::io::Error),
    /// More photos than allowed cannot be read.
    #[error("cannot read photo {photo} (unreadable photos: {count}, allowed: {allowed})")]
    Unreadable {
        /// The last of them, and why.
        photo: String,
        /// How many so far.
        count: usize,
        /// How many may be left out.
        allowed: usize,
    },
}

impl Hint for PassError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Threads(_) => "no_threads",
            Self::Unreadable { .. } => "photo_unreadable",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Threads(_) => "use fewer threads with `--threads`, or end other programs",
            Self::Unreadable { .. } => "repair or remove it, or allow some with `--max-bad N`",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Unreadable {
                photo,
                count,
                allowed,
            } => named!(photo, count, allowed),
            Self::Threads(_) => named!(),
        }
    }
}

/// Photos that could not be read, each counted once over all passes over one dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    photos: Vec<String>,
    allowed: usize,
}

impl LeftOut {
    /// None so far; `allowed` is the limit for all passes.
    #[must_use]
    pub fn at_most(allowed: usize) -> Self {
        Self {
            photos: Vec::new(),
            allowed,
        }
    }

    /// Each file with the reason, in the order in which they were found.
    #[must_use]
    pub fn photos(&self) -> &[String] {
        &self.photos
    }

    fn add(&mut self, photo: String, watch: &mut Watch<'_>) -> Result<(), PassError> {
        if self.photos.contains(&photo) {
            return Ok(());
        }
        let count = self.photos.len() + 1;
        if count > self.allowed {
            return Err(PassError::Unreadable {
                photo,
                count,
                allowed: self.allowed,
            });
        }
        watch(Event::LeftOut { photo: &photo });
        self.photos.push(photo);
        Ok(())
    }
}

/// Whether item `index` of `all` is among `wanted` evenly spaced ones.
#[must_use]
pub fn is_evenly_spaced(index: usize, wanted: usize, all: usize) -> bool {
    let wanted = wanted.min(all);
    (index + 1) * wanted / all != index * wanted / all
}

/// The input of a pass.
pub struct Pass<'a> {
    /// The photos.
    pub dataset: &'a Dataset,
    /// How they become the input of each model.
    pub models: &'a [PhotoInput],
    /// How they are prepared.
    pub stream: StreamOptions,
    /// At most this many photos, evenly spaced.
    pub most: usize,
    /// The name of this pass in [`Event::Progress`].
    pub task: &'a str,
}

impl Pass<'_> {
    /// Calls `visit` with each photo, in order, and its index in the dataset's samples.
    ///
    /// # Errors
    /// [`PassError`], or the first error of `visit`.
    pub fn run<E: From<PassError>>(
        &self,
        left_out: &mut LeftOut,
        watch: &mut Watch<'_>,
        mut visit: impl FnMut(usize, &PreparedPhoto) -> Result<(), E>,
    ) -> Result<(), E> {
        let all = self.dataset.samples.len();
        let indices: Vec<usize> = (0..all)
            .filter(|&index| is_evenly_spaced(index, self.most, all))
            .collect();
        let part = Dataset {
            samples: indices
                .iter()
                .map(|&index| self.dataset.samples[index].clone())
                .collect(),
            ..self.dataset.without_samples()
        };
        let stream = PhotoStream::new(Arc::new(part), self.models, self.stream)
            .map_err(PassError::Threads)?;
        for prepared in stream {
            let index = indices[prepared.index];
            match prepared.photo {
                Ok(photo) => visit(index, &photo)?,
                Err(error) => {
                    let path = self.dataset.samples[index].path.display();
                    left_out.add(format!("`{path}`: {error}"), watch)?;
                }
            }
            watch(Event::Progress {
                task: self.task,
                done: prepared.index as u64 + 1,
                total: indices.len() as u64,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_photos_are_as_many_as_wanted_and_spread() {
        for (all, wanted) in [(7, 3), (210, 64), (5, 5), (5, 9), (1, 1), (4, 0)] {
            let chosen: Vec<usize> = (0..all)
                .filter(|&index| is_evenly_spaced(index, wanted, all))
                .collect();
            assert_eq!(chosen.len(), wanted.min(all), "{wanted} of {all}");
            let gaps = chosen.windows(2).map(|pair| pair[1] - pair[0]);
            let (most, least) = (gaps.clone().max(), gaps.min());
            let spread = most.zip(least).map_or(0, |(most, least)| most - least);
            assert!(spread <= 1, "{chosen:?}");
        }
    }

    #[test]
    fn a_photo_is_left_out_once_and_too_many_are_an_error() {
        let mut said = Vec::new();
        let mut left_out = LeftOut::at_most(1);
        let mut watch = |event: Event<'_>| said.push(format!("{event:?}"));
        left_out.add("a".to_owned(), &mut watch).unwrap();
        left_out.add("a".to_owned(), &mut watch).unwrap();
        let error = left_out.add("b".to_owned(), &mut watch).unwrap_err();
        assert_eq!(error.kind(), "photo_unreadable");
        assert!(
            error
                .to_string()
                .contains("unreadable photos: 2, allowed: 1")
        );
        assert_eq!(left_out.photos(), ["a"]);
        assert_eq!(said.len(), 1);
    }
}
