#!/usr/bin/env bash
# The four commands from a folder of images to masks of new ones, as somebody has them who installed the wheel and has
# nothing of this repository: in .venv-wheel. In .venv-onnx, which has no PyTorch, the student predicts as ONNX.
# What is given is passed on to pytest: bash ci/test_wheel.sh -k create
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/source"
# A copy, in which no build of an earlier time lies.
git ls-files -z --cached --others --exclude-standard common setup.cfg pyproject.toml README.md LICENSE |
    tar --null -T - -cf - | tar -xf - -C "$work/source"
.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work" "$work/source"
wheel=$(echo "$work"/*.whl)

made_from() { cat ci/test_wheel.sh ci/constraints.txt setup.cfg; }
install() { # into the environment that comes first
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --constraint ci/constraints.txt "${@:2}"
}
for environment in .venv-wheel .venv-onnx; do
    if ! made_from | cmp --silent - "$environment/made_from"; then
        echo "installing into $environment …"
        [ -x "$environment/bin/python" ] || "${PYTHON:-python3}" -m venv "$environment"
        if [ "$environment" = .venv-wheel ]; then
            install "$environment" "torch==2.13.0"
            install "$environment" "$wheel[onnx]"
        else # what the ONNX of a student needs, and no more
            install "$environment" filelock nibabel numpy onnxruntime pillow pyyaml scipy tqdm
        fi
        made_from >"$environment/made_from"
    fi
    install "$environment" --no-deps --force-reinstall "$wheel"
done
.venv/bin/python -m pytest tests/wheel/fresh_wheel.py "$@"
