//! The queue of jobs in Redis: any replica takes jobs in and shows them, any worker answers them.
//!
//! | Key | Type | Holds | Until |
//! |---|---|---|---|
//! | `dermal:jobs:MODEL` | stream | names of open jobs; group `workers` | each is answered |
//! | `dermal:job:ID` | hash | status, question, answer | its expiry |
//! | `dermal:photo:ID` | string | the photo | its answer, or its expiry |
//! | `dermal:answers`, `dermal:answers:bytes` | sorted set, number | which answers are kept, and their size | their expiry |
//! | `dermal:dead:MODEL` | stream | jobs given up, the last thousand, with the reason | |
//! | `dermal:workers:MODEL` | sorted set | workers that live | they stop saying so |
//!
//! A stream belongs to the content of one model, so that no other model ever answers its jobs. A job
//! that a worker was given stays pending in the group; the worker renews it while it works. When it
//! says nothing for the visibility time, another worker claims the job (XAUTOCLAIM). So a job may run
//! twice, but its result is stored once: every change of state is one script, and each is safe to
//! repeat. What a worker fails at over and over is given up as a dead letter.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimReply, StreamReadReply};
use redis::{Cmd, RedisError, RedisResult, Script, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::error::ApiError;
use super::super::store::Store;

/// The group of consumers that all workers of a model are in.
const GROUP: &str = "workers";

/// Names of jobs, to which the id is added.
const JOB: &str = "dermal:job:";

const PHOTO: &str = "dermal:photo:";
const ANSWERS: &str = "dermal:answers";
const ANSWERS_BYTES: &str = "dermal:answers:bytes";

/// Longest wait for the numbers that health and metrics show.
const STATS_PATIENCE: Duration = Duration::from_millis(200);

/// Entries that one look for abandoned jobs goes over.
const CLAIMED_AT_ONCE: usize = 1;

/// What a server wants of the queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct QueueLimits {
    pub most_open: usize,
    pub wait: Duration,
    pub expiry: Duration,
    pub answers_bytes: u64,
}

/// What a job asks beside its photo: the options as they stand in a URL, which are read again by
/// whoever answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(in crate::serve) struct Question {
    /// Of the request that brought the job.
    pub request_id: String,
    pub options: Vec<(String, String)>,
}

/// A job in the hands of a worker.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Taken {
    pub id: String,
    entry: String,
    stream: String,
}

/// What there is to do with a job that was taken.
#[derive(Debug)]
pub(in crate::serve) enum Begun {
    /// Nothing: it was cancelled, answered, or given to another.
    Gone,
    /// It cannot be answered any more.
    Lost(&'static str),
    /// Workers failed at it too often; the last error, if one was told.
    Dead { deliveries: u64, error: String },
    Run {
        deliveries: u64,
        question: String,
        photo: Vec<u8>,
    },
}

/// A job as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::serve) struct Shown {
    pub status: String,
    pub deliveries: Option<u64>,
    /// Whether its photo is still there.
    pub has_photo: bool,
    pub expires: Duration,
    /// Bytes of result or error.
    pub answer_bytes: u64,
}

/// What health and metrics show.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::serve) struct Stats {
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

/// What a look at a job gives: status and deliveries, whether there is a photo, milliseconds until
/// it expires, bytes of its answer.
type Row = ((Option<String>, Option<u64>), bool, i64, u64);

/// Whether the stream or its group is not there (yet, or any more).
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

    /// Takes a job for `model` in; false if there are too many.
    pub(in crate::serve) async fn push(
        &self,
        (model, id): (&str, &str),
        limits: QueueLimits,
        question: &Question,
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

    /// How a job is doing; `None` if there is none of that name.
    pub(in crate::serve) async fn show(&self, id: &str) -> Result<Option<Shown>, ApiError> {
        let (job, photo) = (format!("{JOB}{id}"), format!("{PHOTO}{id}"));
        let mut look = self.scripts.show.prepare_invoke();
        look.key(&job).key(&photo);
        let ((status, deliveries), has_photo, expires, answer_bytes): Row =
            self.store.run(&look).await?;
        Ok(status.map(|status| Shown {
            status,
            deliveries,
            has_photo,
            expires: Duration::from_millis(expires.try_into().unwrap_or(0)),
            answer_bytes,
        }))
    }

    /// The result or error of a job that has one.
    pub(in crate::serve) async fn answer(&self, id: &str) -> Result<Option<String>, ApiError> {
        let get = Cmd::hget(format!("{JOB}{id}"), "answer");
        self.store.run(&get).await
    }

    /// Forgets a job; false if there is none.
    pub(in crate::serve) async fn cancel(&self, id: &str) -> Result<bool, ApiError> {
        let mut call = self.scripts.cancel.prepare_invoke();
        call.key(format!("{JOB}{id}"))
            .key(format!("{PHOTO}{id}"))
            .key(ANSWERS)
            .key(ANSWERS_BYTES)
            .arg(GROUP);
        self.store.run(&call).await
    }

    /// Numbers of a model's queue; `None` if Redis does not tell at once.
    pub(in crate::serve) async fn stats(&self, model: &str) -> Option<Stats> {
        let mut connection = self.store.at_hand()?;
        let mut pipe = redis::pipe();
        pipe.cmd("XLEN")
            .arg(stream_of(model))
            .cmd("ZCARD")
            .arg(format!("dermal:workers:{model}"))
            .cmd("XLEN")
            .arg(format!("dermal:dead:{model}"));
        let ask = pipe.query_async::<(u64, u64, u64)>(&mut connection);
        let (open, workers, dead) = tokio::time::timeout(STATS_PATIENCE, ask).await.ok()?.ok()?;
        Some(Stats {
            open,
            workers,
            dead,
        })
    }
}

