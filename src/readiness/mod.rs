//! Is it ready to deploy: what platforms grant, and what a project may get wrong.
//!
//! Pure functions from facts to findings. Files, clocks and processes are the business of
//! `commands`, which hands in texts and numbers.

pub mod calendar;
pub mod located;
pub mod platforms;
pub mod rules;
pub mod verdict;
