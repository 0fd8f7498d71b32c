"""The overlay pictures of a report: the best, the median and the worst case, side by side for all methods."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from common.datasets.readers.images import read_image
from common.evaluation.summary import mean_over_classes
from common.pictures.sheets import pictures_of
from common.report.runs import Run, Study
from common.report.settings import REFERENCE
from common.report.statistics import main_settings

_SIDE = 480  # longest side of an embedded picture, in pixels


class Tile(NamedTuple):
    """One picture and what stands below it."""

    title: str
    dice: float | None  # of the case
    picture: str | None  # data URI; None if the study has no picture


class Example(NamedTuple):
    """One case as every method sees it."""

    rank: str  # best, median or worst
    case: str
    seed: int
    tiles: list[Tile]  # the image first


class Examples(NamedTuple):
    """Cases of one number of labels, chosen by the Dice of task-specific KD."""

    labels: str
    measured: int  # cases and seeds to choose from
    shown: list[Example]


def draw_examples(study: Study) -> Examples | None:
    """Choose the best, the median and the worst case of task-specific KD, and embed every method's overlay of them.

    They are chosen from all seeds by the mean Dice over classes, with the fewest labels.

    Returns:
        None if no run of task-specific KD is finished.

    Raises:
        InputError: if a picture is damaged.
    """
    main = main_settings(study)
    reference = next((setting for setting in main if setting.method == REFERENCE), None)
    if reference is None:
        return None
    ranked = sorted(
        (dice, run.seed, case)
        for run in main[reference]
        for case, dice in zip(run.cases, mean_over_classes(run.values["dice"]), strict=True)
        if np.isfinite(dice)
    )
    places = {"best": len(ranked) - 1, "median": (len(ranked) - 1) // 2, "worst": 0}
    shown: list[Example] = []
    for rank, place in places.items():
        if ranked and place not in [places[each.rank] for each in shown]:
            _, seed, case = ranked[place]
            settings = [setting for setting in main if setting.num_labels == reference.num_labels]
            runs = {each.title: _find_run(main[each], seed, case) for each in settings}
            shown.append(Example(rank, case, seed, _draw_tiles(runs, case)))
    return Examples(reference.labels_in_print, len(ranked), shown)


def _find_run(runs: list[Run], seed: int, case: str) -> Run | None:
    return next((run for run in runs if run.seed == seed and case in run.cases), None)


def _draw_tiles(runs: dict[str, Run | None], case: str) -> list[Tile]:
    tiles = []
    for title, run in runs.items():
        if run is None or not run.overlay(case).is_file():
            tiles.append(Tile(title, None, None))
            continue
        dice = float(mean_over_classes(run.values["dice"][[run.cases.index(case)]])[0])
        image, marked = _halves(run.overlay(case))
        if all(tile.title != "image" for tile in tiles):
            tiles.insert(0, Tile("image", None, _embed(image)))
        tiles.append(Tile(title, dice, _embed(marked)))
    return tiles


def _halves(path: Path) -> tuple[Image.Image, Image.Image]:
    """Return the image, and the image with prediction and label marked, which an overlay has beside each other.

    Overlays that were drawn without a title and a legend are cut in the middle.
    """
    sheet = read_image(path)
    pictures = pictures_of(sheet)
    if pictures:
        return pictures["image"].convert("RGB"), pictures["comparison"].convert("RGB")
    pair = sheet.convert("RGB")
    half = pair.width // 2
    return pair.crop((0, 0, half, pair.height)), pair.crop((half, 0, pair.width, pair.height))


def _embed(picture: Image.Image) -> str:
    if max(picture.size) > _SIDE:
        picture = ImageOps.contain(picture, (_SIDE, _SIDE))
    file = io.BytesIO()
    # Coloured lines one pixel wide would fade where colour is stored at half the resolution.
    picture.save(file, format="JPEG", quality=88, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
