//! The recipe as operators: from a photo of any size to the model's input.
//!
//! The graph does what `predict` does, number for number: positions in f32 as TensorFlow has them,
//! pixels picked by index, interpolation in f32, scaling in f64 with one rounding. So the input is
//! the same in every runtime; `Resize` is not used, whose positions are rounded differently.
//!
//! Not here: EXIF orientation and transparency. The photo comes as upright RGB. Pillow's filters
//! average in fixed point and round to bytes between two passes, which no operator does.

use super::builder::{Attribute, IMAGE, ints};
use super::placed::Placed;
use super::tensor::Element;
use super::{ExportError, Exporter, Extent, Port};
use crate::artifact::{ChannelOrder, Filter, InputKind, Preprocessing, Resize};
use crate::graph::Node;

/// One axis of the resize, as names of whole numbers. See `predict/geometry.rs`.
struct Axis {
    /// Where the part of the photo begins that is read.
    start: String,
    /// Its length.
    len: String,
    /// Pixels after the resize.
    to: String,
    /// The first of these that is kept, and how many are.
    keep: (String, usize),
}

/// Where the pixels of one axis come from.
struct Picks {
    len: usize,
    lower: String,
    /// The second pixel and its weight, for an interpolation.
    upper: Option<(String, String)>,
}

