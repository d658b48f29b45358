//! A JPEG decoder that gives the same pixels as libjpeg-turbo, bit for bit.
//!
//! Pillow, TensorFlow and torchvision all decode with libjpeg-turbo, so models are trained on its
//! rounding. The decoders available in Rust round differently: on dermatoscopic photos by up to 6
//! grey levels, with 1 to 3 % of samples off by more than one level, which moves probabilities in
//! the third decimal. The standard leaves the arithmetic open. This decoder uses libjpeg-turbo's
//! defaults: the accurate integer IDCT, triangle-filter ("fancy") chroma upsampling and fixed-point
//! YCbCr conversion.
//!
//! Sequential files are decoded a row of blocks at a time, straight into the oriented photo: only
//! the result is as large as the photo. Progressive files, and sequential files with several scans,
//! need all coefficients at once: two more bytes for each sample.
//!
//! Not here: arithmetic coding, 12 bits, lossless and hierarchical modes (refused by name).
//! Unlike in libjpeg, damaged entropy data is an error; the decoder does not guess.
//!
//! References: ITU-T T.81; Loeffler, Ligtenberg, Moschytz, "Practical fast 1-D DCT algorithms
//! with 11 multiplications" (ICASSP 1989); JFIF 1.02; Adobe TN 5116.

mod bits;
mod header;
mod idct;
mod output;
mod scan;

use image::metadata::Orientation;

use self::header::{Header, Segment};
use self::output::Output;
use self::scan::Coefficients;
use super::exif;

/// Why a JPEG file cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JpegError {
    /// The data ends too early.
    Truncated,
    /// The data contradicts itself.
    Corrupt(String),
    /// A coding process that is not implemented.
    Unsupported(String),
}

/// Most scans of one file. Encoders write at most a dozen. A hundred bytes of a scan can make the
/// decoder walk over all coefficients.
const MAX_SCANS: usize = 100;

/// A file whose header has been read.
pub(super) struct Decoder<'a> {
    header: Header<'a>,
}

impl<'a> Decoder<'a> {
    /// Reads up to the frame header and its first scan. Allocates only tables.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, JpegError> {
        Ok(Self {
            header: Header::read(bytes)?,
        })
    }

    /// Columns and rows as stored, before orientation.
    pub(super) fn dimensions(&self) -> [usize; 2] {
        [self.header.frame.width, self.header.frame.height]
    }

    /// The orientation that EXIF or XMP asks for.
    pub(super) fn orientation(&self) -> Orientation {
        exif::orientation(self.header.exif, self.header.xmp)
    }

    /// Bytes that [`Decoder::decode`] will hold at its peak, beside the file: the photo, and all
    /// coefficients unless one scan has everything.
    pub(super) fn peak_bytes(&self) -> u64 {
        let frame = &self.header.frame;
        let photo = frame.width as u64 * frame.height as u64 * 3;
        if self.header.streams() {
            return photo;
        }
        let samples: u64 = frame
            .components
            .iter()
            .map(|c| c.stored_blocks as u64 * 64)
            .sum();
        photo + samples * 2
    }

    /// Decodes to RGB, upright.
    pub(super) fn decode(mut self) -> Result<Vec<u8>, JpegError> {
        let orientation = self.orientation();
        if self.header.streams() {
            let mut output = Output::new(&self.header, orientation);
            scan::sequential(&mut self.header, &mut output)?;
            return Ok(output.finish());
        }
        let mut coefficients = Coefficients::new(&self.header.frame);
        for _ in 0..MAX_SCANS {
            coefficients.read_scan(&mut self.header)?;
            match self.header.next_scan()? {
                Segment::Scan => {}
                Segment::End => {
                    coefficients.check_complete(&self.header.frame)?;
                    let mut output = Output::new(&self.header, orientation);
                    coefficients.emit(&self.header.frame, &mut output);
                    return Ok(output.finish());
                }
            }
        }
        Err(JpegError::Unsupported(format!(
            "more than {MAX_SCANS} scans"
        )))
    }
}
