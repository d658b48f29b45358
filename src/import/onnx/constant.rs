//! Numbers that are known at import: weights, read where they lie in the file, and what shape
//! arithmetic has computed.
//!
//! A [`Constant`] is a view: transposing and reshaping a weight copies nothing. What folding
//! computes is held as f64, which keeps every f32 and every whole number up to 2^53; the sentinels
//! beyond (`INT64_MAX` for "to the end") are only ever compared. Integers with scales stay integers
//! ([`Constant::dequantized`]), and 16-bit weights 16 bits.

use std::rc::Rc;

use half::{bf16, f16};

use super::proto::{Tensor, TensorData};
use super::wire::{Slice, damaged};
use crate::import::error::ImportError;
pub(super) use crate::import::view::{len_of, offsets, strides_of};
use crate::tensor::DType;

/// Elements of a constant that arithmetic may make or read as a list. Position tables of vision
/// transformers have a tenth of it.
pub(super) const MAX_FOLDED: usize = 1 << 20;

/// Elements of a weight that is not stored as plain bytes (`int32_data`, one varint each).
const MAX_TYPED: usize = 1 << 22;

/// Finds the bytes of a tensor outside of the file: by its name, its entries, and how many there
/// must be.
pub(super) type Outside<'o, 'a> =
    dyn FnMut(&str, &[(&'a str, &'a str)], u64) -> Result<&'a [u8], ImportError> + 'o;

/// What kind of numbers they are. It decides how they are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Int,
    Bool,
}

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    F16,
    BF16,
    F32,
    F64,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    Bool,
}

impl Form {
    /// By `TensorProto.DataType`.
    fn of(element: i64) -> Option<Self> {
        Some(match element {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::BF16,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::U16 | Self::I16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F64 | Self::U64 | Self::I64 => 8,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::F16 | Self::BF16 | Self::F32 | Self::F64 => Kind::Float,
            Self::Bool => Kind::Bool,
            _ => Kind::Int,
        }
    }

    /// The element that begins with the first of `bytes`.
    fn read(self, bytes: &[u8]) -> f64 {
        fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.first_chunk().copied().unwrap_or([0; N])
        }
        match self {
            Self::F16 => f64::from(f16::from_le_bytes(first(bytes))),
            Self::BF16 => f64::from(bf16::from_le_bytes(first(bytes))),
            Self::F32 => f64::from(f32::from_le_bytes(first(bytes))),
            Self::F64 => f64::from_le_bytes(first(bytes)),
            Self::U8 | Self::Bool => f64::from(u8::from_le_bytes(first(bytes))),
            Self::I8 => f64::from(i8::from_le_bytes(first(bytes))),
            Self::U16 => f64::from(u16::from_le_bytes(first(bytes))),
            Self::I16 => f64::from(i16::from_le_bytes(first(bytes))),
            Self::U32 => f64::from(u32::from_le_bytes(first(bytes))),
            Self::I32 => f64::from(i32::from_le_bytes(first(bytes))),
            Self::U64 => u64::from_le_bytes(first(bytes)) as f64,
            Self::I64 => i64::from_le_bytes(first(bytes)) as f64,
        }
    }
}

/// The kind of an element type of `TensorProto`; `None` for texts, complex numbers and those of
/// four and eight bits.
pub(super) fn kind_of(element: i64) -> Option<Kind> {
    Form::of(element).map(Form::kind)
}

#[derive(Clone, Debug)]
enum Data<'a> {
    Stored(&'a [u8], Form),
    Computed(Rc<[f64]>),
    Scaled(Rc<Scaled<'a>>),
}

/// Integers that stand for real numbers, as `DequantizeLinear` defines it.
#[derive(Debug)]
struct Scaled<'a> {
    integers: Data<'a>,
    /// A scale and a zero point for all of them, or for each index of an axis.
    maps: Vec<(f64, f64)>,
    /// Elements from one index of that axis to the next.
    stride: usize,
}

