//! Whether a project is ready to deploy: what platforms grant, and what a project may get wrong.
//!
//! Pure functions from facts to findings. Files, clocks and processes are the business of
//! `commands`, which hands in texts and numbers ([`project::Project`]).
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
//! What a container executes is found out once, in `launch`; rules are asked of that. What cannot be
//! found out is a warning that says so, never an error.

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
