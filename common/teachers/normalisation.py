"""How the weights of a teacher want their pixels: by mean and deviation, or in [0, 1] as they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import InputError
from common.files.json_files import read_json
from common.teachers.base_names import STAND_IN, STAND_IN_FOLDER, is_hub_id
from common.teachers.hub import is_reachable

logger = logging.getLogger(__name__)

# Segment Anything and most models of natural images want the first, MedSAM and LiteMedSAM the second.
NORMALISATIONS = {
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "none": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
}
_MEANINGS = {"imagenet": "by the mean and deviation of ImageNet", "none": "to [0, 1]"}


class PixelNormalisation(nn.Module):
    """Subtracts a mean from images in [0, 1] and divides by a deviation, for each of three channels.

    Args:
        mean: three numbers, for images in [0, 1].
        std: three positive numbers.

    Raises:
        ValueError: if they are anything else.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            if not (isinstance(values, (list, tuple)) and len(values) == 3 and all(map(_is_number, values))):
                raise ValueError(f"the {name} of pixels must be three numbers, got {values}")
        if min(std) <= 0:
            raise ValueError(f"the std of pixels must be positive, got {std}")
        self._description = {"mean": [float(value) for value in mean], "std": [float(value) for value in std]}
        for name, values in self._description.items():
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the pixels ``(B, 3, H, W)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return (images - self.mean) / self.std

    def describe(self) -> dict[str, list[float]]:
        """Return the arguments that make the same normalisation."""
        return dict(self._description)


def find_normalisation(pretrained: Any, stated: str | Mapping[str, Sequence[float]] | None) -> PixelNormalisation:
    """Return the normalisation of pretrained weights.

    Args:
        pretrained: where the weights are. What transformers has saved beside them decides, if it is there.
        stated: what decides otherwise: ``imagenet`` (also for None) or ``none``. A mapping with ``mean`` and ``std`` is
            what a teacher was fine-tuned with: it is taken whatever lies beside the weights.

    Raises:
        InputError: if ``stated`` is none of these, or the file beside the weights is damaged.
    """
    if isinstance(stated, Mapping):
        return PixelNormalisation(**stated)
    stated = "imagenet" if stated is None else stated
    if stated not in NORMALISATIONS:
        raise InputError(f"pixel_normalisation must be one of {', '.join(NORMALISATIONS)}, got '{stated}'")
    file = _find_preprocessor(pretrained) if isinstance(pretrained, (str, os.PathLike)) else None
    by = f"as {file} says" if file else f"{_MEANINGS[stated]} (pixel_normalisation {stated})"
    logger.info(f"the brightness of images is scaled for the teacher {by}")
    return read_preprocessor(file) if file else PixelNormalisation(**NORMALISATIONS[stated])


def read_preprocessor(file: Path) -> PixelNormalisation:
    """Read the normalisation from the configuration of an image processor, as transformers saves it.

    Args:
        file: ``preprocessor_config.json``, or ``processor_config.json`` with an ``image_processor``. What it leaves
            out has transformers' defaults: 8-bit values are divided by 255, then normalised as ImageNet's.

    Raises:
        InputError: if it is damaged.
    """
    try:
        content = read_json(file)
        content = content.get("image_processor", content)
        mean, std = NORMALISATIONS["none"].values()
        if content.get("do_normalize", True):
            mean = content.get("image_mean", NORMALISATIONS["imagenet"]["mean"])
            std = content.get("image_std", NORMALISATIONS["imagenet"]["std"])
        # The file is about 8-bit images, the teacher sees them in [0, 1]. Nearly all files say to divide by 255, so
        # that the brightest value is 1 for both.
        brightest = 255 * content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 255
        return PixelNormalisation(*([value / brightest for value in values] for values in (mean, std)))
    except (OSError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{file} does not say how pixels are normalised ({error}): repair or remove it") from error


def _find_preprocessor(pretrained: str | os.PathLike) -> Path | None:
    """Return the configuration of an image processor beside weights, in their folder or in the hub's snapshot."""
    for name in ("preprocessor_config.json", "processor_config.json"):  # transformers 5 saves processors as the second
        file = _beside(pretrained, name)
        if file and (name == "preprocessor_config.json" or '"image_processor"' in file.read_text(encoding="utf-8")):
            return file
    return None


def _beside(pretrained: str | os.PathLike, name: str) -> Path | None:
    if is_hub_id(pretrained):
        from transformers.utils import cached_file  # here because a student's stages do without transformers

        options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        found = cached_file(str(pretrained), name, local_files_only=not is_reachable(), **options)
        return Path(found) if found else None
    path = STAND_IN_FOLDER if str(pretrained) == STAND_IN else Path(pretrained)
    file = (path if path.is_dir() else path.parent) / name
    return file if file.is_file() else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
