//! A report for later or for other people: one content, shown on a terminal, as Markdown for a pull
//! request, or as one HTML file without dependencies.
//!
//! A [`Document`] is a list of blocks in reading order. Each format shows what it can. Only HTML
//! has plots and pictures; the table beside them says the same in numbers.

use std::path::Path;

use maud::Markup;

use super::{Align, Table, printable};

mod html;
mod markdown;
pub mod plot;

/// Whether a word is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As hoped.
    Good,
    /// Not as hoped.
    Bad,
    /// Neither.
    Plain,
}

/// Rows of text under a header.
#[derive(Clone, Debug, Default)]
pub struct Grid {
    /// Titles and alignments of the columns. If all titles are empty, there is no header.
    pub columns: Vec<(String, Align)>,
    /// Cells, as many in each row as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid with these columns and no rows.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            columns: columns.iter().map(|&(t, a)| (t.to_owned(), a)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

/// A photo and the text about it.
#[derive(Clone, Debug)]
pub struct Card {
    /// A small JPEG of it; `None` if there is none.
    pub jpeg: Option<Vec<u8>>,
    /// Its name.
    pub title: String,
    /// Whether its change is good.
    pub tone: Tone,
    /// What happened to it, one entry for each line.
    pub lines: Vec<String>,
}

/// A part of a report.
#[derive(Clone, Debug)]
pub enum Block {
    /// Title of the parts below.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// The conclusion of the report.
    Verdict {
        /// Whether the conclusion is good.
        tone: Tone,
        /// As a word.
        word: String,
        /// As a sentence, which contains the word.
        sentence: String,
    },
    /// Numbers.
    Table(Grid),
    /// A plot, only in HTML.
    Plot {
        /// What it shows and how to read it.
        caption: String,
        /// An `<svg>` of [`plot`].
        svg: Markup,
    },
    /// Photos, only in HTML.
    Gallery(Vec<Card>),
}

/// A report.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its subject.
    pub title: String,
    /// What made it and from what; shown under the title.
    pub subtitle: String,
    /// Its parts in reading order.
    pub blocks: Vec<Block>,
}

/// Formats of a report in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One file with styles, plots and pictures inside, without scripts.
    Html,
    /// Headings, paragraphs and tables of GitHub's Markdown.
    Markdown,
}

impl Form {
    /// The format for a file's name: `.html`, `.htm`, `.md` or `.markdown`.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "html" | "htm" => Some(Self::Html),
            "md" | "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }
}

impl Document {
    /// The whole file in a format.
    #[must_use]
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Html => html::render(self),
            Form::Markdown => markdown::render(self),
        }
    }

    /// For a terminal: the blocks one after the other, without headings.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut parts = Vec::new();
        for block in &self.blocks {
            match block {
                Block::Text(text) => parts.push(format!("{}\n", printable(text))),
                Block::Verdict { sentence, .. } => parts.push(format!("{sentence}\n")),
                Block::Table(grid) => parts.push(text_table(grid)),
                Block::Heading(_) | Block::Plot { .. } | Block::Gallery(_) => {}
            }
        }
        parts.join("\n")
    }
}

fn text_table(grid: &Grid) -> String {
    let columns: Vec<(&str, Align)> = grid.columns.iter().map(|(t, a)| (t.as_str(), *a)).collect();
    let mut table = Table::new(&columns);
    for row in &grid.rows {
        table.row(row);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut grid = Grid::new(&[("class", Align::Left), ("n", Align::Right)]);
        grid.row(["<i>|nv", "3"]);
        Document {
            title: "A & B".to_owned(),
            subtitle: "dermal 1".to_owned(),
            blocks: vec![
                Block::Verdict {
                    tone: Tone::Bad,
                    word: "worse".to_owned(),
                    sentence: "worse: <1 point".to_owned(),
                },
                Block::Heading("Classes".to_owned()),
                Block::Table(grid),
                Block::Gallery(vec![Card {
                    jpeg: Some(vec![1, 2, 3]),
                    title: "\"x\".jpg".to_owned(),
                    tone: Tone::Good,
                    lines: vec!["won".to_owned()],
                }]),
            ],
        }
    }

    #[test]
    fn each_form_says_the_same_and_escapes_what_files_and_labels_bring() {
        let html = document().render(Form::Html);
        for part in [
            "<title>A &amp; B</title>",
            "worse: &lt;1 point",
            "&lt;i&gt;|nv",
            "&quot;x&quot;.jpg",
            "data:image/jpeg;base64,AQID",
        ] {
            assert!(html.contains(part), "{part}:\n{html}");
        }
        assert!(!html.contains("<i>"), "{html}");
        let markdown = document().render(Form::Markdown);
        assert_eq!(
            markdown,
            "# A \\& B\n\ndermal 1\n\n**worse: \\<1 point**\n\n## Classes\n\n\
             | class | n |\n| :-- | --: |\n| \\<i>\\|nv | 3 |\n"
        );
        assert_eq!(
            document().to_text(),
            "worse: <1 point\n\nclass   n\n<i>|nv  3\n"
        );
    }

    #[test]
    fn a_report_takes_nothing_from_elsewhere() {
        let html = document().render(Form::Html);
        for foreign in ["http:", "https:", "<script", "<link", "@import", "url("] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_name_of_a_file_chooses_the_form() {
        for (name, form) in [
            ("a.html", Some(Form::Html)),
            ("a.HTM", Some(Form::Html)),
            ("b.c/a.md", Some(Form::Markdown)),
            ("a.pdf", None),
            ("html", None),
        ] {
            assert_eq!(Form::of(Path::new(name)), form, "{name}");
        }
    }
}
