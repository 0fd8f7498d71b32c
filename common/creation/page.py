"""The page of facts of a bundle of one's own, which the templates complete."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from common.creation.choices import Choices, batch_sizes
from common.creation.options import Options
from common.creation.structures import Structures
from common.datasets.source import Source

FACTS = "docs/facts.yaml"  # in the bundle
EMBEDDED = "embedded"  # the stand-in teacher
_UNKNOWN = "not stated: fill in"
_SAM_SIZE = 1024  # pixels a side that Segment Anything was trained on
_EMBEDDED_SIZE = 512  # what the stand-in is shown: twice what it was trained on
_ALWAYS = ("images", "labels", "kind", "channels", "classes", "label_format")  # keys of the source that are shown
_MODALITIES = {1: ("grey", ["brightness"]), 3: ("RGB", ["R", "G", "B"])}


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
        **_teacher(options.pretrained or EMBEDDED, choices.size),
        "demo": _demo(choices),
        "cpu": _cpu(choices),
        **_words(options, source),
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
        "example_folder": "new_scans" if choices.sees == "slices" else "new_images",
        "inference_takes": "images",
    }


def _teacher(pretrained: str, size: int) -> dict[str, Any]:
    if pretrained == EMBEDDED:
        return {
            "pretrained": EMBEDDED,
            "input_scale": max(1, _EMBEDDED_SIZE // size),
            "lora_rank": 64,
            "lora_targets": ["qkv", "proj", "lin1", "lin2"],
        }
    path = os.path.abspath(os.path.expanduser(pretrained))
    where = path if os.path.exists(path) else pretrained
    return {
        "pretrained": where,
        "input_scale": max(1, _SAM_SIZE // size),
        "pixel_normalisation": "none" if "medsam" in os.path.basename(pretrained).lower() else "imagenet",
    }


def _demo(choices: Choices) -> dict[str, Any]:
    large = choices.sees == "images"
    epochs = (4, 6, 4, 8) if large else (8, 6, 8, 10)
    intervals = (2, 2, 4) if large else (4, 4, 5)
    return {
        "epochs": dict(zip(("finetune_teacher", "train_diffusion", "distill", "train"), epochs, strict=True)),
        "val_interval": dict(zip(("finetune_teacher", "distill", "train"), intervals, strict=True)),
        "sample_interval": 3,
        _size_key(choices): 64,
        "sample_size": 32 if large else 64,
        "samples_per_epoch": 128 if large else 256,
        "batch_size": 16,
        "ema_momentum": 0.05 if large else 0.02,
        "num_images": 64,
    }


def _cpu(choices: Choices) -> dict[str, Any]:
    if choices.sees == "crops":
        small = min(64, choices.size)
        large = choices.cpu_size
        return {
            "epochs": {"finetune_teacher": 24, "train_diffusion": 16, "distill": 15, "train": 30},
            "val_interval": {"finetune_teacher": 6, "distill": 5, "train": 6},
            "sample_interval": 8,
            "crop_size": {
                **dict.fromkeys(("finetune_teacher", "synthesize", "distill"), small),
                "train": large,
                "evaluate_teacher": small,
                **dict.fromkeys(("evaluate", "inference"), large),
            },
            "sample_size": small,
            "input_scale": 4,
            "samples_per_epoch": 512,
            "batch_size": {"finetune_teacher": 8, "train_diffusion": 8, "synthesize": 64, "distill": 8, "train": 8},
        }
    if choices.sees == "slices":
        return {
            "epochs": {"finetune_teacher": 20, "train_diffusion": 16, "distill": 12, "train": 24},
            "val_interval": {"finetune_teacher": 5, "distill": 4, "train": 6},
            "sample_interval": 8,
            "image_size": choices.cpu_size,
            "sample_size": 64,
            "input_scale": max(1, 256 // choices.cpu_size),
            "samples_per_epoch": 512,
            "batch_size": {"finetune_teacher": 8, "train_diffusion": 8, "synthesize": 64, "distill": 8, "train": 8},
        }
    return {
        "epochs": {"finetune_teacher": 30, "train_diffusion": 14, "distill": 8, "train": 20},
        "val_interval": {"finetune_teacher": 6, "distill": 4, "train": 4},
        "sample_interval": 7,
        "image_size": choices.cpu_size,
        "sample_size": 32,
        "input_scale": max(1, 256 // choices.cpu_size),
        "samples_per_epoch": {"finetune_teacher": 512, "train_diffusion": 2048, "train": 512},
        "batch_size": {"finetune_teacher": 8, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8},
    }


def _size_key(choices: Choices) -> str:
    return "crop_size" if choices.sees == "crops" else "image_size"


def _words(options: Options, source: Source) -> dict[str, Any]:
    name = options.name
    title = options.title or f"{name.replace('_', ' ').capitalize()} segmentation"
    structures = list(source.classes[1:])
    listed = " and ".join([", ".join(structures[:-1]), structures[-1]] if len(structures) > 1 else structures)
    modality, channels = _MODALITIES[source.channels]
    kind = "volumes, slice by slice" if source.kind == "volumes" else "images"
    return {
        "title": title,
        "task": f"Segmentation of {listed} in {kind}",
        "segments": f"segments {listed} in {kind}",
        "dataset_title": f"{name} {'volumes' if source.kind == 'volumes' else 'images'}",
        "data_source": _UNKNOWN,
        "data_type": "nifti" if source.kind == "volumes" else "png",
        "image_classes": f"{modality} {'slice' if source.kind == 'volumes' else 'image'}, intensities scaled to [0, 1]",
        "image_modality": modality,
        "channels": channels,
        "reference": None,
        "authors": _UNKNOWN,
        "copyright": _UNKNOWN,
        "commands_section": _commands(name, source.kind == "volumes"),
        "data_section": _data_section(source),
        "preprocessing_section": _PREPROCESSING,
        "performance_section": (
            "Dice, IoU and the 95th percentile of the Hausdorff distance (pixels) are measured per class, in the "
            "image's own size."
        ),
        "data_license": (
            f"The images and labels of {name} are not part of this bundle.\n\n"
            "Owner and licence: not stated, fill in. Whoever is given a student that was trained on them must be\n"
            "allowed to have it.\n\n"
            "Any work that uses them cites: not stated, fill in.\n"
        ),
    }


def _commands(name: str, volumes: bool) -> str:
    what, folder = ("volume", "new_scans") if volumes else ("image", "new_images")
    return f"""## Commands
