//! The connection to Redis, which replicas and workers share.
//!
//! One task keeps the connection open: it pings it while it is idle, and after a failure connects again
//! with growing pauses. While Redis cannot be reached, operations fail at once instead of waiting. An
//! operation whose connection was lost is tried once more, so every operation must be safe to repeat.
//!
//! Works with one Redis 6.2 or later, or with a server of the same protocol such as Valkey, by
//! `redis://` or, with TLS, `rediss://`. Cluster and Sentinel are not supported. The URL may contain a
//! password and is never shown.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError,
    RedisResult, ScriptInvocation, ServerErrorKind, TlsCertificates,
};
use tokio::sync::{Notify, watch};

use super::error::{ApiError, ServeError};
use super::random::random;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for a reply: enough for a photo of 10 MB at 20 Mbit/s.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle connection is checked.
const PING_EVERY: Duration = Duration::from_secs(2);

/// First and longest pause between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3)];

/// How long a request waits for a connection that is being made or was lost just now.
const TIMEOUT: Duration = Duration::from_millis(700);

/// The address of Redis, and the credentials for it.
#[derive(Clone)]
pub struct Redis(Client);

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.address()).finish()
    }
}

impl Redis {
    /// Reads a URL: `redis://[[user]:password@]host[:port][/number]`, `rediss://` for TLS.
    ///
    /// # Errors
    /// [`ServeError::RedisUrl`], which does not repeat the URL.
    pub fn from_url(url: &str) -> Result<Self, ServeError> {
        Client::open(url.trim())
            .map(Self)
            .map_err(|_| ServeError::RedisUrl)
    }

    /// Reads a URL that begins with `rediss://`. The certificate of Redis must be signed by one of `ca`
    /// (PEM); public authorities are not accepted.
    ///
    /// # Errors
    /// [`ServeError::RedisUrl`]; [`ServeError::RedisCa`] if `ca` has no certificate, or the URL does not
    /// use TLS.
    pub fn with_ca(url: &str, ca: Vec<u8>) -> Result<Self, ServeError> {
        const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
        let url = url.trim();
        Self::from_url(url)?;
        let is_one = ca.windows(CERTIFICATE.len()).any(|w| w == CERTIFICATE);
        if !url.starts_with("rediss://") || !is_one {
            return Err(ServeError::RedisCa);
        }
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(ca),
        };
        Client::build_with_tls(url, certificates)
            .map(Self)
            .map_err(|_| ServeError::RedisCa)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.0.get_connection_info().addr().to_string()
    }

    /// Opens a connection whose replies may take `timeout`.
    pub(super) async fn connect(&self, timeout: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(timeout));
        self.0
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}

/// An operation of Redis.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
    Script(&'a ScriptInvocation<'a>),
}

impl<'a> From<&'a Cmd> for Request<'a> {
    fn from(command: &'a Cmd) -> Self {
        Self::Command(command)
    }
}

impl<'a> From<&'a Pipeline> for Request<'a> {
    fn from(pipeline: &'a Pipeline) -> Self {
        Self::Pipeline(pipeline)
    }
}

impl<'a> From<&'a ScriptInvocation<'a>> for Request<'a> {
    fn from(script: &'a ScriptInvocation<'a>) -> Self {
        Self::Script(script)
    }
}

impl Request<'_> {
    async fn send<T: FromRedisValue>(
        self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<T> {
        match self {
            Self::Command(command) => command.query_async(connection).await,
            Self::Pipeline(pipeline) => pipeline.query_async(connection).await,
            Self::Script(script) => script.invoke_async(connection).await,
        }
    }
}

/// Whether Redis can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisState {
    /// The first connection is being made.
    Connecting,
    Up,
    /// Not reachable: since when, and why.
    Down(Instant, &'static str),
}

#[derive(Debug)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// Number of the connection, so that an error of an older one is ignored.
    generation: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Store {
    redis: Redis,
    current: Mutex<Current>,
    state: watch::Sender<RedisState>,
    failed: Notify,
}

