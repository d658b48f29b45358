//! An answer as JSON. The picture in it is base64, which is a third larger than the PNG. It is encoded
//! piece by piece while it is sent, so that an answer on its way to a slow client takes no more memory
//! than its PNG, whose bytes stay reserved until the last one is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body::{Frame, SizeHint};
use serde::Serialize;

use super::request::RequestId;
use crate::serve::admission::Reservation;
use crate::serve::answer::{AnswerFormat, Served};
use crate::serve::error::ApiError;

/// Bytes of the PNG that become one piece of base64: a multiple of three, so that only the last piece
/// needs padding.
const PIECE_BYTES: usize = 48 << 10;

/// The text after which the picture belongs.
const BEFORE_PICTURE: &str = "\"png_base64\":\"";

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct Document {
    head: String,
    /// Goes between `head` and `tail`, as base64.
    png: Bytes,
    tail: String,
    reservation: Option<Reservation>,
}

impl From<String> for Document {
    /// JSON without a picture.
    fn from(text: String) -> Self {
        Self {
            head: text,
            png: Bytes::new(),
            tail: String::new(),
            reservation: None,
        }
    }
}

impl Document {
    /// Bytes that are reserved for its picture.
    pub(in crate::serve) fn reserved_bytes(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::bytes)
    }

    /// The whole document as one text.
    pub(in crate::serve) fn into_text(self) -> String {
        let mut text = self.head;
        text.reserve_exact(base64_len(self.png.len()) + self.tail.len());
        STANDARD.encode_string(&self.png, &mut text);
        text.push_str(&self.tail);
        text
    }

    pub(in crate::serve) fn into_body(self) -> Body {
        Arc::new(self).body_between("", "")
    }

    /// A body with this document between two texts, as a member of another document.
    pub(in crate::serve) fn body_between(self: Arc<Self>, before: &str, after: &str) -> Body {
        let first = [before, &self.head].concat();
        let last = [&self.tail, after].concat();
        Body::new(Sending {
            first: first.into(),
            last: last.into(),
            at: 0,
            document: self,
        })
    }
}

/// Bytes of base64, padded.
fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// A document that is being sent.
struct Sending {
    first: Bytes,
    /// How much of the picture was sent.
    at: usize,
    last: Bytes,
    document: Arc<Document>,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let png = &self.document.png;
        let piece = if !self.first.is_empty() {
            std::mem::take(&mut self.first)
        } else if self.at < png.len() {
            let end = png.len().min(self.at + PIECE_BYTES);
            let piece = STANDARD.encode(&png[self.at..end]);
            self.at = end;
            piece.into()
        } else {
            std::mem::take(&mut self.last)
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let picture = base64_len(self.document.png.len() - self.at);
        SizeHint::with_exact((self.first.len() + picture + self.last.len()) as u64)
    }
}

/// Bytes that stay reserved until the last of them is sent. The connection may hold them longer than
/// the body that they came from.
struct ReservedBytes<T> {
    bytes: T,
    _reservation: Reservation,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for ReservedBytes<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// A body whose reservation ends when its bytes are sent.
pub(in crate::serve) fn reserved_body(
    bytes: impl AsRef<[u8]> + Send + 'static,
    reservation: Option<Reservation>,
) -> Body {
    Body::from(match reservation {
        Some(reservation) => Bytes::from_owner(ReservedBytes {
            bytes,
            _reservation: reservation,
        }),
        None => Bytes::from_owner(bytes),
    })
}

#[derive(Serialize)]
struct Record<'a> {
    schema_version: u32,
    request_id: &'a str,
    model: &'a str,
    top1: &'a str,
    predictions: Vec<ClassRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<FieldsRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradcam: Option<GradcamRecord<'a>>,
    /// The client asked for a heat map, and the server left it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gradcam_shed: bool,
    cached: bool,
    timing_ms: TimingRecord,
}

#[derive(Serialize)]
struct ClassRecord<'a> {
    class: &'a str,
    index: usize,
    probability: f32,
}

#[derive(Serialize)]
struct Size {
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct FieldsRecord<'a> {
    used: &'a [String],
    missing: &'a [String],
}

#[derive(Serialize)]
struct GradcamRecord<'a> {
    layer: &'a str,
    class: Option<&'a str>,
    method: &'a str,
    map_size: [usize; 2],
    blank: bool,
    width: usize,
    height: usize,
    content_type: &'static str,
    png_base64: &'static str,
}

