//! Tables and bars for people.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, TableStyle, Width, presets};

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header, without borders. Nothing is wrapped or cut, so that pipes get whole lines.
pub struct Table {
    table: comfy_table::Table,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = Self::plain(columns.len());
        table
            .table
            .set_header(columns.iter().map(|(title, _)| Cell::new(title)));
        table.align(columns.iter().map(|&(_, align)| align));
        table
    }

    /// Names and values, without a header.
    #[must_use]
    pub fn fields() -> Self {
        Self::plain(2)
    }

    fn plain(columns: usize) -> Self {
        let mut table = comfy_table::Table::new();
        let style: TableStyle = presets::NOTHING;
        table.load_style(style);
        table.force_no_tty();
        table.set_constraints(vec![
            ColumnConstraint::LowerBoundary(Width::Fixed(1));
            columns
        ]);
        Self { table }
    }

    fn align(&mut self, aligns: impl Iterator<Item = Align>) {
        for (i, align) in aligns.enumerate() {
            if let Some(column) = self.table.column_mut(i) {
                column.set_cell_alignment(match align {
                    Align::Left => CellAlignment::Left,
                    Align::Right => CellAlignment::Right,
                });
            }
        }
    }

    /// Adds a row. Control characters are replaced.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells
            .into_iter()
            .map(|cell| Cell::new(super::printable(cell.as_ref())));
        self.table.add_row(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.table.lines() {
            // The library puts one column of padding before each line: remove it, and the spaces at
            // the end.
            let line = line
                .strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_owned();
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// A bar of `width` columns, filled to `fraction` in eighths of a column.
#[must_use]
pub fn bar(fraction: f32, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1, so the product is 0..=8 * width; NaN becomes 0"
    )]
    let filled = (fraction.clamp(0.0, 1.0) * (width * 8) as f32).round() as usize;
    let mut text: String = "█".repeat(filled / 8);
    if !filled.is_multiple_of(8) {
        text.push(EIGHTHS[filled % 8]);
    }
    text.extend(std::iter::repeat_n(' ', width - filled.div_ceil(8)));
    text
}

/// A probability for people: `91.3 %`. Only exactly 0 and 1 are shown as such.
#[must_use]
pub fn percent(fraction: f32) -> String {
    let shown = f64::from(fraction) * 100.0;
    if fraction > 0.0 && shown < 0.05 {
        "<0.1 %".to_owned()
    } else if fraction < 1.0 && shown >= 99.95 {
        ">99.9 %".to_owned()
    } else {
        format!("{shown:.1} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_and_ends_no_line_in_spaces() {
        let mut table = Table::new(&[("class", Align::Left), ("n", Align::Right)]);
        table.row(["nv", "12345"]);
        table.row(["a\x1b", "1"]);
        assert_eq!(
            table.to_string(),
            "class      n\nnv     12345\na\u{fffd}         1\n"
        );
    }

    #[test]
    fn bars_fill_in_eighths() {
        assert_eq!(bar(0.0, 3), "   ");
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.5, 3), "█▌ ");
        assert_eq!(bar(0.5 / 24.0, 3), "▏  ");
        assert_eq!(bar(f32::NAN, 2), "  ");
        for i in 0..=100 {
            assert_eq!(bar(i as f32 / 100.0, 20).chars().count(), 20);
        }
    }

    #[test]
    fn only_certainty_is_shown_as_certainty() {
        for (p, text) in [
            (0.0, "0.0 %"),
            (0.0001, "<0.1 %"),
            (0.001, "0.1 %"),
            (0.9134, "91.3 %"),
            (0.999_9, ">99.9 %"),
            (1.0, "100.0 %"),
        ] {
            assert_eq!(percent(p), text);
        }
    }
}
