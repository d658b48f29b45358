//! Jobs and answers in a real Redis: servers, workers, and what happens when each of them dies.
//! `scripts/setup-redis.sh` installs `redis-server`; each test starts its own, without persistence.

use ::redis::{Commands, Connection};
use image::ImageFormat;
use serde_json::json;

use super::*;

const PASSWORD: &str = "correct-horse-battery";

/// A separate Redis for one test.
struct Redis {
    child: Child,
    port: u16,
    password: Option<&'static str>,
    args: Vec<&'static str>,
    folder: tempfile::TempDir,
}

impl Redis {
    /// None if there is no `redis-server`.
    fn start() -> Option<Self> {
        Self::with_password(None)
    }

    fn with_password(password: Option<&'static str>) -> Option<Self> {
        Self::with(password, &[])
    }

    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    fn with(password: Option<&'static str>, args: &[&'static str]) -> Option<Self> {
        let found = Command::new("redis-server").arg("--version").output();
        if found.is_err() {
            println!("SKIPPED: there is no redis-server (scripts/setup-redis.sh)");
            return None;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let args = args.to_vec();
        let child = Self::spawn(port, password, &args, folder.path());
        let redis = Self {
            child,
            port,
            password,
            args,
            folder,
        };
        redis.wait();
        Some(redis)
    }

    fn spawn(port: u16, password: Option<&str>, args: &[&str], folder: &Path) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--requirepass", password.unwrap_or_default()])
            .args(args)
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        eventually("redis answers", || {
            let client = ::redis::Client::open(self.url()).unwrap();
            let connection = client.get_connection();
            connection.is_ok_and(|mut c| c.ping::<String>().is_ok())
        });
    }

    fn url(&self) -> String {
        let port = self.port;
        match self.password {
            None => format!("redis://127.0.0.1:{port}"),
            Some(password) => format!("redis://:{password}@127.0.0.1:{port}/3"),
        }
    }

    fn connect(&self) -> Connection {
        let client = ::redis::Client::open(self.url()).unwrap();
        client.get_connection().unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts it as after a crash: all data is lost.
    fn again(&mut self) {
        self.child = Self::spawn(self.port, self.password, &self.args, self.folder.path());
        self.wait();
    }

    fn keys(&self, pattern: &str) -> Vec<String> {
        self.connect().keys(pattern).unwrap()
    }

    fn has_photo(&self, url: &str) -> bool {
        let id = url.strip_prefix("/jobs/").unwrap();
        self.connect().exists(format!("dermal:photo:{id}")).unwrap()
    }

    /// Entries of the one stream of open jobs.
    fn open(&self) -> usize {
        let mut connection = self.connect();
        let keys = self.keys("dermal:jobs:*");
        keys.iter()
            .map(|key| connection.xlen::<_, usize>(key).unwrap())
            .sum()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A `dermal worker`. Dropping it kills it.
struct Worker {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    fn start(redis: &Redis, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dermal"))
            .args(["worker", "--log-level", "debug", "--threads", "1"])
            .args(args)
            .env("DERMAL_REDIS", redis.url())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                copy.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Jobs that it computed.
    fn answered(&self) -> usize {
        self.log_text().matches("\"message\":\"job\"").count()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the worker ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Worker {
    #[expect(clippy::print_stdout, reason = "a failed test shows the log")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- a worker's log\n{}", self.log_text());
        }
    }
}

fn server(redis: &Redis, args: &[&str]) -> Server {
    let server = Server::with_env(args, &[("DERMAL_REDIS", &redis.url())]);
    server.wait_until("it has Redis", |s| s.metric("dermal_redis_up") == 1.0);
    server
}

/// A request that takes a worker a good part of a second, with [`slow_jpeg`].
const LONG: &str = "/jobs?gradcam=1&max_side=4096";

#[track_caller]
fn post(server: &Server, target: &str, photo: &[u8]) -> String {
    let posted = server.post(target, photo);
    assert_eq!(posted.status, 202, "{}", posted.text());
    posted.header("location").unwrap().to_owned()
}

fn status(server: &Server, url: &str) -> String {
    let status = server.get(url).ok()["status"].clone();
    status.as_str().unwrap().to_owned()
}

#[track_caller]
fn finished(server: &Server, url: &str, wanted: &str) -> Value {
    let mut answer = Value::Null;
    eventually("the job is finished", || {
        answer = server.get(url).ok();
        !["queued", "running"].contains(&answer["status"].as_str().unwrap())
    });
    assert_eq!(answer["status"], wanted, "{answer}");
    answer
}

/// A picture in a lossless format.
fn encoded(format: ImageFormat, seed: u8) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(300, 200, |x, y| {
        let wave = (x * 7 % 250).to_le_bytes()[0];
        image::Rgb([wave, seed, (y % 200).to_le_bytes()[0]])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn any_replica_accepts_a_job_and_shows_the_answer_of_a_worker() {
    let Some(redis) = Redis::start() else { return };
    let first = server(&redis, &["--max-jobs", "2"]);
    let second = server(&redis, &["--max-jobs", "2"]);
    let bytes = photo("mel_01.jpg");
    let url = post(&first, "/jobs?gradcam=1&top=3", &bytes);
    assert_eq!(status(&second, &url), "queued");
    assert!(redis.has_photo(&url));
    let other = post(&second, "/jobs?gradcam=1&class=nothing", &bytes);
    // No worker runs yet.
    let refused = first.post("/jobs", &bytes);
    assert_eq!(refused.refused(429), "jobs_full");
    assert!(refused.header("retry-after").is_some());

    let worker = Worker::start(&redis, &[]);
    let answer = finished(&second, &url, "done");
    let expected = predicted("mel_01.jpg", &[])["predictions"].clone();
    let shown = answer["result"]["predictions"].as_array().unwrap();
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[..], expected.as_array().unwrap()[..3]);
    assert!(answer["result"]["gradcam"]["png_base64"].is_string());
    assert!(answer["expires_in_seconds"].as_u64().unwrap() <= 600);
    assert!(!redis.has_photo(&url), "its photo lives until its answer");
    // A mistake in the request is the answer to the job, and is not tried again.
    let failed = finished(&first, &other, "failed");
    assert_eq!(failed["error"]["kind"], "unknown_class");
    assert_eq!(failed.get("deliveries"), None);
    assert_eq!(redis.open(), 0);

    assert_eq!(first.request("DELETE", &url, &[], &[]).status, 204);
    assert_eq!(second.get(&url).refused(404), "no_such_job");
    assert_eq!(second.get("/jobs/../etc").status, 404);
    assert_eq!(first.post("/jobs", b"no photo").refused(415), "not_a_photo");
    assert_eq!(first.metric("dermal_queue_workers"), 1.0);
    let health = second.get("/health?verbose=1").ok();
    assert_eq!(
        health["redis"],
        json!({"status": "up", "jobs_open": 0, "workers": 1, "dead_letters": 0})
    );
    drop(worker);
}

#[test]
fn a_job_of_a_worker_that_was_killed_is_finished_by_another_and_seen_once() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &[]);
    let mut first = Worker::start(&redis, &["--visibility", "1.5"]);
    let url = post(&server, LONG, slow_jpeg());
    eventually("it is worked on", || status(&server, &url) == "running");
    first.kill();
    assert_eq!(status(&server, &url), "running", "it was killed mid-job");
    let second = Worker::start(&redis, &["--visibility", "1.5"]);
    let answer = finished(&server, &url, "done");
    assert_eq!(answer["deliveries"], 2);
    assert!(answer["result"]["gradcam"]["png_base64"].is_string());
    assert_eq!((first.answered(), second.answered()), (0, 1));
    // No job is left.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((redis.open(), second.answered()), (0, 1));
    let again = server.get(&url).ok();
    assert_eq!(again["result"], answer["result"]);
    let pending: ::redis::streams::StreamPendingReply = redis
        .connect()
        .xpending(redis.keys("dermal:jobs:*")[0].as_str(), "workers")
        .unwrap();
    assert_eq!(pending.count(), 0);
}

#[test]
fn a_job_that_kills_its_workers_becomes_a_dead_letter() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &[]);
    let args = ["--visibility", "1", "--max-deliveries", "2"];
    let url = post(&server, LONG, slow_jpeg());
    for deliveries in 1..=2 {
        let mut worker = Worker::start(&redis, &args);
        eventually("it is worked on", || {
            let job = server.get(&url).ok();
            let count = job.get("deliveries").and_then(Value::as_u64).unwrap_or(1);
            job["status"] == "running" && count == deliveries
        });
        worker.kill();
    }
    let last = Worker::start(&redis, &args);
    let answer = finished(&server, &url, "failed");
    assert_eq!(answer["error"]["kind"], "job_given_up");
    assert!(!redis.has_photo(&url));
    assert_eq!(server.metric("dermal_queue_dead_letters"), 1.0);
    let letters: ::redis::streams::StreamRangeReply = redis
        .connect()
        .xrange_all(redis.keys("dermal:dead:*")[0].as_str())
        .unwrap();
    let letter = &letters.ids[0];
    assert_eq!(letter.get::<String>("reason").unwrap(), "worker_died");
    assert_eq!(
        format!("/jobs/{}", letter.get::<String>("job").unwrap()),
        url
    );
    // It continues.
    let url = post(&server, "/jobs", &photo("nv_00.jpg"));
    finished(&server, &url, "done");
    assert_eq!(last.answered(), 1);
}

