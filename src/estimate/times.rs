//! The time of each part of a request, measured on this machine.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{EstimateError, SamplePhoto};
use crate::artifact::{InputKind, Model};
use crate::classifier::Classifier;
use crate::engine::{self, Engine};
use crate::explain::{self, ExplainError, Method, Overlay};
use crate::memory::estimate::{OVERLAY_SIDE, PhotoFacts};
use crate::predict::{InputValues, Limits, PredictError, Region, decode};

/// CPU time of each part of a request, measured on this machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Loading the model and running a self-test, on one thread.
    pub load_ms: f64,
    /// One inference, one thread.
    pub inference_ms: f64,
    /// The same on all of this machine's threads.
    pub inference_here_ms: f64,
    /// Decoding a JPEG, for a million pixels.
    pub decode_ms_per_megapixel: f64,
    /// Making the model's input from a photo, for a million pixels.
    pub preprocess_ms_per_megapixel: f64,
    /// A heat map, if the model has one.
    pub heat_map: Option<Drawing>,
}

/// A heat map of a generated photo, drawn on this machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Drawing {
    /// The map itself: the gradient of the model's head.
    pub explain_ms: f64,
    /// Scaling the photo down, for a million of its pixels.
    pub shrink_ms_per_megapixel: f64,
    /// Colours and PNG, for a million pixels of the overlay.
    pub paint_ms_per_megapixel: f64,
    /// Bytes of the PNG for each pixel of the overlay.
    pub png_bytes_per_pixel: f64,
}

/// Pixels of the generated photo: a little more than an overlay's, so that it is scaled down.
const SAMPLE_PIXELS: u64 = 1_200_000;

/// Columns and rows of the photo with which scaling down is timed. With a small photo, writing the
/// overlay's own pixels would take most of the time.
const LARGE: [usize; 2] = [2560, 1920];

/// Longest time for the repetitions of one measurement.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What takes longer than this in three runs is measured well enough by three.
const ENOUGH: Duration = Duration::from_millis(50);

impl Times {
    /// Times every part. `single` is the model's engine on one thread, which has run once.
    pub(super) fn measure(
        model: &Model,
        options: &engine::Options,
        load_ms: f64,
        mut single: Engine,
    ) -> Result<Self, EstimateError> {
        let inference_ms = median_ms(|| single.run());
        drop(single);
        let inference_here_ms = if options.threads > 1 {
            let mut engine = Engine::new(&model.graph, options)?;
            engine.run();
            median_wall_ms(|| engine.run())
        } else {
            inference_ms
        };
        let sample = Sample::new(model, options)?;
        Ok(Self {
            load_ms,
            inference_ms,
            inference_here_ms,
            decode_ms_per_megapixel: sample.decode_ms / SAMPLE_MEGAPIXELS,
            preprocess_ms_per_megapixel: sample.preprocess_ms / SAMPLE_MEGAPIXELS,
            heat_map: sample.drawing,
        })
    }

    /// CPU time of one request for a photo.
    #[must_use]
    pub fn request_ms(&self, photo: &PhotoFacts, gradcam: bool) -> f64 {
        let megapixels = photo.pixels() as f64 / 1e6;
        let a_megapixel = self.decode_ms_per_megapixel + self.preprocess_ms_per_megapixel;
        let drawing = self.heat_map.filter(|_| gradcam);
        let drawing = drawing.map_or(0.0, |drawing| {
            let overlay = photo.overlay_bytes() as f64 / 3e6;
            drawing.explain_ms
                + drawing.shrink_ms_per_megapixel * megapixels
                + drawing.paint_ms_per_megapixel * overlay
        });
        self.inference_ms + a_megapixel * megapixels + drawing
    }
}

/// A server also reads the body, hashes file and pixels, and waits for the kernel to clear pages.
/// Proofs with 12 megapixels took 13 to 22 % longer than the sum of the parts on one CPU, and 25 to
/// 30 % longer at a tenth of a CPU.
const SERVED: f64 = 1.2;

impl Times {
    /// Wall time of one request at a CPU share, or here. Threads share inference; the rest of a
    /// request runs on one CPU.
    #[must_use]
    pub fn wall_ms(
        &self,
        photo: &PhotoFacts,
        gradcam: bool,
        threads: u64,
        share: Option<f64>,
    ) -> f64 {
        let alone = self.request_ms(photo, gradcam) - self.inference_ms;
        let parts = match share {
            Some(share) => {
                let threads = share.max(1.0).min(threads as f64);
                (alone + self.inference_ms / threads) / share.min(1.0)
            }
            None => alone + self.inference_here_ms,
        };
        parts * SERVED
    }
}

