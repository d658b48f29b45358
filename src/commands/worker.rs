//! `dermal worker`: turns the command line and environment into a [`serve::WorkerConfig`].

use std::sync::Arc;
use std::time::Duration;

use super::{Context, Result};

use super::{engine_options, service};
use crate::cli::WorkerArgs;
use crate::serve::{self, ModelConfig, WorkerConfig};

pub(super) fn run(args: &WorkerArgs) -> Result<()> {
    let config = config(args)?;
    service::set_up(args.log.log_format, args.log.log_level);
    serve::work(config).context("cannot work")
}

fn config(args: &WorkerArgs) -> Result<WorkerConfig> {
    let choice = engine_options(&args.engine)?;
    Ok(WorkerConfig {
        model: Arc::new(ModelConfig {
            path: args.model.clone(),
            preload: true,
            // The server decides about heat maps when it accepts a job.
            gradcam: true,
            threads: choice.threads,
            isa: choice.isa,
        }),
        redis: service::redis(&args.redis, args.redis_ca.as_deref())?,
        budget_bytes: service::budget_bytes(args.budget),
        max_upload_bytes: args.max_upload,
        max_pixels: args.max_pixels,
        deadline: Duration::from_secs_f64(args.timeout),
        visibility: Duration::from_secs_f64(args.visibility),
        max_deliveries: args.max_deliveries,
        cache_expiry: Duration::from_secs_f64(args.cache_expiry),
        grace: Duration::from_secs_f64(args.grace),
    })
}
