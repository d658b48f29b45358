//! The queue of jobs in Redis: any replica accepts and shows jobs, any worker answers them.
//!
//! | Key | Type | Holds | Until |
//! |---|---|---|---|
//! | `dermal:jobs:MODEL` | stream | ids of open jobs; group `workers` | each is answered |
//! | `dermal:job:ID` | hash | status, question, answer | its expiry |
//! | `dermal:photo:ID` | string | the photo | its answer, or its expiry |
//! | `dermal:answers`, `dermal:answers:bytes` | sorted set, number | which answers are kept, and their size | their expiry |
//! | `dermal:dead:MODEL` | stream | the last thousand jobs that were given up, with the reason | |
//! | `dermal:workers:MODEL` | sorted set | workers that are alive | they stop reporting |
//!
//! A stream belongs to the content of one model, so that no other model ever answers its jobs. A job
//! that was given to a worker stays pending in the group, and the worker renews it while it works. If
//! the worker does not renew it within the visibility time, another worker claims it (XAUTOCLAIM). A job
//! may therefore run twice, but its result is stored once: every change of state is one script, and each
//! script is safe to repeat. A job at which workers fail again and again becomes a dead letter.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimReply, StreamReadReply};
use redis::{Cmd, RedisError, RedisResult, Script, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::serve::error::ApiError;
use crate::serve::store::Store;

/// The consumer group of all workers of a model.
const GROUP: &str = "workers";

/// Keys of jobs begin with this; the id follows.
const JOB: &str = "dermal:job:";

const PHOTO: &str = "dermal:photo:";
const ANSWERS: &str = "dermal:answers";
const ANSWERS_BYTES: &str = "dermal:answers:bytes";

/// Longest wait for the numbers that health and metrics show.
const STATS_TIMEOUT: Duration = Duration::from_millis(200);

/// Entries that one search for abandoned jobs goes through.
const CLAIMED_AT_ONCE: usize = 1;

/// The limits that a server sets for the queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct QueueLimits {
    pub most_open: usize,
    pub wait: Duration,
    pub expiry: Duration,
    pub answers_bytes: u64,
}

/// What a job asks besides its photo. The options are in the form that a URL has them; the worker
/// parses them again.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(in crate::serve) struct JobRequest {
    /// The id of the request that created the job.
    pub request_id: String,
    pub options: Vec<(String, String)>,
}

/// A job that was given to a worker.
#[derive(Clone, Debug)]
pub(in crate::serve) struct TakenJob {
    pub id: String,
    entry: String,
    stream: String,
}

/// What a worker should do with a job that it was given.
#[derive(Debug)]
pub(in crate::serve) enum JobStart {
    /// Nothing: it was cancelled, answered, or given to another worker.
    Gone,
    /// It can no longer be answered, for this reason.
    Lost(&'static str),
    /// Give it up: workers failed at it too often. The last error, if one was reported.
    Dead { deliveries: u64, error: String },
    Run {
        deliveries: u64,
        question: String,
        photo: Vec<u8>,
    },
}

/// The status of a job, as clients see it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::serve) struct JobStatus {
    pub status: String,
    pub deliveries: Option<u64>,
    /// Whether its photo is still in Redis.
    pub has_photo: bool,
    pub expires: Duration,
    /// Length of its result or error.
    pub answer_bytes: u64,
}

/// What `/health` and `/metrics` show about the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::serve) struct QueueStats {
    pub open: u64,
    pub workers: u64,
    pub dead: u64,
}

#[derive(Debug)]
struct Scripts {
    push: Script,
    show: Script,
    begin: Script,
    renew: Script,
    release: Script,
    finish: Script,
    cancel: Script,
    alive: Script,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Queue {
    pub store: Arc<Store>,
    scripts: Arc<Scripts>,
}

fn stream_of(model: &str) -> String {
    format!("dermal:jobs:{model}")
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What `show.lua` returns: status and deliveries, whether there is a photo, milliseconds until the job
/// expires, length of its answer.
type Row = ((Option<String>, Option<u64>), bool, i64, u64);

/// Whether the stream or its group does not exist, yet or any more.
fn is_no_group(error: &RedisError) -> bool {
    error.code() == Some("NOGROUP")
}

impl Queue {
    pub(in crate::serve) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            scripts: Arc::new(Scripts {
                push: Script::new(include_str!("lua/push.lua")),
                show: Script::new(include_str!("lua/show.lua")),
                begin: Script::new(include_str!("lua/begin.lua")),
                renew: Script::new(include_str!("lua/renew.lua")),
                release: Script::new(include_str!("lua/release.lua")),
                finish: Script::new(include_str!("lua/finish.lua")),
                cancel: Script::new(include_str!("lua/cancel.lua")),
                alive: Script::new(include_str!("lua/alive.lua")),
            }),
        }
    }

