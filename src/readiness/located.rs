//! Project files, read by [`crate::text`] as their hosts read them: aliases and merge keys of YAML
//! are replaced by the values that they name.

use crate::text::{self, Aliases};

pub use crate::text::{Located, SyntaxError, SyntaxKind, Value};

/// Reads YAML.
///
/// # Errors
/// [`SyntaxError`]. Only [`SyntaxKind::Invalid`] means that a host refuses the file, too.
pub fn yaml(text: &str) -> Result<Located, SyntaxError> {
    text::yaml(text, Aliases::Expand)
}

/// Reads JSON.
///
/// # Errors
/// [`SyntaxError`].
pub fn json(text: &str) -> Result<Located, SyntaxError> {
    text::json(text)
}

/// Reads TOML.
///
/// # Errors
/// [`SyntaxError`].
pub fn toml(text: &str) -> Result<Located, SyntaxError> {
    text::toml(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDER: &str = "\
# a comment
services:
  - type: web
    name: 'a: b'
    envVars:
      - key: A
        value: |
          echo &&
          *x
      - {key: B, value: 1}
other: true
";

    #[test]
    fn lines_of_keys_are_found_in_block_style() {
        let root = yaml(RENDER).unwrap();
        let services = root.get("services").unwrap();
        assert_eq!(services.line, 2);
        let service = &services.items()[0];
        assert_eq!(service.line, 3);
        assert_eq!(service.get("type").unwrap().line, 3);
        let name = service.get("name").unwrap();
        assert_eq!((name.line, name.text()), (4, Some("a: b")));
        let variables = service.get("envVars").unwrap().items();
        assert_eq!(variables[0].line, 6);
        let value = variables[0].get("value").unwrap();
        assert_eq!((value.line, value.text()), (7, Some("echo &&\n*x\n")));
        assert_eq!(variables[1].line, 10);
        assert_eq!(variables[1].get("key").unwrap().line, 10);
        assert_eq!(root.get("other").unwrap().line, 11);
    }

    #[test]
    fn lists_may_stand_under_their_key() {
        let root = yaml("a:\n- b: 1\n- b: 2\nc: 3\n").unwrap();
        let items = root.get("a").unwrap().items();
        assert_eq!([items[0].line, items[1].line], [2, 3]);
        assert_eq!(root.get("c").unwrap().line, 4);
    }

    #[test]
    fn anchors_are_what_they_name_and_a_bomb_is_not_called_invalid() {
        let text = "x: &web\n  plan: free\nservices:\n  - <<: *web\n    type: web\n";
        let root = yaml(text).unwrap();
        let service = &root.get("services").unwrap().items()[0];
        assert_eq!(service.get("plan").unwrap().text(), Some("free"));
        let bomb: String = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
            format!("{text}a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)
        });
        assert_eq!(yaml(&bomb).unwrap_err().kind, SyntaxKind::TooLarge);
    }
}
