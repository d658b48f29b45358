//! `SPACE_TO_BATCH_ND` and `BATCH_TO_SPACE_ND`, between which TensorFlow writes a convolution with
//! dilation.
//!
//! The first deals an image out to a batch of small ones, each with every `b`-th row and column; the
//! second joins them again. A convolution of the small images reads neighbours that are `b` apart in
//! the large one, so it is one with dilation `b` there. Dealing out changes how the value is seen
//! ([`View`]) and moves nothing.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::part::{Cut, cut};
use super::window::{Slots, window};
use crate::graph::{NodeId, Op, Padding, Window};
use crate::import::error::ImportError;
use crate::import::view::View;

/// The largest step from a row or column of a small image to the next.
const MAX_BLOCK: usize = 64;

/// An image `[rows, columns, channels]` of the graph as a batch of small ones.
fn dealt(id: NodeId, [h, w, c]: [usize; 3], [down, across]: [usize; 2]) -> Option<View> {
    let (rows, columns) = (h.checked_div(down)?, w.checked_div(across)?);
    if rows * down != h || columns * across != w {
        return None;
    }
    let whole = View::row_major(id, &[rows, down, columns, across, c]);
    let turned = whole.transposed(&[1, 3, 0, 2, 4]);
    turned.reshaped(&[down * across, rows, columns, c])
}

/// The steps between rows and columns of the small images, and what is added to or cut from each
/// side of the large one.
fn described(call: &Call, name: &str) -> Result<([usize; 2], Padding), ImportError> {
    let block = call.ints(1, "block_shape")?;
    let sides = call.ints(2, name)?;
    let number = |&n: &i64| usize::try_from(n).ok().filter(|&n| n < 1 << 20);
    let counts = |list: &[i64]| list.iter().map(number).collect::<Option<Vec<usize>>>();
    let fits = |n: &usize| (1..=MAX_BLOCK).contains(n);
    let (Some(&[down, across]), Some(&[top, bottom, left, right])) =
        (counts(&block).as_deref(), counts(&sides).as_deref())
    else {
        let shown = format!("{block:?} with {name} {sides:?}");
        let expected = "steps for rows and columns, and two numbers for each of them";
        return Err(call.place().refused("block_shape", shown, expected));
    };
    if !fits(&down) || !fits(&across) {
        let shown = format!("{block:?}");
        return Err(call.place().refused("block_shape", shown, "1 to 64"));
    }
    let sides = Padding {
        top,
        left,
        bottom,
        right,
    };
    Ok(([down, across], sides))
}

pub(super) fn space_to_batch<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (block, padding) = described(call, "paddings")?;
    let (mut id, [mut h, mut w, c]) = importer.image(call, call.view(0)?)?;
    if padding != Padding::default() {
        id = importer.push(call, None, Op::Pad(padding), &[id])?;
        [h, w, _] = importer.graph.shape(id).hwc().unwrap_or([h, w, c]);
    }
    let y = dealt(id, [h, w, c], block).ok_or_else(|| {
        let expected = format!("steps that divide {h} rows and {w} columns");
        let shown = format!("{block:?}");
        call.place().refused("block_shape", shown, expected)
    })?;
    Ok(vec![Value::View(y)])
}

pub(super) fn batch_to_space<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let ([down, across], crops) = described(call, "crops")?;
    let x = call.view(0)?;
    let dims = x.dims();
    let [batch, h, w, c] = *dims.as_slice() else {
        let shown = format!("{dims:?}");
        return Err(call.place().refused("shape", shown, "four axes"));
    };
    if batch != down * across {
        let expected = format!("one that makes 1 image of {batch}");
        let shown = format!("[{down}, {across}]");
        return Err(call.place().refused("block_shape", shown, expected));
    }
    let apart = importer.reshape(call, x, &[down, across, h, w, c])?;
    let turned = apart.transposed(&[2, 0, 3, 1, 4]);
    let (rows, columns) = (h * down, w * across);
    let mut y = importer.reshape(call, &turned, &[1, rows, columns, c])?;
    let sides = [
        (1, rows, crops.top, crops.bottom, Some("rows")),
        (2, columns, crops.left, crops.right, None),
    ];
    for (axis, extent, start, end, suffix) in sides {
        let count = extent.saturating_sub(start.saturating_add(end));
        let part = Cut {
            axis,
            start,
            step: 1,
            count,
        };
        y = cut(importer, call, suffix, &y, part)?;
    }
    Ok(vec![Value::View(y)])
}

/// What a convolution reads: an image, or an image that is dealt out.
pub(super) struct Source {
    pub(super) id: NodeId,
    /// Rows and columns of each small image, and channels.
    small: [usize; 3],
    /// Small images in a column and a row of the large one.
    block: [usize; 2],
}

impl Source {
    pub(super) fn of(importer: &mut Importer, call: &Call) -> Result<Self, ImportError> {
        let x = call.view(0)?;
        if let [_, h, w, c] = *x.dims().as_slice()
            && let Some([rows, columns, _]) = importer.graph.shape(x.id).hwc()
            && let (Some(down), Some(across)) = (rows.checked_div(h), columns.checked_div(w))
            && [down, across] != [1, 1]
            && dealt(x.id, [rows, columns, c], [down, across]).as_ref() == Some(x)
        {
            return Ok(Self {
                id: x.id,
                small: [h, w, c],
                block: [down, across],
            });
        }
        let (id, small) = importer.image(call, x)?;
        let block = [1, 1];
        Ok(Self { id, small, block })
    }

    pub(super) fn channels(&self) -> usize {
        self.small[2]
    }

    /// The window over the large image.
    pub(super) fn window(
        &self,
        call: &Call,
        slots: &Slots,
        kernel: [usize; 2],
    ) -> Result<Window, ImportError> {
        let [h, w, _] = self.small;
        let mut window = window(call, slots, kernel, [h, w])?;
        let [down, across] = self.block;
        if self.block != [1, 1] && window.strides != [1, 1] {
            let shown = format!("{:?}", window.strides);
            let expected = "1 between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND";
            return Err(call.place().refused("strides", shown, expected));
        }
        window.dilations[0] *= down;
        window.dilations[1] *= across;
        window.padding.top *= down;
        window.padding.bottom *= down;
        window.padding.left *= across;
        window.padding.right *= across;
        Ok(window)
    }

    /// The result of the convolution as the file sees it.
    pub(super) fn result(&self, importer: &Importer, id: NodeId) -> View {
        let image = importer.of_image(id);
        let shape = importer.graph.shape(id).hwc();
        let small = shape.and_then(|shape| dealt(id, shape, self.block));
        small.filter(|_| self.block != [1, 1]).unwrap_or(image)
    }
}
