//! The vectors that row kernels are written in, and the choice between them.
//!
//! A row kernel (depthwise, pooling, elementwise, ...) is one generic body over [`Vector`] and runs
//! on every tier. Tiers differ in the number of lanes, and in whether multiply-add rounds once
//! ([`F32x8`], [`F32x16`]) or twice ([`Portable`]). Only [`dispatch`] chooses.
//!
//! A value of a vector type proves that the CPU has its instructions, because every way to make a
//! first one is `unsafe`. Arithmetic on vectors is therefore as safe as on numbers.
//!
//! Every method is `inline(always)`, and so is every [`Kernel::run`]: only code inside an entry
//! point with `target_feature` is compiled with those features.

use super::Isa;

/// Lanes of `f32`.
pub(super) trait Vector: Copy {
    /// Their number.
    const LANES: usize;

    /// A table of numbers in registers.
    type Choices: Copy;

    /// `numbers` as registers.
    ///
    /// # Safety
    /// The CPU has the type's instructions.
    unsafe fn choices(numbers: &[f32; 32]) -> Self::Choices;

    /// In each lane, the number at `trunc(self)`, which is 0 to 31.
    fn choose(self, choices: Self::Choices) -> Self;

    /// `value` in every lane.
    ///
    /// # Safety
    /// The CPU has the type's instructions.
    unsafe fn broadcast(value: f32) -> Self;

    /// The floats at `from`, which needs no alignment.
    ///
    /// # Safety
    /// As [`Vector::broadcast`], and `LANES` floats can be read at `from`.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `n` floats at `from`, then zeros.
    ///
    /// # Safety
    /// As [`Vector::broadcast`], `n <= LANES`, and `n` floats can be read at `from`.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;

    /// Writes every lane, at any alignment.
    ///
    /// # Safety
    /// `LANES` floats can be written at `to`.
    unsafe fn store(self, to: *mut f32);

    /// Writes the first `n` lanes.
    ///
    /// # Safety
    /// `n <= LANES`, and `n` floats can be written at `to`.
    unsafe fn store_first(self, to: *mut f32, n: usize);

    /// The integers at `from`, each as the nearest number (ties to even).
    ///
    /// # Safety
    /// As [`Vector::broadcast`], and `LANES` integers can be read at `from`.
    unsafe fn load_i32(from: *const i32) -> Self;

    /// The bytes at `from`, each as a number 0 to 255.
    ///
    /// # Safety
    /// As [`Vector::broadcast`], and `LANES` bytes can be read at `from`.
    unsafe fn load_u8(from: *const u8) -> Self;

