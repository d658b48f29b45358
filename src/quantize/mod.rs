//! Turns a graph with f32 weights into one that takes less memory, and measures what that costs
//! each layer.
//!
//! In: a packed [`crate::graph::Graph`]. Out: a graph with the same layers and names whose kernels
//! are stored in fewer bits, and the error of each. A given graph and calibration always give the
//! same bits.
//!
//! Integer scheme: symmetric weights with a scale for each channel; asymmetric u8 values with one
//! scale each; i32 biases; exact sums; see `requantize` in [`crate::kernels`]. Sources: Jacob et
//! al. 2018 (arXiv:1712.05877), Nagel et al. 2019 (arXiv:1906.04721: equalization, bias
//! correction), Nagel et al. 2021 (arXiv:2106.08295).
//!
//! Not here: files (`artifact`), photos (`predict`), verdicts about accuracy.

mod calibrate;
mod equalize;
mod error;
mod histogram;
mod int8;
mod separate;
mod speed;
mod sqnr;
pub mod weights;

pub use calibrate::{Calibration, Calibrator, ChannelStats, ValueStats};
pub use equalize::equalize;
pub use error::QuantizeError;
pub use histogram::{RangeMethod, histogram_bytes};
pub use int8::{Int8Options, to_int8};
pub use separate::separate_tables;
pub use speed::speed_ratio;
pub use sqnr::{ErrorMeter, LayerError};
