//! Runs a graph: plans it once, then computes any number of photos in the same memory.
//!
//! In: a [`Graph`] with packed weights (f32, f16, bf16 or i8), and each input's floats (`HWC`,
//! row-major). Out: the output's floats, and those of the values in [`Options::keep`]. Weights are
//! read in place (in the mapped artifact). Everything else lies in one arena whose size is known
//! before the first run, and a run allocates nothing.
//!
//! Not here: gradients (`reference`), pixels (`predict`), measuring (`memory`).

use std::borrow::Cow;
use std::time::Duration;

use crate::graph::{Graph, NodeId};
use crate::hint::{Arguments, BUG, Hint, named};
use crate::kernels::{Isa, Memory, Program, ProgramError, SLACK, Threads, ThreadsError};
use crate::quantization::Quantization;

pub mod arena;
pub mod bench;
mod lower;
mod plan;

pub use lower::LowerError;
pub use plan::{PlacedValue, Plan, Step};

/// How an engine runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that share the work of one photo, including the caller's.
    pub threads: usize,
    /// The tier of kernels.
    pub isa: Isa,
    /// Values that stay readable after a run, besides the output.
    pub keep: Vec<NodeId>,
}

impl Options {
    /// Uses the kernels that every CPU has; their results are the same everywhere.
    #[must_use]
    pub fn portable(threads: usize) -> Self {
        Self {
            threads,
            isa: Isa::Portable,
            keep: Vec::new(),
        }
    }
}

impl Default for Options {
    /// One thread on the best tier.
    fn default() -> Self {
        Self {
            threads: 1,
            isa: Isa::detect(),
            keep: Vec::new(),
        }
    }
}

/// Why a graph cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A node has no kernel for its attributes or dtype.
    #[error("node `{node}` ({op}) cannot be run")]
    Lower {
        /// The node.
        node: String,
        /// Its op.
        op: &'static str,
        /// What is missing.
        source: LowerError,
    },
    /// A step does not match its memory, which is a bug in the planner.
    #[error("node `{node}`: the plan is not valid")]
    Program {
        /// The node.
        node: String,
        /// What does not match.
        source: ProgramError,
    },
    /// The operating system refuses more threads.
    #[error("cannot start {threads} threads; give fewer with `--threads`")]
    Threads {
        /// The requested number.
        threads: usize,
        /// Its answer.
        source: ThreadsError,
    },
}

impl Hint for EngineError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Lower { .. } => "lower",
            Self::Program { .. } => "program",
            Self::Threads { .. } => "threads",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Lower { source, .. } => source.hint(),
            Self::Program { .. } => BUG.to_owned(),
            Self::Threads { source, .. } => source.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Lower { node, op, .. } => named!(node, op),
            Self::Program { node, .. } => named!(node),
            Self::Threads { threads, .. } => named!(threads),
        }
    }
}

/// The time of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The node it makes.
    pub node: NodeId,
    /// The kernel that makes it.
    pub kernel: &'static str,
    /// How long it took, including the wait for the slowest thread.
    pub time: Duration,
}

/// A planned graph with its memory. See the module's documentation.
pub struct Engine {
    plan: Plan,
    lens: Vec<usize>,
    quantizations: Vec<Option<Quantization>>,
    output: NodeId,
    program: Program,
    memory: Memory,
    threads: Threads,
    times: Vec<Duration>,
}