#[test]
fn two_workers_share_the_jobs() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &[]);
    let workers = [0; 2].map(|_| Worker::start(&redis, &["--cache-expiry", "0"]));
    server.wait_until("both are there", |s| {
        s.metric("dermal_queue_workers") == 2.0
    });
    let bytes = large_jpeg(2000, 1500);
    let answered = || workers.each_ref().map(Worker::answered);
    let mut posted = 0;
    // On a busy machine one worker may get none of the first jobs.
    while posted == 0 || answered().contains(&0) {
        assert!(posted < 240, "{:?}", answered());
        let urls: Vec<_> = (0..12).map(|_| post(&server, "/jobs", &bytes)).collect();
        posted += urls.len();
        for url in &urls {
            finished(&server, url, "done");
        }
        eventually("the workers have said so", || {
            answered().iter().sum::<usize>() >= posted
        });
    }
    assert_eq!(answered().iter().sum::<usize>(), posted, "each once");
}

#[test]
fn a_worker_that_slept_too_long_changes_no_answer() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &[]);
    let first = Worker::start(&redis, &["--visibility", "1"]);
    let url = post(&server, LONG, slow_jpeg());
    eventually("it is worked on", || status(&server, &url) == "running");
    first.signal("STOP");
    assert_eq!(status(&server, &url), "running", "it was stopped mid-job");
    let second = Worker::start(&redis, &["--visibility", "1"]);
    let before = finished(&server, &url, "done");
    first.signal("CONT");
    eventually("the first one sees that", || {
        let log = first.log_text();
        log.contains("given to another worker") || log.contains("this answer is dropped")
    });
    let after = server.get(&url).ok();
    assert_eq!(after["result"], before["result"], "the first answer counts");
    assert_eq!((redis.open(), second.answered()), (0, 1));
    // And it continues to work.
    drop(second);
    let url = post(&server, "/jobs", &photo("nv_00.jpg"));
    finished(&server, &url, "done");
}

