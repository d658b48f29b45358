//! Decodes a photo's bytes to upright RGB pixels: JPEG, PNG, WebP, BMP, recognised by content.
//!
//! Every file may be hostile: its size in bytes, pixels and memory is checked from the header
//! before anything is allocated for pixels. [`Limits`] has the bounds.
//!
//! Pixels are those of Pillow's `ImageOps.exif_transpose(image).convert("RGB")`. Keras and
//! torchvision feed the same pixels to models, except that they do not turn the photo. This project
//! decodes JPEG (see `jpeg`), the `image` crate the other formats. Samples of 16 bits keep their
//! upper byte. Alpha is kept aside; [`crate::artifact::Preprocessing`] says whether it counts.
//! Colour profiles are ignored, as in the frameworks.

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use image::codecs::bmp::BmpDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError};

pub use super::decode_error::DecodeError;
use super::decode_error::{AVIF, HEIC, HEIF};
use super::jpeg::{self, JpegError};
use super::{bmp, exif, orient};

/// Extensions of the files that count as photos in a folder.
pub const PHOTO_EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Whether a file's name ends like a photo's (`.jpg`, `.PNG`). Only the content shows what the file
/// really is.
#[must_use]
pub fn has_photo_extension(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    PHOTO_EXTENSIONS.iter().any(|known| extension == *known)
}

/// The photos directly in a folder, sorted by name. [`has_photo_extension`] decides which files are
/// photos.
///
/// # Errors
/// If the folder cannot be read.
pub fn photos_in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut photos = Vec::new();
    for entry in folder.read_dir()? {
        let file = entry?.path();
        if has_photo_extension(&file) && file.is_file() {
            photos.push(file);
        }
    }
    photos.sort();
    Ok(photos)
}

/// The limits for one photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels. Default 50 million: phones write 12 to 50, cameras 18 to 45. 50 million are 150 MB
    /// as RGB.
    pub max_pixels: u64,
    /// Bytes of the file. Default 32 MiB: a 50-megapixel JPEG of good quality has some 20.
    pub max_bytes: u64,
    /// Bytes that decoding may hold at its peak, beside the file. Default 256 MiB, half of a small
    /// server. This limit stops progressive JPEG and 16-bit PNG files, which need several times the
    /// memory of their pixels.
    pub max_memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 50_000_000,
            max_bytes: 32 << 20,
            max_memory_bytes: 256 << 20,
        }
    }
}

/// An upright photo in RGB, 8 bits a channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    alpha: Option<Vec<u8>>,
}

impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Pixels are private to their sender, so they never reach a log.
        write!(f, "Photo {}x{}", self.width, self.height)
    }
}

impl Photo {
    /// Reads and decodes a photo file within the default [`Limits`]; [`read`] takes other limits.
    ///
    /// # Errors
    /// [`DecodeError`] if the file does not exist, is not a photo, or is too large.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DecodeError> {
        read(path.as_ref(), &Limits::default())
    }

    /// Decodes the bytes of a photo file within the default [`Limits`]; [`decode`] takes other
    /// limits.
    ///
    /// # Errors
    /// As [`Photo::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, &Limits::default())
    }

    /// A photo from `width * height * 3` bytes, rows from the top; `None` if the length is
    /// different or zero.
    #[must_use]
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Option<Self> {
        Self::with_alpha(width, height, pixels, None)
    }

    /// Like [`Photo::new`], with one byte of opacity for each pixel.
    #[must_use]
    pub fn with_alpha(
        width: usize,
        height: usize,
        pixels: Vec<u8>,
        alpha: Option<Vec<u8>>,
    ) -> Option<Self> {
        let n = width.checked_mul(height).filter(|&n| n > 0)?;
        let fits = n.checked_mul(3) == Some(pixels.len())
            && alpha.as_ref().is_none_or(|alpha| alpha.len() == n);
        fits.then_some(Self {
            width,
            height,
            pixels,
            alpha,
        })
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// R G B of each pixel, rows from the top.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Opacity of each pixel, if any pixel is not opaque.
    #[must_use]
    pub fn alpha(&self) -> Option<&[u8]> {
        self.alpha.as_deref()
    }

    /// The pixels, without a copy.
    #[must_use]
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    pub(super) fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width * 3..][..self.width * 3]
    }

    pub(super) fn alpha_row(&self, y: usize) -> Option<&[u8]> {
        let alpha = self.alpha.as_ref()?;
        Some(&alpha[y * self.width..][..self.width])
    }
}

