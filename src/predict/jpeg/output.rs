//! Turns samples into pixels: chroma upsampling, colour, orientation.

use image::metadata::Orientation;

use super::header::{ColorSpace, Component, Header};
use crate::predict::orient::Placement;

/// How a component is enlarged to the photo's rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upsampling {
    /// It has the photo's size.
    None,
    /// Twice as wide, triangle filter.
    Triangle2x1,
    /// Twice as high, triangle filter.
    Triangle1x2,
    /// Both.
    Triangle2x2,
    /// Each sample repeated.
    Repeat { across: usize, down: usize },
}

impl Upsampling {
    /// libjpeg-turbo's choice. For two columns or fewer the filter makes no sense.
    fn new(component: &Component, h_max: usize, v_max: usize) -> Self {
        let wide = component.width > 2;
        match (h_max / component.h, v_max / component.v) {
            (1, 1) => Self::None,
            (2, 1) if wide => Self::Triangle2x1,
            (1, 2) => Self::Triangle1x2,
            (2, 2) if wide => Self::Triangle2x2,
            (across, down) => Self::Repeat { across, down },
        }
    }
}

/// The last two strips (rows of MCUs) of a component's samples.
struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// Rows of one strip.
    strip: usize,
    width: usize,
    height: usize,
    upsampling: Upsampling,
}

impl Plane {
    /// A row in one of the last two strips. Rows beyond the photo are the photo's last row.
    fn row(&self, y: usize) -> &[u8] {
        let y = y.min(self.height - 1) % (2 * self.strip);
        &self.samples[y * self.stride..][..self.width]
    }

    /// Row `y` of the photo from this component, made in `line` if necessary.
    fn full_row<'s>(&'s self, y: usize, line: &'s mut [u8], sums: &mut [u16]) -> &'s [u8] {
        match self.upsampling {
            Upsampling::None => self.row(y),
            Upsampling::Triangle2x1 => {
                triangle_2x1(self.row(y), line);
                line
            }
            Upsampling::Triangle1x2 => {
                let (near, far, below) = self.neighbours(y);
                // Alternate rounding avoids a drift: libjpeg's ordered dither.
                let bias = if below { 2 } else { 1 };
                for ((out, &n), &f) in line.iter_mut().zip(near).zip(far) {
                    *out = low_byte((3 * u16::from(n) + u16::from(f) + bias) >> 2);
                }
                line
            }
            Upsampling::Triangle2x2 => {
                let (near, far, _) = self.neighbours(y);
                let sums = &mut sums[..self.width];
                for ((sum, &n), &f) in sums.iter_mut().zip(near).zip(far) {
                    *sum = 3 * u16::from(n) + u16::from(f);
                }
                triangle_2x2(sums, line);
                line
            }
            Upsampling::Repeat { across, down } => {
                let row = self.row(y / down);
                for (out, &sample) in line.chunks_mut(across).zip(row) {
                    out.fill(sample);
                }
                line
            }
        }
    }

    /// For twice as many rows: the sample row that contains row `y`, the second nearest sample row,
    /// and whether that one is below.
    fn neighbours(&self, y: usize) -> (&[u8], &[u8], bool) {
        let near = y / 2;
        let below = y % 2 == 1;
        let far = if below {
            near + 1
        } else {
            near.saturating_sub(1)
        };
        (self.row(near), self.row(far), below)
    }
}

/// The sums below are averages of bytes.
fn low_byte(value: u16) -> u8 {
    value.to_le_bytes()[0]
}

/// Doubles a row of at least three samples: each output is 3/4 of the nearer and 1/4 of the
/// farther sample, rounded up and down in turn.
fn triangle_2x1(row: &[u8], line: &mut [u8]) {
    let wide = |i: usize| u16::from(row[i]);
    let last = row.len() - 1;
    let mut put = |i: usize, value: u16| {
        if let Some(out) = line.get_mut(i) {
            *out = low_byte(value);
        }
    };
    put(0, wide(0));
    put(1, (3 * wide(0) + wide(1) + 2) >> 2);
    put(2 * last, (3 * wide(last) + wide(last - 1) + 1) >> 2);
    put(2 * last + 1, wide(last));
    let middle = line[2..].as_chunks_mut::<2>().0;
    for (out, around) in middle.iter_mut().zip(row.windows(3)) {
        let center = 3 * u16::from(around[1]);
        *out = [
            low_byte((center + u16::from(around[0]) + 1) >> 2),
            low_byte((center + u16::from(around[2]) + 2) >> 2),
        ];
    }
}