#[test]
fn a_long_job_stays_with_its_worker() {
    let Some(redis) = Redis::start() else { return };
    // Three large pictures in base64.
    let server = server(&redis, &["--job-answers", "500MB"]);
    // Shorter than the job, and longer than a pause on a busy machine.
    let args = ["--visibility", "0.6", "--cache-expiry", "0"];
    let workers = [0; 2].map(|_| Worker::start(&redis, &args));
    server.wait_until("both are there", |s| {
        s.metric("dermal_queue_workers") == 2.0
    });
    let urls: Vec<_> = (0..3).map(|_| post(&server, LONG, slow_jpeg())).collect();
    for url in &urls {
        let job = finished(&server, url, "done");
        assert!(job["result"]["gradcam"].is_object());
    }
    let answered: usize = workers.iter().map(Worker::answered).sum();
    println!("3 long jobs were computed {answered} times");
    assert!(answered <= 4, "renewed jobs are not taken over: {answered}");
}

#[test]
fn redis_may_come_late_and_go_away() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    redis.kill();
    let server = Server::with_env(&[], &[("DERMAL_REDIS", &redis.url())]);
    let worker = Worker::start(&redis, &[]);
    let bytes = photo("nv_00.jpg");
    let refused = |server: &Server| {
        let reply = server.post("/jobs", &bytes);
        assert_eq!(reply.refused(503), "redis_unavailable");
        assert!(reply.header("retry-after").is_some());
        assert_eq!(
            server.get("/jobs/00000000000000000000000000000000").status,
            503
        );
        // Photos do not need Redis; only the shared cache is missing.
        assert_eq!(server.post("/predict", &bytes).status, 200);
        let ready = server.get("/readyz");
        assert_eq!(
            (ready.status, ready.text().contains("except for jobs")),
            (200, true)
        );
        let health = server.get("/health?verbose=1").ok();
        assert_eq!(health["redis"]["kind"], "redis_unreachable");
        assert_eq!(server.metric("dermal_redis_up"), 0.0);
    };
    server.wait_until("it knows", |s| {
        s.get("/health?verbose=1").ok()["redis"]["status"] == "down"
    });
    refused(&server);

    redis.again();
    server.wait_until("Redis is found", |s| s.metric("dermal_redis_up") == 1.0);
    let url = post(&server, "/jobs", &bytes);
    finished(&server, &url, "done");

    redis.kill();
    server.wait_until("it is missed", |s| s.metric("dermal_redis_up") == 0.0);
    std::thread::sleep(Duration::from_secs(1));
    refused(&server);
    redis.again();
    server.wait_until("it is found again", |s| s.metric("dermal_redis_up") == 1.0);
    // A Redis without persistence has lost the job, and the server says so.
    assert_eq!(server.get(&url).refused(404), "no_such_job");
    let url = post(&server, "/jobs", &bytes);
    finished(&server, &url, "done");
    let warnings = worker.log_text().matches("Redis cannot be used").count();
    assert!((1..6).contains(&warnings), "{warnings} warnings");
}

