//! A photo and its options as `multipart/form-data` (RFC 7578).
//!
//! The photo may be in a field of any name: it is the one part that is a file. A part is a file if it
//! has a file name, says that it is an image, holds binary data, or is called `image` or `file`. Every
//! other part is an option or a field of the patient. File inputs that were left empty are skipped, so
//! that a page may offer a camera and a gallery side by side.

use axum::body::{Body, Bytes};
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, header};

use super::base64;
use crate::serve::error::{ApiError, short};
use crate::serve::http::body::{BodyErrors, LimitedBody};
use crate::serve::http::request::content_length;
use crate::serve::question::{MAX_TEXT_BYTES, OPTIONS, QuestionBuilder};

/// Most parts of a form: the photo, options and fields.
const MAX_PARTS: usize = 80;

/// Names that mean the photo even without a file name.
const PHOTO_FIELDS: [&str; 2] = ["image", "file"];

/// How many bytes tell binary data from text. All photo formats have a zero in the first twelve.
const SNIFFED_BYTES: usize = 12;

/// Reads a form into `question`, and returns the photo.
pub(super) async fn read(
    request: Request,
    question: &mut QuestionBuilder,
    limit: u64,
) -> Result<Bytes, ApiError> {
    let expected = content_length(request.headers()).unwrap_or(0).min(limit);
    let expected = usize::try_from(expected).unwrap_or(0);
    let (parts, body) = request.into_parts();
    let (body, errors) = LimitedBody::new(body, limit);
    let request = Request::from_parts(parts, Body::new(body));
    let source = Source { errors, limit };
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| source.broken())?;
    let mut photo: Option<(String, Bytes)> = None;
    let mut empty = None;
    let mut parts = 0;
    while let Some(mut field) = form.next_field().await.map_err(|_| source.broken())? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(ApiError::bad(
                "too_many_parts",
                format!("the form has more than {MAX_PARTS} parts"),
            ));
        }
        let head = PartHead::of(field.headers());
        let beginning = source.beginning(&mut field).await?;
        if !head.is_file(&beginning) {
            let text = source.text(&mut field, beginning, &head.name).await?;
            question.set(&head.name, text.trim())?;
            continue;
        }
        if beginning.is_empty() {
            empty.get_or_insert(head.name);
            continue;
        }
        if let Some((first, _)) = &photo {
            return Err(several(first, &head.name));
        }
        let content = source.rest(&mut field, beginning, expected).await?;
        let content = if !head.has_file_name && content.starts_with(b"data:") {
            base64::decode(&head.name, &content)?
        } else {
            content.into()
        };
        photo = Some((head.name, content));
    }
    match (photo, empty) {
        (Some((_, photo)), _) => Ok(photo),
        (None, Some(name)) => Err(ApiError::bad(
            "empty_file",
            format!("the file in field `{}` is empty", short(&name)),
        )
        .hint("choose a photo before the form is sent")),
        (None, None) => Err(ApiError::bad("photo_missing", "the form has no photo")
            .hint("curl -F image=@photo.jpg URL")),
    }
}

fn several(first: &str, second: &str) -> ApiError {
    let message = if first == second {
        format!("the form has several files in field `{}`", short(first))
    } else {
        format!(
            "the form has several files, in fields `{}` and `{}`",
            short(first),
            short(second)
        )
    };
    ApiError::bad("several_photos", message).hint("send one request for each photo")
}

/// The body that the parts come from, as far as errors need it.
struct Source {
    errors: BodyErrors,
    limit: u64,
}

impl Source {
    fn broken(&self) -> ApiError {
        self.errors.or(self.limit, || {
            ApiError::bad("bad_form", "the multipart body is damaged or cut off")
                .hint("curl -F image=@photo.jpg URL")
        })
    }

