//! The server of a proof: `dermal serve` as it is deployed, in a sandbox, on a free port of the
//! loopback device. It starts without its model, loads it on SIGHUP, and answers over HTTP. Its log
//! shows its state.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::Serialize;
use serde_json::Value;

use super::{ProveError, StateOutcome};
use crate::memory::sandbox::Sandbox;
use crate::probe::{self, SimultaneousUploads, UploadResult};

/// Longest wait for anything: 12 photos at a tenth of a CPU take minutes.
pub(super) const PATIENCE: Duration = Duration::from_mins(15);

/// Longest wait until the server has accepted the requests that were sent. It is shorter than the
/// server's own wait for the rest of their bodies.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(5);

/// How long the kernel may take to end a process after its connections broke.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Number of the server's last lines of output that are kept.
const LAST_WORDS: usize = 5;

/// The options of its start.
pub(super) struct Settings<'a> {
    /// `dermal`, which enters the sandbox and becomes `server_program`.
    pub(super) program: &'a Path,
    /// `dermal` again, or a copy of it.
    pub(super) server_program: &'a Path,
    pub(super) model: Option<&'a Path>,
    pub(super) gradcam: bool,
    pub(super) threads: u64,
    pub(super) isa: &'static str,
    /// Memory that it may use; the limit of its sandbox, if there is one.
    pub(super) budget_bytes: Option<u64>,
    pub(super) max_pixels: u64,
    pub(super) max_upload_bytes: u64,
    /// Requests that may wait.
    pub(super) queue: u64,
    pub(super) max_jobs: u64,
    /// Answers that are kept.
    pub(super) cache_bytes: u64,
    /// Its cgroup, or else its limit of address space.
    pub(super) sandbox: Option<&'a Sandbox>,
    pub(super) address_space: Option<u64>,
}

/// Why a state was not reached, and the server's message about it.
pub(super) struct Stopped {
    pub(super) outcome: StateOutcome,
    pub(super) message: Option<String>,
}

/// How a server ended on SIGTERM with photos in work.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Drain {
    /// Photos whose requests it had accepted, all but the last byte of each.
    pub photos: u64,
    /// The requests that were answered in spite of SIGTERM, with their heat maps.
    pub answered: u64,
    /// From SIGTERM to the end of the process.
    pub ms: f64,
    /// Its exit status; absent if a signal ended it.
    pub exit_code: Option<i32>,
}

impl Drain {
    /// Whether every photo was answered and the server ended with status 0.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.answered == self.photos && self.exit_code == Some(0)
    }
}

