//! Photos decoded and preprocessed on several threads, handed out in order, in bounded memory.
//!
//! Each photo is read and decoded once, whatever the number of models; models whose recipes make
//! the same floats share them. At most `window` photos are prepared ahead of the reader, so that
//! memory does not depend on the number of photos: [`PhotoStream::worst_bytes`] gives the bound. A
//! photo that cannot be read is handed out as an error and does not stop the stream.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Dataset;
use crate::predict::{Limits, PhotoInput, PredictError, decode};

/// How photos are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Threads that decode photos; at least one.
    pub threads: usize,
    /// The limits for one photo. Each thread may take that much memory.
    pub limits: Limits,
}

impl StreamOptions {
    /// How many photos may be prepared and not yet handed out: for each thread the one that it
    /// prepares, and one that waits, so that neither side waits for a photo that took a little
    /// longer.
    fn window(&self) -> usize {
        self.threads.max(1) * 2
    }
}

/// A photo as the inputs of one or more models.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedPhoto {
    /// Columns of the upright photo.
    pub width: usize,
    /// Rows.
    pub height: usize,
    tensors: Vec<Vec<f32>>,
    of_model: Arc<[usize]>,
}

impl PreparedPhoto {
    /// The floats for the model whose [`PhotoInput`] was the `model`-th.
    ///
    /// # Panics
    /// If there were fewer inputs.
    #[must_use]
    pub fn input(&self, model: usize) -> &[f32] {
        &self.tensors[self.of_model[model]]
    }
}

/// The result for one sample.
#[derive(Debug)]
pub struct Prepared {
    /// Index into [`Dataset::samples`].
    pub index: usize,
    /// The photo, or why there is none.
    pub photo: Result<PreparedPhoto, PredictError>,
}

/// The photos of a dataset, in its order. Dropping it stops the threads.
pub struct PhotoStream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    worst_bytes: u64,
}

struct Shared {
    dataset: Arc<Dataset>,
    /// Distinct recipes.
    inputs: Vec<PhotoInput>,
    /// Index into `inputs` of each model.
    of_model: Arc<[usize]>,
    options: StreamOptions,
    queue: Mutex<Queue>,
    /// Signals that a photo is ready, or that a thread ended.
    ready: Condvar,
    /// Signals that there is room for another photo, or that the stream is dropped.
    room: Condvar,
}

/// Threads have taken samples `given .. given + slots.len()`; a slot is filled when its photo is
/// done.
struct Queue {
    given: usize,
    slots: VecDeque<Option<Prepared>>,
    stopped: bool,
}

impl PhotoStream {
    /// Starts preparing the photos of `dataset` for the models with these inputs.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub fn new(
        dataset: Arc<Dataset>,
        models: &[PhotoInput],
        options: StreamOptions,
    ) -> std::io::Result<Self> {
        let mut inputs: Vec<PhotoInput> = Vec::new();
        let mut of_model = Vec::with_capacity(models.len());
        for model in models {
            let known = inputs
                .iter()
                .position(|input| input.makes_the_same_as(model));
            of_model.push(known.unwrap_or(inputs.len()));
            if known.is_none() {
                inputs.push(model.clone());
            }
        }
        let floats: usize = inputs.iter().map(PhotoInput::len).sum();
        let waiting = (floats * size_of::<f32>()) as u64 * (options.window() as u64 + 1);
        let decoding = options.limits.max_memory_bytes + options.limits.max_bytes;
        let worst_bytes = waiting.saturating_add(decoding * options.threads.max(1) as u64);
        let shared = Arc::new(Shared {
            dataset,
            inputs,
            of_model: of_model.into(),
            options,
            queue: Mutex::new(Queue {
                given: 0,
                slots: VecDeque::with_capacity(options.window()),
                stopped: false,
            }),
            ready: Condvar::new(),
            room: Condvar::new(),
        });
        let mut stream = Self {
            shared,
            threads: Vec::new(),
            worst_bytes,
        };
        for i in 0..options.threads.max(1) {
            let shared = stream.shared.clone();
            let thread = std::thread::Builder::new().name(format!("photo-{i}"));
            // If this fails, the stream is dropped, and that stops the threads that were started.
            stream
                .threads
                .push(thread.spawn(move || shared.prepare_photos())?);
        }
        Ok(stream)
    }

    /// Photos that are ready or being prepared, ahead of the one handed out last: never more than
    /// twice the number of threads.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().slots.len()
    }

    /// The most bytes that preparing can hold at once, whatever the photos: those that wait, the
    /// one that was handed out, and a photo at its limits on every thread.
    #[must_use]
    pub fn worst_bytes(&self) -> u64 {
        self.worst_bytes
    }
}

impl Iterator for PhotoStream {
    type Item = Prepared;

    fn next(&mut self) -> Option<Prepared> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        loop {
            if queue.given == shared.dataset.samples.len() {
                return None;
            }
            if matches!(queue.slots.front(), Some(Some(_))) {
                let prepared = queue.slots.pop_front().flatten();
                queue.given += 1;
                drop(queue);
                shared.room.notify_one();
                return prepared;
            }
            if queue.stopped {
                drop(queue);
                self.join();
                return None;
            }
            queue = shared
                .ready
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.shared.dataset.samples.len() - self.shared.lock().given;
        (left, Some(left))
    }
}

impl ExactSizeIterator for PhotoStream {}

impl PhotoStream {
    /// Waits for the threads. If one panicked (a bug in a decoder), the caller panics, too.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for PhotoStream {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // The panic is reported when the next photo is requested; a drop must not panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while the lock is held, and the queue is consistent at every step.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of a thread: it takes samples in order while there is room for them.
    fn prepare_photos(&self) {
        /// Wakes the reader if a decoder panics. Without it the reader would wait for ever.
        struct Alarm<'a>(&'a Shared);
        impl Drop for Alarm<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.lock().stopped = true;
                    self.0.ready.notify_all();
                    self.0.room.notify_all();
                }
            }
        }
        let alarm = Alarm(self);
        while let Some(index) = self.take() {
            let prepared = Prepared {
                index,
                photo: self.prepare(index),
            };
            let mut queue = self.lock();
            let slot = index - queue.given;
            queue.slots[slot] = Some(prepared);
            drop(queue);
            self.ready.notify_one();
        }
        drop(alarm);
    }

    /// The next sample that no thread has taken, once there is room.
    fn take(&self) -> Option<usize> {
        let mut queue = self.lock();
        loop {
            let index = queue.given + queue.slots.len();
            if queue.stopped || index >= self.dataset.samples.len() {
                return None;
            }
            if queue.slots.len() < self.options.window() {
                queue.slots.push_back(None);
                return Some(index);
            }
            queue = self
                .room
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn prepare(&self, index: usize) -> Result<PreparedPhoto, PredictError> {
        let sample = &self.dataset.samples[index];
        let photo = decode::read(&sample.path, &self.options.limits)?;
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let mut tensor = vec![0.0; input.len()];
            input.prepare(&photo, &mut tensor)?;
            tensors.push(tensor);
        }
        Ok(PreparedPhoto {
            width: photo.width(),
            height: photo.height(),
            tensors,
            of_model: self.of_model.clone(),
        })
    }
}
