#!/usr/bin/env bash
# What is tested outside of .venv: the installed wheel, releases where nothing but what they need is installed, and
# bundles in MONAI Label. Before that, the type hints.
# The releases are left in a folder: bash ci/test_elsewhere.sh dist
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/mypy # here since it takes a minute, and those who wait for the tests need not wait for it
bash ci/test_wheel.sh
bash ci/test_release.sh --releases "$1"
.venv/bin/python ci/verify_bundle.py "$1"/*_segmentation
bash ci/test_monailabel.sh
# One release, in MONAI Label too: what takes minutes is the same as in the bundle it was made of.
bash ci/test_monailabel.sh --bundles "$1" \
    -k "(ph2 and (test_inference or next_label)) or (kidneyus and test_scoring) or several_gpus or test_soak or test_docs_page"