#[test]
fn a_job_can_be_cancelled_before_and_while_it_is_computed() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &[]);
    let url = post(&server, LONG, slow_jpeg());
    assert_eq!(server.request("DELETE", &url, &[], &[]).status, 204);
    assert_eq!(server.get(&url).refused(404), "no_such_job");
    assert_eq!(server.request("DELETE", &url, &[], &[]).status, 404);
    assert_eq!((redis.open(), redis.has_photo(&url)), (0, false));

    let worker = Worker::start(&redis, &["--visibility", "0.3"]);
    let url = post(&server, LONG, slow_jpeg());
    eventually("it is worked on", || status(&server, &url) == "running");
    assert_eq!(server.request("DELETE", &url, &[], &[]).status, 204);
    eventually("the worker sees that", || {
        worker.log_text().contains("cancelled")
    });
    assert_eq!(server.get(&url).refused(404), "no_such_job");
    assert_eq!((redis.open(), redis.has_photo(&url)), (0, false));
}

#[test]
fn photos_and_answers_expire() {
    let Some(redis) = Redis::start() else { return };
    let server = server(
        &redis,
        &["--job-wait", "4", "--job-expiry", "4", "--max-jobs", "1"],
    );
    let bytes = photo("nv_00.jpg");
    let url = post(&server, "/jobs", &bytes);
    assert_eq!(server.post("/jobs", &bytes).refused(429), "jobs_full");
    eventually("the photo is gone", || !redis.has_photo(&url));
    let answer = server.get(&url).ok();
    assert_eq!(answer["status"], "failed");
    assert_eq!(answer["error"]["kind"], "job_expired");
    // It no longer counts as open.
    let next = post(&server, "/jobs", &bytes);
    let worker = Worker::start(&redis, &[]);
    eventually("the next one is decided", || {
        !["queued", "running"].contains(&status(&server, &next).as_str())
    });
    let url = post(&server, "/jobs", &bytes);
    finished(&server, &url, "done");
    eventually("the answer is gone", || server.get(&url).status == 404);
    drop(worker);
    eventually("nothing is left", || {
        let keys = redis.keys("dermal:job*");
        keys.is_empty() && redis.keys("dermal:photo:*").is_empty()
    });
}

