//! Layers that candle runs slowly on a CPU, as custom operations with their gradients.
//!
//! Candle's grouped convolution is one convolution for each channel, and its broadcasts compute
//! indices for each element. Here channels are innermost (`NHWC`, as in the engine), so that every
//! inner loop runs over contiguous channels and vectorises. Sums over the batch are added in a
//! fixed order: a run gives the same bits whatever the number of threads.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};
use rayon::prelude::*;

/// Rows summed in f32 before they join an f64 total.
const ROWS: usize = 512;

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected a contiguous f32 tensor, got {layout:?}"),
    }
}

/// Runs `f` on the elements of `tensor`, copying only if they are not contiguous.
fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(contiguous(storage, layout)?)),
        _ => bail!("expected a tensor on the CPU"),
    }
}

fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// `exp` to about 2e-7, branch-free so that loops over it vectorise. After Cephes' `expf`.
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * core::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    (p * r * r + r + 1.0) * power
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Depthwise convolution of `x [B, H, W, C]` by `w [K, K, C]`, padded like Keras' `same`.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise {
    pub(crate) stride: usize,
}

/// Sizes of one image's depthwise convolution.
struct Extent {
    h: usize,
    w: usize,
    c: usize,
    k: usize,
    stride: usize,
    before: [usize; 2],
    out: [usize; 2],
}

/// Rows (or columns) of zeros before, and outputs, of a `same` window.
pub(crate) fn same(len: usize, k: usize, stride: usize) -> (usize, usize) {
    let out = len.div_ceil(stride);
    let total = ((out - 1) * stride + k).saturating_sub(len);
    (total / 2, out)
}

impl Extent {
    fn new(x: &[usize], w: &[usize], stride: usize) -> Result<Self> {
        let (&[_, h, width, c], &[k, _, cw]) = (x, w) else {
            bail!("expected x [B, H, W, C] and w [K, K, C], got {x:?} and {w:?}");
        };
        if c != cw {
            bail!("expected {c} channels in the kernel, got {cw}");
        }
        let (top, oh) = same(h, k, stride);
        let (left, ow) = same(width, k, stride);
        Ok(Self {
            h,
            w: width,
            c,
            k,
            stride,
            before: [top, left],
            out: [oh, ow],
        })
    }

    fn input(&self) -> usize {
        self.h * self.w * self.c
    }

    fn output(&self) -> usize {
        self.out[0] * self.out[1] * self.c
    }

    /// Calls `f(input offset, weight offset, output offset)` for each tap that hits the input.
    fn taps(&self, mut f: impl FnMut(usize, usize, usize)) {
        for oy in 0..self.out[0] {
            for ox in 0..self.out[1] {
                let output = (oy * self.out[1] + ox) * self.c;
                for ky in 0..self.k {
                    let y = (oy * self.stride + ky).wrapping_sub(self.before[0]);
                    if y >= self.h {
                        continue;
                    }
                    for kx in 0..self.k {
                        let x = (ox * self.stride + kx).wrapping_sub(self.before[1]);
                        if x < self.w {
                            let input = (y * self.w + x) * self.c;
                            f(input, (ky * self.k + kx) * self.c, output);
                        }
                    }
                }
            }
        }
    }
}

fn add_product(sum: &mut [f32], a: &[f32], b: &[f32]) {
    for ((s, a), b) in sum.iter_mut().zip(a).zip(b) {
        *s += a * b;
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (contiguous(s1, l1)?, contiguous(s2, l2)?);
        let e = Extent::new(l1.dims(), l2.dims(), self.stride)?;
        let batch = l1.dims()[0];
        let mut y = vec![0.0; batch * e.output()];
        y.par_chunks_mut(e.output())
            .zip(x.par_chunks(e.input()))
            .for_each(|(y, x)| {
                e.taps(|i, k, o| add_product(&mut y[o..o + e.c], &x[i..i + e.c], &w[k..k + e.c]));
            });
        let shape = Shape::from((batch, e.out[0], e.out[1], e.c));
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let e = Extent::new(x.dims(), w.dims(), self.stride)?;
        let mut dx = vec![0.0; x.elem_count()];
        let partial = with_values(x, |x| {
            with_values(w, |w| {
                with_values(dy, |dy| {
                    dx.par_chunks_mut(e.input())
                        .zip(x.par_chunks(e.input()))
                        .zip(dy.par_chunks(e.output()))
                        .map(|((dx, x), dy)| {
                            let mut dw = vec![0.0; w.len()];
                            e.taps(|i, k, o| {
                                let dy = &dy[o..o + e.c];
                                add_product(&mut dx[i..i + e.c], dy, &w[k..k + e.c]);
                                add_product(&mut dw[k..k + e.c], dy, &x[i..i + e.c]);
                            });
                            dw
                        })
                        .collect::<Vec<_>>()
                })
            })
        })???;
        let mut dw = vec![0.0; w.elem_count()];
        for image in partial {
            dw.iter_mut().zip(image).for_each(|(sum, v)| *sum += v);
        }
        Ok((Some(tensor(dx, x)?), Some(tensor(dw, w)?)))
    }
}

