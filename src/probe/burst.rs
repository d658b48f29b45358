//! Several photos at once, whose last bytes are held back until all the others have been sent: the
//! worst moment that so many uploads can be for a server. What happens to it in that moment is the
//! caller's to choose.

use std::io::{self, Read};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{MAX_ANSWER_BYTES, check_answer, said};

/// How long an upload waits for the others: one that was turned away never comes.
const GATE_PATIENCE: Duration = Duration::from_secs(20);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Burst<'a> {
    /// The server, without a trailing slash.
    pub url: &'a str,
    /// Options of the request: `gradcam=1`.
    pub query: &'a str,
    /// A photo for each upload.
    pub photos: &'a [Vec<u8>],
    /// How long an answer may take.
    pub patience: Duration,
}

/// What became of one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Classes came, and whether a picture with them.
    Answered {
        /// A picture with a heat map came.
        heat_map: bool,
    },
    /// The server said why not.
    Refused(String),
    /// No answer came.
    Silent(String),
}

/// Lets nobody through before so many have come: every upload, and who sends them.
#[derive(Debug)]
struct Gate {
    missing: Mutex<usize>,
    open: Condvar,
}

impl Gate {
    fn pass(&self) {
        {
            let lock = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut missing = lock;
            *missing = missing.saturating_sub(1);
            self.open.notify_all();
        }
        self.wait(0);
    }

    /// Waits until no more than so many are missing, but not for ever.
    fn wait(&self, absent: usize) {
        let lock = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing = lock;
        let until = Instant::now() + GATE_PATIENCE;
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

/// A photo whose last byte waits at a gate.
struct Held<'a> {
    left: &'a [u8],
    gate: &'a Gate,
}

impl Read for Held<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.len() == 1 {
            self.gate.pass();
        }
        let most = self.left.len().saturating_sub(1).max(1);
        let bytes = buffer.len().min(most).min(self.left.len());
        let (now, later) = self.left.split_at(bytes);
        buffer[..bytes].copy_from_slice(now);
        self.left = later;
        Ok(bytes)
    }
}

impl Burst<'_> {
    /// Sends them and waits for every answer.
    #[must_use]
    pub fn send(&self) -> Vec<Reply> {
        self.send_around(|| ())
    }

    /// Sends all but the last byte of each, then does something, then sends these bytes and waits
    /// for every answer.
    pub fn send_around(&self, in_between: impl FnOnce()) -> Vec<Reply> {
        let gate = Gate {
            missing: Mutex::new(self.photos.len() + 1),
            open: Condvar::new(),
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .photos
                .iter()
                .map(|photo| scope.spawn(|| self.one(photo, &gate)))
                .collect();
            gate.wait(1);
            in_between();
            gate.pass();
            let replies = threads.into_iter().map(|thread| {
                let reply = thread.join();
                reply.unwrap_or_else(|_| Reply::Silent("a thread panicked".to_owned()))
            });
            replies.collect()
        })
    }

    fn one(&self, photo: &[u8], gate: &Gate) -> Reply {
        // Each upload has a connection of its own.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(self.patience))
            .build();
        let agent = ureq::Agent::from(config);
        let mut body = Held { left: photo, gate };
        let sent = agent
            .post(format!("{}/predict?{}", self.url, self.query))
            .header("content-type", "image/jpeg")
            .header("content-length", photo.len().to_string())
            .send(ureq::SendBody::from_reader(&mut body));
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Reply::Silent(error.to_string()),
        };
        let status = response.status().as_u16();
        let limited = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        match limited.read_to_vec() {
            Err(error) => Reply::Silent(error.to_string()),
            Ok(answer) if status != 200 => {
                Reply::Refused(format!("status {status}: {}", said(&answer)))
            }
            Ok(answer) => match check_answer(&answer) {
                Err(why) => Reply::Refused(why),
                Ok(()) => Reply::Answered {
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
        let gate = Gate {
            missing: Mutex::new(3),
            open: Condvar::new(),
        };
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut body = Held {
                        left: b"photo",
                        gate: &gate,
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
    fn nobody_to_answer_is_silence() {
        let burst = Burst {
            url: "http://127.0.0.1:9",
            query: "",
            photos: &[b"x".to_vec()],
            patience: Duration::from_secs(5),
        };
        assert!(matches!(&burst.send()[..], [Reply::Silent(_)]));
    }
}
