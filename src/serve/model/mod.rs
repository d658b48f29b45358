//! The model that a server or worker answers with: loading it, running it on a thread of its own, and
//! answering through the cache.

mod inference;
mod reload;
mod service;
mod session;

pub(in crate::serve) use inference::{Phase, overloaded};
pub(in crate::serve) use reload::watch;
pub(in crate::serve) use service::ModelService;
pub(in crate::serve) use session::ModelInfo;
