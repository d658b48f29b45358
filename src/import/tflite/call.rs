//! One operator of the file as emitters see it: inputs that are values, options that are checked.

use std::rc::Rc;

use super::constant::Constant;
use super::flatbuffer::{Table, Vector};
use crate::activation::Activation;
use crate::import::builder::Site;
use crate::import::error::{ImportError, Place};
use crate::import::read_set::ReadSet;
use crate::import::view::View;

/// The values of an operator's outputs, in their order.
pub(super) type Outputs<'a> = Vec<Value<'a>>;

/// A value of the file.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// Known at import.
    Constant(Rc<Constant<'a>>),
    /// Made of the photo.
    View(View),
    /// Where a value is above 0; only `SELECT` reads it.
    Positive(View),
    /// The pixels of a photo as whole numbers without a scale; only `CAST` reads them.
    Pixels(View),
}

impl<'a> From<Constant<'a>> for Value<'a> {
    fn from(constant: Constant<'a>) -> Self {
        Self::Constant(Rc::new(constant))
    }
}

impl Value<'_> {
    pub(super) fn dims(&self) -> Vec<usize> {
        match self {
            Self::Constant(constant) => constant.dims().to_vec(),
            Self::View(view) | Self::Positive(view) | Self::Pixels(view) => view.dims(),
        }
    }
}

/// An operator with its inputs.
pub(super) struct Call<'a> {
    /// Where its nodes stand.
    pub(super) site: Site,
    /// The operator.
    pub(super) op: &'static str,
    /// `None` for inputs that are left out.
    pub(super) inputs: Vec<Option<Value<'a>>>,
    pub(super) options: Options<'a>,
    /// How many outputs the file names.
    pub(super) outputs: usize,
    /// Whether its first output is the model's and nobody else's.
    pub(super) is_answer: bool,
}

impl<'a> Call<'a> {
    pub(super) fn place(&self) -> &Place {
        &self.site.place
    }

    /// An input that may be left out.
    pub(super) fn optional(&self, index: usize) -> Option<&Value<'a>> {
        self.inputs.get(index)?.as_ref()
    }

    /// An input that must be there.
    pub(super) fn input(&self, index: usize) -> Result<&Value<'a>, ImportError> {
        self.optional(index)
            .ok_or_else(|| self.place().invalid(format!("it has no input {index}")))
    }

    /// An input that is made of the photo.
    pub(super) fn view(&self, index: usize) -> Result<&View, ImportError> {
        match self.input(index)? {
            Value::View(view) => Ok(view),
            Value::Constant(_) => Err(self.refused(
                format!("its input {index} is a constant"),
                "convert the model again with a newer converter, which evaluates constants",
            )),
            Value::Positive(_) => Err(self.refused(
                format!("its input {index} is a comparison"),
                "only activations that are taken apart may compare: rebuild this part of the model",
            )),
            Value::Pixels(_) => Err(self.refused(
                format!("its input {index} is bytes without a scale"),
                "let the model begin with a cast to real numbers (`tf.cast(x, tf.float32)`), or \
                 convert it so that it takes them",
            )),
        }
    }

    /// An input that is known at import, if it is there.
    pub(super) fn optional_constant(
        &self,
        index: usize,
        what: &str,
    ) -> Result<Option<&Rc<Constant<'a>>>, ImportError> {
        match self.optional(index) {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(_) => Err(self.refused(
                format!("its {what} is computed from the photo"),
                "only constants are supported there: rebuild this part of the model",
            )),
        }
    }

    /// An input that is known at import.
    pub(super) fn constant(
        &self,
        index: usize,
        what: &str,
    ) -> Result<&Rc<Constant<'a>>, ImportError> {
        self.optional_constant(index, what)?.ok_or_else(|| {
            self.place()
                .invalid(format!("it has no {what} (input {index})"))
        })
    }

    /// An input of whole numbers.
    pub(super) fn ints(&self, index: usize, what: &str) -> Result<Vec<i64>, ImportError> {
        let constant = self.constant(index, what)?;
        let ints = constant.ints();
        ints.ok_or_else(|| self.place().invalid(format!("its {what} are too many")))
    }

    /// What this operator asks for cannot be done.
    pub(super) fn refused(
        &self,
        message: impl Into<Box<str>>,
        hint: impl Into<Box<str>>,
    ) -> ImportError {
        ImportError::Unrepresentable {
            place: self.place().clone(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// An axis that may count from the end.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, ImportError> {
        let signed = i64::try_from(rank).unwrap_or(i64::MAX);
        let from_front = if axis < 0 {
            axis.saturating_add(signed)
        } else {
            axis
        };
        let found = usize::try_from(from_front).ok().filter(|&a| a < rank);
        found.ok_or_else(|| {
            let expected = format!("an axis of a value with {rank} axes");
            self.place().refused("axis", axis, expected)
        })
    }

    /// Axes that may count from the end, in ascending order; an axis that is named twice counts
    /// once.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, ImportError> {
        let mut list = axes
            .iter()
            .map(|&axis| self.axis(axis, rank))
            .collect::<Result<Vec<_>, _>>()?;
        list.sort_unstable();
        list.dedup();
        Ok(list)
    }

    /// The activation in slot `slot` of the options.
    pub(super) fn fused(&self, slot: usize) -> Result<Fused, ImportError> {
        Ok(match self.options.byte(slot)? {
            0 => Fused::Function(Activation::Linear),
            1 => Fused::Function(Activation::Relu),
            2 => Fused::MinusOneToOne,
            3 => Fused::Function(Activation::Relu6),
            // LiteRT computes TANH and SIGN_BIT as NONE, which nobody can have meant.
            other => {
                let expected = "0 to 3 (NONE, RELU, RELU_N1_TO_1, RELU6)";
                return Err(self
                    .place()
                    .refused("fused_activation_function", other, expected));
            }
        })
    }
}

