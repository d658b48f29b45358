//! Patterns of file names in `.dockerignore`, COPY and ADD
//! (<https://docs.docker.com/build/concepts/context/#dockerignore-files>).

/// Whether a pattern with `*`, `?`, `[a-z]` and `**` matches the whole path.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    fn inside(pattern: &[u8], path: &[u8], budget: &mut usize) -> bool {
        // Many stars can match in many ways, so matching gives up on a hostile pattern.
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', b'/', rest @ ..] => {
                inside(rest, path, budget)
                    || (0..path.len())
                        .any(|i| path[i] == b'/' && inside(rest, &path[i + 1..], budget))
            }
            [b'*', b'*'] => true,
            [b'*', rest @ ..] => {
                let end = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                (0..=end).any(|i| inside(rest, &path[i..], budget))
            }
            [b'?', rest @ ..] => {
                path.first().is_some_and(|b| *b != b'/') && inside(rest, &path[1..], budget)
            }
            [b'[', rest @ ..] if rest.contains(&b']') => {
                let end = rest.iter().position(|b| *b == b']').unwrap_or(0);
                path.first().is_some_and(|b| in_class(&rest[..end], *b))
                    && inside(&rest[end + 1..], &path[1..], budget)
            }
            [c, rest @ ..] => path.first() == Some(c) && inside(rest, &path[1..], budget),
        }
    }
    inside(pattern.as_bytes(), path.as_bytes(), &mut 10_000)
}

/// Whether `[abc]`, `[a-z]` or `[^a]` holds a character.
fn in_class(class: &[u8], byte: u8) -> bool {
    let (not, class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let mut at = 0;
    while at < class.len() {
        if class.get(at + 1) == Some(&b'-') && at + 2 < class.len() {
            found |= (class[at]..=class[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= class[at] == byte;
            at += 1;
        }
    }
    found != not && byte != b'/'
}

/// Whether a source of COPY includes a file: the file itself, or a folder above it.
pub(crate) fn covers(source: &str, path: &str) -> bool {
    let mut above = Some(path);
    while let Some(part) = above {
        if matches(source, part) {
            return true;
        }
        above = part.rfind('/').map(|at| &part[..at]);
    }
    source.is_empty() || source == "."
}

/// Whether the lines of a .dockerignore exclude a path. The last pattern that matches decides.
pub(crate) fn is_ignored(lines: &str, path: &str) -> bool {
    let mut ignored = false;
    for line in lines.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (pattern, out) = match line.strip_prefix('!') {
            Some(pattern) => (pattern.trim(), false),
            None => (line, true),
        };
        let pattern = pattern.trim_start_matches("./").trim_matches('/');
        if covers(pattern, path) && !(pattern.is_empty()) {
            ignored = out;
        }
    }
    ignored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("*.h5", "a.h5", true),
            ("*.h5", "b/a.h5", false),
            ("**/*.h5", "b/c/a.h5", true),
            ("**/*.h5", "a.h5", true),
            ("models/*", "models/a", true),
            ("models/**", "models/b/a", true),
            ("?.x", "a.x", true),
            ("[ab].x", "b.x", true),
            ("[^ab].x", "b.x", false),
            ("m[0-9]", "m7", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(60_000)));
        assert!(covers("models", "models/x/y") && !covers("model", "models/x"));
    }

    #[test]
    fn the_last_pattern_decides() {
        let lines = "*\n!model.safetensors\n!app\n# x\napp/old\n";
        for (path, ignored) in [
            ("a", true),
            ("model.safetensors", false),
            ("app/new", false),
            ("app/old/x", true),
        ] {
            assert_eq!(is_ignored(lines, path), ignored, "{path}");
        }
    }
}
