//! Access control: API keys, and how often one client may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};

use crate::serve::error::ApiError;

/// Clients whose rate is remembered, at some 100 bytes each. When there are more, the client that has
/// been away longest is forgotten and starts afresh.
const MAX_CLIENTS: usize = 8192;

/// How many seconds of its rate a client may use up at once.
const BURST_SECONDS: f64 = 5.0;

/// The hashes of the keys. Comparing hashes takes the same time wherever two keys differ.
pub(in crate::serve) struct ApiKeys(Vec<blake3::Hash>);

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl ApiKeys {
    pub(in crate::serve) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|k| blake3::hash(k.as_bytes())).collect())
    }

    /// The index of the key that the request shows; `None` if the server needs no key.
    pub(in crate::serve) fn check(&self, headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
            let text = value.to_str().ok()?;
            let (scheme, key) = text.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(key.trim().as_bytes())
        });
        let shown = bearer.or_else(|| Some(headers.get("x-api-key")?.as_bytes()));
        let denied = |kind, message: &str| {
            ApiError::new(StatusCode::UNAUTHORIZED, kind, message)
                .hint("send `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        };
        let Some(shown) = shown else {
            return Err(denied("api_key_missing", "this server needs an API key"));
        };
        let shown = blake3::hash(shown);
        // Compares every key, so that the time taken says nothing about them.
        let mut found = None;
        for (i, key) in self.0.iter().enumerate() {
            if *key == shown {
                found = Some(i);
            }
        }
        match found {
            Some(key) => Ok(Some(key)),
            None => Err(denied(
                "api_key_wrong",
                "this server does not know the API key",
            )),
        }
    }
}

/// Who counts as one client for the rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::serve) enum Client {
    Key(usize),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A token bucket for each client.
#[derive(Debug)]
pub(in crate::serve) struct RateLimiter {
    per_second: f64,
    buckets: Mutex<HashMap<Client, Bucket>>,
}

impl RateLimiter {
    pub(in crate::serve) fn new(per_second: f64) -> Self {
        Self {
            per_second,
            buckets: Mutex::default(),
        }
    }

    /// Counts a request; an error if the client is over its rate.
    pub(in crate::serve) fn check(&self, client: Client, now: Instant) -> Result<(), ApiError> {
        let most = (self.per_second * BURST_SECONDS).max(1.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket {
            tokens: most,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(most);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - bucket.tokens) / self.per_second;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a cast from float saturates"
        )]
        Err(ApiError::busy(
            "rate_limit",
            "this client sends too many requests",
            wait.ceil() as u64,
        ))
    }
}

/// The client's address: the other end of the connection or, behind `proxies` trusted proxies, the
/// entry that the outermost of them appended to `X-Forwarded-For`. Entries further to the left are
/// written by the client, who may write anything.
pub(in crate::serve) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    proxies: usize,
) -> IpAddr {
    if proxies == 0 {
        return peer;
    }
    let entries: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .collect();
    let at = entries.len().checked_sub(proxies);
    at.and_then(|at| entries[at].parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn each_key_is_recognized() {
        let keys = ApiKeys::new(&["first".to_owned(), "second".to_owned()]);
        let check = |name, value: &str| keys.check(&headers(&[(name, value)]));
        assert_eq!(check("authorization", "Bearer first").unwrap(), Some(0));
        assert_eq!(check("authorization", "bearer second").unwrap(), Some(1));
        assert_eq!(check("x-api-key", "second").unwrap(), Some(1));
        for (name, value, kind) in [
            ("authorization", "Basic first", "api_key_missing"),
            ("x-api-key", "firs", "api_key_wrong"),
            ("x-api-key", "", "api_key_wrong"),
            ("x-other", "first", "api_key_missing"),
        ] {
            assert_eq!(
                check(name, value).unwrap_err().kind,
                kind,
                "{name}: {value}"
            );
        }
        assert_eq!(ApiKeys::new(&[]).check(&HeaderMap::new()).unwrap(), None);
        assert!(!format!("{keys:?}").contains("first"));
    }

    #[test]
    fn a_client_may_burst_and_then_keeps_its_rate() {
        let rates = RateLimiter::new(2.0);
        let start = Instant::now();
        let one = Client::Address("10.0.0.1".parse().unwrap());
        for _ in 0..10 {
            rates.check(one, start).unwrap();
        }
        let error = rates.check(one, start).unwrap_err();
        assert_eq!((error.kind, error.retry_after), ("rate_limit", Some(1)));
        rates.check(Client::Key(0), start).unwrap();
        let later = start + Duration::from_millis(500);
        rates.check(one, later).unwrap();
        rates.check(one, later).unwrap_err();
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let peer: IpAddr = "10.0.0.9".parse().unwrap();
        let chain = headers(&[
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-for", "3.3.3.3"),
        ]);
        let at = |proxies| client_address(peer, &chain, proxies).to_string();
        assert_eq!(at(0), "10.0.0.9");
        assert_eq!(at(1), "3.3.3.3");
        assert_eq!(at(2), "2.2.2.2");
        assert_eq!(at(4), "10.0.0.9");
    }
}
