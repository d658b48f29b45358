//! Text from outside: files that people and other programs wrote, read in one place.
//!
//! [`read`] takes a file: bounded before it is read, valid UTF-8, without a byte order mark.
//! [`yaml`], [`json`] and [`toml`] turn it into the same kind of value, a [`Located`], which knows
//! the line and column of everything. Nothing here recurses deeper than [`MAX_DEPTH`] or builds
//! more than [`MAX_VALUES`] values, whatever the text says, and aliases multiply a text only up to
//! a bound ([`Aliases`]).
//!
//! Messages about such text also need this module: every error repeats input through [`shorten`];
//! [`nearest`] and [`suggest`] find the name that the user probably meant.
//!
//! Not here: what the values mean. `serde_json` reads JSON that goes directly into a type (an
//! artifact's header, a request), and bounds its own depth.

mod json;
mod read;
mod scalar;
mod suggest;
mod toml;
mod value;
mod yaml;

pub use crate::hint::{MAX_ECHO, shorten, shorten_to};

pub use json::{json, json_list};
pub use read::{TextError, decode, read};
pub use suggest::{edit_distance, nearest, suggest};
pub use toml::toml;
pub use value::{Located, Position, SyntaxError, SyntaxKind, Value};
pub use yaml::{Aliases, yaml};

/// How many collections may be open at once. Files of settings need up to 10.
pub const MAX_DEPTH: usize = 64;

/// Most values of one text. A list of 100,000 labels is far below it; this many values take some 50
/// MB.
pub const MAX_VALUES: usize = 500_000;

/// Most bytes of a file of settings (a recipe, a mapping, a project's file).
pub const MAX_SETTINGS_BYTES: u64 = 64 * 1024;
