//! `dermal estimate`: whether a model fits, how fast it will be, and what would make it fit.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::Serialize;

use super::{CommandError, Outcome, Result, THIS_PROGRAM, Versioned, engine_options};
use crate::artifact::ModelSource;
use crate::cli::{EstimateArgs, ProofPart, Switch};
use crate::estimate::{Estimate, EstimateOptions, EstimateReport, LimitReport};
use crate::memory::{limit, sandbox};
use crate::prove::{self, Proof, ProofPlan};
use crate::readiness::calendar::Date;
use crate::readiness::platforms::{self, Platform};
use crate::readiness::verdict::Verdict;
use crate::report::{self, Progress};

mod table;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    estimate: EstimateReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

#[derive(Serialize)]
struct PlatformList {
    platforms: Vec<Platform>,
}

pub(super) fn run(args: &EstimateArgs) -> Result<Outcome> {
    if args.platform.as_deref() == Some("list") {
        return list(args.json);
    }
    let platform = args.platform.as_deref().map(platforms::find).transpose()?;
    let today = Date::of(SystemTime::now());
    if let Some(platform) = platform.as_ref().filter(|p| p.is_stale(today)) {
        report::warn(
            &format!("{}: check its numbers", platform.age_in_words()),
            Some("look at the platform's own pages; `--budget` takes any number"),
        );
    }
    let source = ModelSource::of(args.model.as_deref());
    let options = EstimateOptions {
        engine: engine_options(&args.engine)?,
        image_size: args.image_size.map(|size| [size.height, size.width]),
        max_pixels: args.max_pixels,
        photos_at_once: args.concurrency.into(),
        gradcam: args.gradcam == Switch::On,
    };
    let estimate = Estimate::measure(&source, &options)?;
    let name = match args.image_size {
        Some(size) => format!("{source} for photos of {} x {}", size.height, size.width),
        None => source.to_string(),
    };
    if args.advise {
        return advise(args, &estimate, name, today);
    }
    let limit = limit_of(args, platform.as_ref(), &estimate);
    let proof = if args.prove {
        let plan = ProofPlan {
            estimate: &estimate,
            model: &source,
            program: Path::new(THIS_PROGRAM),
            limit_bytes: limit.as_ref().map(|limit| limit.bytes),
            cpu_share: platform.as_ref().map(|p| p.cpu.value),
            pixels: args.max_pixels,
        };
        let mut bar = Progress::items("proving");
        Some(plan.run(&mut |done, all| bar.set(done, all))?)
    } else {
        None
    };
    let document = Document {
        estimate: estimate.report(name, limit, platform),
        proof,
    };
    if args.json {
        report::print_json(&Versioned::new(&document))?;
    } else {
        table::print(&document.estimate, document.proof.as_ref())?;
    }
    let limit = document.estimate.limit.as_ref();
    let fits = limit.is_none_or(|limit| limit.verdict != Verdict::DoesNotFit);
    let survived = document.proof.as_ref().is_none_or(|proof| proof.survived);
    Ok(if fits && survived {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

/// The given limit, or that of this process's cgroup.
fn limit_of(
    args: &EstimateArgs,
    platform: Option<&Platform>,
    estimate: &Estimate,
) -> Option<LimitReport> {
    let (bytes, from) = match (args.budget, platform) {
        (Some(bytes), _) => (bytes, "--budget".to_owned()),
        (None, Some(platform)) => (platform.ram_bytes(), platform.title.clone()),
        (None, None) => (
            limit::memory_limit_bytes()?,
            "the limit of this cgroup".to_owned(),
        ),
    };
    Some(LimitReport::new(bytes, from, &estimate.demand()))
}

fn advise(args: &EstimateArgs, estimate: &Estimate, name: String, today: Date) -> Result<Outcome> {
    let advice = estimate.advise(name, today)?;
    if args.json {
        report::print_json(&Versioned::new(&advice))?;
    } else {
        table::advice(&advice)?;
    }
    Ok(if advice.chosen.is_some() {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

fn list(json: bool) -> Result<Outcome> {
    let platforms = platforms::all()?;
    if json {
        report::print_json(&Versioned::new(&PlatformList { platforms }))?;
    } else {
        table::list_platforms(&platforms, Date::of(SystemTime::now()))?;
    }
    Ok(Outcome::Yes)
}

/// A process of a proof.
pub(super) fn run_part(part: &ProofPart) -> Result<(), CommandError> {
    let failed = |step| move |source| CommandError::ProofPart { step, source };
    match part {
        ProofPart::Enter {
            parent,
            group,
            address_space,
            command,
        } => {
            sandbox::die_with_parent(*parent).map_err(failed("cannot be bound to the proof"))?;
            sandbox::enter(group, 0).map_err(failed("cannot enter the cgroup"))?;
            if let Some(bytes) = address_space {
                sandbox::limit_address_space(*bytes)
                    .map_err(failed("cannot limit the address space"))?;
            }
            let (program, rest) = command.split_first().ok_or(CommandError::NoProgram)?;
            let error = Command::new(program).args(rest).exec();
            Err(failed("cannot start the program")(error))
        }
        ProofPart::Guard { folder, groups } => {
            prove::stand_guard(std::io::stdin(), groups, folder.as_deref());
            Ok(())
        }
    }
}
