"""The front page of a release, ``README.md``: what a hub indexes, a picture, and the student in five lines of Python.

Its metadata are those of the Hugging Face hub (https://huggingface.co/docs/hub/model-cards). What there is to know of
the student is in the model card, ``docs/README.md``, which it links.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from PIL import Image

from common.errors import InputError
from common.release.card import card_sections, distance_unit, performance_table, stated_source
from common.release.evidence import Evidence
from common.release.rendering import render
from common.release.summaries import METRICS

PICTURE = "docs/picture.png"
_LARGEST_PICTURE = 2_000_000  # bytes: it is looked at on a web page
_SIDE = 128  # pixels of the image in its example, if the student takes any size
_TASK = "image-segmentation"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_OTHER_LICENCE = "apache-2.0-and-the-terms-of-the-data"


def find_picture(picture: str | None, evaluation: Path, evidence: Evidence) -> Path | None:
    """Return the picture of a release: the one that is given, or that of a phantom, which shows no patient.

    Args:
        picture: a PNG file that may be shown to everybody.
        evaluation: folder of the student's evaluation.
        evidence: what is known of the student.

    Raises:
        InputError: if what is given is no PNG of at most 2 MB.
    """
    if picture is None:
        overlays = sorted((evaluation / "overlays").glob("*.png")) if evidence.phantoms else []
        return overlays[0] if overlays else None
    path = Path(picture)
    if not path.is_file():
        raise InputError(f"--picture: {picture} does not exist; expected a PNG file")
    if path.stat().st_size > _LARGEST_PICTURE:
        raise InputError(f"--picture: {picture} has more than 2 MB, which is much for a web page; make it smaller")
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            opened.verify()
    except (OSError, SyntaxError) as error:
        raise InputError(f"--picture: {picture} is no PNG file, or damaged ({error})") from error
    return path


def write_hub_page(
    folder: Path, page: str, metadata: Mapping[str, Any], evidence: Evidence, name: str, picture: Path | None
) -> None:
    """Write the front page of a release, and its picture beside the model card.

    Args:
        folder: of the release.
        page: the page of the source bundle.
        metadata: of the release.
        evidence: what is known of the student.
        name: of the release's folder.
        picture: as :func:`find_picture` returned it.
    """
    if picture:
        shutil.copyfile(picture, folder / PICTURE)
    image = metadata["network_data_format"]["inputs"]["image"]
    side = _suitable_side(image["spatial_shape"][0])
    text = render(
        "hub.md",
        front_matter=front_matter(metadata, evidence, name).to_yaml(),
        metadata=metadata,
        evidence=evidence,
        picture=PICTURE if picture else None,
        performance=performance_table(evidence.summary),
        unit=distance_unit(evidence.summary),
        sections=card_sections(page),
        shape=(1, image["num_channels"], side, side),
        name=name,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def front_matter(metadata: Mapping[str, Any], evidence: Evidence, name: str) -> ModelCardData:
    """Return what the hub is to index: nothing but what is known of the student."""
    licence: dict[str, Any] = {"license": "apache-2.0"}
    if not evidence.trained_on_phantoms:  # trained on somebody's images, as far as one knows
        licence = {"license": "other", "license_name": _OTHER_LICENCE, "license_link": "docs/data_license.txt"}
    source = stated_source(metadata)
    dataset = source.split(",")[0] if source else "images of one's own"
    return ModelCardData(
        **licence,
        library_name="monai",
        pipeline_tag=_TASK,
        tags=["monai", "medical", "knowledge-distillation", *(["phantoms"] if evidence.trained_on_phantoms else [])],
        base_model=evidence.teacher if _HUB_ID.fullmatch(evidence.teacher) else None,
        datasets=None if evidence.trained_on_phantoms or source is None else [dataset],
        metrics=list(METRICS),
        model_name=name,
        eval_results=list(_results(metadata, evidence, dataset)),
    )


def _suitable_side(side: int | str) -> int:
    """Return pixels a side that a student takes, given as in the metadata: a number, or such as ``16*n``."""
    if isinstance(side, int):
        return side
    least = int(side.removesuffix("*n"))
    return least * math.ceil(_SIDE / least)


def _results(metadata: Mapping[str, Any], evidence: Evidence, dataset: str) -> Iterator[EvalResult]:
    if evidence.phantoms:
        dataset += " phantoms, drawn by a program"
    for metric, measured in evidence.summary["metrics"].items():
        for label, entry in measured.items():
            if entry["mean"] is not None:
                yield EvalResult(
                    task_type=_TASK,
                    task_name=metadata["task"],
                    dataset_type=re.sub(r"\W+", "-", dataset).strip("-").lower(),
                    dataset_name=dataset,
                    metric_type=metric,
                    metric_name=f"{metric}, {label}",
                    metric_value=round(entry["mean"], 4),
                )