#[test]
fn answers_that_are_not_fetched_take_a_limited_number_of_bytes() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &["--job-answers", "3kB"]);
    let _worker = Worker::start(&redis, &[]);
    let mut urls = Vec::new();
    for _ in 0..6 {
        let url = post(&server, "/jobs", &photo("nv_00.jpg"));
        finished(&server, &url, "done");
        urls.push(url);
    }
    assert_eq!(server.get(&urls[0]).refused(404), "no_such_job");
    assert_eq!(status(&server, &urls[5]), "done");
    let kept = |redis: &Redis| -> u64 { redis.connect().get("dermal:answers:bytes").unwrap() };
    assert!((500..=3000).contains(&kept(&redis)), "{}", kept(&redis));
    for url in &urls[1..] {
        server.request("DELETE", url, &[], &[]);
    }
    assert_eq!(kept(&redis), 0, "the account is exact");
}

#[test]
fn a_worker_that_is_told_to_stop_finishes_or_gives_back() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &[]);
    let mut patient = Worker::start(&redis, &[]);
    let url = post(&server, LONG, slow_jpeg());
    eventually("it is worked on", || status(&server, &url) == "running");
    patient.signal("TERM");
    assert_eq!(patient.ended().code(), Some(0));
    finished(&server, &url, "done");
    assert_eq!(server.metric("dermal_queue_workers"), 0.0);

    let args = ["--grace", "0.05", "--cache-expiry", "0"];
    let mut hasty = Worker::start(&redis, &args);
    let url = post(&server, LONG, slow_jpeg());
    eventually("it is worked on", || status(&server, &url) == "running");
    hasty.signal("TERM");
    assert_eq!(hasty.ended().code(), Some(0));
    assert!(hasty.log_text().contains("given back"));
    assert_eq!(status(&server, &url), "queued");
    // At once, long before the visibility time ends, and not counted as a failure.
    let _next = Worker::start(&redis, &["--max-deliveries", "1"]);
    let answer = finished(&server, &url, "done");
    assert_eq!(answer.get("deliveries"), None);
}

#[test]
fn replicas_share_answers_by_file_and_by_pixels() {
    let Some(redis) = Redis::start() else { return };
    let first = server(&redis, &[]);
    let second = server(&redis, &[]);
    let bytes = photo("bcc_02.jpg");
    let look = |level: &str, result: &str| {
        format!("dermal_cache_lookups_total{{level=\"{level}\",result=\"{result}\"}}")
    };
    let computed = first.post("/predict?gradcam=1", &bytes).ok();
    assert_eq!(computed["cached"], false);
    eventually("it is shared", || redis.keys("dermal:answer:*").len() == 1);
    let found = second.post("/predict?gradcam=1", &bytes).ok();
    assert_eq!(found["cached"], true);
    for name in ["predictions", "gradcam", "image", "timing_ms", "model"] {
        assert_eq!(found[name], computed[name], "{name}");
    }
    assert_eq!(second.metric(&look("redis_file", "hit")), 1.0);
    assert_eq!(second.metric("dermal_photos_total"), 0.0);
    // Now in its own memory.
    second.post("/predict?gradcam=1", &bytes).ok();
    assert_eq!(second.metric(&look("memory_file", "hit")), 1.0);
    // Other options make another key.
    assert_eq!(second.post("/predict", &bytes).ok()["cached"], false);

    // The same picture in another file.
    first.post("/predict", &encoded(ImageFormat::Png, 90)).ok();
    eventually("it is shared", || redis.keys("dermal:answer:*").len() == 3);
    let bmp = second.post("/predict", &encoded(ImageFormat::Bmp, 90)).ok();
    assert_eq!(bmp["cached"], true);
    assert_eq!(second.metric(&look("redis_pixels", "hit")), 1.0);
    for key in redis.keys("dermal:*") {
        let left: i64 = redis.connect().pttl(&key).unwrap();
        assert!((1..=3_600_000).contains(&left), "{key} lives for {left} ms");
    }
    // A damaged entry is a miss.
    let mut connection = redis.connect();
    for key in redis.keys("dermal:answer:*") {
        let _: () = connection.set(key, b"\x05\0\0\0nonsense").unwrap();
    }
    let third = server(&redis, &[]);
    assert_eq!(third.post("/predict", &bytes).ok()["cached"], false);
    assert_eq!(third.metric(&look("redis_file", "error")), 1.0);
}

