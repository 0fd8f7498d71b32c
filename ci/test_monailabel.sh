#!/usr/bin/env bash
# Test the bundles in MONAI Label's own server, in the virtual environment made for it.
# What is given is passed on to pytest: bash ci/test_monailabel.sh --bundles dist   (releases, instead of bundles/)
set -euo pipefail
cd "$(dirname "$0")/.."
bash ci/install.sh monailabel
# The other tests' fixtures are for the other environment.
PYTHONPATH=$PWD .venv-monailabel/bin/python -m pytest --confcutdir tests/monailabel tests/monailabel "$@"
