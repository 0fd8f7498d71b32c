"""The page of facts of a bundle of one's own, which the templates complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from common.creation.budgets import cpu_budget, demo_budget
from common.creation.choices import Choices, batch_sizes
from common.creation.options import DEFAULT_TEACHER, Options
from common.creation.structures import Structures
from common.creation.words import make_words
from common.datasets.source import Source
from common.teachers.base_names import STAND_IN
from common.teachers.published_weights import is_published
from common.teachers.registry import recognise_family

_ALWAYS = ("images", "labels", "kind", "channels", "classes", "label_format")  # keys of the source that are shown


def make_page(
    options: Options, root: Path, source: Source, structures: Structures, choices: Choices, num_validation: int
) -> dict[str, Any]:
    """Return the facts of a bundle, as :func:`common.templates.read_facts` reads them.

    Args:
        options: what the user said.
        root: what configs call ``dataset_dir``.
        source: of the dataset.
        structures: what was measured.
        choices: what was chosen.
        num_validation: images, or volumes, for validation.
    """
    volumes = source.kind == "volumes"
    teacher = _teacher(options.pretrained or DEFAULT_TEACHER)
    noun = "slice" if volumes else "image"
    return {
        "name": options.name,
        "dataset_class": source.dataset_class,
        "dataset_dir": str(root),
        "layout": "your own images and labels, as source says",
        "source": _shown(source),
        "sees": choices.sees,
        "noun": noun,
        "held_back": "volume" if volumes else "image",
        "in_channels": source.channels,
        "num_classes": len(source.classes),
        "classes": yaml.safe_dump(list(source.classes), default_flow_style=True, width=10**6).strip(),
        "class_names": list(source.classes),
        **(_reading_volumes(choices) if volumes else _reading(source, choices)),
        **_motion(choices, source.channels),
        **_training(options, structures, choices, num_validation),
        **teacher,
        "cpu_pretrained": teacher["pretrained"],
        "demo": demo_budget(choices),
        "cpu": cpu_budget(choices),
        **make_words(options, source),
    }


def _shown(source: Source) -> dict[str, Any]:
    """Return the keys of a source that say something, in the order in which it has them."""
    usual = Source(images="", classes=()).to_config()
    config = source.to_config()
    shown = {key: value for key, value in config.items() if key in _ALWAYS or value != usual[key]}
    if shown.get("values"):
        shown["values"] = {str(grey): index for grey, index in shown["values"].items()}
    return {key: shown[key] for key in (*_ALWAYS, *(key for key in shown if key not in _ALWAYS))}


def _reading(source: Source, choices: Choices) -> dict[str, Any]:
    converter = "to_rgb" if source.channels == 3 else "to_grey"
    facts: dict[str, Any] = {
        "image_imports": "- $import common.datasets.readers.images as images",
        "read_image": (
            "- {_target_: common.datasets.readers.images.LoadPictured, keys: image, "
            f"converter: $images.{converter}}}\n"
            "- {_target_: ScaleIntensityRanged, keys: image, a_min: 0, a_max: 255, b_min: 0, b_max: 1, clip: true}\n"
        ),
        "label_reader": "common.datasets.readers.folder_labels.LoadFolderLabeld",
        "label_reader_takes": 'source: "@source"',
    }
    if choices.sees == "crops" or source.field_of_view is not None:
        facts["read_fov"] = (
            "- {_target_: LoadImaged, keys: fov, reader: PILReader, ensure_channel_first: true, "
            "allow_missing_keys: true}\n"
            "- {_target_: common.transforms.missing.FillMissingd, keys: fov, values: [1]}\n"
            "- {_target_: AsDiscreted, keys: fov, threshold: 0.5}\n"
        )
    return facts


def _reading_volumes(choices: Choices) -> dict[str, Any]:
    key, (low, high), means = choices.intensity
    scale = f'- {{_target_: common.transforms.intensity.ScaleSlicesd, keys: image, {key}: "@{key}"}}\n'
    return {
        "image_imports": None,
        "reading_keys": [{"key": key, "value": [_whole(low), _whole(high)], "means": means}],
        "read_image": "- {_target_: common.datasets.readers.slices.LoadSliced, keys: image}\n" + scale,
        "read_volume": (
            "- {_target_: common.datasets.readers.volumes.LoadVolumed, keys: image}\n"
            "- {_target_: Orientationd, keys: image, axcodes: LPS, labels: null}    # as DICOM stores axial slices\n"
        )
        + scale,
        "intensity": f'{{{key}: "@{key}"}}',
        "label_reader": "common.datasets.readers.folder_labels.LoadFolderLabeld",
        "label_reader_takes": 'source: "@source"',
    }


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _motion(choices: Choices, channels: int) -> dict[str, Any]:
    """Return how training moves images: never where nobody has said that it may."""
    flip = "- {_target_: RandFlipd, keys: %s, prob: 0.5, spatial_axis: 0}\n"
    turn = "- {_target_: RandRotate90d, keys: %s, prob: 0.75}\n"
    padding = "reflection" if choices.turns else "zeros"
    prob, angle, scale = (0.5, 0.4, 0.2) if choices.turns else (0.75, 0.15, 0.1)
    shift = ""
    if choices.sees == "slices":
        scale, shift = max(scale, 0.15), 'translate_range: "$[@image_size / 16] * 2", '
    affine = (
        f"- {{_target_: RandAffined, keys: [image, label], prob: {prob}, rotate_range: {angle}, "
        f"scale_range: {[scale, scale]},\n  {shift}mode: [bilinear, nearest], padding_mode: {padding}}}\n"
    )
    moves = [flip] * choices.mirrors + [turn] * choices.turns
    both = "".join(each % "[image, label]" for each in moves)
    gamma = "- {_target_: RandAdjustContrastd, keys: image, prob: 0.5, gamma: [0.7, 1.4]}\n"
    wise = ", channel_wise: true" if channels > 1 else ""
    return {
        "move_image_and_label": both + (affine if choices.sees != "crops" or not both else ""),
        "padding_mode": padding,
        "change_intensity": gamma
        + f"- {{_target_: RandScaleIntensityd, keys: image, prob: 0.5, factors: 0.2{wise}}}\n",
        "move_image": "".join(each % "image" for each in moves),
        "teacher_orientations": choices.orientations,
    }


def _training(options: Options, structures: Structures, choices: Choices, num_validation: int) -> dict[str, Any]:
    return {
        "num_validation": num_validation,
        "dice_over_batch": structures.num_lacking > 0,
        "distill_epochs": 32 if choices.sees == "images" else 60,
        "network_size": choices.size,
        "transfer_size": min(128, choices.size),
        "sample_size": min(128, choices.size),
        "batch_sizes": batch_sizes(choices.size),
        "example_folder": "new_scans" if choices.sees == "slices" else "new_photos",
        "inference_takes": "images",
    }


def _teacher(pretrained: str) -> dict[str, Any]:
    if pretrained == STAND_IN:
        return {
            "pretrained": STAND_IN,
            "lora_rank": 64,
            "lora_targets": ["qkv", "proj", "lin1", "lin2"],
        }
    path = os.path.abspath(os.path.expanduser(pretrained))
    is_path = os.path.exists(path) and not is_published(pretrained)
    where = path if is_path else pretrained
    name = os.path.basename(pretrained).lower()
    return {
        "pretrained": where,
        "pixel_normalisation": "none" if "medsam" in name and recognise_family(where) == "sam" else None,
    }
