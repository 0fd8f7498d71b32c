#!/usr/bin/env bash
# Install, lint and test. What is given is passed on to pytest: bash ci/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
echo "installing into .venv …"
bash ci/install.sh test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/python ci/verify_bundle.py bundles/*
.venv/bin/python -m pytest "$@"
bash ci/test_release.sh
bash ci/test_monailabel.sh
