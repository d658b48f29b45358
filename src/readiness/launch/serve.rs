//! The options of `dermal serve` at its start: its words and the environment, read as the program
//! reads them.

use super::shell::{Value, Word};
use crate::readiness::image::env::Env;

/// An option of `dermal serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name with dashes.
    pub name: String,
    /// Whether a value follows.
    pub takes_value: bool,
}

/// The options that `dermal serve` gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serve {
    /// The word that names the artifact.
    pub(crate) model: Option<Word>,
    /// Options with their values.
    pub(crate) options: Vec<(String, Option<Word>)>,
    /// Words that are not options of it.
    pub(crate) unknown: Vec<String>,
    /// Options without their value.
    pub(crate) without_value: Vec<String>,
}

/// A port, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// This one, whatever the host sets.
    Fixed(u16),
    /// The value of PORT, which is known.
    Variable(u16),
    /// The value of PORT, which only the host knows.
    Given,
    /// The server's own default, because nothing sets a port.
    Default(u16),
    /// Unknown.
    Unknown,
    /// Not a number: the server refuses it.
    Bad(String),
}

/// The port on which the server listens if none is set.
pub(crate) const DEFAULT_PORT: u16 = 8080;

impl Port {
    /// The number, if it is known.
    pub(crate) fn number(&self) -> Option<u16> {
        match self {
            Self::Fixed(port) | Self::Variable(port) | Self::Default(port) => Some(*port),
            _ => None,
        }
    }
}

impl Serve {
    pub(crate) fn read(words: &[Word], flags: &[Flag]) -> Self {
        let mut serve = Self::default();
        let mut words = words.iter().peekable();
        let mut only_words = false;
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            if text == "--" && !only_words {
                only_words = true;
                continue;
            }
            if only_words || !text.starts_with('-') {
                match serve.model {
                    None => serve.model = Some(word.clone()),
                    Some(_) => serve.unknown.push(text.to_owned()),
                }
                continue;
            }
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => {
                    let value = Word {
                        text: value.to_owned(),
                        runtime: word.runtime,
                    };
                    (name, Some(value))
                }
                None => (text, None),
            };
            match flags.iter().find(|flag| flag.name == name) {
                Some(flag) if flag.takes_value && value.is_none() => {
                    let is_value = |next: &&Word| !next.text.starts_with("--");
                    match words.next_if(|next| is_value(next)) {
                        Some(value) => serve.options.push((name.to_owned(), Some(value.clone()))),
                        None => serve.without_value.push(name.to_owned()),
                    }
                }
                Some(_) => serve.options.push((name.to_owned(), value)),
                None if word.runtime => {}
                None => serve.unknown.push(name.to_owned()),
            }
        }
        let named = serve.options.iter().find(|(name, _)| name == "--model");
        if let (None, Some((_, value))) = (&serve.model, named) {
            serve.model.clone_from(value);
        }
        serve
    }

    /// Whether an option is given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| option == name)
    }

    /// An option's value.
    pub(crate) fn value(&self, name: &str) -> Option<&Word> {
        let option = self.options.iter().rev().find(|(option, _)| option == name);
        option.and_then(|(_, value)| value.as_ref())
    }

    /// `--bind` or DERMAL_BIND.
    pub(crate) fn bind(&self, env: &Env) -> Option<Word> {
        self.value("--bind")
            .cloned()
            .or_else(|| from_env(env, "DERMAL_BIND"))
    }

    /// The port that is bound: `--bind`'s, else `--port`'s, else PORT's.
    pub(crate) fn port(&self, env: &Env) -> Port {
        let bind = self.bind(env);
        if let Some(bind) = &bind
            && let Some(port) = parts(&bind.text).1
        {
            return said(port, bind.runtime);
        }
        if let Some(port) = self.value("--port") {
            return said(&port.text, port.runtime);
        }
        match env.get("PORT") {
            Value::Runtime => Port::Given,
            Value::Known(text) if !text.is_empty() => match said(&text, false) {
                Port::Fixed(port) => Port::Variable(port),
                other => other,
            },
            _ => Port::Default(DEFAULT_PORT),
        }
    }

    /// The model: the word, or else DERMAL_MODEL.
    pub(crate) fn model(&self, env: &Env) -> Option<Word> {
        self.model.clone().or_else(|| from_env(env, "DERMAL_MODEL"))
    }
}

