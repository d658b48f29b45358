//! Answers for pictures that come again: the same pixels, the same model, the same options.
//!
//! An answer's key is a BLAKE3 hash of the upright pixels, their size, the model and the options, so
//! that a photo saved again without loss, or with other metadata, is not computed again. To find it
//! without decoding, a second map leads from the hash of a file to that of its pixels: a file that
//! was seen before costs two hashes and no decoding, and decoding is the greater part of the work for
//! a large photo. With Redis both maps are shared between replicas, behind those in memory.
//!
//! Photos are not kept, only hashes and answers. In memory they take a bounded number of bytes; in
//! Redis each has a largest size and an expiry. A Redis that is slow or away finds nothing, and is
//! never an error. Keys contain the program's version, as another might decode or answer otherwise.

mod memory;
mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memory::Bounded;
use shared::Shared;

use super::ask::{Ask, Subject};
use super::session::Answer;
use super::store::Store;
use crate::predict::Photo;

/// What an answer without its heat map takes at most: names, a handful of numbers.
const ANSWER_BYTES: u64 = 2048;

/// What a file's hash and that of its pixels take, in two maps.
const FILE_BYTES: u64 = 192;

/// Share of the memory that is for hashes of files.
const FILES_SHARE: u64 = 16;

/// A hash of something.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Digest {
    /// A hash that says what it is of: the same bytes in another role have another one.
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

    /// Of a photo's file.
    fn of_file(bytes: &[u8]) -> Self {
        Self::of("file", &[bytes])
    }

    /// Of a photo as the model is shown it, before it is resized.
    fn of_pixels(photo: &Photo) -> Self {
        let size = [photo.width() as u64, photo.height() as u64].map(u64::to_le_bytes);
        let alpha = photo.alpha().unwrap_or_default();
        Self::of("pixels", &[size.as_flattened(), photo.pixels(), alpha])
    }

    /// Of a question to a model but for the photo.
    fn of_question(model: &str, ask: &Ask) -> Self {
        // `Debug` shows every option, and quotes texts, so that none runs into the next.
        let options = format!("{:?} {:?} {:?}", ask.heat_map, ask.fields, ask.inputs);
        Self::of("question", &[model.as_bytes(), options.as_bytes()])
    }

    fn of_answer(question: Self, pixels: Self) -> Self {
        Self::of("answer", &[&question.0, &pixels.0])
    }

    fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// Where an answer may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
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

/// How a look into one level ended.
#[derive(Clone, Copy, Debug)]
enum Look {
    Hit,
    Miss,
    /// Redis was away, slow, or gave what is no answer.
    Failed,
}

impl Look {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Failed, "error"),
    ];
}

#[derive(Debug)]
struct Memory {
    files: Bounded<Digest, Digest>,
    answers: Bounded<Digest, Arc<Answer>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Cache {
    memory: Mutex<Memory>,
    limit: u64,
    shared: Option<Shared>,
    looks: [[AtomicU64; Look::ALL.len()]; Level::ALL.len()],
}

/// One question on its way through the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    file: Digest,
    question: Digest,
    /// Pixels whose answer Redis does not have: not to be looked for there again.
    missed: Option<Digest>,
}

impl Cache {
    /// A cache of `limit` bytes in memory, and one in Redis whose entries live for an expiry, if
    /// there is one.
    pub(super) fn new(limit: u64, redis: Option<(Arc<Store>, Duration)>) -> Self {
        let files = limit / FILES_SHARE;
        Self {
            memory: Mutex::new(Memory {
                files: Bounded::new(files),
                answers: Bounded::new(limit - files),
            }),
            limit,
            shared: redis.map(|(store, expiry)| Shared::new(store, expiry)),
            looks: Default::default(),
        }
    }