/// A file format that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    WebP,
    /// Windows bitmap.
    Bmp,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Bmp => "BMP",
        })
    }
}

/// Reads and decodes a file. At most `limits.max_bytes` of it are read.
///
/// # Errors
/// [`DecodeError`] if the file is missing, too large, or not a photo.
pub fn read(path: &Path, limits: &Limits) -> Result<Photo, DecodeError> {
    decode(&read_bytes(path, limits)?, limits)
}

/// Reads a file that may be a photo. This is the part of [`read`] that waits for the disk.
///
/// # Errors
/// [`DecodeError`] if the file is missing, unreadable or too large.
pub fn read_bytes(path: &Path, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let io = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => DecodeError::Missing(path.to_owned()),
        ErrorKind::IsADirectory => DecodeError::Directory(path.to_owned()),
        _ => DecodeError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        return Err(DecodeError::Directory(path.to_owned()));
    }
    let limit = limits.max_bytes;
    if metadata.len() > limit {
        return Err(DecodeError::TooManyBytes {
            bytes: metadata.len(),
            at_least: false,
            limit,
        });
    }
    // A pipe or device has no length: reading stops one byte past the limit.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let file = File::open(path).map_err(io)?;
    let count = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    if count.map_err(io)? as u64 > limit {
        return Err(DecodeError::TooManyBytes {
            bytes: bytes.len() as u64,
            at_least: true,
            limit,
        });
    }
    Ok(bytes)
}

/// Decodes the bytes of a file.
///
/// # Errors
/// [`DecodeError`] if the file is too large, damaged, or not a photo.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, DecodeError> {
    match admit(bytes, limits)? {
        Format::Jpeg => decode_jpeg(bytes, limits),
        Format::Png => decode_with(png(bytes, limits)?, limits),
        Format::WebP => decode_with(webp(bytes)?, limits),
        Format::Bmp => decode_with(bitmap(bytes)?, limits),
    }
}

/// The cost of decoding a photo, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Columns as stored, before orientation.
    pub width: u64,
    /// Rows as stored.
    pub height: u64,
    /// Bytes that [`decode`] holds at its peak, beside the file.
    pub peak_bytes: u64,
}

/// The cost of [`decode`], without decoding: only the header is read, and nothing is allocated for
/// pixels. Sizes are checked against the same limits.
///
/// # Errors
/// [`DecodeError`] if the file is too large, has a damaged header, or is not a photo.
pub fn cost(bytes: &[u8], limits: &Limits) -> Result<Cost, DecodeError> {
    let cost = match admit(bytes, limits)? {
        Format::Jpeg => {
            let decoder = jpeg::Decoder::new(bytes).map_err(from_jpeg)?;
            let [width, height] = decoder.dimensions();
            Cost {
                width: width as u64,
                height: height as u64,
                peak_bytes: decoder.peak_bytes(),
            }
        }
        Format::Png => png(bytes, limits)?.cost(),
        Format::WebP => webp(bytes)?.cost(),
        Format::Bmp => bitmap(bytes)?.cost(),
    };
    check_pixels(cost.width, cost.height, limits)?;
    check_memory(cost.peak_bytes, limits)?;
    Ok(cost)
}

/// Most bytes of a PNG's colour profile; a longer one is not inflated. Those of cameras and screens
/// have up to 3 MB.
const MAX_PROFILE_BYTES: u64 = 4 << 20;

/// The format of a file whose length is within the limit.
fn admit(bytes: &[u8], limits: &Limits) -> Result<Format, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(DecodeError::TooManyBytes {
            bytes: bytes.len() as u64,
            at_least: false,
            limit: limits.max_bytes,
        });
    }
    recognise(bytes)
}

/// A decoder of the `image` crate, and facts about the file that it does not know.
struct Foreign<D> {
    format: Format,
    decoder: D,
    orientation: Orientation,
    /// Bits of each channel of a 16-bit bitmap.
    sixteen_bits: Option<[u32; 3]>,
}

