//! The demo network: a stem, inverted-residual blocks with squeeze-and-excite and SiLU
//! (EfficientNet's block, Tan and Le 2019), a 1x1 top, global mean, a dense layer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor, Var};

use crate::Training;
use crate::ops::{Depthwise, Gate, GlobalMean, Moments, Normalize, same};
use crate::synthetic::{CLASSES, Dice};

/// Rows and columns of the input.
pub(crate) const INPUT: usize = 112;
/// Output channels of the stem, a 3x3 convolution of stride 2.
pub(crate) const STEM: usize = 16;
/// Channels of the last feature map.
pub(crate) const TOP: usize = 192;

/// An inverted-residual block.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// The block expands its input to this many times the channels; 1 means no expansion.
    pub(crate) expand: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) filters: usize,
}

const fn block(expand: usize, kernel: usize, stride: usize, filters: usize) -> Block {
    Block {
        expand,
        kernel,
        stride,
        filters,
    }
}

/// The blocks; feature maps of 56, 28, 14 and 7 rows.
pub(crate) const BLOCKS: [Block; 7] = [
    block(1, 3, 1, 16),
    block(2, 3, 2, 24),
    block(3, 3, 1, 24),
    block(3, 5, 2, 48),
    block(3, 5, 1, 48),
    block(4, 5, 2, 80),
    block(4, 3, 1, 80),
];

/// Channels of the squeeze: an eighth of the expanded ones.
pub(crate) fn squeezed(expanded: usize) -> usize {
    (expanded / 8).max(8)
}

/// Share of the old value that running moments keep at each step.
const MOMENTUM: f32 = 0.95;

/// Key of a checkpoint's training options.
const OPTIONS: &str = "training_options";

/// Weights by name, in a fixed order. Running moments are separate: they have no gradient.
pub(crate) struct Net {
    pub(crate) weights: BTreeMap<String, Var>,
    pub(crate) running: Mutex<BTreeMap<String, Moments>>,
    device: Device,
}

/// How normalizations get their moments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Batch moments, which update the running ones.
    Train,
    /// Running moments.
    Evaluate,
}

