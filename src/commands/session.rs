//! What commands that run a model share: which model, which engine.

use std::path::Path;

use anyhow::{Context, Result};

use super::failure;
use crate::artifact::{self, FieldMapping, Model, VectorInput};
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

/// Longest mapping file that is read; the mapping's own limit is below it.
const MAX_MAPPING_BYTES: u64 = 1 << 20;

/// The mapping of fields in a file, checked against the extra inputs of a model.
pub(super) fn read_field_mapping(path: &Path, inputs: &[VectorInput<'_>]) -> Result<FieldMapping> {
    let context = || format!("cannot use the field mapping `{}`", path.display());
    let bytes = path.metadata().with_context(context)?.len();
    if bytes > MAX_MAPPING_BYTES {
        return Err(failure(
            format!(
                "`{}` has {bytes} bytes, too many for a mapping",
                path.display()
            ),
            "give a short YAML file as in docs/fields.md",
        ));
    }
    let text = std::fs::read_to_string(path).with_context(context)?;
    FieldMapping::from_yaml(&text, inputs).with_context(context)
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
