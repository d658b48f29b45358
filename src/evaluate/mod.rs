//! How good a classifier is on labelled images, and whether another is as good.
//!
//! [`dataset`] reads labelled images and prepares them in order and in bounded memory.
//! [`metrics::evaluate`] measures one model, [`verdict::compare`] judges two of them on the same
//! images, and [`statistics`] has the intervals and tests that both stand on. The last three are
//! pure: numbers in, serialisable results out.

pub mod dataset;
pub mod metrics;
pub mod statistics;
pub mod verdict;