    /// Whether answers are kept at all.
    fn is_on(&self) -> bool {
        self.limit > 0 || self.shared.is_some()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, level: Level, look: Look) {
        self.looks[level as usize][look as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What to look for, for a question to `model`; tensors are not kept.
    pub(super) fn wanted(&self, model: &str, ask: &Ask) -> Option<Wanted> {
        match &ask.subject {
            Subject::Photo(photo) if self.is_on() && !ask.fresh => Some(Wanted {
                file: Digest::of_file(photo),
                question: Digest::of_question(model, ask),
                missed: None,
            }),
            _ => None,
        }
    }

    /// Looks for the answer by the file, in memory and then in Redis.
    pub(super) async fn by_file(&self, wanted: &mut Wanted) -> Option<(Arc<Answer>, Level)> {
        let pixels = self.memory().files.get(&wanted.file);
        let key = pixels.map(|pixels| Digest::of_answer(wanted.question, pixels));
        if let Some(answer) = key.and_then(|key| self.memory().answers.get(&key)) {
            self.count(Level::MemoryFile, Look::Hit);
            return Some((answer, Level::MemoryFile));
        }
        self.count(Level::MemoryFile, Look::Miss);
        let shared = self.shared.as_ref()?;
        let found = shared.by_file(wanted.file, pixels, wanted.question).await;
        let Ok((pixels, answer)) = found else {
            self.count(Level::RedisFile, Look::Failed);
            return None;
        };
        let Some(answer) = answer else {
            self.count(Level::RedisFile, Look::Miss);
            wanted.missed = pixels;
            return None;
        };
        self.count(Level::RedisFile, Look::Hit);
        let answer = Arc::new(answer);
        if let Some(pixels) = pixels {
            self.remember(wanted, pixels, &answer);
        }
        Some((answer, Level::RedisFile))
    }

    /// Looks for the answer by a photo that was decoded; gives the hash of its pixels too. To be
    /// called outside of the runtime's threads: it waits for Redis, not long.
    pub(super) fn by_pixels(
        &self,
        wanted: &Wanted,
        photo: &Photo,
    ) -> (Digest, Option<(Arc<Answer>, Level)>) {
        let pixels = Digest::of_pixels(photo);
        let key = Digest::of_answer(wanted.question, pixels);
        let found = {
            let mut memory = self.memory();
            let found = memory.answers.get(&key);
            if found.is_some() {
                memory.files.put(wanted.file, pixels, FILE_BYTES);
            }
            found
        };
        if let Some(answer) = found {
            self.count(Level::MemoryPixels, Look::Hit);
            return (pixels, Some((answer, Level::MemoryPixels)));
        }
        self.count(Level::MemoryPixels, Look::Miss);
        let Some(shared) = &self.shared else {
            return (pixels, None);
        };
        if wanted.missed == Some(pixels) {
            return (pixels, None);
        }
        let Ok(found) = shared.by_pixels(key) else {
            self.count(Level::RedisPixels, Look::Failed);
            return (pixels, None);
        };
        let Some(answer) = found else {
            self.count(Level::RedisPixels, Look::Miss);
            return (pixels, None);
        };
        self.count(Level::RedisPixels, Look::Hit);
        let answer = Arc::new(answer);
        self.remember(wanted, pixels, &answer);
        shared.keep_file(wanted.file, pixels);
        (pixels, Some((answer, Level::RedisPixels)))
    }

    /// Keeps an answer that was computed.
    pub(super) fn keep(&self, wanted: &Wanted, pixels: Digest, answer: &Arc<Answer>) {
        self.remember(wanted, pixels, answer);
        if let Some(shared) = &self.shared {
            shared.keep(wanted.file, pixels, wanted.question, answer);
        }
    }

    fn remember(&self, wanted: &Wanted, pixels: Digest, answer: &Arc<Answer>) {
        let picture = answer.heat_map.as_ref().map_or(0, |map| map.png.len());
        let bytes = ANSWER_BYTES + picture as u64;
        let key = Digest::of_answer(wanted.question, pixels);
        let mut memory = self.memory();
        memory.files.put(wanted.file, pixels, FILE_BYTES);
        memory.answers.put(key, Arc::clone(answer), bytes);
    }

    /// Bytes of what is kept in memory.
    pub(super) fn bytes(&self) -> u64 {
        let memory = self.memory();
        memory.answers.bytes() + memory.files.bytes()
    }

    /// How often each level was looked into, by how that ended: `(level, result, count)`.
    pub(super) fn looks(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = Vec::new();
        for level in Level::ALL {
            let is_redis = matches!(level, Level::RedisFile | Level::RedisPixels);
            for (look, name) in Look::ALL {
                // Memory never fails, and without Redis nothing is looked for there.
                if is_redis && self.shared.is_none() || !is_redis && name == "error" {
                    continue;
                }
                let count = self.looks[level as usize][look as usize].load(Ordering::Relaxed);
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

    fn ask(photo: &'static [u8], field: &str) -> Ask {
        Ask {
            subject: Subject::Photo(Bytes::from_static(photo)),
            heat_map: None,
            fields: vec![("age".into(), field.into())],
            inputs: Vec::new(),
            fresh: false,
            picture_only: false,
        }
    }

    pub(super) fn answer() -> Answer {
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
        let question = |model: &str, ask: &Ask| Digest::of_question(model, ask);
        assert_eq!(question("m", &base), question("m", &ask(b"q", "1")));
        assert_ne!(question("m", &base), question("n", &base));
        assert_ne!(question("m", &base), question("m", &ask(b"p", "2")));
        let mut map = base.clone();
        map.heat_map = Some(super::super::ask::HeatMapAsk::default());
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
        let tensor = Ask {
            subject: Subject::Tensor(Vec::new()),
            ..base
        };
        assert!(Cache::new(1 << 20, None).wanted("m", &tensor).is_none());
        assert!(Cache::new(0, None).wanted("m", &map).is_none());
    }

    #[tokio::test]
    async fn another_file_with_the_same_pixels_is_found_when_it_is_decoded() {
        let cache = Cache::new(1 << 20, None);
        let mut first = cache.wanted("m", &ask(b"as JPEG", "1")).unwrap();
        assert!(cache.by_file(&mut first).await.is_none());
        let (pixels, found) = cache.by_pixels(&first, &photo(1));
        assert!(found.is_none());
        cache.keep(&first, pixels, &Arc::new(answer()));
        let (_, level) = cache.by_file(&mut first).await.unwrap();
        assert_eq!(level, Level::MemoryFile);

        let mut second = cache.wanted("m", &ask(b"as PNG", "1")).unwrap();
        assert!(cache.by_file(&mut second).await.is_none());
        let (_, found) = cache.by_pixels(&second, &photo(1));
        assert_eq!(found.unwrap().1, Level::MemoryPixels);
        // From now on it is known by its file.
        assert!(cache.by_file(&mut second).await.is_some());

        // Other options: the file's pixels are known, their answer is not.
        let mut other = cache.wanted("m", &ask(b"as PNG", "2")).unwrap();
        assert!(cache.by_file(&mut other).await.is_none());
        assert!(cache.by_pixels(&other, &photo(1)).1.is_none());
        assert!(cache.bytes() < 1 << 20);
        assert_eq!(
            cache.looks(),
            [
                ("memory_file", "hit", 2),
                ("memory_file", "miss", 3),
                ("memory_pixels", "hit", 1),
                ("memory_pixels", "miss", 2),
            ]
        );
    }
}
