//! `--prove`: the model in a process of its own, held to the platform's memory and CPU share, with
//! real photo sizes; what the kernel counted, beside what was estimated.
//!
//! The process stands in a cgroup where one may be made, else under `RLIMIT_AS`, which also
//! counts memory that is only reserved and so is stricter. A keeper process removes the group, the
//! photo and what still runs when this one ends, however it ends.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::photo;
use crate::memory::cage::{Cage, CageError};
use crate::memory::estimate::{Facts, Moment, PhotoFacts, State, estimate};
use crate::memory::measure::{self, Counters};
use crate::report::Progress;

/// Longest wait for one answer: 12 photos at a tenth of a CPU take minutes.
const PATIENCE: Duration = Duration::from_mins(15);

/// What holds the process.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Confinement {
    /// A cgroup.
    Cgroup {
        /// 1 or 2.
        version: u8,
    },
    /// `RLIMIT_AS`.
    AddressSpace {
        /// Why there is no cgroup.
        because: String,
    },
    /// No limit was asked for.
    None,
}

/// How a state ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It was answered.
    Survived,
    /// The kernel killed the process for its memory.
    Killed,
    /// Memory was refused: an error, or an allocation that failed.
    Refused,
    /// Nothing came within the time that is waited.
    NoAnswer,
}

/// One state, estimated and measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) moment: Moment,
    pub(super) photos: u64,
    pub(super) gradcam: bool,
    pub(super) outcome: Outcome,
    pub(super) predicted_bytes: u64,
    /// `VmHWM`; absent if the process is gone.
    pub(super) measured_bytes: Option<u64>,
    pub(super) predicted_anonymous_bytes: u64,
    pub(super) measured_anonymous_bytes: Option<u64>,
    /// Predicted less measured, in percent of the measured, of what can be compared under this
    /// limit: the resident peak, or where file pages had to go, its anonymous part.
    pub(super) error_percent: Option<f64>,
    pub(super) wall_ms: f64,
    /// What a refusal said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// What a proof found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Proof {
    pub(super) confinement: Confinement,
    /// What ran.
    pub(super) load: &'static str,
    pub(super) limit_bytes: Option<u64>,
    pub(super) cpu_share: Option<f64>,
    pub(super) photo: PhotoFacts,
    pub(super) rows: Vec<Row>,
    pub(super) worst_moment: Option<Moment>,
    pub(super) oom_kills: Option<u64>,
    /// High-water mark of the cgroup, page cache included.
    pub(super) peak_charged_bytes: Option<u64>,
    /// From starting the process to its first self-tested answer.
    pub(super) cold_start_ms: Option<f64>,
    pub(super) survived: bool,
}

/// What is to be proved.
pub(super) struct Plan<'a> {
    pub(super) model: Option<&'a Path>,
    pub(super) facts: Facts,
    pub(super) isa: &'static str,
    pub(super) limit_bytes: Option<u64>,
    pub(super) cpu_share: Option<f64>,
    pub(super) pixels: u64,
}

