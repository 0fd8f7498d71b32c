"""What the diffusion model was trained on, to compare samples with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.data.utils import set_rnd
from torch import Tensor

from common.synthesis.copy_search import find_nearest


@dataclass(frozen=True)
class TrainingImages:
    """The images that a diffusion model was trained on; see :func:`read_training_images`.

    Attributes:
        names: of the files, as short as tells them apart.
        groups: patient, exam or image that a file belongs to.
        images: one of each file, ``(C, W, H)`` in [0, 1], at the scale of the samples.
        crops: ``(V, C, S, S)``, as large as the samples: what the model was shown, which may be whole images.
        crop_sources: ``(V,)``, which image a crop is from.
    """

    names: list[str]
    groups: list[str]
    images: list[Tensor]
    crops: Tensor
    crop_sources: Tensor


def read_training_images(
    entries: Sequence[Mapping[str, Any]],
    groups: Sequence[str | None],
    dataset: Dataset,
    crops: Callable[[Any], Any] | None = None,
    seed: int = 0,
) -> TrainingImages:
    """Read the images that the diffusion model was trained on.

    Args:
        entries: a MONAI datalist.
        groups: patient or exam of each entry, None where it is unknown.
        dataset: gives, for each entry, a dictionary whose ``image`` is ``(C, W, H)`` in [0, 1], at the scale of the
            samples.
        crops: the dictionary transform that cuts from such a dictionary what the model was shown, as large as the
            samples, one or a list of several; None if it was shown whole images.
        seed: of ``crops``.
    """
    if crops is not None:
        set_rnd(crops, seed=seed)
    items = [dataset[index] for index in range(len(entries))]
    shown = [item if crops is None else crops(item) for item in items]
    shown = [each if isinstance(each, list) else [each] for each in shown]
    return TrainingImages(
        names=_short_names([entry["image"] for entry in entries]),
        groups=[f"image {index}" if group is None else group for index, group in enumerate(groups)],
        images=[torch.as_tensor(item["image"]) for item in items],
        crops=torch.stack([torch.as_tensor(crop["image"]) for each in shown for crop in each]),
        crop_sources=torch.tensor([index for index, each in enumerate(shown) for _ in each]),
    )


def distances_between_groups(training: TrainingImages, device: str | torch.device = "cpu") -> Tensor:
    """Return the distance of each crop to the nearest image of another group, and none if there is only one group."""
    groups = np.array(training.groups)
    allowed = torch.as_tensor(groups[training.crop_sources][:, None] != groups[None])
    comparable = allowed.any(1)
    if not comparable.any():
        return torch.zeros(0)
    crops = training.crops[comparable].to(device)
    return find_nearest(crops, training.images, allowed=allowed[comparable]).distances.cpu()


def _short_names(paths: Sequence[str]) -> list[str]:
    """Return the names of files, with as much of their folders as tells them apart."""
    names = [Path(path).name for path in paths]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(path).relative_to(root).as_posix() for path in paths]
