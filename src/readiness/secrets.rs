//! Finds secrets in plain text, debug flags, and settings of other programs, in environment
//! variables and in texts.

use super::rules::{self, Findings};

/// An environment variable that a file sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// The name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Parts of names that indicate a secret.
const SECRET_NAMES: [&str; 9] = [
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
    "ACCESS_KEY",
];

/// How tokens of well-known services begin, and the least number of characters that follow.
const TOKENS: [(&str, usize); 12] = [
    ("AKIA", 16),
    ("ghp_", 30),
    ("github_pat_", 30),
    ("gho_", 30),
    ("glpat-", 18),
    ("hf_", 30),
    ("rnd_", 20),
    ("sk-", 20),
    ("sk_live_", 16),
    ("xoxb-", 20),
    ("AIza", 30),
    ("FlyV1 fm2_", 20),
];

/// Memory and device settings of frameworks that the server does not use.
const FOREIGN: [&str; 9] = [
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_ENABLE_ONEDNN_OPTS",
    "CUDA_VISIBLE_DEVICES",
    "KERAS_BACKEND",
    "OMP_NUM_THREADS",
    "WEB_CONCURRENCY",
    "GUNICORN_CMD_ARGS",
    "PYTHONUNBUFFERED",
];

/// Checks one variable.
pub fn check_variable(variable: &Variable, out: &mut Findings) {
    let (file, line) = (variable.file.as_str(), variable.line);
    let name = variable.name.to_ascii_uppercase();
    let value = variable.value.trim();
    let placeholder = value.is_empty()
        || value.starts_with('$')
        || value.starts_with('<')
        || value.starts_with("/run/secrets/")
        || name.ends_with("_FILE");
    let secret = SECRET_NAMES.iter().any(|part| name.contains(part)) || has_password(value);
    if secret && !placeholder {
        out.add(
            &rules::SECRET,
            file,
            line,
            format!("`{}` has its value in the file", variable.name),
        );
    }
    let on = matches!(
        value.to_ascii_lowercase().as_str(),
        "1" | "true" | "on" | "yes" | "full" | "debug" | "trace"
    );
    let debug = name == "DEBUG" || name.ends_with("_DEBUG") || name == "RUST_BACKTRACE";
    let loud = matches!(name.as_str(), "RUST_LOG" | "LOG_LEVEL" | "DERMAL_LOG") && {
        let value = value.to_ascii_lowercase();
        value.contains("debug") || value.contains("trace")
    };
    if (debug && on && !(name == "RUST_BACKTRACE" && value == "1")) || loud {
        out.add(
            &rules::DEBUG_FLAG,
            file,
            line,
            format!("`{}={value}`", variable.name),
        );
    }
    if FOREIGN.contains(&name.as_str()) {
        out.add(
            &rules::MEMORY_SETTING,
            file,
            line,
            format!("`{}` is a setting of Python or TensorFlow", variable.name),
        );
    }
}

/// `scheme://user:password@host`.
fn has_password(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority.split_once('@').is_some_and(|(user, _)| {
            user.split_once(':')
                .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
        })
    })
}

/// Looks in a text for private keys and for tokens of well-known services.
pub fn check_text(file: &str, text: &str, out: &mut Findings) {
    for (i, line) in text.lines().enumerate() {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY-----") {
            out.add(&rules::SECRET, file, i + 1, "a private key");
        }
        for word in line.split(|c: char| c.is_whitespace() || "\"'=,;()[]{}<>:".contains(c)) {
            for (start, more) in TOKENS {
                let Some(rest) = word.strip_prefix(start) else {
                    continue;
                };
                let body = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
                    .count();
                let varied = rest.bytes().any(|b| b.is_ascii_digit())
                    && rest.bytes().any(|b| b.is_ascii_alphabetic());
                if body >= more && varied {
                    out.add(
                        &rules::SECRET,
                        file,
                        i + 1,
                        format!("what looks like a token (`{start}...`)"),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(name: &str, value: &str) -> Vec<&'static str> {
        let mut out = Findings::default();
        let variable = Variable {
            file: "f".into(),
            line: 1,
            name: name.into(),
            value: value.into(),
        };
        check_variable(&variable, &mut out);
        out.sorted().iter().map(|f| f.rule.id).collect()
    }

    #[test]
    fn values_are_told_from_references() {
        let secret = ["secret-in-plain-text"];
        assert_eq!(ids("DERMAL_API_KEY", "hunter2"), secret);
        assert_eq!(ids("REDIS_URL", "redis://u:pw@host:6379"), secret);
        assert!(ids("DERMAL_API_KEY", "$API_KEY").is_empty());
        assert!(ids("DERMAL_API_KEY_FILE", "/etc/keys").is_empty());
        assert!(ids("REDIS_URL", "redis://host:6379/0").is_empty());
        assert_eq!(ids("DEBUG", "True"), ["debug-flag"]);
        assert!(ids("DEBUG", "0").is_empty());
        assert!(ids("RUST_BACKTRACE", "1").is_empty());
        assert_eq!(ids("RUST_LOG", "dermal=trace"), ["debug-flag"]);
    }
}
