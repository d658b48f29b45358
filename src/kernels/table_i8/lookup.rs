//! Lookups of bytes, in one file for all instruction sets.
//!
//! AVX2 has no lookup in more than 16 bytes. So each of the table's 16 rows is looked up by the low
//! half of the byte, and the four bits of the high half choose between the results, pair by pair.

use super::Table;
use crate::kernels::Isa;

/// See [`super::map`].
///
/// # Safety
/// As [`super::map`].
pub(super) unsafe fn map(isa: Isa, table: &Table, from: *const u8, to: *mut u8, len: usize) {
    let done = match isa {
        Isa::Portable => 0,
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves AVX2; the rest is the caller's.
        Isa::Avx2(_) => unsafe { avx2(table, from, to, len) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves AVX2; the rest is the caller's.
        Isa::Avx512(_) => unsafe { avx2(table, from, to, len) },
    };
    for i in done..len {
        // SAFETY: the caller promises `len` bytes.
        unsafe { *to.add(i) = table.0[usize::from(*from.add(i))] }
    }
}

/// Looks up whole vectors and returns the number of bytes.
///
/// # Safety
/// As [`super::map`], and the CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(table: &Table, from: *const u8, to: *mut u8, len: usize) -> usize {
    use std::arch::x86_64::{
        _mm_load_si128, _mm256_and_si256, _mm256_blendv_epi8, _mm256_broadcastsi128_si256,
        _mm256_loadu_si256, _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_slli_epi16,
        _mm256_storeu_si256,
    };

    let mut at = 0;
    while at + 32 <= len {
        // SAFETY: 32 bytes from `at` exist; the table's rows are 16 aligned bytes each.
        unsafe {
            let x = _mm256_loadu_si256(from.add(at).cast());
            let low = _mm256_and_si256(x, _mm256_set1_epi8(15));
            // A blend looks at the top bit of each byte. Bits that a shift brings in from the
            // neighbouring byte are below it.
            let bits = [
                _mm256_slli_epi16::<3>(x),
                _mm256_slli_epi16::<2>(x),
                _mm256_slli_epi16::<1>(x),
                x,
            ];
            let row = |i: usize| {
                let row = _mm_load_si128(table.0.as_ptr().add(16 * i).cast());
                _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(row), low)
            };
            let two = |i: usize| _mm256_blendv_epi8(row(i), row(i + 1), bits[0]);
            let four = |i: usize| _mm256_blendv_epi8(two(i), two(i + 2), bits[1]);
            let eight = |i: usize| _mm256_blendv_epi8(four(i), four(i + 4), bits[2]);
            let value = _mm256_blendv_epi8(eight(0), eight(8), bits[3]);
            _mm256_storeu_si256(to.add(at).cast(), value);
        }
        at += 32;
    }
    at
}
