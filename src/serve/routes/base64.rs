//! Base64 as programs write it: the standard or the URL-safe alphabet, padded or not, broken into lines
//! or not, with or without the head of a `data:` URL.

use std::io::{self, Read};

use axum::body::Bytes;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::read::DecoderReader;

use crate::serve::error::{ApiError, short};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Longest head of a `data:` URL: media type and parameters.
const MAX_HEAD_BYTES: usize = 200;

/// Decodes a photo. `name` is the member or input that holds it, for messages.
pub(super) fn decode(name: &str, text: &[u8]) -> Result<Bytes, ApiError> {
    let start = data_start(name, text)?;
    let data = &text[start..];
    let mut symbols = Symbols {
        text: data,
        at: 0,
        wrong: None,
    };
    let mut photo = Vec::with_capacity(data.len() / 4 * 3 + 3);
    let decoded = DecoderReader::new(&mut symbols, &ENGINE).read_to_end(&mut photo);
    if decoded.is_ok() {
        return Ok(photo.into());
    }
    Err(bad(
        name,
        &match symbols.wrong {
            Some((byte, at)) => format!(
                "`{}` at position {} does not belong to its alphabet",
                byte.escape_ascii(),
                start + at + 1
            ),
            None => "it is cut off, or goes on after its end".to_owned(),
        },
    ))
}

fn bad(name: &str, why: &str) -> ApiError {
    ApiError::bad(
        "bad_base64",
        format!("`{}` is not base64: {why}", short(name)),
    )
    .hint("encode the bytes of the photo file, and nothing else")
}

/// Where the data begins: after the head of a `data:` URL (RFC 2397), if there is one.
fn data_start(name: &str, text: &[u8]) -> Result<usize, ApiError> {
    let blank = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let rest = &text[blank..];
    if !rest
        .get(..5)
        .is_some_and(|head| head.eq_ignore_ascii_case(b"data:"))
    {
        return Ok(0);
    }
    let comma = rest.iter().take(MAX_HEAD_BYTES).position(|&b| b == b',');
    let comma = comma.ok_or_else(|| bad(name, "the `data:` URL has no comma"))?;
    let head = rest[..comma].trim_ascii_end();
    let is_base64 = head.len() >= 7 && head[head.len() - 7..].eq_ignore_ascii_case(b";base64");
    if is_base64 {
        Ok(blank + comma + 1)
    } else {
        Err(bad(name, "the `data:` URL does not say `;base64`"))
    }
}

/// The symbols of a text in the standard alphabet: white space is skipped, `-` and `_` of the URL-safe
/// alphabet are translated, and so are `+`, `/` and `=` that a URL has as `%2B`, `%2F` and `%3D`.
struct Symbols<'a> {
    text: &'a [u8],
    at: usize,
    /// The first byte that is not a symbol, and its position.
    wrong: Option<(u8, usize)>,
}

impl Read for Symbols<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < buffer.len() {
            let rest = &self.text[self.at..];
            let Some(&byte) = rest.first() else {
                break;
            };
            let (symbol, length) = match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => (byte, 1),
                b'-' => (b'+', 1),
                b'_' => (b'/', 1),
                b'%' => match rest.get(1..3) {
                    Some(b"2B" | b"2b") => (b'+', 3),
                    Some(b"2F" | b"2f") => (b'/', 3),
                    Some(b"3D" | b"3d") => (b'=', 3),
                    _ => return Err(self.refuse(byte)),
                },
                _ if byte.is_ascii_whitespace() => {
                    self.at += 1;
                    continue;
                }
                _ => return Err(self.refuse(byte)),
            };
            buffer[count] = symbol;
            count += 1;
            self.at += length;
        }
        Ok(count)
    }
}

impl Symbols<'_> {
    fn refuse(&mut self, byte: u8) -> io::Error {
        self.wrong = Some((byte, self.at));
        io::ErrorKind::InvalidData.into()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;

    /// Every byte, so that every symbol of both alphabets occurs.
    fn photo(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 83 % 256).to_le_bytes()[0]).collect()
    }

    fn lines(text: &str, width: usize, end: &str) -> String {
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(width)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        lines.join(end) + end
    }

    #[test]
    fn every_common_form_is_decoded() {
        for len in [0, 1, 2, 3, 766, 767, 768, 100_000] {
            let photo = photo(len);
            let standard = STANDARD.encode(&photo);
            let unpadded = standard.trim_end_matches('=').to_owned();
            for text in [
                standard.clone(),
                unpadded.clone(),
                URL_SAFE.encode(&photo),
                URL_SAFE_NO_PAD.encode(&photo),
                lines(&standard, 76, "\n"),
                lines(&standard, 76, "\r\n"),
                lines(&standard, 64, "\n "),
                lines(&URL_SAFE_NO_PAD.encode(&photo), 1, "\t"),
                format!("  {standard}\n"),
                format!("data:image/jpeg;base64,{standard}"),
                format!("data:image/svg+xml;charset=utf-8;base64,{unpadded}"),
                format!("DATA:;BASE64,{standard}"),
                format!("\ndata:image/png;base64, {standard}"),
                format!(
                    "data:image/png;base64,{}",
                    standard
                        .replace('+', "%2B")
                        .replace('/', "%2f")
                        .replace('=', "%3D")
                ),
            ] {
                let beginning = &text[..text.len().min(40)];
                let decoded = decode("image", text.as_bytes());
                assert_eq!(decoded.unwrap(), photo, "{len}: {beginning}");
            }
        }
    }

    #[test]
    fn what_is_not_base64_is_named_in_few_words() {
        for (text, says) in [
            ("A", "cut off"),
            ("AAEC=AAEC", "goes on"),
            ("AAEC{", "`{` at position 5"),
            ("AA\n!C", "`!` at position 4"),
            ("AAEC%20", "`%` at position 5"),
            ("\u{e9}", "`\\xc3` at position 1"),
            ("data:image/png;base64,A*", "`*` at position 24"),
            ("data:image/png,AAEC", "does not say `;base64`"),
            ("data:image/png;base64", "no comma"),
        ] {
            let error = decode("image", text.as_bytes()).unwrap_err();
            assert_eq!(error.kind, "bad_base64");
            assert!(error.message.contains(says), "{text}: {error}");
            assert!(error.message.len() < 100, "{error}");
        }
    }
}
