#!/usr/bin/env bash
# Install, lint and test. What is given is passed on to pytest: bash ci/test.sh -m 'not slow'
set -euo pipefail
cd "$(dirname "$0")/.."
echo "installing into .venv …"
bash ci/install.sh test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/python ci/verify_bundle.py bundles/*
.venv/bin/python -m pytest "$@"
dist=$(mktemp -d)
trap 'rm -rf "$dist"' EXIT
bash ci/test_release.sh --dist "$dist"
.venv/bin/python ci/verify_bundle.py "$dist"/*_segmentation
bash ci/test_monailabel.sh
# One release, in MONAI Label too: what takes minutes is the same as in the bundle it was made of.
bash ci/test_monailabel.sh --bundles "$dist" \
    -k "(ph2 and (test_inference or next_label)) or (kidneyus and test_scoring) or several_gpus"