    /// Adds a job for `model`; false if there are too many.
    pub(in crate::serve) async fn push(
        &self,
        (model, id): (&str, &str),
        limits: QueueLimits,
        question: &JobRequest,
        photo: &[u8],
    ) -> Result<bool, ApiError> {
        let question = serde_json::to_string(question).map_err(|_| ApiError::internal())?;
        let mut call = self.scripts.push.prepare_invoke();
        call.key(stream_of(model))
            .key(format!("{JOB}{id}"))
            .key(format!("{PHOTO}{id}"))
            .arg(id)
            .arg(limits.most_open)
            .arg(ms(limits.wait))
            .arg(ms(limits.expiry))
            .arg(limits.answers_bytes)
            .arg(question)
            .arg(photo);
        self.store.run(&call).await
    }

    /// The status of a job; `None` if it does not exist.
    pub(in crate::serve) async fn show(&self, id: &str) -> Result<Option<JobStatus>, ApiError> {
        let (job, photo) = (format!("{JOB}{id}"), format!("{PHOTO}{id}"));
        let mut look = self.scripts.show.prepare_invoke();
        look.key(&job).key(&photo);
        let ((status, deliveries), has_photo, expires, answer_bytes): Row =
            self.store.run(&look).await?;
        Ok(status.map(|status| JobStatus {
            status,
            deliveries,
            has_photo,
            expires: Duration::from_millis(expires.try_into().unwrap_or(0)),
            answer_bytes,
        }))
    }

    /// The result or error of a finished job.
    pub(in crate::serve) async fn answer(&self, id: &str) -> Result<Option<String>, ApiError> {
        let get = Cmd::hget(format!("{JOB}{id}"), "answer");
        self.store.run(&get).await
    }

    /// Removes a job; false if it does not exist.
    pub(in crate::serve) async fn cancel(&self, id: &str) -> Result<bool, ApiError> {
        let mut call = self.scripts.cancel.prepare_invoke();
        call.key(format!("{JOB}{id}"))
            .key(format!("{PHOTO}{id}"))
            .key(ANSWERS)
            .key(ANSWERS_BYTES)
            .arg(GROUP);
        self.store.run(&call).await
    }

    /// Counts of a model's queue; `None` if Redis does not answer within [`STATS_TIMEOUT`].
    pub(in crate::serve) async fn stats(&self, model: &str) -> Option<QueueStats> {
        let mut connection = self.store.current_connection()?;
        let mut pipe = redis::pipe();
        pipe.cmd("XLEN")
            .arg(stream_of(model))
            .cmd("ZCARD")
            .arg(format!("dermal:workers:{model}"))
            .cmd("XLEN")
            .arg(format!("dermal:dead:{model}"));
        let ask = pipe.query_async::<(u64, u64, u64)>(&mut connection);
        let (open, workers, dead) = tokio::time::timeout(STATS_TIMEOUT, ask).await.ok()?.ok()?;
        Some(QueueStats {
            open,
            workers,
            dead,
        })
    }
}

/// What workers do.
impl Queue {
    /// Reports that a worker is alive; the report expires after `holds`.
    pub(in crate::serve) async fn alive(
        &self,
        (model, worker): (&str, &str),
        holds: Duration,
    ) -> Result<(), ApiError> {
        let mut call = self.scripts.alive.prepare_invoke();
        call.key(stream_of(model))
            .key(format!("dermal:workers:{model}"))
            .arg(GROUP)
            .arg(worker)
            .arg(ms(holds));
        self.store.run::<Value>(&call).await.map(|_| ())
    }

    /// Reports that a worker stops.
    pub(in crate::serve) async fn leave(&self, model: &str, worker: &str) -> Result<(), ApiError> {
        // The next worker's `alive` removes its name from the group, once it has no pending jobs.
        let leave = Cmd::zrem(format!("dermal:workers:{model}"), worker);
        self.store.run::<Value>(&leave).await.map(|_| ())
    }