impl Engine {
    /// Plans the graph and allocates its memory.
    ///
    /// # Errors
    /// [`EngineError`] if a node has no kernel.
    pub fn new(graph: &Graph, options: &Options) -> Result<Self, EngineError> {
        let plan = Plan::new(graph, &options.keep);
        let mut program = Program::new(plan.arena_len + SLACK);
        for step in &plan.steps {
            let node = graph.node(step.node);
            let op =
                lower::prepare(graph, step, options.isa).map_err(|source| EngineError::Lower {
                    node: node.name.clone(),
                    op: node.op.name(),
                    source,
                })?;
            // The planner gives every value of a step an offset.
            let at = |id: NodeId| plan.offset(id).unwrap_or(usize::MAX);
            let inputs: Vec<usize> = step.inputs.iter().map(|&input| at(input)).collect();
            program
                .push(op, &inputs, at(step.node))
                .map_err(|source| EngineError::Program {
                    node: node.name.clone(),
                    source,
                })?;
        }
        let threads = Threads::new(options.threads).map_err(|source| EngineError::Threads {
            threads: options.threads,
            source,
        })?;
        let memory = Memory::new(&program, &threads);
        Ok(Self {
            lens: graph.nodes().iter().map(|node| node.shape.len()).collect(),
            quantizations: graph.nodes().iter().map(|node| node.quantization).collect(),
            output: graph.output(),
            times: vec![Duration::ZERO; plan.steps.len()],
            plan,
            program,
            memory,
            threads,
        })
    }

    /// The plan that the engine runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The kernel of each step, in the order of the plan.
    pub fn kernel_names(&self) -> impl Iterator<Item = &'static str> {
        self.program.kernel_names()
    }

    /// Bytes of the arena and of all threads' scratch.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.program.memory_bytes(self.threads.count())
    }

    /// Bytes of scratch of one thread.
    #[must_use]
    pub fn scratch_bytes(&self) -> usize {
        self.program.memory_bytes(1) - self.program.memory_bytes(0)
    }

    /// An input's floats. Fill them before each run, because a run may overwrite them.
    ///
    /// # Panics
    /// If `id` is not a value that the plan stores.
    pub fn input_mut(&mut self, id: NodeId) -> &mut [f32] {
        let range = self.range(id);
        &mut self.memory.values_mut()[range]
    }

    /// Computes the output from the inputs.
    pub fn run(&mut self) {
        self.program.run(&mut self.memory, &self.threads, None);
    }

    /// Computes only step `index` of the plan, so that its value can be read before a later step
    /// overwrites it. A run is all steps in order.
    ///
    /// # Panics
    /// If the plan has no such step.
    pub fn run_step(&mut self, index: usize) {
        self.program
            .run_calls(index..index + 1, &mut self.memory, &self.threads, None);
    }

    /// Like [`Engine::run`], with the time of each step.
    pub fn run_profiled(&mut self) -> Vec<StepTime> {
        self.program
            .run(&mut self.memory, &self.threads, Some(&mut self.times));
        let steps = self
            .plan
            .steps
            .iter()
            .zip(self.program.kernel_names())
            .zip(&self.times);
        steps
            .map(|((step, kernel), &time)| StepTime {
                node: step.node,
                kernel,
                time,
            })
            .collect()
    }

    /// The output's floats after a run.
    #[must_use]
    pub fn output(&self) -> &[f32] {
        &self.memory.values()[self.range(self.output)]
    }

    /// A kept value's numbers after a run. If the value is stored in bytes, the numbers are
    /// computed here. Another value may have been overwritten.
    ///
    /// # Panics
    /// If `id` is not a value that the plan stores.
    #[must_use]
    pub fn value(&self, id: NodeId) -> Cow<'_, [f32]> {
        let stored = &self.memory.values()[self.range(id)];
        match self.quantizations[id.0] {
            None => Cow::Borrowed(stored),
            Some(map) => {
                let bytes = &bytemuck::cast_slice::<f32, u8>(stored)[..self.lens[id.0]];
                bytes.iter().map(|&q| map.dequantize(q)).collect()
            }
        }
    }

    fn range(&self, id: NodeId) -> std::ops::Range<usize> {
        let Some(start) = self.plan.offset(id) else {
            panic!("node {} is not stored: name it in `Options::keep`", id.0)
        };
        let words = match self.quantizations[id.0] {
            None => self.lens[id.0],
            Some(_) => self.lens[id.0].div_ceil(size_of::<f32>()),
        };
        start..start + words
    }
}
