//! How good a model is: labelled images, metrics, statistics.

pub mod dataset;
