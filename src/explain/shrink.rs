//! Makes a photo small enough to be sent back.

/// The size of a photo with at most `most` pixels on its long side; `None` if it is small enough
/// already. Sizes are `[width, height]`.
#[must_use]
pub fn shrunk([width, height]: [u64; 2], most: u64) -> Option<[u64; 2]> {
    let long = width.max(height);
    if long <= most || most == 0 {
        return None;
    }
    let scaled = |side: u64| side.saturating_mul(most).div_ceil(long).max(1);
    Some([scaled(width), scaled(height)])
}

/// The photo with at most `most` pixels on its long side; each is the mean of the photo's pixels in
/// its place. `None` if the photo is small enough already. `photo` is RGB, row by row. Sizes are
/// `[width, height]`.
///
/// # Panics
/// If `photo` does not have `3 * width * height` bytes.
#[must_use]
pub fn shrink(
    photo: &[u8],
    [width, height]: [usize; 2],
    most: usize,
) -> Option<(Vec<u8>, [usize; 2])> {
    assert_eq!(
        photo.len(),
        3 * width * height,
        "an RGB photo of {width} x {height}"
    );
    let to = shrunk([width as u64, height as u64], most as u64)?;
    let [to_width, to_height] = to.map(|side| usize::try_from(side).unwrap_or(usize::MAX));
    // If each side is at least as long as the target's, no cell is empty.
    let edge = |i: usize, from: usize, to: usize| i * from / to;
    let mut small = Vec::with_capacity(3 * to_width * to_height);
    let mut sums = vec![[0u32; 3]; to_width];
    for y in 0..to_height {
        let rows = edge(y, height, to_height)..edge(y + 1, height, to_height);
        sums.fill([0; 3]);
        for row in rows.clone() {
            let pixels = photo[row * width * 3..][..width * 3].as_chunks::<3>().0;
            for (x, sum) in sums.iter_mut().enumerate() {
                for pixel in &pixels[edge(x, width, to_width)..edge(x + 1, width, to_width)] {
                    for (sum, &value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(value);
                    }
                }
            }
        }
        for (x, sum) in sums.iter().enumerate() {
            let columns = edge(x + 1, width, to_width) - edge(x, width, to_width);
            let count = u32::try_from(columns * rows.len()).unwrap_or(u32::MAX);
            // The mean of bytes is a byte.
            small.extend(sum.map(|sum| ((sum + count / 2) / count).to_le_bytes()[0]));
        }
    }
    Some((small, [to_width, to_height]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pixel_is_the_mean_of_its_place() {
        // Four columns of 0, 10, 20, 30 and two rows, the lower one 100 more.
        let column = |y: u8| (0..4u8).flat_map(move |x| [x * 10 + y * 100; 3]);
        let photo: Vec<u8> = (0..2).flat_map(column).collect();
        let (small, size) = shrink(&photo, [4, 2], 2).unwrap();
        assert_eq!(size, [2, 1]);
        assert_eq!(small, [55, 55, 55, 75, 75, 75]);
        assert_eq!(shrink(&photo, [4, 2], 4), None);
    }

    #[test]
    fn odd_sizes_use_every_pixel_once() {
        let photo = vec![7; 3 * 13 * 5];
        let (small, size) = shrink(&photo, [13, 5], 6).unwrap();
        assert_eq!(size, [6, 3]);
        assert_eq!(small, vec![7; 3 * 18]);
    }
}
