//! The effects of commands: the files, programs and users that RUN lines, build commands and the
//! first lines of a start script make. An unknown command may write anywhere; after it, no file is
//! reported as missing.

use std::collections::BTreeSet;

use super::env::Env;
use super::files::{Found, Origin, Tree, absolute, base_name, parent};
use crate::readiness::launch::shell::{self, Expander, Step, Value, Word};

/// The machine on which commands run, and their changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) tree: Tree,
    /// Installed packages; `*` stands for unknown ones.
    pub(crate) packages: BTreeSet<String>,
    /// Users that were created.
    pub(crate) users: BTreeSet<String>,
    pub(crate) workdir: String,
    pub(crate) env: Env,
}

/// Commands that make no files of an application.
const HARMLESS: [&str; 60] = [
    "set",
    "true",
    "false",
    ":",
    "test",
    "[",
    "[[",
    "chmod",
    "chown",
    "chgrp",
    "ls",
    "cat",
    "sha256sum",
    "sha512sum",
    "md5sum",
    "ldconfig",
    "update-ca-certificates",
    "locale-gen",
    "sleep",
    "date",
    "uname",
    "which",
    "command",
    "id",
    "whoami",
    "grep",
    "find",
    "sed",
    "awk",
    "strip",
    "setcap",
    "du",
    "df",
    "exit",
    "umask",
    "ulimit",
    "trap",
    "wait",
    "kill",
    "pwd",
    "echo",
    "printf",
    "head",
    "tail",
    "sort",
    "wc",
    "xargs",
    "tr",
    "cut",
    "basename",
    "dirname",
    "readlink",
    "pip",
    "pip3",
    "stat",
    "file",
    "dpkg-reconfigure",
    "ln",
    "tee",
    "hash",
];

/// Words of a shell's grammar before a command.
const GRAMMAR: [&str; 12] = [
    "if", "then", "else", "elif", "do", "while", "until", "!", "time", "{", "}", "exec",
];

impl Machine {
    /// Runs the text of a shell; `why` describes its place.
    pub(crate) fn run(&mut self, text: &str, why: &str) {
        let before = (self.workdir.clone(), self.env.clone());
        for step in shell::steps(text) {
            self.step(&step, &[], why);
        }
        // The next RUN starts another shell.
        (self.workdir, self.env) = before;
    }

    /// Runs one command, with the arguments of the script that contains it.
    pub(crate) fn step(&mut self, step: &Step, arguments: &[Word], why: &str) {
        let env = self.env.clone();
        let get = |name: &str| env.get(name);
        let expander = Expander {
            get: &get,
            arguments,
            splits: true,
        };
        let mut raw = step.words.as_slice();
        while raw
            .first()
            .is_some_and(|word| GRAMMAR.contains(&word.as_str()))
        {
            raw = &raw[1..];
        }
        while let Some((name, value)) = raw.first().and_then(|word| assignment(word)) {
            let value = expander.word(value);
            self.env.set(name, value.into(), "", 0);
            raw = &raw[1..];
        }
        let words: Vec<Word> = raw.iter().flat_map(|word| expander.words(word)).collect();
        let writes: Vec<Word> = step.writes.iter().map(|word| expander.word(word)).collect();
        self.command(&words, why);
        for target in writes {
            if target.runtime {
                self.tree.add_unseen("/", why);
            } else if !target.text.starts_with("/dev/") {
                let path = absolute(&target.text, &self.workdir);
                let text = written(&words, step.document.as_deref());
                let origin = text.map_or_else(|| Origin::unseen(&path, why), Origin::Text);
                self.tree.add(&path, origin);
            }
        }
    }

