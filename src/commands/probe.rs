//! `dermal probe`: finds out whether a deployed server is healthy.

use std::path::Path;
use std::time::Duration;

use super::{Context, Result};
use serde::Serialize;

use super::{CommandError, Outcome};
use crate::cli::ProbeArgs;
use crate::predict::{Limits, decode};
use crate::probe::{self, Facts, Finding, ProbeError, ProbeOptions};
use crate::report::{self, Align, SCHEMA_VERSION, Table};

/// Most photos of a folder that are sent. All of them are kept in memory.
const MAX_PHOTOS: usize = 64;

/// Columns and rows of the generated photo.
const GENERATED: [u32; 2] = [640, 480];

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    healthy: bool,
    findings: &'a [Finding],
    facts: &'a Facts,
}

pub(super) fn run(args: &ProbeArgs) -> Result<Outcome> {
    let options = ProbeOptions {
        url: args.url.trim_end_matches('/').to_owned(),
        photos: match &args.images {
            Some(folder) => read_photos(folder)?,
            None => vec![generated_photo()?],
        },
        requests: args.requests,
        parallel: args.parallel,
        soak: args.minutes.map(|m| Duration::from_secs_f64(m * 60.0)),
        rps: args.rps,
        patience: Duration::from_secs_f64(args.patience),
        max_growth: args.max_growth,
        api_key: args.api_key.clone(),
    };
    let quiet = args.json;
    let facts = probe::run(&options, &mut |what| {
        if !quiet {
            report::note(what);
        }
    })?;
    let findings = facts.findings(&options);
    let healthy = findings.iter().all(|finding| finding.healthy);
    if args.json {
        report::print_json(&Document {
            schema_version: SCHEMA_VERSION,
            healthy,
            findings: &findings,
            facts: &facts,
        })?;
    } else {
        let mut table = Table::new(&[
            ("check", Align::Left),
            ("", Align::Left),
            ("seen", Align::Left),
        ]);
        for finding in &findings {
            let word = if finding.healthy { "ok" } else { "FAILED" };
            table.row([finding.check, word, &report::printable(&finding.detail)]);
        }
        let verdict = if healthy { "healthy" } else { "not healthy" };
        report::print(format!("{table}\n{verdict}\n"))?;
    }
    Ok(if healthy { Outcome::Yes } else { Outcome::No })
}

fn read_photos(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let unreadable = |source| ProbeError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if decode::has_photo_extension(&path) && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(CommandError::EmptyFolder {
            folder: folder.to_owned(),
        }
        .into());
    }
    paths.sort();
    paths.truncate(MAX_PHOTOS);
    let limits = Limits::default();
    let read = |path: &std::path::PathBuf| {
        decode::read_bytes(path, &limits)
            .with_context(|| format!("cannot send `{}`", path.display()))
    };
    paths.iter().map(read).collect()
}

/// Coloured squares as a JPEG file: something that a server can decode and classify.
fn generated_photo() -> Result<Vec<u8>, CommandError> {
    let [width, height] = GENERATED;
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        let step = |n: u32, by: u32| (n / 32 * by % 200 + 28).to_le_bytes()[0];
        image::Rgb([step(x, 50), step(y, 70), step(x + y, 90)])
    });
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode_image(&picture)
        .map_err(CommandError::GeneratedPhoto)?;
    Ok(bytes)
}
