"""What the diffusion model was trained on, to compare samples with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import Dataset
from monai.data.utils import set_rnd
from torch import Tensor

from common.synthesis.similarity import nearest


class TrainingImages(NamedTuple):
    """What the diffusion model was trained on, to compare samples with; see :func:`read_training_images`."""

    names: list[str]  # of the files
    groups: list[str]  # patient, exam or image that a file belongs to
    images: list[Tensor]  # of the files, (C, W, H) each, at the scale of the samples
    views: Tensor  # (V, C, S, S), such as the model was shown
    owners: Tensor  # (V,), which image a view is of


def read_training_images(
    entries: Sequence[Mapping[str, Any]], groups: Sequence[str | None], images: Dataset, views: Dataset, seed: int = 0
) -> TrainingImages:
    """Read the images that the diffusion model was trained on.

    Args:
        entries: a MONAI datalist.
        groups: patient or exam of each entry, None where it is unknown.
        images: gives the ``image`` ``(C, W, H)`` of each entry at the scale of the samples, in [0, 1].
        views: gives what the model was shown of each entry, as large as the samples: the whole image, or a list of
            patches.
        seed: of the transforms of ``views``.
    """
    set_rnd(views, seed=seed)
    shown = [views[index] for index in range(len(entries))]
    shown = [each if isinstance(each, list) else [each] for each in shown]
    return TrainingImages(
        names=_short_names([entry["image"] for entry in entries]),
        groups=[f"image {index}" if group is None else group for index, group in enumerate(groups)],
        images=[torch.as_tensor(images[index]["image"]) for index in range(len(entries))],
        views=torch.stack([torch.as_tensor(view["image"]) for each in shown for view in each]),
        owners=torch.tensor([index for index, each in enumerate(shown) for _ in each]),
    )


def distances_between_training_images(training: TrainingImages, device: str | torch.device = "cpu") -> Tensor:
    """Return the distance of each view to the nearest image of another group, and none if there is only one group."""
    groups = np.array(training.groups)
    allowed = torch.as_tensor(groups[training.owners][:, None] != groups[None])
    comparable = allowed.any(1)
    if not comparable.any():
        return torch.zeros(0)
    return nearest(training.views[comparable].to(device), training.images, allowed=allowed[comparable]).distances.cpu()


def _short_names(paths: Sequence[str]) -> list[str]:
    """Return the names of files, with as much of their folders as tells them apart."""
    names = [Path(path).name for path in paths]
    if len(set(names)) == len(names):
        return names
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(path).relative_to(root).as_posix() for path in paths]
