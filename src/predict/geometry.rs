//! Which part of a photo becomes which pixels of the input.

use crate::artifact::Resize;

/// A part of an axis: `start..start + len`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// Where it begins. A whole number, except with [`Resize::Fit`].
    pub start: f64,
    /// How long it is. A whole number, except with [`Resize::Fit`].
    pub len: f64,
}

/// Elements of an axis: `start..start + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First element.
    pub start: usize,
    /// Number of elements.
    pub len: usize,
}

/// One axis of a resize: `from` of the photo becomes `to` pixels, and `keep` of these are the
/// input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    /// Part of the photo.
    pub from: Part,
    /// Number of pixels after the resize.
    pub to: usize,
    /// The pixels after the resize that are the input.
    pub keep: Span,
}

impl Axis {
    /// The part of the photo that ends up in the input, in pixels: start and length.
    fn seen(self) -> (f64, f64) {
        let pixels = |kept: usize| kept as f64 * self.from.len / self.to as f64;
        (
            self.from.start + pixels(self.keep.start),
            pixels(self.keep.len),
        )
    }

    /// Whether the resize leaves an axis of `len` pixels unchanged.
    pub(super) fn is_unchanged(self, len: usize) -> bool {
        let whole = self.from.start == 0.0 && self.from.len == len as f64;
        self.to == len && whole
    }

    /// The part of the photo, if it is whole pixels.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole pixels of a photo"
    )]
    pub(super) fn whole_pixels(self) -> Span {
        debug_assert!(self.from.start.fract() == 0.0 && self.from.len.fract() == 0.0);
        Span {
            start: self.from.start as usize,
            len: self.from.len as usize,
        }
    }

    fn whole(len: usize, to: usize) -> Self {
        Self {
            from: Part {
                start: 0.0,
                len: len as f64,
            },
            to,
            keep: Span { start: 0, len: to },
        }
    }
}

/// The part of a photo that the model sees, in pixels of the photo. Recipes that crop make it
/// smaller than the photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Columns.
    pub width: f64,
    /// Rows.
    pub height: f64,
}

impl Region {
    /// The same part of the photo after its size changed. Sizes are `[width, height]`.
    #[must_use]
    pub fn scaled(self, from: [usize; 2], to: [usize; 2]) -> Self {
        let [x, y] = [0, 1].map(|axis| to[axis] as f64 / from[axis] as f64);
        Self {
            left: self.left * x,
            top: self.top * y,
            width: self.width * x,
            height: self.height * y,
        }
    }

    /// The part that a recipe keeps of a photo of `photo` rows and columns, for an input of `input`
    /// rows and columns.
    #[must_use]
    pub fn seen(resize: Resize, photo: [usize; 2], input: [usize; 2]) -> Self {
        let [rows, columns] = axes(resize, photo, input);
        let ((top, height), (left, width)) = (rows.seen(), columns.seen());
        Self {
            left,
            top,
            width,
            height,
        }
    }
}

/// The axes (rows, columns) by which a photo of `height` x `width` becomes an input of
/// `to_height` x `to_width`. All sizes are at least 1.
pub(super) fn axes(
    resize: Resize,
    [height, width]: [usize; 2],
    [to_height, to_width]: [usize; 2],
) -> [Axis; 2] {
    match resize {
        Resize::Stretch => [Axis::whole(height, to_height), Axis::whole(width, to_width)],
        Resize::ShortSideCenterCrop { short_side } => {
            let short = (short_side as usize).max(to_height).max(to_width);
            // torchvision: the long side is `int(short_side * long / short)`, and `CenterCrop`
            // starts at `int(round((long - crop) / 2))`, Python's round to even.
            let (resized_height, resized_width) = if width <= height {
                (short * height / width, short)
            } else {
                (short, short * width / height)
            };
            let axis = |len, to, crop| Axis {
                keep: Span {
                    start: half_to_even(to - crop),
                    len: crop,
                },
                ..Axis::whole(len, to)
            };
            [
                axis(height, resized_height, to_height),
                axis(width, resized_width, to_width),
            ]
        }
        Resize::CropToAspect => {
            // Keras' `smart_resize` and `load_img(keep_aspect_ratio=True)` agree.
            let crop_height = (width * to_height / to_width).clamp(1, height);
            let crop_width = (height * to_width / to_height).clamp(1, width);
            let axis = |len, crop, to| Axis {
                from: Part {
                    start: ((len - crop) / 2) as f64,
                    len: crop as f64,
                },
                ..Axis::whole(crop, to)
            };
            [
                axis(height, crop_height, to_height),
                axis(width, crop_width, to_width),
            ]
        }
        Resize::Fit => fit([height, width], [to_height, to_width]),
    }
}

