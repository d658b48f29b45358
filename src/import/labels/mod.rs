//! Class names in the forms that people have: a list on the command line, or a file of many kinds.
//!
//! In: `a,b,c`, or a file with one name a line (with or without numbers from 0, in any order), one
//! line with commas, a JSON or YAML list, or a map between names and numbers such as Keras'
//! `class_indices`. Out: names in the order of the outputs, all different. A file that could be
//! read in two ways is refused, since a wrong class name is worse than none.
//!
//! Not here: how many names the model needs (the caller of [`check_count`] says it).

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::hint::{Arguments, Hint, named};
use crate::text::{self, Aliases, Located, Value, shorten};

#[cfg(test)]
mod tests;

/// Longest label file that is read: 20,000 classes of 50 letters.
const MAX_BYTES: u64 = 1 << 20;

/// Endings that show that a name was meant as a file, even if the file does not exist.
const ENDINGS: [&str; 10] = [
    ".txt", ".json", ".yaml", ".yml", ".csv", ".tsv", ".npy", ".pkl", ".pickle", ".pbtxt",
];

/// Why labels cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The path does not exist.
    #[error("cannot read labels: there is no file `{0}`")]
    NoFile(PathBuf),
    /// The path is a folder.
    #[error("cannot read labels: `{0}` is a folder")]
    Folder(PathBuf),
    /// The system refuses to read the file.
    #[error("cannot read labels `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The form of the labels is not understood, or could mean two things.
    #[error("labels {place}: {problem}")]
    Form {
        /// The place: ``in `labels.txt` ``.
        place: String,
        /// What is not understood.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// Too few or too many.
    #[error("the model has {expected} classes{why}, but {got} labels were given: {shown}")]
    Count {
        /// Classes of the model.
        expected: usize,
        /// Why it has that many, as ` (...)`, if that is not obvious.
        why: &'static str,
        /// Given labels.
        got: usize,
        /// The labels, shortened.
        shown: String,
    },
    /// A class without a name.
    #[error("label {0} is empty")]
    Empty(usize),
    /// Two classes have the same name.
    #[error("label `{label}` is given twice, for outputs {first} and {second}")]
    Twice {
        /// The name.
        label: String,
        /// One output.
        first: usize,
        /// Another one.
        second: usize,
    },
    /// A name that cannot be shown.
    #[error("label {0} has a character that cannot be printed")]
    Unprintable(usize),
}

impl Hint for LabelsError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NoFile(_) => "no_labels_file",
            Self::Folder(_) => "labels_are_a_folder",
            Self::Io { .. } => "io",
            Self::Form { .. } => "labels_form",
            Self::Count { .. } => "label_count",
            Self::Empty(_) | Self::Twice { .. } | Self::Unprintable(_) => "label",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoFile(_) => {
                "check the path, or give the names themselves: `--labels a,b,c`; a single name with \
                 a dot or slash goes into a file"
            }
            Self::Folder(_) => {
                "give the names, `--labels a,b,c`: Keras numbers the folders of a training set in \
                 the order of their sorted names"
            }
            Self::Io { .. } => "check the path and its permissions",
            Self::Form { hint, .. } => hint,
            Self::Count { .. } => {
                "give one label a class with `--labels`, in the order of the outputs"
            }
            Self::Empty(_) => "give every class a name",
            Self::Twice { .. } => "class names must differ, or answers cannot be told apart",
            Self::Unprintable(_) => "write the name with letters, digits and spaces",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NoFile(path) | Self::Folder(path) | Self::Io { path, .. } => named!(path),
            Self::Form { place, problem, .. } => named!(place, problem),
            Self::Count {
                expected,
                why,
                got,
                shown,
            } => named!(expected, why, got, shown),
            Self::Empty(index) | Self::Unprintable(index) => named!(index),
            Self::Twice {
                label,
                first,
                second,
            } => named!(label, first, second),
        }
    }
}

