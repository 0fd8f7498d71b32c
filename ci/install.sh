#!/usr/bin/env bash
# Make .venv at the root of the repository and install this package into it: bash ci/install.sh [EXTRA]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or newer is needed, $("$python" --version) was found: set PYTHON" >&2
    exit 1
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint ci/constraints.txt "torch==2.13.0"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint ci/constraints.txt --editable ".${1:+[$1]}"