/// Pillow's `ImageOps.fit`: the largest middle rectangle with the output's aspect ratio, with
/// fractions of pixels at its edges. Python computes it in `f64`, and `resize(box=...)` takes it as
/// `f32`. Both roundings are part of the result.
fn fit([height, width]: [usize; 2], [to_height, to_width]: [usize; 2]) -> [Axis; 2] {
    let (columns, rows) = (width as f64, height as f64);
    let ratio = columns / rows;
    let wanted = to_width as f64 / to_height as f64;
    let (crop_columns, crop_rows) = if ratio == wanted {
        (columns, rows)
    } else if ratio >= wanted {
        (wanted * rows, rows)
    } else {
        (columns, columns / wanted)
    };
    let axis = |len: f64, crop: f64, to: usize| {
        let start = (len - crop) * 0.5;
        #[expect(clippy::cast_possible_truncation, reason = "as Pillow rounds")]
        let (from, end) = (start as f32, (start + crop) as f32);
        Axis {
            from: Part {
                start: f64::from(from),
                len: f64::from(end - from),
            },
            to,
            keep: Span { start: 0, len: to },
        }
    };
    [
        axis(rows, crop_rows, to_height),
        axis(columns, crop_columns, to_width),
    ]
}

/// `n / 2`, rounded half to even.
fn half_to_even(n: usize) -> usize {
    let half = n / 2;
    half + usize::from(n % 2 == 1 && half % 2 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_what_is_left_after_cropping() {
        let region = Region::seen(Resize::CropToAspect, [450, 600], [224, 224]);
        assert_eq!((region.left, region.width), (75.0, 450.0));
        assert_eq!((region.top, region.height), (0.0, 450.0));
        // 600 x 300 becomes 400 x 200; the middle 100 x 100 is kept.
        let mode = Resize::ShortSideCenterCrop { short_side: 200 };
        let region = Region::seen(mode, [300, 600], [100, 100]);
        assert_eq!((region.left, region.width), (225.0, 150.0));
        assert_eq!((region.top, region.height), (75.0, 150.0));
    }

    #[test]
    fn halves_go_to_even() {
        let halves: Vec<usize> = (0..9).map(half_to_even).collect();
        // Python: [round(n / 2) for n in range(9)]
        assert_eq!(halves, [0, 0, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn torchvision_resizes_the_short_side_and_cuts_the_middle() {
        let mode = Resize::ShortSideCenterCrop { short_side: 256 };
        let [rows, columns] = axes(mode, [450, 600], [224, 224]);
        assert_eq!((rows.to, rows.keep.start), (256, 16));
        // int(256 * 600 / 450) = 341, round((341 - 224) / 2) = round(58.5) = 58
        assert_eq!((columns.to, columns.keep.start), (341, 58));
    }

    #[test]
    fn keras_cuts_the_largest_middle_rectangle() {
        let [rows, columns] = axes(Resize::CropToAspect, [450, 600], [300, 300]);
        assert_eq!(rows.whole_pixels(), Span { start: 0, len: 450 });
        let middle = Span {
            start: 75,
            len: 450,
        };
        assert_eq!(columns.whole_pixels(), middle);
        let [rows, columns] = axes(Resize::CropToAspect, [1, 5000], [300, 300]);
        assert_eq!((rows.from.len, columns.from.len), (1.0, 1.0));
    }

    #[test]
    fn pillow_fits_at_half_pixels() {
        let [rows, columns] = axes(Resize::Fit, [100, 61], [48, 48]);
        assert_eq!((columns.from.start, columns.from.len), (0.0, 61.0));
        assert_eq!((rows.from.start, rows.from.len), (19.5, 61.0));
        let [rows, columns] = axes(Resize::Fit, [48, 48], [48, 48]);
        assert!(rows.is_unchanged(48) && columns.is_unchanged(48));
        // The same photo, cut at whole pixels, gives another input.
        let region = Region::seen(Resize::Fit, [100, 61], [48, 48]);
        assert_eq!((region.top, region.height), (19.5, 61.0));
    }
}
