//! Reads YAML into values that know their places.
//!
//! The parser is `granit-parser`, which gives a flat stream of events with their positions: it
//! builds no tree, never recurses, bounds its own nesting, and has no `unsafe`. The tree is built
//! here, because the cost of an alias is only known here.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar;
use super::value::{Entries, Located, Position, SyntaxError, SyntaxKind, Value, twice};
use super::{MAX_DEPTH, MAX_VALUES};

/// How to treat anchors (`&a`), aliases (`*a`) and merge keys (`<<`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aliases {
    /// Refuse them and tags by name: for our own files, which are short and need none. A text of
    /// several documents is refused, too.
    Refuse,
    /// Replace them by the values that they name: for files that other programs read. All copies
    /// together take at most 4 MB. Tags except `!!str` are ignored, and only the first of several
    /// documents is read, as most of those programs do.
    Expand,
}

/// Most bytes of all copies that anchors and aliases make: some 30,000 values.
const MAX_COPIED_BYTES: usize = 4 << 20;

/// Longest key, in characters. YAML itself allows 1024.
const MAX_KEY: usize = 1024;

/// Reads YAML.
///
/// # Errors
/// [`SyntaxError`], with its place.
pub fn yaml(text: &str, aliases: Aliases) -> Result<Located, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        simple_key_max_lookahead: MAX_KEY,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder {
        aliases,
        open: Vec::new(),
        anchors: HashMap::new(),
        values: 0,
        copied_bytes: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        if builder.take(event, position(&span))? == Next::Done {
            break;
        }
    }
    let nothing = || Located::new(Position { line: 1, column: 1 }, Value::Null);
    Ok(builder.root.unwrap_or_else(nothing))
}

fn position(span: &Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn syntax(error: &ScanError) -> SyntaxError {
    let at = Position {
        line: error.marker().line(),
        column: error.marker().col() + 1,
    };
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => SyntaxError::too_deep(at),
        _ => SyntaxError::invalid(at, super::shorten(&error.info())),
    }
}

#[derive(PartialEq)]
enum Next {
    More,
    Done,
}

/// A collection whose end has not been read yet.
struct Open {
    at: Position,
    anchor: usize,
    of: Collection,
    /// The elements of the collection so far.
    size: Size,
}

enum Collection {
    List(Vec<Located>),
    Map {
        entries: Entries,
        /// The key whose value comes next.
        key: Option<(Key, Position)>,
        /// The values of `<<`, in order.
        merged: Vec<Located>,
    },
}

enum Key {
    Text(String),
    Merge,
}

/// The memory of a copy of a value.
#[derive(Clone, Copy, Default)]
struct Size {
    bytes: usize,
    depth: usize,
}