    /// The first `n` bytes at `from` as numbers, then zeros.
    ///
    /// # Safety
    /// As [`Vector::broadcast`], `n <= LANES`, and `n` bytes can be read at `from`.
    #[inline(always)]
    unsafe fn load_first_u8(from: *const u8, n: usize) -> Self {
        let mut bytes = [0; 16];
        // SAFETY: `n <= LANES <= 16`; the caller promises `n` readable bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n);
            Self::load_u8(bytes.as_ptr())
        }
    }

    /// Writes every lane, a number from 0 to 255, as a byte, rounded to nearest, ties to even.
    ///
    /// # Safety
    /// `LANES` bytes can be written at `to`.
    unsafe fn store_u8(self, to: *mut u8);

    /// Like [`Vector::store_u8`], for the first `n` lanes only.
    ///
    /// # Safety
    /// `n <= LANES`, and `n` bytes can be written at `to`.
    #[inline(always)]
    unsafe fn store_first_u8(self, to: *mut u8, n: usize) {
        let mut bytes = [0; 16];
        // SAFETY: `n <= LANES <= 16`; the caller promises `n` writable bytes.
        unsafe {
            self.store_u8(bytes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, n);
        }
    }

    /// `value` in every lane.
    fn like(self, value: f32) -> Self;
    /// `self + other`
    fn add(self, other: Self) -> Self;
    /// `self - other`
    fn sub(self, other: Self) -> Self;
    /// `self * other`
    fn mul(self, other: Self) -> Self;
    /// `self / other`
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once or twice, depending on the tier.
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// `self > other ? self : other`, so `other` if either is NaN.
    fn max(self, other: Self) -> Self;
    /// `self < other ? self : other`, so `other` if either is NaN.
    fn min(self, other: Self) -> Self;
    /// `a > b ? self : otherwise`
    fn where_greater(self, a: Self, b: Self, otherwise: Self) -> Self;
    /// Bitwise or.
    fn or(self, other: Self) -> Self;
    /// `|self|`
    fn abs(self) -> Self;
    /// `|self|` with the sign of `other`.
    fn with_sign_of(self, other: Self) -> Self;
    /// The nearest integer, ties to even.
    fn round(self) -> Self;
    /// The bits of each lane, shifted left by 23: a small integer becomes an exponent.
    fn shift_to_exponent(self) -> Self;

    /// The larger; NaN if either is NaN.
    #[inline(always)]
    fn max_or_nan(self, other: Self) -> Self {
        // Either the two orders agree, or one of them is the NaN.
        self.max(other).or(other.max(self))
    }

    /// The smaller; NaN if either is NaN.
    #[inline(always)]
    fn min_or_nan(self, other: Self) -> Self {
        self.min(other).or(other.min(self))
    }

    /// `max(self, bound)`, NaN if `self` is NaN.
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        bound.max(self)
    }

    /// `min(self, bound)`, NaN if `self` is NaN.
    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        bound.min(self)
    }
}

