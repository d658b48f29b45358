//! The public errors, as the sources declare them. They are formatted by rustfmt, so that indents
//! tell variants from their fields.

use super::*;

/// A public error type.
pub(super) struct Declared {
    pub file: String,
    /// The message of each variant; `None` for that of a wrapped error.
    pub templates: BTreeMap<String, Option<String>>,
}

/// All of them by name.
pub(super) fn errors() -> BTreeMap<String, Declared> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    let mut found = BTreeMap::new();
    for path in files {
        // The stand-in of a build without gradients.
        if path.ends_with("reference/absent.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (i, derive) in text.match_indices("thiserror::Error") {
            let line = &text[text[..i].rfind('\n').unwrap_or(0)..][1..];
            if !line.starts_with("#[derive(") {
                continue;
            }
            if let Some((name, templates)) = declaration(&text[i + derive.len()..]) {
                let file = path.display().to_string();
                let twice = found.insert(name.clone(), Declared { file, templates });
                assert!(twice.is_none(), "two errors are named {name}");
            }
        }
    }
    found
}

/// The type that follows a derive, if other rooms can see it.
fn declaration(text: &str) -> Option<(String, BTreeMap<String, Option<String>>)> {
    let mut templates = BTreeMap::new();
    let mut name = None;
    let mut attribute: Option<String> = None;
    let mut message = None;
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .collect();
        let indent = line.len() - line.trim_start().len();
        if let Some(attribute) = &mut attribute {
            *attribute += line.trim_start();
        } else if indent <= 4 && line.trim_start().starts_with("#[error(") {
            attribute = Some(line.trim_start().to_owned());
        }
        if let Some(whole) = attribute.take_if(|a| a.ends_with(")]")) {
            message = Some(template(&whole));
            continue;
        }
        if attribute.is_some() || line.trim_start().starts_with("//") {
            continue;
        }
        if indent == 0 && name.is_none() && (line.contains("enum ") || line.contains("struct ")) {
            if !line.starts_with("pub ") && !line.starts_with("pub(crate) ") {
                return None;
            }
            let at = words.iter().position(|w| ["enum", "struct"].contains(w))?;
            name = Some(words[at + 1].to_owned());
            if words[at] == "struct" {
                templates.insert(words[at + 1].to_owned(), message.take()?);
                break;
            }
        } else if indent == 4 && line.trim_start().starts_with(char::is_uppercase) {
            templates.insert(words[0].to_owned(), message.take()?);
        } else if line == "}" {
            break;
        }
    }
    Some((name?, templates))
}

/// The first text of an `#[error(...)]`; `None` for `transparent`.
fn template(attribute: &str) -> Option<String> {
    let quoted = attribute.split_once('"')?.1;
    let mut text = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' => return Some(text),
            // A line that goes on: its indent was taken off before.
            '\\' if characters.peek().is_some_and(|&c| c != '"') => {}
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    panic!("the text does not end: {attribute}");
}

/// What a message puts in the places of its template, in order; `None` if it is not of that form.
/// Places side by side are one.
pub(super) fn filled<'a>(template: &str, message: &'a str) -> Option<Vec<&'a str>> {
    let mut fixed = vec![String::new()];
    let mut characters = template.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '{' | '}' if characters.peek() == Some(&c) => {
                characters.next();
                fixed.last_mut()?.push(c);
            }
            '{' => {
                characters.by_ref().find(|&c| c == '}')?;
                fixed.push(String::new());
            }
            c => fixed.last_mut()?.push(c),
        }
    }
    let mut rest = message.strip_prefix(fixed[0].as_str())?;
    let mut places = Vec::new();
    for (i, text) in fixed.iter().enumerate().skip(1) {
        let last = i + 1 == fixed.len();
        let end = match (text.is_empty(), last) {
            (true, true) => rest.len(),
            (true, false) => continue,
            (false, true) => rest.len().checked_sub(text.len())?,
            (false, false) => rest.find(text.as_str())?,
        };
        places.push(&rest[..end]);
        rest = rest[end..].strip_prefix(text.as_str())?;
    }
    rest.is_empty().then_some(places)
}

#[test]
fn templates_are_read_and_compared() {
    let text = "\
    pub enum E {\n    /// No.\n    #[error(\"a `{x}` {{}}\")]\n    A {\n        x: u8,\n    },\n    \
    #[error(transparent)]\n    B(#[from] F),\n    #[error(\n        \"c {} \\\n         d{}\",\n        \
    1, 2\n    )]\n    C,\n}\n";
    let text = text.strip_prefix("    ").unwrap_or(text);
    let (name, templates) = declaration(&format!(")]\n{text}")).unwrap();
    assert_eq!(name, "E");
    assert_eq!(templates["A"].as_deref(), Some("a `{x}` {{}}"));
    assert_eq!(templates["B"], None);
    assert_eq!(templates["C"].as_deref(), Some("c {} d{}"));
    assert_eq!(filled("a `{x}` {{}}", "a `5` {}"), Some(vec!["5"]));
    assert_eq!(filled("c {} d{}", "c 1 d2"), Some(vec!["1", "2"]));
    assert_eq!(filled("{a}{b} c", "1 c"), Some(vec!["1"]));
    assert_eq!(filled("a {x}", "b 5"), None);
}
