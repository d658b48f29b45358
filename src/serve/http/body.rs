//! Reads the body of a request with a limit on its length and on how slowly it may come.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::serve::error::ApiError;

/// How slowly a body may come.
#[derive(Clone, Copy)]
struct Pace {
    /// A client may be silent for this long; only then the rate counts.
    grace: Duration,
    /// Bytes that a client must send for each of the following periods, on average.
    min_bytes: u64,
    /// How often the rate is checked.
    every: Duration,
}

/// GPRS has 5,000 bytes a second.
const PACE: Pace = Pace {
    grace: Duration::from_secs(8),
    min_bytes: 4_000,
    every: Duration::from_secs(1),
};

/// How long, and how many bytes, the server goes on reading the body of a refused request.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_BYTES: u64 = 32 << 20;

/// The part of a request's body that nobody read. If the connection closes while a client still sends,
/// the client gets a reset and never reads why it was refused.
pub(in crate::serve) struct UnreadBody {
    body: Arc<Mutex<Body>>,
    /// The client waits for `100 Continue` and has sent nothing yet.
    awaits_continue: bool,
}

impl UnreadBody {
    /// Splits a request into one whose body is read as usual, and a handle on what stays unread.
    pub(in crate::serve) fn of(request: Request) -> (Request, Self) {
        let awaits_continue = request.headers().contains_key(header::EXPECT);
        let (parts, body) = request.into_parts();
        let body = Arc::new(Mutex::new(body));
        let read = Body::new(SharedBody(Arc::clone(&body)));
        (
            Request::from_parts(parts, read),
            Self {
                body,
                awaits_continue,
            },
        )
    }

    /// Reads what is left, for a limited time, and drops it.
    pub(in crate::serve) async fn discard(self) {
        let body = std::mem::take(&mut *lock(&self.body));
        if body.is_end_stream() || self.awaits_continue {
            return;
        }
        let (mut body, _) = LimitedBody::new(body, DISCARD_BYTES);
        let to_its_end = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, to_its_end).await;
    }
}

fn lock(body: &Mutex<Body>) -> std::sync::MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that a handler reads and [`UnreadBody`] drains.
struct SharedBody(Arc<Mutex<Body>>);

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *lock(&self.0)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        lock(&self.0).size_hint()
    }
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyError {
    TooLarge,
    TooSlow,
}

/// Remembers why a body was not read to its end, because parsers replace the error by their own.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct BodyErrors(Arc<Mutex<Option<BodyError>>>);

impl BodyErrors {
    /// The error for the client when a body could not be read; `otherwise` if nothing is remembered.
    pub(in crate::serve) fn or(
        &self,
        limit: u64,
        otherwise: impl FnOnce() -> ApiError,
    ) -> ApiError {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(BodyError::TooLarge) => too_large(limit),
            Some(BodyError::TooSlow) => ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                "the body arrived too slowly",
            ),
            None => otherwise(),
        }
    }
}

pub(in crate::serve) fn too_large(limit: u64) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body has more than {limit} bytes"),
    )
    .hint("scale the photo down")
}

/// A body that ends with an error when it is too long or comes too slowly.
pub(in crate::serve) struct LimitedBody {
    inner: Body,
    limit: u64,
    bytes: u64,
    pace: Pace,
    started: Instant,
    check: Pin<Box<Sleep>>,
    errors: BodyErrors,
}

/// The error that ends a [`LimitedBody`]; [`BodyErrors`] has the reason.
#[derive(Debug, thiserror::Error)]
#[error("reading the body was aborted")]
pub(in crate::serve) struct BodyAborted;

impl LimitedBody {
    pub(in crate::serve) fn new(inner: Body, limit: u64) -> (Self, BodyErrors) {
        Self::with_pace(inner, limit, PACE)
    }

    fn with_pace(inner: Body, limit: u64, pace: Pace) -> (Self, BodyErrors) {
        let started = Instant::now();
        let errors = BodyErrors::default();
        let body = Self {
            inner,
            limit,
            bytes: 0,
            pace,
            started,
            check: Box::pin(sleep_until(started + pace.grace)),
            errors: errors.clone(),
        };
        (body, errors)
    }