fn from_env(env: &Env, name: &str) -> Option<Word> {
    match env.get(name) {
        Value::Known(text) if !text.is_empty() => Some(Word::literal(text)),
        Value::Runtime => Some(Word {
            text: format!("${name}"),
            runtime: true,
        }),
        _ => None,
    }
}

fn said(text: &str, runtime: bool) -> Port {
    if runtime {
        let given = matches!(text, "$PORT" | "${PORT}");
        return if given { Port::Given } else { Port::Unknown };
    }
    text.parse()
        .map_or_else(|_| Port::Bad(text.to_owned()), Port::Fixed)
}

/// An address, and a port if it has one.
pub(crate) fn parts(bind: &str) -> (&str, Option<&str>) {
    if let Some(at) = bind.find('$') {
        // `0.0.0.0:${PORT:-8080}`: the colons inside the variable do not separate a port.
        let before = &bind[..at];
        return match before.strip_suffix(':') {
            Some(address) => (address, Some(&bind[at..])),
            None => (bind, None),
        };
    }
    // The colons of a bare IPv6 address do not separate a port.
    let bare = bind.ends_with(']') || bind.matches(':').count() > 1 && !bind.contains("]:");
    match bind.rsplit_once(':') {
        Some((address, port)) if !bare => (address, Some(port)),
        _ => (bind, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::shell::{literal, split};
    use super::*;

    fn read(text: &str) -> Serve {
        let names = ["--bind", "--port", "--budget"];
        let mut flags = names.map(|name| Flag {
            name: name.to_owned(),
            takes_value: true,
        });
        flags[2].name = "--lazy".to_owned();
        flags[2].takes_value = false;
        Serve::read(&literal(&split(text)), &flags)
    }

    #[test]
    fn address_and_port_are_found_wherever_they_are_said() {
        let env = Env::default();
        for (options, address, port) in [
            ("", None, Port::Default(8080)),
            ("--bind 0.0.0.0:80", Some("0.0.0.0"), Port::Fixed(80)),
            ("--bind 0.0.0.0", Some("0.0.0.0"), Port::Default(8080)),
            ("--bind 0.0.0.0 --port 81", Some("0.0.0.0"), Port::Fixed(81)),
            ("--port=$PORT", None, Port::Bad("$PORT".into())),
            (
                "--bind 0.0.0.0:${PORT:-80}",
                Some("0.0.0.0"),
                Port::Bad("${PORT:-80}".into()),
            ),
            ("--bind [::1]:80 --port 81", Some("[::1]"), Port::Fixed(80)),
            ("--bind [::1]", Some("[::1]"), Port::Default(8080)),
            ("--bind ::1 --port 81", Some("::1"), Port::Fixed(81)),
            ("--port 99999", None, Port::Bad("99999".into())),
        ] {
            let serve = read(options);
            let bind = serve.bind(&env);
            assert_eq!(
                bind.as_ref().map(|bind| parts(&bind.text).0),
                address,
                "{options}"
            );
            assert_eq!(serve.port(&env), port, "{options}");
        }
    }

    #[test]
    fn the_environment_says_what_no_word_says() {
        let mut env = Env::default();
        env.set("PORT", Value::Known("90".to_owned()), "f", 1);
        env.set("DERMAL_MODEL", Value::Known("m".to_owned()), "f", 2);
        env.set("DERMAL_BIND", Value::Known("127.0.0.1".to_owned()), "f", 3);
        let serve = read("");
        assert_eq!(serve.port(&env), Port::Variable(90));
        assert_eq!(serve.model(&env), Some(Word::literal("m")));
        assert_eq!(serve.bind(&env), Some(Word::literal("127.0.0.1")));
        env.set("PORT", Value::Runtime, "f", 1);
        assert_eq!(serve.port(&env), Port::Given);
        assert_eq!(
            read("other --bind [::]:1").model(&env),
            Some(Word::literal("other"))
        );
        assert_eq!(read("--port --lazy").without_value, ["--port"]);
    }
}
