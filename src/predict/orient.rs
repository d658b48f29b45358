//! Puts the rows of a stored picture into their places in the upright picture.

use image::metadata::Orientation;

/// An upright picture that is filled with rows of the stored one, in any order. Turning the picture
/// while it is decoded saves the second copy that turning it afterwards would need.
pub(super) struct Placement<const N: usize> {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
    orientation: Orientation,
}

/// Whether rows of the stored picture become columns of the upright one.
pub(super) fn swaps_axes(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
}

impl<const N: usize> Placement<N> {
    /// For a stored picture of `width` x `height`.
    pub(super) fn new(width: usize, height: usize, orientation: Orientation) -> Self {
        Self {
            pixels: vec![0; width * height * N],
            width,
            height,
            orientation,
        }
    }

    /// Takes row `y` of the stored picture.
    pub(super) fn put_row(&mut self, y: usize, row: &[u8]) {
        let (w, h) = (self.width, self.height);
        let from = row.as_chunks::<N>().0;
        let to = self.pixels.as_chunks_mut::<N>().0;
        match self.orientation {
            Orientation::NoTransforms => to[y * w..][..w].copy_from_slice(from),
            Orientation::FlipVertical => to[(h - 1 - y) * w..][..w].copy_from_slice(from),
            Orientation::FlipHorizontal => reversed(&mut to[y * w..][..w], from),
            Orientation::Rotate180 => reversed(&mut to[(h - 1 - y) * w..][..w], from),
            // Transposed: stored (x, y) goes to column y, row x.
            Orientation::Rotate90FlipH => column(to, y, h, from.iter()),
            // A quarter turn clockwise: the top row becomes the right column.
            Orientation::Rotate90 => column(to, h - 1 - y, h, from.iter()),
            // Anticlockwise: the top row becomes the left column, upwards.
            Orientation::Rotate270 => column(to, y, h, from.iter().rev()),
            Orientation::Rotate270FlipH => column(to, h - 1 - y, h, from.iter().rev()),
        }
    }

    /// The upright picture's pixels.
    pub(super) fn finish(self) -> Vec<u8> {
        self.pixels
    }
}

fn reversed<const N: usize>(to: &mut [[u8; N]], from: &[[u8; N]]) {
    for (to, from) in to.iter_mut().zip(from.iter().rev()) {
        *to = *from;
    }
}

fn column<'a, const N: usize>(
    to: &mut [[u8; N]],
    x: usize,
    width: usize,
    from: impl Iterator<Item = &'a [u8; N]>,
) {
    for (to, from) in to[x..].iter_mut().step_by(width).zip(from) {
        *to = *from;
    }
}

/// A turned copy of a whole picture of `N` bytes a pixel.
pub(super) fn turn<const N: usize>(
    stored: &[u8],
    [width, height]: [usize; 2],
    orientation: Orientation,
) -> Vec<u8> {
    let mut placement = Placement::<N>::new(width, height, orientation);
    for (y, row) in stored.chunks_exact(width * N).enumerate() {
        placement.put_row(y, row);
    }
    placement.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_orientation_puts_the_corners_where_exif_says() {
        // Stored rows `ab`, `cd`, `ef`.
        for (exif, size, upright) in [
            (1, [2, 3], "abcdef"),
            (2, [2, 3], "badcfe"),
            (3, [2, 3], "fedcba"),
            (4, [2, 3], "efcdab"),
            (5, [2, 3], "acebdf"),
            (6, [2, 3], "ecafdb"),
            (7, [2, 3], "fdbeca"),
            (8, [2, 3], "bdface"),
        ] {
            let orientation = Orientation::from_exif(exif).unwrap();
            let got = turn::<1>(b"abcdef", size, orientation);
            assert_eq!(got, upright.as_bytes(), "orientation {exif}");
            assert_eq!(swaps_axes(orientation), exif >= 5);
        }
    }
}
