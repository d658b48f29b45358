//! Files, whatever their content: written as a whole or not at all, never over a file that is read,
//! and identified by their hash.

pub mod atomic;
mod guard;
mod hash;

pub use guard::{Guard, GuardError, Output};
pub use hash::{blake3_of_file, sha256_of_file, sha256_of_files};