impl Scaled<'_> {
    fn map(&self, offset: usize) -> (f64, f64) {
        let index = offset / self.stride.max(1) % self.maps.len().max(1);
        self.maps.get(index).copied().unwrap_or((1.0, 0.0))
    }

    /// The integer minus its zero point.
    fn steps(&self, offset: usize) -> f64 {
        self.integers.at(offset) - self.map(offset).1
    }
}

impl Data<'_> {
    fn at(&self, offset: usize) -> f64 {
        match self {
            Data::Stored(bytes, form) => {
                let start = offset.saturating_mul(form.bytes()).min(bytes.len());
                form.read(&bytes[start..])
            }
            Data::Computed(values) => values.get(offset).copied().unwrap_or(0.0),
            Data::Scaled(scaled) => scaled.steps(offset) * scaled.map(offset).0,
        }
    }
}

/// How weights go into the graph.
pub(super) enum Weights {
    /// f32 of any numbers.
    Real,
    /// 16 bits, as they are in the file.
    Half(DType),
    /// Integers minus their zero points.
    Integers {
        /// For each output channel.
        scales: Vec<f32>,
    },
}

/// An array of numbers, and how its axes run through them.
#[derive(Clone, Debug)]
pub(super) struct Constant<'a> {
    dims: Vec<usize>,
    /// Elements from one index of an axis to the next.
    strides: Vec<usize>,
    pub(super) kind: Kind,
    /// The type of its elements, if the file says so.
    pub(super) form: Option<Form>,
    is_dynamic: bool,
    data: Data<'a>,
}

impl<'a> Constant<'a> {
    /// Numbers in row-major order, as many as `dims` have elements.
    pub(super) fn new(dims: Vec<usize>, kind: Kind, values: Vec<f64>) -> Self {
        debug_assert_eq!(len_of(&dims), Some(values.len()));
        Self {
            strides: strides_of(&dims),
            dims,
            kind,
            form: None,
            is_dynamic: false,
            data: Data::Computed(values.into()),
        }
    }

    /// One number.
    pub(super) fn scalar(kind: Kind, value: f64) -> Self {
        Self::new(vec![], kind, vec![value])
    }

    /// A number that stands for one that depends on the photo (`dynamic`).
    pub(super) fn dynamic(kind: Kind, value: f64) -> Self {
        Self {
            is_dynamic: true,
            ..Self::scalar(kind, value)
        }
    }

    /// Whether it is such a number.
    pub(super) fn is_dynamic(&self) -> bool {
        self.is_dynamic
    }

    /// Whole numbers, such as a shape.
    pub(super) fn list(values: &[usize]) -> Self {
        let values: Vec<f64> = values.iter().map(|&v| v as f64).collect();
        Self::new(vec![values.len()], Kind::Int, values)
    }

