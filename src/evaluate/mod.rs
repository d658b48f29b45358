//! How good a classifier is on labelled images, and whether another is as good.
//!
//! [`metrics::evaluate`] measures one model, [`verdict::compare`] judges two of them on the same
//! images, and [`statistics`] has the intervals and tests that both stand on. All three are pure:
//! numbers in, serialisable results out.

pub mod metrics;
pub mod statistics;
pub mod verdict;