const SAMPLE_MEGAPIXELS: f64 = SAMPLE_PIXELS as f64 / 1e6;

/// The time of each step of a request for one generated photo.
struct Sample {
    decode_ms: f64,
    preprocess_ms: f64,
    drawing: Option<Drawing>,
}

impl Sample {
    fn new(model: &Model, options: &engine::Options) -> Result<Self, EstimateError> {
        let jpeg = SamplePhoto::of_pixels(SAMPLE_PIXELS)?.jpeg;
        let limits = Limits::default();
        let photo = decode::decode(&jpeg, &limits).map_err(PredictError::from)?;
        let decode_ms = median_ms(|| {
            // It was decoded one line above.
            let _ = decode::decode(&jpeg, &limits);
        });
        let classifier = Classifier::options().threads(1).isa(options.isa);
        let mut classifier = classifier.build(model.clone())?;
        let mut prepared = vec![0.0; classifier.photo_input().len()];
        classifier.photo_input().prepare(&photo, &mut prepared)?;
        let preprocess_ms = median_ms(|| {
            // It was prepared a line above.
            let _ = classifier.photo_input().prepare(&photo, &mut prepared);
        });
        let answer = classifier.predict_prepared(&prepared, &zeros(model))?;
        let map = match answer.heat_map(Method::GradCam, None) {
            Ok(map) => map,
            Err(ExplainError::NoMap) => {
                return Ok(Self {
                    decode_ms,
                    preprocess_ms,
                    drawing: None,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let explain_ms = median_ms(|| {
            let _ = answer.heat_map(Method::GradCam, None);
        });
        let from = [photo.width(), photo.height()];
        let side = usize::try_from(OVERLAY_SIDE).unwrap_or(usize::MAX);
        let (small, to) = explain::shrink(photo.pixels(), from, side)
            .unwrap_or_else(|| (photo.pixels().to_vec(), from));
        let large = vec![128; LARGE[0] * LARGE[1] * 3];
        let shrink_ms = median_ms(|| {
            let _ = explain::shrink(&large, LARGE, side);
        });
        drop(large);
        let region = Region {
            left: 0.0,
            top: 0.0,
            width: to[0] as f64,
            height: to[1] as f64,
        };
        let size = to.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let paint = || -> std::io::Result<usize> {
            let mut pixels = small.clone();
            let mut png = Vec::new();
            explain::overlay(&mut pixels, size, &map, region, Overlay::default());
            explain::write_png(&mut png, &pixels, size)?;
            Ok(png.len())
        };
        let png_bytes = paint().map_err(EstimateError::Photo)?;
        let paint_ms = median_ms(|| {
            let _ = paint();
        });
        let overlay_pixels = (to[0] * to[1]) as f64;
        Ok(Self {
            decode_ms,
            preprocess_ms,
            drawing: Some(Drawing {
                explain_ms,
                shrink_ms_per_megapixel: shrink_ms * 1e6 / (LARGE[0] * LARGE[1]) as f64,
                paint_ms_per_megapixel: paint_ms * 1e6 / overlay_pixels,
                png_bytes_per_pixel: png_bytes as f64 / overlay_pixels,
            }),
        })
    }
}

/// Zeros for every other input: the values change no time.
fn zeros(model: &Model) -> InputValues {
    let specs = model.manifest.inputs.iter().zip(model.graph.inputs());
    let vectors = specs.filter(|(spec, _)| matches!(spec.kind, InputKind::Vector { .. }));
    vectors
        .map(|(_, (id, node))| (id, vec![0.0; node.shape.len()]))
        .collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The median of a few runs on one thread, in CPU time: on a machine that is busy with something else, a
/// request would otherwise seem slower than it is on the platform.
fn median_ms(run: impl FnMut()) -> f64 {
    median_by(cpu_time, run)
}

/// The median of a few runs on several threads, in wall time.
fn median_wall_ms(run: impl FnMut()) -> f64 {
    let began = Instant::now();
    median_by(|| began.elapsed(), run)
}

fn median_by(clock: impl Fn() -> Duration, mut run: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < 5 && began.elapsed() < ENOUGH) {
        let since = clock();
        run();
        times.push(milliseconds(clock().saturating_sub(since)));
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// CPU time of this process so far, all of its threads together.
#[cfg(unix)]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Wall time, where the system's CPU time is not read.
#[cfg(not(unix))]
fn cpu_time() -> Duration {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGAN.elapsed()
}
