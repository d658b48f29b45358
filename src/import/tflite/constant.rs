//! Numbers that are known at import: weights, read where they lie in the file, and what shape
//! arithmetic has computed.

use std::rc::Rc;

use half::{bf16, f16};

use super::flatbuffer::damaged;
use super::schema::{Model, Quantization, Tensor, element_name};
use super::sparse;
use crate::import::error::ImportError;
use crate::import::view::{len_of, offsets, strides_of};
use crate::tensor::DType;

/// Elements of a constant that arithmetic may make or read as a list.
pub(super) const MAX_FOLDED: usize = 1 << 20;

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Element {
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

impl Element {
    /// By `TensorType`. `None` for texts, complex numbers and those of four bits.
    pub(super) fn of(element: i8) -> Option<Self> {
        Some(match element {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::I32,
            3 => Self::U8,
            4 => Self::I64,
            6 => Self::Bool,
            7 => Self::I16,
            9 => Self::I8,
            10 => Self::F64,
            12 => Self::U64,
            15 => Self::U32,
            16 => Self::U16,
            18 => Self::BF16,
            _ => return None,
        })
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::U16 | Self::I16 => 2,
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F64 | Self::U64 | Self::I64 => 8,
        }
    }

    /// Whether its numbers are real ones and no codes for them.
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
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

/// What tells a constant from others: where its numbers are, where their scales are, how they are
/// read, and its extents. Several tensors may share their bytes.
pub(super) type Identity = (usize, usize, Element, Vec<usize>);

#[derive(Clone, Debug)]
enum Data<'a> {
    Stored(&'a [u8]),
    Made(Rc<[u8]>),
}

/// An array of numbers in row-major order.
#[derive(Clone, Debug)]
pub(super) struct Constant<'a> {
    dims: Vec<usize>,
    /// What the numbers are; it decides how they are divided.
    pub(super) element: Element,
    /// How they are held: as they are stored, or what was computed as f64, which keeps every f32 and
    /// every whole number up to 2^53.
    form: Element,
    data: Data<'a>,
    scales: Option<Scales<'a>>,
}

/// The real numbers that stored integers stand for.
#[derive(Clone, Copy, Debug)]
struct Scales<'a> {
    list: Quantization<'a>,
    /// Elements from one index of the quantized axis to the next, and its extent.
    inner: usize,
    extent: usize,
}

