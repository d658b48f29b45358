//! Where questions are put to the model: through the cache, counted and timed. Servers and workers
//! have one each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::Ask;
use super::cache::Cache;
use super::config::ModelConfig;
use super::error::{ApiError, ServeError};
use super::load::{Load, Patience};
use super::metrics::{Metrics, count};
use super::pool::{Pool, overloaded};
use super::session::Answer;
use crate::predict::Limits;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Desk {
    pub pool: Pool,
    pub cache: Arc<Cache>,
    pub load: Arc<Load>,
    pub metrics: Metrics,
}

/// An answer, and whether it was computed for this question.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub answer: Arc<Answer>,
    pub cached: bool,
}

impl Desk {
    /// Starts the inference thread.
    pub(super) fn open(
        model: &Arc<ModelConfig>,
        limits: Limits,
        cache: Cache,
        load: Load,
    ) -> Result<Arc<Self>, ServeError> {
        let (cache, load) = (Arc::new(cache), Arc::new(load));
        let pool = Pool::start(
            Arc::clone(model),
            limits,
            Arc::clone(&cache),
            Arc::clone(&load),
        )?;
        Ok(Arc::new(Self {
            pool,
            cache,
            load,
            metrics: Metrics::default(),
        }))
    }

    /// Answers a question until it is of no use any more. Dropping the future drops the work.
    pub(super) async fn answer(
        &self,
        ask: Ask,
        patience: Patience,
        until: Instant,
    ) -> Result<Given, ApiError> {
        let given = self.find_or_compute(ask, patience, until).await;
        let is_sent_away = matches!(&given, Err(error) if error.retry_after.is_some());
        if patience == Patience::Client && is_sent_away {
            self.load.sent_away();
        }
        given
    }

    async fn find_or_compute(
        &self,
        ask: Ask,
        patience: Patience,
        until: Instant,
    ) -> Result<Given, ApiError> {
        let model = self.pool.info();
        let mut wanted = model
            .as_ref()
            .and_then(|info| self.cache.wanted(&info.id, &ask));
        if let Some(wanted) = &mut wanted
            && let Some((answer, level)) = self.cache.by_file(wanted).await
        {
            count(&self.metrics.cache_hits);
            tracing::debug!(?level, "found in the cache");
            return Ok(Given {
                answer,
                cached: true,
            });
        }
        if patience == Patience::Client && self.load.would_wait(Instant::now()) {
            return Err(overloaded());
        }
        let mut waiting = Waiting {
            metrics: &self.metrics,
            answered: false,
        };
        let lookup = model
            .zip(wanted)
            .map(|(info, wanted)| (info.id.clone(), wanted));
        let given = self.pool.answer(ask, lookup, (patience, until)).await;
        waiting.answered = true;
        let answered = given?;
        let answer = answered.answer;
        if let Some(level) = answered.found {
            count(&self.metrics.cache_hits);
            tracing::debug!(?level, "found in the cache");
            return Ok(Given {
                answer,
                cached: true,
            });
        }
        count(&self.metrics.cache_misses);
        count(&self.metrics.photos);
        let timing = answer.prediction.timing;
        self.metrics.time("decode", timing.decode);
        self.metrics.time("preprocess", timing.preprocess);
        self.metrics.time("inference", timing.inference);
        if answer.heat_map.is_some() {
            count(&self.metrics.heat_maps);
            let took = Duration::from_secs_f64(answer.gradcam_ms / 1e3);
            self.metrics.time("heat_map", took);
        }
        if let Some((wanted, pixels)) = wanted.zip(answered.pixels) {
            self.cache.keep(&wanted, pixels, &answer);
        }
        Ok(Given {
            answer,
            cached: false,
        })
    }
}

/// Counts a request whose client left while it waited: its future is dropped before the answer.
struct Waiting<'a> {
    metrics: &'a Metrics,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            count(&self.metrics.client_gone);
        }
    }
}