/// Mean and variance of each channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
}

/// `f(gamma * (x - mean) / sqrt(variance + EPSILON) + beta)` over the last axis, `f` being SiLU or
/// nothing. Inputs: `x [.., C]`, `gamma [C]`, `beta [C]`.
#[derive(Clone)]
pub(crate) struct Normalize {
    pub(crate) silu: bool,
    /// If given, these are used. If empty, the batch's own are computed, used and stored here.
    pub(crate) moments: Arc<Mutex<Moments>>,
}

/// Added to variances.
pub(crate) const EPSILON: f32 = 1e-3;

impl Normalize {
    fn moments(&self, x: &[f32], c: usize) -> Moments {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.mean.is_empty() {
            *moments = batch_moments(x, c);
        }
        moments.clone()
    }
}

/// Sums over rows of `f(row, sums)`, in f64 and in a fixed order.
fn sum_rows(
    x: &[f32],
    n: usize,
    c: usize,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) -> Vec<f64> {
    let partial: Vec<Vec<f32>> = x
        .par_chunks(ROWS * c)
        .enumerate()
        .map(|(i, rows)| {
            let mut sums = vec![0.0; n];
            for (j, row) in rows.chunks_exact(c).enumerate() {
                f(i * ROWS + j, row, &mut sums);
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; n];
    for sums in partial {
        for (t, s) in total.iter_mut().zip(sums) {
            *t += f64::from(s);
        }
    }
    total
}

#[expect(clippy::cast_possible_truncation, reason = "statistics end in f32")]
fn batch_moments(x: &[f32], c: usize) -> Moments {
    let n = (x.len() / c) as f64;
    let mean: Vec<f32> = sum_rows(x, c, c, |_, row, sums| {
        sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
    })
    .into_iter()
    .map(|s| (s / n) as f32)
    .collect();
    let variance = sum_rows(x, c, c, |_, row, sums| {
        for ((s, v), m) in sums.iter_mut().zip(row).zip(&mean) {
            *s += (v - m) * (v - m);
        }
    })
    .into_iter()
    .map(|s| (s / n) as f32)
    .collect();
    Moments { mean, variance }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(s1, l1)?;
        let (gamma, beta) = (contiguous(s2, l2)?, contiguous(s3, l3)?);
        let c = gamma.len();
        let m = self.moments(x, c);
        let scale: Vec<f32> = (0..c)
            .map(|i| gamma[i] / (m.variance[i] + EPSILON).sqrt())
            .collect();
        let shift: Vec<f32> = (0..c).map(|i| beta[i] - m.mean[i] * scale[i]).collect();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(ROWS * c)
            .zip(x.par_chunks(ROWS * c))
            .for_each(|(y, x)| {
                let (scale, shift) = (&scale[..c], &shift[..c]);
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    for i in 0..c {
                        y[i] = x[i] * scale[i] + shift[i];
                    }
                }
                if self.silu {
                    for y in y {
                        *y *= sigmoid(*y);
                    }
                }
            });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    /// With z the normalised value before SiLU, h = (x - mean) / deviation and dz = dy * f'(z):
    /// dbeta = sum dz, dgamma = sum dz h, dx = gamma / deviation * (dz - dbeta / n - h dgamma / n).
    #[expect(clippy::cast_possible_truncation, reason = "gradients end in f32")]
    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (g, b) = (gamma.to_vec1::<f32>()?, beta.to_vec1::<f32>()?);
        let c = g.len();
        let m = self.moments(&[], c);
        let inverse: Vec<f32> = m
            .variance
            .iter()
            .map(|v| 1.0 / (v + EPSILON).sqrt())
            .collect();
        let mut dz = with_values(dy, <[f32]>::to_vec)?;
        let n = (dz.len() / c) as f32;
        // z = scale * x + shift. Slices of known length let the loops below vectorise.
        let scale: Vec<f32> = g.iter().zip(&inverse).map(|(g, i)| g * i).collect();
        let shift: Vec<f32> = (0..c).map(|i| b[i] - m.mean[i] * scale[i]).collect();
        let (mean, inverse) = (&m.mean[..c], &inverse[..c]);
        let (scale, shift) = (&scale[..c], &shift[..c]);
        let (dx, sums) = with_values(x, |x| {
            if self.silu {
                dz.par_chunks_mut(ROWS * c)
                    .zip(x.par_chunks(ROWS * c))
                    .for_each(|(dz, x)| {
                        let (scale, shift) = (&scale[..c], &shift[..c]);
                        for (dz, x) in dz.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                            for i in 0..c {
                                let z = x[i] * scale[i] + shift[i];
                                let s = sigmoid(z);
                                dz[i] *= s * (1.0 + z * (1.0 - s));
                            }
                        }
                    });
            }
            let sums = sum_rows(x, 2 * c, c, |row, x, sums| {
                let dz = &dz[row * c..][..c];
                let (x, mean, inverse) = (&x[..c], &mean[..c], &inverse[..c]);
                let (beta, gamma) = sums.split_at_mut(c);
                let (beta, gamma) = (&mut beta[..c], &mut gamma[..c]);
                for i in 0..c {
                    beta[i] += dz[i];
                    gamma[i] += dz[i] * (x[i] - mean[i]) * inverse[i];
                }
            });
            let sums: Vec<f32> = sums.into_iter().map(|s| s as f32).collect();
            // dx = scale * dz + slope * x + offset, gathered from the formula above.
            let slope: Vec<f32> = (0..c)
                .map(|i| -scale[i] * inverse[i] * sums[c + i] / n)
                .collect();
            let offset: Vec<f32> = (0..c)
                .map(|i| -scale[i] * sums[i] / n - slope[i] * mean[i])
                .collect();
            dz.par_chunks_mut(ROWS * c)
                .zip(x.par_chunks(ROWS * c))
                .for_each(|(dz, x)| {
                    let (scale, slope, offset) = (&scale[..c], &slope[..c], &offset[..c]);
                    for (dz, x) in dz.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        for i in 0..c {
                            dz[i] = dz[i] * scale[i] + x[i] * slope[i] + offset[i];
                        }
                    }
                });
            (dz, sums)
        })?;
        let dgamma = tensor(sums[c..].to_vec(), gamma)?;
        let dbeta = tensor(sums[..c].to_vec(), beta)?;
        Ok((Some(tensor(dx, x)?), Some(dgamma), Some(dbeta)))
    }
}

