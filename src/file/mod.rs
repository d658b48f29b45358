//! Files as such, whatever they hold: written whole or not at all, never over what is being read, and
//! known by their hash.

pub mod atomic;
mod guard;
mod hash;

pub use guard::{Guard, GuardError, Output};
pub use hash::{blake3_of_file, sha256_of_file};
