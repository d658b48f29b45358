//! "Did you mean": the known name nearest to one that is not.

/// A hint that names the nearest known name, if there is one, and lists all.
pub(crate) fn suggest(wanted: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(wanted, known) {
        Some(near) => format!("did you mean `{near}`? Known: {list}"),
        None => format!("known: {list}"),
    }
}

/// The known name with the fewest edits, if a third of the letters or less differ.
pub(crate) fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
    // A hostile name could make the table below large.
    if wanted.chars().count() > 64 {
        return None;
    }
    known
        .iter()
        .map(|k| (edit_distance(wanted, k), *k))
        .filter(|(distance, k)| *distance <= (k.len() / 3).max(1))
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein's distance in characters.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The beginning of a text from outside, for messages.
pub(crate) fn shorten(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.to_owned();
    }
    text.chars().take(MAX).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("filter", "fliter", 2),
            ("é", "e", 1),
        ] {
            assert_eq!(edit_distance(a, b), edits, "{a} to {b}");
        }
    }

    #[test]
    fn only_a_similar_name_is_suggested() {
        let known = ["stretch", "crop_to_aspect"];
        assert_eq!(nearest("strech", &known), Some("stretch"));
        assert_eq!(nearest("letterbox", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }
}
