//! What commands that run a model share: which model, which engine.

use anyhow::Result;

use super::engine_options;
use crate::artifact::{Model, SelfTest};
use crate::cli::EngineArgs;
use crate::engine::{Engine, Options};
use crate::kernels::Isa;
use crate::memory::budget::CpuBudget;
use crate::predict::{Predictor, selftest};

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
        let Options { threads, isa, .. } = engine_options(args)?;
        Ok(Self { threads, isa })
    }
}
