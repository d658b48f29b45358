//! Does it fit: an estimate's worst moment against a limit.
//!
//! Render's own guide warns at 78 % of the memory and calls 90 % critical; the same lines are
//! drawn here. Memory that must fit decides; weights that the kernel can drop and read again only
//! make it slow.

use serde::Serialize;

use crate::memory::estimate::State;

/// Share of the limit up to which it fits.
pub const FITS: f64 = 0.90;

/// Share of the limit from which it does not fit: what must fit is larger, beyond the error that
/// estimates are held to (docs/estimating.md).
pub const DOES_NOT_FIT: f64 = 1.0;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything fits, weights included, with a tenth to spare.
    Fits,
    /// What must fit does, but with less to spare, or weights would be read again and again.
    Tight,
    /// What must fit does not.
    DoesNotFit,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does not fit",
        }
    }

    /// Of a state that takes so much, under a limit.
    #[must_use]
    pub fn of(state: &State, limit_bytes: u64) -> Self {
        let limit = limit_bytes as f64;
        if state.unreclaimable_bytes() as f64 > limit * DOES_NOT_FIT {
            Self::DoesNotFit
        } else if state.charged_bytes() as f64 > limit * FITS {
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
        for (parts, verdict) in [
            ((50, 30, 10), Verdict::Fits),
            ((50, 31, 10), Verdict::Tight),
            ((50, 500, 10), Verdict::Tight),
            ((91, 0, 9), Verdict::Tight),
            ((92, 0, 9), Verdict::DoesNotFit),
        ] {
            let (a, r, k) = parts;
            assert_eq!(Verdict::of(&state(a, r, k), 100), verdict, "{parts:?}");
        }
    }
}
