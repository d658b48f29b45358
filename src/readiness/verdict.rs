//! Whether a load fits: an estimate's worst moment compared with a limit.
//!
//! Render's own guide warns at 78 % of the memory and calls 90 % critical; this module uses 90 %,
//! too. The memory that must fit decides. Weights that the kernel can drop and read again only make
//! the server slow.

use serde::Serialize;

use crate::memory::estimate::State;

/// Share of the limit up to which it fits.
pub const FITS: f64 = 0.90;

/// Share of the limit from which it does not fit: what must fit is larger, by more than the allowed
/// error of estimates (docs/estimating.md).
pub const DOES_NOT_FIT: f64 = 1.0;

/// The memory of a load, and the budget that its server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// All memory, including pages of files.
    pub all_bytes: u64,
    /// The memory that the kernel cannot take back.
    pub must_fit_bytes: u64,
    /// The smallest budget with which the server admits the load. It reserves memory before it
    /// knows what a photo really needs.
    pub admission_bytes: u64,
}

impl Demand {
    /// The demand of a state of the estimate. `admission_bytes` is the smallest budget with which the
    /// server admits this load.
    #[must_use]
    pub fn of(state: &State, admission_bytes: u64) -> Self {
        Self {
            all_bytes: state.charged_bytes(),
            must_fit_bytes: state.unreclaimable_bytes(),
            admission_bytes,
        }
    }

    /// The limit below which the server is killed or refuses the load.
    #[must_use]
    pub fn least_bytes(&self) -> u64 {
        self.must_fit_bytes.max(self.admission_bytes)
    }
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything fits, weights included, with a tenth to spare.
    Fits,
    /// What must fit does fit, but with less to spare, or the kernel reads weights again and again.
    Tight,
    /// What must fit does not fit, or the server would refuse the load.
    DoesNotFit,
}

impl Verdict {
    /// The verdict in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does not fit",
        }
    }

    /// Judges a demand under a limit.
    #[must_use]
    pub fn of(demand: &Demand, limit_bytes: u64) -> Self {
        let limit = limit_bytes as f64;
        if demand.least_bytes() as f64 > limit * DOES_NOT_FIT {
            Self::DoesNotFit
        } else if demand.all_bytes as f64 > limit * FITS {
            Self::Tight
        } else {
            Self::Fits
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::estimate::{Backing, Moment, Term};

    #[test]
    fn what_must_fit_decides_and_weights_only_make_it_tight() {
        let state = |anonymous, reclaimable, kernel| {
            let term = |backing, bytes| Term {
                name: "x",
                backing,
                bytes,
            };
            State {
                moment: Moment::Predicting,
                photos: 1,
                gradcam: false,
                terms: vec![
                    term(Backing::Anonymous, anonymous),
                    term(Backing::Reclaimable, reclaimable),
                    term(Backing::Kernel, kernel),
                ],
            }
        };
        for (parts, admission, verdict) in [
            ((50, 30, 10), 100, Verdict::Fits),
            ((50, 30, 10), 101, Verdict::DoesNotFit),
            ((50, 31, 10), 0, Verdict::Tight),
            ((50, 500, 10), 0, Verdict::Tight),
            ((91, 0, 9), 0, Verdict::Tight),
            ((92, 0, 9), 0, Verdict::DoesNotFit),
        ] {
            let (a, r, k) = parts;
            let demand = Demand::of(&state(a, r, k), admission);
            assert_eq!(Verdict::of(&demand, 100), verdict, "{parts:?}");
        }
    }
}
