//! Decoding and resampling compared with Pillow, TensorFlow and Keras on the same files:
//! `fixtures/golden/preprocess`, written by `scripts/golden_preprocess.py` (versions beside it).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dermal::Hint;
use dermal::artifact::Preprocessing;
use dermal::predict::decode::{self, DecodeError};
use dermal::predict::{Limits, Photo, preprocess};
use dermal::random::SplitMix64;
use serde::Deserialize;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden/preprocess")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn splitmix64(x: u64) -> u64 {
    SplitMix64::new(x).next_u64()
}

/// The script's `source`.
fn source(pattern: &str, [w, h]: [usize; 2], seed: u64) -> Photo {
    let mut pixels = Vec::with_capacity(w * h * 3);
    for i in 0..w * h * 3 {
        let (x, y, c) = (i / 3 % w, i / 3 / w, i % 3);
        let noise = (splitmix64((seed << 32).wrapping_add(i as u64)) >> 56) as usize;
        let value = match pattern {
            "noise" => noise,
            "smooth" => x * 255 / (w - 1).max(1) + y * 128 / (h - 1).max(1) + 40 * c + noise % 16,
            "edges" if (x / 7 + y / 5 + c) % 3 == 0 => 255,
            "edges" => 0,
            other => panic!("pattern {other}"),
        };
        pixels.push(value.to_le_bytes()[0]);
    }
    Photo::new(w, h, pixels).expect("three bytes a pixel")
}

#[derive(Deserialize, Debug)]
struct Case {
    pattern: String,
    seed: u64,
    size: [usize; 2],
    to: [usize; 2],
    filter: String,
    resize: String,
    short_side: Option<u32>,
    gray: bool,
    offset: Option<usize>,
    bytes: Option<usize>,
    crc32: Option<u32>,
}

fn run(case: &Case) -> Vec<f32> {
    let mut yaml = format!("filter: {}\nresize: {}\n", case.filter, case.resize);
    if let Some(side) = case.short_side {
        writeln!(yaml, "short_side: {side}").expect("a string takes any text");
    }
    let input = [case.to[1], case.to[0], if case.gray { 1 } else { 3 }];
    let recipe = Preprocessing::from_yaml(&yaml, input).expect("a recipe of the script");
    let mut output = vec![f32::NAN; input.iter().product()];
    let photo = source(&case.pattern, case.size, case.seed);
    preprocess(&photo, &recipe, input, &mut output).expect("validated");
    output
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "asserted to be bytes"
)]
fn as_bytes(values: &[f32]) -> Vec<u8> {
    let bytes = values.iter().map(|&v| {
        assert!(v.fract() == 0.0 && (0.0..=255.0).contains(&v), "{v}");
        v as u8
    });
    bytes.collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn resampling_equals_pillow_and_tensorflow() {
    let cases: Vec<Case> = serde_json::from_slice(&read("resize.json")).unwrap();
    let (u8s, f32s) = (read("resize_u8.bin"), read("resize_f32.bin"));
    // For each filter: number of outputs, outputs that differ, largest difference.
    let mut totals = BTreeMap::<String, (usize, usize, f64)>::new();
    for case in &cases {
        let got = run(case);
        if let Some(expected) = case.crc32 {
            assert_eq!(crc32(&as_bytes(&got)), expected, "{case:?}");
            continue;
        }
        let (offset, bytes) = (case.offset.unwrap(), case.bytes.unwrap());
        let expected: Vec<f32> = if case.filter == "tensorflow_bilinear" {
            f32s[offset..offset + bytes]
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect()
        } else {
            as_bytes(&got);
            u8s[offset..offset + bytes]
                .iter()
                .map(|&b| f32::from(b))
                .collect()
        };
        assert_eq!(got.len(), expected.len(), "{case:?}");
        let total = totals.entry(case.filter.clone()).or_default();
        for (g, e) in got.iter().zip(&expected) {
            let difference = f64::from((g - e).abs());
            total.0 += 1;
            total.1 += usize::from(difference > 0.0);
            total.2 = total.2.max(difference);
            let tolerance = if case.filter == "tensorflow_bilinear" {
                1e-4
            } else {
                0.0
            };
            assert!(difference <= tolerance, "{g} and {e} in {case:?}");
        }
    }
    assert_eq!(totals.len(), 6, "every filter has cases");
    for (filter, (n, differ, most)) in totals {
        println!("{filter}: {n} values, {differ} differ, by at most {most:e}");
    }
}

#[test]
fn photos_decode_to_the_pixels_of_pillow() {
    let mut n = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(photo) = name.strip_suffix(".rgb") else {
            continue;
        };
        let golden = read(name);
        let side = |at: usize| u32::from_le_bytes(golden[at..at + 4].try_into().unwrap()) as usize;
        let got = decode::read(&folder().join(photo), &Limits::default())
            .unwrap_or_else(|e| panic!("{photo}: {e}"));
        assert_eq!([got.width(), got.height()], [side(0), side(4)], "{photo}");
        let differ = got
            .pixels()
            .iter()
            .zip(&golden[8..])
            .filter(|(a, b)| a != b)
            .count();
        assert_eq!(differ, 0, "{photo}: {differ} bytes differ");
        n += 1;
    }
    assert!(n >= 75, "only {n} golden photos");
}

