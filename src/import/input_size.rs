//! Shapes of inputs that a file leaves open, completed by what the user says.

use super::error::ImportError;
use crate::graph::Node;
use crate::tensor::Shape;

/// Completes open input shapes.
pub(super) struct InputSizes {
    asked: Option<[usize; 2]>,
    used: bool,
}

impl InputSizes {
    /// `asked` is what the user says.
    pub(super) fn new(asked: Option<[usize; 2]>) -> Self {
        Self { asked, used: false }
    }

    /// Refuses a size that was asked for and fits no input; `first` is named.
    pub(super) fn check_used(&self, first: Option<&Node>) -> Result<(), ImportError> {
        let (Some([h, w]), false) = (self.asked, self.used) else {
            return Ok(());
        };
        Err(ImportError::InputSize {
            input: first.map_or_else(String::new, |n| n.name.clone()),
            shape: first.map_or_else(String::new, |n| n.shape.to_string()),
            message: format!("it is fixed, so a size of {h}x{w} cannot be set"),
        })
    }

    /// The shape without the batch axis, which is the first of `batch_shape`; rows and columns of an
    /// image stand before its channels.
    pub(super) fn shape(
        &mut self,
        input: &str,
        batch_shape: Option<&[Option<usize>]>,
    ) -> Result<Shape, ImportError> {
        let refuse = |shape: String, message: &str| ImportError::InputSize {
            input: input.to_owned(),
            shape,
            message: message.to_owned(),
        };
        let Some([_, open @ ..]) = batch_shape else {
            return Err(refuse(
                "unknown".into(),
                "the file does not say for which input the model was built",
            ));
        };
        let shown = open
            .iter()
            .map(|d| d.map_or_else(|| "None".to_owned(), |n| n.to_string()))
            .collect::<Vec<_>>()
            .join(", ");
        let shown = format!("[{shown}]");
        match *open {
            [Some(h), Some(w), Some(c)] => {
                if let Some(asked) = self.asked
                    && asked == [h, w]
                {
                    self.used = true;
                }
                Ok([h, w, c].into())
            }
            [h, w, Some(c)] => {
                let Some([asked_h, asked_w]) = self.asked else {
                    return Err(refuse(shown, "rows and columns are not known"));
                };
                if h.is_some_and(|h| h != asked_h) || w.is_some_and(|w| w != asked_w) {
                    let message = format!("it does not fit a size of {asked_h}x{asked_w}");
                    return Err(refuse(shown, &message));
                }
                self.used = true;
                Ok([asked_h, asked_w, c].into())
            }
            _ => match open.iter().copied().collect::<Option<Vec<_>>>() {
                Some(dims) if !dims.is_empty() => Ok(Shape::new(&dims)),
                _ => Err(refuse(shown, "its extents must be fixed")),
            },
        }
    }
}
