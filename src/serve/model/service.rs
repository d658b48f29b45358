//! Answers questions with the model: looks into the cache first, counts and times what happens. A
//! server and a worker have one each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inference::{Inference, overloaded};
use crate::predict::Limits;
use crate::serve::admission::{Caller, OverloadDetector};
use crate::serve::answer::Served;
use crate::serve::cache::Cache;
use crate::serve::config::ModelConfig;
use crate::serve::error::{ApiError, ServeError};
use crate::serve::metrics::{Metrics, count};
use crate::serve::question::Question;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct ModelService {
    pub inference: Inference,
    pub cache: Arc<Cache>,
    pub overload: Arc<OverloadDetector>,
    pub metrics: Arc<Metrics>,
}

impl ModelService {
    /// Starts the inference thread.
    pub(in crate::serve) fn start(
        model: &Arc<ModelConfig>,
        limits: Limits,
        cache: Cache,
        overload: OverloadDetector,
    ) -> Result<Arc<Self>, ServeError> {
        let (cache, overload) = (Arc::new(cache), Arc::new(overload));
        let inference = Inference::start(
            Arc::clone(model),
            limits,
            Arc::clone(&cache),
            Arc::clone(&overload),
        )?;
        Ok(Arc::new(Self {
            inference,
            cache,
            overload,
            metrics: Arc::default(),
        }))
    }

    /// Answers a question; `until` is when nobody needs the answer any more. Dropping the future
    /// cancels the work.
    pub(in crate::serve) async fn answer(
        &self,
        question: Question,
        caller: Caller,
        until: Instant,
    ) -> Result<Served, ApiError> {
        let served = self.find_or_compute(question, caller, until).await;
        let is_turned_away = matches!(&served, Err(error) if error.retry_after.is_some());
        if caller == Caller::Client && is_turned_away {
            self.overload.turned_away();
        }
        served
    }

    async fn find_or_compute(
        &self,
        question: Question,
        caller: Caller,
        until: Instant,
    ) -> Result<Served, ApiError> {
        let model = self.inference.info();
        let mut keys = model
            .as_ref()
            .and_then(|info| self.cache.keys(&info.id, &question));
        if let Some(keys) = &mut keys
            && let Some((answer, level)) = self.cache.by_file(keys).await
        {
            count(&self.metrics.cache_hits);
            tracing::debug!(?level, "found in the cache");
            return Ok(Served::new(answer, true));
        }
        if caller == Caller::Client && self.overload.would_wait_too_long(Instant::now()) {
            return Err(overloaded());
        }
        let mut unanswered = Unanswered {
            metrics: &self.metrics,
            is_answered: false,
        };
        let lookup = model.zip(keys).map(|(info, keys)| (info.id.clone(), keys));
        let served = self
            .inference
            .answer(question, lookup, (caller, until))
            .await;
        unanswered.is_answered = true;
        let served = served?;
        if served.cached {
            count(&self.metrics.cache_hits);
            return Ok(served);
        }
        count(&self.metrics.cache_misses);
        count(&self.metrics.photos);
        let timing = served.answer.prediction.timing;
        self.metrics.time("decode", timing.decode);
        self.metrics.time("preprocess", timing.preprocess);
        self.metrics.time("inference", timing.inference);
        if served.answer.heat_map.is_some() {
            count(&self.metrics.heat_maps);
            let took = Duration::from_secs_f64(served.answer.gradcam_ms / 1e3);
            self.metrics.time("heat_map", took);
        }
        Ok(served)
    }
}

/// Counts a request whose client left while it waited: its future is dropped before the answer comes.
struct Unanswered<'a> {
    metrics: &'a Metrics,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            count(&self.metrics.client_gone);
        }
    }
}
