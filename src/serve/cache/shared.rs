//! The cache in Redis that replicas and workers share.
//!
//! | Key | Holds |
//! |---|---|
//! | `dermal:file:HASH` | the hash of the file's pixels |
//! | `dermal:answer:HASH` | length of a JSON text in 4 bytes, the text, the heat map's PNG |
//!
//! Entries from Redis are checked like any input; a damaged one is a miss.

use std::sync::Arc;
use std::time::Duration;

use redis::SetExpiry::PX;
use redis::{AsyncCommands, RedisResult, SetOptions};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::answer::{Answer, HeatMap};
use super::super::store::Store;
use super::Digest;
use crate::explain::Method;
use crate::predict::{Prediction, Timing};

/// Longest wait for Redis. Computing the answer takes about as long.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Largest answer that is shared: a heat map of 1024 pixels has about 1.5 MB.
const MAX_ENTRY_BYTES: usize = 2 << 20;

/// Answers that are written to Redis at the same time. More are not shared.
const MOST_WRITES: usize = 2;

#[derive(Debug)]
pub(in crate::serve) struct Shared {
    store: Arc<Store>,
    expiry: Duration,
    runtime: Handle,
    writes: Arc<Semaphore>,
}

/// An answer without the picture of its heat map.
#[derive(Deserialize, Serialize)]
struct Packed {
    model: String,
    labels: Vec<String>,
    probabilities: Vec<f32>,
    logits: Vec<f32>,
    photo: Option<[usize; 2]>,
    missing_fields: Vec<String>,
    used_fields: Vec<String>,
    /// Nanoseconds of decoding, preprocessing and inference.
    timing: [u64; 3],
    gradcam_ms: f64,
    heat_map: Option<PackedMap>,
}

#[derive(Deserialize, Serialize)]
struct PackedMap {
    size: [usize; 2],
    map_size: [usize; 2],
    layer: String,
    class: Option<String>,
    method: String,
    blank: bool,
}

fn pack(answer: &Answer) -> Option<Vec<u8>> {
    let timing = &answer.prediction.timing;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let packed = Packed {
        model: answer.model.clone(),
        labels: answer.labels.to_vec(),
        probabilities: answer.prediction.probabilities.clone(),
        logits: answer.prediction.logits.clone(),
        photo: answer.photo,
        missing_fields: answer.missing_fields.clone(),
        used_fields: answer.used_fields.clone(),
        timing: [timing.decode, timing.preprocess, timing.inference].map(nanos),
        gradcam_ms: answer.gradcam_ms,
        heat_map: answer.heat_map.as_ref().map(|map| PackedMap {
            size: map.size,
            map_size: map.map_size,
            layer: map.layer.clone(),
            class: map.class.clone(),
            method: map.method.to_owned(),
            blank: map.blank,
        }),
    };
    let text = serde_json::to_vec(&packed).ok()?;
    let png: &[u8] = answer.heat_map.as_ref().map_or(&[], |map| &map.png);
    let length = u32::try_from(text.len()).ok()?.to_le_bytes();
    let bytes = [&length, text.as_slice(), png].concat();
    (bytes.len() <= MAX_ENTRY_BYTES).then_some(bytes)
}

fn unpack(bytes: &[u8]) -> Option<Answer> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (text, png) = rest.split_at_checked(length)?;
    let packed: Packed = serde_json::from_slice(text).ok()?;
    let n = packed.labels.len();
    let is_whole = n > 0
        && packed.probabilities.len() == n
        && packed
            .probabilities
            .iter()
            .chain(&packed.logits)
            .all(|v| v.is_finite())
        && packed.gradcam_ms.is_finite()
        && packed.heat_map.is_some() != png.is_empty();
    if !is_whole {
        return None;
    }
    let heat_map = match packed.heat_map {
        None => None,
        Some(map) => Some(HeatMap {
            png: png.to_vec().into(),
            size: map.size,
            map_size: map.map_size,
            layer: map.layer,
            class: map.class,
            method: Method::ALL
                .into_iter()
                .map(Method::name)
                .find(|name| *name == map.method)?,
            blank: map.blank,
        }),
    };
    let [decode, preprocess, inference] = packed.timing.map(Duration::from_nanos);
    Some(Answer {
        model: packed.model,
        prediction: Prediction {
            probabilities: packed.probabilities,
            logits: packed.logits,
            timing: Timing {
                decode,
                preprocess,
                inference,
            },
        },
        labels: packed.labels.into(),
        photo: packed.photo,
        missing_fields: packed.missing_fields,
        used_fields: packed.used_fields,
        heat_map,
        gradcam_ms: packed.gradcam_ms,
    })
}

fn file_key(file: Digest) -> String {
    format!("dermal:file:{}", file.hex())
}

fn answer_key(key: Digest) -> String {
    format!("dermal:answer:{}", key.hex())
}

