#!/usr/bin/env bash
# Release a student of every bundle, and use it in .venv-release, which has nothing but what releases say that they need;
# pydicom, which CHAOS alone does, and scipy, which BUSI alone does, are hidden from the others.
# What is given is passed on to pytest: bash ci/test_release.sh -k drive
set -euo pipefail
cd "$(dirname "$0")/.."
made_from() { cat ci/test_release.sh ci/constraints.txt; }
if ! made_from | cmp --silent - .venv-release/made_from; then
    echo "installing into .venv-release …"
    [ -x .venv-release/bin/python ] || "${PYTHON:-python3}" -m venv .venv-release
    pip=(.venv-release/bin/python -m pip install --quiet --disable-pip-version-check --constraint ci/constraints.txt)
    "${pip[@]}" "torch==2.13.0"
    "${pip[@]}" monai einops pytorch-ignite nibabel pillow pyyaml fire pydicom scipy
    made_from >.venv-release/made_from
fi
.venv/bin/python -m pytest tests/release/fresh_environment.py "$@"