#[derive(Serialize)]
struct TimingRecord {
    decode: f64,
    preprocess: f64,
    inference: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradcam: Option<f64>,
}

/// Writes an answer as JSON.
pub(in crate::serve) fn document(
    served: Served,
    format: AnswerFormat,
    id: &RequestId,
) -> Result<Document, ApiError> {
    let answer = &served.answer;
    let ranked = answer.prediction.ranked();
    let predictions: Vec<_> = ranked
        .iter()
        .take(format.top.unwrap_or(usize::MAX))
        .map(|&(index, probability)| ClassRecord {
            class: &answer.labels[index],
            index,
            probability,
        })
        .collect();
    let timing = answer.prediction.timing;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let has_fields = !(answer.used_fields.is_empty() && answer.missing_fields.is_empty());
    let record = Record {
        schema_version: 1,
        request_id: &id.0,
        model: &answer.model,
        top1: &answer.labels[answer.prediction.top1()],
        predictions,
        image: answer.photo.map(|[width, height]| Size { width, height }),
        fields: has_fields.then_some(FieldsRecord {
            used: &answer.used_fields,
            missing: &answer.missing_fields,
        }),
        gradcam: answer.heat_map.as_ref().map(|map| GradcamRecord {
            layer: &map.layer,
            class: map.class.as_deref(),
            method: map.method,
            map_size: map.map_size,
            blank: map.blank,
            width: map.size[0],
            height: map.size[1],
            content_type: "image/png",
            png_base64: "",
        }),
        gradcam_shed: served.heat_map_omitted.is_some(),
        cached: served.cached,
        timing_ms: TimingRecord {
            decode: ms(timing.decode),
            preprocess: ms(timing.preprocess),
            inference: ms(timing.inference),
            gradcam: answer.heat_map.as_ref().map(|_| answer.gradcam_ms),
        },
    };
    let text = serde_json::to_string(&record).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        ApiError::internal()
    })?;
    let Some(map) = &answer.heat_map else {
        return Ok(Document::from(text));
    };
    // The quotes would be escaped inside a text, so this can only be the member's name.
    let at = text.find(BEFORE_PICTURE).ok_or_else(ApiError::internal)? + BEFORE_PICTURE.len();
    Ok(Document {
        head: text[..at].to_owned(),
        png: map.png.clone(),
        tail: text[at..].to_owned(),
        reservation: served.picture,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn with_picture(bytes: usize) -> Document {
        Document {
            head: "{\"a\":\"".to_owned(),
            png: (0..bytes).map(|i| i.to_le_bytes()[0]).collect(),
            tail: "\"}".to_owned(),
            reservation: None,
        }
    }

    #[tokio::test]
    async fn pieces_add_up_to_the_whole() {
        for bytes in [
            0,
            1,
            2,
            3,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            200_000,
        ] {
            let expected = with_picture(bytes).into_text();
            assert!(expected.starts_with("{\"a\":\"") && expected.ends_with("\"}"));
            let document = Arc::new(with_picture(bytes));
            let body = Arc::clone(&document).body_between("<", ">");
            let length = HttpBody::size_hint(&body).exact();
            let sent = body.collect().await.unwrap().to_bytes();
            assert_eq!(sent, format!("<{expected}>").as_bytes(), "{bytes}");
            assert_eq!(length, Some(sent.len() as u64));
            let alone = with_picture(bytes).into_body();
            assert_eq!(alone.collect().await.unwrap().to_bytes(), expected);
        }
        let nothing = Document::from(String::new()).into_body();
        assert!(nothing.is_end_stream());
        assert_eq!(nothing.collect().await.unwrap().to_bytes(), "");
    }

    #[tokio::test]
    async fn bytes_stay_reserved_while_anybody_holds_them() {
        let admission = crate::serve::admission::Admission::new(1, 1 << 20);
        let reservation = admission.reserve(1024, std::time::Duration::ZERO).await;
        let mut body = reserved_body(vec![1; 100], reservation);
        let frame = body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream());
        drop(body);
        let data = frame.into_data().unwrap();
        assert_eq!(admission.reserved_bytes(), 1024);
        drop(data);
        assert_eq!(admission.reserved_bytes(), 0);
    }
}
