//! Whether a model fits, and how fast it is: `dermal serve` on a platform, estimated on this
//! machine.
//!
//! [`Estimate::measure`] loads the model, plans its memory and times its parts on this machine. The
//! rest is arithmetic ([`crate::memory::estimate`]): the memory of each state of the server, the
//! time of one request at a platform's CPU share, what a change would save ([`Estimate::what_if`]),
//! and which platform and file to choose ([`Estimate::advise`]).
//!
//! ```
//! use dermal::artifact::ModelSource;
//! use dermal::estimate::{Estimate, EstimateOptions};
//! use dermal::readiness::platforms;
//! use dermal::readiness::verdict::Verdict;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = EstimateOptions { max_pixels: 2_000_000, ..EstimateOptions::default() };
//! let estimate = Estimate::measure(&ModelSource::Embedded, &options)?;
//! let platform = platforms::find("render-free")?;
//! assert_eq!(Verdict::of(&estimate.demand(), platform.ram_bytes()), Verdict::Fits);
//! let one_photo = estimate.latency(Some(&platform));
//! assert!(one_photo.there.is_some_and(|there| there > one_photo.here));
//! # Ok(())
//! # }
//! ```
//!
//! Not here: running the server to check an estimate (`prove`).

use std::path::Path;
use std::time::Instant;

use crate::artifact::{Model, ModelSource};
use crate::engine::{self, Engine};
use crate::memory::estimate::{Calibration, Facts, Load, PhotoFacts, State, estimate};
use crate::memory::measure::Counters;
use crate::readiness::platforms::Platform;
use crate::readiness::verdict::Demand;

mod advice;
pub mod deployment;
mod error;
mod facts;
mod report;
mod sample;
mod times;
mod what_if;

pub use advice::{Advice, Choice};
pub use error::EstimateError;
pub use report::{DiskBytes, EstimateReport, LatencyReport, LimitReport, PeakReport, StateReport};
pub use sample::SamplePhoto;
pub use times::{Drawing, Times};
pub use what_if::WhatIf;

/// What to estimate.
#[derive(Clone, Debug)]
pub struct EstimateOptions {
    /// How the server's engine runs.
    pub engine: engine::Options,
    /// Rows and columns of the photo's input, instead of the model's own.
    pub image_size: Option<[usize; 2]>,
    /// Pixels of the largest photo that the server admits.
    pub max_pixels: u64,
    /// How many photos the server admits at once.
    pub photos_at_once: u64,
    /// Whether requests may ask for heat maps.
    pub gradcam: bool,
}

impl Default for EstimateOptions {
    /// The load of `dermal estimate`: four photos of 12 megapixels at once, with heat maps, on one
    /// thread.
    fn default() -> Self {
        Self {
            engine: engine::Options::default(),
            image_size: None,
            max_pixels: 12_000_000,
            photos_at_once: 4,
            gradcam: true,
        }
    }
}

/// A model, its load, and the time of its parts on this machine.
pub struct Estimate {
    /// The model, with another input size if one was requested.
    pub model: Model,
    /// The input of the memory arithmetic.
    pub facts: Facts,
    /// The time of each part of a request on this machine.
    pub times: Times,
    /// The files that are deployed.
    pub disk: DiskBytes,
    /// How the server's engine runs.
    pub engine: engine::Options,
}

impl Estimate {
    /// Loads the model and measures it: how much memory loading adds to this process, and how long
    /// inference, decoding and drawing take. Takes a few seconds.
    ///
    /// # Errors
    /// [`EstimateError`] for a model that cannot be loaded or run.
    pub fn measure(source: &ModelSource, options: &EstimateOptions) -> Result<Self, EstimateError> {
        let idle = Counters::of(std::process::id());
        let since = Instant::now();
        let mut model = source.load()?;
        if let Some(size) = options.image_size {
            model = facts::with_image_size(model, size)?;
        }
        let model_bytes = match source {
            ModelSource::File(path) => file_bytes(path),
            ModelSource::Embedded => 0,
        };
        let one = engine::Options {
            threads: 1,
            ..options.engine.clone()
        };
        let mut single = Engine::new(&model.graph, &one)?;
        single.run();
        let loaded = Counters::of(std::process::id());
        let added = idle
            .zip(loaded)
            .map(|(idle, loaded)| loaded.anonymous_bytes.saturating_sub(idle.anonymous_bytes));
        let load_ms = since.elapsed().as_secs_f64() * 1e3;
        let model_facts = facts::of_model(&model, model_bytes, &single, added)?;
        let times = Times::measure(&model, &options.engine, load_ms, single)?;
        let mut photo = PhotoFacts::of_pixels(options.max_pixels);
        if let Some(drawing) = &times.heat_map {
            photo.set_picture_bytes_per_pixel(drawing.png_bytes_per_pixel);
        }
        let facts = Facts {
            model: model_facts,
            photo,
            load: Load {
                photos_at_once: options.photos_at_once,
                threads: options.engine.threads as u64,
                gradcam: options.gradcam && model_facts.feature_map_bytes > 0,
                cache_bytes: deployment::CACHE_BYTES,
            },
            calibration: Calibration::with_program(
                idle.map(|counters| counters.file_bytes),
                loaded.map(|counters| counters.file_bytes.saturating_sub(model_bytes)),
            ),
        };
        let program = std::env::current_exe().map_or(0, |path| file_bytes(&path));
        Ok(Self {
            model,
            facts,
            times,
            disk: DiskBytes {
                program,
                model: model_bytes,
            },
            engine: options.engine.clone(),
        })
    }

    /// The memory of each state of the server, in the order of the states.
    #[must_use]
    pub fn states(&self) -> Vec<State> {
        estimate(&self.facts)
    }

    /// The memory of the worst state, and the budget that the server needs to admit the load.
    #[must_use]
    pub fn demand(&self) -> Demand {
        deployment::demand(&self.facts)
    }

    /// Wall time of one request and of a cold start, here and on a platform.
    #[must_use]
    pub fn latency(&self, platform: Option<&Platform>) -> LatencyReport {
        let (times, load) = (&self.times, &self.facts.load);
        let wall_ms = |share| times.wall_ms(&self.facts.photo, load.gradcam, load.threads, share);
        let share = platform.map(|p| p.cpu.value);
        let added = platform
            .and_then(|p| p.added_latency_ms)
            .map_or(0.0, |ms| ms.value);
        LatencyReport {
            here: wall_ms(None),
            there: share.map(|share| wall_ms(Some(share)) + added),
            cpu_share: share,
            cold_start_here: times.load_ms,
            cold_start_there: share.map(|share| times.load_ms / share.min(1.0)),
        }
    }

    /// The same load with one thing changed, the present state first. With a limit each row says
    /// whether it fits.
    #[must_use]
    pub fn what_if(&self, limit_bytes: Option<u64>) -> Vec<WhatIf> {
        what_if::rows(&self.model, &self.facts, limit_bytes)
    }
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
