//! The cache of answers: for the same pixels, the same model and the same options.
//!
//! The key of an answer is a BLAKE3 hash of the upright pixels, their size, the model and the options.
//! A photo that was saved again without loss, or with other metadata, is therefore not computed again.
//! A second map leads from the hash of a file to the hash of its pixels, so that a file that was seen
//! before is not even decoded; for a large photo decoding is most of the work. With Redis, replicas
//! share both maps; a server looks into its own memory first.
//!
//! The cache keeps hashes and answers, never photos. In memory they take a limited number of bytes; in
//! Redis each entry has a largest size and an expiry. If Redis is slow or cannot be reached, that is a
//! miss and never an error. Keys contain the program's version, because another version might decode
//! or answer differently.

mod lru;
mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruMap;
use shared::Shared;

use super::answer::Answer;
use super::question::{Question, Subject};
use super::store::Store;
use crate::predict::Photo;

/// Most bytes that an answer takes without its heat map: names and a handful of numbers.
const ANSWER_BYTES: u64 = 2048;

/// Bytes of one entry that leads from a file's hash to the hash of its pixels.
const FILE_BYTES: u64 = 192;

/// One part in this many of the memory is for such entries.
const FILES_SHARE: u64 = 16;

/// A hash of something.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::serve) struct Digest([u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Digest {
    /// A hash that depends on the meaning of the bytes: the same bytes in another role have another
    /// hash.
    fn of(role: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [role.as_bytes(), env!("CARGO_PKG_VERSION").as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash of a photo file.
    fn of_file(bytes: &[u8]) -> Self {
        Self::of("file", &[bytes])
    }

    /// The hash of a decoded photo, upright and not yet resized.
    fn of_pixels(photo: &Photo) -> Self {
        let size = [photo.width() as u64, photo.height() as u64].map(u64::to_le_bytes);
        let alpha = photo.alpha().unwrap_or_default();
        Self::of("pixels", &[size.as_flattened(), photo.pixels(), alpha])
    }

    /// The hash of a question without its photo.
    fn of_question(model: &str, question: &Question) -> Self {
        // `Debug` writes every option and quotes texts, so two different questions never look alike.
        let options = format!(
            "{:?} {:?} {:?}",
            question.heat_map, question.fields, question.inputs
        );
        Self::of("question", &[model.as_bytes(), options.as_bytes()])
    }

    fn of_answer(question: Self, pixels: Self) -> Self {
        Self::of("answer", &[&question.0, &pixels.0])
    }

    fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// Where an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Level {
    /// In memory, by the file: nothing was decoded.
    MemoryFile,
    /// In Redis, by the file.
    RedisFile,
    /// In memory, by the pixels: decoded, not computed.
    MemoryPixels,
    /// In Redis, by the pixels.
    RedisPixels,
}

impl Level {
    const ALL: [Self; 4] = [
        Self::MemoryFile,
        Self::RedisFile,
        Self::MemoryPixels,
        Self::RedisPixels,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::MemoryFile => "memory_file",
            Self::RedisFile => "redis_file",
            Self::MemoryPixels => "memory_pixels",
            Self::RedisPixels => "redis_pixels",
        }
    }
}

/// How one lookup ended.
#[derive(Clone, Copy, Debug)]
enum Lookup {
    Hit,
    Miss,
    /// Redis could not be reached, was slow, or returned something that is not an answer.
    Failed,
}

impl Lookup {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Failed, "error"),
    ];
}

#[derive(Debug)]
struct InMemory {
    files: LruMap<Digest, Digest>,
    answers: LruMap<Digest, Arc<Answer>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct Cache {
    memory: Mutex<InMemory>,
    limit: u64,
    shared: Option<Shared>,
    lookups: [[AtomicU64; Lookup::ALL.len()]; Level::ALL.len()],
}

/// The keys under which the cache may have the answer to one question.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct CacheKeys {
    file: Digest,
    question: Digest,
    /// Pixels whose answer is known to be missing from Redis, so that it is not looked for again.
    missed: Option<Digest>,
}

impl Cache {
    /// A cache of `limit` bytes in memory. With Redis also a shared one, whose entries live for the
    /// given time.
    pub(in crate::serve) fn new(limit: u64, redis: Option<(Arc<Store>, Duration)>) -> Self {
        let files = limit / FILES_SHARE;
        Self {
            memory: Mutex::new(InMemory {
                files: LruMap::new(files),
                answers: LruMap::new(limit - files),
            }),
            limit,
            shared: redis.map(|(store, expiry)| Shared::new(store, expiry)),
            lookups: Default::default(),
        }
    }

    /// Whether any answers are kept.
    fn is_on(&self) -> bool {
        self.limit > 0 || self.shared.is_some()
    }