impl Shared {
    /// Must be called on a thread of the runtime.
    pub(in crate::serve) fn new(store: Arc<Store>, expiry: Duration) -> Self {
        Self {
            store,
            expiry,
            runtime: Handle::current(),
            writes: Arc::new(Semaphore::new(MOST_WRITES)),
        }
    }

    /// The hash of a file's pixels, if any replica has seen the file, and the answer to a question
    /// about them. An error means that Redis could not be reached in time.
    pub(in crate::serve) async fn by_file(
        &self,
        file: Digest,
        pixels: Option<Digest>,
        question: Digest,
    ) -> Result<(Option<Digest>, Option<Answer>), ()> {
        let mut connection = self.store.current_connection().ok_or(())?;
        let look = async {
            let pixels = if pixels.is_some() {
                pixels
            } else {
                let found: Option<Vec<u8>> = connection.get(file_key(file)).await?;
                found.and_then(|bytes| bytes.try_into().ok()).map(Digest)
            };
            let Some(pixels) = pixels else {
                return RedisResult::Ok((None, None));
            };
            let key = answer_key(Digest::of_answer(question, pixels));
            let found: Option<Vec<u8>> = connection.get(key).await?;
            Ok((Some(pixels), found))
        };
        let found = tokio::time::timeout(TIMEOUT, look).await;
        let (pixels, found) = found.map_err(drop)?.map_err(drop)?;
        let answer = match found {
            None => None,
            Some(bytes) => Some(unpack(&bytes).ok_or(())?),
        };
        Ok((pixels, answer))
    }

    /// The answer to a question about pixels. Must not be called on a thread of the runtime.
    pub(in crate::serve) fn by_pixels(&self, key: Digest) -> Result<Option<Answer>, ()> {
        let mut connection = self.store.current_connection().ok_or(())?;
        let get = async {
            let get = connection.get::<_, Option<Vec<u8>>>(answer_key(key));
            tokio::time::timeout(TIMEOUT, get).await
        };
        let found = self.runtime.block_on(get).map_err(drop)?.map_err(drop)?;
        match found {
            None => Ok(None),
            Some(bytes) => unpack(&bytes).map(Some).ok_or(()),
        }
    }

    /// Shares an answer in the background.
    pub(in crate::serve) fn keep(
        &self,
        file: Digest,
        pixels: Digest,
        question: Digest,
        answer: &Arc<Answer>,
    ) {
        let Some(bytes) = pack(answer) else {
            return;
        };
        let key = answer_key(Digest::of_answer(question, pixels));
        self.write(vec![(file_key(file), pixels.0.to_vec()), (key, bytes)]);
    }

    /// Shares the hash of a file's pixels.
    pub(in crate::serve) fn keep_file(&self, file: Digest, pixels: Digest) {
        self.write(vec![(file_key(file), pixels.0.to_vec())]);
    }

    fn write(&self, entries: Vec<(String, Vec<u8>)>) {
        let Some(mut connection) = self.store.current_connection() else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else {
            return;
        };
        let expiry = u64::try_from(self.expiry.as_millis()).unwrap_or(u64::MAX);
        self.runtime.spawn(async move {
            let _permit = permit;
            for (key, value) in entries {
                let options = SetOptions::default().with_expiration(PX(expiry.max(1)));
                let set: RedisResult<()> = connection.set_options(key, value, options).await;
                if let Err(error) = set {
                    // Another replica will compute it again.
                    tracing::debug!(%error, "an answer could not be shared");
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    fn with_map() -> Answer {
        Answer {
            heat_map: Some(HeatMap {
                png: axum::body::Bytes::from_static(b"\x89PNG..."),
                size: [3, 2],
                map_size: [7, 7],
                layer: "top \"activation\"".into(),
                class: Some("b".into()),
                method: "gradcam++",
                blank: false,
            }),
            gradcam_ms: 4.25,
            ..answer()
        }
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        for answer in [answer(), with_map()] {
            let again = unpack(&pack(&answer).unwrap()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{answer:?}"));
            assert_eq!(again.prediction, answer.prediction);
        }
        let mut large = with_map();
        large.heat_map.as_mut().unwrap().png = vec![0; MAX_ENTRY_BYTES].into();
        assert!(pack(&large).is_none());
    }

    #[test]
    fn damaged_entries_are_misses() {
        let whole = pack(&with_map()).unwrap();
        for cut in [0, 3, 4, 50, whole.len() - 9] {
            assert!(unpack(&whole[..cut]).is_none(), "{cut}");
        }
        for (from, to) in [
            ("[0.25,0.75]", "[0.25]"),
            ("\"gradcam++\"", "\"guesswork\""),
            ("\"heat_map\":{", "\"heat_map\":null,\"x\":{"),
        ] {
            let text = String::from_utf8_lossy(&whole[4..whole.len() - 7]).replace(from, to);
            let length = u32::try_from(text.len()).unwrap().to_le_bytes();
            let bytes = [&length, text.as_bytes(), b"\x89PNG..."].concat();
            assert!(unpack(&bytes).is_none(), "{from}");
        }
    }
}
