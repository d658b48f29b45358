#!/bin/sh
# .git/hooks/pre-commit: looks at the project only when something that is deployed is committed.
if git diff --cached --name-only | grep -qE '(\.safetensors|dermal\.yaml|render\.yaml|Dockerfile|\.dockerignore|Procfile|fly\.toml|railway\.(json|toml))$'; then
  exec dermal check
fi
