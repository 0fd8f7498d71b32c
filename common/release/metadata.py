"""The metadata of a release: what was measured, what it needs, and what it is, in place of what it might become."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version as installed_version
from typing import Any, TypeGuard

from torch import nn

from common.distillation.methods import Method
from common.errors import InputError
from common.release.evidence import NO_TEACHER, Evidence
from common.students.vit import ViTSegmenter

# What MONAI needs for a bundle with a ViT and YAML configs. What only evaluate.yaml needs, or what a stage does
# without, is in the card: MONAI takes a list of optional packages for an older name of this one, and lets it replace
# this one.
_REQUIRED = ("einops", "fire", "pillow", "pytorch-ignite", "pyyaml")
_LISTED_APART = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}

_SEQUENCES = {
    "ct": ("CT", "CT"),
    "t1_in": ("MR", "T1-DUAL, in phase,"),
    "t1_out": ("MR", "T1-DUAL, out of phase,"),
    "t2": ("MR", "T2-SPIR"),
}


def release_metadata(
    source: Mapping[str, Any],
    evidence: Evidence,
    network: nn.Module,
    classes: Sequence[str],
    settings: Mapping[str, Any],
    packages: Iterable[str],
    version: str | None = None,
    changes: str | None = None,
) -> dict[str, Any]:
    """Return the metadata of a release.

    Args:
        source: the metadata of the source bundle.
        evidence: what is known of the student.
        network: the student.
        classes: names of its classes by id, background first.
        settings: keys that the release sets in its configs.
        packages: distributions that its modules import.
        version: of the release; by default that of the source.
        changes: what is new in this version, for the changelog.

    Raises:
        InputError: if the version is none, or has no entry in the changelog.
    """
    metadata = dict(source)
    metadata |= _version(source, version, changes)
    for package, key in _LISTED_APART.items():
        metadata[key] = installed_version(package).split("+")[0]
    needed = sorted({*_REQUIRED, *packages} - _LISTED_APART.keys())
    metadata["required_packages_version"] = {name: installed_version(name) for name in needed}
    metadata |= _what_it_is(source, classes, settings)
    metadata["name"] = source["name"] + _title_suffix(evidence)
    metadata["description"] = f"{describe_network(network)}, {describe_making(evidence)}, for: {metadata['task']}"
    metadata["eval_metrics"] = _metrics(evidence.summary)
    return metadata


def describe_network(network: nn.Module) -> str:
    """Return what a student is, in a few words."""
    count = sum(parameter.numel() for parameter in network.parameters())
    size = f"{count / 1e6:.1f} million parameters" if count > 1e5 else f"{count:,} parameters"
    if isinstance(network, ViTSegmenter):
        encoder = network.encoder
        width, depth = encoder.patch_embed.out_channels, len(encoder.blocks)
        kind = "ViT-Tiny" if (width, depth) == (192, 12) else f"vision transformer of width {width} and depth {depth}"
        return f"A {kind} with a convolutional path ({size})"
    return f"A {type(network).__name__} ({size})"


def describe_making(evidence: Evidence) -> str:
    """Return how a student was made before it was fine-tuned, without claiming what is not known."""
    method = evidence.method
    if evidence.has_stand_in:
        return (
            "distilled from a stand-in teacher: a small Segment Anything Model that was pre-trained on procedural "
            "shapes alone, not a published one"
        )
    if evidence.teacher == NO_TEACHER:
        return "trained without a teacher" + (f", after {method.title} pre-training" if _pre_trains(method) else "")
    if not evidence.names_teacher:
        return "whose teacher, if it had one, is not known"
    if method and method.teacher == "fine_tuned":
        return f"distilled from {evidence.teacher}, fine-tuned with LoRA"
    if method and method.teacher == "published":
        return f"distilled from {evidence.teacher} as it was published"
    return f"distilled from {evidence.teacher}"


def _pre_trains(method: Method | None) -> TypeGuard[Method]:
    return method is not None and method.prepares is not None


def _title_suffix(evidence: Evidence) -> str:
    """Return what follows the title of a student of this teacher."""
    if evidence.has_stand_in:
        return ", distilled from a stand-in teacher"
    return f", distilled from {evidence.teacher}" if evidence.names_teacher else ""


def _version(source: Mapping[str, Any], version: str | None, changes: str | None) -> dict[str, Any]:
    version = str(version or source["version"])
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise InputError(f"--version {version}: expected three numbers, such as 0.2.0")
    changelog = dict(source["changelog"])
    if changes:
        changelog = {version: str(changes), **{key: text for key, text in changelog.items() if key != version}}
    if version not in changelog:
        raise InputError(f"--version {version}: the changelog has no such version; say what is new by --changes")
    return {"version": version, "changelog": changelog}


def _what_it_is(source: Mapping[str, Any], classes: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that depend on the classes and the modality."""
    formats = source["network_data_format"]
    image, pred = dict(formats["inputs"]["image"]), dict(formats["outputs"]["pred"])
    changed: dict[str, Any] = {}
    channels = {str(index): name for index, name in enumerate(classes)}
    if channels != pred["channel_def"]:
        pred |= {"num_channels": len(classes), "channel_def": channels}
        meaning = ", ".join(f"{index} is {name}" for index, name in channels.items())
        changed["label_classes"] = f"single channel data, {meaning}"
        changed["pred_classes"] = f"{len(classes)} channels, one per class: {', '.join(classes)}"
        changed["task"] = f"Segmentation of {', '.join(classes[1:])}"
    if settings.get("modality") in _SEQUENCES:
        image["modality"], name = _SEQUENCES[settings["modality"]]
        changed["image_classes"] = f"axial slice of a {name} volume, intensities scaled to [0, 1]"
    changed["network_data_format"] = {**formats, "inputs": {"image": image}, "outputs": {"pred": pred}}
    return {"task": source["task"], **changed}


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the means over cases of each metric, for the mean over classes and for each class."""
    values = {}
    for metric, measured in summary["metrics"].items():
        for label, entry in measured.items():
            if entry["mean"] is not None and math.isfinite(entry["mean"]):
                values[f"{label.replace(' ', '_')}_{metric}"] = round(entry["mean"], 4)
    return values