#[test]
fn a_password_gets_in_and_is_never_shown() {
    let Some(redis) = Redis::with_password(Some(PASSWORD)) else {
        return;
    };
    let server = server(&redis, &[]);
    let worker = Worker::start(&redis, &[]);
    let url = post(&server, "/jobs", &photo("nv_00.jpg"));
    finished(&server, &url, "done");
    let wrong = redis.url().replace(PASSWORD, "correct-horse-batterie");
    let locked_out = Server::with_env(&["--redis", &wrong], &[]);
    locked_out.wait_until("it is told", |s| {
        s.get("/health?verbose=1").ok()["redis"]["kind"] == "redis_refused"
    });
    let logs = [
        server.log_text(),
        worker.log_text(),
        locked_out.log_text(),
        locked_out.get("/health?verbose=1").text(),
    ];
    for text in logs {
        assert!(!text.contains("correct-horse"), "{text}");
    }
    for command in ["serve", "worker"] {
        let output = Command::new(env!("CARGO_BIN_EXE_dermal"))
            .args([command, "--redis", "http://:correct-horse@host"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("redis://[user:password@]host"), "{text}");
        assert!(!text.contains("correct-horse"), "{text}");
    }
}

#[test]
fn a_worker_with_another_model_leaves_a_job_alone() {
    let Some(redis) = Redis::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.safetensors");
    let imported = Command::new(env!("CARGO_BIN_EXE_dermal"))
        .arg("import")
        .arg(repo("fixtures/import/nested.keras"))
        .arg("-o")
        .arg(&other)
        .args(["--labels", "yes,no", "--preprocess", "unit"])
        .args(["--input-default", "patient=0,1,0.5"])
        .output()
        .unwrap();
    assert!(imported.status.success());
    let server = server(&redis, &[]);
    let stranger = Worker::start(&redis, &[other.to_str().unwrap()]);
    let url = post(&server, "/jobs", &photo("nv_00.jpg"));
    eventually("the other worker looks for work", || {
        redis.keys("dermal:workers:*").len() == 1
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(status(&server, &url), "queued");
    assert_eq!(server.metric("dermal_queue_workers"), 0.0);
    let _own = Worker::start(&redis, &[]);
    let answer = finished(&server, &url, "done");
    assert!(
        answer["result"]["model"]
            .as_str()
            .unwrap()
            .starts_with("demo@")
    );
    assert_eq!(stranger.answered(), 0);

    let missing = folder.path().join("missing.safetensors");
    let mut broken = Worker::start(&redis, &[missing.to_str().unwrap()]);
    assert_eq!(
        broken.ended().code(),
        Some(2),
        "it is of no use without a model"
    );
}

#[test]
fn a_full_redis_refuses_jobs_and_keeps_those_it_has() {
    let args = ["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"];
    let Some(redis) = Redis::with(None, &args) else {
        return;
    };
    let server = server(&redis, &[]);
    let large = large_jpeg(2400, 1800);
    let mut taken = Vec::new();
    let refused = loop {
        let posted = server.post("/jobs", &large);
        if posted.status != 202 {
            break posted;
        }
        taken.push(posted.header("location").unwrap().to_owned());
        assert!(taken.len() < 20, "6 MB hold no {} bytes", large.len() * 20);
    };
    assert_eq!(refused.refused(503), "redis_full");
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert!(!taken.is_empty());
    // Now Redis accepts nothing more. Operations that need no memory there still work, and photos
    // do not need Redis.
    let _: () = ::redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "1mb"])
        .query(&mut redis.connect())
        .unwrap();
    for url in &taken {
        assert_eq!(status(&server, url), "queued");
    }
    server.post("/predict?gradcam=1", &photo("nv_00.jpg")).ok();
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.metric("dermal_redis_up"), 1.0);
    let small = server.post("/jobs", &photo("nv_00.jpg"));
    assert_eq!(small.refused(503), "redis_full");
    // Workers need no memory there, and free some.
    let worker = Worker::start(&redis, &["--cache-expiry", "0"]);
    for url in &taken {
        finished(&server, url, "done");
    }
    let _: () = ::redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "6mb"])
        .query(&mut redis.connect())
        .unwrap();
    let url = post(&server, "/jobs?gradcam=1", &photo("nv_00.jpg"));
    finished(&server, &url, "done");
    assert!(!worker.log_text().contains("redis_full"));
}

