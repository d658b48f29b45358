//! Every rule of `dermal check`, as data: `docs/checks.md` documents them one by one, and a test
//! holds the two together.

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
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is looked for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable name, as `allow` in `dermal.yaml` takes it.
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
    MODEL_INVALID Error "model-invalid": "the server refuses it at start", "make it again with `dermal import` or `dermal quantize`";
    MODEL_LFS_POINTER Error "model-lfs-pointer": "hosts that do not run `git lfs pull` get these 130 bytes in place of the model", "commit the artifact itself, or pull it in the build";
    MODEL_HASH Error "model-hash": "the file that would be deployed is not the one that was evaluated", "evaluate the new file, then pin its SHA-256 in dermal.yaml";
    MODEL_UNPINNED Note "model-unpinned": "a changed file would go unnoticed", "put its SHA-256 under `sha256` in dermal.yaml";
    MODEL_PICKLE Error "model-pickle-shipped": "loading a pickle runs whatever is in it", "delete it, or keep it out of the image and repository; dermal needs only the artifact";
    MODEL_TRAINING_FILE Error "model-training-file-shipped": "a training file takes disk and build time, and nothing here can serve it", "keep it out of what is deployed: delete it, or name it in .dockerignore";
    MODEL_LABELS_PLACEHOLDER Error "model-labels-placeholder": "people would be told `class_3`", "import again with `--labels`";
    MODEL_LABELS Error "model-labels-differ": "answers would carry wrong names", "import again with `--labels` in the order of training, or correct dermal.yaml";
    MODEL_PREPROCESSING Warning "model-preprocessing-raw": "pixels go in as 0..255, which few models were trained on; a wrong guess costs most of the accuracy without an error", "import again with `--preprocess` (`raw` if 0..255 is right), or allow this rule";
    MODEL_GOLDEN Error "model-golden-differs": "the model no longer says what it said when it was accepted", "find out what changed; then correct the golden answer";
    MODEL_NOT_SERVED Error "model-not-served": "another model is served than the one that was checked", "give dermal.yaml and the start command the same file";
    MODEL_QUANTIZED_UNUSED Error "model-quantized-unused": "the small file was made and is not used: the memory of the large one is paid", "serve the quantized file, or delete it";
    MODEL_DEMO_SERVED Error "model-demo-served": "a server without a model's name serves the embedded demo, which knows synthetic pictures only", "name the artifact in the start command";
    // Accuracy.
    ACCURACY_NO_EVIDENCE Warning "accuracy-no-evidence": "nobody knows what quantization cost", "name labelled photos and the model before quantization in dermal.yaml (`accuracy.photos`, `accuracy.base`), or compare once with `dermal compare --attach`";
    ACCURACY_EVIDENCE Error "accuracy-evidence-unreadable": "accuracy cannot be judged", "write it again with `dermal compare --json`, or name labelled photos (`accuracy.photos`)";
    ACCURACY_OTHER_FILE Error "accuracy-evidence-of-another-file": "the model was changed after it was judged", "compare again";
    ACCURACY_WORSE Error "accuracy-worse": "the evidence says that too much accuracy was lost", "quantize with `--max-drop`, or keep sensitive layers in float";
    ACCURACY_UNDECIDED Warning "accuracy-undecided": "the evidence has too few photos to decide", "compare on more labelled photos";
    ACCURACY_MINIMUM Error "accuracy-below-minimum": "it is less accurate than you asked for", "train or quantize it better, or lower `accuracy.minimum_top1` knowingly";
    ACCURACY_SENSITIVITY Error "accuracy-sensitivity": "too many cases of this class would be missed", "train or quantize it better, or lower the class's limit knowingly";
    // Memory, time, disk.
    MEMORY_DOES_NOT_FIT Error "memory-does-not-fit": "the kernel will kill the server under this load", "`dermal estimate` shows what would make it fit";
    MEMORY_TIGHT Warning "memory-tight": "it fits with little to spare: weights may be read from disk again and again", "`dermal estimate` shows what would make room";
    MEMORY_BUDGET Error "memory-budget-over-platform": "the server would admit more than the machine has", "leave `--budget` out (the cgroup's limit is taken), or make it smaller than the machine's memory";
    LATENCY_REQUEST Error "latency-over-request-timeout": "the platform gives up before the answer is there", "a faster CPU, a smaller model, INT8, or smaller photos";
    LATENCY_SLOW Warning "latency-slow": "people leave after ten seconds", "a faster CPU, a smaller model, INT8, or smaller photos";
    COLD_START Error "cold-start-over-timeout": "the platform takes the service for dead before it listens", "a smaller model or a faster CPU";
    DISK Error "disk-too-small": "what is deployed does not fit the platform's disk", "ship the artifact and the program only";
    HEALTH_SLOW Error "health-slow-under-load": "a server that is only busy is taken for dead and restarted, and all its requests are lost", "admit fewer photos at once, choose a smaller model or more CPU, or give the health check more time where the platform lets you";
    PROOF_FAILED Error "proof-failed": "it did not survive the platform's limits when it was run inside them", "`dermal estimate --prove` shows at which moment";
    // The platform.
    PLATFORM_NO_SERVERS Error "platform-runs-no-servers": "no program of one's own may listen there", "choose another platform: `dermal estimate --advise`";
    PLATFORM_STALE Note "platform-stale": "its limits may have changed", "check them on the platform's own pages";
    PLATFORM_DIFFERS Error "platform-plan-differs": "the limits that were checked are not those of the plan that is ordered", "give dermal.yaml's `platform` and the plan the same name";
    // How the server is started, wherever that is written.
    START_OTHER_PROGRAM Error "start-other-program": "this starts another program than the server that was checked", "start `dermal serve MODEL --bind 0.0.0.0:$PORT --preload`";
    START_UNKNOWN_FLAG Error "start-unknown-flag": "the server refuses to start", "`dermal serve --help` lists its options";
    START_LOCALHOST Error "start-localhost": "nobody outside the machine can reach it", "bind 0.0.0.0";
    START_FIXED_PORT Error "start-fixed-port": "the platform sends requests to `$PORT`", "bind `0.0.0.0:$PORT`";
    START_PORT_UNEXPANDED Error "start-port-unexpanded": "in this form no shell replaces `$PORT`, and the server gets it as it stands", "leave `--bind` out: the server reads PORT itself";
    START_CONTRADICTION Error "start-contradiction": "two settings say the opposite", "keep the one that is meant";
    START_LAZY Warning "start-lazy": "the first visitor waits for the model, and a broken model shows only then", "use `--preload`";
    START_GRADCAM_OFF Warning "start-gradcam-off": "dermal.yaml wants heat maps, the server is told not to make them", "remove `--no-gradcam`, or set `gradcam: false` in dermal.yaml";
    START_SHELL Warning "start-shell-keeps-signals": "the shell is process 1 and does not pass SIGTERM on: running requests are cut", "use the JSON form, or put `exec` in front";
    SHUTDOWN_PLATFORM Warning "platform-grace-short": "running requests are cut when a new version is deployed or the platform moves the server", "admit fewer photos at once (`concurrency`, `--queue`), choose a smaller model, or a platform that waits longer";
    SHUTDOWN_GRACE Warning "start-grace-short": "the server itself gives accepted requests up after so long, and their clients get no answer", "raise `--grace` (DERMAL_GRACE), and the platform's time with it";
    FILES_DISAGREE Error "files-disagree": "which of the two is deployed depends on where", "give both the same start command";
    HEALTH_NOT_SERVED Error "health-path-not-served": "the health check fails for ever, and the service is restarted or never gets requests", "use `/health` (or /livez, /readyz)";
    HEALTH_MISSING Warning "health-missing": "a server that hangs would keep getting requests", "check `/health`";
    DEBUG_FLAG Warning "debug-flag": "debug output costs time and shows what is nobody's business", "remove it";
    SECRET Error "secret-in-plain-text": "whoever can read the repository has it, also after it is deleted", "revoke it, and set a new one in the platform's dashboard";
    ENV_FILE Error "env-file-shipped": "files of this name hold secrets, and this one would be deployed", "put it in .gitignore and .dockerignore; set its values in the platform's dashboard";
    MEMORY_SETTING Warning "memory-setting-without-effect": "it is for another program and does nothing here", "remove it";
    // Python left behind.
    PYTHON_LEFT Warning "python-left-behind": "Python packages are installed that the server does not use: hundreds of megabytes", "remove the file, or keep it out of what is deployed";
    // render.yaml
    RENDER_SYNTAX Error "render-syntax": "Render refuses the file", "correct it";
    RENDER_UNKNOWN_KEY Error "render-unknown-key": "Render refuses the file, or ignores the setting", "correct the name";
    RENDER_TYPE Error "render-wrong-type": "Render refuses the file", "correct the value";
    RENDER_NO_SERVICE Error "render-no-web-service": "nothing would answer", "add a service of `type: web`";
    RENDER_NO_PLAN Warning "render-no-plan": "a new service without a plan is Starter: $7 a month for the same 512 MB", "write `plan: free` or the plan that is meant";
    RENDER_FREE_LIMIT Error "render-not-on-free": "the free plan does not have this, and Render refuses the file", "remove it, or choose a paid plan";
    RENDER_START Error "render-start-missing": "Render does not know how to build or start it", "give `buildCommand` and `startCommand`, or `runtime: docker` and a Dockerfile";
    RENDER_RUNTIME_KEYS Error "render-runtime-contradiction": "the key belongs to another runtime and has no effect", "remove it, or change `runtime`";
    RENDER_FILE Error "render-file-missing": "the build fails", "correct the path";
    RENDER_ENV Error "render-env-shape": "an environment variable has one source: `value`, `generateValue`, `sync: false`, `fromService`, `fromDatabase` or `fromGroup`", "give it exactly one";
    RENDER_DUPLICATE Error "render-duplicate": "one of the two wins, and which is not said", "remove one";
    RENDER_SHUTDOWN Warning "render-shutdown-short": "running requests are cut when a new version is deployed", "give `maxShutdownDelaySeconds` at least the time of the longest request";
    // Dockerfile
    DOCKER_SYNTAX Error "docker-syntax": "the build fails", "correct it";
    DOCKER_COPY Error "docker-copy-missing": "the build fails", "correct the path, or take it out of .dockerignore";
    DOCKER_MODEL Error "docker-model-not-copied": "the image has no model, and the server cannot start", "COPY the artifact";
    DOCKER_STAGE Error "docker-stage-unknown": "the build fails", "correct the stage's name";
    DOCKER_LATEST Warning "docker-unpinned-base": "the same Dockerfile builds something else tomorrow", "name a version";
    DOCKER_ROOT Warning "docker-runs-as-root": "whoever breaks in is root", "add `USER nonroot` or a number";
    DOCKER_CMD Error "docker-no-start": "the container has nothing to run", "add `CMD` or `ENTRYPOINT`";
    DOCKER_ADD_URL Warning "docker-add-url": "what is downloaded is not verified", "use `ADD --checksum=sha256:...`, or RUN curl with a check";
    DOCKER_PORT Warning "docker-expose-differs": "the port that is announced is not the one that is bound", "expose the port that is bound";
    // Procfile
    PROCFILE_SYNTAX Error "procfile-syntax": "the line is ignored or refused", "write `web: command`";
    PROCFILE_WEB Error "procfile-no-web": "only `web` gets requests", "name the process `web`";
    // fly.toml
    FLY_SYNTAX Error "fly-syntax": "flyctl refuses the file", "correct it";
    FLY_UNKNOWN_KEY Error "fly-unknown-key": "flyctl ignores the setting", "correct the name";
    FLY_TYPE Error "fly-wrong-type": "flyctl refuses the file", "correct the value";
    FLY_PORT Error "fly-port-differs": "the proxy connects to a port on which nothing listens", "give `internal_port` and `--bind` the same port";
    FLY_MEMORY Error "fly-memory-too-small": "the machine has less memory than the server needs", "raise `memory` under [[vm]], or use a smaller model";
    FLY_NO_SERVICE Error "fly-no-service": "nothing reaches the server from outside", "add [http_service]";
    FLY_SHUTDOWN Warning "fly-shutdown-short": "running requests are cut 5 s after SIGTERM", "give `kill_timeout` at least the time of the longest request";
    // railway.json
    RAILWAY_SYNTAX Error "railway-syntax": "Railway refuses the file", "correct it";
    RAILWAY_UNKNOWN_KEY Error "railway-unknown-key": "Railway ignores the setting", "correct the name";
    RAILWAY_TYPE Error "railway-wrong-type": "Railway refuses the whole file and builds nothing", "correct the value";
    RAILWAY_SHUTDOWN Warning "railway-shutdown-short": "Railway kills at once after SIGTERM unless `drainingSeconds` is set", "set `deploy.drainingSeconds` to at least the time of the longest request";
    RAILWAY_FILE Error "railway-file-missing": "the build fails", "correct the path";
}

/// The rule of an id.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// Something that a rule found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// By which rule.
    #[serde(flatten)]
    pub rule: &'static Rule,
    /// What was found.
    pub what: String,
    /// The file, with `/` between folders, relative to the project.
    pub file: String,
    /// Its line, from 1, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Adds a finding; the same one in the same place counts once.
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
