//! What commands that run a model share: which model, which engine.

use std::path::Path;

use anyhow::{Context, Result};

use crate::artifact::{self, Model, SelfTest};
use crate::cli::EngineArgs;
use crate::engine::{Engine, Options};
use crate::graph::{Graph, NodeId};
use crate::kernels::Isa;
use crate::memory::budget::CpuBudget;
use crate::predict::{Predictor, selftest};

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

/// A question with the model's answer, for the artifact. On the portable kernels, so that the same
/// import gives the same file on every machine. `None` where the model cannot answer: a server then
/// starts without a test, which `/readyz` says.
pub(super) fn self_test(model: &Model) -> Option<SelfTest> {
    let options = Options {
        isa: Isa::by_name("portable").ok()?,
        threads: CpuBudget::detect().threads(),
        keep: Vec::new(),
    };
    let engine = Engine::new(&model.graph, &options).ok()?;
    let mut predictor = Predictor::new(model, engine).ok()?;
    selftest::record(model, &mut predictor).ok()
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
