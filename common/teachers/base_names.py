"""What a teacher's base is called, and whether it is the stand-in teacher."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path
from typing import Any

from common.files.provenance import base_name
from common.teachers.published_weights import PUBLISHED, is_published

STAND_IN = "embedded"  # as a value of ``pretrained``

STAND_IN_FOLDER = Path(__file__).parent / "stand_in"


def is_stand_in(pretrained: str | os.PathLike) -> bool:
    """Say whether this names the stand-in teacher, or a folder that is a copy of it under another name."""
    weights = Path(pretrained) / "model.safetensors"
    return str(pretrained) == STAND_IN or (
        weights.is_file() and filecmp.cmp(weights, STAND_IN_FOLDER / weights.name, shallow=False)
    )


def is_hub_id(pretrained: str | os.PathLike) -> bool:
    """Say whether this is an owner and a name on the hub, such as ``facebook/sam-vit-base``, and no path."""
    return str(pretrained).count("/") == 1 and not os.path.exists(pretrained) and base_name(pretrained) == pretrained


def name_of_base(pretrained: Any) -> str | None:
    """Return what to call a base in a report: a hub id as it is, of a path the last part, None for random weights.

    Weights that have a name of this project, such as ``lite_medsam``, are called what their authors call them.
    """
    if not isinstance(pretrained, (str, os.PathLike)):
        return None
    if is_stand_in(pretrained):
        return STAND_IN
    if is_published(pretrained):
        return PUBLISHED[str(pretrained)].title
    return base_name(os.path.abspath(pretrained) if os.path.exists(pretrained) else pretrained)
