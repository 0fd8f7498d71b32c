"""Read the page of facts about a dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from common.errors import InputError
from common.templates.teacher_words import describe_teacher

_FOLDER = Path(__file__).parent / "facts"
FACTS: dict[str, Path] = {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}
SEES = {  # what the networks see: the key of its size, and what that is
    "crops": ("crop_size", "pixels a side of the crops"),
    "images": ("image_size", "pixels a side that images are resized to"),
    "slices": ("image_size", "pixels a side that slices are resized to"),
}
_NO_RESULTS = """\
On real images no student of this version has been measured. Figures on phantoms stand in `docs/results` of the
repository.
"""

# What a page need not say.
_DEFAULTS: dict[str, Any] = {
    "class_imports": None,
    "image_imports": None,
    "example_override": None,
    "class_keys": [],
    "label_keys": [],
    "reading_keys": [],
    "volumes_of": None,
    "read_fov": None,
    "other_classes": None,
    "padding_mode": "zeros",
    "dice_over_batch": False,
    "overlay_style": "auto",
    "stages_section": None,
    "performance_details": None,
    "results_section": _NO_RESULTS,
    "commands_section": None,
    "source": None,
    "intensity": "{range: [0, 255]}",  # which values become 0 and 1
    "authors": "The authors of this project",
    "copyright": "Copyright the authors of this project",
    "pretrained": "facebook/sam-vit-base",
    "cpu_pretrained": "lite_medsam",
    "pixel_normalisation": None,
    "lora_rank": 8,
    "lora_targets": None,
    "network_size": 256,
    "transfer_size": 128,
    "sample_size": 128,
    "batch_sizes": {"finetune_teacher": 4, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8},
}


def read_facts(facts: str | os.PathLike) -> dict[str, Any]:
    """Return the facts about a dataset, as templates take them.

    Args:
        facts: the name of a dataset of this project, such as ``drive``, or the path of a page.

    Raises:
        InputError: if there is no such page, or it is not a page of facts.
    """
    path = FACTS.get(str(facts), Path(facts))
    if not path.is_file():
        raise InputError(
            f"facts: there is no page {facts}; name a dataset ({', '.join(FACTS)}) or the path of a YAML file, for "
            f"which {_FOLDER} has examples"
        )
    try:
        page = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"facts: {path} cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(page, dict):
        raise InputError(f"facts: {path} must be a mapping of facts by name, got a {type(page).__name__}")
    return complete_facts(page, path)


def complete_facts(page: Mapping[str, Any], path: str | os.PathLike) -> dict[str, Any]:
    """Return a page with what it need not say.

    Args:
        page: facts by name.
        path: of the page, for messages.

    Raises:
        InputError: if ``sees`` or ``name`` is of no use.
    """
    sees = page.get("sees")
    if sees not in SEES:
        raise InputError(f"facts: {path}: sees must be one of {', '.join(SEES)}, got {sees!r}")
    name = page.get("name")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        raise InputError(f"facts: {path}: name must be lower-case letters, digits and _, got {name!r}")
    size, size_is = SEES[sees]
    facts = {**_DEFAULTS, **page, "size": size, "size_is": size_is}
    facts |= describe_teacher(facts["pretrained"])
    # A bundle of one's own knows where its data are.
    facts["data_option"] = "" if facts["source"] else f"--dataset_dir {page.get('dataset_dir')} "
    return facts