/// Mean over rows and columns: `[B, H, W, C]` to `[B, C]`.
pub(crate) struct GlobalMean;

impl CustomOp1 for GlobalMean {
    fn name(&self) -> &'static str {
        "global-mean"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(storage, layout)?;
        let &[b, h, w, c] = layout.dims() else {
            bail!("expected [B, H, W, C], got {:?}", layout.dims());
        };
        let mut y = vec![0.0; b * c];
        y.par_chunks_mut(c)
            .zip(x.par_chunks(h * w * c))
            .for_each(|(y, x)| {
                for pixel in x.chunks_exact(c) {
                    y.iter_mut().zip(pixel).for_each(|(y, v)| *y += v);
                }
                for y in y {
                    *y /= (h * w) as f32;
                }
            });
        Ok((CpuStorage::F32(y), Shape::from((b, c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_values(dy, |dy| {
            dx.par_chunks_mut(h * w * c)
                .zip(dy.par_chunks(c))
                .for_each(|(dx, dy)| {
                    for pixel in dx.chunks_exact_mut(c) {
                        for (d, g) in pixel.iter_mut().zip(dy) {
                            *d = g / (h * w) as f32;
                        }
                    }
                });
        })?;
        tensor(dx, x).map(Some)
    }
}

/// `x [B, H, W, C]` times a gate `[B, C]`.
pub(crate) struct Gate;

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gate) = (contiguous(s1, l1)?, contiguous(s2, l2)?);
        let mut y = vec![0.0; x.len()];
        gate_rows(&mut y, x, gate, l1.dims());
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gate: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        let mut dgate = vec![0.0; gate.elem_count()];
        with_values(dy, |dy| {
            with_values(gate, |gate| gate_rows(&mut dx, dy, gate, x.dims()))?;
            with_values(x, |x| {
                dgate
                    .par_chunks_mut(c)
                    .zip(x.par_chunks(h * w * c))
                    .zip(dy.par_chunks(h * w * c))
                    .for_each(|((dgate, x), dy)| {
                        for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                            add_product(dgate, x, dy);
                        }
                    });
            })
        })??;
        Ok((Some(tensor(dx, x)?), Some(tensor(dgate, gate)?)))
    }
}

