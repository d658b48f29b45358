#!/usr/bin/env python3
"""Writes docs/checks.md's sections from the rules in src/readiness/rules.rs.

usage: scripts/make-checks-doc.py > docs/checks.md
"""
import pathlib
import re

root = pathlib.Path(__file__).resolve().parent.parent
source = (root / "src/readiness/rules.rs").read_text()
body = source[source.index("rules! {"):source.index("/// The rule with an id.")]

print("""# What `dermal check` looks for

`dermal check` reads `dermal.yaml`, the artifacts, `render.yaml`, `Dockerfile`, `.dockerignore`, `Procfile`,
`fly.toml`, `railway.json` (or `.toml`), `compose.yaml` and start scripts of a folder. It builds and starts
nothing. An **error** makes the exit status 1; a **warning** or **note** does not. Exit status 2 means that
the check could not be made: `dermal.yaml` cannot be read, names an unknown platform, or leads out of the
project.

To allow something that a rule finds, name the rule in `dermal.yaml`, with the reason:

```yaml
allow:
  docker-runs-as-root: the platform maps users
```

`--format` prints findings for people (`human`), programs (`json`), CI servers (`junit`), pull requests
(`github`, `sarif`) or comments (`markdown`). `docs/ci/` has a GitHub Actions workflow and a pre-commit
hook. `--prove` also runs the server with the model inside the platform's limits (docs/estimating.md).

`platform` is the name of a profile, or a host of your own: `ram_mb` and `cpu` (CPU time, as a number of CPUs), and, if
they are known, `disk_mb`, `request_s`, `health_s`, `start_s` and `grace_s`:

```yaml
platform: {ram_mb: 512, cpu: 0.5, request_s: 30, start_s: 60}
```

## What is started

The check follows each container to the command that runs in the end: the image's stages, COPY and RUN; the
entry point with the command, in exec or shell form; the host's own start command and environment; wrappers such
as `tini`, `env` and `gosu`; shells and the project's start scripts. The rules about ports, models and shells
ask that command, so they hold wherever it is written.

Some things are known only when the image is built or the container runs: a model that is downloaded, a
variable of the dashboard, a script that is not in the project, a base image that is not known. The check then says so
in a warning (`start-unknown`, `model-unknown`) and judges nothing that depends on it.

## Which path a health check asks

Ask `/health` or `/readyz`: both are 503 while a model file exists and cannot be loaded, so a broken deployment does
not replace the working one. A server that has not loaded its model yet (`--lazy`) is healthy. `/livez` only says that the
server runs; use it to restart a server that hangs. If the model's path does not exist at the start, the server
ends with exit status 2.

## Where the rules come from

Files of hosts are checked against the rules that their vendors publish, as read in November 2026: Render's
[blueprint reference](https://render.com/docs/blueprint-spec), Fly's
[configuration reference](https://fly.io/docs/reference/configuration/), Railway's
[schema](https://railway.com/railway.schema.json), Docker's
[Dockerfile reference](https://docs.docker.com/reference/dockerfile/) and
[compose file reference](https://docs.docker.com/reference/compose-file/). A setting that is newer than that is
called unknown: allow the rule, and tell us. `fixtures/projects/` has 292 projects with one mistake each and 146
without any; each names the fact behind it.

`scripts/make-checks-doc.py` writes this page from `src/readiness/rules.rs`; a test checks that the two
agree.
""")
for line in body.splitlines():
    heading = re.match(r"\s+// (.*?)\.?$", line)
    rule = re.match(r'\s+\w+ (\w+) "([^"]+)": "((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)";', line)
    if heading:
        print(f"\n## {heading.group(1)}")
    elif rule:
        severity, name, why, fix = (part.replace('\\"', '"') for part in rule.groups())
        print(f"\n### `{name}`\n\n{severity.lower()}: {why}.\n\nFix: {fix}.")
