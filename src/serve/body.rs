//! Reading a request's body: at most so many bytes, and not too slowly.

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

use super::error::ApiError;

/// A client may be silent for so long, and slow only after it.
const PATIENCE: Duration = Duration::from_secs(8);

/// Bytes a second that a client must keep up on average after [`PATIENCE`]. GPRS has 5,000.
const LEAST_BYTES_PER_SECOND: u64 = 4_000;

/// How often the rate is looked at while nothing comes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long, and for how many bytes, the body of a request that was refused is read on.
const DISCARD_PATIENCE: Duration = Duration::from_secs(5);
const DISCARD_BYTES: u64 = 32 << 20;

/// What is left of a request's body when its answer is made. A client that still sends when its
/// connection is closed gets a reset and does not read why it was refused.
pub(super) struct Rest {
    body: Arc<Mutex<Body>>,
    /// Who waits to be told to go on has sent nothing yet.
    is_waiting: bool,
}

impl Rest {
    /// Keeps hold of a request's body, which is read through it.
    pub(super) fn of(request: Request) -> (Request, Self) {
        let is_waiting = request.headers().contains_key(header::EXPECT);
        let (parts, body) = request.into_parts();
        let body = Arc::new(Mutex::new(body));
        let read = Body::new(Held(Arc::clone(&body)));
        (Request::from_parts(parts, read), Self { body, is_waiting })
    }

    /// Reads what is left and throws it away, for a moment.
    pub(super) async fn discard(self) {
        let body = std::mem::take(&mut *held(&self.body));
        if body.is_end_stream() || self.is_waiting {
            return;
        }
        let (mut body, _) = Paced::new(body, DISCARD_BYTES);
        let to_its_end = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(DISCARD_PATIENCE, to_its_end).await;
    }
}

fn held(body: &Mutex<Body>) -> std::sync::MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body of which somebody else reads the rest.
struct Held(Arc<Mutex<Body>>);

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *held(&self.0)).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        held(&self.0).is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        held(&self.0).size_hint()
    }
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLarge,
    TooSlow,
}

/// Where a fault is left for whoever holds the reader's end: parsers wrap errors.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    /// What the client is told if a body could not be read.
    pub(super) fn or(&self, limit: u64, otherwise: impl FnOnce() -> ApiError) -> ApiError {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Fault::TooLarge) => too_large(limit),
            Some(Fault::TooSlow) => ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                "the body came too slowly",
            ),
            None => otherwise(),
        }
    }
}

pub(super) fn too_large(limit: u64) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body has more than {limit} bytes"),
    )
    .hint("scale the photo down")
}

/// A body that ends in an error when it is too long or too slow.
pub(super) struct Paced {
    inner: Body,
    limit: u64,
    bytes: u64,
    started: Instant,
    look: Pin<Box<Sleep>>,
    faults: Faults,
}

/// The error that ends a [`Paced`] body; [`Faults`] has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the body was given up")]
pub(super) struct GivenUp;

impl Paced {
    pub(super) fn new(inner: Body, limit: u64) -> (Self, Faults) {
        let started = Instant::now();
        let faults = Faults::default();
        let paced = Self {
            inner,
            limit,
            bytes: 0,
            started,
            look: Box::pin(sleep_until(started + PATIENCE)),
            faults: faults.clone(),
        };
        (paced, faults)
    }

    fn give_up(&self, fault: Fault) -> axum::BoxError {
        let mut place = self.faults.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(fault);
        GivenUp.into()
    }

    fn is_too_slow(&self) -> bool {
        let seconds = self.started.elapsed().saturating_sub(PATIENCE).as_secs();
        self.bytes < seconds.saturating_add(1) * LEAST_BYTES_PER_SECOND
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        loop {
            // First, so that a client that sends a byte at a time is noticed as well.
            if self.look.as_mut().poll(context).is_ready() {
                if self.is_too_slow() {
                    return Poll::Ready(Some(Err(self.give_up(Fault::TooSlow))));
                }
                let next = Instant::now() + LOOK_AGAIN;
                self.look.as_mut().reset(next);
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
                        Some(Err(self.give_up(Fault::TooLarge)))
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
pub(super) async fn collect(
    paced: Paced,
    faults: &Faults,
    expected: Option<u64>,
) -> Result<Bytes, ApiError> {
    let limit = paced.limit;
    // One allocation for an honest length; a false one grows or is cut by the limit.
    let capacity = expected.unwrap_or(0).min(limit);
    let mut whole = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
    let mut body = Body::new(paced);
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    whole.extend_from_slice(data);
                }
            }
            Err(_) => {
                return Err(faults.or(limit, || {
                    ApiError::bad("body_broken_off", "the body ended before its length")
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
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    /// A body that gives `piece` every `every`.
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

    #[test]
    fn a_drip_is_cut_off_and_a_slow_phone_is_not() {
        run(async {
            let started = Instant::now();
            let (paced, faults) =
                Paced::new(drip(b"x", Duration::from_millis(500), 10_000), 1 << 20);
            let error = collect(paced, &faults, None).await.unwrap_err();
            assert_eq!(error.kind, "body_too_slow");
            assert!(started.elapsed() < Duration::from_secs(10));

            // 8,000 bytes a second.
            let (paced, faults) =
                Paced::new(drip(&[7; 4000], Duration::from_millis(500), 60), 1 << 20);
            let whole = collect(paced, &faults, None).await.unwrap();
            assert_eq!(whole.len(), 240_000);
        });
    }

    #[test]
    fn a_body_is_never_longer_than_the_limit() {
        run(async {
            let (paced, faults) = Paced::new(Body::from(vec![0; 1001]), 1000);
            let error = collect(paced, &faults, Some(u64::MAX)).await.unwrap_err();
            assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
            let (paced, faults) = Paced::new(Body::from(vec![0; 1000]), 1000);
            assert_eq!(collect(paced, &faults, Some(3)).await.unwrap().len(), 1000);
        });
    }
}
