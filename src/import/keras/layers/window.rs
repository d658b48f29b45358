//! Windows over rows and columns, from strides, dilations and the name of a padding.

use serde_json::Value;

use super::super::attributes::Attributes;
use crate::graph::{Padding, Window};
use crate::import::error::ImportError;
use crate::import::window::same_padding;

/// Reads `padding`; `same` is resolved for an input of `hw` rows and columns.
pub(super) fn window(
    attributes: &Attributes,
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    hw: [usize; 2],
) -> Result<Window, ImportError> {
    let padding = match attributes.get("padding") {
        None => Padding::default(),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("valid") => Padding::default(),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("same") => {
            same_padding(hw, kernel, strides, dilations)
        }
        Some(other) => return attributes.refuse("padding", other, "`same` or `valid`"),
    };
    Ok(Window {
        kernel,
        strides,
        dilations,
        padding,
    })
}