impl Net {
    /// Seeded: He's normal initialisation, ones and zeros for the rest.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let mut net = Self {
            weights: BTreeMap::new(),
            running: Mutex::default(),
            device: Device::Cpu,
        };
        let mut dice = Dice::new(seed);
        net.add_normalized(&mut dice, "stem", &[27, STEM], 27)?;
        let mut channels = STEM;
        for (i, b) in BLOCKS.iter().enumerate() {
            let name = format!("block{}", i + 1);
            let expanded = channels * b.expand;
            if b.expand > 1 {
                let part = format!("{name}_expand");
                net.add_normalized(&mut dice, &part, &[channels, expanded], channels)?;
            }
            let k = b.kernel;
            net.add_normalized(&mut dice, &format!("{name}_dw"), &[k, k, expanded], k * k)?;
            let s = squeezed(expanded);
            net.add_dense(&mut dice, &format!("{name}_se_reduce"), expanded, s)?;
            net.add_dense(&mut dice, &format!("{name}_se_expand"), s, expanded)?;
            let part = format!("{name}_project");
            net.add_normalized(&mut dice, &part, &[expanded, b.filters], expanded)?;
            channels = b.filters;
        }
        net.add_normalized(&mut dice, "top", &[channels, TOP], channels)?;
        net.add_dense(&mut dice, "predictions", TOP, CLASSES.len())?;
        Ok(net)
    }

    fn add(&mut self, name: String, shape: &[usize], values: Vec<f32>) -> Result<()> {
        let tensor = Tensor::from_vec(values, shape, &self.device)?;
        self.weights.insert(name, Var::from_tensor(&tensor)?);
        Ok(())
    }

    fn add_random(
        &mut self,
        dice: &mut Dice,
        name: &str,
        shape: &[usize],
        fan_in: usize,
    ) -> Result<()> {
        let deviation = (2.0 / fan_in as f32).sqrt();
        let n = shape.iter().product();
        let values = (0..n).map(|_| dice.bell() * deviation).collect();
        self.add(format!("{name}_kernel"), shape, values)
    }

    fn add_normalized(
        &mut self,
        dice: &mut Dice,
        name: &str,
        shape: &[usize],
        fan_in: usize,
    ) -> Result<()> {
        self.add_random(dice, name, shape, fan_in)?;
        let c = shape[shape.len() - 1];
        self.add(format!("{name}_gamma"), &[c], vec![1.0; c])?;
        self.add(format!("{name}_beta"), &[c], vec![0.0; c])?;
        let moments = Moments {
            mean: vec![0.0; c],
            variance: vec![1.0; c],
        };
        self.moments().insert(name.to_owned(), moments);
        Ok(())
    }

    fn add_dense(&mut self, dice: &mut Dice, name: &str, k: usize, n: usize) -> Result<()> {
        self.add_random(dice, name, &[k, n], 2 * k)?;
        self.add(format!("{name}_bias"), &[n], vec![0.0; n])
    }

    fn moments(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Moments>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn weight(&self, name: &str) -> Result<&Tensor> {
        let var = self.weights.get(name);
        Ok(var
            .with_context(|| format!("no weight `{name}`"))?
            .as_tensor())
    }

    /// Number of trained values.
    pub(crate) fn parameters(&self) -> usize {
        self.weights.values().map(|w| w.elem_count()).sum()
    }

    /// Logits `[B, 7]` of stem patches `[B * 56 * 56, 27]`.
    pub(crate) fn forward(&self, patches: &Tensor, batch: usize, mode: Mode) -> Result<Tensor> {
        let half = INPUT / 2;
        let x = patches.matmul(self.weight("stem_kernel")?)?;
        let x = self.normalize(&x, "stem", true, mode)?;
        let mut x = x.reshape((batch, half, half, STEM))?;
        for (i, b) in BLOCKS.iter().enumerate() {
            x = self.block(&x, &format!("block{}", i + 1), *b, mode)?;
        }
        x = self.pointwise(&x, "top", true, mode)?;
        let pooled = x.apply_op1(GlobalMean)?;
        self.dense(&pooled, "predictions")
    }

    fn block(&self, input: &Tensor, name: &str, b: Block, mode: Mode) -> Result<Tensor> {
        let mut x = input.clone();
        if b.expand > 1 {
            x = self.pointwise(&x, &format!("{name}_expand"), true, mode)?;
        }
        let part = format!("{name}_dw");
        let kernel = self.weight(&format!("{part}_kernel"))?;
        x = x.apply_op2(kernel, Depthwise { stride: b.stride })?;
        x = self.normalize(&x, &part, true, mode)?;
        let squeeze = x.apply_op1(GlobalMean)?;
        let squeeze = self.dense(&squeeze, &format!("{name}_se_reduce"))?.silu()?;
        let gate = self.dense(&squeeze, &format!("{name}_se_expand"))?;
        x = x.apply_op2(&candle_nn::ops::sigmoid(&gate)?, Gate)?;
        x = self.pointwise(&x, &format!("{name}_project"), false, mode)?;
        if b.stride == 1 && x.shape() == input.shape() {
            x = (x + input)?;
        }
        Ok(x)
    }

    /// 1x1 convolution and normalization.
    fn pointwise(&self, x: &Tensor, name: &str, silu: bool, mode: Mode) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let kernel = self.weight(&format!("{name}_kernel"))?;
        let y = x.reshape((b * h * w, c))?.matmul(kernel)?;
        let n = y.dim(1)?;
        let y = self.normalize(&y, name, silu, mode)?;
        Ok(y.reshape((b, h, w, n))?)
    }

    fn dense(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let y = x.matmul(self.weight(&format!("{name}_kernel"))?)?;
        Ok(y.broadcast_add(self.weight(&format!("{name}_bias"))?)?)
    }

    fn normalize(&self, x: &Tensor, name: &str, silu: bool, mode: Mode) -> Result<Tensor> {
        let gamma = self.weight(&format!("{name}_gamma"))?;
        let beta = self.weight(&format!("{name}_beta"))?;
        let mut running = self.moments();
        let running = running
            .get_mut(name)
            .with_context(|| format!("no moments of `{name}`"))?;
        if mode == Mode::Evaluate {
            let moments = Arc::new(Mutex::new(running.clone()));
            return Ok(x.apply_op3_no_bwd(gamma, beta, &Normalize { silu, moments })?);
        }
        let moments: Arc<Mutex<Moments>> = Arc::default();
        let op = Normalize {
            silu,
            moments: Arc::clone(&moments),
        };
        let y = x.apply_op3(gamma, beta, op)?;
        let batch = moments.lock().unwrap_or_else(PoisonError::into_inner);
        let follow = |old: &mut [f32], new: &[f32]| {
            for (o, n) in old.iter_mut().zip(new) {
                *o = *o * MOMENTUM + n * (1.0 - MOMENTUM);
            }
        };
        follow(&mut running.mean, &batch.mean);
        follow(&mut running.variance, &batch.variance);
        Ok(y)
    }

    /// Everything as tensors, for a checkpoint.
    pub(crate) fn save(&self, path: &Path, training: Training) -> Result<()> {
        let mut all: std::collections::HashMap<String, Tensor> = self
            .weights
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
            .collect();
        for (name, m) in self.moments().iter() {
            for (part, values) in [("mean", &m.mean), ("variance", &m.variance)] {
                let tensor = Tensor::new(values.as_slice(), &self.device)?;
                all.insert(format!("{name}_{part}"), tensor);
            }
        }
        let t = training;
        let options = [t.seed, t.epochs, t.per_class, t.batch];
        all.insert(OPTIONS.to_owned(), Tensor::new(&options, &self.device)?);
        Ok(candle_core::safetensors::save(&all, path)?)
    }

    /// Replaces every weight and moment by those of a checkpoint, and returns the options of its
    /// training.
    pub(crate) fn load(&self, path: &Path) -> Result<Training> {
        let mut all = candle_core::safetensors::load(path, &self.device)?;
        let mut take = |name: &str| {
            let tensor = all.remove(name);
            tensor.with_context(|| format!("{} has no `{name}`", path.display()))
        };
        for (name, var) in &self.weights {
            var.set(&take(name)?)?;
        }
        for (name, m) in self.moments().iter_mut() {
            m.mean = take(&format!("{name}_mean"))?.to_vec1()?;
            m.variance = take(&format!("{name}_variance"))?.to_vec1()?;
        }
        let options = take(OPTIONS)?.to_vec1::<u32>()?;
        let &[seed, epochs, per_class, batch] = options.as_slice() else {
            bail!("`{OPTIONS}`: expected 4 numbers, got {}", options.len());
        };
        ensure!(
            all.is_empty(),
            "{} has {} tensors too many",
            path.display(),
            all.len()
        );
        Ok(Training {
            seed,
            epochs,
            per_class,
            batch,
        })
    }

    /// Running moments of a normalization.
    pub(crate) fn running(&self, name: &str) -> Result<Moments> {
        let moments = self.moments().get(name).cloned();
        moments.with_context(|| format!("no moments of `{name}`"))
    }
}

