"""A student as ONNX, as a release has it: ONNX Runtime and NumPy alone are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.prediction.base import Student
from common.prediction.recipe import Recipe
from common.students.references import Reference

_NO_RECIPE = "does not say how images are prepared for it, as releases of earlier versions do not: release it again, "


class OnnxStudent(Student):
    """A student that ONNX Runtime runs.

    Args:
        path: the file, with the recipe in its metadata.
        size: width and height that it was trained with, if they must be what the file says.

    Raises:
        InputError: if it cannot be read, or does not say how images are prepared for it.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise InputError(f'{path}: needs ONNX Runtime: pip install "task-specific-distillation[onnx]"') from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no error class of its own that is public
            raise InputError(f"{path} is damaged or no ONNX ({' '.join(str(error).split())[:200]})") from error
        facts = _facts(self.session.get_modelmeta().custom_metadata_map.get("recipe"), path)
        self.recipe = Recipe.from_provenance(facts, str(path))
        self.reference = Reference.from_json(facts.get("reference"), str(path))
        if size is not None and size != self.recipe.size:
            raise InputError(f"--size {size}: {path} was trained with {self.recipe.size}; leave it out")
        self.outputs = [output.name for output in self.session.get_outputs()]
        if "pred" not in self.outputs or [each.name for each in self.session.get_inputs()] != ["image"]:
            raise InputError(f"{path}: expected an input image and outputs pred and features, as a release has them")

    def run(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return logits and features, see :meth:`Student.run`."""
        names = [name for name in ("pred", "features") if name in self.outputs]
        try:
            found = self.session.run(names, {"image": np.ascontiguousarray(images, np.float32)})
        except Exception as error:
            raise InputError(f"the student does not take images of {images.shape[2:]} pixels ({error})") from error
        return found[0], found[1] if len(found) == 2 else None


def _facts(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        raise InputError(f"{path} {_NO_RECIPE}or give its model.pt")
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: the recipe in it is damaged ({error}); release it again") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path}: the recipe in it is damaged; release it again")
    return facts