/// What is wrong with a text, before its origin is known.
#[derive(Debug)]
struct Problem {
    what: String,
    hint: &'static str,
}

const ONE_A_LINE: &str = "give a text file with one class name a line, in the order of the outputs";
const QUOTE: &str = "give the names as a JSON list: `[\"first\", \"second\"]`";
const NUMBERING: &str =
    "number all lines from 0 to one less than the number of classes, or leave all numbers out";

fn problem<T>(what: impl Into<String>, hint: &'static str) -> Result<T, Problem> {
    Err(Problem {
        what: what.into(),
        hint,
    })
}

/// Labels from an option's value: a file's path, or the names with commas between them.
///
/// # Errors
/// [`LabelsError`] if the file cannot be read or understood, or names are empty or repeated.
pub fn from_option(given: &OsStr) -> Result<Vec<String>, LabelsError> {
    let path = Path::new(given);
    if path.is_dir() {
        return Err(LabelsError::Folder(path.to_owned()));
    }
    // Also a pipe: `--labels <(...)`.
    if path.exists() {
        return from_file(path);
    }
    let text = given.to_string_lossy();
    let lower = text.to_lowercase();
    let names_a_file = ENDINGS.iter().any(|ending| lower.ends_with(ending));
    let structured = text.trim_start().starts_with(['[', '{']);
    let one_name = !text.contains(',');
    if !structured && (names_a_file || (one_name && text.contains(['.', '/', '\\']))) {
        return Err(LabelsError::NoFile(path.to_owned()));
    }
    let labels = if structured {
        from_text(&text, None)
    } else {
        separated(&text, ',')
    };
    finish(labels, || "on the command line".to_owned())
}

/// Labels from a file.
///
/// # Errors
/// As [`from_option`].
pub fn from_file(path: &Path) -> Result<Vec<String>, LabelsError> {
    let io = |source| LabelsError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    from_bytes(&bytes, path)
}

/// Labels from a file's content. `name` is its path or name; its ending may show the form.
///
/// # Errors
/// As [`from_option`].
pub fn from_bytes(bytes: &[u8], name: &Path) -> Result<Vec<String>, LabelsError> {
    let ending = name.extension().and_then(OsStr::to_str);
    let ending = ending.map(str::to_ascii_lowercase);
    let labels = decode(bytes).and_then(|text| from_text(&text, ending.as_deref()));
    finish(labels, || format!("in `{}`", name.display()))
}

/// Whether there are as many labels as classes; `why` says so if that is not obvious.
///
/// # Errors
/// [`LabelsError::Count`].
pub fn check_count(
    labels: &[String],
    expected: usize,
    why: &'static str,
) -> Result<(), LabelsError> {
    if labels.len() == expected {
        return Ok(());
    }
    Err(LabelsError::Count {
        expected,
        why,
        got: labels.len(),
        shown: shorten(&labels.join(", ")),
    })
}

fn finish(
    labels: Result<Vec<String>, Problem>,
    place: impl FnOnce() -> String,
) -> Result<Vec<String>, LabelsError> {
    let labels = labels.map_err(|Problem { what, hint }| LabelsError::Form {
        place: place(),
        problem: what,
        hint,
    })?;
    let mut seen = HashMap::new();
    for (i, label) in labels.iter().enumerate() {
        if label.is_empty() {
            return Err(LabelsError::Empty(i));
        }
        if label.chars().any(|c| c.is_control() || c == '\u{feff}') {
            return Err(LabelsError::Unprintable(i));
        }
        if let Some(first) = seen.insert(label, i) {
            return Err(LabelsError::Twice {
                label: shorten(label),
                first,
                second: i,
            });
        }
    }
    Ok(labels)
}

