//! The connection to Redis that replicas and workers share: kept, given up, and made again.
//!
//! One task keeps the connection: it pings an idle one, and after a failure tries again with growing
//! pauses. Whoever needs Redis while it is away is told so at once and waits for nothing; what has
//! just failed is tried once more, so that every operation here must be safe to repeat.
//!
//! One Redis (or what speaks its protocol: Valkey), version 6.2 or later, by `redis://` or, with TLS,
//! `rediss://`. Not here: Cluster and Sentinel. The URL may hold a password, and is never shown.

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
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Longest wait for a reply: a photo of 10 MB at 20 Mbit/s.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);

/// How often a connection that nobody uses is looked at.
const PING_EVERY: Duration = Duration::from_secs(2);

/// First and longest pause between two tries to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(3)];

/// How long a request waits for a connection that is being made or was lost just now.
const PATIENCE: Duration = Duration::from_millis(700);

/// Where Redis is and how to get in.
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

    /// Reads a URL that begins with `rediss://`. Whose certificate is not signed by one of `ca` (PEM) is
    /// not talked to; public authorities count no more.
    ///
    /// # Errors
    /// [`ServeError::RedisUrl`]; [`ServeError::RedisCa`] if there is no certificate, or nothing that it is
    /// good for.
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

    /// A connection whose replies may take `patience`.
    pub(super) async fn connect(&self, patience: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(patience));
        self.0
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}

/// What Redis is to do.
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

/// Whether Redis is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing is known yet.
    New,
    Up,
    /// Since when, and why.
    Down(Instant, &'static str),
}

#[derive(Debug)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// How many connections there were before: what an old one says counts no more.
    generation: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Store {
    redis: Redis,
    current: Mutex<Current>,
    link: watch::Sender<Link>,
    trouble: Notify,
}

/// A stable name for what is wrong with Redis.
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

fn away(kind: &'static str) -> ApiError {
    let kind = if kind == "redis_full" {
        "redis_full"
    } else {
        "redis_unavailable"
    };
    ApiError::unavailable(kind, "the shared queue of jobs cannot be used just now")
        .hint("try again, or ask `/predict`, which does not need it")
}

impl Store {
    /// Begins to connect, and keeps at it as long as the runtime lives.
    pub(super) fn start(redis: Redis) -> Arc<Self> {
        let store = Arc::new(Self {
            redis,
            current: Mutex::new(Current {
                connection: None,
                generation: 0,
            }),
            link: watch::Sender::new(Link::New),
            trouble: Notify::new(),
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
            match self.redis.connect(REPLY_PATIENCE).await {
                Ok(connection) => {
                    self.current().connection = Some(connection);
                    self.link.send_replace(Link::Up);
                    tracing::info!(redis = self.redis.address(), "connected to Redis");
                    let connected = Instant::now();
                    let error = self.watch().await;
                    self.down(&error);
                    // One that is lost at once over and over is not asked ever faster.
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

    /// Looks after a connection until it fails.
    async fn watch(&self) -> RedisError {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PING_EVERY) => {}
                () = self.trouble.notified() => {}
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
        let before = *self.link.borrow();
        let since = match before {
            Link::Down(since, _) => since,
            _ => Instant::now(),
        };
        self.link.send_replace(Link::Down(since, kind));
        // Once for each change, however often it is tried.
        if !matches!(before, Link::Down(_, reason) if reason == kind) {
            tracing::warn!(
                redis = self.redis.address(),
                kind,
                error = %error,
                "Redis cannot be used; trying again"
            );
        }
    }

    pub(super) fn link(&self) -> Link {
        *self.link.borrow()
    }

    /// The connection, if there is one at this moment.
    pub(super) fn at_hand(&self) -> Option<MultiplexedConnection> {
        self.current().connection.clone()
    }

    /// The connection and its number. One that is being made is waited for, not long.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), ApiError> {
        let mut link = self.link.subscribe();
        let wait = match self.link() {
            Link::Down(since, kind) if since.elapsed() >= PATIENCE => return Err(away(kind)),
            _ => tokio::time::timeout(PATIENCE, link.wait_for(|link| *link == Link::Up)),
        };
        let _ = wait.await;
        let current = self.current();
        match &current.connection {
            Some(connection) => Ok((connection.clone(), current.generation)),
            None => Err(away("redis_unavailable")),
        }
    }

    /// Has something done, twice if the connection is lost on the way: it must be safe to repeat.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        request: impl Into<Request<'_>>,
    ) -> Result<T, ApiError> {
        let done = self.run_unless(request, |_| false).await?;
        done.ok_or_else(ApiError::internal)
    }

    /// As [`Store::run`]; `None` for an error that is expected.
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
                return Err(away(kind));
            }
            again = false;
        }
    }

    /// A connection failed: nobody else should try it.
    fn lost(&self, generation: u64, error: &RedisError) {
        let is_current = self.current().generation == generation;
        if is_current {
            self.down(error);
            self.trouble.notify_one();
        }
    }

    /// Waits until Redis is there.
    pub(super) async fn wait(&self) {
        let mut link = self.link.subscribe();
        // The sender lives in `self`.
        let _ = link.wait_for(|link| *link == Link::Up).await;
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }
}

/// 0 to 1, so that replicas do not all try at the same moment.
pub(super) fn jitter() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = random() as f64 / u64::MAX as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_redis_that_is_away_is_told_soon_and_named() {
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
        tokio::time::sleep(PATIENCE).await;
        let again = Instant::now();
        assert!(store.run::<()>(&ping).await.is_err());
        assert!(again.elapsed() < PATIENCE / 2, "it is known to be away");
        assert!(started.elapsed() < CONNECT_PATIENCE * 2);
        assert!(matches!(store.link(), Link::Down(_, "redis_unreachable")));
        assert!(store.at_hand().is_none());
    }
}