impl<'a> Constant<'a> {
    /// Numbers in row-major order, as many as `dims` have elements.
    pub(super) fn new(dims: Vec<usize>, element: Element, values: &[f64]) -> Self {
        debug_assert_eq!(len_of(&dims), Some(values.len()));
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dims,
            element,
            form: Element::F64,
            data: Data::Made(bytes.into()),
            scales: None,
        }
    }

    /// Whole numbers, such as a shape.
    pub(super) fn list(values: &[usize]) -> Self {
        let values: Vec<f64> = values.iter().map(|&v| v as f64).collect();
        Self::new(vec![values.len()], Element::I32, &values)
    }

    /// A tensor of the file; `None` if the file has no numbers for it.
    pub(super) fn of_tensor(
        model: &Model<'a>,
        tensor: &Tensor<'a>,
    ) -> Result<Option<Self>, ImportError> {
        let wrong = |what: String| damaged(tensor.at, format!("tensor `{}` {what}", tensor.name));
        if tensor.is_external {
            return Err(wrong("has its numbers in another file".into()));
        }
        let stored = model.stored(tensor)?;
        let dims: Option<Vec<usize>> = tensor.shape.iter().map(|&d| d.try_into().ok()).collect();
        let len = dims.as_deref().and_then(len_of);
        if stored.is_empty() && len != Some(0) {
            return Ok(None);
        }
        let element = Element::of(tensor.element).ok_or_else(|| {
            let name = element_name(tensor.element);
            wrong(format!("has elements of type {name}, which are not read"))
        })?;
        let expected = len.and_then(|len| len.checked_mul(element.bytes()));
        let (Some(dims), Some(expected)) = (dims, expected) else {
            return Err(wrong(format!("has the shape {:?}", tensor.shape)));
        };
        let data = match &tensor.sparsity {
            Some(sparsity) => {
                let dense = sparse::densified(*sparsity, &dims, element.bytes(), stored);
                Data::Made(dense.map_err(|what| wrong(what.into()))?.into())
            }
            None if stored.len() == expected => Data::Stored(stored),
            None => {
                let (dims, got) = (&tensor.shape, stored.len());
                let message = format!("of shape {dims:?} takes {expected} bytes, and has {got}");
                return Err(wrong(message));
            }
        };
        let scales = match tensor.quantization.filter(|_| !element.is_float()) {
            None => None,
            Some(list) => Some(Scales::new(list, &dims).ok_or_else(|| {
                let (n, axis) = (list.scales.len(), list.axis);
                wrong(format!("has {n} scales for axis {axis} of {dims:?}"))
            })?),
        };
        Ok(Some(Self {
            dims,
            element,
            form: element,
            data,
            scales,
        }))
    }

    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The same numbers, which are real ones whatever they are stored as: behind `DEQUANTIZE`.
    pub(super) fn dequantized(&self) -> Self {
        Self {
            element: Element::F32,
            ..self.clone()
        }
    }

    /// The same bits as signed integers.
    pub(super) fn as_signed(&self) -> Self {
        let form = match self.form {
            Element::U8 => Element::I8,
            form => form,
        };
        Self {
            element: form,
            form,
            ..self.clone()
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        len_of(&self.dims).unwrap_or(usize::MAX)
    }

    /// Whether it has real numbers: floats, or integers that stand for them.
    pub(super) fn is_real(&self) -> bool {
        self.element.is_float() || self.scales.is_some()
    }

    /// Equal for constants that are the same numbers.
    pub(super) fn identity(&self) -> Identity {
        let scales = self
            .scales
            .map_or(0, |s| s.list.scales.bytes.as_ptr() as usize);
        let address = self.bytes().as_ptr() as usize;
        (address, scales, self.form, self.dims.clone())
    }

    fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Stored(bytes) => bytes,
            Data::Made(bytes) => bytes,
        }
    }

    /// An element as it is stored; 0 for one that does not exist.
    fn raw(&self, index: usize) -> f64 {
        let bytes = self.bytes();
        let start = index.saturating_mul(self.form.bytes()).min(bytes.len());
        self.form.read(&bytes[start..])
    }

    /// An element by its position; 0 for one that does not exist.
    pub(super) fn at(&self, index: usize) -> f64 {
        let value = self.raw(index);
        self.scales
            .map_or(value, |scales| scales.real(value, index))
    }

    /// The type of 16-bit floats, if it is stored in those.
    pub(super) fn half(&self) -> Option<DType> {
        match self.form {
            Element::F16 => Some(DType::F16),
            Element::BF16 => Some(DType::BF16),
            _ => None,
        }
    }

    /// The bytes of an element of 16 bits.
    pub(super) fn half_at(&self, index: usize) -> [u8; 2] {
        let bytes = self.bytes();
        let start = index.saturating_mul(2).min(bytes.len());
        bytes[start..].first_chunk().copied().unwrap_or_default()
    }

    /// An 8-bit integer minus its zero point, and its scale. `None` for all other numbers.
    pub(super) fn steps(&self, index: usize) -> Option<(i16, f32)> {
        if !matches!(self.form, Element::I8 | Element::U8) {
            return None;
        }
        let (zero_point, scale) = self.scales?.map(index);
        #[expect(clippy::cast_possible_truncation, reason = "an integer of 8 bits")]
        let steps = (self.raw(index) as i64).checked_sub(zero_point)?;
        Some((i16::try_from(steps).ok()?, scale))
    }

    /// An element as f32.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32 here")]
    pub(super) fn weight(&self, index: usize) -> f32 {
        self.at(index) as f32
    }

    /// All elements; `None` if there are more than arithmetic takes.
    pub(super) fn values(&self) -> Option<Vec<f64>> {
        let len = self.len();
        (len <= MAX_FOLDED).then(|| (0..len).map(|i| self.at(i)).collect())
    }

    /// All elements as whole numbers.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        Some(self.values()?.into_iter().map(|v| v as i64).collect())
    }

    /// The only element.
    pub(super) fn single(&self) -> Option<f64> {
        (self.len() == 1).then(|| self.at(0))
    }

    /// With other axes for the same elements, as many as there are.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        if len_of(dims)? != self.len() {
            return None;
        }
        // The axis of the scales may be gone, so that the steps to its next index must do.
        Some(Self {
            dims: dims.to_vec(),
            ..self.clone()
        })
    }

    /// With axes in another order: axis `i` is axis `permutation[i]` of this one. `None` if there
    /// are more elements than are copied.
    pub(super) fn transposed(&self, permutation: &[usize]) -> Option<Self> {
        let strides = strides_of(&self.dims);
        let dims: Vec<usize> = permutation.iter().map(|&a| self.dims[a]).collect();
        let steps: Vec<usize> = permutation.iter().map(|&a| strides[a]).collect();
        if self.len() > MAX_FOLDED {
            return None;
        }
        let from = offsets(&dims, &steps);
        let values: Vec<f64> = from.into_iter().map(|i| self.at(i)).collect();
        Some(Self::new(dims, self.element, &values).with_reality_of(self))
    }

    /// What was computed of real numbers are real numbers, also if those were stored as integers.
    pub(super) fn with_reality_of(mut self, other: &Self) -> Self {
        if other.is_real() {
            self.element = Element::F32;
        }
        self
    }
}

