//! Answers for photos that come again: the same bytes, the same model, the same options.
//!
//! The key is a hash of the file as it was sent, so that a hit costs neither decoding nor inference
//! (of a large photo decoding is the greater part). Photos are not kept, only answers; when they
//! take too many bytes, the ones that were not asked for longest go first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::ask::{Ask, Subject};
use super::session::Answer;

/// What an answer without its heat map takes at most: names, a handful of numbers.
const ANSWER_BYTES: u64 = 2048;

/// Names one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

#[derive(Debug)]
struct Entry {
    answer: Arc<Answer>,
    bytes: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Entries {
    map: HashMap<Key, Entry>,
    bytes: u64,
    clock: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Cache {
    entries: Mutex<Entries>,
    limit: u64,
}

impl Key {
    /// The key of a question to `model`; tensors have none.
    pub(super) fn of(model: &str, ask: &Ask) -> Option<Self> {
        let Subject::Photo(photo) = &ask.subject else {
            return None;
        };
        let mut hasher = blake3::Hasher::new();
        // `Debug` shows every option, and quotes texts, so that none runs into the next.
        let options = format!(
            "{model:?} {:?} {:?} {:?}",
            ask.heat_map, ask.fields, ask.inputs
        );
        hasher.update(&(options.len() as u64).to_le_bytes());
        hasher.update(options.as_bytes());
        hasher.update(photo);
        Some(Self(*hasher.finalize().as_bytes()))
    }
}

impl Cache {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            entries: Mutex::default(),
            limit,
        }
    }

    /// Whether answers are kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.limit > 0
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Answer>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let now = entries.clock;
        let entry = entries.map.get_mut(key)?;
        entry.used = now;
        Some(Arc::clone(&entry.answer))
    }

    pub(super) fn put(&self, key: Key, answer: &Arc<Answer>) {
        let picture = answer.heat_map.as_ref().map_or(0, |map| map.png.len());
        let bytes = ANSWER_BYTES + picture as u64;
        if bytes > self.limit {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let entry = Entry {
            answer: Arc::clone(answer),
            bytes,
            used: entries.clock,
        };
        if let Some(old) = entries.map.insert(key, entry) {
            entries.bytes -= old.bytes;
        }
        entries.bytes += bytes;
        while entries.bytes > self.limit {
            let oldest = entries.map.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some(old) = entries.map.remove(&oldest) {
                entries.bytes -= old.bytes;
            }
        }
    }

    /// Bytes of the answers that are kept.
    pub(super) fn bytes(&self) -> u64 {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{Prediction, Timing};
    use axum::body::Bytes;

    fn ask(photo: &'static [u8], field: &str) -> Ask {
        Ask {
            subject: Subject::Photo(Bytes::from_static(photo)),
            heat_map: None,
            fields: vec![("age".into(), field.into())],
            inputs: Vec::new(),
        }
    }

    fn answer() -> Arc<Answer> {
        Arc::new(Answer {
            model: "m".into(),
            prediction: Prediction {
                probabilities: vec![1.0],
                logits: vec![0.0],
                timing: Timing::default(),
            },
            labels: Arc::from(vec!["a".to_owned()]),
            photo: None,
            missing_fields: Vec::new(),
            used_fields: Vec::new(),
            heat_map: None,
            gradcam_ms: 0.0,
        })
    }

    #[test]
    fn everything_that_matters_is_in_the_key() {
        let key = |model: &str, ask: &Ask| Key::of(model, ask).unwrap();
        let base = ask(b"p", "1");
        assert_eq!(key("m", &base), key("m", &ask(b"p", "1")));
        assert_ne!(key("m", &base), key("n", &base));
        assert_ne!(key("m", &base), key("m", &ask(b"q", "1")));
        assert_ne!(key("m", &base), key("m", &ask(b"p", "2")));
        let mut map = base.clone();
        map.heat_map = Some(super::super::ask::HeatMapAsk::default());
        assert_ne!(key("m", &base), key("m", &map));
        let tensor = Ask {
            subject: Subject::Tensor(Vec::new()),
            ..base
        };
        assert!(Key::of("m", &tensor).is_none());
    }

    #[test]
    fn the_answer_not_asked_for_longest_goes_first() {
        let cache = Cache::new(2 * ANSWER_BYTES);
        let keys = [&b"a"[..], b"b", b"c"].map(|photo| Key::of("m", &ask(photo, "1")).unwrap());
        cache.put(keys[0], &answer());
        cache.put(keys[1], &answer());
        assert!(cache.get(&keys[0]).is_some());
        cache.put(keys[2], &answer());
        assert!(cache.get(&keys[0]).is_some());
        assert!(cache.get(&keys[1]).is_none());
        assert_eq!(cache.bytes(), 2 * ANSWER_BYTES);
        let none = Cache::new(0);
        none.put(keys[0], &answer());
        assert_eq!((none.bytes(), none.is_on()), (0, false));
    }
}
