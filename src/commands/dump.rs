//! `dermal import --dump`: the graph after a stage of the import.

use std::path::Path;

use super::{Context, Result};
use serde::Serialize;

use super::import;
use crate::cli::ImportArgs;
use crate::graph::pass::{self, Level};
use crate::graph::{Dump, dump};
use crate::report::{self, SCHEMA_VERSION};

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    source: String,
    source_format: &'a str,
    stage: &'static str,
    graph: Dump<'a>,
}

pub(super) fn run(args: &ImportArgs, source: &Path, level: Level) -> Result<()> {
    let imported = import::read(args, source)?;
    let graph = pass::rewrite(imported.graph, level)
        .with_context(|| format!("cannot import `{}`", source.display()))?;
    let graph = dump(&graph);
    if args.json {
        return Ok(report::print_json(&Report {
            schema_version: SCHEMA_VERSION,
            source: source.display().to_string(),
            source_format: &imported.source_format,
            stage: level.name(),
            graph,
        })?);
    }
    Ok(report::print(report::printable(&graph.to_string()))?)
}
