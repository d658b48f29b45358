//! One HTML file: styles inside, no script, nothing from the network; readable on a phone, in dark
//! mode and on paper.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Align, Block, Card, Document, Grid, Tone};

const STYLE: &str = include_str!("style.css");

pub(super) fn render(document: &Document) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (document.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (document.title) }
                    p { (document.subtitle) }
                }
                main { @for block in &document.blocks { (self::block(block)) } }
            }
        }
    }
    .into_string()
}

fn block(block: &Block) -> Markup {
    match block {
        Block::Heading(text) => html! { h2 { (text) } },
        Block::Text(text) => html! { p { (text) } },
        Block::Verdict {
            tone,
            word,
            sentence,
        } => html! {
            section.verdict.(class(*tone)) {
                strong { (word) }
                p { (sentence) }
            }
        },
        Block::Table(grid) => table(grid),
        Block::Plot { caption, svg } => html! {
            figure { (svg) figcaption { (caption) } }
        },
        Block::Gallery(cards) => html! {
            ul.gallery { @for card in cards { (self::card(card)) } }
        },
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Plain => "plain",
    }
}

/// A table that is wider than the page scrolls on its own; `tabindex` makes that possible with a
/// keyboard.
fn table(grid: &Grid) -> Markup {
    let aligned = |i: usize| match grid.columns.get(i) {
        Some((_, Align::Right)) => "right",
        _ => "left",
    };
    html! {
        div.wide tabindex="0" {
            table {
                thead { tr {
                    @for (i, column) in grid.columns.iter().enumerate() {
                        th scope="col" class=(aligned(i)) { (column.0) }
                    }
                } }
                tbody {
                    @for row in &grid.rows {
                        tr { @for (i, cell) in row.iter().enumerate() {
                            td class=(aligned(i)) { (cell) }
                        } }
                    }
                }
            }
        }
    }
}

fn card(card: &Card) -> Markup {
    html! {
        li.(class(card.tone)) {
            @if let Some(jpeg) = &card.jpeg {
                img loading="lazy" alt=(card.title)
                    src=(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)));
            }
            b { (card.title) }
            @for line in &card.lines { span { (line) } }
        }
    }
}