/// Bytes to text: UTF-8 with or without a byte order mark, UTF-16 with one.
fn decode(bytes: &[u8]) -> Result<String, Problem> {
    if bytes.len() as u64 > MAX_BYTES {
        return problem(
            format!("the file has more than {MAX_BYTES} bytes, too much for labels"),
            ONE_A_LINE,
        );
    }
    let is = |found: &str| problem(format!("the file is {found}, not text"), ONE_A_LINE);
    let utf16 = |little: bool| {
        let unit = |pair: &[u8]| match *pair {
            [a, b] if little => u16::from_le_bytes([a, b]),
            [a, b] => u16::from_be_bytes([a, b]),
            _ => 0xD800, // half a character: not valid
        };
        String::from_utf16(&bytes[2..].chunks(2).map(unit).collect::<Vec<_>>())
    };
    match bytes {
        [] => return problem("the file is empty", ONE_A_LINE),
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => return is("UTF-32"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return utf16(bytes[0] == 0xFF).or_else(|_| is("damaged UTF-16"));
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            return problem(
                "the file is a NumPy array, which is not read",
                "write its names into a text file: \
                 `open('labels.txt', 'w').write('\\n'.join(map(str, np.load('labels.npy'))))`",
            );
        }
        [0x80, 2..=5, ..] => return pickle(),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => return is("a zip archive (.npz, .xlsx, ...)"),
        [0x1F, 0x8B, ..] => return is("gzip"),
        [0x89, b'H', b'D', b'F', ..] => return is("HDF5"),
        [0x89, b'P', b'N', b'G', ..] | [0xFF, 0xD8, ..] => return is("a picture"),
        [b'%', b'P', b'D', b'F', ..] => return is("a PDF"),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if ["(lp", "(dp", "]q", "}q", "cnumpy", "ccopy_reg"]
        .iter()
        .any(|start| bytes.starts_with(start.as_bytes()))
    {
        return pickle();
    }
    let zeros = bytes.split(|&byte| byte == 0).count() - 1;
    if zeros * 3 >= bytes.len() {
        return problem(
            "the file is UTF-16 without a byte order mark, or no text",
            "save it as UTF-8",
        );
    }
    if zeros > 0 {
        return is("binary data");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|&byte| byte == b'\n').count();
            problem(
                format!("line {line} is not UTF-8"),
                "save the file as UTF-8: in Notepad `Save as`, `Encoding`",
            )
        }
    }
}

fn pickle<T>() -> Result<T, Problem> {
    problem(
        "the file is a Python pickle, which is never read: it can run code",
        "write the names into a text file: `open('labels.txt', 'w').write('\\n'.join(labels))`",
    )
}

/// Names in a text whose file name ends in `ending`.
fn from_text(text: &str, ending: Option<&str>) -> Result<Vec<String>, Problem> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let Some(first) = lines.first() else {
        return problem("the file is empty", ONE_A_LINE);
    };
    let brackets = first.starts_with(['[', '{']);
    if ending == Some("json") || brackets {
        let item = match text::json(&text) {
            Ok(item) => item,
            Err(error) if ending == Some("json") => {
                return problem(format!("not valid JSON: {error}"), QUOTE);
            }
            // Python's `str(list)` has single quotes: YAML reads it, JSON does not.
            Err(_) => yaml(&text)?,
        };
        return structured(&item);
    }
    if first.starts_with('<') {
        return problem("the file is a web page or XML", ONE_A_LINE);
    }
    if lines.iter().any(|line| {
        let rest = line.strip_prefix("item");
        rest.is_some_and(|rest| rest.trim_start().starts_with('{'))
    }) {
        return problem("the file is a TensorFlow label map (.pbtxt)", ONE_A_LINE);
    }
    let listed = |line: &&str| line.starts_with("- ") || **line == *"---" || line.starts_with("# ");
    let key = first.split_once(':').map(|(key, _)| key.trim());
    if matches!(ending, Some("yaml" | "yml"))
        || lines.iter().all(listed)
        || key.is_some_and(|key| KEYS.contains(&key))
    {
        let item = yaml(&text)?;
        // To YAML, a file of plain lines is one text.
        if item.text().is_none() {
            return structured(&item);
        }
    }
    from_lines(&lines)
}