#[test]
fn alpha_is_kept_only_where_it_matters() {
    let load = |name: &str| decode::read(&folder().join(name), &Limits::default()).unwrap();
    assert!(load("rgba.png").alpha().is_some());
    assert!(load("la.png").alpha().is_some());
    assert!(load("palette_transparent.png").alpha().is_some());
    assert!(load("rgb.png").alpha().is_none());
}

#[test]
fn files_that_are_no_photo_are_refused_by_name() {
    for (name, kind) in [
        ("bad_empty.jpg", "empty_file"),
        ("bad_truncated.jpg", "truncated_photo"),
        ("bad_truncated_header.jpg", "truncated_photo"),
        ("bad_truncated.png", "truncated_photo"),
        ("bad_truncated.webp", "truncated_photo"),
        ("bad_truncated.bmp", "truncated_photo"),
        ("bad_checksum.png", "damaged_photo"),
        ("bad_bomb.png", "too_many_pixels"),
        ("bad_text.jpg", "not_a_photo"),
        ("bad_page.jpg", "not_a_photo"),
        ("bad_gif.jpg", "not_a_photo"),
        ("no_such.jpg", "no_such_file"),
        (".", "is_a_directory"),
    ] {
        let error = decode::read(&folder().join(name), &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(!error.hint().is_empty());
    }
}

/// The first box of photos as phones write them: size, `ftyp`, brand, version, other brands.
#[test]
fn what_phones_take_is_refused_with_what_to_do_on_the_phone() {
    let file = |brands: &[&[u8; 4]]| {
        let size = u32::try_from(12 + brands.len() * 4).unwrap();
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend(b"ftyp");
        bytes.extend(brands[0]);
        bytes.extend([0; 4]);
        bytes.extend(brands[1..].iter().copied().flatten());
        bytes.extend(b"\0\0\0\x08meta");
        bytes
    };
    for (brands, says, hint) in [
        (
            &[b"heic", b"mif1", b"heic"][..],
            "a HEIC photo",
            "Most Compatible",
        ),
        (
            &[b"mif1", b"heic", b"miaf"],
            "a HEIC photo",
            "High efficiency",
        ),
        (&[b"heix"], "a HEIC photo", "Most Compatible"),
        (&[b"msf1", b"hevc"], "a HEIC photo", "Most Compatible"),
        (&[b"mif1"], "a HEIF photo", "Most Compatible"),
        (
            &[b"mif1", b"miaf", b"avif"],
            "an AVIF photo",
            "save it as JPEG",
        ),
        (&[b"avif", b"mif1"], "an AVIF photo", "save it as JPEG"),
        (&[b"crx ", b"isom"], "a camera raw file", "give a JPEG"),
        (&[b"isom", b"mp42"], "a video", "give a JPEG"),
    ] {
        let error = decode::decode(&file(brands), &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), "not_a_photo");
        assert!(error.to_string().contains(says), "{brands:?}: {error}");
        assert!(error.hint().contains(hint), "{brands:?}: {}", error.hint());
    }
    for bytes in [
        &b"\0\0\0\0ftyp"[..],
        b"\0\0\0\x08ftyphei",
        b"\xFF\xFF\xFF\xFFftyp\0",
    ] {
        assert_eq!(
            decode::decode(bytes, &Limits::default())
                .unwrap_err()
                .kind(),
            "not_a_photo"
        );
    }
}

