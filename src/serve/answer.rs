//! Answers: what the model said about a photo ([`Answer`]), and what one request gets of it
//! ([`Served`]).

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;

use super::admission::Reservation;
use super::error::ApiError;
use crate::predict::Prediction;

/// What the model said about a photo or tensor. Requests for the same photo share it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub model: String,
    pub prediction: Prediction,
    pub labels: Arc<[String]>,
    /// Columns and rows of the upright photo; `None` for a prepared tensor.
    pub photo: Option<[usize; 2]>,
    pub missing_fields: Vec<String>,
    pub used_fields: Vec<String>,
    pub heat_map: Option<HeatMap>,
    pub gradcam_ms: f64,
}

/// A heat map that was drawn.
#[derive(Clone, Debug)]
pub(super) struct HeatMap {
    pub png: Bytes,
    pub size: [usize; 2],
    pub map_size: [usize; 2],
    pub layer: String,
    pub class: Option<String>,
    pub method: &'static str,
    pub blank: bool,
}

/// An answer on its way to one client.
#[derive(Debug)]
pub(super) struct Served {
    pub answer: Arc<Answer>,
    /// Whether it comes from the cache.
    pub cached: bool,
    /// Why the heat map that the client asked for was left out.
    pub heat_map_omitted: Option<Omission>,
    /// Memory for the heat map's picture, held until the picture is sent.
    pub picture: Option<Reservation>,
}

impl Served {
    pub(super) fn new(answer: Arc<Answer>, cached: bool) -> Self {
        Self {
            answer,
            cached,
            heat_map_omitted: None,
            picture: None,
        }
    }
}

/// Why a heat map is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omission {
    /// The server is too busy, or has no memory for the picture at this moment.
    Busy,
    /// The picture would take more memory than the server ever sets aside.
    TooLarge,
}

impl From<Omission> for ApiError {
    fn from(why: Omission) -> Self {
        match why {
            Omission::Busy => Self::busy(
                "heat_map_shed",
                "the server is too busy to draw heat maps",
                2,
            ),
            Omission::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "heat_map_too_large",
                "the heat map's picture would take more memory than the server sets aside",
            )
            .hint("ask for a smaller `max_side`, or scale the photo down"),
        }
    }
}

/// How a client wants its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerFormat {
    /// Only this many classes.
    pub top: Option<usize>,
    /// The heat map alone, as a PNG.
    pub png: bool,
}