fn from_lines(lines: &[&str]) -> Result<Vec<String>, Problem> {
    if let [line] = lines {
        for separator in [',', ';', '\t'] {
            if line.contains(separator) {
                // `0,benign` is one numbered line.
                if let Some((0, name)) = leading_number(line)
                    && !name.contains(separator)
                {
                    return Ok(vec![unquote(name).to_owned()]);
                }
                return separated(line, separator);
            }
        }
    }
    let (last, before) = lines.split_last().ok_or_else(|| Problem {
        what: "there are none".into(),
        hint: ONE_A_LINE,
    })?;
    let mut lines = lines.to_vec();
    if !before.is_empty() && before.iter().all(|line| line.ends_with(',')) {
        lines = before
            .iter()
            .chain([last])
            .map(|line| line.strip_suffix(',').unwrap_or(line).trim_end())
            .collect();
    }
    if lines.len() > 2 && is_header(lines[0]) && lines[1..].iter().all(|line| !is_header(line)) {
        lines.remove(0);
    }
    if let Some(ordered) = by_numbers(&lines)? {
        return columns(ordered);
    }
    columns(lines.iter().map(|&line| line.to_owned()).collect())
}

/// Refuses a table whose other columns would become part of the names; removes quotes.
fn columns(labels: Vec<String>) -> Result<Vec<String>, Problem> {
    let quoted = labels
        .iter()
        .all(|label| unquote(label).len() < label.len());
    if quoted {
        return Ok(labels
            .iter()
            .map(|label| unquote(label).to_owned())
            .collect());
    }
    for separator in ['\t', ',', ';'] {
        let count = |label: &String| label.matches(separator).count();
        let first = labels.first().map_or(0, count);
        if labels.len() > 1 && first > 0 && labels.iter().all(|label| count(label) == first) {
            return problem(
                format!(
                    "every line has {} columns, such as `{}`",
                    first + 1,
                    shorten(&labels[0])
                ),
                QUOTE,
            );
        }
    }
    Ok(labels)
}

/// `a, b, c`, with or without quotes around each.
fn separated(text: &str, separator: char) -> Result<Vec<String>, Problem> {
    let mut items: Vec<&str> = text.split(separator).map(str::trim).collect();
    if items.len() > 1 && items.last().is_some_and(|last| last.is_empty()) {
        items.pop();
    }
    let open = |item: &&&str| {
        let item = unquote(item);
        item.starts_with('"') || item.ends_with('"')
    };
    if let Some(item) = items.iter().find(open) {
        return problem(
            format!("the quotes in `{}` do not end", shorten(item)),
            QUOTE,
        );
    }
    let quoted = items.iter().all(|item| unquote(item).len() < item.len());
    Ok(items
        .iter()
        .map(|item| if quoted { unquote(item) } else { item })
        .map(str::to_owned)
        .collect())
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner;
        }
    }
    text
}

/// A table's first line, such as `index,label`.
fn is_header(line: &str) -> bool {
    const WORDS: [&str; 12] = [
        "",
        "id",
        "idx",
        "index",
        "class",
        "class_id",
        "class_index",
        "class_name",
        "label",
        "labels",
        "name",
        "number",
    ];
    let mut fields = line.split([',', ';', '\t']).map(|field| {
        let field = unquote(field.trim());
        field.to_ascii_lowercase()
    });
    line.contains([',', ';', '\t']) && fields.all(|field| WORDS.contains(&field.as_str()))
}

/// The characters between a number and a name, if they have no other meaning.
const BETWEEN: [char; 6] = [' ', '\t', ':', ',', ';', '='];

