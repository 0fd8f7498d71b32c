"""A transfer set on disk: ``images`` and the ``datalist.json`` that lists them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.datasets.issues import DatasetIssues
from common.datasets.readers.images import read_image
from common.datasets.splits import repeat
from common.errors import InputError
from common.files.json_files import read_json

logger = logging.getLogger(__name__)


def image_name(number: int) -> str:
    """Return the path, within a transfer set, of the sample of this number."""
    return f"images/{number:06d}.png"


def label_name(number: int) -> str:
    """Return the path, within a transfer set, of the label that was drawn with the sample of this number."""
    return f"labels/{number:06d}.png"


def read_transfer_set(
    folder: str | os.PathLike,
    in_channels: int,
    num_transfer: int | None = None,
    length: int | None = None,
    classes: Sequence[str] | None = None,
) -> list[dict[str, str]]:
    """Return the images of a transfer set as a MONAI datalist.

    Args:
        folder: what synthesize wrote.
        in_channels: channels that the images must have.
        num_transfer: number of images to use, the first ones of the list; ``None`` takes all.
        length: of the datalist, for which images are repeated, so that transfer sets of several sizes can be compared
            with equal steps; ``None`` has each once.
        classes: names of the classes, background first, of the labels that were drawn with the images, which entries
            have as their ``drawn_label``; None leaves labels out.

    Raises:
        InputError: if the folder is not a transfer set, is empty, has no labels where they are asked for, or lacks a
            file that its ``datalist.json`` lists; if that lists a file outside the folder; if ``num_transfer`` is out
            of range or ``length`` is less than it; and if images cannot be read, have another number of channels, or
            are not all of one size, all at once.
    """
    folder = Path(folder)
    files = _listed_files(folder, "image")
    labels = [] if classes is None else _listed_labels(folder, classes)
    if num_transfer is not None and not 1 <= num_transfer <= len(files):
        raise InputError(
            f"num_transfer must be between 1 and the {len(files)} images of the transfer set in {folder}, got "
            f"{num_transfer}; synthesize draws more with a larger num_images, but where its report.json counts many "
            "copies of training images, take more labelled images or a shorter train_diffusion"
        )
    _check_alike(folder, files, in_channels)
    entries = [{"image": str(file)} for file in files[:num_transfer]]
    if labels:
        entries = [entry | {"drawn_label": str(label)} for entry, label in zip(entries, labels, strict=False)]
    if length is None:
        return entries
    if length < len(entries):
        raise InputError(f"transfer_length: must be at least the {len(entries)} images that are used, got {length}")
    if num_transfer is None and len(entries) < length:
        logger.warning(f"the transfer set has {len(entries)} images, which are repeated to {length}")
    return repeat(entries, length)


def _listed_files(folder: Path, key: str) -> list[Path]:
    """Return the files that ``datalist.json`` lists under a key, ``image`` or ``label``.

    Raises:
        InputError: if it is missing or damaged, lists nothing, or a file that is missing or outside the folder.
    """
    listing = folder / "datalist.json"
    if not listing.is_file():
        raise InputError(f"there is no transfer set in {folder} (no datalist.json): run synthesize first")
    try:
        names = [entry[key] for entry in read_json(listing)["training"]]
        files = [folder / name for name in names]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listing} is damaged ({error!r}): run synthesize again") from error
    _check_inside(folder, names)
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        what = f"{len(missing)} of its {key}s are missing, first {missing[0]}" if missing else "it lists no images"
        raise InputError(f"{folder} is not a complete transfer set: {what}; run synthesize again")
    return files


def _listed_labels(folder: Path, classes: Sequence[str]) -> list[Path]:
    """Return the labels that ``datalist.json`` lists.

    Raises:
        InputError: if there are none, or they are of other classes; and as :func:`_listed_files`.
    """
    try:
        names = read_json(folder / "datalist.json").get("labels")
        drawn = names and [names[str(number)] for number in range(len(names))]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'datalist.json'} is damaged ({error!r}): run synthesize again") from error
    if not drawn:
        raise InputError(
            f"the images in {folder} have no labels (drawn_labels): train_diffusion learns to draw them by "
            "--with_labels true, and synthesize then draws both"
        )
    if drawn != list(classes):
        raise InputError(
            f"the labels in {folder} are of {', '.join(drawn)}, and those of the dataset of {', '.join(classes)} "
            "(drawn_labels): run train_diffusion and synthesize again"
        )
    return _listed_files(folder, "label")


def _check_inside(folder: Path, names: Sequence[str]) -> None:
    """Refuse names that lead out of the folder: a transfer set may come from others.

    Raises:
        InputError: listing them.
    """
    issues = DatasetIssues("transfer set", folder)
    root = folder.resolve()
    for name in names:
        if Path(name).is_absolute():
            issues.add(f"{name}: is an absolute path in datalist.json, expected one within the folder")
        elif not (folder / name).resolve().is_relative_to(root):
            issues.add(f"{name}: leads out of the folder, expected an image within it")
    issues.raise_if_any()


def _check_alike(folder: Path, files: Sequence[Path], in_channels: int) -> None:
    """Refuse images that cannot be read, have another number of channels, or another size than most.

    Raises:
        InputError: listing them.
    """
    issues = DatasetIssues("transfer set", folder)
    found: dict[str, tuple[int, Any]] = {}
    for file in files:
        with issues.collect():
            picture = read_image(file)
            found[file.relative_to(folder).as_posix()] = (len(picture.getbands()), picture.size)
    sizes = Counter(size for _, size in found.values())
    for name, (channels, size) in found.items():
        if channels != in_channels:
            what = f"{channels} channel{'s' * (channels > 1)}"
            issues.add(f"{name}: has {what}, expected {in_channels}; run synthesize again")
        [(usual, _)] = sizes.most_common(1)
        if size != usual:
            each, others = ("{} x {}".format(*pixels) for pixels in (size, usual))
            issues.add(f"{name}: is {each}, most others are {others} pixels; run synthesize again")
    issues.raise_if_any()
