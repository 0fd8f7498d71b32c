"""Labels of KidneyUS as class ids: joined from the masks, or polygons, of one or two sonographers."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.issues import DatasetIssues
from common.datasets.readers.images import read_image
from common.datasets.readers.label_pictures import read_label_picture
from common.datasets.readers.labels import LoadLabeld
from common.datasets.readers.via import Polygon, corners_outside, draw_mask, read_polygons
from common.errors import InputError

_REGIONS = {0: "background", 1: "central echo complex", 2: "medulla", 3: "cortex"}
TASKS = {
    "regions": _REGIONS,
    "capsule": {0: "background", 1: "kidney"},
    "all": {**_REGIONS, 4: "other parenchyma"},  # inside the capsule, in none of the regions
}
KINDS = {"regions": ("regions",), "capsule": ("capsule",), "all": ("capsule", "regions")}  # of masks, by task
# The grey value of each structure in a mask, in the order in which the masks were drawn: later ones cover earlier ones.
VALUES = {"capsule": {"Capsule": 1}, "regions": {"Central Echo Complex": 1, "Medulla": 2, "Cortex": 3}}
STRUCTURES = tuple(name for values in VALUES.values() for name in values)


class LoadKidneyLabeld(LoadLabeld):
    """Reads a label as its base class does, or joins the files that KidneyUS's entries name: ``(1, W, H)`` ids."""

    def read_own(self, label: Any) -> np.ndarray:
        """Return the class ids ``(W, H)``.

        Raises:
            InputError: if a file cannot be read, or the polygons of the image are faulty.
        """
        return super().read_own(label) if isinstance(label, (str, os.PathLike)) else read_label(label).T


def read_label(label: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Return the class ids ``(H, W)`` of a label of one annotator, or of where two annotators agree.

    Args:
        label: for each annotator the files of the label, as in the entries of KidneyUS.

    Raises:
        InputError: if a file cannot be read, or the polygons of the image are faulty.
    """
    first, *others = (join_masks(files) for files in label)
    for other in others:
        first = np.where(first == other, first, 0)
    return first


def join_masks(files: Mapping[str, str]) -> np.ndarray:
    """Return the class ids ``(H, W)`` of one annotator's label.

    Raises:
        InputError: as :func:`read_label` does.
    """
    masks = {kind: _read_mask(files, kind) for kind in KINDS[task_of(files)]}
    if len(masks) == 1:
        return next(iter(masks.values()))
    return np.where(masks["regions"] > 0, masks["regions"], 4 * masks["capsule"])


def task_of(files: Mapping[str, str]) -> str:
    """Return the task that a label with these files is for."""
    return next(task for task, kinds in KINDS.items() if set(kinds) == files.keys() - {"image"})


def is_table(path: str | os.PathLike) -> bool:
    """Tell whether this is a table of polygons, by its name."""
    return os.fspath(path).lower().endswith(".csv")


def refuse_outside(
    polygons: Mapping[str, Sequence[Polygon]], structures: Collection[str], size: tuple[int, int], name: str
) -> None:
    """Refuse polygons that reach beyond their image, as those drawn on an image of another size do.

    Args:
        polygons: of one image, by structure.
        structures: those that count.
        size: width and height of the image.
        name: of table and image, for the message.

    Raises:
        InputError: saying how many corners lie outside.
    """
    outside = corners_outside(polygons, structures, size)
    if outside:
        raise InputError(
            "{}: {} corners lie outside the image of {} x {} pixels, first {}; take image and polygons of one "
            "release".format(name, len(outside), *size, outside[0])
        )


def _read_mask(files: Mapping[str, str], kind: str) -> np.ndarray:
    """Return the grey values ``(H, W)`` of a mask, drawn from polygons where it is given so."""
    path = Path(files[kind])
    if not is_table(path):
        mask = read_label_picture(path).image
        if mask.mode not in ("1", "L", "P"):
            raise InputError(f"{path}: expected one grey channel, got Pillow mode {mask.mode}")
        return np.asarray(mask).astype(np.uint8)
    image = Path(files["image"])
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    polygons = _cached_polygons(path, path.stat().st_mtime_ns)
    own, size = polygons.get(image.name, {}), read_image(image).size
    refuse_outside(own, VALUES[kind], size, f"{path}: {image.name}")
    return draw_mask(own, VALUES[kind], size)


@lru_cache(maxsize=4)
def _cached_polygons(path: Path, modified: int) -> dict[str, dict[str, list[Polygon]]]:
    """Read the polygons once for all images, and again after the file has changed."""
    issues = DatasetIssues("KidneyUS", path.parent)
    polygons = read_polygons(path, STRUCTURES, issues)
    issues.raise_if_any()
    return polygons