impl Exporter<'_> {
    /// Appends the recipe, and returns the graph's input.
    pub(super) fn photo(&mut self, node: &Node) -> Result<Placed, ExportError> {
        let specs = self.model.manifest.inputs.iter();
        let mut recipes = specs.filter_map(|spec| match &spec.kind {
            InputKind::Image { preprocessing } if spec.name == node.name => Some(preprocessing),
            _ => None,
        });
        let Some(recipe) = recipes.next() else {
            return Err(ExportError::Preprocessing {
                recipe: node.name.clone(),
                reason: "the model has no recipe for this input".to_owned(),
            });
        };
        let bilinear = interpolates(recipe)?;
        let photo = self.builder.unique("photo");
        self.inputs.push(Port {
            name: photo.clone(),
            element: Element::U8,
            shape: vec![
                Extent::Fixed(1),
                Extent::Open("height"),
                Extent::Open("width"),
                Extent::Fixed(3),
            ],
        });
        let size = self.step("size", "Shape", &[&photo], vec![]);
        let extent = |exporter: &mut Self, name: &str, at: i64| {
            let at = exporter.whole(at);
            exporter.step(name, "Gather", &[&size, &at], vec![])
        };
        let photo_size = [extent(self, "height", 1), extent(self, "width", 2)];
        let input = [node.shape.dims()[0], node.shape.dims()[1]];
        let [rows, columns] = self.axes(recipe.resize, &photo_size, input);
        let rows = self.picks("rows", &rows, bilinear);
        let columns = self.picks("columns", &columns, bilinear);
        let gray = recipe.channels == ChannelOrder::Gray;
        let mut value = self.line(&photo, &rows.lower, &columns, gray);
        if let Some((upper, fraction)) = &rows.upper {
            let below = self.line(&photo, upper, &columns, gray);
            let weight = self.shaped(fraction, &[input[0], 1, 1]);
            value = self.between(&value, &below, &weight);
        }
        let value = self.scaled(node, recipe, &value);
        Ok(Placed::ordered(value, &node.shape, &IMAGE))
    }

    /// `(pixel * scale - mean) / std`, rounded once; then the order of the channels.
    fn scaled(&mut self, node: &Node, recipe: &Preprocessing, value: &str) -> String {
        let channels = recipe.channels.count();
        let to = |element: Element| vec![("to", Attribute::Int(element.number()))];
        let mut value = self.step("double", "Cast", &[value], to(Element::F64));
        let mean = &recipe.mean[..channels];
        let std = &recipe.std[..channels];
        for (name, op, list) in [
            ("scaled", "Mul", &[recipe.scale][..]),
            ("centred", "Sub", mean),
            ("standardised", "Div", std),
        ] {
            let bytes = list.iter().flat_map(|v| v.to_le_bytes()).collect();
            let constant = format!("photo/{name}/by");
            let dims = [list.len()];
            let list = self.builder.constant(&constant, Element::F64, &dims, bytes);
            value = self.step(name, op, &[&value, &list], vec![]);
        }
        value = self.step("single", "Cast", &[&value], to(Element::F32));
        if recipe.channels == ChannelOrder::Bgr {
            let order = self.builder.int_list("photo/bgr/order", &[2, 1, 0]);
            let axis = vec![("axis", Attribute::Int(3))];
            value = self.step("bgr", "Gather", &[&value, &order], axis);
        }
        let permutation = vec![("perm", Attribute::Ints(vec![0, 3, 1, 2]))];
        self.builder
            .push(&node.name, "Transpose", &[&value], permutation)
    }

    /// Rows of the photo at the columns of the input.
    fn line(&mut self, photo: &str, rows: &str, columns: &Picks, gray: bool) -> String {
        let axis = |axis: i64| vec![("axis", Attribute::Int(axis))];
        let line = self.step("line", "Gather", &[photo, rows], axis(1));
        let left = self.step("left", "Gather", &[&line, &columns.lower], axis(2));
        let left = self.floats_of(&left, gray);
        let Some((upper, fraction)) = &columns.upper else {
            return left;
        };
        let right = self.step("right", "Gather", &[&line, upper], axis(2));
        let right = self.floats_of(&right, gray);
        let weight = self.shaped(fraction, &[columns.len, 1]);
        self.between(&left, &right, &weight)
    }

    /// Bytes as floats, in one channel if that is asked for: Pillow's fixed-point luma.
    fn floats_of(&mut self, pixels: &str, gray: bool) -> String {
        let to = |element: Element| vec![("to", Attribute::Int(element.number()))];
        if !gray {
            return self.step("float", "Cast", &[pixels], to(Element::F32));
        }
        let pixels = self.step("whole", "Cast", &[pixels], to(Element::I64));
        let weights = self
            .builder
            .int_list("photo/luma", &[19_595, 38_470, 7_471]);
        let parts = self.step("weighted", "Mul", &[&pixels, &weights], vec![]);
        let axis = self.builder.int_list("photo/luma/axis", &[3]);
        let keep = vec![("keepdims", Attribute::Int(1))];
        let sum = self.step("luma_sum", "ReduceSum", &[&parts, &axis], keep);
        let half = self.whole(0x8000);
        let sum = self.step("luma_half", "Add", &[&sum, &half], vec![]);
        let unit = self.whole(0x1_0000);
        let luma = self.step("luma_value", "Div", &[&sum, &unit], vec![]);
        self.step("float", "Cast", &[&luma], to(Element::F32))
    }

    /// `a + (b - a) * weight`
    fn between(&mut self, a: &str, b: &str, weight: &str) -> String {
        let difference = self.step("difference", "Sub", &[b, a], vec![]);
        let part = self.step("part", "Mul", &[&difference, weight], vec![]);
        self.step("between", "Add", &[a, &part], vec![])
    }

    fn axes(&mut self, resize: Resize, photo: &[String; 2], input: [usize; 2]) -> [Axis; 2] {
        let [height, width] = photo;
        let number = |n: usize| ints(&[n])[0];
        match resize {
            Resize::CropToAspect => [0, 1].map(|i| {
                let (len, across) = (&photo[i], &photo[1 - i]);
                let by = self.whole(number(input[i]));
                let crop = self.step("crop_scaled", "Mul", &[across, &by], vec![]);
                let by = self.whole(number(input[1 - i]));
                let crop = self.step("crop_rounded", "Div", &[&crop, &by], vec![]);
                let one = self.whole(1);
                let crop = self.step("crop_some", "Max", &[&crop, &one], vec![]);
                let crop = self.step("crop", "Min", &[&crop, len], vec![]);
                let rest = self.step("crop_rest", "Sub", &[len, &crop], vec![]);
                let two = self.whole(2);
                let start = self.step("crop_start", "Div", &[&rest, &two], vec![]);
                Axis {
                    start,
                    len: crop,
                    to: self.whole(number(input[i])),
                    keep: (self.whole(0), input[i]),
                }
            }),
            Resize::ShortSideCenterCrop { short_side } => {
                let short = (short_side as usize).max(input[0]).max(input[1]);
                let side = self.step("short", "Min", &[height, width], vec![]);
                [0, 1].map(|i| {
                    let by = self.whole(number(short));
                    let long = self.step("long_scaled", "Mul", &[&photo[i], &by], vec![]);
                    let to = self.step("long", "Div", &[&long, &side], vec![]);
                    let crop = self.whole(number(input[i]));
                    let rest = self.step("rest", "Sub", &[&to, &crop], vec![]);
                    let start = self.half_to_even(&rest);
                    Axis {
                        start: self.whole(0),
                        len: photo[i].clone(),
                        to,
                        keep: (start, input[i]),
                    }
                })
            }
            // `fit` is only for Pillow's filters, which have been refused.
            Resize::Stretch | Resize::Fit => [0, 1].map(|i| Axis {
                start: self.whole(0),
                len: photo[i].clone(),
                to: self.whole(number(input[i])),
                keep: (self.whole(0), input[i]),
            }),
        }
    }

    /// `n / 2`, halves to even: one more if `n` and the half are odd.
    fn half_to_even(&mut self, n: &str) -> String {
        let two = self.whole(2);
        let half = self.step("half", "Div", &[n, &two], vec![]);
        let odd = self.step("odd", "Mod", &[n, &two], vec![]);
        let odd_half = self.step("odd_half", "Mod", &[&half, &two], vec![]);
        let more = self.step("more", "Mul", &[&odd, &odd_half], vec![]);
        self.step("rounded_half", "Add", &[&half, &more], vec![])
    }

    /// The pixels of an axis, in f32 as TensorFlow computes them.
    fn picks(&mut self, name: &str, axis: &Axis, bilinear: bool) -> Picks {
        let to = |element: Element| vec![("to", Attribute::Int(element.number()))];
        let (first, len) = &axis.keep;
        let numbers: Vec<usize> = (0..*len).collect();
        let numbers = self
            .builder
            .int_list(&format!("photo/{name}/numbers"), &ints(&numbers));
        let at = self.step(name, "Add", &[&numbers, first], vec![]);
        let at = self.step(name, "Cast", &[&at], to(Element::F32));
        let [from, into] =
            [&axis.len, &axis.to].map(|n| self.step(name, "Cast", &[n], to(Element::F32)));
        let scale = self.step(name, "Div", &[&from, &into], vec![]);
        let half = self.builder.scalar("photo/half", 0.5);
        let at = self.step(name, "Add", &[&at, &half], vec![]);
        let at = self.step(name, "Mul", &[&at, &scale], vec![]);
        let one = self.whole(1);
        let last = self.step(name, "Sub", &[&axis.len, &one], vec![]);
        let clamped = |exporter: &mut Self, position: &str| {
            let zero = exporter.builder.scalar("photo/zero", 0.0);
            let position = exporter.step(name, "Max", &[position, &zero], vec![]);
            let whole = exporter.step(name, "Cast", &[&position], to(Element::I64));
            let inside = exporter.step(name, "Min", &[&whole, &last], vec![]);
            exporter.step(name, "Add", &[&inside, &axis.start], vec![])
        };
        if !bilinear {
            let floor = self.step(name, "Floor", &[&at], vec![]);
            return Picks {
                len: *len,
                lower: clamped(self, &floor),
                upper: None,
            };
        }
        let at = self.step(name, "Sub", &[&at, &half], vec![]);
        let floor = self.step(name, "Floor", &[&at], vec![]);
        let ceil = self.step(name, "Ceil", &[&at], vec![]);
        let fraction = self.step(name, "Sub", &[&at, &floor], vec![]);
        Picks {
            len: *len,
            lower: clamped(self, &floor),
            upper: Some((clamped(self, &ceil), fraction)),
        }
    }

    /// A list as a column that is broadcast over the axes behind it.
    fn shaped(&mut self, list: &str, dims: &[usize]) -> String {
        self.builder.reshape(&format!("{list}/weights"), list, dims)
    }

    fn whole(&mut self, value: i64) -> String {
        let bytes = value.to_le_bytes().to_vec();
        self.builder
            .constant(&format!("photo/{value}"), Element::I64, &[], bytes)
    }

    fn step(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        self.builder
            .push(&format!("photo/{name}"), op, inputs, attributes)
    }
}

/// Whether the filter interpolates; refuses those that no operator computes.
fn interpolates(recipe: &Preprocessing) -> Result<bool, ExportError> {
    let name = match recipe.filter {
        Filter::TensorflowBilinear => return Ok(true),
        Filter::TensorflowNearest => return Ok(false),
        Filter::PillowNearest => "pillow_nearest",
        Filter::PillowBilinear => "pillow_bilinear",
        Filter::PillowBicubic => "pillow_bicubic",
        Filter::PillowLanczos => "pillow_lanczos",
    };
    let recipe_name = recipe
        .preset
        .clone()
        .unwrap_or_else(|| "own recipe".to_owned());
    let reason = if recipe.filter == Filter::PillowNearest {
        format!(
            "its filter `{name}` adds its positions up one by one, and their rounding decides which \
             pixel is taken; no operator does that"
        )
    } else {
        format!(
            "its filter `{name}` averages every pixel that an output covers, in fixed point and \
             rounded to bytes between rows and columns, and opset 17 has no such operator"
        )
    };
    Err(ExportError::Preprocessing {
        recipe: recipe_name,
        reason,
    })
}
