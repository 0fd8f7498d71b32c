#!/usr/bin/env bash
# Make .venv-monailabel at the root of the repository, with MONAI Label in the tested versions: bash ci/install.sh monailabel
# Where nothing has changed since the last time, there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-monailabel
made_from() { cat ci/monailabel_*; }
made_from | cmp --silent - "$venv/made_from" && exit
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