    fn command(&mut self, words: &[Word], why: &str) {
        let Some((program, rest)) = words.split_first() else {
            return;
        };
        let plain: Vec<&Word> = rest.iter().filter(|w| !w.text.starts_with('-')).collect();
        let texts: Vec<&str> = plain.iter().map(|word| word.text.as_str()).collect();
        match base_name(&program.text) {
            "cd" => self.workdir = absolute(texts.first().unwrap_or(&"/root"), &self.workdir),
            "export" => {
                for word in &plain {
                    if let Some((name, value)) = word.text.split_once('=') {
                        let value = Word {
                            text: value.to_owned(),
                            runtime: word.runtime,
                        };
                        self.env.set(name, value.into(), "", 0);
                    }
                }
            }
            "apt-get" | "apt" | "apk" | "dnf" | "yum" | "microdnf" | "zypper" | "aptitude" => {
                if texts
                    .first()
                    .is_some_and(|verb| matches!(*verb, "install" | "add" | "in"))
                {
                    for word in &plain[1..] {
                        let package = word.text.split(['=', ':']).next().unwrap_or_default();
                        let known = !word.runtime && !package.contains(['/', '*']);
                        let package = if known { package } else { "*" };
                        self.packages.insert(package.to_owned());
                    }
                }
            }
            "useradd" | "adduser" | "groupadd" | "addgroup" | "usermod" => {
                self.users
                    .extend(texts.iter().map(|text| (*text).to_owned()));
            }
            "rm" | "rmdir" => {
                for path in &texts {
                    self.tree.remove(&absolute(path, &self.workdir));
                }
            }
            "mkdir" => {
                for path in &texts {
                    self.tree.add_folder(&absolute(path, &self.workdir));
                }
            }
            "touch" => {
                for path in &texts {
                    let path = absolute(path, &self.workdir);
                    self.tree.add(&path, Origin::Text(String::new()));
                }
            }
            "cp" | "mv" | "install" | "rsync" => self.copies(&program.text, rest, &plain, why),
            "ln" => {
                if let [target, link] = texts[..] {
                    let link = absolute(link, &self.workdir);
                    let target = absolute(target, parent(&link));
                    let seen = self.tree.clone();
                    if !self.tree.copy(&seen, &target, &link, seen.is_folder(&link)) {
                        self.tree.add(&link, Origin::unseen(&target, why));
                    }
                }
            }
            "curl" | "wget" => self.download(base_name(&program.text), rest, why),
            "tar" | "unzip" | "bsdtar" | "7z" => {
                let into = after(rest, &["-C", "--directory", "-d"]);
                let into = absolute(&into.unwrap_or_default(), &self.workdir);
                self.tree.add_unseen(&into, why);
            }
            "sh" | "bash" | "ash" | "dash" => {
                let at = rest
                    .iter()
                    .position(|w| w.text.starts_with('-') && w.text.ends_with('c'));
                match at.and_then(|at| rest.get(at + 1)) {
                    Some(text) if !text.runtime => {
                        for step in shell::steps(&text.text.clone()) {
                            self.step(&step, &[], why);
                        }
                    }
                    _ => self.tree.add_unseen("/", why),
                }
            }
            "sudo" | "env" | "nice" => self.command(rest, why),
            "for" | "case" | "done" | "fi" | "esac" | "in" | "shift" | "return" | "break" => {}
            name if HARMLESS.contains(&name) && !texts.contains(&"download") => {}
            _ => {
                // An unknown program, a build, or an import: it may write anything.
                self.tree.add_unseen("/", why);
                self.packages.insert("*".to_owned());
                self.users.insert("*".to_owned());
            }
        }
    }

    fn copies(&mut self, program: &str, words: &[Word], plain: &[&Word], why: &str) {
        if base_name(program) == "install" && words.iter().any(|w| w.is("-d")) {
            for word in plain {
                self.tree.add_folder(&absolute(&word.text, &self.workdir));
            }
            return;
        }
        // `install -m 755 -o root -g root file target`
        let takes_value = |word: &Word| matches!(word.text.as_str(), "-m" | "-o" | "-g");
        let mut paths: Vec<&Word> = Vec::new();
        let mut words = words.iter();
        let mut folder = None;
        while let Some(word) = words.next() {
            if word.is("-t") {
                folder = words.next().map(|word| word.text.clone());
            } else if base_name(program) == "install" && takes_value(word) {
                words.next();
            } else if !word.text.starts_with('-') {
                paths.push(word);
            }
        }
        let target = match folder {
            Some(folder) => folder,
            None if paths.len() > 1 => paths.pop().map_or(String::new(), |w| w.text.clone()),
            None => return,
        };
        if paths.iter().any(|path| path.runtime) || target.contains('$') {
            self.tree.add_unseen("/", why);
            return;
        }
        let into_folder = target.ends_with('/');
        let target = absolute(&target, &self.workdir);
        let seen = self.tree.clone();
        let into = into_folder || paths.len() > 1 || is_folder(&seen, &target);
        for path in paths {
            let source = absolute(&path.text, &self.workdir);
            let whole = seen.is_folder(&source) && into;
            let to = if whole {
                absolute(base_name(&source), &target)
            } else {
                target.clone()
            };
            if !self.tree.copy(&seen, &source, &to, into && !whole) {
                let to = if into {
                    absolute(base_name(&source), &target)
                } else {
                    to
                };
                self.tree.add(&to, Origin::unseen(&source, why));
            }
            if base_name(program) == "mv"
                && matches!(seen.find(&source), Found::File(_) | Found::Folder)
            {
                self.tree.remove(&source);
            }
        }
    }

    fn download(&mut self, program: &str, words: &[Word], why: &str) {
        let mut file = None;
        let mut folder = None;
        let mut named = program == "wget";
        let mut url = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            let short = text.starts_with('-') && !text.starts_with("--");
            if let Some((name, value)) = text.split_once('=').filter(|_| text.starts_with("--")) {
                match name {
                    "--output" | "--output-document" => file = Some(value.to_owned()),
                    "--output-dir" | "--directory-prefix" => folder = Some(value.to_owned()),
                    _ => {}
                }
            } else if matches!(text, "--output" | "--output-document")
                || (short && program == "curl" && text.ends_with('o'))
                || (short && program == "wget" && text.ends_with('O'))
            {
                file = words.next().map(|word| word.text.clone());
            } else if matches!(text, "--output-dir" | "--directory-prefix")
                || (short && program == "wget" && text.ends_with('P'))
            {
                folder = words.next().map(|word| word.text.clone());
            } else if text == "--remote-name" || (short && program == "curl" && text.contains('O'))
            {
                named = true;
            } else if text.contains("://") {
                url = Some(text.split(['?', '#']).next().unwrap_or_default().to_owned());
            }
        }
        let folder = absolute(&folder.unwrap_or_default(), &self.workdir);
        let file = file.or(url.filter(|_| named).map(|url| base_name(&url).to_owned()));
        match file {
            Some(file) if file.contains('$') => self.tree.add_unseen("/", why),
            Some(file) if file != "-" && !file.starts_with("/dev/") => {
                let path = absolute(&file, &folder);
                self.tree.add(&path, Origin::unseen(&path, why));
            }
            // The output goes to a pipe, and the next command reads it.
            _ => {}
        }
    }
}