/// `3: name` as `(3, "name")`.
fn leading_number(line: &str) -> Option<(usize, &str)> {
    let line = unquote(line);
    let digits = line.find(|c: char| !c.is_ascii_digit())?;
    let number = line.get(..digits)?.parse().ok()?;
    let rest = &line[digits..];
    // `0.` and `0)` number a line only before a space: `0.5 mm` is a name.
    let rest = rest
        .strip_prefix(['.', ')'])
        .filter(|rest| rest.starts_with([' ', '\t']))
        .unwrap_or(rest);
    let name = rest.trim_start_matches(BETWEEN);
    (name.len() < rest.len() && !name.is_empty()).then_some((number, name))
}

/// `name: 3` as `(3, "name", whether only a space is between)`.
fn trailing_number(line: &str) -> Option<(usize, &str, bool)> {
    let line = unquote(line);
    let start = line.rfind(|c: char| !c.is_ascii_digit())?;
    let width = line[start..].chars().next()?.len_utf8();
    let number = line[start + width..].parse().ok()?;
    let before = &line[..start + width];
    let name = before.trim_end_matches(BETWEEN);
    let between = &before[name.len()..];
    let spaced = between.chars().all(|c| c == ' ');
    (!between.is_empty() && !name.is_empty()).then_some((number, name, spaced))
}

/// The names of numbered lines in the order of their numbers; `None` if lines are not numbered.
fn by_numbers(lines: &[&str]) -> Result<Option<Vec<String>>, Problem> {
    let differ = |names: &[&str]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    let leading: Vec<Option<(usize, &str)>> = lines.iter().map(|l| leading_number(l)).collect();
    let own = leading.iter().enumerate();
    let own = own.filter(|(i, found)| found.is_some_and(|(number, _)| number == *i));
    let own = own.count();
    if let Some(leading) = leading.into_iter().collect::<Option<Vec<_>>>() {
        let (numbers, names): (Vec<usize>, Vec<&str>) = leading.into_iter().unzip();
        // `1 euro`, `2 euro`: the numbers belong to the names.
        if differ(&names) {
            let counted = numbers.contains(&0) || is_count_from(&numbers, 1);
            return if counted {
                in_order(numbers.into_iter().zip(names)).map(Some)
            } else {
                Ok(None)
            };
        }
    } else if own > 1 {
        return problem("only some lines are numbered", NUMBERING);
    }
    let trailing: Option<Vec<_>> = lines.iter().map(|line| trailing_number(line)).collect();
    let Some(trailing) = trailing.filter(|_| lines.len() > 1) else {
        return Ok(None);
    };
    let names: Vec<&str> = trailing.iter().map(|t| t.1).collect();
    let numbers: Vec<usize> = trailing.iter().map(|t| t.0).collect();
    let spaced = trailing.iter().all(|t| t.2);
    let counted = is_count_from(&numbers, 0) || is_count_from(&numbers, 1);
    if !differ(&names) || (spaced && !counted) {
        return Ok(None);
    }
    in_order(numbers.into_iter().zip(names)).map(Some)
}

/// Whether the numbers are `start`, `start + 1`, ... in any order.
fn is_count_from(numbers: &[usize], start: usize) -> bool {
    let set: BTreeSet<usize> = numbers.iter().copied().collect();
    set.len() == numbers.len() && set.iter().copied().eq(start..start + numbers.len())
}

/// Names in the order of their numbers, which must be 0, 1, ... once each.
fn in_order<'a>(pairs: impl Iterator<Item = (usize, &'a str)>) -> Result<Vec<String>, Problem> {
    let mut pairs: Vec<(usize, &str)> = pairs.collect();
    let numbers: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
    if is_count_from(&numbers, 1) {
        return problem(
            format!(
                "they are numbered from 1 to {}, but outputs count from 0",
                numbers.len()
            ),
            "number from 0; or leave the numbers out, with the names in the order of the outputs",
        );
    }
    if !is_count_from(&numbers, 0) {
        let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        return problem(
            format!(
                "their numbers are {}, expected 0 to {} once each",
                shorten(&list.join(", ")),
                numbers.len().saturating_sub(1)
            ),
            NUMBERING,
        );
    }
    pairs.sort_by_key(|pair| pair.0);
    Ok(pairs
        .into_iter()
        .map(|(_, name)| unquote(name).to_owned())
        .collect())
}

