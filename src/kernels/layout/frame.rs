//! An image inside a larger one: padding goes from the inner to the outer image, cropping back.

use super::super::{KernelError, check_len, split};
use super::move_ns;

/// Two `HWC` images: the outer one has more rows or columns on some sides.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Frame {
    inner: Image,
    outer: Image,
    /// Outer rows above the inner image.
    top: usize,
    /// Bytes of an outer row to the left of the inner image.
    left: usize,
}

/// Rows, and bytes of a row.
#[derive(Clone, Copy, Debug)]
struct Image {
    rows: usize,
    row_len: usize,
}

impl Image {
    /// Refuses shapes that are empty or cannot be addressed.
    fn of(what: &'static str, shape: [usize; 3], element: usize) -> Result<Self, KernelError> {
        let len = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        check_len(what, len.unwrap_or(usize::MAX))?;
        Ok(Self {
            rows: shape[0],
            row_len: shape[1] * shape[2] * element,
        })
    }

    fn len(self) -> usize {
        self.rows * self.row_len
    }
}

impl Frame {
    /// The frame that padding adds to an image of elements of `element` bytes: rows above, columns
    /// to the left, rows below and columns to the right.
    pub(in crate::kernels) fn around(
        inner: [usize; 3],
        padding: [usize; 4],
        element: usize,
    ) -> Result<Self, KernelError> {
        let [top, left, bottom, right] = padding;
        let grown = |len: usize, before, after| {
            len.checked_add(before)
                .and_then(|n| n.checked_add(after))
                .unwrap_or(usize::MAX)
        };
        let outer = [
            grown(inner[0], top, bottom),
            grown(inner[1], left, right),
            inner[2],
        ];
        Ok(Self {
            inner: Image::of("padding input", inner, element)?,
            outer: Image::of("padding output", outer, element)?,
            top,
            left: left * inner[2] * element,
        })
    }

    /// The frame that cropping removes from an image, with the same sides.
    pub(in crate::kernels) fn inside(
        outer: [usize; 3],
        cropping: [usize; 4],
        element: usize,
    ) -> Result<Self, KernelError> {
        let [top, left, bottom, right] = cropping;
        let cut = |len: usize, before, after| {
            len.checked_sub(before)?
                .checked_sub(after)
                .filter(|&n| n > 0)
        };
        let all = Image::of("cropping input", outer, element)?;
        let (Some(rows), Some(columns)) = (cut(outer[0], top, bottom), cut(outer[1], left, right))
        else {
            return Err(KernelError::Geometry {
                what: "cropping",
                got: format!("{cropping:?} of {outer:?}"),
                rule: "a row and a column must be left",
            });
        };
        Ok(Self {
            inner: Image::of("cropping output", [rows, columns, outer[2]], element)?,
            outer: all,
            top,
            left: left * outer[2] * element,
        })
    }

    /// Bytes of the inner image.
    pub(in crate::kernels) fn inner_len(&self) -> usize {
        self.inner.len()
    }

    /// Bytes of the outer image.
    pub(in crate::kernels) fn outer_len(&self) -> usize {
        self.outer.len()
    }

    /// The best number of tasks for padding.
    pub(in crate::kernels) fn pad_tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.outer.rows, move_ns(self.outer.len()))
    }

    /// The best number of tasks for cropping.
    pub(in crate::kernels) fn crop_tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.inner.rows, move_ns(self.inner.len()))
    }

    /// Writes a task's rows of the outer image: the inner image, and `fill` around it.
    ///
    /// # Safety
    /// `from` holds the inner image, `to` has room for the outer one, and they do not overlap. No
    /// other thread touches the task's rows.
    pub(in crate::kernels) unsafe fn pad(
        &self,
        [task, tasks]: [usize; 2],
        from: *const u8,
        to: *mut u8,
        fill: u8,
    ) {
        let right = self.outer.row_len - self.left - self.inner.row_len;
        for row in split::range(task, tasks, self.outer.rows) {
            // SAFETY: the row lies in the outer image, and an inner row is read only if there is
            // one.
            unsafe {
                let to = to.add(row * self.outer.row_len);
                match row.checked_sub(self.top).filter(|&y| y < self.inner.rows) {
                    Some(y) => {
                        let inner = from.add(y * self.inner.row_len);
                        let middle = to.add(self.left);
                        to.write_bytes(fill, self.left);
                        middle.copy_from_nonoverlapping(inner, self.inner.row_len);
                        middle.add(self.inner.row_len).write_bytes(fill, right);
                    }
                    None => to.write_bytes(fill, self.outer.row_len),
                }
            }
        }
    }

    /// Writes a task's rows of the inner image.
    ///
    /// # Safety
    /// `from` holds the outer image, `to` has room for the inner one, and they do not overlap. No
    /// other thread touches the task's rows.
    pub(in crate::kernels) unsafe fn crop(
        &self,
        [task, tasks]: [usize; 2],
        from: *const u8,
        to: *mut u8,
    ) {
        for row in split::range(task, tasks, self.inner.rows) {
            // SAFETY: `inside` checked that the inner image lies in the outer one.
            unsafe {
                let outer = from.add((row + self.top) * self.outer.row_len + self.left);
                to.add(row * self.inner.row_len)
                    .copy_from_nonoverlapping(outer, self.inner.row_len);
            }
        }
    }
}
