#!/usr/bin/env bash
# Every stage, SAM's speed and NCCL on a GPU, in at most nine minutes: bash ci/gpu_check.sh --output gpu.json [--help]
# Python is PYTHON, or that of .venv, or python3; what it lacks is taken from --wheels DIR.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
exec "$PYTHON" ci/gpu_check.py "$@"
