//! Names that are given once. Files may use one name for any number of things, so finding a free one
//! must not try all that are taken.

use std::collections::{HashMap, HashSet};

/// Names that are taken.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The last variant that was tried of each name that came more than once.
    variants: HashMap<String, usize>,
}

impl Names {
    /// `name`, or its first variant (1, 2, ...) that nobody has.
    pub(super) fn unique(&mut self, name: &str, variant: impl Fn(&str, usize) -> String) -> String {
        if self.taken.insert(name.to_owned()) {
            return name.to_owned();
        }
        let last = self.variants.entry(name.to_owned()).or_default();
        loop {
            *last += 1;
            let candidate = variant(name, *last);
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

/// The variants of names from ONNX and TFLite files: `name_`, `name__`, and numbers after these.
pub(super) fn underscored(name: &str, n: usize) -> String {
    match n {
        0..=4 => format!("{name}{}", &"____"[..n]),
        _ => format!("{name}_{n}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_used_a_million_times_is_cheap() {
        let mut names = Names::default();
        for expected in ["a", "a_", "a__", "a___", "a____", "a_5"] {
            assert_eq!(names.unique("a", underscored), expected);
        }
        assert_eq!(names.unique("a_6", underscored), "a_6");
        assert_eq!(names.unique("a", underscored), "a_7");
        for _ in 0..100_000 {
            names.unique("a", underscored);
        }
        assert_eq!(names.unique("a", underscored), "a_100008");
    }
}