fn gate_rows(y: &mut [f32], x: &[f32], gate: &[f32], dims: &[usize]) {
    let c = dims[3];
    let image = dims[1] * dims[2] * c;
    y.par_chunks_mut(image)
        .zip(x.par_chunks(image))
        .zip(gate.par_chunks(c))
        .for_each(|((y, x), gate)| {
            for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                for ((y, x), gate) in y.iter_mut().zip(x).zip(gate) {
                    *y = x * gate;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn wave(n: usize, step: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin()).collect()
    }

    fn var(values: Vec<f32>, shape: &[usize]) -> Var {
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
    }

    /// Compares gradients of `sum(f(vars) * weights)` with central differences, which are good to
    /// about 1e-3 in f32 at this step.
    fn check_gradients(vars: &[Var], f: impl Fn(&[Var]) -> Tensor) {
        let loss = |vars: &[Var]| {
            let y = f(vars).flatten_all().unwrap();
            let weights = Tensor::from_vec(wave(y.elem_count(), 0.7), y.shape(), &Device::Cpu);
            (y * weights.unwrap()).unwrap().sum_all().unwrap()
        };
        let gradients = loss(vars).backward().unwrap();
        for (which, var) in vars.iter().enumerate() {
            let got = gradients.get(var).unwrap().flatten_all().unwrap();
            let got = got.to_vec1::<f32>().unwrap();
            let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for i in (0..values.len()).step_by(1 + values.len() / 13) {
                let at = |delta: f32| {
                    let mut moved = values.clone();
                    moved[i] += delta;
                    let vars: Vec<Var> = vars
                        .iter()
                        .enumerate()
                        .map(|(j, v)| {
                            if j == which {
                                self::var(moved.clone(), v.dims())
                            } else {
                                v.clone()
                            }
                        })
                        .collect();
                    loss(&vars).to_scalar::<f32>().unwrap()
                };
                let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
                let error = (got[i] - expected).abs();
                assert!(
                    error < 5e-3 * expected.abs().max(1.0),
                    "input {which} element {i}: expected {expected}, got {}",
                    got[i]
                );
            }
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for (k, stride) in [(3, 1), (3, 2), (5, 2)] {
            let vars = [
                var(wave(2 * 6 * 6 * 4, 0.37), &[2, 6, 6, 4]),
                var(wave(k * k * 4, 0.9), &[k, k, 4]),
            ];
            check_gradients(&vars, |v| {
                v[0].apply_op2(&v[1], Depthwise { stride }).unwrap()
            });
        }
        for silu in [false, true] {
            let vars = [
                var(wave(60, 1.3), &[15, 4]),
                var(vec![0.9, 1.1, 1.3, 0.7], &[4]),
                var(vec![0.1, -0.2, 0.3, 0.0], &[4]),
            ];
            check_gradients(&vars, |v| {
                let moments = Arc::default();
                v[0].apply_op3(&v[1], &v[2], Normalize { silu, moments })
                    .unwrap()
            });
        }
        let x = var(wave(2 * 3 * 3 * 4, 0.37), &[2, 3, 3, 4]);
        check_gradients(std::slice::from_ref(&x), |v| {
            v[0].apply_op1(GlobalMean).unwrap()
        });
        let gate = var(wave(8, 1.9), &[2, 4]);
        check_gradients(&[x, gate], |v| v[0].apply_op2(&v[1], Gate).unwrap());
    }

    #[test]
    fn exp_is_exp() {
        for i in -800..800 {
            let x = i as f32 * 0.1;
            let relative = (exp(x) - x.exp()).abs() / x.exp();
            assert!(relative < 4e-7, "exp({x}) is off by {relative}");
        }
    }
}
