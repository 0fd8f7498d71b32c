#!/usr/bin/env bash
# Test the bundles in MONAI Label's own server, in a virtual environment made for it.
# What is given is passed on to pytest: bash ci/test_monailabel.sh --bundles dist   (releases, instead of bundles/)
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-monailabel
made_from() { cat ci/test_monailabel.sh ci/monailabel_*.txt; }
if ! made_from | cmp --silent - "$venv/made_from"; then
    echo "installing MONAI Label into $venv …"
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
    pip install --constraint ci/monailabel_constraints.txt --requirement ci/monailabel_requirements.txt
    pip install --no-deps monailabel==0.8.5
    # With a CPU-only torch, torchvision's operators cannot load; it imports where two of them are at least declared.
    "$venv/bin/python" -c "import torchvision" 2>/dev/null || cat >"$("$venv/bin/python" -c \
        "import sysconfig; print(sysconfig.get_path('purelib'))")/sitecustomize.py" <<'PYTHON'
import torch

operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
PYTHON
    "$venv/bin/python" -c "import torchvision, monailabel"
    made_from >"$venv/made_from"
fi
# The other tests' fixtures are for the other environment.
PYTHONPATH=$PWD "$venv/bin/python" -m pytest --confcutdir tests/monailabel tests/monailabel "$@"