/// An activation that is part of another operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fused {
    Function(Activation),
    /// `min(max(x, -1), 1)`
    MinusOneToOne,
}

/// The options of an operator, all of which must be read. Options that are left out have the
/// schema's default, which is 0 almost everywhere.
pub(super) struct Options<'a> {
    place: Place,
    table: Option<Table<'a>>,
    read: ReadSet<usize>,
}

impl<'a> Options<'a> {
    pub(super) fn new(place: Place, table: Option<Table<'a>>) -> Self {
        Self {
            place,
            table,
            read: ReadSet::default(),
        }
    }

    fn get<T>(
        &self,
        slot: usize,
        default: T,
        read: impl FnOnce(&Table<'a>) -> Result<T, ImportError>,
    ) -> Result<T, ImportError> {
        self.read.mark(slot);
        self.table.as_ref().map_or(Ok(default), read)
    }

    /// An enum.
    pub(super) fn byte(&self, slot: usize) -> Result<i8, ImportError> {
        self.get(slot, 0, |table| table.i8(slot, 0))
    }

    pub(super) fn flag(&self, slot: usize) -> Result<bool, ImportError> {
        Ok(self.byte(slot)? != 0)
    }

    pub(super) fn int(&self, slot: usize, default: i32) -> Result<i32, ImportError> {
        self.get(slot, default, |table| table.i32(slot, default))
    }

    /// A number from 1 to 2^20 in slot `slot`, which has this name.
    pub(super) fn positive(
        &self,
        slot: usize,
        name: &str,
        default: i32,
    ) -> Result<usize, ImportError> {
        let value = self.int(slot, default)?;
        let number = usize::try_from(value).ok();
        let number = number.filter(|n| (1..1 << 20).contains(n));
        number.ok_or_else(|| self.place.refused(name, value, "a positive number"))
    }

    pub(super) fn float(&self, slot: usize) -> Result<f32, ImportError> {
        self.get(slot, 0.0, |table| table.f32(slot, 0.0))
    }

    pub(super) fn ints(&self, slot: usize) -> Result<Vector<'a>, ImportError> {
        self.get(slot, Vector::EMPTY, |table| table.vector(slot, 4))
    }

    /// Refuses any value but 0 for a flag that has this name.
    pub(super) fn must_be_off(&self, slot: usize, name: &str) -> Result<(), ImportError> {
        match self.byte(slot)? {
            0 => Ok(()),
            other => Err(self.place.refused(name, other, "0")),
        }
    }

    /// Options that change nothing for real numbers.
    pub(super) fn ignore(&self, slots: &[usize]) {
        for &slot in slots {
            self.read.mark(slot);
        }
    }

    /// Refuses options that nobody read.
    pub(super) fn finish(&self) -> Result<(), ImportError> {
        let mut present = self.table.iter().flat_map(Table::present);
        match present.find(|slot| !self.read.has(slot)) {
            None => Ok(()),
            Some(slot) => {
                let name = format!("option {slot}");
                Err(self.place.refused(name, "set", "no such option"))
            }
        }
    }
}
