#!/usr/bin/env bash
# Release a student of every bundle, and use it in .venv-release, which has nothing but what releases say that they need;
# pydicom, which CHAOS alone does, is hidden from the others.
# What is given is passed on to pytest: bash ci/test_release.sh -k drive
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
echo "installing into .venv-release …"
[ -x .venv-release/bin/python ] || "$python" -m venv .venv-release
pip=(.venv-release/bin/python -m pip install --quiet --disable-pip-version-check --constraint ci/constraints.txt)
"${pip[@]}" "torch==2.13.0"
"${pip[@]}" monai einops pytorch-ignite nibabel pillow pyyaml fire pydicom
.venv/bin/python -m pytest tests/release/fresh_environment.py "$@"
