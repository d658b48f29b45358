//! Activations on rows of memory.

use super::Isa;
use crate::activation::Activation;

/// Replaces every element of `row` by the activation's value.
pub fn apply(_isa: Isa, activation: Activation, row: &mut [f32]) {
    for x in row {
        *x = activation.apply(*x);
    }
}
