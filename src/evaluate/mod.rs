//! How good a classifier is on labelled photos, and whether another is as good.
//!
//! [`trial`] combines the parts: models and a [`dataset`] in, a report out, which also compares the
//! heat maps of both models. It uses [`pass`], which prepares photos in order and in bounded
//! memory, and three pure modules with numbers in and serialisable results out:
//! [`metrics::evaluate`] measures one model, [`comparison::compare`] judges two models on the same
//! images, and [`statistics`] has the intervals and tests that both use.

pub mod comparison;
pub mod dataset;
pub mod metrics;
pub mod pass;
pub mod statistics;
pub mod trial;
