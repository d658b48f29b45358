//! Tiles of up to 2 x 16 on any CPU: four lanes at a time, in registers that every CPU of the
//! target has.

use half::{bf16, f16};

use super::{Clamp, Tier, TileArgs, TileFn, Weight, names};
use crate::tensor::PANEL;

/// The tier for weights of type `$weight`, which kernel names call `$name`.
macro_rules! tier {
    ($weight:ty, $name:literal) => {
        Tier {
            tiles: &[&[tile::<$weight, 1> as TileFn, tile::<$weight, 2>]],
            half: &[],
            single_row: tile::<$weight, 1>,
            weight_bytes: size_of::<$weight>(),
            round_rows: None,
            names: names!($name, "2x16", "portable"),
        }
    };
}

static F32: Tier = tier!(f32, "f32");
static F16: Tier = tier!(f16, "f16");
static BF16: Tier = tier!(bf16, "bf16");
static I8: Tier = tier!(i8, "f32_w8");

pub(super) fn tier(weight: Weight) -> &'static Tier {
    match weight {
        Weight::F32 => &F32,
        Weight::F16 => &F16,
        Weight::BF16 => &BF16,
        Weight::I8 => &I8,
    }
}

/// A type that weights are stored in.
trait Load: Copy {
    /// Four weights as f32, exactly.
    ///
    /// # Safety
    /// `from` holds four weights.
    unsafe fn load(from: *const Self) -> Lanes;
}

impl Load for f32 {
    #[inline]
    unsafe fn load(from: *const Self) -> Lanes {
        // SAFETY: the caller's four weights.
        unsafe { Lanes::load(from) }
    }
}

impl Load for f16 {
    #[inline]
    unsafe fn load(from: *const Self) -> Lanes {
        // SAFETY: the caller's four weights; any bits are a number.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        let values = bits.map(widen_f16);
        // SAFETY: four floats.
        unsafe { Lanes::load(values.as_ptr()) }
    }
}

impl Load for bf16 {
    #[inline]
    unsafe fn load(from: *const Self) -> Lanes {
        // SAFETY: the caller's four weights; any bits are a number.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        let values = bits.map(|b| f32::from_bits(u32::from(b) << 16));
        // SAFETY: four floats.
        unsafe { Lanes::load(values.as_ptr()) }
    }
}

impl Load for i8 {
    #[inline]
    unsafe fn load(from: *const Self) -> Lanes {
        // SAFETY: the caller's four weights.
        let values = unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from);
        // SAFETY: four floats.
        unsafe { Lanes::load(values.as_ptr()) }
    }
}

/// The value of a binary16, without branches: its exponent and mantissa are those of the f32
/// 2^112 times smaller, subnormal numbers included; infinity and NaN get f32's exponent for them.
#[inline]
fn widen_f16(bits: u16) -> f32 {
    /// 2^112.
    const SCALE: f32 = f32::from_bits((112 + 127) << 23);
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    let magnitude = (f32::from_bits(rest << 13) * SCALE).to_bits();
    let special = if rest >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(sign | magnitude | special)
}

/// Lanes of a [`Lanes`].
const LANES: usize = 4;

/// Four sums, in named SSE registers on x86-64, which every CPU has: the compiler splits arrays
/// into 64 scalars instead of four registers, at a third of the speed.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Lanes(std::arch::x86_64::__m128);

#[cfg(target_arch = "x86_64")]
impl Lanes {
    /// # Safety
    /// `from` holds four floats.
    #[inline]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's four floats; SSE is part of x86-64.
        Self(unsafe { std::arch::x86_64::_mm_loadu_ps(from) })
    }

    /// `self + x * w`, rounded twice.
    #[inline]
    fn add_product(self, x: f32, w: Self) -> Self {
        use std::arch::x86_64::{_mm_add_ps, _mm_mul_ps, _mm_set1_ps};
        // SAFETY: SSE is part of x86-64.
        Self(unsafe { _mm_add_ps(self.0, _mm_mul_ps(_mm_set1_ps(x), w.0)) })
    }

    #[inline]
    fn to_array(self) -> [f32; LANES] {
        bytemuck::cast(self.0)
    }
}

/// Four sums, in the form that the compiler optimizes best on other targets.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
struct Lanes([f32; LANES]);

#[cfg(not(target_arch = "x86_64"))]
impl Lanes {
    /// # Safety
    /// `from` holds four floats.
    #[inline]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's four floats.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    /// `self + x * w`, rounded twice.
    #[inline]
    fn add_product(self, x: f32, w: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + x * w.0[i]))
    }

    #[inline]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }
}

/// # Safety
/// `from` holds 16 weights.
#[inline]
unsafe fn load_panel_row<W: Load>(from: *const W) -> [Lanes; PANEL / LANES] {
    // SAFETY: the caller's 16 weights.
    unsafe {
        [
            W::load(from),
            W::load(from.add(LANES)),
            W::load(from.add(2 * LANES)),
            W::load(from.add(3 * LANES)),
        ]
    }
}

unsafe fn tile<W: Load, const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller keeps the contract of `TileArgs`: a bias of 16 floats, as many
    // of scale, `runs` times `ROWS` pointers to `run_len` floats, a panel of `runs * run_len` rows of 16 weights, and
    // `ROWS` rows of `channels` floats at distance `stride` in the result and the residual.
    unsafe {
        let mut sums = [load_panel_row(args.bias); ROWS];
        let mut weights = args.panels.cast::<W>();
        for run in 0..args.runs {
            let pointers = args.pointers.add(run * ROWS).cast::<[*const f32; ROWS]>();
            let rows = pointers.read();
            for t in 0..args.run_len {
                let w = load_panel_row(weights);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = *row.add(t);
                    for (s, w) in sum.iter_mut().zip(w) {
                        *s = s.add_product(x, w);
                    }
                }
                weights = weights.add(PANEL);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let mut sum: [f32; PANEL] = bytemuck::cast(sum.map(Lanes::to_array));
            if !args.scale.is_null() {
                for (j, s) in sum.iter_mut().enumerate() {
                    *s *= *args.scale.add(j);
                }
            }
            clamp(&mut sum, args.clamp);
            if !args.residual.is_null() {
                let residual = args.residual.add(i * args.stride);
                for (j, s) in sum.iter_mut().enumerate().take(args.channels) {
                    *s += *residual.add(j);
                }
                clamp(&mut sum, args.post);
            }
            let out = args.out.add(i * args.stride);
            std::ptr::copy_nonoverlapping(sum.as_ptr(), out, args.channels);
        }
    }
}

/// Unlike `f32::max` and `min`, lets NaN through, as the other tiers do.
#[inline]
fn clamp(sums: &mut [f32; PANEL], clamp: Clamp) {
    for s in sums {
        let raised = if clamp.low > *s { clamp.low } else { *s };
        *s = if clamp.high < raised {
            clamp.high
        } else {
            raised
        };
    }
}
