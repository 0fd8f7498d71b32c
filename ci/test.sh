#!/usr/bin/env bash
# Install, lint and test. What is given is passed on to pytest: bash ci/test.sh -m 'not slow'
# Two cores work side by side, on the tests of this environment by two workers, and on those of the wheel, of releases and
# of MONAI Label, in environments of their own, whose output is printed at the end. The last line is the one that pytest
# closes with.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "installing into .venv …"
bash ci/install.sh test
.venv/bin/ruff check .
.venv/bin/ruff check --preview --select PLW1514 common # every file that is opened names its encoding
.venv/bin/ruff format --check .
.venv/bin/lint-imports --no-cache --no-logo


export OMP_NUM_THREADS=1 # networks of tests are too small for two
work=$(mktemp -d)
NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict --site-dir "$work/site"
trap 'kill -- -$elsewhere 2>/dev/null || true; rm -rf "$work"' EXIT
set -m # a group of its own for what runs beside
bash ci/test_elsewhere.sh "$work/dist" >"$work/log" 2>&1 &
elsewhere=$!
here=0
.venv/bin/python ci/fuzz.py --inputs 60 --seed 0 --jobs 1 || here=$?
.venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@" | tee "$work/pytest" || here=$?
there=0
wait "$elsewhere" || there=$?
cat "$work/log"
tail -n 1 "$work/pytest"
exit $((here ? here : there))