#[test]
fn limits_hold_before_pixels_are_allocated() {
    let photo = read("jpeg_420.jpg"); // 53x37
    let limited = |limits: Limits| decode::decode(&photo, &limits).unwrap_err();
    let few_pixels = limited(Limits {
        max_pixels: 53 * 37 - 1,
        ..Limits::default()
    });
    assert!(matches!(
        few_pixels,
        DecodeError::TooManyPixels {
            width: 53,
            height: 37,
            ..
        }
    ));
    let few_bytes = limited(Limits {
        max_bytes: photo.len() as u64 - 1,
        ..Limits::default()
    });
    assert_eq!(few_bytes.kind(), "too_many_bytes");
    let little_memory = limited(Limits {
        max_memory_bytes: 53 * 37 * 3 - 1,
        ..Limits::default()
    });
    assert_eq!(little_memory.kind(), "too_much_memory");
    // A progressive file of the same size also needs its coefficients.
    let progressive = read("jpeg_progressive_420.jpg");
    let limits = Limits {
        max_memory_bytes: 53 * 37 * 3,
        ..Limits::default()
    };
    assert!(decode::decode(&photo, &limits).is_ok());
    let error = decode::decode(&progressive, &limits).unwrap_err();
    assert_eq!(error.kind(), "too_much_memory");
    // 65500 x 65500 in a JPEG header.
    let mut bomb = photo.clone();
    let frame = bomb.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    let error = decode::decode(&bomb, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), "too_many_pixels");
}

#[expect(clippy::cast_possible_truncation, reason = "an index of a small file")]
#[test]
fn damaged_photos_never_panic() {
    let limits = Limits {
        max_pixels: 1 << 20,
        ..Limits::default()
    };
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for name in [
        "jpeg_420.jpg",
        "jpeg_progressive_420.jpg",
        "jpeg_noise_progressive.jpg",
        "jpeg_restart.jpg",
        "jpeg_cmyk.jpg",
        "jpeg_gray.jpg",
        "exif_6.jpg",
        "rgba_16_bit.png",
        "palette.png",
        "lossy.webp",
        "lossless.webp",
        "palette.bmp",
    ] {
        let whole = read(name);
        for cut in (0..whole.len()).step_by(1 + whole.len() / 60) {
            let error = decode::decode(&whole[..cut], &limits).err();
            *outcomes
                .entry(error.as_ref().map_or("decoded", DecodeError::kind))
                .or_default() += 1;
        }
        for round in 0..150_u64 {
            let mut damaged = whole.clone();
            for i in 0..=round % 4 {
                let random = splitmix64((round << 8) + i);
                let at = (random % damaged.len() as u64) as usize;
                damaged[at] ^= 1 << (random >> 61);
            }
            let error = decode::decode(&damaged, &limits).err();
            *outcomes
                .entry(error.as_ref().map_or("decoded", DecodeError::kind))
                .or_default() += 1;
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes["decoded"] > 0 && outcomes["damaged_photo"] > 0);
}

/// Real photos, if they exist: decoding must succeed within the default limits.
#[test]
fn photos_of_phones_and_cameras_decode() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    #[expect(clippy::disallowed_methods, reason = "a test's place of local data")]
    let shared = std::env::var("DERMAL_SHARED_DATA").map_or(shared, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(shared.join("fullres")) else {
        println!("SKIPPED: no photos in {}", shared.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let photo = decode::read(&path, &Limits::default()).unwrap();
        assert!(photo.width() * photo.height() > 10_000_000);
    }
}
