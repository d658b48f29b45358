//! Sizes on the command line: bytes and pixels, read the same way for every option.
//!
//! A number without a unit counts bytes or pixels. A small one is refused, because nobody means a
//! budget of 512 bytes or photos of 12 pixels. The message asks for the unit.

use crate::units;

/// A smaller number without a unit is not meant as bytes.
const LEAST_BARE_BYTES: u64 = 100_000;

/// A smaller number without a unit is not meant as pixels.
const LEAST_BARE_PIXELS: u64 = 64;

/// `512MB`, `1.5GiB`, `1000000`.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bytes = units::parse_bytes(text).ok_or_else(|| {
        "expected a size such as 512MB or 1.5GiB, from 1 byte to under 1000000GB".to_owned()
    })?;
    if bytes < LEAST_BARE_BYTES && is_bare(text) {
        return Err(format!(
            "{bytes} of what? Give the unit: {bytes}MB, or {bytes}B for bytes"
        ));
    }
    Ok(bytes)
}

/// Like [`parse_bytes`], but accepts 0, which switches something off.
pub(super) fn parse_bytes_or_none(text: &str) -> Result<u64, String> {
    match text.trim() {
        "0" => Ok(0),
        text => parse_bytes(text),
    }
}

/// `12MP`, `12000000`.
pub(super) fn parse_pixels(text: &str) -> Result<u64, String> {
    let pixels = units::parse_pixels(text).ok_or_else(|| {
        "expected a number of pixels such as 12MP, from 1 pixel to under 1000000MP".to_owned()
    })?;
    if pixels < LEAST_BARE_PIXELS && is_bare(text) {
        return Err(format!(
            "{pixels} of what? Give the unit: {pixels}MP for millions of pixels"
        ));
    }
    Ok(pixels)
}

/// Most pixels that an estimate accepts: 400 million.
const MAX_ESTIMATED_PIXELS: u64 = 400_000_000;

/// Like [`parse_pixels`], but at most as many as an estimate accepts.
pub(super) fn parse_estimated_pixels(text: &str) -> Result<u64, String> {
    let pixels = parse_pixels(text)?;
    if pixels > MAX_ESTIMATED_PIXELS {
        return Err("expected at most 400MP".to_owned());
    }
    Ok(pixels)
}

fn is_bare(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_number_is_asked_for_its_unit() {
        assert_eq!(parse_bytes("512MB"), Ok(512_000_000));
        assert_eq!(parse_bytes("512000000"), Ok(512_000_000));
        assert_eq!(parse_bytes("512B"), Ok(512));
        assert!(parse_bytes("512").unwrap_err().contains("512MB"));
        assert!(parse_bytes("0.5").is_err());
        assert_eq!(parse_bytes_or_none("0"), Ok(0));
        assert!(parse_bytes_or_none("4").unwrap_err().contains("4MB"));

        assert_eq!(parse_pixels("12MP"), Ok(12_000_000));
        assert_eq!(parse_pixels("0.3 MP"), Ok(300_000));
        assert_eq!(parse_pixels("12000000"), Ok(12_000_000));
        assert!(parse_pixels("12").unwrap_err().contains("12MP"));
        assert!(parse_pixels("12MB").is_err());
        assert!(parse_pixels("-1MP").is_err());
        assert!(parse_estimated_pixels("401MP").is_err());
    }
}