    /// A tensor of the file. `external` gives the bytes of what is stored outside.
    pub(super) fn of_tensor(
        tensor: &Tensor<'a>,
        external: &mut Outside<'_, 'a>,
    ) -> Result<Self, ImportError> {
        let wrong =
            |what: String| damaged(tensor.offset, format!("tensor `{}` {what}", tensor.name));
        let form = Form::of(tensor.element).ok_or_else(|| {
            wrong(format!(
                "has elements of type {}, which are not read",
                element_name(tensor.element)
            ))
        })?;
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&d| d.try_into().ok()).collect();
        let len = dims.as_deref().and_then(len_of);
        let bytes = len.and_then(|len| len.checked_mul(form.bytes()));
        let (Some(dims), Some(len), Some(expected)) = (dims, len, bytes) else {
            return Err(wrong(format!("has the shape {:?}", tensor.dims)));
        };
        let stored = |bytes: &'a [u8]| {
            if bytes.len() == expected {
                return Ok(Data::Stored(bytes, form));
            }
            Err(wrong(format!(
                "of shape {:?} takes {expected} bytes, and has {}",
                tensor.dims,
                bytes.len()
            )))
        };
        let data = match &tensor.data {
            TensorData::Raw(slice) => stored(slice.bytes)?,
            TensorData::External(entries) => {
                stored(external(tensor.name, entries, expected as u64)?)?
            }
            TensorData::Typed(body) => typed(*body, form, len, &stored, &wrong)?,
        };
        Ok(Self {
            strides: strides_of(&dims),
            dims,
            kind: form.kind(),
            form: Some(form),
            is_dynamic: false,
            data,
        })
    }

    /// The same numbers, called another kind.
    pub(super) fn as_kind(&self, kind: Kind) -> Self {
        Self {
            kind,
            form: self.form.filter(|form| form.kind() == kind),
            ..self.clone()
        }
    }

    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        len_of(&self.dims).unwrap_or(usize::MAX)
    }

    /// Where the data is: equal for constants that are views of the same numbers.
    pub(super) fn identity(&self) -> (usize, &[usize], &[usize]) {
        let address = match &self.data {
            Data::Stored(bytes, _) => bytes.as_ptr() as usize,
            Data::Computed(values) => values.as_ptr() as usize,
            Data::Scaled(scaled) => Rc::as_ptr(scaled) as usize,
        };
        (address, &self.dims, &self.strides)
    }

    /// The element at some coordinates; 0 for coordinates that do not exist.
    pub(super) fn at(&self, coordinates: &[usize]) -> f64 {
        let offset = coordinates.iter().zip(&self.strides).map(|(i, s)| i * s);
        self.at_offset(offset.sum())
    }

    fn at_offset(&self, offset: usize) -> f64 {
        self.data.at(offset)
    }

    /// The real numbers that integers stand for: `(q - zero_point) * scale`, with one of each or one
    /// for each index of `axis`. `None` if there are neither one nor as many as that.
    pub(super) fn dequantized(
        &self,
        scale: &Constant,
        zero_point: Option<&Constant>,
        axis: usize,
    ) -> Option<Self> {
        let scales = scale.values()?;
        let zeros = match zero_point {
            Some(zero) => zero.values()?,
            None => vec![0.0],
        };
        let n = scales.len().max(zeros.len());
        let extent = *self.dims.get(axis).unwrap_or(&1);
        if (n != 1 && n != extent) || scales.is_empty() || zeros.is_empty() {
            return None;
        }
        let fits = |list: &[f64]| list.len() == 1 || list.len() == n;
        if !fits(&scales) || !fits(&zeros) {
            return None;
        }
        let at = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i }];
        let maps = (0..n).map(|i| (at(&scales, i), at(&zeros, i))).collect();
        // Offsets tell the index on the axis only if the elements lie in their own order.
        let plain = self.strides == strides_of(&self.dims);
        let whole = if plain || n == 1 {
            self.clone()
        } else {
            Self::new(self.dims.clone(), self.kind, self.values()?)
        };
        let stride = whole.strides.get(axis).copied().unwrap_or(1);
        let scaled = Scaled {
            integers: whole.data,
            maps,
            stride,
        };
        Some(Self {
            dims: whole.dims,
            strides: whole.strides,
            kind: Kind::Float,
            form: None,
            is_dynamic: false,
            data: Data::Scaled(Rc::new(scaled)),
        })
    }

    /// How these weights, whose last axis is the output channel, go into the graph.
    #[expect(clippy::cast_possible_truncation, reason = "scales are f32")]
    pub(super) fn weights(&self) -> Weights {
        match &self.data {
            Data::Stored(_, Form::F16) => Weights::Half(DType::F16),
            Data::Stored(_, Form::BF16) => Weights::Half(DType::BF16),
            Data::Scaled(scaled) => {
                let n = self.dims.last().copied().unwrap_or(1);
                let along = self.strides.last() == Some(&scaled.stride);
                let scales: Vec<f32> = match scaled.maps.as_slice() {
                    [(scale, _)] => vec![*scale as f32; n],
                    maps if along && maps.len() == n => {
                        maps.iter().map(|(scale, _)| *scale as f32).collect()
                    }
                    _ => return Weights::Real,
                };
                // 8 bits minus a zero point of 8 bits.
                let small = scaled.maps.iter().all(|(_, zero)| zero.abs() <= 255.0);
                match self.form_of_integers() {
                    Some(Form::U8 | Form::I8) if small => Weights::Integers { scales },
                    _ => Weights::Real,
                }
            }
            _ => Weights::Real,
        }
    }

    /// The type of the integers of a dequantized constant.
    fn form_of_integers(&self) -> Option<Form> {
        let Data::Scaled(scaled) = &self.data else {
            return None;
        };
        match &scaled.integers {
            Data::Stored(_, form) => Some(*form),
            Data::Computed(values) => {
                let in_range = |v: &f64| (-128.0..=255.0).contains(v) && v.fract() == 0.0;
                values.iter().all(in_range).then_some(Form::I8)
            }
            Data::Scaled(_) => None,
        }
    }

    /// The rows of a matrix of weights, whose columns are the last axis, in the given order or in
    /// their own; `read` gets the offset of each element.
    pub(super) fn each_weight(&self, order: Option<&[usize]>, mut read: impl FnMut(usize)) {
        let (Some((&n, leading)), Some((&step, strides))) =
            (self.dims.split_last(), self.strides.split_last())
        else {
            return;
        };
        let starts = offsets(leading, strides);
        let count = order.map_or(starts.len(), <[usize]>::len);
        for i in 0..count {
            let start = starts[order.map_or(i, |order| order[i])];
            for column in 0..n {
                read(start + column * step);
            }
        }
    }

    /// The element at an offset of [`each_weight`](Self::each_weight), as f32.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 here")]
    pub(super) fn real_at(&self, offset: usize) -> f32 {
        self.at_offset(offset) as f32
    }

    /// The integer minus its zero point at such an offset.
    #[expect(clippy::cast_possible_truncation, reason = "8 bits minus 8 bits")]
    pub(super) fn steps_at(&self, offset: usize) -> i16 {
        match &self.data {
            Data::Scaled(scaled) => scaled.steps(offset) as i16,
            data => data.at(offset) as i16,
        }
    }

    /// The stored bytes of the 16-bit element at such an offset.
    pub(super) fn half_at(&self, offset: usize) -> [u8; 2] {
        match &self.data {
            Data::Stored(bytes, form) if form.bytes() == 2 => {
                let start = offset.saturating_mul(2).min(bytes.len());
                bytes[start..].first_chunk().copied().unwrap_or_default()
            }
            _ => [0; 2],
        }
    }

    /// The element at some coordinates, as f32.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 here")]
    pub(super) fn weight(&self, coordinates: &[usize]) -> f32 {
        self.at(coordinates) as f32
    }

    /// All elements in row-major order; `None` if there are more than arithmetic takes.
    pub(super) fn values(&self) -> Option<Vec<f64>> {
        self.values_up_to(MAX_FOLDED)
    }

    /// As [`values`](Self::values), with another limit.
    pub(super) fn values_up_to(&self, limit: usize) -> Option<Vec<f64>> {
        if self.len() > limit {
            return None;
        }
        let offsets = offsets(&self.dims, &self.strides);
        Some(offsets.into_iter().map(|at| self.at_offset(at)).collect())
    }

    /// Writes all elements in row-major order, as f32.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 here")]
    pub(super) fn write(&self, into: &mut [f32]) {
        if self.dims.contains(&0) {
            return;
        }
        let (last, step) = match (self.dims.last(), self.strides.last()) {
            (Some(&extent), Some(&stride)) => (extent, stride),
            _ => (1, 1),
        };
        let outer = self.dims.len().saturating_sub(1);
        let starts = offsets(&self.dims[..outer], &self.strides[..outer]);
        for (start, row) in starts.into_iter().zip(into.chunks_exact_mut(last)) {
            for (i, to) in row.iter_mut().enumerate() {
                *to = self.at_offset(start + i * step) as f32;
            }
        }
    }

    /// Whether its elements were computed at import, and do not stand in the file.
    pub(super) fn is_computed(&self) -> bool {
        matches!(self.data, Data::Computed(_))
    }

    /// All elements as whole numbers.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, see above")]
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        Some(self.values()?.into_iter().map(|v| v as i64).collect())
    }

    /// The only element.
    pub(super) fn single(&self) -> Option<f64> {
        (self.len() == 1).then(|| self.at_offset(0))
    }

    /// With axes in another order: axis `i` is axis `permutation[i]` of this one.
    pub(super) fn transposed(&self, permutation: &[usize]) -> Self {
        Self {
            dims: permutation.iter().map(|&a| self.dims[a]).collect(),
            strides: permutation.iter().map(|&a| self.strides[a]).collect(),
            ..self.clone()
        }
    }

    /// With other axes for the same elements in row-major order, as many as there are. `None` if
    /// they would have to be copied and are too many.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        if len_of(dims)? != self.len() {
            return None;
        }
        if self.strides == strides_of(&self.dims) {
            return Some(Self {
                dims: dims.to_vec(),
                strides: strides_of(dims),
                ..self.clone()
            });
        }
        // Axes of one element come and go without a copy.
        let long = |d: &[usize]| d.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        if long(dims) == long(&self.dims) {
            let mut strides = self.dims.iter().zip(&self.strides);
            let mut next = || strides.find(|(d, _)| **d != 1).map_or(1, |(_, s)| *s);
            let strides = dims.iter().map(|&d| if d == 1 { 1 } else { next() });
            return Some(Self {
                strides: strides.collect(),
                dims: dims.to_vec(),
                ..self.clone()
            });
        }
        Some(Self::new(dims.to_vec(), self.kind, self.values()?))
    }
}

