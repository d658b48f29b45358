#!/bin/sh
# .git/hooks/pre-commit: checks the project only if a commit changes something that is deployed.
if git diff --cached --name-only | grep -qE '(\.safetensors|dermal\.yaml|render\.yaml|Dockerfile|\.dockerignore|Procfile|fly\.toml|railway\.(json|toml))$'; then
  exec dermal check
fi
