//! The child of a proof: loads a model and classifies photos when told to, a line of stdin at a
//! time, as the server does: as many uploads held as are told, one engine, one photo decoded at a
//! time, heat maps scaled to what a server sends. Its parent reads the kernel's counters between two lines.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Barrier, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::artifact::{Head, InputKind, Model};
use crate::commands::session::{EngineChoice, load_model};
use crate::engine::Engine;
use crate::explain::{self, Method, Overlay, Score, Target};
use crate::graph::NodeId;
use crate::memory::estimate::OVERLAY_SIDE;
use crate::predict::{Limits, Photo, Predictor, decode};
use crate::report;

/// What a worker is started with.
pub(in crate::commands) struct Worker<'a> {
    pub(in crate::commands) model: Option<&'a Path>,
    pub(in crate::commands) choice: EngineChoice,
    pub(in crate::commands) gradcam: bool,
    pub(in crate::commands) max_pixels: u64,
}

impl Worker<'_> {
    /// Answers each line with `ok MILLISECONDS`, or with `error REASON` and goes on. Ends with
    /// stdin, so that a parent that is gone leaves no worker behind.
    pub(in crate::commands) fn serve(&self) -> Result<()> {
        let mut loaded = None;
        report::print("ok 0\n")?;
        for line in std::io::stdin().lock().lines() {
            let line = line.context("cannot read from the parent")?;
            let since = Instant::now();
            let answer = match self.carry_out(&line, &mut loaded) {
                Ok(()) => format!("ok {}\n", since.elapsed().as_secs_f64() * 1e3),
                Err(error) => format!("error {}\n", format!("{error:#}").replace('\n', " ")),
            };
            report::print(answer)?;
        }
        Ok(())
    }

    fn carry_out(&self, line: &str, loaded: &mut Option<Loaded>) -> Result<()> {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("load"), None, ..) => {
                *loaded = Some(Loaded::new(self)?);
                Ok(())
            }
            (Some("photos"), Some(count), Some(kind), Some(path)) => {
                let count: usize = count.parse()?;
                let gradcam = kind == "gradcam";
                let loaded = loaded.as_ref().context("no model is loaded")?;
                loaded.photos(count, gradcam, Path::new(path))
            }
            _ => bail!("unknown line `{line}`"),
        }
    }
}

struct Loaded {
    predictor: Mutex<Predictor<Engine>>,
    target: Option<Target>,
    extra: Vec<(NodeId, Vec<f32>)>,
    head: Head,
    limits: Limits,
}

impl Loaded {
    fn new(worker: &Worker<'_>) -> Result<Self> {
        let (model, _) = load_model(worker.model)?;
        let target = if worker.gradcam {
            Some(Target::find(&model.graph, None)?)
        } else {
            None
        };
        let keep = target.as_ref().map_or(Vec::new(), Target::keep);
        let extra = extra_inputs(&model);
        let mut engine = worker.choice.engine(&model.graph, keep)?;
        // What a server's self-test does: every weight is read, the whole arena is written.
        engine.run();
        let predictor = Predictor::new(&model, engine)?;
        let limits = Limits {
            max_pixels: worker.max_pixels,
            ..Limits::default()
        };
        Ok(Self {
            predictor: Mutex::new(predictor),
            target,
            extra,
            head: model.manifest.head,
            limits,
        })
    }

    /// Classifies `count` copies of a photo. All files are read before the first is decoded: the
    /// worst moment of so many uploads, each time.
    fn photos(&self, count: usize, gradcam: bool, path: &Path) -> Result<()> {
        let uploaded = Barrier::new(count);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|_| scope.spawn(|| self.photo(gradcam, path, &uploaded)))
                .collect();
            let results = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread panicked"),
            });
            results.collect()
        })
    }

    fn photo(&self, gradcam: bool, path: &Path, uploaded: &Barrier) -> Result<()> {
        let bytes = decode::read_bytes(path, &self.limits);
        // Also after an error: the others wait here.
        uploaded.wait();
        let bytes = bytes?;
        // One photo at a time from here on, as in the server's pool.
        let mut predictor = match self.predictor.lock() {
            Ok(predictor) => predictor,
            Err(poisoned) => poisoned.into_inner(),
        };
        let photo = decode::decode(&bytes, &self.limits)?;
        let prediction = predictor.predict(&photo, &self.extra)?;
        let Some(target) = self.target.as_ref().filter(|_| gradcam) else {
            return Ok(());
        };
        let class = prediction.top1();
        let score = Score::of_class(class, self.head);
        let engine = predictor.runner();
        let map = explain::explain(target, Method::GradCam, score, &|id| engine.value(id))?;
        let small = shrink(&photo).context("the photo has no pixels")?;
        let region = predictor.region(&small);
        drop(photo);
        let size = [small.width(), small.height()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let mut drawn = small.into_pixels();
        explain::overlay(&mut drawn, size, &map, region, Overlay::default());
        let mut png = Vec::new();
        explain::write_png(&mut png, &drawn, size)?;
        Ok(())
    }
}

/// Zeros for every input beside the photo: what they hold changes no memory.
fn extra_inputs(model: &Model) -> Vec<(NodeId, Vec<f32>)> {
    let specs = model.manifest.inputs.iter().zip(model.graph.inputs());
    let vectors = specs.filter(|(spec, _)| matches!(spec.kind, InputKind::Vector { .. }));
    vectors
        .map(|(_, (id, node))| (id, vec![0.0; node.shape.len()]))
        .collect()
}

/// The photo with at most [`OVERLAY_SIDE`] pixels on its long side, every n-th of them taken.
fn shrink(photo: &Photo) -> Option<Photo> {
    let side = usize::try_from(OVERLAY_SIDE).unwrap_or(usize::MAX);
    let long = photo.width().max(photo.height());
    let of = |n: usize| {
        if long > side {
            (n * side / long).max(1)
        } else {
            n
        }
    };
    let (width, height) = (of(photo.width()), of(photo.height()));
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let from = y * photo.height() / height * photo.width();
        for x in 0..width {
            let at = (from + x * photo.width() / width) * 3;
            pixels.extend_from_slice(&photo.pixels()[at..at + 3]);
        }
    }
    Photo::new(width, height, pixels)
}

/// Waits until stdin ends, that is until the parent is gone or done, and then removes the groups
/// (killing what is in them) and the folder. In a process group of its own, so that Ctrl-C does
/// not reach it.
pub(in crate::commands) fn keep(groups: &[PathBuf], folder: Option<&Path>) -> Result<()> {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    crate::memory::cage::remove(groups);
    if let Some(folder) = folder
        && folder.exists()
    {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    Ok(())
}
