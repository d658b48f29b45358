//! The command that starts the server, wherever it is written: split into words, and judged.

use super::rules::{self, Findings};
use crate::text as suggest;

/// Where and how a command is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The file that says so.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Words, the shell's part taken off: `exec`, `NAME=value`, what comes before `&&`.
    pub words: Vec<String>,
    /// Whether a shell reads it: then it replaces `$PORT`.
    pub shell: bool,
    /// Whether the shell stays process 1: no `exec` in front, and a container's file.
    pub shell_stays: bool,
    /// Whether the platform gives the port in `$PORT`.
    pub port_given: bool,
}

impl Start {
    /// From text that a shell reads.
    #[must_use]
    pub fn of_shell(file: &str, line: usize, text: &str) -> Self {
        let mut words = split(text);
        // The last command of a chain is the one that stays.
        if let Some(at) = words.iter().rposition(|w| w == "&&" || w == ";") {
            words.drain(..=at);
        }
        if let [sh, c, inner] = words.as_slice()
            && ["sh", "bash", "/bin/sh", "/bin/bash"].contains(&sh.as_str())
            && matches!(c.as_str(), "-c" | "-lc")
        {
            return Self::of_shell(file, line, &inner.clone());
        }
        let mut exec = false;
        while let Some(first) = words.first() {
            let assigns = first.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            });
            if first == "exec" {
                exec = true;
            } else if !(assigns || first == "env") {
                break;
            }
            words.remove(0);
        }
        Self {
            file: file.to_owned(),
            line,
            words,
            shell: true,
            shell_stays: !exec,
            port_given: true,
        }
    }

    /// From a list of words that no shell reads.
    #[must_use]
    pub fn of_words(file: &str, line: usize, words: Vec<String>) -> Self {
        if let [sh, c, inner] = words.as_slice()
            && sh.ends_with("sh")
            && matches!(c.as_str(), "-c" | "-lc")
        {
            return Self::of_shell(file, line, inner);
        }
        Self {
            file: file.to_owned(),
            line,
            words,
            shell: false,
            shell_stays: false,
            port_given: true,
        }
    }

    /// `dermal serve`, read.
    #[must_use]
    pub fn serve(&self, flags: &[Flag]) -> Option<Serve> {
        let [program, command, rest @ ..] = self.words.as_slice() else {
            return None;
        };
        let name = program.rsplit('/').next().unwrap_or_default();
        (name == "dermal" && command == "serve").then(|| Serve::new(rest, flags))
    }
}

/// An option of `dermal serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// With its dashes.
    pub name: String,
    /// Whether a value follows.
    pub takes_value: bool,
}

/// What `dermal serve` is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serve {
    /// The artifact; the demo without one.
    pub model: Option<String>,
    /// Options with their values.
    pub options: Vec<(String, Option<String>)>,
    /// Words that are no option of it.
    pub unknown: Vec<String>,
}

impl Serve {
    fn new(words: &[String], flags: &[Flag]) -> Self {
        let mut serve = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                if serve.model.is_none() {
                    serve.model = Some(word.trim_start_matches("./").to_owned());
                } else {
                    serve.unknown.push(word.clone());
                }
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            match flags.iter().find(|flag| flag.name == name) {
                Some(flag) if flag.takes_value && value.is_none() => {
                    let value = words.next().cloned();
                    serve.options.push((name.to_owned(), value));
                }
                Some(_) => serve.options.push((name.to_owned(), value)),
                None => serve.unknown.push(name.to_owned()),
            }
        }
        serve
    }

    /// Whether an option is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| option == name)
    }

    /// An option's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let option = self.options.iter().rev().find(|(option, _)| option == name);
        option.and_then(|(_, value)| value.as_deref())
    }

    /// `--bind`: an address, and a port if it has one.
    fn bind(&self) -> Option<(&str, Option<&str>)> {
        let text = self.value("--bind")?;
        // The colons of a bare IPv6 address part no port off.
        let bare = text.ends_with(']') || text.matches(':').count() > 1 && !text.contains("]:");
        Some(match text.rsplit_once(':') {
            Some((address, port)) if !bare => (address, Some(port)),
            _ => (text, None),
        })
    }

    /// The address that is bound, if it is said.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.bind().map(|(address, _)| address)
    }

    /// The port that is bound, if it is said: `--bind`'s, or where that has none `--port`.
    #[must_use]
    pub fn port(&self) -> Option<&str> {
        let bound = self.bind().and_then(|(_, port)| port);
        bound.or(self.value("--port"))
    }
}

/// Paths at which the server answers a health check.
pub const HEALTH_PATHS: [&str; 4] = ["/health", "/livez", "/readyz", "/v2/health/ready"];

