//! Photos of integers: a model may take bytes and compute with them before it makes real numbers of
//! them.
//!
//! The graph computes in real numbers. Moving integers and comparing them is the same there; a
//! quotient of integers is rounded down in the file, and a sum of bytes starts again at 256. So an
//! operator on such values is refused unless the results are equal.

use std::collections::HashMap;

use super::call::Call;
use super::constant::{Kind, kind_of};
use super::ops::quantized::{MOVING, reads_integers};
use super::proto::{Node, ValueInfo};
use crate::import::error::ImportError;

/// Operators that compare elements, and give some of them back.
const COMPARING: &[&str] = &[
    "Clip",
    "Max",
    "Min",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Resize",
    "Where",
];

/// Operators whose result is a whole number again, if it has enough bits.
const EXACT: &[&str] = &["Add", "Mul", "Neg", "ReduceSum", "Sub", "Sum"];

/// What an operator makes of such values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Result {
    /// Real numbers, or it reads none of them.
    Real,
    Integers,
    /// The same integers in a wider type.
    Retyped,
}

/// Values that are integers, and their types as `TensorProto` numbers them.
#[derive(Debug, Default)]
pub(super) struct Integers<'a> {
    types: HashMap<&'a str, i64>,
}

/// Bits of an integer type that are not its sign.
fn bits(element: i64) -> u32 {
    match element {
        2 => 8,
        3 => 7,
        4 => 16,
        5 => 15,
        6 => 31,
        12 => 32,
        7 => 63,
        13 => 64,
        _ => 0,
    }
}

fn is_signed(element: i64) -> bool {
    matches!(element, 3 | 5 | 6 | 7)
}

impl<'a> Integers<'a> {
    /// Takes note of an input of the model.
    pub(super) fn input(&mut self, input: &ValueInfo<'a>) {
        if let Some(element) = input.element
            && kind_of(element) != Some(Kind::Float)
        {
            self.types.insert(input.name, element);
        }
    }

    /// Checks what a node computes with them, and takes note of what it makes.
    pub(super) fn computed(
        &mut self,
        node: &Node<'a>,
        call: &Call,
        (listed, only_shapes): (&str, bool),
    ) -> std::result::Result<Result, ImportError> {
        let mut read = node.inputs.iter().filter_map(|name| self.types.get(name));
        let Some(&element) = read.next() else {
            return Ok(Result::Real);
        };
        // Those are defined on integers.
        if only_shapes || reads_integers(listed) {
            return Ok(Result::Real);
        }
        let to = match listed {
            "Cast" => call.attributes.optional_int("to")?,
            _ => None,
        };
        let (result, made) = match (listed, to) {
            ("CastLike", _) => return Ok(Result::Real),
            ("Cast", Some(to)) if kind_of(to) == Some(Kind::Float) => return Ok(Result::Real),
            ("Cast", Some(to)) if wider(element, to) => (Result::Retyped, to),
            (op, _) if (MOVING.contains(&op) || COMPARING.contains(&op)) && !averages(call)? => {
                (Result::Integers, element)
            }
            (op, _) if EXACT.contains(&op) && bits(element) >= 31 => (Result::Integers, element),
            _ => {
                return Err(call.refused(
                    "it computes with integers of the photo",
                    "make real numbers of the photo first (`Cast` to float), or export the model \
                     with a float input",
                ));
            }
        };
        self.types
            .extend(node.outputs.iter().map(|&output| (output, made)));
        Ok(result)
    }

    /// Those of a function's inputs, whose names are the first of each pair.
    pub(super) fn within(&self, names: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let types = names.filter_map(|(inner, outer)| Some((inner, *self.types.get(outer)?)));
        Self {
            types: types.collect(),
        }
    }

    /// Takes over those that a function gives, whose names inside are the second of each pair.
    pub(super) fn left(&mut self, inner: &Self, names: impl Iterator<Item = (&'a str, &'a str)>) {
        let types = names.filter_map(|(outer, name)| Some((outer, *inner.types.get(name)?)));
        self.types.extend(types);
    }
}

/// Whether a type holds all integers of another.
fn wider(from: i64, to: i64) -> bool {
    let sign = is_signed(to) || !is_signed(from);
    kind_of(to) == Some(Kind::Int) && sign && bits(to) >= bits(from)
}

/// Whether a `Resize` makes numbers between those that are there.
fn averages(call: &Call) -> std::result::Result<bool, ImportError> {
    if call.op != "Resize" {
        return Ok(false);
    }
    let mode = call.attributes.text("mode")?;
    Ok(mode.is_some_and(|mode| mode != "nearest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_wider_if_it_holds_every_number_of_the_other() {
        let (uint8, int8, uint16, int32, int64, boolean) = (2, 3, 4, 6, 7, 9);
        assert!(wider(uint8, int32) && wider(int8, int64) && wider(uint8, uint8));
        assert!(wider(uint8, uint16));
        assert!(!wider(uint8, int8) && !wider(int8, uint16) && !wider(int64, int32));
        assert!(!wider(uint8, boolean) && !wider(uint8, 1));
    }
}
