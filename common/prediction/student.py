"""Open a student, whatever it is stored as: PyTorch's weights, a release, or ONNX, which needs no PyTorch."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path

from common.errors import InputError
from common.prediction.base import Student

logger = logging.getLogger(__name__)


def open_student(
    weights: str | os.PathLike,
    bundle: str | os.PathLike | None = None,
    *,
    size: int | None = None,
    device: str | None = None,
) -> Student:
    """Open a student with what it knows of its training.

    Args:
        weights: ``model.pt`` of a training, the folder of a release or of a run, or ``model.onnx`` of a release, for
            which ONNX Runtime alone is needed.
        bundle: folder of the bundle that the weights were trained with, which says what they do not say themselves;
            what they say comes first.
        size: width and height in pixels that it was trained with, where the weights do not say it.
        device: such as ``cpu`` or ``cuda:1``, for PyTorch; by default a GPU where there is one.

    Raises:
        InputError: if there are no such weights, they are damaged, or it is not known how to build the network or how
            to prepare images for it.
    """
    path = _find(Path(weights))
    if path.suffix.lower() == ".onnx":
        from common.prediction.onnx_student import OnnxStudent

        if device not in (None, "cpu"):
            raise InputError(f"--device {device}: {path} runs on the CPU alone; leave it out, or give model.pt")
        if bundle is not None:
            logger.warning("--bundle %s has no effect: %s says all of it itself", bundle, path)
        return OnnxStudent(path, size)
    if not _has_torch():
        raise InputError(f"{path}: needs PyTorch and MONAI, which are not installed here; give a release's model.onnx")
    from common.prediction.torch_student import open_torch_student

    return open_torch_student(path, None if bundle is None else Path(bundle), size, device, _release_of(path))


def _has_torch() -> bool:
    """Say whether PyTorch and MONAI are installed, without importing them, which takes seconds."""
    try:
        return all(find_spec(name) is not None for name in ("torch", "monai"))
    except ModuleNotFoundError:
        return False


def _find(path: Path) -> Path:
    """Return the file of weights that is meant: itself, or that of a release or of a run."""
    if path.is_dir():
        names = ["models/model.pt", "model.pt", "models/model.onnx", "model.onnx"]
        if not _has_torch():  # ONNX first
            names = [*names[2:], *names[:2]]
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise InputError(
                f"{path}: there are no weights in this folder; expected a release with models/model.pt, or a run with "
                "model.pt"
            )
        return found
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected model.pt, model.onnx, or the folder of a release")
    if path.suffix.lower() not in (".pt", ".pth", ".onnx"):
        raise InputError(f"{path}: expected weights in .pt or .onnx, or the folder of a release")
    return path


def _release_of(path: Path) -> Path | None:
    """Return the release that weights are in, which has all that they may not say; None for other weights."""
    folder = path.resolve().parent.parent
    return folder if path.parent.name == "models" and (folder / "configs" / "inference.yaml").is_file() else None
