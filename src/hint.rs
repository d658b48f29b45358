//! What every error of the library knows: its kind, its next step, and the values in its message.
//!
//! An error's `Display` says what happened, in English. [`Hint`] says the rest: what to do about it,
//! a stable name that programs can match, and the named values from which the message can be said
//! again, in another language for example. A command only passes on errors that implement it.
//!
//! An error that wraps another one answers for both. It hands on the wrapped error's kind, hint and
//! arguments where that one knows more, and speaks for itself where it knows more: an error about a
//! table knows where its columns come from. The two go together: `arguments` belong to `kind`.
//!
//! Also here: [`shorten`], because an error repeats at most [`MAX_ECHO`] characters of its input.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Number, Value};

/// An error that names its kind and the next step.
///
/// ```
/// use dermal::Hint;
///
/// let error = dermal::Photo::open("missing.jpg").unwrap_err();
/// assert_eq!(error.to_string(), "there is no file `missing.jpg`");
/// assert_eq!(error.kind(), "no_such_file");
/// assert_eq!(error.hint(), "check the path");
/// assert_eq!(error.arguments().get("path").unwrap(), "missing.jpg");
/// ```
pub trait Hint: std::error::Error + Send + Sync + 'static {
    /// A stable name of the kind of error, in `snake_case`. It stays when the message is reworded.
    fn kind(&self) -> &'static str;

    /// What to do about it.
    fn hint(&self) -> String;

    /// The values that the message contains, by name, and those of the wrapped error if `kind` is
    /// that error's.
    fn arguments(&self) -> Arguments;
}

/// Named values of an error's message, in the order of their names.
///
/// Text from outside is shortened as in messages. Paths are whole, because a shortened one cannot be
/// opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Arguments(BTreeMap<&'static str, Value>);

impl Arguments {
    /// Adds a value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &(impl Argument + ?Sized)) -> Self {
        self.0.insert(name, value.to_value());
        self
    }

    /// Adds a value as its `Display` shows it.
    #[must_use]
    pub fn text(self, name: &'static str, value: &(impl fmt::Display + ?Sized)) -> Self {
        self.with(name, value.to_string().as_str())
    }

    /// Adds the arguments of a wrapped error. Where both have a name, the value here stays.
    #[must_use]
    pub fn and(mut self, source: &(impl Hint + ?Sized)) -> Self {
        for (name, value) in source.arguments().0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes [`Arguments`] of variables, each under its own name: `named!(path, line)`. With `%` a value
/// is taken as its `Display` shows it: `named!(tensor, %shape)`.
macro_rules! named {
    (@ $made:expr;) => { $made };
    (@ $made:expr; % $name:ident $(, $($rest:tt)*)?) => {
        $crate::hint::named!(@ $made.text(stringify!($name), $name); $($($rest)*)?)
    };
    (@ $made:expr; $name:ident $(, $($rest:tt)*)?) => {
        $crate::hint::named!(@ $made.with(stringify!($name), $name); $($($rest)*)?)
    };
    ($($names:tt)*) => { $crate::hint::named!(@ $crate::hint::Arguments::default(); $($names)*) };
}
pub(crate) use named;

/// A value that can stand among the [`Arguments`] of an error.
pub trait Argument {
    /// The value as JSON. Text is shortened; a number that JSON does not have becomes text.
    fn to_value(&self) -> Value;
}

impl Argument for str {
    fn to_value(&self) -> Value {
        Value::String(shorten(self))
    }
}

impl Argument for String {
    fn to_value(&self) -> Value {
        self.as_str().to_value()
    }
}

impl Argument for Path {
    fn to_value(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Argument for PathBuf {
    fn to_value(&self) -> Value {
        self.as_path().to_value()
    }
}

impl Argument for f32 {
    fn to_value(&self) -> Value {
        // The shortest decimal that is this f32, which is also what the message shows.
        let text = self.to_string();
        let number = text.parse().ok().and_then(Number::from_f64);
        number.map_or(Value::String(text), Value::Number)
    }
}

impl Argument for f64 {
    fn to_value(&self) -> Value {
        let number = Number::from_f64(*self);
        number.map_or_else(|| Value::String(self.to_string()), Value::Number)
    }
}

macro_rules! of_json {
    ($($type:ty),*) => {
        $(impl Argument for $type {
            fn to_value(&self) -> Value {
                Value::from(*self)
            }
        })*
    };
}
of_json!(bool, u32, u64, usize);

impl Argument for Range<usize> {
    fn to_value(&self) -> Value {
        Value::String(format!("{self:?}"))
    }
}

impl<T: Argument> Argument for [T] {
    fn to_value(&self) -> Value {
        self.iter().map(Argument::to_value).collect()
    }
}

impl<T: Argument> Argument for Vec<T> {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl<T: Argument, const N: usize> Argument for [T; N] {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl<T: Argument + ?Sized> Argument for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: Argument + ?Sized> Argument for Box<T> {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

/// The next step where nobody but the authors can do anything.
pub(crate) const BUG: &str =
    "this is a bug: please report the model's layers (`dermal inspect --layers`)";

/// Characters of outside text that a message repeats at most.
pub const MAX_ECHO: usize = 80;

/// A text from outside as a message repeats it: at most [`MAX_ECHO`] characters. Every message
/// that quotes input goes through here.
#[must_use]
pub fn shorten(text: &str) -> String {
    shorten_to(text, MAX_ECHO)
}

/// At most `most` characters of a text, the last three of them dots if it is longer: for places
/// with less room than a message.
#[must_use]
pub fn shorten_to(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(3));
    kept.chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_repeated_is_short() {
        assert_eq!(shorten(&"é".repeat(80)), "é".repeat(80));
        let short = shorten(&"é".repeat(81));
        assert_eq!(short.chars().count(), 80);
        assert!(short.ends_with("é..."));
        assert_eq!(shorten(&short), short);
        assert_eq!(shorten_to("abcdef", 5), "ab...");
    }

    #[test]
    fn arguments_are_values_of_json() {
        let (name, size, part, odd) = (&"x".repeat(100), &7_u64, &0.1_f32, &f32::NAN);
        let (path, range, list) = (Path::new("a/b"), &(2..4), &["a", "b"]);
        let made = named!(name, size, part, odd, path, range, list, %odd);
        let expected = json!({
            "list": ["a", "b"],
            "name": format!("{}...", "x".repeat(77)),
            "odd": "NaN",
            "part": 0.1,
            "path": "a/b",
            "range": "2..4",
            "size": 7,
        });
        assert_eq!(serde_json::to_value(made).unwrap(), expected);
        let long = PathBuf::from("x".repeat(100));
        assert_eq!(long.to_value(), json!("x".repeat(100)));
        assert!(named!().is_empty());
    }
}