/// A stable name of what is wrong with Redis.
pub(super) fn kind(error: &RedisError) -> &'static str {
    match error.kind() {
        ErrorKind::AuthenticationFailed => "redis_refused",
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "redis_loading",
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "redis_read_only",
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => "redis_refused",
            Some("OOM") => "redis_full",
            _ if error.is_io_error() || error.is_timeout() => "redis_unreachable",
            _ => "redis_failed",
        },
    }
}

fn unavailable(kind: &'static str) -> ApiError {
    let kind = if kind == "redis_full" {
        "redis_full"
    } else {
        "redis_unavailable"
    };
    ApiError::unavailable(kind, "the shared job queue cannot be used at the moment")
        .hint("try again, or use `/predict`, which does not need the queue")
}

impl Store {
    /// Begins to connect, and stays connected for as long as the runtime lives.
    pub(super) fn start(redis: Redis) -> Arc<Self> {
        let store = Arc::new(Self {
            redis,
            current: Mutex::new(Current {
                connection: None,
                generation: 0,
            }),
            state: watch::Sender::new(RedisState::Connecting),
            failed: Notify::new(),
        });
        tokio::spawn(Arc::clone(&store).keep());
        store
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(self: Arc<Self>) {
        let mut pause = PAUSES[0];
        loop {
            match self.redis.connect(REPLY_TIMEOUT).await {
                Ok(connection) => {
                    self.current().connection = Some(connection);
                    self.state.send_replace(RedisState::Up);
                    tracing::info!(redis = self.redis.address(), "connected to Redis");
                    let connected = Instant::now();
                    let error = self.check_until_lost().await;
                    self.down(&error);
                    // A connection that is lost right away keeps the long pause.
                    if connected.elapsed() > PAUSES[1] {
                        pause = PAUSES[0];
                    }
                }
                Err(error) => self.down(&error),
            }
            tokio::time::sleep(pause.mul_f64(0.75 + jitter() / 2.0)).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Checks the connection until it fails.
    async fn check_until_lost(&self) -> RedisError {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PING_EVERY) => {}
                () = self.failed.notified() => {}
            }
            let Some(mut connection) = self.current().connection.clone() else {
                return (ErrorKind::Io, "the connection failed").into();
            };
            let pinged = redis::cmd("PING").exec_async(&mut connection).await;
            if let Err(error) = pinged {
                return error;
            }
        }
    }

    fn down(&self, error: &RedisError) {
        let kind = kind(error);
        {
            let mut current = self.current();
            current.connection = None;
            current.generation += 1;
        }
        let before = *self.state.borrow();
        let since = match before {
            RedisState::Down(since, _) => since,
            _ => Instant::now(),
        };
        self.state.send_replace(RedisState::Down(since, kind));
        // Logged once for each change, not for each attempt.
        if !matches!(before, RedisState::Down(_, reason) if reason == kind) {
            tracing::warn!(
                redis = self.redis.address(),
                kind,
                error = %error,
                "Redis cannot be used; trying again"
            );
        }
    }

    pub(super) fn state(&self) -> RedisState {
        *self.state.borrow()
    }

    /// The connection, if there is one at this moment.
    pub(super) fn current_connection(&self) -> Option<MultiplexedConnection> {
        self.current().connection.clone()
    }