/// Judges how the server is started; `gradcam` is what dermal.yaml wants.
pub fn check(start: &Start, flags: &[Flag], gradcam: bool, out: &mut Findings) -> Option<Serve> {
    let (file, line) = (start.file.as_str(), start.line);
    let Some(serve) = start.serve(flags) else {
        let words = start.words.join(" ");
        out.add(
            &rules::START_OTHER_PROGRAM,
            file,
            line,
            format!("`{}` is not `dermal serve`", suggest::shorten(&words)),
        );
        return None;
    };
    for word in &serve.unknown {
        let names: Vec<&str> = flags.iter().map(|flag| flag.name.as_str()).collect();
        let near = suggest::nearest(word, &names)
            .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        out.add(
            &rules::START_UNKNOWN_FLAG,
            file,
            line,
            format!("`dermal serve` has no `{}`{near}", suggest::shorten(word)),
        );
    }
    if let Some(address) = serve.address()
        && matches!(address, "127.0.0.1" | "localhost" | "[::1]" | "::1")
    {
        out.add(
            &rules::START_LOCALHOST,
            file,
            line,
            format!("it binds {address}"),
        );
    }
    if let Some(port) = serve.port() {
        let variable = port.contains("PORT");
        if variable && !start.shell {
            out.add(
                &rules::START_PORT_UNEXPANDED,
                file,
                line,
                format!("`{port}` stands in a list of words"),
            );
        }
        if !variable && start.port_given {
            out.add(
                &rules::START_FIXED_PORT,
                file,
                line,
                format!("it binds port {port}"),
            );
        }
    }
    if serve.has("--preload") && serve.has("--lazy") {
        out.add(
            &rules::START_CONTRADICTION,
            file,
            line,
            "`--preload` and `--lazy` are both there",
        );
    } else if serve.has("--lazy") {
        out.add(
            &rules::START_LAZY,
            file,
            line,
            "`--lazy` loads the model at the first photo",
        );
    }
    if serve.has("--no-gradcam") && gradcam {
        out.add(&rules::START_GRADCAM_OFF, file, line, "`--no-gradcam`");
    }
    if start.shell && start.shell_stays && file.to_ascii_lowercase().contains("docker") {
        out.add(
            &rules::START_SHELL,
            file,
            line,
            "the command is in shell form without `exec`",
        );
    }
    if serve.model.is_none() {
        out.add(&rules::MODEL_DEMO_SERVED, file, line, "no model is named");
    }
    Some(serve)
}

/// Words of a shell's line: blanks part them, quotes keep them together. Variables stay as they
/// are.
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quote, mut inside) = (None, false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => word.push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                inside = true;
            }
            (None, '\\') => match characters.next() {
                None | Some('\n') => {}
                Some(next) => word.push(next),
            },
            (None, ';') => {
                if !word.is_empty() || inside {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
                words.push(";".to_owned());
            }
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() || inside {
                    words.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            (None, c) => word.push(c),
        }
    }
    if !word.is_empty() || inside {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_and_port_are_found_wherever_they_are_said() {
        let names = ["--bind", "--port"];
        let flags = names.map(|name| Flag {
            name: name.to_owned(),
            takes_value: true,
        });
        for (options, address, port) in [
            ("", None, None),
            ("--bind 0.0.0.0:80", Some("0.0.0.0"), Some("80")),
            ("--bind 0.0.0.0", Some("0.0.0.0"), None),
            ("--bind 0.0.0.0 --port 81", Some("0.0.0.0"), Some("81")),
            ("--port=$PORT", None, Some("$PORT")),
            ("--bind [::1]:80 --port 81", Some("[::1]"), Some("80")),
            ("--bind [::1]", Some("[::1]"), None),
            ("--bind ::1 --port 81", Some("::1"), Some("81")),
        ] {
            let start = Start::of_shell("Procfile", 1, &format!("dermal serve {options}"));
            let serve = start.serve(&flags).unwrap();
            assert_eq!(
                (serve.address(), serve.port()),
                (address, port),
                "{options}"
            );
        }
    }

    #[test]
    fn lines_are_split_as_a_shell_does() {
        assert_eq!(
            split("a 'b c' \"d\"e \\\n f; g"),
            ["a", "b c", "de", "f", ";", "g"]
        );
        let start = Start::of_shell(
            "f",
            1,
            "cd x && A=1 exec dermal serve m --bind 0.0.0.0:$PORT",
        );
        assert_eq!(start.words[0], "dermal");
        assert!(!start.shell_stays);
        let start = Start::of_words(
            "f",
            1,
            ["sh", "-c", "dermal serve m"].map(str::to_owned).to_vec(),
        );
        assert!(start.shell && start.shell_stays);
        assert_eq!(start.words.len(), 3);
    }
}
