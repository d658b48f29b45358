//! Kernels, strides and paddings of convolutions and poolings.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use crate::graph::{NodeId, Padding, Window};
use crate::import::error::ImportError;
use crate::import::view::View;
use crate::import::window::same_padding;

/// `[1, C, H, W]` of the file as `[H, W, C]` of the graph; a sequence `[1, C, L]` is an image of one
/// row.
pub(super) fn image_of<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    x: &View,
) -> Result<(NodeId, [usize; 3]), ImportError> {
    let x = match *x.dims().as_slice() {
        [n, c, l] => importer.reshape(&call.site, x, &[n, c, 1, l])?,
        _ => x.clone(),
    };
    importer.image(call, &x)
}

/// Axes behind batch and channels of the first input.
fn x_spatial(call: &Call) -> usize {
    let rank = call.input(0).map_or(0, |x| x.dims().len());
    rank.saturating_sub(2)
}

/// The image that an operation has made, with as many axes as its input had.
pub(super) fn result_of<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    id: NodeId,
) -> Result<Outputs<'a>, ImportError> {
    let y = importer.of_image(id);
    let y = match (x_spatial(call), y.dims().as_slice()) {
        (1, &[n, c, 1, l]) => importer.reshape(&call.site, &y, &[n, c, l])?,
        _ => y,
    };
    Ok(vec![Value::View(y)])
}

/// A list of as many positive numbers as there are axes with rows and columns; of one axis, that of
/// the columns.
pub(super) fn pair(
    call: &Call,
    name: &str,
    default: Option<[usize; 2]>,
) -> Result<[usize; 2], ImportError> {
    let Some(list) = call.attributes.ints(name)? else {
        return default.ok_or_else(|| call.place().invalid(format!("`{name}` is missing")));
    };
    let positive = |v: &i64| usize::try_from(*v).ok().filter(|&v| v > 0 && v < 1 << 20);
    let numbers: Option<Vec<usize>> = list.iter().map(positive).collect();
    match numbers.as_deref() {
        Some([a, b]) if x_spatial(call) == 2 => Ok([*a, *b]),
        Some([b]) if x_spatial(call) == 1 => Ok([1, *b]),
        _ => {
            Err(call
                .place()
                .refused(name, format!("{list:?}"), "a positive number for each axis"))
        }
    }
}

/// `[top, left, bottom, right]`, or `[left, right]` of a sequence
fn pads(call: &Call) -> Result<Padding, ImportError> {
    let Some(list) = call.attributes.ints("pads")? else {
        return Ok(Padding::default());
    };
    let counted = |v: &i64| usize::try_from(*v).ok().filter(|&v| v < 1 << 20);
    let numbers: Option<Vec<usize>> = list.iter().map(counted).collect();
    match numbers.as_deref() {
        Some([top, left, bottom, right]) if x_spatial(call) == 2 => Ok(Padding {
            top: *top,
            left: *left,
            bottom: *bottom,
            right: *right,
        }),
        Some([left, right]) if x_spatial(call) == 1 => Ok(Padding {
            left: *left,
            right: *right,
            ..Padding::default()
        }),
        _ => Err(call.place().refused(
            "pads",
            format!("{list:?}"),
            "two numbers from 0 up for each axis",
        )),
    }
}

/// The window of a node over an input of `hw` rows and columns.
pub(super) fn window(
    call: &Call,
    kernel: [usize; 2],
    hw: [usize; 2],
) -> Result<Window, ImportError> {
    let strides = pair(call, "strides", Some([1, 1]))?;
    let dilations = pair(call, "dilations", Some([1, 1]))?;
    let explicit = pads(call)?;
    let padding = match call.attributes.text("auto_pad")?.as_deref() {
        None | Some("NOTSET" | "") => explicit,
        Some("VALID") => Padding::default(),
        Some("SAME_UPPER") => same_padding(hw, kernel, strides, dilations),
        Some("SAME_LOWER") => {
            let p = same_padding(hw, kernel, strides, dilations);
            Padding {
                top: p.bottom,
                left: p.right,
                bottom: p.top,
                right: p.left,
            }
        }
        Some(other) => {
            let expected = "`NOTSET`, `VALID`, `SAME_UPPER` or `SAME_LOWER`";
            return Err(call.place().refused("auto_pad", other, expected));
        }
    };
    Ok(Window {
        kernel,
        strides,
        dilations,
        padding,
    })
}

/// The window with as much padding below and to the right as makes the last, partial windows of
/// `ceil_mode` whole. As in ONNX Runtime and torch, no window begins behind the input and its
/// padding in front.
pub(super) fn rounded_up(window: Window, hw: [usize; 2]) -> Window {
    let p = window.padding;
    let more = |axis: usize, before: usize, after: usize| {
        let stride = window.strides[axis];
        let span = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
        let padded = hw[axis] + before + after;
        let Some(room) = padded.checked_sub(span) else {
            return 0;
        };
        let mut last = room.div_ceil(stride) * stride;
        if last >= hw[axis] + before {
            last -= stride;
        }
        (last + span).saturating_sub(padded)
    };
    let (below, right) = (more(0, p.top, p.bottom), more(1, p.left, p.right));
    Window {
        padding: Padding {
            bottom: p.bottom + below,
            right: p.right + right,
            ..p
        },
        ..window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_rounded_up_but_not_beyond_the_input() {
        let output = |len: usize, kernel: usize, stride: usize, pad: usize| {
            let window = Window {
                kernel: [kernel, 1],
                strides: [stride, 1],
                dilations: [1, 1],
                padding: Padding {
                    top: pad,
                    bottom: pad,
                    ..Padding::default()
                },
            };
            rounded_up(window, [len, 1]).output(len, 1).unwrap()[0]
        };
        // What torch.nn.MaxPool2d(kernel, stride, pad, ceil_mode=True) makes.
        assert_eq!(output(112, 3, 2, 0), 56);
        assert_eq!(output(111, 3, 2, 0), 55);
        assert_eq!(output(7, 2, 2, 0), 4);
        assert_eq!(output(6, 2, 2, 1), 4);
        assert_eq!(output(5, 1, 3, 0), 2);
        assert_eq!(output(7, 3, 3, 1), 3);
    }
}
