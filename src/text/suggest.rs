//! The name that was meant, for hints.

use crate::hint::shorten;

/// Most names that a hint lists.
const MAX_LISTED: usize = 40;

/// A hint that names the nearest known name, if there is one, and lists all.
#[must_use]
pub fn suggest(wanted: &str, known: &[&str]) -> String {
    let listed = known.iter().take(MAX_LISTED).map(|name| shorten(name));
    let mut list = listed.collect::<Vec<_>>().join(", ");
    if known.len() > MAX_LISTED {
        list += &format!(", and {} more", known.len() - MAX_LISTED);
    }
    match nearest(wanted, known) {
        Some(near) => format!("did you mean `{}`? Known: {list}", shorten(near)),
        None => format!("known: {list}"),
    }
}

/// The known name with the fewest edits, if at most a third of the letters differ.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: &[&'a str]) -> Option<&'a str> {
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
#[must_use]
pub fn edit_distance(a: &str, b: &str) -> usize {
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
    fn many_names_make_a_short_hint() {
        let names = vec!["x".repeat(100); 1000];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = suggest("y", &names);
        assert!(hint.ends_with("and 960 more"), "{hint}");
        assert!(hint.len() < 4_000);
    }

    #[test]
    fn only_a_similar_name_is_suggested() {
        let known = ["stretch", "crop_to_aspect"];
        assert_eq!(nearest("strech", &known), Some("stretch"));
        assert_eq!(nearest("letterbox", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }
}
