//! Text from outside: files that people and other programs wrote, read in one place.
//!
//! [`read`] takes a file: bounded before it is read, valid UTF-8, without a byte order mark.
//! [`yaml`], [`json`] and [`toml`] make the same kind of value of it, a [`Located`], which knows
//! the line and column of everything. Nothing here recurses deeper than [`MAX_DEPTH`] or builds
//! more than [`MAX_VALUES`] values, whatever the text says, and no alias multiplies a text
//! without a bound ([`Aliases`]).
//!
//! Also here: what messages need to talk about such text. [`shorten`] is how every error repeats
//! input; [`nearest`] and [`suggest`] find the name that was meant.
//!
//! Not here: what the values mean. JSON that goes straight into a type (an artifact's header, a
//! request) is read by `serde_json`, which bounds its own depth.

mod json;
mod read;
mod scalar;
mod suggest;
mod toml;
mod value;
mod yaml;

pub use crate::hint::{MAX_ECHO, shorten, shorten_to};

pub use json::json;
pub use read::{TextError, decode, read};
pub use suggest::{edit_distance, nearest, suggest};
pub use toml::toml;
pub use value::{Located, Position, SyntaxError, SyntaxKind, Value};
pub use yaml::{Aliases, yaml};

/// Collections that may be open at once. Files of settings need up to 10.
pub const MAX_DEPTH: usize = 64;

/// Values that one text may hold: a list of 100,000 labels is far below it, and they take some
/// 50 MB.
pub const MAX_VALUES: usize = 500_000;

/// Bytes that a file of settings (a recipe, a mapping, a project's file) may have.
pub const MAX_SETTINGS_BYTES: u64 = 64 * 1024;