    /// The connection and its number. Waits a short time for one that is being made.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), ApiError> {
        let mut state = self.state.subscribe();
        let wait = match self.state() {
            RedisState::Down(since, kind) if since.elapsed() >= TIMEOUT => {
                return Err(unavailable(kind));
            }
            _ => tokio::time::timeout(TIMEOUT, state.wait_for(|state| *state == RedisState::Up)),
        };
        let _ = wait.await;
        let current = self.current();
        match &current.connection {
            Some(connection) => Ok((connection.clone(), current.generation)),
            None => Err(unavailable("redis_unavailable")),
        }
    }

    /// Runs an operation, and repeats it once if the connection is lost meanwhile.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        request: impl Into<Request<'_>>,
    ) -> Result<T, ApiError> {
        let done = self.run_unless(request, |_| false).await?;
        done.ok_or_else(ApiError::internal)
    }

    /// Like [`Store::run`], but returns `None` for an error that the caller expects.
    pub(super) async fn run_unless<T: FromRedisValue>(
        &self,
        request: impl Into<Request<'_>>,
        is_expected: fn(&RedisError) -> bool,
    ) -> Result<Option<T>, ApiError> {
        let request = request.into();
        let mut again = true;
        loop {
            let (mut connection, generation) = self.connection().await?;
            let error = match request.send(&mut connection).await {
                Ok(value) => return Ok(Some(value)),
                Err(error) if is_expected(&error) => return Ok(None),
                Err(error) => error,
            };
            let kind = kind(&error);
            let lost = error.is_io_error() || error.is_unrecoverable_error();
            if lost {
                self.lost(generation, &error);
            }
            if !(lost && again) {
                tracing::warn!(kind, %error, "Redis failed");
                return Err(unavailable(kind));
            }
            again = false;
        }
    }

    /// Gives up a connection that failed, so that no other operation tries it.
    fn lost(&self, generation: u64, error: &RedisError) {
        let is_current = self.current().generation == generation;
        if is_current {
            self.down(error);
            self.failed.notify_one();
        }
    }

    /// Waits until Redis can be reached.
    pub(super) async fn wait(&self) {
        let mut state = self.state.subscribe();
        // It cannot fail: the sender lives in `self`.
        let _ = state.wait_for(|state| *state == RedisState::Up).await;
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }
}

/// A random number from 0 to 1, so that replicas do not all try at the same moment.
pub(super) fn jitter() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = random() as f64 / u64::MAX as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;

    #[test]
    fn a_password_is_never_shown() {
        let redis = Redis::from_url("redis://:hunter22@cache.internal:6380/2").unwrap();
        assert_eq!(redis.address(), "cache.internal:6380");
        assert_eq!(format!("{redis:?}"), "Redis(\"cache.internal:6380\")");
        for bad in [
            "http://:hunter22@host",
            "hunter22",
            "redis://:hunter22@host:x",
        ] {
            let error = Redis::from_url(bad).unwrap_err();
            let text = format!("{error} {error:?} {}", error.hint());
            assert!(!text.contains("hunter22"), "{text}");
        }
        assert!(Redis::from_url("rediss://host").is_ok());
        let good = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        for (url, ca, kind) in [
            ("hunter22", good.clone(), "redis_url"),
            ("redis://host", good.clone(), "redis_ca"),
            ("rediss://host", Vec::new(), "redis_ca"),
            ("rediss://host", b"a key".to_vec(), "redis_ca"),
            ("rediss://host", good, "redis_ca"),
        ] {
            assert_eq!(Redis::with_ca(url, ca).unwrap_err().kind(), kind, "{url}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_redis_fails_fast_and_is_named() {
        // A port that was free just now.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let redis = Redis::from_url(&format!("redis://127.0.0.1:{port}")).unwrap();
        let store = Store::start(redis);
        let ping = redis::cmd("PING");
        let started = Instant::now();
        let error = store.run::<()>(&ping).await.unwrap_err();
        assert_eq!(error.kind, "redis_unavailable");
        assert_eq!(error.retry_after, Some(2));
        tokio::time::sleep(TIMEOUT).await;
        let again = Instant::now();
        assert!(store.run::<()>(&ping).await.is_err());
        assert!(
            again.elapsed() < TIMEOUT / 2,
            "it is known to be unreachable"
        );
        assert!(started.elapsed() < CONNECT_TIMEOUT * 2);
        assert!(matches!(
            store.state(),
            RedisState::Down(_, "redis_unreachable")
        ));
        assert!(store.current_connection().is_none());
    }
}