In the folder above this one:

```
task-distill check {name}_segmentation
task-distill pipeline {name}_segmentation --output_dir runs/{name}
task-distill predict {folder}/ --weights runs/{name}/model.pt --output_dir new_masks/
```

`check` reads every image and label and says what is wrong with them. `pipeline` trains: teacher, transfer set, student.
`predict` writes a mask for each new {what}, and needs the weights alone.
"""


def _data_section(source: Source) -> str:
    names = ", ".join(f"{index} {name}" for index, name in enumerate(source.classes))
    where = f"`{source.images}`" + (f" and `{source.labels}`" if source.labels else "")
    split = "as `source::split` says" if source.split else "by seed (`split_seed`): a quarter for the test"
    patients = (
        "No patient is in two splits (`source::patient`)."
        if source.patient
        else "Patients are not known: images of one patient may be in two splits, which makes results look better than "
        "they are. `source::patient` would say them."
    )
    return f"""Images and labels of one's own: {where} in `dataset_dir`, read as `source` says.

Owner, licence and how to cite them are not stated: fill in `docs/data_license.txt`, and `data_source`, `authors` and
`copyright` in `configs/metadata.json`.

- **Classes.** {names}.
- **Split.** {split.capitalize()}; `num_validation` of the others choose the best weights.
  {patients}
- **Label budget.** `num_labels` keeps that many labelled training images.
"""


_PREPROCESSING = """Intensities are scaled to [0, 1]. Training varies images as far as it was said that they may vary:
`train::random_transforms` in `configs/train.yaml`.
"""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def page_text(page: Mapping[str, Any]) -> str:
    """Return a page as a YAML file with a head that says what it is for."""
    head = (
        f"# What is particular to {page['name']}: every config and page of this bundle is rendered from it.\n"
        f"# After a change, in the folder above the bundle:\n"
        f"#   task-distill create {page['name']}_segmentation/docs/facts.yaml --output_dir . --overwrite\n\n"
    )
    return head + yaml.dump(dict(page), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
