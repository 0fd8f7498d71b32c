"""What is wrong with the contents of a folder dataset's pictures, and what they look like."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.datasets.copies import digest_of
from common.datasets.findings import Findings, count, name_some
from common.datasets.issues import DatasetIssues
from common.datasets.outlines import Outlined
from common.datasets.readers.folder_labels import explain_size, files_of, read_folder_label
from common.datasets.readers.label_pictures import label_values, read_label_picture
from common.datasets.readers.pictures import StoredPicture, read_stored
from common.datasets.source import Source
from common.errors import InputError

LARGE = 25_000_000  # pixels, from which on reading an image takes memory that a laptop may not have
_BYTES_A_PIXEL = 48  # of a channel, to read and resize an image for training: 13.6 GB measured for 100 million pixels
_NAMED = 5  # images whose colours differ from those of the others
_JPEG = (".jpg", ".jpeg")
_FEW_EMPTY = 0.1  # of the labels: where more are empty, that is meant, as among images of healthy people
_GREY_MODES = ("1", "L", "LA")


def check_pictures(
    files: Mapping[str, Mapping[str, Any]], source: Source, root: Path, issues: DatasetIssues, findings: Findings
) -> None:
    """Read every image, label and field of view to the last pixel.

    Args:
        files: entries by name, incomplete ones too.
        source: what labels mean.
        root: files are named relative to it.
        issues: gets what is wrong.
        findings: gets what is not wrong, but worth knowing.
    """
    grey: list[str] = []
    coloured: list[str] = []
    large: dict[str, int] = {}
    used: Counter[int] = Counter()
    drawn, outlined = _Drawn(), Outlined(source.classes)
    num_labels = 0
    for entry in files.values():
        shown = Path(os.path.relpath(entry["image"], root)).as_posix()
        stored = None
        with issues.collect(root):
            stored = read_stored(entry["image"])
        if stored is not None:
            _check_image(stored, shown, issues, findings)
            width, height = stored.image.size
            (grey if _is_grey(stored.image) else coloured).append(shown)
            if width * height > LARGE:
                large[shown] = width * height
        size = None if stored is None else stored.image.size
        if "label" in entry:
            with issues.collect(root):
                label = _read_label(entry, source, size, root)
                used.update(np.flatnonzero(np.bincount(label.ravel(), minlength=len(source.classes))).tolist())
                num_labels += 1
                drawn.add(shown, label, findings.digests.get(shown))
                drawn.lossy += [path for path in files_of(entry["label"]) if path.lower().endswith(_JPEG)]
                outlined.add(shown, label)
        if "fov" in entry:
            with issues.collect(root):
                _check_field_of_view(entry["fov"], size, root, issues)
    num_read = len(grey) + len(coloured)
    if source.channels == 3 and grey and coloured:
        fewer, kind, others = (
            (grey, "grey", "in colour") if len(grey) <= len(coloured) else (coloured, "in colour", "grey")
        )
        findings.others.append(
            f"{count(fewer, 'image')} of {num_read} {kind} ({name_some(fewer, _NAMED)}) and the others {others}: all "
            "are read in colour; a network may tell them apart by that"
        )
    if source.channels == 1 and coloured:
        findings.others.append(
            f"{count(coloured, 'image')} of {num_read} in colour ({name_some(coloured, _NAMED)}): read as grey"
        )
    if large:
        most = max(large.values())
        which = f"{count(list(large), 'image')} of more than {LARGE // 10**6} million pixels ({name_some(list(large))})"
        memory = most * source.channels * _BYTES_A_PIXEL / 2**30
        findings.others.append(
            f"{which}: training takes minutes and about {memory:.1f} GB of memory to read the largest; save them "
            "smaller, with their labels"
        )
    findings.others += [*drawn.remarks(source.classes), *outlined.remarks()]
    if num_labels and not any(index in used for index in range(1, len(source.classes))):
        issues.add(f"every label is empty; expected {', '.join(source.classes[1:])}")


class _Drawn:
    """What labels have in common that the labels of several images seldom have."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str | None, str]] = {}
        self.cornered: list[str] = []
        self.empty: list[str] = []
        self.lossy: list[str] = []
        self.count = 0

    def add(self, image: str, ids: np.ndarray, digest: str | None) -> None:
        """Add the label of an image, whose own pixels have a digest."""
        self.count += 1
        if not ids.any():
            self.empty.append(image)
        own = digest_of(ids)  # None where all is background, or all the structure
        if own is not None:
            self.images.setdefault(own, {}).setdefault(digest, image)
        if ids[:: max(len(ids) - 1, 1), :: max(ids.shape[1] - 1, 1)].all():
            self.cornered.append(image)

    def remarks(self, classes: Sequence[str]) -> list[str]:
        """Return a line for each thing that may be a mistake."""
        lines = []
        same = [name for images in self.images.values() if len(images) > 1 for name in images.values()]
        if same:
            lines.append(
                f"{count(same, 'image')} with the same label as another one, though they differ ({name_some(same)}): "
                "see whether each has its own"
            )
        if 0 < len(self.empty) <= max(1, _FEW_EMPTY * self.count):
            lines.append(
                f"{count(self.empty, 'label')} without any structure ({name_some(self.empty)}): see whether nothing is "
                "to be seen there, or the label was forgotten"
            )
        if self.lossy:
            lines.append(
                f"{count(self.lossy, 'label')} in JPEG ({name_some([Path(path).name for path in self.lossy])}), which "
                "blurs edges: take the originals, if there are any"
            )
        if self.cornered and len(classes) == 2:
            lines.append(
                f"{count(self.cornered, 'label')} with {classes[1]} in all four corners, as background is "
                f"({name_some(self.cornered)}): see in check.png whether they are inverted"
            )
        return lines