fn png<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<Foreign<PngDecoder<Cursor<&'a [u8]>>>, DecodeError> {
    // Checked before the decoder sees the header, because it allocates rows as soon as it knows
    // their length.
    let side = |at: usize| {
        let field = bytes.get(at..)?.first_chunk()?;
        Some(u64::from(u32::from_be_bytes(*field)))
    };
    let (Some(width), Some(height)) = (side(16), side(20)) else {
        return Err(DecodeError::Truncated(Format::Png));
    };
    check_pixels(width, height, limits)?;
    // The decoder needs room for a row and, twice, for the longest chunk. The rest is for a colour
    // profile, which it inflates although nobody reads it: 200 kB of a file can hold 200 MB of one.
    let needed = (bytes.len() as u64 * 2).saturating_add(width.saturating_mul(16));
    let mut own = image_limits(limits);
    own.max_alloc = Some(limits.max_memory_bytes.min(needed + MAX_PROFILE_BYTES));
    let decoder =
        PngDecoder::with_limits(Cursor::new(bytes), own).map_err(|e| from_image(Format::Png, e))?;
    Ok(Foreign {
        format: Format::Png,
        decoder,
        orientation: exif::of_png(bytes),
        sixteen_bits: None,
    })
}

fn webp(bytes: &[u8]) -> Result<Foreign<WebPDecoder<Cursor<&[u8]>>>, DecodeError> {
    // The WebP decoder reports a missing end as a corrupt bitstream.
    let length = bytes.get(4..).and_then(|rest| rest.first_chunk());
    let length = length.map_or(u32::MAX, |b| u32::from_le_bytes(*b));
    if (bytes.len() as u64) < u64::from(length) + 8 {
        return Err(DecodeError::Truncated(Format::WebP));
    }
    let mut decoder =
        WebPDecoder::new(Cursor::new(bytes)).map_err(|e| from_image(Format::WebP, e))?;
    // Blocks that cannot be read are ignored.
    let block = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    Ok(Foreign {
        format: Format::WebP,
        decoder,
        orientation: exif::orientation(block.as_deref(), xmp.as_deref()),
        sixteen_bits: None,
    })
}

fn bitmap(bytes: &[u8]) -> Result<Foreign<BmpDecoder<Cursor<&[u8]>>>, DecodeError> {
    let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(|e| from_image(Format::Bmp, e))?;
    Ok(Foreign {
        format: Format::Bmp,
        decoder,
        orientation: Orientation::NoTransforms,
        sixteen_bits: bmp::sixteen_bit_layout(bytes),
    })
}

impl<D: ImageDecoder> Foreign<D> {
    /// The buffer holds the decoder's output and then the pixels. WebP decoders also keep a picture
    /// inside, and turning a picture takes a copy.
    fn cost(&self) -> Cost {
        let (width, height) = self.decoder.dimensions();
        let count = u64::from(width) * u64::from(height);
        let buffer = self.decoder.total_bytes().max(count.saturating_mul(3));
        let webp = self.format == Format::WebP;
        let inside = if webp { count * 4 } else { 0 };
        let has_alpha = self.decoder.color_type().has_alpha();
        let alpha = if has_alpha { count } else { 0 };
        let turned = match self.orientation {
            Orientation::NoTransforms => 0,
            _ => count * 3,
        };
        Cost {
            width: width.into(),
            height: height.into(),
            peak_bytes: buffer
                .saturating_add(alpha)
                .saturating_add(inside.max(turned)),
        }
    }
}

/// The format, by the first bytes.
fn recognise(bytes: &[u8]) -> Result<Format, DecodeError> {
    const OTHERS: &[(usize, &[u8], &str)] = &[
        (0, b"GIF8", "a GIF"),
        (0, b"II*\0", "a TIFF or camera raw file"),
        (0, b"MM\0*", "a TIFF or camera raw file"),
        (0, b"\xFF\x0A", "a JPEG XL photo"),
        (0, b"\0\0\0\x0CJXL ", "a JPEG XL photo"),
        (0, b"\0\0\0\x0CjP  ", "a JPEG 2000 photo"),
        (128, b"DICM", "a DICOM file"),
        (0, b"%PDF", "a PDF"),
        (0, b"PK\x03\x04", "a zip archive (or a `.keras` model)"),
        (0, b"\x89HDF", "an HDF5 file (a `.h5` model?)"),
        (
            0,
            b"version https://git-lfs",
            "a git-LFS pointer, not the photo itself",
        ),
        (0, b"<!DOCTYPE", "a web page, not the photo itself"),
        (0, b"<!doctype", "a web page, not the photo itself"),
        (0, b"<html", "a web page, not the photo itself"),
        (0, b"<svg", "an SVG drawing"),
        (0, b"<?xml", "an XML file (an SVG drawing?)"),
    ];
    let at = |offset: usize, magic: &[u8]| {
        bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    };
    if at(0, b"\xFF\xD8\xFF") {
        Ok(Format::Jpeg)
    } else if at(0, b"\x89PNG\r\n\x1A\n") {
        Ok(Format::Png)
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Ok(Format::WebP)
    } else if at(0, b"BM") {
        Ok(Format::Bmp)
    } else {
        let known = OTHERS.iter().find(|(offset, magic, _)| at(*offset, magic));
        let known = known.map(|k| k.2).or_else(|| media_container(bytes));
        Err(DecodeError::NotAPhoto(
            known.unwrap_or("of no known image format"),
        ))
    }
}