/// A running server. Dropping it kills it.
pub(super) struct Server {
    child: Child,
    log: Receiver<String>,
    /// The last lines of its log that were not events.
    words: Vec<String>,
    url: String,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(super) fn start(settings: &Settings<'_>) -> Result<Result<Self, Stopped>, ProveError> {
        let mut child = settings
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(ProveError::Server)?;
        let stderr = child.stderr.take();
        let stderr =
            stderr.ok_or_else(|| ProveError::Server(std::io::Error::other("no stderr")))?;
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            // The log is read to its end even if nobody needs it: a full pipe would stop the
            // server.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut server = Self {
            child,
            log,
            words: Vec::new(),
            url: String::new(),
        };
        Ok(match server.wait_for(&["listening"]) {
            Err(stopped) => Err(stopped),
            Ok(event) => {
                let address = event["address"].as_str().unwrap_or_default();
                server.url = format!("http://{address}");
                Ok(server)
            }
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its address, without a trailing slash.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = i32::try_from(self.id()).ok()
            && let Some(id) = Pid::from_raw(id)
        {
            // If the server has ended, its log shows it.
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// Makes the server load the model.
    pub(super) fn load(&mut self) -> Result<(), Stopped> {
        self.signal(Signal::HUP);
        let event = self.wait_for(&["model loaded", "the model cannot be loaded"])?;
        match event["reason"].as_str() {
            None => Ok(()),
            Some(reason) => Err(Stopped {
                outcome: StateOutcome::Refused,
                message: Some(reason.to_owned()),
            }),
        }
    }

    /// Sends photos at once. With `gradcam` each answer must have its picture.
    pub(super) fn send(
        &mut self,
        photos: &[Vec<u8>],
        query: &str,
        gradcam: bool,
    ) -> Result<(), Stopped> {
        let uploads = SimultaneousUploads {
            url: &self.url,
            query,
            photos,
            timeout: PATIENCE,
        };
        for reply in uploads.send() {
            match reply {
                reply if is_answer(&reply, gradcam) => {}
                UploadResult::Answered { .. } => {
                    return Err(Stopped {
                        outcome: StateOutcome::Refused,
                        message: Some(
                            "answered without the heat map: not enough memory for it".to_owned(),
                        ),
                    });
                }
                UploadResult::Refused(message) => {
                    return Err(Stopped {
                        outcome: StateOutcome::Refused,
                        message: Some(message),
                    });
                }
                UploadResult::NoAnswer(message) => return Err(self.silence(message)),
            }
        }
        Ok(())
    }

    /// Sends photos at once, then SIGTERM when the server has everything except their last bytes:
    /// ending then takes longest. Waits for the end.
    pub(super) fn drain(
        mut self,
        photos: &[Vec<u8>],
        query: &str,
        gradcam: bool,
    ) -> Result<Drain, ProveError> {
        let uploads = SimultaneousUploads {
            url: &self.url,
            query,
            photos,
            timeout: PATIENCE,
        };
        let count = photos.len() as u64;
        let mut told = Instant::now();
        let replies = uploads.send_around(|| {
            // A request counts once the server has accepted it; before that it waits in a socket.
            let until = Instant::now() + ACCEPT_PATIENCE;
            while Instant::now() < until
                && probe::requests_in_flight(&self.url).is_some_and(|inside| inside < count)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            told = Instant::now();
            self.signal(Signal::TERM);
        });
        let answered = replies.iter().filter(|reply| is_answer(reply, gradcam));
        let answered = answered.count() as u64;
        let status = self.child.wait().map_err(ProveError::End)?;
        Ok(Drain {
            photos: count,
            answered,
            ms: told.elapsed().as_secs_f64() * 1e3,
            exit_code: status.code(),
        })
    }

    /// No answer arrived: the server is gone, or takes too long.
    fn silence(&mut self, message: String) -> Stopped {
        let since = Instant::now();
        while since.elapsed() < END_PATIENCE {
            if let Ok(Some(_)) = self.child.try_wait() {
                return self.ended();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Stopped {
            outcome: StateOutcome::NoAnswer,
            message: Some(message),
        }
    }

    /// The next of some events of the log.
    fn wait_for(&mut self, messages: &[&str]) -> Result<Value, Stopped> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = match self.log.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Stopped {
                        outcome: StateOutcome::NoAnswer,
                        message: None,
                    });
                }
            };
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if messages.iter().any(|m| event["message"] == *m) => return Ok(event),
                Err(_) if self.words.len() < LAST_WORDS => self.words.push(line),
                _ => {}
            }
        }
    }

    /// How it ended. SIGKILL comes from the kernel; anything else from the server itself (an error, or
    /// `abort` after a failed allocation).
    fn ended(&mut self) -> Stopped {
        const SIGKILL: i32 = 9;
        let left = self.log.try_iter().take(LAST_WORDS);
        self.words
            .extend(left.filter(|line| !line.starts_with('{')));
        match self.child.wait() {
            Ok(status) if status.signal() == Some(SIGKILL) => Stopped {
                outcome: StateOutcome::Killed,
                message: None,
            },
            _ => Stopped {
                outcome: StateOutcome::Refused,
                message: (!self.words.is_empty()).then(|| self.words.join("; ")),
            },
        }
    }
}

/// Whether the answer for a photo has everything that was requested.
fn is_answer(reply: &UploadResult, gradcam: bool) -> bool {
    matches!(reply, UploadResult::Answered { heat_map } if *heat_map || !gradcam)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Settings<'_> {
    fn command(&self) -> Command {
        let mut command = super::part(self.program, "enter");
        // The environment of this process (keys, ports, limits) is not the deployment's.
        command.env_clear();
        command.arg("--parent").arg(std::process::id().to_string());
        for group in self.sandbox.map_or(Vec::new(), Sandbox::folders) {
            command.arg("--group").arg(group);
        }
        if let Some(bytes) = self.address_space {
            command.arg("--address-space").arg(bytes.to_string());
        }
        command.arg("--").arg(self.server_program).arg("serve");
        command.args(["--bind", "127.0.0.1", "--port", "0", "--lazy"]);
        command.args(["--log-format", "json", "--log-level", "info"]);
        let seconds = PATIENCE.as_secs().to_string();
        let numbers = [
            ("--threads", self.threads),
            ("--max-pixels", self.max_pixels),
            ("--max-upload", self.max_upload_bytes),
            ("--queue", self.queue),
            ("--max-jobs", self.max_jobs),
            ("--cache", self.cache_bytes),
        ];
        for (name, number) in numbers {
            command.arg(name).arg(number.to_string());
        }
        command.args([
            "--isa",
            self.isa,
            "--timeout",
            &seconds,
            "--grace",
            &seconds,
        ]);
        if let Some(bytes) = self.budget_bytes {
            command.arg("--budget").arg(bytes.to_string());
        }
        if !self.gradcam {
            command.arg("--no-gradcam");
        }
        if let Some(model) = self.model {
            command.arg("--").arg(model);
        }
        command
    }
}
