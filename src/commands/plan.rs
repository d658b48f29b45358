//! `dermal inspect --plan`: where each value lies in the arena, and for how long.

use super::Result;
use serde::Serialize;

use crate::artifact::Model;
use crate::engine::Plan;
use crate::report::{self, Align, SCHEMA_VERSION, Table};
use crate::units::Bytes;

/// Columns for a node's name: together with the numbers a line then has 80.
const NAME: usize = 33;

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: &'a str,
    arena_bytes: usize,
    /// The step that runs when most bytes are live; absent for a model without steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_step: Option<usize>,
    worst_live_bytes: usize,
    /// The node that each step makes.
    steps: Vec<&'a str>,
    values: Vec<Value<'a>>,
}

#[derive(Serialize)]
struct Value<'a> {
    node: &'a str,
    offset_bytes: usize,
    size_bytes: usize,
    /// The step that writes it; null for an input.
    first_step: Option<usize>,
    /// The last step that reads it; null for a value that stays readable after a run.
    last_step: Option<usize>,
    /// Whether it overwrites the step's first input.
    in_place: bool,
}

pub(super) fn run(model: &Model, name: &str, json: bool) -> Result<()> {
    let report = Report::of(model, name);
    if json {
        return Ok(report::print_json(&report)?);
    }
    report.print()
}

impl<'a> Report<'a> {
    fn of(model: &'a Model, name: &'a str) -> Self {
        const WORD: usize = size_of::<f32>();
        let graph = &model.graph;
        let plan = Plan::new(graph, &[]);
        let worst = plan.worst_moment();
        let values = plan.values.iter().map(|value| Value {
            node: &graph.node(value.node).name,
            offset_bytes: value.offset * WORD,
            size_bytes: value.words * WORD,
            first_step: value.first,
            last_step: value.last,
            in_place: value.first.is_some_and(|step| plan.steps[step].in_place),
        });
        Self {
            schema_version: SCHEMA_VERSION,
            model: name,
            arena_bytes: plan.arena_len * WORD,
            worst_step: worst.map(|(step, _)| step),
            worst_live_bytes: worst.map_or(0, |(_, len)| len * WORD),
            steps: (plan.steps.iter())
                .map(|step| graph.node(step.node).name.as_str())
                .collect(),
            values: values.collect(),
        }
    }

    fn print(&self) -> Result<()> {
        let mut fields = Table::fields();
        fields.row(["model", self.model]);
        fields.row(["arena", &Bytes(self.arena_bytes as u64).to_string()]);
        if let Some(step) = self.worst_step {
            let live = Bytes(self.worst_live_bytes as u64);
            fields.row(["most is live", &format!("{live}, during step {step}")]);
        }
        let mut table = Table::new(&[
            ("step", Align::Right),
            ("value", Align::Left),
            ("offset", Align::Right),
            ("bytes", Align::Right),
            ("last read", Align::Right),
        ]);
        for value in &self.values {
            let or = |step: Option<usize>, other: &str| {
                step.map_or_else(|| other.to_owned(), |step| step.to_string())
            };
            table.row([
                or(value.first_step, "in"),
                shortened(value.node, value.in_place),
                value.offset_bytes.to_string(),
                value.size_bytes.to_string(),
                or(value.last_step, "kept"),
            ]);
        }
        let notes = "`in`: an input. `=`: in the place of its first input. `kept`: to the end.";
        Ok(report::print(format!("{fields}\n{table}\n{notes}\n"))?)
    }
}

/// The end of a name, which tells layers apart, in at most [`NAME`] columns.
fn shortened(name: &str, in_place: bool) -> String {
    let mark = if in_place { "= " } else { "" };
    let room = NAME - mark.len();
    let len = name.chars().count();
    if len <= room {
        return format!("{mark}{name}");
    }
    let end: String = name.chars().skip(len - (room - 3)).collect();
    format!("{mark}...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("conv", false), "conv");
        assert_eq!(shortened("conv", true), "= conv");
        let long = format!("{}/block14_sepconv2_act", "backbone/".repeat(5));
        for in_place in [false, true] {
            let short = shortened(&long, in_place);
            assert_eq!(short.chars().count(), NAME, "{short}");
            assert!(short.ends_with("/block14_sepconv2_act"), "{short}");
        }
    }
}
