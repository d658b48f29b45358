//! What commands that run a model share: which model, which engine.

use std::path::Path;

use anyhow::{Context, Result};

use crate::artifact::{self, Model};
use crate::cli::EngineArgs;
use crate::engine::{Engine, Options};
use crate::graph::{Graph, NodeId};
use crate::kernels::Isa;
use crate::memory::budget::CpuBudget;

/// The model of a file, or the embedded one, and the name it goes by.
pub(super) fn load_model(path: Option<&Path>) -> Result<(Model, String)> {
    match path {
        Some(path) => {
            let model = artifact::load(path)
                .with_context(|| format!("cannot load model `{}`", path.display()))?;
            Ok((model, path.display().to_string()))
        }
        None => Ok((artifact::embedded()?, "embedded demo model".to_owned())),
    }
}

/// How the engine is to run: as asked, or with every CPU this process may use.
pub(super) struct EngineChoice {
    pub(super) threads: usize,
    pub(super) isa: Isa,
}

impl EngineChoice {
    pub(super) fn new(args: &EngineArgs) -> Result<Self> {
        let isa = args
            .isa
            .as_deref()
            .map_or_else(|| Ok(Isa::detect()), Isa::by_name)?;
        let threads = args
            .threads
            .map_or_else(|| CpuBudget::detect().threads(), std::num::NonZero::get);
        Ok(Self { threads, isa })
    }

    pub(super) fn engine(&self, graph: &Graph, keep: Vec<NodeId>) -> Result<Engine> {
        let options = Options {
            threads: self.threads,
            isa: self.isa,
            keep,
        };
        Engine::new(graph, &options).context("cannot run the model")
    }
}
