"""The model card of a release, ``docs/README.md``: what the student is, what it learned from, and how to run it.

Its text is in ``templates/card.md``; some sections are those of the source's page, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from common.distillation.methods import PROPOSED
from common.release.evidence import Evidence
from common.release.metadata import describe_making, describe_network
from common.release.rendering import render
from common.release.summaries import METRICS

_SECTIONS = ("Data", "Preprocessing", "Intended use", "References", "License")  # of the source's page
_NOT_STATED = "not stated"  # how the sources of a created bundle begin until somebody fills them in
_DIGITS = {"dice": 3, "iou": 3, "hd95": 1}
_SETTINGS = {
    "num_labels": "labelled training images",
    "num_validation": "images that chose the best weights",
    "split_seed": "seed of the split",
    "seed": "seed of the training",
    "image_size": "pixels a side of what it saw",
    "crop_size": "pixels a side of what it saw",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "epochs": "epochs of fine-tuning",
    "task": "task",
    "annotator": "annotator",
    "modality": "modality",
}


def model_card(
    page: str,
    metadata: Mapping[str, Any],
    evidence: Evidence,
    network: nn.Module,
    settings: Mapping[str, Any],
    name: str,
    package: str,
    trained_on: str | None = None,
    has_provenance: bool = False,
    reads_workbooks: bool = False,
) -> str:
    """Return the text of the card.

    Args:
        page: the page of the source bundle.
        metadata: of the release.
        evidence: what is known of the student.
        network: the student.
        settings: keys that the release sets in its configs.
        name: of the release's folder.
        package: of its code.
        trained_on: what the user says that the student was trained on.
        has_provenance: whether the release has the provenance of the weights.
        reads_workbooks: whether the dataset has a workbook.
    """
    formats = metadata["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    summary = evidence.summary
    known = {**settings, **(evidence.training or {})}
    packages = {"monai": metadata["monai_version"], "torch": metadata["pytorch_version"]}
    packages |= metadata["required_packages_version"]
    return render(
        "card.md",
        metadata=metadata,
        evidence=evidence,
        proposed=PROPOSED,
        network=describe_network(network),
        making=describe_making(evidence),
        trained_on=trained_on,
        data_source=stated_source(metadata),
        settings=[(label, known[key]) for key, label in _SETTINGS.items() if key in known],
        unit=distance_unit(summary),
        performance=performance_table(summary),
        undefined=_undefined(summary["metrics"]["hd95"]),
        sections=card_sections(page),
        image=image,
        pred=pred,
        one_size=isinstance(image["spatial_shape"][0], int),
        packages=[f"{package}=={version}" for package, version in packages.items()],
        name=name,
        package=package,
        has_provenance=has_provenance,
        reads_workbooks=reads_workbooks,
    )


def missing_sections(page: str) -> list[str]:
    """Return the sections that a source's page lacks for a card to be made of it."""
    return [title for title in _SECTIONS if title not in card_sections(page)]


def stated_source(metadata: Mapping[str, Any]) -> str | None:
    """Return the dataset that the metadata of a bundle name; None where nobody has filled it in."""
    source = metadata.get("data_source")
    return None if source is None or source.startswith(_NOT_STATED) else source


def card_sections(page: str) -> dict[str, str]:
    """Return the sections of a bundle's page by title."""
    parts = re.split(r"^## (.+)$\n", page, flags=re.MULTILINE)
    return {title.strip(): text.strip("\n") for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def distance_unit(summary: Mapping[str, Any]) -> str:
    """Return the unit of the distances that were measured, in words."""
    unit = summary.get("distance_unit", "px")
    return "pixels" if unit == "px" else unit


def performance_table(summary: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the rows of a table of what was measured: a class, and a cell for each of ``METRICS``."""
    measured = summary["metrics"]
    labels = measured["dice"]
    return [(label, [_cell(measured[name][label], _DIGITS[name]) for name in METRICS]) for label in labels]


def _cell(entry: Mapping[str, Any], digits: int) -> str:
    if entry["mean"] is None:
        return "undefined"
    low, high = entry["ci95"]
    return f"{entry['mean']:.{digits}f} ± {entry['sd']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _undefined(distances: Mapping[str, Any]) -> Sequence[str]:
    return [f"{label} ({entry['undefined']})" for label, entry in distances.items() if entry.get("undefined")]