impl<'a> Scales<'a> {
    fn new(list: Quantization<'a>, dims: &[usize]) -> Option<Self> {
        let n = list.scales.len();
        let zero_points = list.zero_points.len();
        if zero_points > 1 && zero_points != n {
            return None;
        }
        if n == 1 {
            return Some(Self {
                list,
                inner: 1,
                extent: 1,
            });
        }
        let axis = usize::try_from(list.axis).ok()?;
        let extent = *dims.get(axis)?;
        (extent == n).then(|| Self {
            list,
            inner: dims[axis + 1..].iter().product(),
            extent,
        })
    }

    /// The zero point and the scale of an element.
    fn map(&self, index: usize) -> (i64, f32) {
        let channel = index / self.inner.max(1) % self.extent.max(1);
        let scale = self.list.scales.f32(channel).unwrap_or(0.0);
        let zero_points = self.list.zero_points;
        let at = if zero_points.len() > 1 { channel } else { 0 };
        (zero_points.i64(at).unwrap_or(0), scale)
    }

    fn real(&self, stored: f64, index: usize) -> f64 {
        let (zero_point, scale) = self.map(index);
        (stored - zero_point as f64) * f64::from(scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_move() {
        let values: Vec<f64> = (0..6).map(f64::from).collect();
        let six = Constant::new(vec![2, 3], Element::F32, &values);
        let turned = six.transposed(&[1, 0]).unwrap();
        assert_eq!(turned.dims(), [3, 2]);
        assert_eq!(turned.values().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert!(six.reshaped(&[4]).is_none());
        assert_eq!(six.reshaped(&[3, 2]).unwrap().at(5), 5.0);
    }

    #[test]
    fn elements_of_every_form_are_read() {
        assert_eq!(Element::F16.read(&[0, 0x3c]), 1.0);
        assert_eq!(Element::BF16.read(&[0x80, 0x3f]), 1.0);
        assert_eq!(Element::I8.read(&[0xff]), -1.0);
        assert_eq!(Element::I64.read(&(-7i64).to_le_bytes()), -7.0);
        // The end of an array is not passed.
        assert_eq!(Element::F32.read(&[1]), 0.0);
    }
}