/// Elements that stand in the typed fields of a tensor.
fn typed<'a>(
    body: Slice<'a>,
    form: Form,
    len: usize,
    stored: &dyn Fn(&'a [u8]) -> Result<Data<'a>, ImportError>,
    wrong: &dyn Fn(String) -> ImportError,
) -> Result<Data<'a>, ImportError> {
    // A packed list of floats is what raw bytes are.
    let field = match form {
        Form::F32 => 4,
        Form::F64 => 10,
        Form::I64 => 7,
        Form::U32 | Form::U64 => 11,
        _ => 5,
    };
    let mut packed = Vec::new();
    let mut fields = Vec::new();
    for found in body.fields() {
        let found = found?;
        if found.number == field {
            match found.slice() {
                Ok(slice) if matches!(form, Form::F32 | Form::F64) => packed.push(slice),
                _ => fields.push(found),
            }
            if packed.len() > 1 || fields.len() > len.min(MAX_TYPED) {
                return Err(wrong("has its elements in several lists".into()));
            }
        }
    }
    if let ([one], []) = (packed.as_slice(), fields.as_slice()) {
        return stored(one.bytes);
    }
    if packed.is_empty() && fields.is_empty() {
        return stored(&[]);
    }
    if !packed.is_empty() || len > MAX_TYPED {
        return Err(wrong("has its elements in a form that is not read".into()));
    }
    let mut values = Vec::new();
    match form {
        Form::F32 => {
            let mut floats = Vec::new();
            for found in fields {
                found.floats(&mut floats, len)?;
            }
            values.extend(floats.into_iter().map(f64::from));
        }
        Form::F64 => {
            for found in fields {
                values.push(found.double()?);
            }
        }
        _ => {
            let mut ints = Vec::new();
            for found in fields {
                found.ints(&mut ints, len)?;
            }
            values.extend(ints.into_iter().map(|v| of_int(v, form)));
        }
    }
    if values.len() != len {
        return Err(wrong(format!(
            "needs {len} elements, and has {}",
            values.len()
        )));
    }
    Ok(Data::Computed(values.into()))
}

