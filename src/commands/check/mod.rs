//! `dermal check`: whether this project is ready to deploy; for people and for CI.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Context, Result};
use clap::CommandFactory;

use super::{CommandError, Outcome, THIS_PROGRAM};
use crate::cli::{CheckArgs, Cli, FindingFormat};
use crate::file::Guard;
use crate::readiness::Flag;
use crate::readiness::calendar::Date;
use crate::readiness::project::{Project, SETTINGS_FILE};
use crate::readiness::rules::Severity;
use crate::readiness::settings::EXAMPLE;
use crate::report;
use crate::survey::{self, Survey};

mod formats;

pub(super) fn run(args: &CheckArgs) -> Result<Outcome> {
    let (folder, settings_path) = place(args)?;
    if args.init {
        return init(&settings_path);
    }
    let project = survey(args, &folder, &settings_path)?;
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
fn place(args: &CheckArgs) -> Result<(PathBuf, PathBuf), CommandError> {
    let settings = match &args.config {
        Some(path) if path.is_dir() => path.join(SETTINGS_FILE),
        Some(path) => path.clone(),
        None => PathBuf::from(SETTINGS_FILE),
    };
    let folder = settings.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_owned);
    let named_file = args.config.as_ref().is_some_and(|path| !path.is_dir());
    if named_file && !args.init && !settings.is_file() {
        return Err(CommandError::NoSettings { path: settings });
    }
    if !folder.is_dir() {
        return Err(CommandError::NoProject { folder });
    }
    Ok((folder, settings))
}

fn init(path: &Path) -> Result<Outcome> {
    if path.exists() {
        return Err(CommandError::SettingsExist {
            path: path.to_owned(),
        }
        .into());
    }
    let context = || format!("cannot write `{}`", path.display());
    let output = Guard::new().writes("--init", path).with_context(context)?;
    output
        .write(|file| file.write_all(EXAMPLE.as_bytes()))
        .with_context(context)?;
    report::note(&format!("wrote {}", path.display()));
    Ok(Outcome::Yes)
}

fn survey(args: &CheckArgs, folder: &Path, settings_path: &Path) -> Result<Project> {
    let survey = Survey {
        folder,
        settings: survey::read_settings(settings_path)?,
        platform: args.platform.as_deref(),
        flags: serve_flags(),
        today: Date::of(SystemTime::now()),
        program: args.prove.then_some(Path::new(THIS_PROGRAM)),
    };
    Ok(survey.run()?)
}

/// Options of `dermal serve`, from the command line's definition.
fn serve_flags() -> Vec<Flag> {
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").into_iter();
    let options = serve.flat_map(clap::Command::get_arguments);
    options
        .filter(|argument| !argument.is_positional())
        .flat_map(|argument| {
            let takes_value = argument.get_action().takes_values();
            let long = argument.get_long().map(|name| format!("--{name}"));
            let short = argument.get_short().map(|name| format!("-{name}"));
            long.into_iter()
                .chain(short)
                .map(move |name| Flag { name, takes_value })
        })
        .collect()
}