    /// The first bytes of a part: at least [`SNIFFED_BYTES`], or all of it.
    async fn beginning(&self, field: &mut Field<'_>) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while bytes.len() < SNIFFED_BYTES {
            match field.chunk().await.map_err(|_| self.broken())? {
                Some(piece) => bytes.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(bytes)
    }

    /// A whole file, `expected` bytes long at the most likely.
    async fn rest(
        &self,
        field: &mut Field<'_>,
        beginning: Vec<u8>,
        expected: usize,
    ) -> Result<Vec<u8>, ApiError> {
        let mut content = beginning;
        content.reserve_exact(expected.saturating_sub(content.len()));
        while let Some(piece) = field.chunk().await.map_err(|_| self.broken())? {
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// A whole option or field.
    async fn text(
        &self,
        field: &mut Field<'_>,
        beginning: Vec<u8>,
        name: &str,
    ) -> Result<String, ApiError> {
        let photo_goes = "a photo is sent as a file: curl -F image=@photo.jpg URL";
        let mut content = beginning;
        loop {
            if content.len() > MAX_TEXT_BYTES {
                return Err(ApiError::bad(
                    "field_too_long",
                    format!(
                        "form field `{}` has more than {MAX_TEXT_BYTES} bytes",
                        short(name)
                    ),
                )
                .hint(photo_goes));
            }
            match field.chunk().await.map_err(|_| self.broken())? {
                Some(piece) => content.extend_from_slice(&piece),
                None => break,
            }
        }
        String::from_utf8(content).map_err(|_| {
            ApiError::bad(
                "bad_option",
                format!("form field `{}` is not UTF-8 text", short(name)),
            )
            .hint(photo_goes)
        })
    }
}

/// What the header of a part says about it.
#[derive(Debug, Default, PartialEq)]
struct PartHead {
    name: String,
    has_file_name: bool,
    /// Whether its `Content-Type` is an image.
    is_image: bool,
}

impl PartHead {
    fn of(headers: &HeaderMap) -> Self {
        let disposition = headers.get(header::CONTENT_DISPOSITION);
        let disposition = disposition.map_or(&b""[..], |value| value.as_bytes());
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_image = kind
            .get(..6)
            .is_some_and(|k| k.eq_ignore_ascii_case("image/"));
        Self {
            is_image,
            ..parse_disposition(&String::from_utf8_lossy(disposition))
        }
    }

    fn is_file(&self, beginning: &[u8]) -> bool {
        let name = self.name.as_str();
        if is_binary(beginning) || PHOTO_FIELDS.contains(&name) {
            return true;
        }
        // Some clients give every part a file name.
        (self.has_file_name || self.is_image) && !OPTIONS.contains(&name)
    }
}

/// Whether bytes are not text.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(SNIFFED_BYTES).any(|&byte| byte == 0)
}

/// Reads `form-data; name="..."; filename="..."`, in any order (RFC 6266, RFC 7578, 4.2). A `;` or `=`
/// inside of quotes separates nothing.
fn parse_disposition(text: &str) -> PartHead {
    let mut head = PartHead::default();
    let mut rest = text.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim().to_ascii_lowercase();
        let value = value.trim_start();
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = value.find(';').unwrap_or(value.len());
            (value[..end].trim().to_owned(), &value[end..])
        };
        match name.as_str() {
            "name" => head.name = unescape(&value),
            "filename" | "filename*" => head.has_file_name = true,
            _ => {}
        }
        rest = after.split_once(';').map_or("", |(_, rest)| rest);
    }
    head
}

/// The text up to the closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' if text[at + 1..].starts_with(['"', '\\']) => {
                value.extend(chars.next().map(|(_, c)| c));
            }
            c => value.push(c),
        }
    }
    (value, "")
}

/// Undoes what browsers do with quotes and line ends in names (WHATWG HTML, multipart form data).
fn unescape(name: &str) -> String {
    name.replace("%22", "\"")
        .replace("%0D", "\r")
        .replace("%0A", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_stands_beside_them() {
        for (text, name, has_file_name) in [
            (r#"form-data; name="image""#, "image", false),
            (
                r#"form-data; name="image"; filename="x.png""#,
                "image",
                true,
            ),
            (
                r#"form-data; filename="a;name=x.png"; name="image""#,
                "image",
                true,
            ),
            (
                r#"form-data; filename="a\"; name=\"x"; name="image""#,
                "image",
                true,
            ),
            (
                r#"form-data; filename="C:\photos\x.png"; name="p""#,
                "p",
                true,
            ),
            (r#"form-data; filename=""; name="camera""#, "camera", true),
            ("form-data;name=image;filename=x.png", "image", true),
            (
                "form-data; NAME = image ; FileName* = UTF-8''x%3B.png",
                "image",
                true,
            ),
            (r#"form-data; name="a%22b""#, "a\"b", false),
            (r#"form-data; name="a\"b""#, "a\"b", false),
            (r#"form-data; name="na;me=1""#, "na;me=1", false),
            (r#"form-data; filename="x.png""#, "", true),
            (r#"form-data; name="open"#, "open", false),
            ("form-data", "", false),
            ("", "", false),
        ] {
            let head = parse_disposition(text);
            assert_eq!(
                (head.name.as_str(), head.has_file_name),
                (name, has_file_name),
                "{text}"
            );
        }
    }

    #[test]
    fn files_are_told_from_options() {
        let head = |name: &str, has_file_name, is_image| PartHead {
            name: name.to_owned(),
            has_file_name,
            is_image,
        };
        for (head, beginning, is_file) in [
            (head("photo", true, false), &b"any"[..], true),
            (head("photo", false, true), b"any", true),
            (
                head("photo", false, false),
                b"\xFF\xD8\xFF\xE0\0\x10JFIF",
                true,
            ),
            (head("site", false, false), b"M\xFCnchen", false),
            (head("photo", false, false), b"BM\x36\0\0", true),
            (head("age", false, false), b"55", false),
            (head("site", false, false), "s\u{e9}".as_bytes(), false),
            (
                head("site", false, false),
                &"\u{20ac}".as_bytes()[..2],
                false,
            ),
            (head("top", true, false), b"3", false),
            (head("image", false, false), b"data:", true),
            (head("", true, false), b"", true),
        ] {
            assert_eq!(head.is_file(beginning), is_file, "{head:?}");
        }
    }
}
