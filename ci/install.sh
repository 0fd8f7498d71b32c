#!/usr/bin/env bash
# Make .venv at the root of the repository and install this package into it: bash ci/install.sh [EXTRA]
# MONAI Label gets an environment of its own, .venv-monailabel: bash ci/install.sh monailabel
# Where nothing has changed since the last time, there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or newer is needed, $("$python" --version) was found: set PYTHON" >&2
    exit 1
}
if [ "${1:-}" = monailabel ]; then
    PYTHON=$python exec bash ci/monailabel_install.sh
fi
made_from() { cat ci/install.sh ci/constraints.txt ci/references.txt setup.cfg && pwd; }
stamp=.venv/made_from${1:+_$1}
if ! made_from | cmp --silent - "$stamp"; then
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint ci/constraints.txt)
    "${pip[@]}" "torch==2.13.0"
    "${pip[@]}" --editable ".${1:+[$1]}"
    if [ "${1:-}" = test ]; then
        .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --dest .venv/references --requirement ci/references.txt
    fi
    made_from >"$stamp"
fi