    fn abort(&self, error: BodyError) -> axum::BoxError {
        let mut place = self.errors.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(error);
        BodyAborted.into()
    }

    fn is_too_slow(&self) -> bool {
        let counted = self.started.elapsed().saturating_sub(self.pace.grace);
        let periods = counted.as_micros() / self.pace.every.as_micros() + 1;
        u128::from(self.bytes) < periods * u128::from(self.pace.min_bytes)
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        loop {
            // Checked before reading, so that a client that sends one byte at a time is noticed.
            if self.check.as_mut().poll(context).is_ready() {
                if self.is_too_slow() {
                    return Poll::Ready(Some(Err(self.abort(BodyError::TooSlow))));
                }
                let next = Instant::now() + self.pace.every;
                self.check.as_mut().reset(next);
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
                return Poll::Pending;
            };
            return Poll::Ready(match frame {
                None => None,
                Some(Err(error)) => Some(Err(error.into())),
                Some(Ok(frame)) => {
                    let more = frame.data_ref().map_or(0, Bytes::len) as u64;
                    self.bytes += more;
                    if self.bytes > self.limit {
                        Some(Err(self.abort(BodyError::TooLarge)))
                    } else {
                        Some(Ok(frame))
                    }
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// Reads a whole body.
pub(in crate::serve) async fn collect(
    body: LimitedBody,
    errors: &BodyErrors,
    expected: Option<u64>,
) -> Result<Bytes, ApiError> {
    let limit = body.limit;
    // One allocation if the stated length is right; a wrong one grows the buffer or hits the limit.
    let capacity = expected.unwrap_or(0).min(limit);
    let mut whole = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
    let mut body = Body::new(body);
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    whole.extend_from_slice(data);
                }
            }
            Err(_) => {
                return Err(errors.or(limit, || {
                    ApiError::bad(
                        "body_broken_off",
                        "the connection ended before the whole body had arrived",
                    )
                }));
            }
        }
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    /// A body of `left` pieces, one every `every`.
    struct Drip {
        piece: &'static [u8],
        every: Duration,
        timer: Pin<Box<Sleep>>,
        left: usize,
    }

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let next = Instant::now() + self.every;
            self.timer.as_mut().reset(next);
            self.left -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(self.piece)))))
        }
    }

    fn drip(piece: &'static [u8], every: Duration, left: usize) -> Body {
        let timer = Box::pin(sleep_until(Instant::now() + every));
        Body::new(Drip {
            piece,
            every,
            timer,
            left,
        })
    }

    /// The server's pace with 20 milliseconds for a second.
    const FAST: Pace = Pace {
        grace: Duration::from_millis(160),
        min_bytes: PACE.min_bytes,
        every: Duration::from_millis(20),
    };

    #[test]
    fn a_dripping_client_is_cut_off_and_a_slow_phone_is_not() {
        run(async {
            let started = Instant::now();
            let dripping = drip(b"x", Duration::from_millis(10), 100_000);
            let (body, errors) = LimitedBody::with_pace(dripping, 1 << 20, FAST);
            let error = collect(body, &errors, None).await.unwrap_err();
            assert_eq!(error.kind, "body_too_slow");
            assert!(started.elapsed() >= FAST.grace);

            // Ten times the least rate, for far longer than the grace: also a busy machine keeps up.
            let phone = drip(&[7; 10_000], Duration::from_millis(5), 100);
            let (body, errors) = LimitedBody::with_pace(phone, 1 << 20, FAST);
            let whole = collect(body, &errors, None).await.unwrap();
            assert_eq!(whole.len(), 1_000_000);
        });
    }

    #[test]
    fn a_body_is_never_longer_than_the_limit() {
        run(async {
            let (body, errors) = LimitedBody::new(Body::from(vec![0; 1001]), 1000);
            let error = collect(body, &errors, Some(u64::MAX)).await.unwrap_err();
            assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
            let (body, errors) = LimitedBody::new(Body::from(vec![0; 1000]), 1000);
            assert_eq!(collect(body, &errors, Some(3)).await.unwrap().len(), 1000);
        });
    }
}
