//! Instruction-set tiers and the proof that a CPU has one.

use std::fmt;

/// Proof that this CPU has AVX2, FMA and F16C. Comes only from [`Isa::detect`] and
/// [`Isa::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

/// Proof that this CPU has AVX-512 F, BW, DQ and VL, and all of [`Avx2`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(Avx2);

impl Avx512 {
    /// AVX-512 machines have AVX2 too.
    #[must_use]
    pub fn avx2(self) -> Avx2 {
        self.0
    }

    /// The dot products of bytes, which CPUs since Cascade Lake and Zen 4 have. An extension as
    /// [`Avx512::bf16`] is: only the integer matrix kernels use it.
    #[must_use]
    pub fn vnni(self) -> Option<Avx512Vnni> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512vnni") {
            return Some(Avx512Vnni(self));
        }
        None
    }

    /// The dot products of bfloat16, where the CPU has them. An extension of this tier rather than
    /// one of its own: only the matrix kernels with bf16 weights use it.
    #[must_use]
    pub fn bf16(self) -> Option<Avx512Bf16> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512bf16") {
            return Some(Avx512Bf16(self));
        }
        None
    }
}

/// Proof that this CPU has AVX-512 BF16 (dot products of bfloat16 pairs), and all of [`Avx512`].
/// Comes only from [`Avx512::bf16`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    /// CPUs with AVX-512 BF16 have AVX-512 too.
    #[must_use]
    pub fn avx512(self) -> Avx512 {
        self.0
    }
}

/// Proof that this CPU has AVX-512 VNNI (dot products of bytes), and all of [`Avx512`]. Comes only
/// from [`Avx512::vnni`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Vnni(Avx512);

impl Avx512Vnni {
    /// CPUs with AVX-512 VNNI have AVX-512 too.
    #[must_use]
    pub fn avx512(self) -> Avx512 {
        self.0
    }
}

/// A tier of kernels. Holding `Avx2` or `Avx512` is the proof that `unsafe` calls need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2(Avx2),
    /// 512-bit vectors.
    Avx512(Avx512),
}

/// A tier that this CPU does not have, or no tier at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IsaError {
    /// No tier has this name.
    #[error("no instruction set is named `{0}`; choose `portable`, `avx2` or `avx512`")]
    Unknown(String),
    /// The CPU lacks it.
    #[error("this CPU has no `{0}`; it has {1}")]
    Missing(String, String),
}

impl Isa {
    /// The best tier of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    /// Every tier that this CPU can run, slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut tiers = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if has_avx2 {
                tiers.push(Self::Avx2(Avx2(())));
            }
            if has_avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                tiers.push(Self::Avx512(Avx512(Avx2(()))));
            }
        }
        tiers
    }

    /// The tier of a name.
    ///
    /// # Errors
    /// [`IsaError`] for an unknown name or a tier that this CPU lacks.
    pub fn by_name(name: &str) -> Result<Self, IsaError> {
        if !["portable", "avx2", "avx512"].contains(&name) {
            return Err(IsaError::Unknown(name.to_owned()));
        }
        let tiers = Self::available();
        tiers
            .iter()
            .copied()
            .find(|tier| tier.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = tiers.iter().map(|tier| format!("`{tier}`")).collect();
                IsaError::Missing(name.to_owned(), names.join(", "))
            })
    }

    /// The tier's name, as in kernel names and `--isa`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2(_) => "avx2",
            Self::Avx512(_) => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_tier_is_available_by_its_name() {
        let best = Isa::detect();
        assert_eq!(Isa::by_name(best.name()), Ok(best));
        assert_eq!(Isa::by_name("portable"), Ok(Isa::Portable));
        assert!(matches!(Isa::by_name("sse9"), Err(IsaError::Unknown(_))));
    }
}