/// Like [`triangle_2x1`], for sums that still have the vertical filter's factor of four.
fn triangle_2x2(sums: &[u16], line: &mut [u8]) {
    let last = sums.len() - 1;
    let mut put = |i: usize, value: u16| {
        if let Some(out) = line.get_mut(i) {
            *out = low_byte(value);
        }
    };
    put(0, (4 * sums[0] + 8) >> 4);
    put(1, (3 * sums[0] + sums[1] + 7) >> 4);
    put(2 * last, (3 * sums[last] + sums[last - 1] + 8) >> 4);
    put(2 * last + 1, (4 * sums[last] + 7) >> 4);
    let middle = line[2..].as_chunks_mut::<2>().0;
    for (out, around) in middle.iter_mut().zip(sums.windows(3)) {
        let center = 3 * around[1];
        *out = [
            low_byte((center + around[0] + 8) >> 4),
            low_byte((center + around[2] + 7) >> 4),
        ];
    }
}

/// Takes blocks of samples and makes the photo.
pub(super) struct Output {
    planes: Vec<Plane>,
    color: ColorSpace,
    width: usize,
    height: usize,
    /// Rows of the photo in one strip.
    strip: usize,
    strips: usize,
    /// Rows of the photo that are done.
    done: usize,
    lines: [Vec<u8>; 4],
    sums: Vec<u16>,
    rgb: Vec<u8>,
    placement: Placement<3>,
}

impl Output {
    pub(super) fn new(header: &Header<'_>, orientation: Orientation) -> Self {
        let frame = &header.frame;
        let planes = frame
            .components
            .iter()
            .map(|c| {
                let stride = c.blocks_across * 8;
                Plane {
                    samples: vec![0; stride * 16 * c.v],
                    stride,
                    strip: 8 * c.v,
                    width: c.width,
                    height: c.height,
                    upsampling: Upsampling::new(c, frame.h_max, frame.v_max),
                }
            })
            .collect();
        // A doubled row of a photo with an odd width is one sample too long; a repeated one is up
        // to three too long.
        let line = vec![0; frame.width + 4];
        Self {
            planes,
            color: header.color,
            width: frame.width,
            height: frame.height,
            strip: 8 * frame.v_max,
            strips: frame.mcus_down,
            done: 0,
            lines: std::array::from_fn(|_| line.clone()),
            sums: vec![0; frame.width + 4],
            rgb: vec![0; frame.width * 3],
            placement: Placement::new(frame.width, frame.height, orientation),
        }
    }

    /// Where the samples of a block go, and the distance of its rows: block `column` of row `v` of
    /// blocks of strip `mcu_row`.
    pub(super) fn block(
        &mut self,
        component: usize,
        mcu_row: usize,
        v: usize,
        column: usize,
    ) -> (&mut [u8], usize) {
        let plane = &mut self.planes[component];
        let row = (mcu_row * plane.strip + v * 8) % (2 * plane.strip);
        let start = row * plane.stride + column * 8;
        (&mut plane.samples[start..], plane.stride)
    }

    /// Makes the rows of the photo whose samples are complete after strip `mcu_row`. The last row
    /// may need the next strip, for the filter.
    pub(super) fn strip_done(&mut self, mcu_row: usize) {
        let to = if mcu_row + 1 == self.strips {
            self.height
        } else {
            (mcu_row + 1) * self.strip - 1
        };
        for y in self.done..to {
            self.make_row(y);
            self.placement.put_row(y, &self.rgb);
        }
        self.done = to;
    }

