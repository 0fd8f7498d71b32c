"""What the dataset modules share: reading with clear errors, listing faults, fixed splits, and writing in one piece."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from common.errors import InputError

_MAX_LISTED = 20  # faults shown in full: more would scroll the first ones off the screen

T = TypeVar("T")


def read_image(path: str | Path) -> Image.Image:
    """Return the image at ``path``, decoded to its last pixel.

    Raises:
        InputError: if the file is missing, empty, cut off, or not an image.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty, copy it again")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:  # on damaged bytes Pillow's decoders raise far more than OSError
        raise InputError(f"{path}: cannot be read as an image, copy it again ({error})") from error


class Faults:
    """Collects what is wrong with a dataset, so that the user hears of everything at once.

    Args:
        dataset: name of the dataset as the user knows it.
        folder: where it was looked for.
    """

    def __init__(self, dataset: str, folder: str | Path) -> None:
        self.dataset = dataset
        self.folder = folder
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Note one fault; the message starts with the file, folder or key it is about."""
        self.messages.append(message)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note an ``InputError`` raised in the block instead of letting it out."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def raise_if_any(self) -> None:
        """Raise one ``InputError`` that lists the faults, if there are any."""
        if not self.messages:
            return
        count = len(self.messages)
        lines = [f"{self.dataset} in {self.folder}: {count} {'fault' if count == 1 else 'faults'}"]
        lines += [f"  - {message}" for message in self.messages[:_MAX_LISTED]]
        if count > _MAX_LISTED:
            lines.append(f"  ... and {count - _MAX_LISTED} more")
        raise InputError("\n".join(lines))


def seeded_order(groups: Sequence[str], seed: int) -> list[str]:
    """Return the distinct groups in an order that depends on their names and ``seed`` alone.

    The order comes from a hash, not from a random generator: it is the same on every machine and in every version of
    numpy, and a group that is added or removed does not reshuffle the others.
    """
    return sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest())


def split_groups(groups: Sequence[str], sizes: Sequence[int | float], seed: int) -> list[list[str]]:
    """Split groups (images, patients, exams) into disjoint parts.

    Args:
        groups: one name per group, in any order; repeated names count once.
        sizes: one per part but the last, which gets the rest: a number of groups (int), or a fraction of all groups
            in (0, 1) (float), rounded to at least one.
        seed: the same seed splits the same groups the same way.

    Returns:
        ``len(sizes) + 1`` parts, each in seeded order: the first N of a part are among its first N + 1.

    Raises:
        InputError: if a part, the last one included, would get no group.
        ValueError: if a fraction is not in (0, 1).
    """
    ordered = seeded_order(groups, seed)
    counts = []
    for size in sizes:
        if isinstance(size, float):
            if not 0 < size < 1:
                raise ValueError(f"a fraction in sizes must lie between 0 and 1, got {size}")
            size = max(1, round(size * len(ordered)))
        if size < 1:
            raise InputError(f"every part of a split needs at least one group, got sizes {list(sizes)}")
        counts.append(size)
    if sum(counts) >= len(ordered):
        needed, found = sum(counts) + 1, len(ordered)
        raise InputError(f"a split with parts of {counts} and a rest needs at least {needed} groups, found {found}")
    remaining = iter(ordered)
    return [list(islice(remaining, count)) for count in counts] + [list(remaining)]


def repeat(items: Sequence[T], length: int) -> list[T]:
    """Cycle through ``items`` until there are ``length``: an epoch of fixed size whatever the label budget.

    Raises:
        ValueError: if ``items`` is empty or ``length`` is not positive.
    """
    if not items:
        raise ValueError("items must not be empty: there is nothing to repeat")
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    return list(islice(cycle(items), length))


def check_patches(entries: Sequence[Mapping[str, str]], patch_size: int) -> None:
    """Check that a patch can be cut out of every image: smaller ones would not stack into a batch.

    Args:
        entries: a MONAI datalist.
        patch_size: height and width of the patches.

    Raises:
        InputError: naming the first images that are smaller, or that cannot be read.
    """
    sizes = {entry["image"]: read_image(entry["image"]).size for entry in entries}
    small = [
        f"{path} is {width} x {height}" for path, (width, height) in sizes.items() if min(width, height) < patch_size
    ]
    if small:
        limit = min(min(size) for size in sizes.values())
        raise InputError(
            f"patch_size: {len(small)} of {len(sizes)} images are smaller than {patch_size} ({'; '.join(small[:3])} "
            f"pixels): set patch_size to {limit} or less"
        )


@contextmanager
def written_whole(folder: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` when the block ends, and vanishes if the block raises.

    Raises:
        InputError: if ``folder`` already exists and is not empty; what is there is left alone.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a new folder, or remove this one first")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()  # empty; Windows does not rename over a folder
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