    fn memory(&self) -> MutexGuard<'_, InMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, level: Level, look: Lookup) {
        self.lookups[level as usize][look as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The keys of a question to `model`. Answers about tensors are not cached.
    pub(in crate::serve) fn keys(&self, model: &str, question: &Question) -> Option<CacheKeys> {
        match &question.subject {
            Subject::Photo(photo) if self.is_on() && !question.fresh => Some(CacheKeys {
                file: Digest::of_file(photo),
                question: Digest::of_question(model, question),
                missed: None,
            }),
            _ => None,
        }
    }

    /// Looks for the answer by the hash of the file, in memory and then in Redis.
    pub(in crate::serve) async fn by_file(
        &self,
        keys: &mut CacheKeys,
    ) -> Option<(Arc<Answer>, Level)> {
        let pixels = self.memory().files.get(&keys.file);
        let key = pixels.map(|pixels| Digest::of_answer(keys.question, pixels));
        if let Some(answer) = key.and_then(|key| self.memory().answers.get(&key)) {
            self.count(Level::MemoryFile, Lookup::Hit);
            return Some((answer, Level::MemoryFile));
        }
        self.count(Level::MemoryFile, Lookup::Miss);
        let shared = self.shared.as_ref()?;
        let found = shared.by_file(keys.file, pixels, keys.question).await;
        let Ok((pixels, answer)) = found else {
            self.count(Level::RedisFile, Lookup::Failed);
            return None;
        };
        let Some(answer) = answer else {
            self.count(Level::RedisFile, Lookup::Miss);
            keys.missed = pixels;
            return None;
        };
        self.count(Level::RedisFile, Lookup::Hit);
        let answer = Arc::new(answer);
        if let Some(pixels) = pixels {
            self.remember(keys, pixels, &answer);
        }
        Some((answer, Level::RedisFile))
    }

    /// Looks for the answer by the pixels of a decoded photo, and returns their hash too. It waits a
    /// short time for Redis, so it must not be called on a thread of the runtime.
    pub(in crate::serve) fn by_pixels(
        &self,
        keys: &CacheKeys,
        photo: &Photo,
    ) -> (Digest, Option<(Arc<Answer>, Level)>) {
        let pixels = Digest::of_pixels(photo);
        let key = Digest::of_answer(keys.question, pixels);
        let found = {
            let mut memory = self.memory();
            let found = memory.answers.get(&key);
            if found.is_some() {
                memory.files.put(keys.file, pixels, FILE_BYTES);
            }
            found
        };
        if let Some(answer) = found {
            self.count(Level::MemoryPixels, Lookup::Hit);
            return (pixels, Some((answer, Level::MemoryPixels)));
        }
        self.count(Level::MemoryPixels, Lookup::Miss);
        let Some(shared) = &self.shared else {
            return (pixels, None);
        };
        if keys.missed == Some(pixels) {
            return (pixels, None);
        }
        let Ok(found) = shared.by_pixels(key) else {
            self.count(Level::RedisPixels, Lookup::Failed);
            return (pixels, None);
        };
        let Some(answer) = found else {
            self.count(Level::RedisPixels, Lookup::Miss);
            return (pixels, None);
        };
        self.count(Level::RedisPixels, Lookup::Hit);
        let answer = Arc::new(answer);
        self.remember(keys, pixels, &answer);
        shared.keep_file(keys.file, pixels);
        (pixels, Some((answer, Level::RedisPixels)))
    }

    /// Keeps a computed answer.
    pub(in crate::serve) fn keep(&self, keys: &CacheKeys, pixels: Digest, answer: &Arc<Answer>) {
        self.remember(keys, pixels, answer);
        if let Some(shared) = &self.shared {
            shared.keep(keys.file, pixels, keys.question, answer);
        }
    }

    fn remember(&self, keys: &CacheKeys, pixels: Digest, answer: &Arc<Answer>) {
        let picture = answer.heat_map.as_ref().map_or(0, |map| map.png.len());
        let bytes = ANSWER_BYTES + picture as u64;
        let key = Digest::of_answer(keys.question, pixels);
        let mut memory = self.memory();
        memory.files.put(keys.file, pixels, FILE_BYTES);
        memory.answers.put(key, Arc::clone(answer), bytes);
    }

    /// Bytes that the cache holds in memory.
    pub(in crate::serve) fn bytes(&self) -> u64 {
        let memory = self.memory();
        memory.answers.bytes() + memory.files.bytes()
    }

    /// How often each level was asked, with which result: `(level, result, count)`.
    pub(in crate::serve) fn lookups(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = Vec::new();
        for level in Level::ALL {
            let is_redis = matches!(level, Level::RedisFile | Level::RedisPixels);
            for (look, name) in Lookup::ALL {
                // Memory never fails, and without Redis there are no lookups in it.
                if is_redis && self.shared.is_none() || !is_redis && name == "error" {
                    continue;
                }
                let count = self.lookups[level as usize][look as usize].load(Ordering::Relaxed);
                all.push((level.name(), name, count));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{Prediction, Timing};
    use axum::body::Bytes;

    fn ask(photo: &'static [u8], field: &str) -> Question {
        Question {
            subject: Subject::Photo(Bytes::from_static(photo)),
            heat_map: None,
            fields: vec![("age".into(), field.into())],
            inputs: Vec::new(),
            fresh: false,
            heat_map_only: false,
        }
    }

    pub(in crate::serve) fn answer() -> Answer {
        Answer {
            model: "m".into(),
            prediction: Prediction {
                probabilities: vec![0.25, 0.75],
                logits: vec![-0.1, 0.998_612_3],
                timing: Timing {
                    decode: Duration::from_micros(1500),
                    preprocess: Duration::from_nanos(7),
                    inference: Duration::from_millis(20),
                },
            },
            labels: Arc::from(vec!["a".to_owned(), "b".to_owned()]),
            photo: Some([3, 2]),
            missing_fields: vec!["sex".into()],
            used_fields: vec!["age".into()],
            heat_map: None,
            gradcam_ms: 0.0,
        }
    }

    fn photo(first: u8) -> Photo {
        Photo::new(2, 1, vec![first, 2, 3, 4, 5, 6]).unwrap()
    }

    #[test]
    fn everything_that_matters_is_in_the_keys() {
        let base = ask(b"p", "1");
        let question = |model: &str, ask: &Question| Digest::of_question(model, ask);
        assert_eq!(question("m", &base), question("m", &ask(b"q", "1")));
        assert_ne!(question("m", &base), question("n", &base));
        assert_ne!(question("m", &base), question("m", &ask(b"p", "2")));
        let mut map = base.clone();
        map.heat_map = Some(crate::serve::question::HeatMapRequest::default());
        assert_ne!(question("m", &base), question("m", &map));

        let pixels = vec![1, 2, 3, 4, 5, 6];
        let wide = Digest::of_pixels(&photo(1));
        assert_eq!(wide, Digest::of_pixels(&photo(1)));
        assert_ne!(wide, Digest::of_pixels(&photo(9)));
        let tall = Photo::new(1, 2, pixels.clone()).unwrap();
        assert_ne!(
            wide,
            Digest::of_pixels(&tall),
            "the same bytes, another shape"
        );
        let clear = Photo::with_alpha(2, 1, pixels.clone(), Some(vec![0, 255])).unwrap();
        assert_ne!(wide, Digest::of_pixels(&clear));
        assert_ne!(Digest::of_file(&pixels), wide);
        let tensor = Question {
            subject: Subject::Tensor(Vec::new()),
            ..base
        };
        assert!(Cache::new(1 << 20, None).keys("m", &tensor).is_none());
        assert!(Cache::new(0, None).keys("m", &map).is_none());
    }

    #[tokio::test]
    async fn another_file_with_the_same_pixels_is_found_when_it_is_decoded() {
        let cache = Cache::new(1 << 20, None);
        let mut first = cache.keys("m", &ask(b"as JPEG", "1")).unwrap();
        assert!(cache.by_file(&mut first).await.is_none());
        let (pixels, found) = cache.by_pixels(&first, &photo(1));
        assert!(found.is_none());
        cache.keep(&first, pixels, &Arc::new(answer()));
        let (_, level) = cache.by_file(&mut first).await.unwrap();
        assert_eq!(level, Level::MemoryFile);

        let mut second = cache.keys("m", &ask(b"as PNG", "1")).unwrap();
        assert!(cache.by_file(&mut second).await.is_none());
        let (_, found) = cache.by_pixels(&second, &photo(1));
        assert_eq!(found.unwrap().1, Level::MemoryPixels);
        // From now on the file is known.
        assert!(cache.by_file(&mut second).await.is_some());

        // Other options: the pixels of the file are known, the answer is not.
        let mut other = cache.keys("m", &ask(b"as PNG", "2")).unwrap();
        assert!(cache.by_file(&mut other).await.is_none());
        assert!(cache.by_pixels(&other, &photo(1)).1.is_none());
        assert!(cache.bytes() < 1 << 20);
        assert_eq!(
            cache.lookups(),
            [
                ("memory_file", "hit", 2),
                ("memory_file", "miss", 3),
                ("memory_pixels", "hit", 1),
                ("memory_pixels", "miss", 2),
            ]
        );
    }
}
