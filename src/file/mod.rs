//! Files as such, whatever they hold: written whole or not at all, and known by their hash.

pub mod atomic;
mod hash;

pub use hash::{blake3_of_file, sha256_of_file};
