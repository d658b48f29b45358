//! Finds the model's label for a word in a table or for a folder's name.

use crate::text::suggest;

/// Finds labels by name: by the exact name, or in another case if only one label fits.
#[derive(Clone, Debug)]
pub struct LabelIndex<'a> {
    labels: &'a [String],
    folded: Vec<String>,
}

impl<'a> LabelIndex<'a> {
    /// An index of a model's labels.
    #[must_use]
    pub fn new(labels: &'a [String]) -> Self {
        Self {
            labels,
            folded: labels.iter().map(|label| fold(label)).collect(),
        }
    }

    /// The index of the label that `name` means; `None` if no label fits, or several do.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        let name = name.trim();
        if let Some(exact) = self.labels.iter().position(|label| label == name) {
            return Some(exact);
        }
        let folded = fold(name);
        let mut fitting = (0..self.folded.len()).filter(|&i| self.folded[i] == folded);
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    /// The next step for a name that is not a label.
    #[must_use]
    pub fn hint(&self, name: &str) -> String {
        let folded = fold(name);
        let fitting: Vec<&str> = self
            .labels
            .iter()
            .zip(&self.folded)
            .filter_map(|(label, f)| (*f == folded).then_some(label.as_str()))
            .collect();
        if fitting.len() > 1 {
            return format!(
                "write {} exactly: only case tells them apart",
                fitting.join(" or ")
            );
        }
        if name.trim().parse::<usize>().is_ok() {
            return format!(
                "give names, not numbers: the model's labels are {}",
                self.labels.join(", ")
            );
        }
        let known: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        suggest(name, &known)
    }
}

fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}