/// What an ISO base media file is, by the brands of its first box (ISO/IEC 14496-12, 23008-12;
/// AV1 Image File Format). Phones name their photos by many: the first brand may be the general
/// `mif1`, and the codec then stands among the compatible ones.
fn media_container(bytes: &[u8]) -> Option<&'static str> {
    const HEVC_BRANDS: [&[u8; 4]; 8] = [
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs",
    ];
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
    // A box of files without a list of brands is 16 bytes; no list has a hundred.
    let brands = &brands[..brands.len().min(size.clamp(12, 408) - 8)];
    let (brands, _) = brands.as_chunks::<4>();
    let has = |wanted: &[u8; 4]| brands.contains(wanted);
    Some(if has(b"avif") || has(b"avis") {
        AVIF
    } else if HEVC_BRANDS.iter().any(|brand| has(brand)) {
        HEIC
    } else if has(b"mif1") || has(b"msf1") {
        HEIF
    } else if has(b"crx ") {
        "a camera raw file"
    } else {
        "a video or another MP4-like file"
    })
}

fn check_pixels(width: u64, height: u64, limits: &Limits) -> Result<(), DecodeError> {
    if width.saturating_mul(height) > limits.max_pixels {
        return Err(DecodeError::TooManyPixels {
            width,
            height,
            limit: limits.max_pixels,
        });
    }
    Ok(())
}

fn check_memory(bytes: u64, limits: &Limits) -> Result<(), DecodeError> {
    if bytes > limits.max_memory_bytes {
        return Err(DecodeError::TooMuchMemory {
            bytes,
            limit: limits.max_memory_bytes,
        });
    }
    Ok(())
}

fn image_limits(limits: &Limits) -> image::Limits {
    let mut own = image::Limits::no_limits();
    own.max_alloc = Some(limits.max_memory_bytes);
    own
}

fn from_jpeg(error: JpegError) -> DecodeError {
    match error {
        JpegError::Truncated => DecodeError::Truncated(Format::Jpeg),
        JpegError::Corrupt(detail) => DecodeError::Corrupt {
            format: Format::Jpeg,
            detail,
        },
        JpegError::Unsupported(detail) => DecodeError::Unsupported {
            format: Format::Jpeg,
            detail,
        },
    }
}

fn decode_jpeg(bytes: &[u8], limits: &Limits) -> Result<Photo, DecodeError> {
    let decoder = jpeg::Decoder::new(bytes).map_err(from_jpeg)?;
    let [width, height] = decoder.dimensions();
    check_pixels(width as u64, height as u64, limits)?;
    check_memory(decoder.peak_bytes(), limits)?;
    let [width, height] = if orient::swaps_axes(decoder.orientation()) {
        [height, width]
    } else {
        [width, height]
    };
    let pixels = decoder.decode().map_err(from_jpeg)?;
    finish(Format::Jpeg, [width, height], pixels, None)
}

fn finish(
    format: Format,
    [width, height]: [usize; 2],
    pixels: Vec<u8>,
    alpha: Option<Vec<u8>>,
) -> Result<Photo, DecodeError> {
    Photo::with_alpha(width, height, pixels, alpha).ok_or_else(|| DecodeError::Corrupt {
        format,
        detail: format!("a size of {width}x{height}"),
    })
}