/// The worker's side.
impl Queue {
    /// Says that a worker lives, for `holds`.
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

    /// A worker goes.
    pub(in crate::serve) async fn leave(&self, model: &str, worker: &str) -> Result<(), ApiError> {
        // Its name in the group goes with the next worker's `alive`: not while jobs are pending.
        let leave = Cmd::zrem(format!("dermal:workers:{model}"), worker);
        self.store.run::<Value>(&leave).await.map(|_| ())
    }

    /// A job that another worker has not renewed for `visibility`. `cursor` is where the last look
    /// ended.
    pub(in crate::serve) async fn claim(
        &self,
        (model, worker): (&str, &str),
        visibility: Duration,
        cursor: &mut String,
    ) -> Result<Option<Taken>, ApiError> {
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
        Ok(found.and_then(|entry| Taken::of(&stream, &entry)))
    }

    /// The next job that nobody has yet; waits for at most `block` on a connection of its own.
    pub(in crate::serve) async fn next(
        &self,
        (model, worker): (&str, &str),
        block: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<Taken>> {
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
            // The next `alive` makes it.
            Err(error) if is_no_group(&error) => return Ok(None),
            other => other?,
        };
        let entry = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|key| key.ids)
            .next();
        Ok(entry.and_then(|entry| Taken::of(&stream, &entry)))
    }

    /// Begins a job. Photos of more than `most_bytes` are not fetched.
    pub(in crate::serve) async fn begin(
        &self,
        taken: &Taken,
        worker: &str,
        (most_deliveries, most_bytes): (usize, u64),
    ) -> Result<Begun, ApiError> {
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
            tracing::error!(job = taken.id, %error, "Redis gave what is no job");
            ApiError::internal()
        })
    }

    /// Says that a worker still works on a job; false if it should not.
    pub(in crate::serve) async fn renew(
        &self,
        taken: &Taken,
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

    /// Gives a job back: at once if the worker stops, after the visibility time if it failed.
    pub(in crate::serve) async fn release(
        &self,
        taken: &Taken,
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

    /// Stores what became of a job; false if somebody did before or nobody waits for it. A job that
    /// is given up has a reason, and becomes a dead letter.
    pub(in crate::serve) async fn finish(
        &self,
        taken: &Taken,
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

impl Taken {
    fn of(stream: &str, entry: &redis::streams::StreamId) -> Option<Self> {
        Some(Self {
            id: entry.get("job")?,
            entry: entry.id.clone(),
            stream: stream.to_owned(),
        })
    }
}

fn read_begun(reply: Vec<Value>) -> RedisResult<Begun> {
    let mut parts = reply.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let word: String = redis::from_redis_value(next())?;
    Ok(match word.as_str() {
        "run" => Begun::Run {
            deliveries: redis::from_redis_value(next())?,
            question: redis::from_redis_value(next())?,
            photo: redis::from_redis_value(next())?,
        },
        "dead" => Begun::Dead {
            deliveries: redis::from_redis_value(next())?,
            error: redis::from_redis_value(next())?,
        },
        "expired" => Begun::Lost("expired"),
        "large" => Begun::Lost("too_large"),
        _ => Begun::Gone,
    })
}

impl Shown {
    /// The job as JSON, without its answer. An open job whose photo has expired has failed.
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
        // The first is nothing to speak of.
        if let Some(deliveries) = self.deliveries.filter(|&n| n > 1) {
            document["deliveries"] = deliveries.into();
        }
        if !is_open {
            document["expires_in_seconds"] = self.expires.as_secs().into();
        }
        document
    }
}

/// What the client of a job is told that no worker took in time.
pub(in crate::serve) fn expired() -> ApiError {
    ApiError::unavailable(
        "job_expired",
        "no worker answered in time; the photo is gone",
    )
    .hint("send it again once workers run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_photo_has_failed_and_says_why() {
        let mut shown = Shown {
            status: "queued".into(),
            deliveries: Some(1),
            has_photo: true,
            expires: Duration::from_secs(70),
            answer_bytes: 0,
        };
        assert_eq!(
            shown.document("x"),
            json!({ "id": "x", "status": "queued" })
        );
        shown.deliveries = Some(2);
        shown.status = "running".into();
        assert_eq!(
            shown.document("x"),
            json!({ "id": "x", "status": "running", "deliveries": 2 })
        );
        shown.has_photo = false;
        let document = shown.document("x");
        assert_eq!(document["status"], "failed");
        assert_eq!(document["error"]["kind"], "job_expired");
        shown.status = "done".into();
        assert_eq!(shown.document("x")["expires_in_seconds"], 70);
    }

    #[test]
    fn what_a_script_says_is_read_and_nonsense_refused() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let run = vec![
            text("run"),
            Value::Int(2),
            text("{}"),
            Value::BulkString(vec![0xff]),
        ];
        let Begun::Run {
            deliveries, photo, ..
        } = read_begun(run).unwrap()
        else {
            panic!("it runs");
        };
        assert_eq!((deliveries, photo), (2, vec![0xff]));
        assert!(matches!(read_begun(vec![text("lost")]), Ok(Begun::Gone)));
        assert!(read_begun(vec![text("run"), text("x")]).is_err());
        assert!(read_begun(Vec::new()).is_err());
    }
}