/// A number of `int32_data`, `int64_data` or `uint64_data`: 16-bit floats are stored by their bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the upper bits are not part of the number"
)]
fn of_int(value: i64, form: Form) -> f64 {
    match form {
        Form::F16 => f64::from(f16::from_bits(value as u16)),
        Form::BF16 => f64::from(bf16::from_bits(value as u16)),
        Form::U64 => value as u64 as f64,
        _ => value as f64,
    }
}

/// What an element type of `TensorProto` is called.
pub(super) fn element_name(element: i64) -> String {
    let name = match element {
        1 => "FLOAT",
        2 => "UINT8",
        3 => "INT8",
        4 => "UINT16",
        5 => "INT16",
        6 => "INT32",
        7 => "INT64",
        8 => "STRING",
        9 => "BOOL",
        10 => "FLOAT16",
        11 => "DOUBLE",
        12 => "UINT32",
        13 => "UINT64",
        14 => "COMPLEX64",
        15 => "COMPLEX128",
        16 => "BFLOAT16",
        17 => "FLOAT8E4M3FN",
        18 => "FLOAT8E4M3FNUZ",
        19 => "FLOAT8E5M2",
        20 => "FLOAT8E5M2FNUZ",
        21 => "UINT4",
        22 => "INT4",
        23 => "FLOAT4E2M1",
        _ => return format!("number {element}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six() -> Constant<'static> {
        let values = (0..6).map(f64::from).collect();
        Constant::new(vec![2, 3], Kind::Float, values)
    }

    #[test]
    fn axes_move_without_a_copy() {
        let turned = six().transposed(&[1, 0]);
        assert_eq!(turned.dims(), [3, 2]);
        assert_eq!(turned.values().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let wider = turned.reshaped(&[3, 1, 2]).unwrap();
        assert_eq!(wider.at(&[2, 0, 1]), 5.0);
        let flat = turned.reshaped(&[6]).unwrap();
        assert_eq!(flat.values().unwrap(), turned.values().unwrap());
        assert!(six().reshaped(&[4]).is_none());
    }

    #[test]
    fn integers_with_scales_stay_integers_wherever_their_axes_go() {
        let bytes: Vec<u8> = (0..6).collect();
        let integers = Constant {
            dims: vec![2, 3],
            strides: vec![3, 1],
            kind: Kind::Int,
            form: Some(Form::U8),
            is_dynamic: false,
            data: Data::Stored(&bytes, Form::U8),
        };
        let scale = Constant::new(vec![2], Kind::Float, vec![0.5, 2.0]);
        let zero = Constant::scalar(Kind::Int, 1.0);
        let real = integers.dequantized(&scale, Some(&zero), 0).unwrap();
        assert_eq!(real.values().unwrap(), [-0.5, 0.0, 0.5, 4.0, 6.0, 8.0]);
        // The axis of the scales is the last one, as a dense layer has it.
        let turned = real.transposed(&[1, 0]);
        assert_eq!(turned.values().unwrap(), [-0.5, 4.0, 0.0, 6.0, 0.5, 8.0]);
        let Weights::Integers { scales } = turned.weights() else {
            panic!("not integers");
        };
        assert_eq!(scales, [0.5, 2.0]);
        let mut steps = Vec::new();
        turned.each_weight(Some(&[2, 0]), |at| steps.push(turned.steps_at(at)));
        assert_eq!(steps, [1, 4, -1, 2]);
        // Scales along the inputs are not those of an integer kernel.
        assert!(matches!(real.weights(), Weights::Real));
        assert!(integers.dequantized(&scale, Some(&zero), 1).is_none());
    }

    #[test]
    fn elements_of_every_form_are_read() {
        assert_eq!(Form::F16.read(&[0, 0x3c]), 1.0);
        assert_eq!(Form::BF16.read(&[0x80, 0x3f]), 1.0);
        assert_eq!(Form::I8.read(&[0xff]), -1.0);
        assert_eq!(Form::I64.read(&(-7i64).to_le_bytes()), -7.0);
        assert_eq!(of_int(0x3c00, Form::F16), 1.0);
        // The end of an array is not passed.
        assert_eq!(Form::F32.read(&[1]), 0.0);
    }
}