/// Folders that every image with its own file system has.
const FOLDERS: [&str; 14] = [
    "/bin",
    "/usr/bin",
    "/usr/local/bin",
    "/sbin",
    "/usr/sbin",
    "/usr/local",
    "/usr",
    "/opt",
    "/srv",
    "/tmp",
    "/var",
    "/home",
    "/root",
    "/etc",
];

/// Whether a path is a folder: a known one, or one that every image has.
pub(crate) fn is_folder(tree: &Tree, path: &str) -> bool {
    tree.is_folder(path) || FOLDERS.contains(&path)
}

/// `NAME=value`.
pub(crate) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.chars().all(plain)).then_some((name, value))
}

/// The word after one of the options.
fn after(words: &[Word], options: &[&str]) -> Option<String> {
    let at = words
        .iter()
        .position(|word| options.contains(&word.text.as_str()))?;
    words.get(at + 1).map(|word| word.text.clone())
}

/// The text that `cat <<EOF`, `echo` and `printf` write.
fn written(words: &[Word], document: Option<&str>) -> Option<String> {
    let (program, rest) = words.split_first()?;
    if rest.iter().any(|word| word.runtime) {
        return None;
    }
    let texts: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
    match program.text.as_str() {
        "cat" => document.map(str::to_owned),
        "echo" | "printf" => {
            let texts: Vec<&str> = texts
                .into_iter()
                .filter(|t| !matches!(*t, "-e" | "-n"))
                .collect();
            let text = match texts.as_slice() {
                ["%s\\n" | "%s", lines @ ..] => lines.join("\n"),
                texts => texts.join(" "),
            };
            Some(text.replace("\\n", "\n") + "\n")
        }
        _ => None,
    }
}

impl From<Word> for Value {
    fn from(word: Word) -> Self {
        if word.runtime {
            Self::Runtime
        } else {
            Self::Known(word.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_running(text: &str) -> Machine {
        let mut machine = Machine {
            workdir: "/w".to_owned(),
            ..Machine::default()
        };
        let model = Origin::Project("m.safetensors".to_owned());
        machine.tree.add("/tmp/up", model);
        machine.run(text, "a RUN");
        machine
    }

    #[test]
    fn files_are_followed_through_commands() {
        for (text, path, seen) in [
            ("mv /tmp/up /srv/m", "/srv/m", true),
            ("mkdir -p /srv/a && cp /tmp/up /srv/a", "/srv/a/up", true),
            ("install -D -m 644 /tmp/up /a/b", "/a/b", true),
            ("ln -s /tmp/up m", "/w/m", true),
            ("cd /x; cp /tmp/up m", "/x/m", true),
            ("D=/x; cp /tmp/up \"$D/m\"", "/x/m", true),
            ("curl -fsSLo /a/m https://x/y", "/a/m", false),
            ("curl -O https://x/y/m?z=1", "/w/m", false),
            ("wget -qO /a/m https://x/y", "/a/m", false),
            ("wget -P /a https://x/y/m", "/a/m", false),
            ("cat /tmp/up > /a/m", "/a/m", false),
        ] {
            let machine = after_running(text);
            let Found::File(origin) = machine.tree.find(path) else {
                panic!("{text}: {:?}", machine.tree);
            };
            assert_eq!(matches!(origin, Origin::Project(_)), seen, "{text}");
        }
        assert_eq!(
            after_running("mv /tmp/up /a").tree.find("/tmp/up"),
            Found::No
        );
        assert_eq!(after_running("apt-get update").tree.find("/a"), Found::No);
        assert_eq!(
            after_running("./build.sh").tree.find("/a"),
            Found::Perhaps("a RUN")
        );
        assert_eq!(
            after_running("tar xf t -C /a").tree.find("/a/b"),
            Found::Perhaps("a RUN")
        );
    }

    #[test]
    fn packages_users_and_scripts_are_seen() {
        let machine = after_running("apt-get install -y curl=1 tini && useradd -u 5 app");
        assert!(machine.packages.contains("curl") && machine.packages.contains("tini"));
        assert!(machine.users.contains("app"));
        let machine = after_running("printf '#!/bin/sh\\nexec a\\n' > s && apk add $X");
        let script = Origin::Text("#!/bin/sh\nexec a\n\n".to_owned());
        assert_eq!(machine.tree.find("/w/s"), Found::File(&script));
    }
}
