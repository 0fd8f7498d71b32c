"""Names of images and labels, by which they pair."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd")
_NUMBER = r"(?:_\d+)?"


def normal(text: str) -> str:
    """Return a text in one of the forms that Unicode has for it: file systems differ in how they store accents."""
    return unicodedata.normalize("NFC", text)


def stem_of(path: Path) -> str:
    """Return a file's name without its suffix, ``.nii.gz`` as a whole; a folder of slices keeps its dots."""
    name = normal(path.name)
    suffix = next((each for each in VOLUME_SUFFIXES if name.lower().endswith(each)), "" if path.is_dir() else None)
    return normal(path.stem) if suffix is None else name[: len(name) - len(suffix)]


def name_below(path: Path, folder: Path, stem: str) -> str:
    """Return the name of a file with this stem: its path below ``folder``, with ``/`` on every system."""
    parents = path.relative_to(folder).parent
    return stem if parents == Path() else f"{normal(parents.as_posix())}/{stem}"


def name_with(path: Path, folder: Path, suffix: str, numbered: bool = False) -> str | None:
    """Return the name of a file below ``folder`` without its suffix; None if it has another one.

    Args:
        path: the file.
        folder: names start below it.
        suffix: what the stem has beyond the name, such as ``_mask``, in whatever capitals. With ``masks/`` the file is
            in a folder of that name, and with ``masks/_mask`` both; the name does without. Where the stem is nothing
            else, the name is that of its folder: ``P1/mask.png`` is of ``P1``.
        numbered: whether ``_1`` and so on may follow a suffix that is not empty.
    """
    place, _, ending = suffix.rpartition("/")
    stem = stem_of(path)
    pattern = rf"(.*?){re.escape(ending)}{_NUMBER if numbered and ending else ''}"
    match = re.fullmatch(pattern, stem, re.DOTALL | re.IGNORECASE)
    parents = [normal(part) for part in path.relative_to(folder).parent.parts]
    places = [index for index, part in enumerate(parents) if part.casefold() == place.casefold()]
    if match is None or (place and not places):
        return None
    if place:
        del parents[places[-1]]
    return "/".join([*parents, *([match[1]] if match[1] else [])]) or None


def with_suffix(name: str, suffix: str) -> str:
    """Return the path, without its ending, of a file that :func:`name_with` reads the name of."""
    place, slash, ending = suffix.rpartition("/")
    parents, between, last = name.rpartition("/")
    return f"{parents}{between}{place}{slash}{last}{ending}"


def join_suffixes(ending: str, suffix: str) -> str:
    """Return the suffix of one class's files: its own ending, and what all labels have; folders come first."""
    place, slash, common = suffix.rpartition("/")
    return f"{place}{slash}{ending}{common}"


def last_part(name: str) -> str:
    """Return a name without its folders."""
    return name.rsplit("/", 1)[-1]


def match_names(images: Collection[str], others: Collection[str]) -> dict[str, str]:
    """Return the name among ``others`` that belongs to each image, by image.

    Equal names match; then, of what is left, names that are equal without their folders, in other capitals, or both,
    as long as it is clear which belongs to which.
    """
    matched: dict[str, str] = {}
    for simplify in (str, last_part, str.casefold, lambda name: last_part(name).casefold()):
        free = [name for name in images if name not in matched]
        taken = set(matched.values())
        left = [name for name in others if name not in taken]
        by_key = {simplify(name): name for name in left}
        clear = _once(free, simplify) & _once(left, simplify)
        matched |= {name: by_key[simplify(name)] for name in free if simplify(name) in clear}
    return {name: matched[name] for name in images if name in matched}


def _once(names: Collection[str], simplify: Callable[[str], str]) -> set[str]:
    counts = Counter(map(simplify, names))
    return {key for key, count in counts.items() if count == 1}


def differ_in_capitals(matched: Mapping[str, str]) -> list[str]:
    """Return the images whose partners have another spelling."""
    return [name for name, other in matched.items() if last_part(name) != last_part(other)]