    fn make_row(&mut self, y: usize) {
        let Self {
            planes,
            lines,
            sums,
            rgb,
            width,
            ..
        } = self;
        let mut rows: [&[u8]; 4] = [&[]; 4];
        for ((row, plane), line) in rows.iter_mut().zip(planes.iter()).zip(lines.iter_mut()) {
            *row = &plane.full_row(y, line, sums)[..*width];
        }
        let pixels = rgb.as_chunks_mut::<3>().0;
        let [a, b, c, d] = rows;
        match self.color {
            ColorSpace::Gray => {
                for (pixel, &v) in pixels.iter_mut().zip(a) {
                    *pixel = [v; 3];
                }
            }
            ColorSpace::Rgb => {
                for (((pixel, &r), &g), &b) in pixels.iter_mut().zip(a).zip(b).zip(c) {
                    *pixel = [r, g, b];
                }
            }
            ColorSpace::YCbCr => ycbcr_row([a, b, c], pixels),
            ColorSpace::Cmyk => {
                for ((((pixel, &c), &m), &y), &k) in pixels.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *pixel = [c, m, y].map(|ink| inked(ink, k));
                }
            }
            ColorSpace::Ycck => {
                for ((((pixel, &y), &cb), &cr), &k) in pixels.iter_mut().zip(a).zip(b).zip(c).zip(d)
                {
                    // The inks are 255 minus these. They are stored inverted, so this inverts them
                    // back.
                    *pixel = ycbcr(y, cb, cr).map(|ink| inked(255 - ink, k));
                }
            }
        }
    }

    /// The photo, upright.
    pub(super) fn finish(self) -> Vec<u8> {
        self.placement.finish()
    }
}

/// JFIF's conversion in 16-bit fixed point, rounded as libjpeg does.
///
/// The factors are 1.402, 0.344136, 0.714136 and 1.772 times 65536, minus the whole multiples of
/// 65536 before the bracket. So they fit 16 bits, and x86-64 has vector products for 16 bits.
#[inline]
fn ycbcr(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i16::from(y), i16::from(cb) - 128, i16::from(cr) - 128);
    let (wide_cb, wide_cr) = (i32::from(cb), i32::from(cr));
    [
        y + cr + upper(26_345 * wide_cr + HALF),
        y - cr + upper(18_734 * wide_cr - 22_554 * wide_cb + HALF),
        y + 2 * cb + upper(HALF - 14_942 * wide_cb),
    ]
    .map(clamp)
}

/// The whole part of a number with 16 fraction bits.
#[inline]
fn upper(value: i32) -> i16 {
    (value >> 16) as i16
}

#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn clamp(value: i16) -> u8 {
    value.clamp(0, 255) as u8
}

/// Number of pixels that are converted at once: separate channels fill vector registers.
const LANES: usize = 16;

fn ycbcr_row([y, cb, cr]: [&[u8]; 3], pixels: &mut [[u8; 3]]) {
    let (head, tail) = pixels.as_chunks_mut::<LANES>();
    let (head_y, tail_y) = y.as_chunks::<LANES>();
    let (head_cb, tail_cb) = cb.as_chunks::<LANES>();
    let (head_cr, tail_cr) = cr.as_chunks::<LANES>();
    for (((pixels, y), cb), cr) in head.iter_mut().zip(head_y).zip(head_cb).zip(head_cr) {
        let mut planes = [[0; LANES]; 3];
        for i in 0..LANES {
            let [r, g, b] = ycbcr(y[i], cb[i], cr[i]);
            planes[0][i] = r;
            planes[1][i] = g;
            planes[2][i] = b;
        }
        for (i, pixel) in pixels.iter_mut().enumerate() {
            *pixel = [planes[0][i], planes[1][i], planes[2][i]];
        }
    }
    for (((pixel, &y), &cb), &cr) in tail.iter_mut().zip(tail_y).zip(tail_cb).zip(tail_cr) {
        *pixel = ycbcr(y, cb, cr);
    }
}

/// Pillow's CMYK to RGB of an inverted ink and inverted black: the paper's brightness without the
/// ink's share of it.
fn inked(ink: u8, black: u8) -> u8 {
    let (ink, white) = (u32::from(255 - ink), u32::from(black));
    let product = ink * white + 128;
    let share = ((product >> 8) + product) >> 8;
    white.saturating_sub(share).to_le_bytes()[0]
}