/// A computation on vectors of any width: its arguments, and what to do with them.
pub(super) trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it. Implementations must be `inline(always)`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`, and the requirements of the arguments' type are met.
    unsafe fn run<V: Vector>(self) -> Self::Output;
}

/// Runs `kernel` with the vectors of `isa`.
///
/// # Safety
/// The requirements of the kernel's type are met. `isa` proves the instructions.
pub(super) unsafe fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        // SAFETY: plain Rust runs everywhere; the rest is the caller's.
        Isa::Portable => unsafe { kernel.run::<Portable>() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves AVX2 and FMA; the rest is the caller's.
        Isa::Avx2(_) => unsafe { x86::run_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves AVX-512 F, BW, DQ and VL; the rest is the caller's.
        Isa::Avx512(_) => unsafe { x86::run_avx512(kernel) },
    }
}

/// Like [`dispatch`], for kernels that the portable tier does not use and that are not worth
/// compiling for it.
///
/// # Safety
/// As [`dispatch`].
pub(super) unsafe fn dispatch_vectors<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves AVX2 and FMA; the rest is the caller's.
        Isa::Avx2(_) => unsafe { x86::run_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves AVX-512 F, BW, DQ and VL; the rest is the caller's.
        Isa::Avx512(_) => unsafe { x86::run_avx512(kernel) },
        Isa::Portable => {
            drop(kernel);
            unreachable!("the portable tier has its own kernel")
        }
    }
}

/// Kernel names of every tier, and the choice between them.
macro_rules! kernel_name {
    ($isa:expr, $op:literal) => {
        match $isa {
            $crate::kernels::Isa::Portable => concat!($op, "_portable"),
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Isa::Avx2(_) => concat!($op, "_avx2"),
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Isa::Avx512(_) => concat!($op, "_avx512"),
        }
    };
}
pub(super) use kernel_name;

/// Eight lanes of plain Rust, which LLVM maps to the instructions of the target.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 8;
    type Choices = [f32; 32];

    #[inline(always)]
    unsafe fn choices(numbers: &[f32; 32]) -> Self::Choices {
        *numbers
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the caller's lanes are 0 to 31"
    )]
    fn choose(self, choices: Self::Choices) -> Self {
        self.map(|at| choices[at as usize % 32])
    }

    #[inline(always)]
    unsafe fn broadcast(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises eight readable floats.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller promises `n` readable floats.
            *lane = unsafe { *from.add(i) };
        }
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises eight writable floats.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        for (i, &lane) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller promises `n` writable floats.
            unsafe { *to.add(i) = lane }
        }
    }

    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self {
        // SAFETY: the caller promises eight readable integers.
        Self(unsafe { from.cast::<[i32; 8]>().read_unaligned() }.map(|v| v as f32))
    }

    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: the caller promises eight readable bytes.
        Self(unsafe { from.cast::<[u8; 8]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the caller's lanes are 0 to 255"
    )]
    unsafe fn store_u8(self, to: *mut u8) {
        let bytes = self.0.map(|v| v.round_ties_even() as u8);
        // SAFETY: the caller promises eight writable bytes.
        unsafe { to.cast::<[u8; 8]>().write_unaligned(bytes) }
    }

    #[inline(always)]
    fn like(self, value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        // `f32::mul_add` is a call into libm on CPUs without the instruction.
        self.mul(factor).add(addend)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn where_greater(self, a: Self, b: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if a.0[i] > b.0[i] {
                self.0[i]
            } else {
                otherwise.0[i]
            }
        }))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| f32::from_bits(a.to_bits() | b.to_bits()))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.map(f32::abs)
    }

    #[inline(always)]
    fn with_sign_of(self, other: Self) -> Self {
        self.zip(other, f32::copysign)
    }

    #[inline(always)]
    fn round(self) -> Self {
        self.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn shift_to_exponent(self) -> Self {
        self.map(|v| f32::from_bits(v.to_bits() << 23))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{F32x8, F32x16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, __mmask16, _CMP_GT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
        _mm_castps_si128, _mm_cvtss_f32, _mm_loadl_epi64, _mm_loadu_si128, _mm_movehl_ps,
        _mm_packs_epi32, _mm_packus_epi16, _mm_storel_epi64, _mm_storeu_ps, _mm_storeu_si128,
        _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256,
        _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps,
        _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtps_epi32, _mm256_cvttps_epi32,
        _mm256_div_ps, _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_ps, _mm256_max_ps, _mm256_min_ps,
        _mm256_mul_ps, _mm256_or_ps, _mm256_permutevar8x32_ps, _mm256_round_ps, _mm256_set1_ps,
        _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_abs_ps, _mm512_add_ps,
        _mm512_and_ps, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
        _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtps_epi32, _mm512_cvttps_epi32,
        _mm512_cvtusepi32_epi8, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_loadu_si512, _mm512_mask_blend_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_or_ps, _mm512_permutex2var_ps,
        _mm512_roundscale_ps, _mm512_set1_ps, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
    };

    use super::{Kernel, Vector};

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the features are enabled here; the rest is the caller's.
        unsafe { kernel.run::<F32x8>() }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the features are enabled here; the rest is the caller's.
        unsafe { kernel.run::<F32x16>() }
    }

    /// A method made only of intrinsics.
    macro_rules! arithmetic {
        ($name:ident, $($arg:ident),* => $body:expr) => {
            #[inline(always)]
            fn $name(self, $($arg: Self),*) -> Self {
                $(let $arg = $arg.0;)*
                #[allow(unused_variables, reason = "the macro binds what a body may need")]
                let this = self.0;
                // SAFETY: a value of this type proves that the CPU has the instructions.
                Self(unsafe { $body(this) })
            }
        };
    }

    /// Lane masks of `_mm256_maskload_ps`: eight ones and eight zeros, read from the middle.
    static MASKS: [f32; 16] = {
        let mut masks = [0.0; 16];
        let mut lane = 0;
        while lane < 8 {
            masks[lane] = f32::from_bits(u32::MAX);
            lane += 1;
        }
        masks
    };

    /// Eight lanes: AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct F32x8(__m256);

    impl Vector for F32x8 {
        const LANES: usize = 8;
        type Choices = [__m256; 4];

        #[inline(always)]
        unsafe fn choices(numbers: &[f32; 32]) -> Self::Choices {
            let from = numbers.as_ptr();
            // SAFETY: the caller promises AVX2; four times eight of 32 floats.
            unsafe {
                [
                    _mm256_loadu_ps(from),
                    _mm256_loadu_ps(from.add(8)),
                    _mm256_loadu_ps(from.add(16)),
                    _mm256_loadu_ps(from.add(24)),
                ]
            }
        }

        #[inline(always)]
        fn choose(self, [a, b, c, d]: Self::Choices) -> Self {
            // SAFETY: a value of this type proves AVX2.
            Self(unsafe {
                let at = _mm256_cvttps_epi32(self.0);
                // A permutation reads the lowest three bits, a blend the sign: bits 3 and 4.
                let odd = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(at));
                let high = _mm256_castsi256_ps(_mm256_slli_epi32::<27>(at));
                let [a, b] = [
                    _mm256_permutevar8x32_ps(a, at),
                    _mm256_permutevar8x32_ps(b, at),
                ];
                let [c, d] = [
                    _mm256_permutevar8x32_ps(c, at),
                    _mm256_permutevar8x32_ps(d, at),
                ];
                let low = _mm256_blendv_ps(a, b, odd);
                _mm256_blendv_ps(low, _mm256_blendv_ps(c, d, odd), high)
            })
        }

        #[inline(always)]
        unsafe fn broadcast(value: f32) -> Self {
            // SAFETY: the caller promises AVX2.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises AVX2 and eight readable floats.
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            debug_assert!(n <= 8);
            // SAFETY: the caller promises AVX2 and `n <= 8` readable floats; masked lanes are not
            // touched; the mask's eight lanes end inside `MASKS`.
            Self(unsafe {
                let mask = _mm256_loadu_ps(MASKS.as_ptr().add(8 - n));
                _mm256_maskload_ps(from, _mm256_castps_si256(mask))
            })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises eight writable floats.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            debug_assert!(n <= 8);
            // Not `_mm256_maskstore_ps`: AMD's cores before Zen 4 run it as 42 micro-operations.
            let mut at = to;
            // SAFETY: the steps write 8 or the binary digits of `n`, `n` floats together, which
            // the caller promises to be writable.
            unsafe {
                if n == 8 {
                    return _mm256_storeu_ps(to, self.0);
                }
                let mut half = _mm256_castps256_ps128(self.0);
                if n & 4 != 0 {
                    _mm_storeu_ps(at, half);
                    half = _mm256_extractf128_ps::<1>(self.0);
                    at = at.add(4);
                }
                if n & 2 != 0 {
                    _mm_storel_epi64(at.cast(), _mm_castps_si128(half));
                    half = _mm_movehl_ps(half, half);
                    at = at.add(2);
                }
                if n & 1 != 0 {
                    *at = _mm_cvtss_f32(half);
                }
            }
        }

        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> Self {
            // SAFETY: the caller promises AVX2 and eight readable integers.
            Self(unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) })
        }

        #[inline(always)]
        unsafe fn load_u8(from: *const u8) -> Self {
            // SAFETY: the caller promises AVX2 and eight readable bytes.
            Self(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) })
        }

        #[inline(always)]
        unsafe fn store_u8(self, to: *mut u8) {
            // SAFETY: `self` proves AVX2; the caller promises eight writable bytes.
            unsafe {
                let words = _mm256_cvtps_epi32(self.0);
                let low = _mm256_castsi256_si128(words);
                let high = _mm256_extracti128_si256::<1>(words);
                let halves = _mm_packs_epi32(low, high);
                _mm_storel_epi64(to.cast(), _mm_packus_epi16(halves, halves));
            }
        }

        #[inline(always)]
        fn like(self, value: f32) -> Self {
            // SAFETY: `self` proves that the CPU has AVX2.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        arithmetic!(add, other => |a| _mm256_add_ps(a, other));
        arithmetic!(sub, other => |a| _mm256_sub_ps(a, other));
        arithmetic!(mul, other => |a| _mm256_mul_ps(a, other));
        arithmetic!(div, other => |a| _mm256_div_ps(a, other));
        arithmetic!(fma, factor, addend => |a| _mm256_fmadd_ps(a, factor, addend));
        arithmetic!(max, other => |a| _mm256_max_ps(a, other));
        arithmetic!(min, other => |a| _mm256_min_ps(a, other));
        arithmetic!(or, other => |a| _mm256_or_ps(a, other));
        arithmetic!(where_greater, a, b, otherwise => |this| {
            _mm256_blendv_ps(otherwise, this, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b))
        });
        arithmetic!(abs, => |a| _mm256_andnot_ps(_mm256_set1_ps(-0.0), a));
        arithmetic!(with_sign_of, other => |a| {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, other))
        });
        arithmetic!(round, => |a| {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        });
        arithmetic!(shift_to_exponent, => |a| {
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)))
        });
    }

    /// Sixteen lanes: AVX-512.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct F32x16(__m512);

    /// The first `n <= 16` lanes.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask has sixteen bits, bit 16 falls off by design"
    )]
    fn first(n: usize) -> __mmask16 {
        debug_assert!(n <= 16);
        ((1_u32 << n) - 1) as __mmask16
    }

    impl Vector for F32x16 {
        const LANES: usize = 16;
        type Choices = [__m512; 2];

        #[inline(always)]
        unsafe fn choices(numbers: &[f32; 32]) -> Self::Choices {
            let from = numbers.as_ptr();
            // SAFETY: the caller promises AVX-512; twice sixteen of 32 floats.
            unsafe { [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))] }
        }

        #[inline(always)]
        fn choose(self, [low, high]: Self::Choices) -> Self {
            // SAFETY: a value of this type proves AVX-512.
            Self(unsafe { _mm512_permutex2var_ps(low, _mm512_cvttps_epi32(self.0), high) })
        }

        #[inline(always)]
        unsafe fn broadcast(value: f32) -> Self {
            // SAFETY: the caller promises AVX-512.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises AVX-512 and sixteen readable floats.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            // SAFETY: the caller promises AVX-512 and `n` readable floats; masked lanes are not
            // touched.
            Self(unsafe { _mm512_maskz_loadu_ps(first(n), from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises sixteen writable floats.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            // SAFETY: the caller promises `n` writable floats; masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(to, first(n), self.0) }
        }

        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> Self {
            // SAFETY: the caller promises AVX-512 and sixteen readable integers.
            Self(unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) })
        }

        #[inline(always)]
        unsafe fn load_u8(from: *const u8) -> Self {
            // SAFETY: the caller promises AVX-512 and sixteen readable bytes.
            Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) })
        }

        #[inline(always)]
        unsafe fn store_u8(self, to: *mut u8) {
            // SAFETY: `self` proves AVX-512; the caller promises sixteen writable bytes.
            unsafe {
                let bytes = _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(self.0));
                _mm_storeu_si128(to.cast(), bytes);
            }
        }

        #[inline(always)]
        fn like(self, value: f32) -> Self {
            // SAFETY: `self` proves that the CPU has AVX-512.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        arithmetic!(add, other => |a| _mm512_add_ps(a, other));
        arithmetic!(sub, other => |a| _mm512_sub_ps(a, other));
        arithmetic!(mul, other => |a| _mm512_mul_ps(a, other));
        arithmetic!(div, other => |a| _mm512_div_ps(a, other));
        arithmetic!(fma, factor, addend => |a| _mm512_fmadd_ps(a, factor, addend));
        arithmetic!(max, other => |a| _mm512_max_ps(a, other));
        arithmetic!(min, other => |a| _mm512_min_ps(a, other));
        arithmetic!(or, other => |a| _mm512_or_ps(a, other));
        arithmetic!(where_greater, a, b, otherwise => |this| {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), otherwise, this)
        });
        arithmetic!(abs, => |a| _mm512_abs_ps(a));
        arithmetic!(with_sign_of, other => |a| {
            let sign = _mm512_and_ps(_mm512_set1_ps(-0.0), other);
            _mm512_or_ps(_mm512_abs_ps(a), sign)
        });
        arithmetic!(round, => |a| {
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
        });
        arithmetic!(shift_to_exponent, => |a| {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a)))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs each method on lanes `a`, `b`, `c` and returns one row of results per method.
    struct Methods<'a> {
        a: &'a [f32; 16],
        b: &'a [f32; 16],
        c: &'a [f32; 16],
    }

    impl Kernel for Methods<'_> {
        type Output = Vec<Vec<f32>>;

        #[inline(always)]
        unsafe fn run<V: Vector>(self) -> Self::Output {
            let mut made = vec![vec![]; 13];
            for at in (0..16).step_by(V::LANES) {
                // SAFETY: the arrays hold sixteen lanes, a multiple of `LANES`.
                let [a, b, c] =
                    [self.a, self.b, self.c].map(|v| unsafe { V::load(v.as_ptr().add(at)) });
                let rows = [
                    a.add(b),
                    a.sub(b),
                    a.mul(b),
                    a.div(b),
                    a.fma(b, c),
                    a.max(b),
                    a.min(b),
                    a.where_greater(b, c, a.like(9.0)),
                    a.or(b),
                    a.abs(),
                    a.with_sign_of(b),
                    a.abs().like(5.0).shift_to_exponent(),
                    a.round(),
                ];
                for (row, value) in made.iter_mut().zip(rows) {
                    let mut lanes = [0.0; 16];
                    // SAFETY: sixteen floats are enough for every tier.
                    unsafe { value.store(lanes.as_mut_ptr()) };
                    row.extend_from_slice(&lanes[..V::LANES]);
                }
            }
            made
        }
    }

    #[test]
    fn every_tier_computes_alike() {
        let nan = f32::NAN;
        let a = [
            1.0, -2.5, 0.0, -0.0, nan, 3.0, 7.5, -1.0, 2.0, 4.0, 1e30, -1e30, 5.0, 6.0, 0.5, -8.0,
        ];
        let b = [
            2.0, -3.5, 1.0, -4.0, 1.0, nan, 7.5, 2.0, -2.0, 8.0, 1e8, 1e-8, -5.0, 0.25, 4.0, 2.0,
        ];
        let c = [
            1.0, -9.0, 2.0, -4.0, 0.0, 0.0, 8.0, -2.0, -6.0, 1.0, 0.0, 0.0, 1.0, 1.0, 8.0, 1.0,
        ];
        let bits = |rows: &[Vec<f32>]| -> Vec<Vec<u32>> {
            let of = |v: &f32| if v.is_nan() { 1 } else { v.to_bits() };
            rows.iter().map(|r| r.iter().map(of).collect()).collect()
        };
        for isa in Isa::available() {
            // SAFETY: the kernel asks for nothing but the arrays it borrows.
            let got = unsafe {
                dispatch(
                    isa,
                    Methods {
                        a: &a,
                        b: &b,
                        c: &c,
                    },
                )
            };
            // The operands make every sum and product exact, so that fused and unfused agree.
            let by_lane = |f: &dyn Fn(f32, f32, f32) -> f32| -> Vec<f32> {
                (0..16).map(|i| f(a[i], b[i], c[i])).collect()
            };
            let expected = vec![
                by_lane(&|a, b, _| a + b),
                by_lane(&|a, b, _| a - b),
                by_lane(&|a, b, _| a * b),
                by_lane(&|a, b, _| a / b),
                by_lane(&|a, b, c| a * b + c),
                by_lane(&|a, b, _| if a > b { a } else { b }),
                by_lane(&|a, b, _| if a < b { a } else { b }),
                by_lane(&|a, b, c| if b > c { a } else { 9.0 }),
                by_lane(&|a, b, _| f32::from_bits(a.to_bits() | b.to_bits())),
                by_lane(&|a, _, _| a.abs()),
                by_lane(&|a, b, _| a.copysign(b)),
                by_lane(&|_, _, _| f32::from_bits(5.0_f32.to_bits() << 23)),
                by_lane(&|a, _, _| a.round_ties_even()),
            ];
            assert_eq!(bits(&got), bits(&expected), "{isa}");
        }
    }

    /// The choice at each place.
    struct Choose<'a> {
        numbers: &'a [f32; 32],
        places: &'a [f32; 64],
    }

    impl Kernel for Choose<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        unsafe fn run<V: Vector>(self) -> Vec<f32> {
            let mut chosen = vec![0.0; 64];
            for at in (0..64).step_by(V::LANES) {
                // SAFETY: both hold 64 lanes, a multiple of `LANES`.
                unsafe {
                    let choices = V::choices(self.numbers);
                    let places = V::load(self.places.as_ptr().add(at));
                    places.choose(choices).store(chosen.as_mut_ptr().add(at));
                }
            }
            chosen
        }
    }

    #[test]
    fn numbers_are_chosen_by_the_whole_part() {
        let numbers = std::array::from_fn(|i| (i * i) as f32);
        let places = std::array::from_fn(|i| i as f32 / 2.0);
        let expected: Vec<f32> = (0..64).map(|i| numbers[i / 2]).collect();
        for isa in Isa::available() {
            let choose = Choose {
                numbers: &numbers,
                places: &places,
            };
            // SAFETY: the kernel asks for nothing but the arrays it borrows.
            assert_eq!(unsafe { dispatch(isa, choose) }, expected, "{isa}");
        }
    }

    struct Bytes<'a> {
        from: &'a [u8],
        to: &'a mut [u8],
        n: usize,
    }

    impl Kernel for Bytes<'_> {
        type Output = usize;

        #[inline(always)]
        unsafe fn run<V: Vector>(self) -> usize {
            let n = self.n.min(V::LANES);
            // SAFETY: both slices hold at least `n` bytes; those given are even, so that halves
            // of them are ties or whole.
            unsafe {
                let x = V::load_first_u8(self.from.as_ptr(), n);
                x.mul(x.like(0.25)).store_first_u8(self.to.as_mut_ptr(), n);
            }
            V::LANES
        }
    }

    #[test]
    fn bytes_are_read_as_numbers_and_written_rounded_to_even() {
        let from: Vec<u8> = (0..16).map(|i| 16 * i + 2 * (i % 4)).collect();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "quarters of bytes are bytes"
        )]
        let expected: Vec<u8> = from
            .iter()
            .map(|&b| (f32::from(b) * 0.25).round_ties_even() as u8)
            .collect();
        for isa in Isa::available() {
            for n in 0..=16 {
                let mut to = [0xa5; 17];
                let bytes = Bytes {
                    from: &from[..n],
                    to: &mut to,
                    n,
                };
                // SAFETY: the slices hold `n` bytes and more.
                let n = n.min(unsafe { dispatch(isa, bytes) });
                assert_eq!(to[..n], expected[..n], "{isa}, first {n}");
                assert!(to[n..].iter().all(|&v| v == 0xa5), "{isa}, first {n}");
            }
        }
    }

    struct Partial<'a> {
        from: &'a [f32],
        to: &'a mut [f32],
        n: usize,
    }

    impl Kernel for Partial<'_> {
        type Output = usize;

        #[inline(always)]
        unsafe fn run<V: Vector>(self) -> usize {
            let n = self.n.min(V::LANES);
            // SAFETY: both slices hold at least `n` floats.
            unsafe { V::load_first(self.from.as_ptr(), n).store_first(self.to.as_mut_ptr(), n) };
            V::LANES
        }
    }

    #[test]
    fn partial_loads_and_stores_touch_only_their_lanes() {
        let from: Vec<f32> = (1_u8..=16).map(f32::from).collect();
        for isa in Isa::available() {
            for n in 0..=16 {
                let mut to = [f32::NAN; 17];
                let partial = Partial {
                    from: &from[..n],
                    to: &mut to,
                    n,
                };
                // SAFETY: the slices hold `n` floats and more.
                let n = n.min(unsafe { dispatch(isa, partial) });
                assert_eq!(to[..n], from[..n], "{isa}, first {n}");
                assert!(to[n..].iter().all(|v| v.is_nan()), "{isa}, first {n}");
            }
        }
    }
}
