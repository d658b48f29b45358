//! One node of the file as operators see it: inputs that are values, attributes that are checked.

use std::rc::Rc;

use super::constant::Constant;
use super::proto::{Attribute, AttributeValue, Tensor};
use super::wire::Slice;
use crate::import::builder::Site;
use crate::import::error::{ImportError, Place};
use crate::import::read_set::ReadSet;
use crate::import::view::View;

/// The values of a node's outputs, in their order.
pub(super) type Outputs<'a> = Vec<Value<'a>>;

/// A value of the file.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// Known at import.
    Constant(Rc<Constant<'a>>),
    /// Made of the photo.
    View(View),
    /// Behind a node that is not supported.
    Missing,
}

impl<'a> From<Constant<'a>> for Value<'a> {
    fn from(constant: Constant<'a>) -> Self {
        Self::Constant(Rc::new(constant))
    }
}

impl From<View> for Value<'_> {
    fn from(view: View) -> Self {
        Self::View(view)
    }
}

impl Value<'_> {
    pub(super) fn dims(&self) -> Vec<usize> {
        match self {
            Self::Constant(constant) => constant.dims().to_vec(),
            Self::View(view) => view.dims(),
            Self::Missing => Vec::new(),
        }
    }
}

/// A node with its inputs.
pub(super) struct Call<'n, 'a> {
    /// Where its nodes stand.
    pub(super) site: Site,
    /// The operator.
    pub(super) op: &'a str,
    /// `None` for inputs that are left out.
    pub(super) inputs: Vec<Option<Value<'a>>>,
    pub(super) attributes: Attributes<'n, 'a>,
    /// Outputs that the file names.
    pub(super) outputs: usize,
    /// Outputs up to the last one that anybody reads.
    pub(super) outputs_read: usize,
    /// Whether its first output is the model's and nobody else's.
    pub(super) is_answer: bool,
}

impl<'n, 'a> Call<'n, 'a> {
    /// The same node, taken as another operator with other inputs.
    pub(super) fn taken_as(&self, op: &'a str, inputs: Vec<Option<Value<'a>>>) -> Call<'n, 'a> {
        Call {
            site: self.site.clone(),
            op,
            inputs,
            attributes: self.attributes.clone(),
            outputs: 1,
            outputs_read: 1,
            is_answer: false,
        }
    }

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
            _ => Err(self.refused(
                format!("its input {index} is a constant"),
                "export the model again with constant folding \
                 (`torch.onnx.export(..., do_constant_folding=True)`), or run it through onnxsim",
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

    /// A list of whole numbers that older opsets have as an attribute and newer ones as an input.
    pub(super) fn list(
        &self,
        attribute: &'static str,
        index: usize,
    ) -> Result<Option<Vec<i64>>, ImportError> {
        if let Some(list) = self.attributes.ints(attribute)? {
            return Ok(Some(list));
        }
        match self.optional_constant(index, attribute)? {
            None => Ok(None),
            Some(constant) => constant.ints().map(Some).ok_or_else(|| {
                self.place()
                    .invalid(format!("its {attribute} are too many"))
            }),
        }
    }

    /// What this node asks for cannot be done.
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
        usize::try_from(from_front)
            .ok()
            .filter(|&a| a < rank)
            .ok_or_else(|| {
                let expected = format!("an axis of a value with {rank} axes");
                self.place().refused("axis", axis, expected)
            })
    }

    /// Axes that may count from the end, each named once, in ascending order.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, ImportError> {
        let mut list = axes
            .iter()
            .map(|&axis| self.axis(axis, rank))
            .collect::<Result<Vec<_>, _>>()?;
        list.sort_unstable();
        if list.windows(2).any(|w| w[0] == w[1]) {
            let shown = format!("{axes:?}");
            return Err(self.place().refused("axes", shown, "each axis once"));
        }
        Ok(list)
    }
}

/// The attributes of a node, all of which must be read.
#[derive(Clone)]
pub(super) struct Attributes<'n, 'a> {
    place: Place,
    list: &'n [Attribute<'a>],
    /// Shared by all calls of one node.
    read: Rc<ReadSet<String>>,
}