/// The keys under which documents have their classes: `dataset.yaml` of YOLO, Teachable Machine's
/// `metadata.json`, Hugging Face's `config.json`.
const KEYS: [&str; 10] = [
    "labels",
    "label_names",
    "names",
    "classes",
    "class_names",
    "classNames",
    "class_indices",
    "class_to_idx",
    "id2label",
    "label2id",
];

/// As the number of an output.
fn index(item: &Located) -> Option<usize> {
    match item.text() {
        Some(text) => number_of(text),
        None => item.integer().and_then(|n| usize::try_from(n).ok()),
    }
}

fn number_of(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// As a class name. A whole number becomes its digits, as they are written.
fn name(item: &Located) -> Option<String> {
    match item.text() {
        Some(text) => Some(text.trim().to_owned()),
        None => item.integer().and_then(|_| item.as_env()),
    }
}

fn yaml(text: &str) -> Result<Located, Problem> {
    text::yaml(text, Aliases::Refuse).map_err(|error| Problem {
        what: format!("not valid JSON or YAML: {error}"),
        hint: QUOTE,
    })
}

fn structured(item: &Located) -> Result<Vec<String>, Problem> {
    let known = item.entries().iter().filter(|(key, value)| {
        let holds = matches!(value.value, Value::List(_) | Value::Map(_));
        holds && KEYS.contains(&key.as_str())
    });
    let mut found: Option<Vec<String>> = None;
    for (key, value) in known {
        let labels = list(value)?;
        if found.as_ref().is_some_and(|found| *found != labels) {
            return problem(
                format!("`{key}` says something else than the entry before it"),
                ONE_A_LINE,
            );
        }
        found = Some(labels);
    }
    found.map_or_else(|| list(item), Ok)
}

/// A list of names, or a map between names and numbers.
fn list(item: &Located) -> Result<Vec<String>, Problem> {
    match &item.value {
        Value::List(items) if items.is_empty() => problem("the list is empty", QUOTE),
        Value::List(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| match name(item) {
                Some(name) => Ok(name),
                None => problem(
                    format!("label {i} is {}, expected a name", item.describe()),
                    QUOTE,
                ),
            })
            .collect(),
        Value::Map(pairs) => map(pairs),
        _ => problem(
            format!(
                "expected a list of names, or a map of names and numbers, got {}",
                item.describe()
            ),
            QUOTE,
        ),
    }
}

/// Name to number, as in Keras' `class_indices`, or number to name.
fn map(pairs: &[(String, Located)]) -> Result<Vec<String>, Problem> {
    if pairs.is_empty() {
        return problem("the map is empty", QUOTE);
    }
    let keys: Option<Vec<usize>> = pairs.iter().map(|(key, _)| number_of(key)).collect();
    let values: Option<Vec<usize>> = pairs.iter().map(|(_, value)| index(value)).collect();
    match (keys, values) {
        (Some(keys), Some(values)) if keys != values => problem(
            "both sides of the map are numbers: it is not clear which one is the class's name",
            QUOTE,
        ),
        (Some(keys), _) => {
            let name = |(_, value): &(String, Located)| {
                name(value).map_or_else(
                    || problem(format!("expected a name, got {}", value.describe()), QUOTE),
                    Ok,
                )
            };
            let names = pairs.iter().map(name).collect::<Result<Vec<String>, _>>()?;
            in_order(keys.into_iter().zip(names.iter().map(String::as_str)))
        }
        (None, Some(values)) => {
            let names = pairs.iter().map(|(key, _)| key.trim());
            in_order(values.into_iter().zip(names))
        }
        (None, None) => problem(
            "the map is not between names and the numbers of outputs",
            "give a list, or `{\"first\": 0, \"second\": 1}`",
        ),
    }
}