fn from_image(format: Format, error: ImageError) -> DecodeError {
    match error {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            DecodeError::Truncated(format)
        }
        ImageError::Unsupported(e) => DecodeError::Unsupported {
            format,
            detail: e.to_string(),
        },
        ImageError::Limits(e) => DecodeError::Unsupported {
            format,
            detail: e.to_string(),
        },
        other => {
            let detail = other.to_string();
            // The decoders report a missing end in their own words.
            let lower = detail.to_ascii_lowercase();
            let ended = ["unexpected end", "unexpected eof", "failed to fill"];
            if ended.iter().any(|words| lower.contains(words)) {
                DecodeError::Truncated(format)
            } else {
                DecodeError::Corrupt { format, detail }
            }
        }
    }
}

/// Decodes with a decoder of the `image` crate.
fn decode_with<D: ImageDecoder>(
    foreign: Foreign<D>,
    limits: &Limits,
) -> Result<Photo, DecodeError> {
    let cost = foreign.cost();
    check_pixels(cost.width, cost.height, limits)?;
    check_memory(cost.peak_bytes, limits)?;
    let Foreign {
        format,
        mut decoder,
        orientation,
        sixteen_bits,
    } = foreign;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let stored_bytes = decoder.total_bytes();
    let count = u64::from(width) * u64::from(height);
    let n = usize::try_from(count).unwrap_or(usize::MAX);
    let buffer_bytes = stored_bytes.max(count * 3);
    decoder
        .set_limits(image_limits(limits))
        .map_err(|e| from_image(format, e))?;
    let stored_len = usize::try_from(stored_bytes).unwrap_or(usize::MAX);
    let mut buffer = vec![0; usize::try_from(buffer_bytes).unwrap_or(usize::MAX)];
    decoder
        .read_image(&mut buffer[..stored_len])
        .map_err(|e| from_image(format, e))?;
    let alpha = to_rgb(format, color, &mut buffer, n)?;
    if let Some(bits) = sixteen_bits {
        bmp::cut_fractions(&mut buffer, bits);
    }
    let size = [width as usize, height as usize];
    if orientation == Orientation::NoTransforms {
        return finish(format, size, buffer, alpha);
    }
    let turned = if orient::swaps_axes(orientation) {
        [size[1], size[0]]
    } else {
        size
    };
    let pixels = orient::turn::<3>(&buffer, size, orientation);
    let alpha = alpha.map(|a| orient::turn::<1>(&a, size, orientation));
    finish(format, turned, pixels, alpha)
}

/// Makes `n` RGB pixels of the decoder's output, in place, and takes out alpha if any pixel is not
/// opaque.
fn to_rgb(
    format: Format,
    color: ColorType,
    buffer: &mut Vec<u8>,
    n: usize,
) -> Result<Option<Vec<u8>>, DecodeError> {
    // The positions of R, G, B and A among the bytes of a pixel. 16-bit samples come in the
    // machine's byte order; Pillow keeps the upper byte.
    let upper = usize::from(cfg!(target_endian = "little"));
    let (from, pixel_bytes): ([usize; 4], usize) = match color {
        ColorType::L8 => ([0, 0, 0, 0], 1),
        ColorType::La8 => ([0, 0, 0, 1], 2),
        ColorType::Rgb8 => ([0, 1, 2, 0], 3),
        ColorType::Rgba8 => ([0, 1, 2, 3], 4),
        ColorType::L16 => ([upper; 4], 2),
        ColorType::La16 => ([upper, upper, upper, 2 + upper], 4),
        ColorType::Rgb16 => ([upper, 2 + upper, 4 + upper, 0], 6),
        ColorType::Rgba16 => ([upper, 2 + upper, 4 + upper, 6 + upper], 8),
        other => {
            return Err(DecodeError::Unsupported {
                format,
                detail: format!("pixels of type {other:?}"),
            });
        }
    };
    let alpha = color.has_alpha().then(|| {
        let bytes = buffer.chunks_exact(pixel_bytes).take(n);
        bytes.map(|p| p[from[3]]).collect::<Vec<u8>>()
    });
    let mut place = |i: usize| {
        let stored = i * pixel_bytes;
        let pixel = [0, 1, 2].map(|c| buffer[stored + from[c]]);
        buffer[i * 3..i * 3 + 3].copy_from_slice(&pixel);
    };
    match pixel_bytes {
        3 => {}
        // Pixels become longer, so this goes from the back: no pixel is overwritten before it is
        // read.
        1 | 2 => (0..n).rev().for_each(&mut place),
        _ => (0..n).for_each(&mut place),
    }
    buffer.truncate(n * 3);
    buffer.shrink_to_fit();
    Ok(alpha.filter(|alpha| alpha.iter().any(|&a| a != 255)))
}