impl Plan<'_> {
    /// Runs it. The estimate is made again for the very photo that is used.
    pub(super) fn run(mut self) -> Result<Proof> {
        let folder = tempfile::Builder::new()
            .prefix("dermal-prove-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let (cage, confinement) = self.cage();
        let groups = cage.as_ref().map_or(Vec::new(), Cage::folders);
        let keeper = Keeper::start(&groups, folder.path())?;
        let path = folder.path().join("photo.jpg");
        self.facts.photo = photo::write(&path, self.pixels)?;
        let states = estimate(&self.facts);
        let mut progress = Progress::items("proving");
        let since = Instant::now();
        let mut worker = self.worker(cage.as_ref())?;
        let mut proof = Proof {
            confinement,
            load: "one process, no HTTP",
            limit_bytes: self.limit_bytes,
            cpu_share: self.cpu_share,
            photo: self.facts.photo,
            rows: Vec::new(),
            worst_moment: None,
            oom_kills: None,
            peak_charged_bytes: None,
            cold_start_ms: None,
            survived: true,
        };
        for (i, state) in states.iter().enumerate() {
            progress.set(i as u64, states.len() as u64);
            let row = self.row(&mut worker, state, &path);
            if state.moment == Moment::Loaded && row.outcome == Outcome::Survived {
                proof.cold_start_ms = Some(since.elapsed().as_secs_f64() * 1e3);
            }
            let survived = row.outcome == Outcome::Survived;
            proof.rows.push(row);
            if !survived {
                proof.survived = false;
                break;
            }
        }
        drop(progress);
        let most = proof.rows.iter().max_by_key(|row| row.measured_bytes);
        proof.worst_moment = most.map(|row| row.moment);
        proof.oom_kills = cage.as_ref().and_then(Cage::oom_kills);
        proof.peak_charged_bytes = cage.as_ref().and_then(Cage::peak_charged_bytes);
        drop(worker);
        drop(cage);
        drop(keeper);
        Ok(proof)
    }

    fn cage(&self) -> (Option<Cage>, Confinement) {
        let Some(limit) = self.limit_bytes else {
            return (None, Confinement::None);
        };
        match Cage::new(limit, self.cpu_share) {
            Ok(cage) => {
                let version = cage.version();
                (Some(cage), Confinement::Cgroup { version })
            }
            Err(error) => {
                let because = match &error {
                    CageError::NotAvailable(_) => error.to_string(),
                    CageError::Limit { source, .. } => format!("{error}: {source}"),
                };
                (None, Confinement::AddressSpace { because })
            }
        }
    }

    fn worker(&self, cage: Option<&Cage>) -> Result<Worker> {
        let mut command = part("enter");
        let (name, value) = ALLOCATOR;
        command.env(name, value);
        for door in cage.map_or(Vec::new(), Cage::doors) {
            command.arg("--door").arg(door);
        }
        if let (None, Some(limit)) = (cage, self.limit_bytes) {
            command.arg("--address-space").arg(limit.to_string());
        }
        command
            .arg("--")
            .arg(PROGRAM)
            .args(["proof-part", "worker"]);
        if let Some(model) = self.model {
            command.arg("--model").arg(model);
        }
        if self.facts.load.gradcam {
            command.arg("--gradcam");
        }
        command.args(["--threads", &self.facts.load.threads.to_string()]);
        command.args(["--isa", self.isa]);
        command.args(["--max-pixels", &self.facts.photo.pixels().to_string()]);
        Worker::start(command)
    }

    fn row(&self, worker: &mut Worker, state: &State, photo: &Path) -> Row {
        let line = match state.moment {
            Moment::Idle => None,
            Moment::Loaded => Some("load".to_owned()),
            _ => {
                let kind = if state.gradcam { "gradcam" } else { "plain" };
                Some(format!(
                    "photos {} {kind} {}",
                    state.photos,
                    photo.display()
                ))
            }
        };
        let since = Instant::now();
        let answer = worker.ask(line.as_deref());
        let wall_ms = since.elapsed().as_secs_f64() * 1e3;
        let counters = Counters::of(worker.child.id());
        let (outcome, message) = match answer {
            Answer::Ok => (Outcome::Survived, None),
            Answer::Error(message) => (Outcome::Refused, Some(message)),
            Answer::Late => (Outcome::NoAnswer, None),
            Answer::Gone => (worker.ended(), None),
        };
        let measured = counters.filter(|_| outcome == Outcome::Survived);
        // Each state has a peak of its own.
        let _ = measure::reset_peak(worker.child.id());
        let squeezed = self.limit_bytes.is_some_and(|l| state.charged_bytes() > l);
        let error_percent = measured.map(|measured| {
            let (predicted, measured) = if squeezed {
                (state.anonymous_bytes(), measured.peak_anonymous_bytes())
            } else {
                (state.resident_bytes(), measured.peak_rss_bytes)
            };
            (predicted as f64 / measured as f64 - 1.0) * 100.0
        });
        Row {
            moment: state.moment,
            photos: state.photos,
            gradcam: state.gradcam,
            outcome,
            predicted_bytes: state.resident_bytes(),
            measured_bytes: measured.map(|m| m.peak_rss_bytes),
            predicted_anonymous_bytes: state.anonymous_bytes(),
            measured_anonymous_bytes: measured.map(|m| m.peak_anonymous_bytes()),
            error_percent,
            wall_ms,
            message,
        }
    }
}

/// glibc raises the size from which an allocation is a mapping of its own, up to 32 MiB, whenever
/// such a mapping is freed; later photos then lie in heaps, which keep them after they are freed:
/// in the worst case a photo for each thread. Set, the size stays (mallopt(3)). The same line
/// belongs into a deployment (docs/estimating.md).
const ALLOCATOR: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// This program, even if its file was replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// A hidden part of this program as a process.
fn part(name: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["proof-part", name]);
    command
}

/// The process that is measured.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
}

enum Answer {
    Ok,
    Error(String),
    Late,
    Gone,
}

impl Worker {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the process to be measured")?;
        let stdin = child.stdin.take().context("the process has no stdin")?;
        let stdout = child.stdout.take().context("the process has no stdout")?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            answers,
        })
    }

    fn ask(&mut self, line: Option<&str>) -> Answer {
        if let Some(line) = line {
            // A process that is gone shows in the answer.
            let _ = writeln!(self.stdin, "{line}");
        }
        match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => match answer.strip_prefix("error ") {
                Some(message) => Answer::Error(message.to_owned()),
                None => Answer::Ok,
            },
            Err(mpsc::RecvTimeoutError::Timeout) => Answer::Late,
            Err(mpsc::RecvTimeoutError::Disconnected) => Answer::Gone,
        }
    }

    /// How the process ended: SIGKILL is the kernel's, anything else its own (`abort` after an
    /// allocation that failed).
    fn ended(&mut self) -> Outcome {
        const SIGKILL: i32 = 9;
        match self.child.wait() {
            Ok(status) if status.signal() == Some(SIGKILL) => Outcome::Killed,
            _ => Outcome::Refused,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that removes what is left when this one is gone.
struct Keeper {
    child: Child,
}

impl Keeper {
    fn start(groups: &[PathBuf], folder: &Path) -> Result<Self> {
        let mut command = part("keep");
        command.arg("--folder").arg(folder).args(groups);
        // A process group of its own: Ctrl-C reaches this program's, and then it has work to do.
        let child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the process that tidies up")?;
        Ok(Self { child })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
