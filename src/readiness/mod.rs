//! Is it ready to deploy: what platforms grant, and what a project may get wrong.
//!
//! Pure functions from facts to findings. Files, clocks and processes are the business of
//! `commands`, which hands in texts and numbers ([`project::Project`]).

pub mod calendar;
mod docker;
pub mod evidence;
mod hosts;
mod limits;
pub mod located;
pub mod platforms;
pub mod project;
mod render;
pub mod rules;
mod schema;
pub mod secrets;
pub mod settings;
pub mod start;
pub mod verdict;
