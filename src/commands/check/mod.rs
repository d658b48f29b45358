//! `dermal check`: is this project ready to deploy; for people and for CI.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::{Outcome, failure};
use crate::cli::{CheckArgs, FindingFormat};
use crate::file::atomic;
use crate::readiness::calendar::Date;
use crate::readiness::platforms;
use crate::readiness::project::{Project, SETTINGS_FILE};
use crate::readiness::rules::Severity;
use crate::readiness::settings::{EXAMPLE, Settings};
use crate::report;

mod formats;
mod gather;

pub(super) fn run(args: &CheckArgs) -> Result<Outcome> {
    let (folder, settings_path) = place(args)?;
    if args.init {
        return init(&settings_path);
    }
    let project = project(args, &folder, &settings_path)?;
    let findings = project.check();
    let subject = formats::Subject {
        folder: &folder,
        platform: project.platform.as_ref().map(|(p, _)| p.title.as_str()),
        resources: project.resources.as_ref(),
        findings: &findings,
    };
    let format = if args.json {
        FindingFormat::Json
    } else {
        args.format
    };
    formats::print(&subject, format)?;
    let errors = findings.iter().any(|f| f.rule.severity == Severity::Error);
    Ok(if errors { Outcome::No } else { Outcome::Yes })
}

/// The project's folder and its settings: what `--config` names, or `dermal.yaml` here.
fn place(args: &CheckArgs) -> Result<(PathBuf, PathBuf)> {
    let settings = match &args.config {
        Some(path) if path.is_dir() => path.join(SETTINGS_FILE),
        Some(path) => path.clone(),
        None => PathBuf::from(SETTINGS_FILE),
    };
    let folder = settings.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let named_file = args.config.as_ref().is_some_and(|path| !path.is_dir());
    if named_file && !args.init && !settings.is_file() {
        return Err(failure(
            format!("there is no `{}`", settings.display()),
            "`dermal check --init` writes one; without it the other files are checked all the same",
        ));
    }
    if !folder.is_dir() {
        return Err(failure(
            format!("there is no folder `{}`", folder.display()),
            "give the project's folder, or its dermal.yaml, with `--config`",
        ));
    }
    Ok((folder, settings))
}

fn init(path: &Path) -> Result<Outcome> {
    if path.exists() {
        return Err(failure(
            format!("`{}` is already there", path.display()),
            "edit it, or delete it first: it is not written over",
        ));
    }
    atomic::write(path, |file| file.write_all(EXAMPLE.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    report::note(&format!("wrote {}", path.display()));
    Ok(Outcome::Yes)
}

fn project(args: &CheckArgs, folder: &Path, settings_path: &Path) -> Result<Project> {
    let has_settings = settings_path.symlink_metadata().is_ok();
    if has_settings && !settings_path.is_file() {
        return Err(failure(
            format!("`{}` is no regular file", settings_path.display()),
            "`dermal check --init` in an empty folder writes one with every setting explained",
        ));
    }
    let mut settings = if has_settings {
        let text = gather::small_text(settings_path)?;
        Settings::read(&text).map_err(|error| {
            failure(
                format!("{}: {error}", settings_path.display()),
                "`dermal check --init` in an empty folder writes one with every setting explained",
            )
        })?
    } else {
        Settings::default()
    };
    if let Some(platform) = &args.platform {
        settings.platform = Some(platform.clone());
        settings.platform_line = None;
        settings.own_platform = None;
    }
    let today = Date::of(SystemTime::now());
    let named = settings.platform.as_deref().map(platforms::find);
    let platform = named
        .transpose()?
        .or_else(|| settings.own_platform.clone())
        .map(|platform| {
            let stale = platform.is_stale(today);
            (platform, stale)
        });
    let mut project = Project {
        files: gather::files(folder)?,
        settings,
        has_settings,
        platform,
        flags: gather::serve_flags(),
        ..Project::default()
    };
    gather::models(folder, &mut project);
    gather::judge_model(args, folder, &mut project)?;
    Ok(project)
}
