//! Several uploads at the same time. Each holds back its last byte until all the others have sent theirs,
//! so that the server holds every photo at once, the worst case for its memory. The caller may do
//! something at that moment, such as telling the server to stop.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{MAX_ANSWER_BYTES, check_answer, said};

/// How long an upload waits for the others. One that the server refuses early never arrives.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(20);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct SimultaneousUploads<'a> {
    /// The server, without a trailing slash.
    pub url: &'a str,
    /// The query of each request, such as `gradcam=1`.
    pub query: &'a str,
    /// The photos, one for each upload.
    pub photos: &'a [Vec<u8>],
    /// How long one answer may take.
    pub timeout: Duration,
}

/// What became of one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadResult {
    /// The answer has classes.
    Answered {
        /// Whether it has a heat map, too.
        heat_map: bool,
    },
    /// The server refused it, for this reason.
    Refused(String),
    /// No answer came.
    NoAnswer(String),
}

/// Waits until all uploads have arrived, and their sender, so that they compete for memory at the same
/// time.
#[derive(Debug)]
struct Barrier {
    missing: Mutex<usize>,
    open: Condvar,
}

impl Barrier {
    fn pass(&self) {
        {
            let lock = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut missing = lock;
            *missing = missing.saturating_sub(1);
            self.open.notify_all();
        }
        self.wait(0);
    }

    /// Waits until at most `absent` are missing, but no longer than [`BARRIER_TIMEOUT`].
    fn wait(&self, absent: usize) {
        let lock = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = lock;
        let until = Instant::now() + BARRIER_TIMEOUT;
        while *missing > absent {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.open.wait_timeout(missing, left);
            missing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A photo whose last byte waits at the barrier.
struct Held<'a> {
    left: &'a [u8],
    barrier: &'a Barrier,
}

impl Read for Held<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.len() == 1 {
            self.barrier.pass();
        }
        let most = self.left.len().saturating_sub(1).max(1);
        let bytes = buffer.len().min(most).min(self.left.len());
        let (now, later) = self.left.split_at(bytes);
        buffer[..bytes].copy_from_slice(now);
        self.left = later;
        Ok(bytes)
    }
}

impl SimultaneousUploads<'_> {
    /// Sends all photos and waits for every answer.
    #[must_use]
    pub fn send(&self) -> Vec<UploadResult> {
        self.send_around(|| ())
    }

    /// Sends all but the last byte of each photo, calls `in_between`, then sends the last bytes and waits
    /// for every answer.
    pub fn send_around(&self, in_between: impl FnOnce()) -> Vec<UploadResult> {
        let barrier = Barrier {
            missing: Mutex::new(self.photos.len() + 1),
            open: Condvar::new(),
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .photos
                .iter()
                .map(|photo| scope.spawn(|| self.one(photo, &barrier)))
                .collect();
            barrier.wait(1);
            in_between();
            barrier.pass();
            let replies = threads.into_iter().map(|thread| {
                let reply = thread.join();
                reply.unwrap_or_else(|_| UploadResult::NoAnswer("a thread panicked".to_owned()))
            });
            replies.collect()
        })
    }

    fn one(&self, photo: &[u8], barrier: &Barrier) -> UploadResult {
        // Each upload uses its own connection.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(self.timeout))
            .build();
        let agent = ureq::Agent::from(config);
        let mut body = Held {
            left: photo,
            barrier,
        };
        let sent = agent
            .post(format!("{}/predict?{}", self.url, self.query))
            .header("content-type", "image/jpeg")
            .header("content-length", photo.len().to_string())
            .send(ureq::SendBody::from_reader(&mut body));
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return UploadResult::NoAnswer(error.to_string()),
        };
        let status = response.status().as_u16();
        let limited = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        match limited.read_to_vec() {
            Err(error) => UploadResult::NoAnswer(error.to_string()),
            Ok(answer) if status != 200 => {
                UploadResult::Refused(format!("status {status}: {}", said(&answer)))
            }
            Ok(answer) => match check_answer(&answer) {
                Err(why) => UploadResult::Refused(why),
                Ok(()) => UploadResult::Answered {
                    heat_map: has_heat_map(&answer),
                },
            },
        }
    }
}

fn has_heat_map(answer: &[u8]) -> bool {
    let document: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
    document["gradcam"]["png_base64"].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_last_byte_waits_for_all_the_others() {
        let barrier = Barrier {
            missing: Mutex::new(3),
            open: Condvar::new(),
        };
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut body = Held {
                        left: b"photo",
                        barrier: &barrier,
                    };
                    let mut first = [0; 4];
                    body.read_exact(&mut first).unwrap();
                    assert_eq!(&first, b"phot");
                    sent.fetch_add(1, Ordering::SeqCst);
                    let mut rest = Vec::new();
                    body.read_to_end(&mut rest).unwrap();
                    assert_eq!(rest, b"o");
                    assert_eq!(sent.load(Ordering::SeqCst), 3);
                });
            }
        });
    }

    #[test]
    fn a_server_that_is_not_there_gives_no_answer() {
        let uploads = SimultaneousUploads {
            url: "http://127.0.0.1:9",
            query: "",
            photos: &[b"x".to_vec()],
            timeout: Duration::from_secs(5),
        };
        assert!(matches!(&uploads.send()[..], [UploadResult::NoAnswer(_)]));
    }
}
