//! Seeded randomness and noise fields made of integer hashing and plain `f32` arithmetic, so that
//! every machine draws the same picture. Functions beyond `+ - * / sqrt` come from the `libm` crate,
//! whose results do not depend on the platform's C library.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of random numbers. The mapping from generator words to numbers is written here,
/// because distributions of the `rand` crate may change between its versions.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `0..1`, 24 bits.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `low..=high`.
    pub(crate) fn count(&mut self, low: u32, high: u32) -> u32 {
        low + ((u64::from(self.bits()) * u64::from(high - low + 1)) >> 32) as u32
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Bell-shaped about 0 with deviation about 1, in -3.5..3.5: the sum of four uniforms.
    pub(crate) fn bell(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 1.732
    }

    /// A point in the unit disc.
    pub(crate) fn in_disc(&mut self) -> [f32; 2] {
        let angle = self.range(0.0, core::f32::consts::TAU);
        let radius = self.unit().sqrt();
        [radius * libm::cosf(angle), radius * libm::sinf(angle)]
    }
}

/// Avalanche of a lattice point (the finalizer of MurmurHash3 over a linear mix).
pub(crate) fn hash(seed: u32, x: i32, y: i32) -> u32 {
    let mut h = seed
        ^ (x as u32).wrapping_mul(0x9e37_79b1)
        ^ (y as u32).wrapping_mul(0x85eb_ca77).rotate_left(13);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

fn unit(h: u32) -> f32 {
    (h >> 8) as f32 / 16_777_216.0
}

/// 0 below `a`, 1 above `b`, smooth between.
pub(crate) fn smoothstep(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

pub(crate) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Value noise in -1..1 with one lattice point a unit.
pub(crate) fn value_noise(seed: u32, x: f32, y: f32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let (tx, ty) = (x - fx, y - fy);
    let ease = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (tx, ty) = (ease(tx), ease(ty));
    let corner = |dx, dy| unit(hash(seed, ix + dx, iy + dy));
    let top = mix(corner(0, 0), corner(1, 0), tx);
    let bottom = mix(corner(0, 1), corner(1, 1), tx);
    mix(top, bottom, ty) * 2.0 - 1.0
}

/// Octaves of [`value_noise`], each of half the amplitude; about -1..1.
pub(crate) fn fractal(seed: u32, x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut amplitude, mut total, mut frequency) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        // The offset keeps lattices of the octaves from coinciding at the origin.
        let shift = octave as f32 * 17.31;
        let s = seed.wrapping_add(octave);
        sum += amplitude * value_noise(s, x * frequency + shift, y * frequency - shift);
        total += amplitude;
        amplitude *= 0.5;
        frequency *= 2.03;
    }
    sum / total * 1.5
}

/// The two nearest points of a jittered lattice with one point a unit square (Worley noise).
pub(crate) struct Cell {
    /// Distance to the nearest point.
    pub(crate) near: f32,
    /// Distance to the second.
    pub(crate) second: f32,
    /// Uniform in 0..1, the same all over a cell.
    pub(crate) id: f32,
}

pub(crate) fn cells(seed: u32, x: f32, y: f32, jitter: f32) -> Cell {
    let (ix, iy) = (x.floor() as i32, y.floor() as i32);
    let (mut near, mut second, mut id) = (f32::MAX, f32::MAX, 0);
    for dy in -1..=1 {
        for dx in -1..=1 {
            let h = hash(seed, ix + dx, iy + dy);
            let jx = unit(h.wrapping_mul(0x9e37_79b1)) - 0.5;
            let jy = unit(h.wrapping_mul(0x85eb_ca77)) - 0.5;
            let px = (ix + dx) as f32 + 0.5 + jitter * jx - x;
            let py = (iy + dy) as f32 + 0.5 + jitter * jy - y;
            let distance = px * px + py * py;
            if distance < near {
                (second, near, id) = (near, distance, h);
            } else if distance < second {
                second = distance;
            }
        }
    }
    Cell {
        near: near.sqrt(),
        second: second.sqrt(),
        id: unit(id.rotate_left(11)),
    }
}