    /// Claims a job that its worker has not renewed for `visibility`. `cursor` is where the last search
    /// ended.
    pub(in crate::serve) async fn claim(
        &self,
        (model, worker): (&str, &str),
        visibility: Duration,
        cursor: &mut String,
    ) -> Result<Option<TakenJob>, ApiError> {
        let stream = stream_of(model);
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim
            .arg(&stream)
            .arg(GROUP)
            .arg(worker)
            .arg(ms(visibility))
            .arg(cursor.as_str())
            .arg("COUNT")
            .arg(CLAIMED_AT_ONCE);
        let claimed = self
            .store
            .run_unless::<StreamAutoClaimReply>(&claim, is_no_group)
            .await?;
        let Some(reply) = claimed else {
            "0-0".clone_into(cursor);
            return Ok(None);
        };
        *cursor = reply.next_stream_id;
        let found = reply.claimed.into_iter().next();
        Ok(found.and_then(|entry| TakenJob::of(&stream, &entry)))
    }

    /// Takes the next new job. Waits for at most `block`, on a connection of its own.
    pub(in crate::serve) async fn next(
        &self,
        (model, worker): (&str, &str),
        block: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<TakenJob>> {
        let stream = stream_of(model);
        let read = redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(worker)
            .arg("COUNT")
            .arg(1)
            .arg("BLOCK")
            .arg(ms(block))
            .arg("STREAMS")
            .arg(&stream)
            .arg(">")
            .query_async::<Option<StreamReadReply>>(connection)
            .await;
        let reply = match read {
            // The next `alive` creates it.
            Err(error) if is_no_group(&error) => return Ok(None),
            other => other?,
        };
        let entry = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids)
            .next();
        Ok(entry.and_then(|entry| TakenJob::of(&stream, &entry)))
    }

    /// Begins a job. A photo of more than `most_bytes` is not fetched.
    pub(in crate::serve) async fn begin(
        &self,
        taken: &TakenJob,
        worker: &str,
        (most_deliveries, most_bytes): (usize, u64),
    ) -> Result<JobStart, ApiError> {
        let mut call = self.scripts.begin.prepare_invoke();
        call.key(&taken.stream)
            .key(format!("{JOB}{}", taken.id))
            .key(format!("{PHOTO}{}", taken.id))
            .arg(GROUP)
            .arg(&taken.entry)
            .arg(worker)
            .arg(most_deliveries)
            .arg(most_bytes);
        let reply = self.store.run::<Vec<Value>>(&call).await?;
        read_begun(reply).map_err(|error| {
            tracing::error!(job = taken.id, %error, "Redis returned something that is not a job");
            ApiError::internal()
        })
    }

    /// Renews a job that a worker works on; false if the worker should stop.
    pub(in crate::serve) async fn renew(
        &self,
        taken: &TakenJob,
        worker: &str,
    ) -> Result<bool, ApiError> {
        let mut call = self.scripts.renew.prepare_invoke();
        call.key(&taken.stream)
            .key(format!("{JOB}{}", taken.id))
            .arg(GROUP)
            .arg(&taken.entry)
            .arg(worker);
        self.store.run(&call).await
    }

    /// Gives a job back. Another worker gets it at once if this one stops (`error` is empty), or after the
    /// visibility time if this one failed.
    pub(in crate::serve) async fn release(
        &self,
        taken: &TakenJob,
        worker: &str,
        error: &str,
    ) -> Result<(), ApiError> {
        let mut call = self.scripts.release.prepare_invoke();
        call.key(&taken.stream)
            .key(format!("{JOB}{}", taken.id))
            .arg(GROUP)
            .arg(&taken.entry)
            .arg(worker)
            .arg(error);
        self.store.run::<Value>(&call).await.map(|_| ())
    }

