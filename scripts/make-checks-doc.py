#!/usr/bin/env python3
"""Writes docs/checks.md's sections from the rules in src/readiness/rules.rs.

usage: scripts/make-checks-doc.py > docs/checks.md
"""
import pathlib
import re

root = pathlib.Path(__file__).resolve().parent.parent
source = (root / "src/readiness/rules.rs").read_text()
body = source[source.index("rules! {"):source.index("/// The rule of an id.")]

print("""# What `dermal check` looks for

`dermal check` reads `dermal.yaml`, the artifacts, `render.yaml`, `Dockerfile`, `.dockerignore`,
`Procfile`, `fly.toml` and `railway.json` of a folder. An **error** makes the exit status 1, a
**warning** or **note** does not. Exit status 2 means that it could not be told: `dermal.yaml` cannot be
read, names an unknown platform, or leads out of the project.

A rule that does not apply to a project is allowed in `dermal.yaml`, with the reason:

```yaml
allow:
  docker-runs-as-root: the platform maps users
```

`--format` prints findings for people (`human`), programs (`json`), CI servers (`junit`), pull requests
(`github`, `sarif`) or comments (`markdown`). `docs/ci/` has a GitHub Actions workflow and a pre-commit
hook. `--prove` runs the server with the model inside the platform's limits, too (docs/estimating.md).

`platform` is the name of a profile, or a host of your own: `ram_mb` and `cpu` (CPUs' worth of time), and if they are known
`disk_mb`, `request_s`, `health_s`, `start_s` and `grace_s`:

```yaml
platform: {ram_mb: 512, cpu: 0.5, request_s: 30, start_s: 60}
```

Files of hosts are held to the rules their vendors publish, as read in November 2026: Render's
[blueprint reference](https://render.com/docs/blueprint-spec), Fly's
[configuration reference](https://fly.io/docs/reference/configuration/), Railway's
[schema](https://railway.com/railway.schema.json), Docker's
[Dockerfile reference](https://docs.docker.com/reference/dockerfile/). A setting that is newer than that
is called unknown: allow the rule, and tell us.

This page is written by `scripts/make-checks-doc.py` from `src/readiness/rules.rs`; a test holds the two
together.""")
for line in body.splitlines():
    heading = re.match(r"\s+// (.*?)\.?$", line)
    rule = re.match(r'\s+\w+ (\w+) "([^"]+)": "((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)";', line)
    if heading:
        print(f"\n## {heading.group(1)}")
    elif rule:
        severity, name, why, fix = rule.groups()
        print(f"\n### `{name}`\n\n{severity.lower()}: {why}.\n\nFix: {fix}.")