/// Stem patches of images (`INPUT * INPUT * 3` bytes each): `[B * 56 * 56, 27]`, taps then channels,
/// zeros outside.
pub(crate) fn stem_patches(images: &[Vec<u8>]) -> Result<Tensor> {
    let (before, half) = same(INPUT, 3, 2);
    let mut patches = vec![0.0; images.len() * half * half * 27];
    for (image, patches) in images
        .iter()
        .zip(patches.chunks_exact_mut(half * half * 27))
    {
        for (i, patch) in patches.chunks_exact_mut(27).enumerate() {
            let (oy, ox) = (i / half, i % half);
            for (tap, value) in patch.chunks_exact_mut(3).enumerate() {
                let y = (oy * 2 + tap / 3).wrapping_sub(before);
                let x = (ox * 2 + tap % 3).wrapping_sub(before);
                if y < INPUT && x < INPUT {
                    let pixel = &image[(y * INPUT + x) * 3..][..3];
                    for (v, &byte) in value.iter_mut().zip(pixel) {
                        *v = f32::from(byte) * crate::SCALE as f32 - crate::MEAN as f32;
                    }
                }
            }
        }
    }
    let rows = images.len() * half * half;
    Ok(Tensor::from_vec(patches, (rows, 27), &Device::Cpu)?)
}
