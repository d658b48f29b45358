//! Kernels, strides and paddings of convolutions and poolings.

use super::super::call::Call;
use crate::graph::{Padding, Window};
use crate::import::error::ImportError;
use crate::import::window::same_padding;

/// The slots of an operator's options that describe its window, `[vertical, horizontal]`.
pub(super) struct Slots {
    pub(super) padding: usize,
    pub(super) strides: [usize; 2],
    pub(super) dilations: Option<[usize; 2]>,
}

/// The window of an operator over an input of `hw` rows and columns.
pub(super) fn window(
    call: &Call,
    slots: &Slots,
    kernel: [usize; 2],
    hw: [usize; 2],
) -> Result<Window, ImportError> {
    let [down, across] = slots.strides;
    // The schema has no default but 0, which no converter writes.
    let strides = [
        call.options.positive(down, "stride_h", 0)?,
        call.options.positive(across, "stride_w", 0)?,
    ];
    let dilations = match slots.dilations {
        None => [1, 1],
        Some([down, across]) => [
            call.options.positive(down, "dilation_h_factor", 1)?,
            call.options.positive(across, "dilation_w_factor", 1)?,
        ],
    };
    let padding = match call.options.byte(slots.padding)? {
        0 => same_padding(hw, kernel, strides, dilations),
        1 => Padding::default(),
        other => {
            let expected = "0 (SAME) or 1 (VALID)";
            return Err(call.place().refused("padding", other, expected));
        }
    };
    Ok(Window {
        kernel,
        strides,
        dilations,
        padding,
    })
}