def _check_image(stored: StoredPicture, name: str, issues: DatasetIssues, findings: Findings) -> None:
    if stored.image.mode in ("I", "F") or stored.image.mode.startswith("I;16"):
        issues.add(f"{name}: has more than 8 bits a channel (Pillow mode {stored.image.mode}); save it with 8")
    else:
        findings.add_image(name, stored)


def _read_label(entry: Mapping[str, Any], source: Source, size: tuple[int, int] | None, root: Path) -> np.ndarray:
    """Return the class ids of an image, which must be of its size.

    Raises:
        InputError: if something is wrong with them.
    """
    label = entry["label"]
    ids = read_folder_label(label, source, size if source.label_format == "polygons" else None)
    if size is not None and ids.shape[::-1] != size:
        name, image = (Path(os.path.relpath(path, root)).as_posix() for path in (files_of(label)[0], entry["image"]))
        found, expected = ("{} x {}".format(*each) for each in (ids.shape[::-1], size))
        why = explain_size(label, entry["image"])
        raise InputError(f"{name}: is {found}, but its image {image} is {expected} pixels{why}")
    return ids


def _is_grey(image: Image.Image) -> bool:
    if image.mode in _GREY_MODES:
        return True
    if image.mode in ("RGB", "RGBA"):  # a grey image is often stored in colour: a few rows tell
        rows = np.asarray(image)[:: max(1, image.height // 64), :, :3]
        return bool((rows == rows[..., :1]).all())
    return False


def _check_field_of_view(path: Path, size: tuple[int, int] | None, root: Path, issues: DatasetIssues) -> None:
    name = Path(os.path.relpath(path, root)).as_posix()
    mask = read_label_picture(path).image
    if size is not None and mask.size != size:
        found, expected = ("{} x {}".format(*each) for each in (mask.size, size))
        issues.add(f"{name}: is {found}, but its image is {expected} pixels")
    if not label_values(mask, path).any():
        issues.add(f"{name}: every pixel is black; expected a field of view, in which an image counts")
