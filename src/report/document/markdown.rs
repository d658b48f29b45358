//! GitHub's Markdown (<https://github.github.com/gfm/>).

use super::{Align, Block, Document, Grid};

pub(super) fn render(document: &Document) -> String {
    let mut parts = vec![format!("# {}", escape(&document.title))];
    parts.push(escape(&document.subtitle));
    for block in &document.blocks {
        match block {
            Block::Heading(text) => parts.push(format!("## {}", escape(text))),
            // Two spaces at the end of a line break it.
            Block::Text(text) => {
                let lines: Vec<String> = text.lines().map(escape).collect();
                parts.push(lines.join("  \n"));
            }
            Block::Verdict { sentence, .. } => parts.push(format!("**{}**", escape(sentence))),
            Block::Table(grid) => parts.push(table(grid)),
            Block::Plot { .. } | Block::Gallery(_) => {}
        }
    }
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn table(grid: &Grid) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.collect();
        format!("| {} |", cells.join(" | "))
    };
    let mut lines = vec![line(&mut grid.columns.iter().map(|c| escape(&c.0)))];
    lines.push(line(&mut grid.columns.iter().map(|column| {
        match column.1 {
            Align::Left => ":--",
            Align::Right => "--:",
        }
        .to_owned()
    })));
    for row in &grid.rows {
        lines.push(line(&mut row.iter().map(|cell| escape(cell))));
    }
    lines.join("\n")
}

/// Text without the characters that Markdown would interpret.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '|' | '#' | '&' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\n' | '\r' => escaped.push(' '),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}