    /// Stores the result of a job; false if it has one already, or was cancelled or expired. With a
    /// reason in `given_up` the job becomes a dead letter.
    pub(in crate::serve) async fn finish(
        &self,
        taken: &TakenJob,
        outcome: &Result<String, ApiError>,
        given_up: Option<&str>,
    ) -> Result<bool, ApiError> {
        let (status, answer) = match outcome {
            Ok(result) => ("done", result.clone()),
            Err(error) => ("failed", error.to_value().to_string()),
        };
        let model = taken
            .stream
            .strip_prefix("dermal:jobs:")
            .unwrap_or_default();
        let mut call = self.scripts.finish.prepare_invoke();
        call.key(&taken.stream)
            .key(format!("{JOB}{}", taken.id))
            .key(format!("{PHOTO}{}", taken.id))
            .key(ANSWERS)
            .key(ANSWERS_BYTES)
            .key(format!("dermal:dead:{model}"))
            .arg(GROUP)
            .arg(&taken.entry)
            .arg(&taken.id)
            .arg(status)
            .arg(answer)
            .arg(given_up.unwrap_or_default())
            .arg(JOB);
        self.store.run(&call).await
    }
}

impl TakenJob {
    fn of(stream: &str, entry: &redis::streams::StreamId) -> Option<Self> {
        Some(Self {
            id: entry.get("job")?,
            entry: entry.id.clone(),
            stream: stream.to_owned(),
        })
    }
}

fn read_begun(reply: Vec<Value>) -> RedisResult<JobStart> {
    let mut parts = reply.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let word: String = redis::from_redis_value(next())?;
    Ok(match word.as_str() {
        "run" => JobStart::Run {
            deliveries: redis::from_redis_value(next())?,
            question: redis::from_redis_value(next())?,
            photo: redis::from_redis_value(next())?,
        },
        "dead" => JobStart::Dead {
            deliveries: redis::from_redis_value(next())?,
            error: redis::from_redis_value(next())?,
        },
        "expired" => JobStart::Lost("expired"),
        "large" => JobStart::Lost("too_large"),
        _ => JobStart::Gone,
    })
}

impl JobStatus {
    /// The job as JSON, without its answer. An open job whose photo has expired counts as failed.
    pub(in crate::serve) fn document(&self, id: &str) -> serde_json::Value {
        let is_open = matches!(self.status.as_str(), "queued" | "running");
        if is_open && !self.has_photo {
            return json!({
                "id": id,
                "status": "failed",
                "error": expired().to_value(),
                "expires_in_seconds": self.expires.as_secs(),
            });
        }
        let mut document = json!({ "id": id, "status": self.status });
        // The first delivery is the normal case.
        if let Some(deliveries) = self.deliveries.filter(|&n| n > 1) {
            document["deliveries"] = deliveries.into();
        }
        if !is_open {
            document["expires_in_seconds"] = self.expires.as_secs().into();
        }
        document
    }
}

/// The error of a job that no worker took in time.
pub(in crate::serve) fn expired() -> ApiError {
    ApiError::unavailable(
        "job_expired",
        "no worker answered in time, and the photo has expired",
    )
    .hint("send it again when workers are running")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_job_without_photo_has_failed_and_says_why() {
        let mut status = JobStatus {
            status: "queued".into(),
            deliveries: Some(1),
            has_photo: true,
            expires: Duration::from_secs(70),
            answer_bytes: 0,
        };
        assert_eq!(
            status.document("x"),
            json!({ "id": "x", "status": "queued" })
        );
        status.deliveries = Some(2);
        status.status = "running".into();
        assert_eq!(
            status.document("x"),
            json!({ "id": "x", "status": "running", "deliveries": 2 })
        );
        status.has_photo = false;
        let document = status.document("x");
        assert_eq!(document["status"], "failed");
        assert_eq!(document["error"]["kind"], "job_expired");
        status.status = "done".into();
        assert_eq!(status.document("x")["expires_in_seconds"], 70);
    }

    #[test]
    fn replies_of_scripts_are_read_and_nonsense_is_refused() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let run = vec![
            text("run"),
            Value::Int(2),
            text("{}"),
            Value::BulkString(vec![0xff]),
        ];
        let JobStart::Run {
            deliveries, photo, ..
        } = read_begun(run).unwrap()
        else {
            panic!("it runs");
        };
        assert_eq!((deliveries, photo), (2, vec![0xff]));
        assert!(matches!(read_begun(vec![text("lost")]), Ok(JobStart::Gone)));
        assert!(read_begun(vec![text("run"), text("x")]).is_err());
        assert!(read_begun(Vec::new()).is_err());
    }
}