/// A worker stays within its memory, whatever picture a job asks for.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_stays_within_its_budget() {
    let Some(redis) = Redis::start() else { return };
    let server = server(&redis, &["--job-answers", "500MB"]);
    for (budget, has_map) in [(160_000_000_u64, false), (360_000_000, true)] {
        let text = budget.to_string();
        let worker = Worker::start(&redis, &["--budget", &text, "--cache-expiry", "0"]);
        let url = post(&server, LONG, &large_jpeg(4000, 3000));
        let answer = finished(&server, &url, "done");
        assert_eq!(answer["result"]["gradcam"].is_object(), has_map);
        assert_eq!(answer["result"]["gradcam_shed"] == true, !has_map);
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().strip_suffix(" kB").unwrap();
        let peak: u64 = peak.parse::<u64>().unwrap() * 1024;
        println!("peak {peak} of {budget}, heat map {has_map}");
        assert!(peak < budget, "{peak} of {budget}");
    }
}

/// A certificate for 127.0.0.1 and the authority that signed it, in a folder; none without `openssl`.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn certificates() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |args: &str| {
        let ran = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(folder.path())
            .output();
        ran.map(|output| assert!(output.status.success(), "{output:?}"))
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let own = format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=own -days 2");
    if openssl(&own).is_err() {
        println!("SKIPPED: there is no openssl");
        return None;
    }
    openssl(&own.replace("ca.", "other.")).unwrap();
    let asked = format!(
        "req {key} -keyout redis.key -out redis.csr -subj /CN=redis -addext \
         subjectAltName=IP:127.0.0.1"
    );
    openssl(&asked).unwrap();
    let signed = "x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out redis.pem \
                  -days 2 -copy_extensions copy";
    openssl(signed).unwrap();
    Some(folder)
}

#[test]
fn a_redis_behind_tls_is_known_by_its_own_authority() {
    let Some(plain) = Redis::start() else { return };
    let Some(folder) = certificates() else { return };
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    // TLS is switched on while Redis runs, because a Redis that was built without TLS then says so.
    let mut set = ::redis::cmd("CONFIG");
    set.arg("SET").arg("tls-cert-file").arg(path("redis.pem"));
    set.arg("tls-key-file").arg(path("redis.key"));
    set.arg("tls-ca-cert-file").arg(path("ca.pem"));
    set.arg("tls-auth-clients").arg("no");
    set.arg("tls-port").arg(port);
    if let Err(error) = set.query::<()>(&mut plain.connect()) {
        println!("SKIPPED: this redis-server has no TLS: {error}");
        return;
    }
    let url = format!("rediss://127.0.0.1:{port}");
    let env = [("DERMAL_REDIS", url.as_str())];
    let ca = path("ca.pem");
    let server = Server::with_env(&["--redis-ca", &ca], &env);
    server.wait_until("it has Redis", |s| s.metric("dermal_redis_up") == 1.0);
    let bytes = photo("nv_00.jpg");
    let job = post(&server, "/jobs", &bytes);
    let worker = Worker::start(&plain, &["--redis-ca", &ca, "--redis", &url]);
    finished(&server, &job, "done");
    drop(worker);
    // Neither the other authority nor a public one has signed its certificate.
    let other = path("other.pem");
    for args in [&["--redis-ca", &other][..], &[]] {
        let wary = Server::with_env(args, &env);
        wary.wait_until("it is told", |s| {
            s.get("/health?verbose=1").ok()["redis"]["status"] == "down"
        });
        assert_eq!(wary.metric("dermal_redis_up"), 0.0);
        assert_eq!(wary.post("/jobs", &bytes).status, 503);
        wary.post("/predict", &bytes).ok();
    }
    for (args, says) in [
        (
            ["--redis", &url, "--redis-ca", "/nonexistent"],
            "cannot read",
        ),
        (["--redis", &url, "--redis-ca", &path("ca.key")], "PEM file"),
        (["--redis", &plain.url(), "--redis-ca", &ca], "rediss://"),
    ] {
        for command in ["serve", "worker"] {
            let output = Command::new(env!("CARGO_BIN_EXE_dermal"))
                .arg(command)
                .args(args)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.contains(says) && text.contains("hint: "), "{text}");
        }
    }
}
