//! Whether a project is ready to deploy: what platforms grant, and which mistakes a project can
//! have.
//!
//! Pure functions from facts to findings. `survey` reads files, clocks and processes, and passes
//! texts and numbers in ([`project::Project`]).
//!
//! ```text
//! Dockerfile --image--> files, environment, user, CMD
//!                          |
//! render.yaml, fly.toml, railway.*, Procfile, compose --hosts--> Deployment { Container }
//!                                                                    |
//!                              launch: wrappers, shells, scripts --> Launch { dermal serve ... }
//!                                                                    |
//!                                                judge, models, limits --> findings
//! ```
//!
//! `launch` finds the program that a container executes, once, and rules apply to that. If it
//! cannot be found, a warning says so, never an error.

pub mod calendar;
pub mod evidence;
mod hosts;
mod image;
mod judge;
mod launch;
mod limits;
pub mod located;
mod models;
pub mod platforms;
pub mod project;
pub mod rules;
mod schema;
pub mod secrets;
pub mod settings;
pub mod verdict;

pub use launch::serve::Flag;