struct Builder {
    aliases: Aliases,
    open: Vec<Open>,
    anchors: HashMap<usize, (Located, Size)>,
    values: usize,
    copied_bytes: usize,
    root: Option<Located>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Position) -> Result<Next, SyntaxError> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                if self.aliases == Aliases::Expand {
                    return Ok(Next::Done);
                }
                return Err(refused(at, "a second document (`---`)"));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_properties(at, anchor, tag.as_deref())?;
                let as_text = tag.as_deref().is_some_and(|tag| tag.suffix() == "str");
                let plain = style == ScalarStyle::Plain && !as_text;
                if self.takes_key() {
                    let key = if plain && text == "<<" {
                        if self.aliases == Aliases::Refuse {
                            return Err(refused(at, "a merge key (`<<`)"));
                        }
                        Key::Merge
                    } else {
                        Key::Text(text.clone().into_owned())
                    };
                    self.key(key, at)?;
                    if anchor > 0 {
                        let value = Located::new(at, Value::Text(text.into_owned()));
                        self.keep(anchor, &value, scalar_size(&value))?;
                    }
                    return Ok(Next::More);
                }
                let value = if plain {
                    Located::written(at, scalar::resolve(&text), &text)
                } else {
                    Located::new(at, Value::Text(text.into_owned()))
                };
                let size = scalar_size(&value);
                self.keep(anchor, &value, size)?;
                self.value(value, size)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_properties(at, anchor, tag.as_deref())?;
                self.start(at, anchor, Collection::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_properties(at, anchor, tag.as_deref())?;
                let of = Collection::Map {
                    entries: Entries::default(),
                    key: None,
                    merged: Vec::new(),
                };
                self.start(at, anchor, of)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(anchor) => {
                if self.aliases == Aliases::Refuse {
                    return Err(refused(at, "an alias (`*`)"));
                }
                self.copy(anchor, at)?;
            }
            Event::UnresolvedAlias(name) => {
                if self.aliases == Aliases::Refuse {
                    return Err(refused(at, "an alias (`*`)"));
                }
                let message = format!("there is no anchor `&{}`", super::shorten(&name));
                return Err(SyntaxError::invalid(at, message));
            }
            _ => {}
        }
        Ok(Next::More)
    }

    fn check_properties(
        &self,
        at: Position,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), SyntaxError> {
        if self.aliases == Aliases::Expand {
            return Ok(());
        }
        match tag {
            _ if anchor > 0 => Err(refused(at, "an anchor (`&`)")),
            Some(_) => Err(refused(at, "a tag (`!`)")),
            None => Ok(()),
        }
    }

    /// Whether the next node is a key.
    fn takes_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                of: Collection::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, key: Key, at: Position) -> Result<(), SyntaxError> {
        let Some(Open { of, size, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if let Collection::Map {
            entries, key: next, ..
        } = of
        {
            if let Key::Text(key) = &key {
                if entries.has(key) {
                    return Err(twice(at, key));
                }
                size.bytes += key.len();
            }
            *next = Some((key, at));
        }
        Ok(())
    }

    fn start(&mut self, at: Position, anchor: usize, of: Collection) -> Result<(), SyntaxError> {
        if self.takes_key() {
            return Err(refused(at, "a key that is a list or a block"));
        }
        // The place of a key's value is that of the key.
        let at = match self.open.last() {
            Some(Open {
                of: Collection::Map {
                    key: Some((_, at)), ..
                },
                ..
            }) => *at,
            _ => at,
        };
        self.open.push(Open {
            at,
            anchor,
            of,
            size: Size {
                bytes: size_of::<Located>(),
                depth: 1,
            },
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(Open {
            at,
            anchor,
            of,
            size,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let value = match of {
            Collection::List(items) => Value::List(items),
            Collection::Map {
                mut entries,
                merged,
                ..
            } => {
                for block in merged {
                    merge(&mut entries, block)?;
                }
                Value::Map(entries.list)
            }
        };
        let value = Located::new(at, value);
        self.keep(anchor, &value, size)?;
        self.value(value, size)
    }

    /// Stores the value that an anchor names.
    fn keep(&mut self, anchor: usize, value: &Located, size: Size) -> Result<(), SyntaxError> {
        if anchor > 0 {
            self.pay(size, value.position())?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok(())
    }

    /// Counts the bytes of a copy, before it is made.
    fn pay(&mut self, size: Size, at: Position) -> Result<(), SyntaxError> {
        self.copied_bytes = self.copied_bytes.saturating_add(size.bytes);
        if self.copied_bytes > MAX_COPIED_BYTES || self.open.len() + size.depth > MAX_DEPTH {
            let message = "its anchors and aliases expand to more than this program reads";
            return Err(SyntaxError::new(SyntaxKind::TooLarge, at, message));
        }
        Ok(())
    }

    /// Puts a copy of the anchor's value in place of the alias.
    fn copy(&mut self, anchor: usize, at: Position) -> Result<(), SyntaxError> {
        let Some(&(_, size)) = self.anchors.get(&anchor) else {
            return Err(SyntaxError::invalid(
                at,
                "an alias inside of its own anchor",
            ));
        };
        self.pay(size, at)?;
        let value = self.anchors[&anchor].0.clone();
        if self.takes_key() {
            let Value::Text(key) = value.value else {
                return Err(refused(at, "a key that is a list or a block"));
            };
            return self.key(Key::Text(key), at);
        }
        self.value(value.place(at), size)
    }

    /// Adds a complete value to the open collection, or makes it the document.
    fn value(&mut self, value: Located, size: Size) -> Result<(), SyntaxError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(SyntaxError::too_many(value.position()));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        open.size.bytes = open.size.bytes.saturating_add(size.bytes);
        open.size.depth = open.size.depth.max(size.depth + 1);
        match &mut open.of {
            Collection::List(items) => items.push(value),
            Collection::Map {
                entries,
                key,
                merged,
            } => match key.take() {
                Some((Key::Text(key), at)) => entries.add(key, value.place(at)),
                Some((Key::Merge, at)) => {
                    if !merged.is_empty() {
                        return Err(twice(at, "<<"));
                    }
                    match value.value {
                        Value::List(blocks) => merged.extend(blocks),
                        _ => merged.push(value),
                    }
                }
                None => {}
            },
        }
        Ok(())
    }
}

/// Adds the keys of a block that are not there yet: written keys win over merged ones, and an
/// earlier block wins over a later one.
fn merge(entries: &mut Entries, block: Located) -> Result<(), SyntaxError> {
    let at = block.position();
    let Value::Map(list) = block.value else {
        let message = "a merge key (`<<`) takes a block of keys or a list of them";
        return Err(SyntaxError::invalid(at, message));
    };
    for (key, value) in list {
        if !entries.has(&key) {
            entries.add(key, value);
        }
    }
    Ok(())
}

/// The memory of a value that is not a collection.
fn scalar_size(value: &Located) -> Size {
    let text = value.text().map_or(0, str::len);
    Size {
        bytes: std::mem::size_of::<Located>() + text,
        depth: 0,
    }
}

fn refused(at: Position, what: &str) -> SyntaxError {
    let message = format!("{what} is not supported; put it in quotes if it is a text");
    SyntaxError::new(SyntaxKind::Refused, at, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(text: &str) -> Result<Located, SyntaxError> {
        yaml(text, Aliases::Refuse)
    }

    fn expand(text: &str) -> Result<Located, SyntaxError> {
        yaml(text, Aliases::Expand)
    }

    /// The value that `serde_yaml` makes of a text. Recipes had this meaning before.
    fn same(ours: &Located, theirs: &serde_yaml::Value) -> bool {
        match (&ours.value, theirs) {
            (Value::Null, serde_yaml::Value::Null) => true,
            (Value::Bool(a), serde_yaml::Value::Bool(b)) => a == b,
            (Value::Number(a), serde_yaml::Value::Number(b)) => Some(*a) == b.as_f64(),
            (Value::Text(a), serde_yaml::Value::String(b)) => a == b,
            (Value::List(a), serde_yaml::Value::Sequence(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Value::Map(a), serde_yaml::Value::Mapping(b)) => {
                let matches = |(key, value): &(String, Located)| {
                    b.get(key.as_str()).is_some_and(|b| same(value, b))
                };
                a.len() == b.len() && a.iter().all(matches)
            }
            _ => false,
        }
    }

    #[test]
    fn texts_mean_what_they_mean_to_serde_yaml() {
        for text in [
            "",
            "# nothing",
            "a: b & c\nd: 2 * 3\ne: really!",
            "quoted: '*a'\nother: \"&b \\\" *c\"",
            "list:\n  - a\n  - {b: [1, -2], c: ~}",
            "# *comment &x\na: b # !c",
            "it: patient's\nb: \"two\n  *lines\"",
            "a: http://example.org/*x",
            "a:\n- b: 1\n- b: 2\nc: 3\n",
            "a: |\n  one\n  two\n\nb: >-\n  one\n  two\n",
            "a: |+\n  one\n\nb: |2\n   x\n",
            "{a: 1, 'b': [x, \"y\"], c: {}}",
            "--- \na: b\n...\n",
            "%YAML 1.2\n---\na: b",
            "a: 'x\n  y'\r\nb: 1\r\n",
            "? a\n: b\n",
            "a: [x,\ny]",
            "a: \"tab\\t\\u00e9\\x41\"",
            "mean: [0.485, 0.456, 0.406]\nstd: 1",
            "a:\n  b:\n    c: d\n  e: f\n",
        ] {
            let theirs: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
            for ours in [refuse(text), expand(text)] {
                let ours = ours.unwrap_or_else(|error| panic!("{text}: {error}"));
                assert!(same(&ours, &theirs), "{text}: {ours:?}, not {theirs:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_is_named_with_its_place() {
        for (text, says) in [
            ("a: &x 1\nb: *x", "line 1, column 7: an anchor"),
            ("a: 1\nb: *x", "line 2, column 4: an alias"),
            ("a: [1, *x]", "an alias"),
            ("{a: {b,&x c}}", "an anchor"),
            ("- - - &a b", "an anchor"),
            ("a: !!binary aaaa", "a tag"),
            ("a: !x [1]", "a tag"),
            ("a: {x: 1}\n<<: {b: 1}", "line 2, column 1: a merge key"),
            ("<<: *x", "a merge key"),
            ("? [a]\n: b", "a key that is a list"),
            ("a: 1\n---\nb: 2", "a second document"),
        ] {
            let error = refuse(text).unwrap_err();
            assert_eq!(error.kind, SyntaxKind::Refused, "{text}: {error}");
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_no_reader_takes_is_named_with_its_place() {
        for (text, line) in [
            ("a: [1\nb: 2\n", 2),
            ("a: 1\nb: \"x\n", 2),
            ("a: 1\na: 2\n", 2),
            ("a: b: c", 1),
            ("\tb: c\n\ta", 1),
            ("a: 1\n- b\n", 2),
        ] {
            let error = expand(text).unwrap_err();
            assert_eq!(error.kind, SyntaxKind::Invalid, "{text}: {error}");
            assert_eq!(error.line, line, "{text}: {error}");
        }
        // Quoted, a merge key is a key.
        let text = "'<<': 1";
        assert_eq!(refuse(text).unwrap().get("<<").unwrap().number(), Some(1.0));
    }

    #[test]
    fn aliases_and_merges_can_be_expanded() {
        let text = "\
base: &base
  plan: starter
  region: oregon
web:
  <<: *base
  plan: free
list: [&one 1, *one, {<<: [*base, {plan: x, extra: y}]}]
*one : key
";
        let text = text.replace("*one : key\n", "");
        let root = expand(&text).unwrap();
        let web = root.get("web").unwrap();
        assert_eq!(web.get("plan").unwrap().text(), Some("free"));
        assert_eq!(web.get("region").unwrap().text(), Some("oregon"));
        let list = root.get("list").unwrap().items();
        assert_eq!(list[1].number(), Some(1.0));
        assert_eq!(list[2].get("plan").unwrap().text(), Some("starter"));
        assert_eq!(list[2].get("extra").unwrap().text(), Some("y"));
        assert_eq!(
            expand("a: !x b").unwrap().get("a").unwrap().text(),
            Some("b")
        );
        let text = expand("a: !!str 1").unwrap();
        assert_eq!(text.get("a").unwrap().text(), Some("1"));
        for text in ["a: *none", "a: &a [*a]", "<<: 3", "<<: {a: 1}\n<<: {b: 1}"] {
            assert_eq!(
                expand(text).unwrap_err().kind,
                SyntaxKind::Invalid,
                "{text}"
            );
        }
    }

    #[test]
    fn bombs_and_towers_are_refused_at_once() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..30 {
            let before = format!("*a{}, ", i - 1).repeat(9);
            laughs += &format!("a{i}: &a{i} [{before}]\n");
        }
        let wide = format!(
            "mean: &a [{}]\nstd: [{}]\n",
            "0, ".repeat(9000),
            "*a, ".repeat(9000)
        );
        let text = format!("a: &a {}\nb: [{}]", "x".repeat(30_000), "*a, ".repeat(9000));
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for i in 1..2000 {
            chain += &format!("a{i}: &a{i} [*a{}]\n", i - 1);
        }
        // Anchors inside of anchors, all of them around the same list.
        let nested = format!(
            "{}{}{}",
            "&a [".repeat(60),
            "x, ".repeat(15_000),
            "]".repeat(60)
        );
        for bomb in [laughs, wide, text, chain, nested] {
            assert_eq!(refuse(&bomb).unwrap_err().kind, SyntaxKind::Refused);
            assert_eq!(expand(&bomb).unwrap_err().kind, SyntaxKind::TooLarge);
        }
        let mut stairs = String::new();
        for i in 0..300 {
            stairs += &" ".repeat(i);
            stairs += "a:\n";
        }
        for tower in [
            "[".repeat(60_000),
            "{".repeat(60_000),
            "{a: ".repeat(15_000),
            "- ".repeat(30_000),
            "? ".repeat(30_000),
            stairs,
        ] {
            for aliases in [Aliases::Refuse, Aliases::Expand] {
                let error = yaml(&tower, aliases).unwrap_err();
                let start = &tower[..8];
                assert_ne!(error.kind, SyntaxKind::Invalid, "{start}: {error}");
            }
        }
    }
}
