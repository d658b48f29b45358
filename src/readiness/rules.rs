//! Every rule of `dermal check`, as data. `docs/checks.md` documents each of them, and a test
//! compares the two.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Not ready: the exit status is 1.
    Error,
    /// Ready, but somebody should look.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable name, for `allow` in `dermal.yaml`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Why it matters.
    pub why: &'static str,
    /// How to fix it.
    pub fix: &'static str,
}

macro_rules! rules {
    ($($name:ident $severity:ident $id:literal: $why:literal, $fix:literal;)*) => {
        $(#[doc = concat!("`", $id, "`")]
        pub static $name: Rule = Rule {
            id: $id,
            severity: Severity::$severity,
            why: $why,
            fix: $fix,
        };)*
        /// All of them, in the order of `docs/checks.md`.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    // The model.
    MODEL_MISSING Error "model-missing": "the server cannot start without it", "commit the file, or correct the path";
    MODEL_INVALID Error "model-invalid": "the server cannot load it", "make it again with `dermal import` or `dermal quantize`";
    MODEL_UNKNOWN Warning "model-unknown": "this check cannot tell whether the model will be there, or which one it is", "if it is downloaded or built, check its SHA-256 in the same step, and look at `/readyz` after the deployment";
    MODEL_LFS_POINTER Error "model-lfs-pointer": "hosts that do not run `git lfs pull` get these 130 bytes in place of the model", "commit the artifact itself, or pull it in the build";
    MODEL_HASH Error "model-hash": "the file that would be deployed is not the one that was evaluated", "evaluate the new file, then pin its SHA-256 in dermal.yaml";
    MODEL_UNPINNED Note "model-unpinned": "nobody would notice if the file changed", "put its SHA-256 under `sha256` in dermal.yaml";
    MODEL_PICKLE Error "model-pickle-shipped": "loading a pickle runs whatever code is in it", "delete it, or keep it out of the image and repository; dermal needs only the artifact";
    MODEL_TRAINING_FILE Error "model-training-file-shipped": "a training file takes disk space and build time, and dermal cannot serve it", "keep it out of what is deployed: delete it, or name it in .dockerignore";
    MODEL_LABELS_PLACEHOLDER Error "model-labels-placeholder": "people would be told `class_3`", "import again with `--labels`";
    MODEL_LABELS Error "model-labels-differ": "answers would carry wrong names", "import again with `--labels` in the order of training, or correct dermal.yaml";
    MODEL_PREPROCESSING Warning "model-preprocessing-raw": "pixels go in as 0..255, and few models were trained on that; a wrong guess costs most of the accuracy without an error", "import again with `--preprocess` (`raw` if 0..255 is right), or allow this rule";
    MODEL_SCALING Warning "model-scaling-doubtful": "the model's first layer sees values that networks are not trained on, and then gives nearly the same answer to every photo", "import again with the preprocessing of the training code (`--preprocess raw` if the model scales the pixels itself), or allow this rule";
    MODEL_HEAD_ASSUMED Warning "model-head-assumed": "the model ends in raw numbers, and nobody said how they become probabilities; a wrong guess makes wrong percentages without an error", "import again with `--head softmax`, or with `--head multi-sigmoid` if it was trained with a binary cross-entropy";
    MODEL_GOLDEN Error "model-golden-differs": "the model no longer gives the answer that it gave when it was accepted", "find out what changed; then correct the golden answer";
    MODEL_NOT_SERVED Error "model-not-served": "the server opens another model than the one that was checked", "give dermal.yaml and the start command the same file";
    MODEL_QUANTIZED_UNUSED Error "model-quantized-unused": "a smaller file was made from this model, but the large one is served and takes its memory", "serve the quantized file, or delete it";
    MODEL_DEMO_SERVED Error "model-demo-served": "without a model's name the server serves the demo that is built in, which knows only synthetic pictures", "name the artifact in the start command";
    // Accuracy.
    ACCURACY_NO_EVIDENCE Warning "accuracy-no-evidence": "nobody knows how much accuracy quantization cost", "name labelled photos and the model before quantization in dermal.yaml (`accuracy.photos`, `accuracy.base`), or compare once with `dermal compare --attach`";
    ACCURACY_EVIDENCE Error "accuracy-evidence-unreadable": "accuracy cannot be judged", "write it again with `dermal compare --json`, or name labelled photos (`accuracy.photos`)";
    ACCURACY_OTHER_FILE Error "accuracy-evidence-of-another-file": "the model was changed after it was judged", "compare again";
    ACCURACY_WORSE Error "accuracy-worse": "the evidence says that too much accuracy was lost", "quantize with `--max-drop`, or keep sensitive layers in float";
    ACCURACY_UNDECIDED Warning "accuracy-undecided": "the evidence has too few photos to decide", "compare on more labelled photos";
    ACCURACY_MINIMUM Error "accuracy-below-minimum": "it is less accurate than you asked for", "train or quantize it better, or lower `accuracy.minimum_top1` on purpose";
    ACCURACY_SENSITIVITY Error "accuracy-sensitivity": "it would miss too many cases of this class", "train or quantize it better, or lower the class's limit on purpose";
    // Memory, time, disk.
    MEMORY_DOES_NOT_FIT Error "memory-does-not-fit": "the kernel will kill the server under this load", "`dermal estimate` shows what would make it fit";
    MEMORY_TIGHT Warning "memory-tight": "it fits with little to spare: the kernel may read weights from disk again and again", "`dermal estimate` shows what would make room";
    MEMORY_BUDGET Error "memory-budget-over-platform": "the server would admit more than the machine has", "leave `--budget` out (the server then takes the cgroup's limit), or make it smaller than the machine's memory";
    LATENCY_REQUEST Error "latency-over-request-timeout": "the platform gives up before the answer is there", "take a faster CPU, a smaller model, INT8, or smaller photos";
    LATENCY_SLOW Warning "latency-slow": "people leave after ten seconds", "take a faster CPU, a smaller model, INT8, or smaller photos";
    COLD_START Error "cold-start-over-timeout": "the platform takes the service for dead before it listens", "take a smaller model or a faster CPU";
    DISK Error "disk-too-small": "what is deployed does not fit the platform's disk", "ship the artifact and the program only";
    HEALTH_SLOW Error "health-slow-under-load": "the platform takes a server that is only busy for dead and restarts it, and all its requests are lost", "admit fewer photos at once, choose a smaller model or more CPU, or give the health check more time if the platform lets you";
    PROOF_FAILED Error "proof-failed": "it did not survive when it was run inside the platform's limits", "`dermal estimate --prove` shows at which moment";
    // The platform.
    PLATFORM_NO_SERVERS Error "platform-runs-no-servers": "the platform runs no servers of your own", "choose another platform: `dermal estimate --advise`";
    PLATFORM_STALE Note "platform-stale": "its limits may have changed", "check them on the platform's own pages";
    PLATFORM_DIFFERS Error "platform-plan-differs": "dermal.yaml checks other limits than those of the machine that is ordered", "give dermal.yaml's `platform` and the plan or machine the same size";
    // How the server is started, wherever that is written.
    START_OTHER_PROGRAM Error "start-other-program": "this starts another program than the server that was checked", "start `dermal serve MODEL --bind 0.0.0.0:$PORT --preload`";
    START_UNKNOWN Warning "start-unknown": "this check cannot tell what is started", "start `dermal serve` directly, or from a script in this project";
    START_NO_SHELL Error "start-no-shell": "the container ends at once: its command needs a shell, and the image has none", "use the JSON form, such as `CMD [\"/dermal\", \"serve\", \"/model.safetensors\"]`; the server reads PORT itself";
    START_PROGRAM_MISSING Error "start-program-missing": "the container ends at once: its program is not in the image, or not in a folder of PATH", "COPY it into the image, and give its whole path";
    START_SCRIPT Error "start-script-broken": "the kernel cannot run the script, so the container ends at once", "begin it with `#!/bin/sh`, save it with Unix line ends, and use a shell that the image has";
    START_UNKNOWN_FLAG Error "start-unknown-flag": "the server refuses to start", "`dermal serve --help` lists its options";
    START_LOCALHOST Error "start-localhost": "nobody outside the machine can reach it", "bind 0.0.0.0";
    START_FIXED_PORT Error "start-fixed-port": "the platform sends requests to `$PORT`", "bind `0.0.0.0:$PORT`";
    START_PORT_ASSUMED Warning "start-port-assumed": "the platform sends requests to `$PORT`; it may find another port by itself, or fail the deployment", "leave the port out: the server reads PORT itself";
    START_PORT_EMPTY Error "start-port-empty": "this host sets no PORT, so the variable is empty and the server refuses to start", "set PORT, write `${PORT:-8080}`, or leave the port out: the server then takes 8080";
    START_PORT_UNEXPANDED Error "start-port-unexpanded": "in this form no shell replaces `$PORT`, so the server gets the text itself and refuses it", "leave `--bind` and `--port` out: the server reads PORT itself";
    START_CONTRADICTION Error "start-contradiction": "two settings say the opposite", "keep the one that you mean";
    START_LAZY Warning "start-lazy": "the first visitor waits for the model, and a broken model shows only then", "use `--preload`";
    START_GRADCAM_OFF Warning "start-gradcam-off": "dermal.yaml asks for heat maps, and the server is told not to make them", "remove `--no-gradcam`, or set `gradcam: false` in dermal.yaml";
    START_SHELL Warning "start-shell-keeps-signals": "the shell is process 1 and may not pass SIGTERM on, which cuts running requests", "use the JSON form, or put `exec` in front";
    SHUTDOWN_PLATFORM Warning "platform-grace-short": "running requests are cut when a new version is deployed or the platform moves the server", "admit fewer photos at once (`concurrency`, `--queue`), choose a smaller model, or a platform that waits longer";
    SHUTDOWN_GRACE Warning "start-grace-short": "the server gives up accepted requests after this time, and their clients get no answer", "raise `--grace` (DERMAL_GRACE), and the platform's time with it";
    FILES_DISAGREE Error "files-disagree": "which model is deployed depends on the host", "give both the same start command";
    HEALTH_NOT_SERVED Error "health-path-not-served": "the server does not answer at this path, so the health check never succeeds", "use `/health` (or `/readyz`)";
    HEALTH_ALIVE_ONLY Note "health-alive-only": "this path answers 200 whenever the server runs, even if its model cannot be loaded: a broken deployment would replace the working one", "use `/health` or `/readyz`, which answer 503 then";
    HEALTH_MISSING Warning "health-missing": "a server that hangs would keep getting requests", "check `/health`";
    HEALTHCHECK_BROKEN Warning "healthcheck-cannot-succeed": "the container is called unhealthy for ever by every host that asks HEALTHCHECK (Docker, compose, Swarm)", "use a program that the image has, such as `HEALTHCHECK CMD [\"dermal\", \"probe\", \"http://localhost:8080\", \"--requests\", \"1\"]`, or remove it";
    DEBUG_FLAG Warning "debug-flag": "debug output costs time and shows what should stay private", "remove it";
    SECRET Error "secret-in-plain-text": "everybody who can read the repository has it, even after it is deleted", "revoke it, and set a new one in the platform's dashboard";
    ENV_FILE Error "env-file-shipped": "files of this name hold secrets, and this one would be deployed", "put it in .gitignore and .dockerignore; set its values in the platform's dashboard";
    MEMORY_SETTING Warning "memory-setting-without-effect": "it is for another program and does nothing here", "remove it";
    // Python left behind.
    PYTHON_LEFT Warning "python-left-behind": "this installs Python packages that the server does not use: hundreds of megabytes", "remove the line, or keep it out of what is deployed";
    // render.yaml
    RENDER_FILE_NAME Warning "render-file-name": "Render looks for `render.yaml` at the root of the repository, unless its dashboard names another file", "rename it to `render.yaml`";
    RENDER_SYNTAX Error "render-syntax": "Render refuses the file", "correct it";
    RENDER_UNKNOWN_KEY Error "render-unknown-key": "Render refuses the file, or ignores the setting", "correct the name";
    RENDER_TYPE Error "render-wrong-type": "Render refuses the file", "correct the value";
    RENDER_NO_SERVICE Error "render-no-web-service": "no service would answer", "add a service of `type: web`";
    RENDER_NO_PLAN Warning "render-no-plan": "a new service without a plan is Starter: $7 a month for the same 512 MB", "write `plan: free` or the plan that you mean";
    RENDER_FREE_LIMIT Error "render-not-on-free": "the free plan does not have this, and Render refuses the file", "remove it, or choose a paid plan";
    RENDER_START Error "render-start-missing": "Render does not know how to build or start it", "give `buildCommand` and `startCommand`, or `runtime: docker` and a Dockerfile";
    RENDER_RUNTIME_KEYS Error "render-runtime-contradiction": "the key belongs to another runtime and has no effect", "remove it, or change `runtime`";
    RENDER_FILE Error "render-file-missing": "the build fails", "correct the path";
    RENDER_ENV Error "render-env-shape": "an environment variable has one source: `value`, `generateValue`, `sync: false`, `fromService`, `fromDatabase` or `fromGroup`", "give it exactly one";
    RENDER_DUPLICATE Error "render-duplicate": "only one of the two counts, and Render does not say which", "remove one";
    RENDER_SHUTDOWN Warning "render-shutdown-short": "running requests are cut when a new version is deployed", "give `maxShutdownDelaySeconds` at least the time of the longest request";
    // Dockerfile
    DOCKER_SYNTAX Error "docker-syntax": "the build fails", "correct it";
    DOCKER_COPY Error "docker-copy-missing": "the build fails", "correct the path, or take it out of .dockerignore";
    DOCKER_MODEL Error "docker-model-not-copied": "the image does not have the model at this path, so the server cannot start", "COPY the artifact to the path that the start command names";
    DOCKER_STAGE Error "docker-stage-unknown": "the build fails", "correct the stage's name";
    DOCKER_LATEST Warning "docker-unpinned-base": "the same Dockerfile builds another image tomorrow", "name a version";
    DOCKER_ROOT Warning "docker-runs-as-root": "an attacker who breaks into the server is root in the container", "add `USER nonroot` or a number";
    DOCKER_USER Error "docker-user-unknown": "the container does not start: the user is not in the image's /etc/passwd", "give a number such as `USER 65532`, or make the user with `RUN useradd`";
    DOCKER_CMD Error "docker-no-start": "the container has no command to run", "add `CMD` or `ENTRYPOINT`";
    DOCKER_ADD_URL Warning "docker-add-url": "nothing verifies what is downloaded", "use `ADD --checksum=sha256:...`, or RUN curl with a check";
    DOCKER_PORT Warning "docker-expose-differs": "the image announces another port than the server binds", "expose the port that is bound";
    // Procfile
    PROCFILE_SYNTAX Error "procfile-syntax": "the line is ignored or refused", "write `web: command`";
    PROCFILE_WEB Error "procfile-no-web": "only `web` gets requests", "name the process `web`";
    // fly.toml
    FLY_SYNTAX Error "fly-syntax": "flyctl refuses the file", "correct it";
    FLY_UNKNOWN_KEY Error "fly-unknown-key": "flyctl ignores the setting", "correct the name";
    FLY_TYPE Error "fly-wrong-type": "flyctl refuses the file", "correct the value";
    FLY_FILE Error "fly-file-missing": "the build fails", "correct the path";
    FLY_PORT Error "fly-port-differs": "Fly gives no PORT: its proxy connects to `internal_port`, and nothing listens there", "give `internal_port` the port that the server binds (8080 unless PORT, `--port` or `--bind` says otherwise)";
    FLY_MEMORY Error "fly-memory-too-small": "the machine has less memory than the server needs", "raise `memory` under [[vm]], or use a smaller model";
    FLY_MEMORY_DEFAULT Warning "fly-memory-default": "a new machine has 256 MB unless `fly scale memory` or the file says otherwise", "add [[vm]] with `memory`";
    FLY_NO_SERVICE Error "fly-no-service": "requests from outside cannot reach the server", "add [http_service]";
    FLY_SHUTDOWN Warning "fly-shutdown-short": "Fly kills the server 5 s after the stop signal, or after `kill_timeout`, which cuts running requests", "give `kill_timeout` at least the time of the longest request";
    // railway.json
    RAILWAY_SYNTAX Error "railway-syntax": "Railway refuses the file", "correct it";
    RAILWAY_UNKNOWN_KEY Error "railway-unknown-key": "Railway ignores the setting", "correct the name";
    RAILWAY_TYPE Error "railway-wrong-type": "Railway refuses the whole file and builds nothing", "correct the value";
    RAILWAY_BUILDER Warning "railway-builder-case": "Railway's schema has the builder's name in capitals only, and may refuse the file", "write it in capitals, such as `DOCKERFILE`";
    RAILWAY_SHUTDOWN Warning "railway-shutdown-short": "Railway kills at once after SIGTERM unless `drainingSeconds` is set", "set `deploy.drainingSeconds` to at least the time of the longest request";
    RAILWAY_FILE Error "railway-file-missing": "the build fails", "correct the path";
    // compose.yaml
    COMPOSE_SYNTAX Error "compose-syntax": "Docker Compose refuses the file", "correct it";
    COMPOSE_FILE Error "compose-file-missing": "the build fails", "correct `build`";
    COMPOSE_PORT Error "compose-port-differs": "the published port leads to a port on which nothing listens", "give `ports` the port that the server binds (8080 unless PORT, `--port` or `--bind` says otherwise)";
    COMPOSE_MEMORY Error "compose-memory-too-small": "the limit is less than the memory that the server needs", "raise the limit, or use a smaller model";
}

/// The rule with an id.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The rule.
    #[serde(flatten)]
    pub rule: &'static Rule,
    /// The mistake.
    pub what: String,
    /// The file, relative to the project, with `/` between folders.
    pub file: String,
    /// Its line, from 1, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// The findings so far.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Adds a finding; the same finding at the same place counts once.
    pub fn add(
        &mut self,
        rule: &'static Rule,
        file: &str,
        line: impl Into<Option<usize>>,
        what: impl Into<String>,
    ) {
        let finding = Finding {
            rule,
            what: what.into(),
            file: file.to_owned(),
            line: line.into().filter(|&line| line > 0),
        };
        if !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }

    /// All findings, worst first, then by place.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Finding> {
        self.list.sort_by(|a, b| {
            let key = |f: &Finding| (f.rule.severity, f.file.clone(), f.line, f.rule.id);
            key(a).cmp(&key(b))
        });
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_plain() {
        for rule in ALL {
            assert_eq!(ALL.iter().filter(|other| other.id == rule.id).count(), 1);
            assert!(rule.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert_eq!(by_id(rule.id), Some(*rule));
        }
    }

    #[test]
    fn the_same_place_is_named_once() {
        let mut findings = Findings::default();
        findings.add(&DEBUG_FLAG, "a", 3, "x");
        findings.add(&SECRET, "b", 9, "y");
        findings.add(&DEBUG_FLAG, "a", 3, "x");
        let list = findings.sorted();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].rule.id, "secret-in-plain-text");
    }
}
