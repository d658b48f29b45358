//! Instruction-set tiers and the proof that a CPU has one.
//!
//! A tier exists only on the architectures that can have it, so that a `match` on [`Isa`] lists
//! exactly the cases of this build. To add a tier of another architecture, add a variant here, an
//! arm in each `match` (the compiler lists them), and files in the kernels' folders.

use std::fmt;

use crate::hint::{Arguments, Hint, named};

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Avx512Bf16, Avx512Vnni};

/// A tier of kernels. A variant's token is the proof that `unsafe` calls need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, on every CPU.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The names of all tiers, including those of other architectures.
const NAMES: [&str; 3] = ["portable", "avx2", "avx512"];

/// Why a tier cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IsaError {
    /// No tier has this name.
    #[error("no instruction set is named `{0}`; choose `portable`, `avx2` or `avx512`")]
    Unknown(String),
    /// The CPU lacks it.
    #[error("this CPU has no `{0}`; it has {1}")]
    Missing(String, String),
}

impl Hint for IsaError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_isa",
            Self::Missing(..) => "isa_not_available",
        }
    }

    fn hint(&self) -> String {
        "leave `--isa` out: the program then chooses the best that this CPU has".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Unknown(name) => named!(name),
            Self::Missing(name, available) => named!(name, available),
        }
    }
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
        let tiers = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        let tiers = {
            let mut tiers = tiers;
            tiers.extend(Avx2::detect().map(Self::Avx2));
            tiers.extend(Avx512::detect().map(Self::Avx512));
            tiers
        };
        tiers
    }

    /// The tier with this name.
    ///
    /// # Errors
    /// [`IsaError`] for an unknown name or a tier that this CPU lacks.
    pub fn by_name(name: &str) -> Result<Self, IsaError> {
        if !NAMES.contains(&name) {
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
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }

    /// Whether matrix kernels with bfloat16 weights also round their inputs to bfloat16, because
    /// the CPU multiplies these natively.
    #[must_use]
    pub fn rounds_inputs_to_bf16(self) -> bool {
        match self {
            Self::Portable => false,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => false,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => token.bf16().is_some(),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tokens of x86-64.
#[cfg(target_arch = "x86_64")]
mod x86 {
    /// Proof that this CPU has AVX2, FMA and F16C. Comes only from [`Isa::detect`] and
    /// [`Isa::available`].
    ///
    /// [`Isa::detect`]: super::Isa::detect
    /// [`Isa::available`]: super::Isa::available
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Avx2(());

    impl Avx2 {
        pub(super) fn detect() -> Option<Self> {
            let has = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            has.then_some(Self(()))
        }
    }

    /// Proof that this CPU has AVX-512 F, BW, DQ and VL, and all of [`Avx2`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Avx512(Avx2);

    impl Avx512 {
        pub(super) fn detect() -> Option<Self> {
            let avx2 = Avx2::detect()?;
            let has = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            has.then_some(Self(avx2))
        }

        /// AVX-512 machines have AVX2 too.
        #[must_use]
        pub fn avx2(self) -> Avx2 {
            self.0
        }

        /// The dot products of bytes, which CPUs since Cascade Lake and Zen 4 have. Like
        /// [`Avx512::bf16`] it is an extension: only the integer matrix kernels use it.
        #[must_use]
        pub fn vnni(self) -> Option<Avx512Vnni> {
            is_x86_feature_detected!("avx512vnni").then_some(Avx512Vnni(self))
        }

        /// The dot products of bfloat16, if the CPU has them. It is an extension of this tier and
        /// not a separate tier, because only the matrix kernels with bf16 weights use it.
        #[must_use]
        pub fn bf16(self) -> Option<Avx512Bf16> {
            is_x86_feature_detected!("avx512bf16").then_some(Avx512Bf16(self))
        }
    }

    /// Proof that this CPU has AVX-512 BF16 (dot products of bfloat16 pairs), and all of
    /// [`Avx512`]. Comes only from [`Avx512::bf16`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Avx512Bf16(Avx512);

    impl Avx512Bf16 {
        /// CPUs with AVX-512 BF16 have AVX-512 too.
        #[must_use]
        pub fn avx512(self) -> Avx512 {
            self.0
        }
    }

    /// Proof that this CPU has AVX-512 VNNI (dot products of bytes), and all of [`Avx512`]. Comes
    /// only from [`Avx512::vnni`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Avx512Vnni(Avx512);

    impl Avx512Vnni {
        /// CPUs with AVX-512 VNNI have AVX-512 too.
        #[must_use]
        pub fn avx512(self) -> Avx512 {
            self.0
        }
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

    #[test]
    fn every_tier_is_known_by_name_on_every_architecture() {
        for tier in Isa::available() {
            assert!(NAMES.contains(&tier.name()));
        }
        for name in NAMES {
            match Isa::by_name(name) {
                Ok(tier) => assert_eq!(tier.name(), name),
                Err(error) => assert!(matches!(error, IsaError::Missing(..)), "{error}"),
            }
        }
    }
}
