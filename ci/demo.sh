#!/usr/bin/env bash
# The whole pipeline on phantoms with the stand-in teacher: minutes on two CPU cores, no download but the packages.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "installing into .venv …"
bash ci/install.sh
.venv/bin/python -m common pipeline bundles/drive_segmentation --demo --output_dir "${1:-runs/demo}"
