//! How good a classifier is on labelled photos, and whether another is as good.
//!
//! [`trial`] is the whole: models and a [`dataset`] in, a report out, the heat maps of both
//! compared. It stands on [`pass`], which prepares photos in order and in bounded memory, and on
//! three modules that are pure, numbers in and serialisable results out: [`metrics::evaluate`]
//! measures one model, [`comparison::compare`] judges two of them on the same images, and
//! [`statistics`] has the intervals and tests that both use.

pub mod comparison;
pub mod dataset;
pub mod metrics;
pub mod pass;
pub mod statistics;
pub mod trial;
