"""What the names of labels have beyond those of their images."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from common.datasets.findings import count
from common.errors import InputError

NO_IMAGE = "?"  # in a count of endings: labels that no image has the name of
_MOST_LISTED = 4
_NUMBERED = re.compile(r"(.+?)_\d+")


class Endings(NamedTuple):
    """How labels are named.

    Attributes:
        label_suffix: beyond the name of the image; "" if they are named alike.
        class_files: by class, the ending or the folder of its files; None where a label has all classes.
        united: whether an image may have several files, such as ``_mask`` and ``_mask_1``.
        image_suffix: what images have beyond their names, where labels do not tell.
    """

    label_suffix: str
    class_files: dict[str, str] | None = None
    united: bool = False
    image_suffix: str = ""


def read_endings(counts: Mapping[str, int], classes: Sequence[str]) -> Endings:
    """Return how labels in a folder of their own are named.

    Args:
        counts: number of files by ending, as :func:`common.datasets.readers.label_stems.describe_stems` counts them.
        classes: names by id, background first.

    Raises:
        InputError: if it is a question which of several endings is meant.
    """
    endings = [ending for ending in counts if ending != NO_IMAGE]
    bases = _without_numbers(endings)
    class_files = _by_class(bases, classes)
    if class_files is not None:
        return Endings("", class_files)
    if len(bases) > 1:
        listed = ", ".join(f"{base or 'the name of the image'} ({_count(base, counts)} files)" for base in bases)
        raise InputError(
            f"--labels: which files are the labels? Their names end in {listed}: give --label_suffix, or "
            "--class_files if each class has its own"
        )
    base = bases[0] if bases else ""
    if base.endswith("/"):
        raise InputError(f"--labels: the labels are in the folder {base}: give --labels with it")
    return Endings(base, united=len(endings) > 1)


def split_one_folder(stems: Collection[str], classes: Sequence[str]) -> Endings:
    """Return how labels are named that lie among their images.

    Args:
        stems: of all pictures in the folder, with their subfolders.
        classes: names by id, background first.

    Raises:
        InputError: if no ending, or more than one, makes a label for every image.
    """
    stems = set(stems)
    endings = {ending for stem in stems for ending in _endings_of(stem, stems)}
    class_files = _by_class(_without_numbers(sorted(endings)), classes)
    if class_files is not None and _covers(stems, list(class_files.values())):
        return Endings("", class_files)
    fitting = [ending for ending in sorted(endings) if _covers(stems, [ending])]
    if not fitting:
        raise InputError(_ask_for_labels(stems))
    if len(fitting) > 1:
        raise InputError(f"--label_suffix is missing: {' or '.join(fitting)} may be what the names of labels end in")
    united = any(stem.removesuffix(match[0]) in stems for stem in stems if (match := re.search(r"_\d+$", stem)))
    return Endings(fitting[0], united=united)


def _ask_for_labels(stems: Collection[str]) -> str:
    """Return the question where labels are, with what the names of files do say."""
    found = Counter(ending for stem in sorted(stems) for ending in _endings_of(stem, stems)[:1])
    endings = [ending for ending in _without_numbers(sorted(found)) if not ending[1:].isdigit()]
    csv = "or list all in a CSV with lines such as image,label and {0}.png,{0}{1}.png, and give that as --images"
    if not endings:
        return (
            "--labels is missing: give the folder of the labels, or --label_suffix where they lie among the images, "
            f"such as _mask for a.png and a_mask.png, {csv.format('a', '_mask')}"
        )
    base = min(stem for stem in stems if any(f"{stem}{ending}" in stems for ending in endings)).rpartition("/")[2]
    listed = ", ".join(f"{ending} ({count(range(found[ending]), 'file')})" for ending in endings[:_MOST_LISTED])
    return (
        f"--labels is missing: beside images there are files that end in {listed}, and images without: give "
        f"--label_suffix with what labels end in, and move other pictures out of the folder, "
        f"{csv.format(base, endings[0])}"
    )


def _endings_of(stem: str, stems: Collection[str]) -> list[str]:
    """Return what a stem has beyond others that it begins with, as far as that begins like an ending."""
    cuts = [cut for cut in range(1, len(stem)) if not stem[cut].isalnum()]
    return [stem[cut:] for cut in cuts if stem[:cut] in stems and "/" not in stem[cut:]]


def _covers(stems: Collection[str], endings: Sequence[str]) -> bool:
    """Tell whether, with these endings of labels, every other file is an image that has a label."""
    pattern = re.compile(rf"(.+)(?:{'|'.join(map(re.escape, endings))})(?:_\d+)?", re.DOTALL)
    labelled = {stem: match[1] for stem in stems if (match := pattern.fullmatch(stem)) and match[1] in stems}
    images = [stem for stem in stems if stem not in labelled]
    return bool(images) and set(images) <= set(labelled.values())


def _without_numbers(endings: Sequence[str]) -> list[str]:
    """Return endings without those that only count on, as ``_mask_1`` does beside ``_mask``."""
    kept = []
    for ending in endings:
        match = _NUMBERED.fullmatch(ending)
        if not (match and match[1] in endings):
            kept.append(ending)
    return kept


def _by_class(endings: Sequence[str], classes: Sequence[str]) -> dict[str, str] | None:
    """Return the ending of each class, ``_wound`` or ``_wound_mask``, where several are called like classes.

    What all endings have in common, as ``_mask``, says no class.
    """
    first = endings[0] if endings else ""
    shared = [first[cut:] for cut in range(1, len(first)) if not first[cut].isalnum() and first[cut] != "/"]
    for common in ("", *(each for each in shared if all(ending.endswith(each) for ending in endings))):
        called = {_simple(ending.removesuffix(common)): ending for ending in endings}
        found = {name: called[_simple(name)] for name in classes if _simple(name) in called}
        if len(classes) > 2 and all(name in found for name in classes[1:]) and len(found) == len(endings):
            return found
    return None


def _simple(text: str) -> str:
    return "".join(each for each in text.lower() if each.isalnum())


def _count(base: str, counts: Mapping[str, int]) -> int:
    """Return how many files have an ending, or one that counts on from it."""
    numbered = re.compile(rf"{re.escape(base)}(_\d+)?")
    return sum(count for ending, count in counts.items() if numbered.fullmatch(ending))
