//! `dermal man` and `dermal completions`.

use std::path::Path;

use super::{CommandError, Result};
use clap_complete::Shell;

use crate::cli::ManArgs;
use crate::file::Guard;
use crate::report;

pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "dermal", &mut script);
    Ok(report::print(script)?)
}

pub(super) fn run(args: &ManArgs) -> Result<()> {
    // A man page is the same on every machine, so it leaves out the CPU's tiers.
    let command = super::command().long_version(env!("CARGO_PKG_VERSION"));
    let Some(dir) = &args.dir else {
        return Ok(report::print(page(&command)?)?);
    };
    let mut guard = Guard::new();
    write(&mut guard, dir, "dermal", &command)?;
    for sub in command.get_subcommands() {
        let name = format!("dermal-{}", sub.get_name());
        write(&mut guard, dir, &name, &sub.clone().name(&name))?;
    }
    Ok(())
}

fn page(command: &clap::Command) -> Result<Vec<u8>, CommandError> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
    rendered.map_err(CommandError::ManualPage)?;
    Ok(page)
}

fn write(guard: &mut Guard, dir: &Path, name: &str, command: &clap::Command) -> Result<()> {
    let page = page(command)?;
    let output = guard.writes("--dir", &dir.join(format!("{name}.1")))?;
    output.write(|file| file.write_all(&page))?;
    Ok(())
}
