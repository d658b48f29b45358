//! Draws the committed fixture pictures and their labels, the same bytes on every run.
//!
//! ```text
//! cargo run --example make_fixtures                     # rewrites fixtures/images and fixtures/labels.csv
//! cargo run --example make_fixtures -- --sheet out.png  # a contact sheet instead, to look at
//! ```

#![expect(clippy::print_stderr, reason = "a program that reports to its user")]

#[allow(
    dead_code,
    reason = "shared with the trainer and a test, which use other parts"
)]
mod synthetic;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, bail};
use dermal::file::atomic;
use image::{RgbImage, imageops};
use synthetic::{CLASSES, FIXTURES_PER_CLASS, Split};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write_fixtures(Path::new("fixtures")),
        ["--sheet", path] => write_sheet(Path::new(path)),
        _ => bail!("expected no arguments or `--sheet FILE.png`, got {arguments:?}"),
    }
}

fn write_fixtures(folder: &Path) -> Result<()> {
    let images = folder.join("images");
    std::fs::create_dir_all(&images)?;
    let mut labels = String::from("file,label\n");
    let mut total_bytes = 0;
    for (class, name) in CLASSES.iter().enumerate() {
        for index in 0..FIXTURES_PER_CLASS {
            let file = synthetic::fixture_name(class, index);
            let bytes = synthetic::photo(Split::Fixture, class, index)?;
            total_bytes += bytes.len();
            atomic::write(&images.join(&file), |out| out.write_all(&bytes))?;
            writeln!(labels, "{file},{name}")?;
        }
    }
    atomic::write(&folder.join("labels.csv"), |out| {
        out.write_all(labels.as_bytes())
    })?;
    let count = CLASSES.len() * FIXTURES_PER_CLASS as usize;
    eprintln!(
        "{count} pictures, {total_bytes} bytes in {}",
        images.display()
    );
    Ok(())
}

/// Rows are classes; half size keeps the sheet on a screen.
fn write_sheet(path: &Path) -> Result<()> {
    const CELL: [u32; 2] = [160, 120];
    let columns = 12;
    let mut sheet = RgbImage::new(CELL[0] * columns, CELL[1] * 7);
    for (class, top) in (0..CLASSES.len()).zip((0..).step_by(CELL[1] as usize)) {
        for index in 0..columns {
            let bytes = synthetic::photo(Split::Fixture, class, index)?;
            let picture = image::load_from_memory(&bytes)?.into_rgb8();
            let [w, h] = CELL;
            let picture = imageops::thumbnail(&picture, w, h);
            imageops::replace(&mut sheet, &picture, i64::from(index * w), top);
        }
    }
    sheet.save(path)?;
    Ok(())
}
