//! Files, whatever their content: written as a whole or not at all, never over a file that is read,
//! and identified by their hash.

pub mod atomic;
mod guard;
mod hash;
mod regular;

pub use guard::{Guard, GuardError, Output};
pub use hash::{blake3_of_file, sha256_of_file, sha256_of_files};
pub use regular::{Within, open_regular, open_within};