impl<'n, 'a> Attributes<'n, 'a> {
    pub(super) fn new(place: Place, list: &'n [Attribute<'a>]) -> Self {
        Self {
            place,
            list,
            read: Rc::default(),
        }
    }

    fn get(&self, name: &str) -> Result<Option<AttributeValue<'a>>, ImportError> {
        self.read.mark(name.to_owned());
        let found = self.list.iter().find(|attribute| attribute.name == name);
        found.map(Attribute::value).transpose()
    }

    fn wrong<T>(&self, name: &str, got: &AttributeValue, expected: &str) -> Result<T, ImportError> {
        let shown = match got {
            AttributeValue::Int(v) => v.to_string(),
            AttributeValue::Float(v) => v.to_string(),
            AttributeValue::Text(v) => String::from_utf8_lossy(v).into_owned(),
            AttributeValue::Ints(v) => format!("{v:?}"),
            AttributeValue::Floats(v) => format!("{v:?}"),
            AttributeValue::Tensor(_) => "a tensor".into(),
            AttributeValue::Texts(_) => "a list of texts".into(),
            AttributeValue::Graph(_) => "a graph".into(),
            AttributeValue::Other(what) => (*what).into(),
        };
        Err(self.place.refused(name, shown, expected))
    }

    /// A whole number, if it is there.
    pub(super) fn optional_int(&self, name: &str) -> Result<Option<i64>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Int(value)) => Ok(Some(value)),
            Some(other) => self.wrong(name, &other, "a whole number"),
        }
    }

    /// A whole number.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, ImportError> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }

    /// 0 or 1.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, ImportError> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.place.refused(name, other, "0 or 1")),
        }
    }

    /// Refuses any value but the one that is implemented.
    pub(super) fn must_be(&self, name: &str, value: i64) -> Result<(), ImportError> {
        match self.optional_int(name)? {
            Some(got) if got != value => Err(self.place.refused(name, got, value.to_string())),
            _ => Ok(()),
        }
    }

    /// A real number, if it is there.
    pub(super) fn optional_float(&self, name: &str) -> Result<Option<f32>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Float(value)) => Ok(Some(value)),
            Some(other) => self.wrong(name, &other, "a real number"),
        }
    }

    /// A real number.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, ImportError> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    /// Text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Text(value)) => {
                Ok(Some(String::from_utf8_lossy(value).into_owned()))
            }
            Some(other) => self.wrong(name, &other, "text"),
        }
    }

    /// Whole numbers, if they are there.
    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Ints(list)) => Ok(Some(list)),
            // An empty list of unknown type.
            Some(AttributeValue::Floats(list)) if list.is_empty() => Ok(Some(Vec::new())),
            Some(other) => self.wrong(name, &other, "whole numbers"),
        }
    }

    /// Real numbers, if they are there.
    pub(super) fn floats(&self, name: &str) -> Result<Option<Vec<f32>>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Floats(list)) => Ok(Some(list)),
            Some(other) => self.wrong(name, &other, "real numbers"),
        }
    }

    /// A tensor, if it is there.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor<'a>>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Tensor(tensor)) => Ok(Some(*tensor)),
            Some(other) => self.wrong(name, &other, "a tensor"),
        }
    }

    /// Texts, if they are there.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, ImportError> {
        match self.get(name)? {
            None => Ok(None),
            Some(AttributeValue::Texts(list)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Ok(Some(list.into_iter().map(text).collect()))
            }
            Some(other) => self.wrong(name, &other, "a list of texts"),
        }
    }

    /// A graph that must be there.
    pub(super) fn graph(&self, name: &str) -> Result<Slice<'a>, ImportError> {
        match self.get(name)? {
            None => Err(self.place.invalid(format!("it has no `{name}`"))),
            Some(AttributeValue::Graph(body)) => Ok(body),
            Some(other) => self.wrong(name, &other, "a graph"),
        }
    }

    /// Attributes that change no result at inference.
    pub(super) fn ignore(&self, names: &[&str]) {
        for name in names {
            self.read.mark((*name).to_owned());
        }
    }

    /// Refuses attributes that nobody read, and those that are given twice.
    pub(super) fn finish(&self) -> Result<(), ImportError> {
        for (i, attribute) in self.list.iter().enumerate() {
            if !self.read.has(attribute.name) {
                let value = attribute.value()?;
                return self.wrong(attribute.name, &value, "no such attribute");
            }
            if self.list[..i].iter().any(|a| a.name == attribute.name) {
                let message = format!("attribute `{}` is given twice", attribute.name);
                return Err(self.place.invalid(message));
            }
        }
        Ok(())
    }
}
