"""What label files are called beside their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize


def describe_stems(images: Sequence[Path], labels: Sequence[Path], folder: Path) -> dict[str, int]:
    """Return what label files are called beyond the names of their images: the number of files by it.

    "_mask" is what the stem has beyond that of the image, "wound/" a folder that the file is in, "?" stands for files
    that begin with the name of no image.

    Args:
        images: of the dataset.
        labels: files of labels.
        folder: of the labels; their folders count from there.
    """
    stems = {normalize("NFC", image.stem) for image in images}
    counts: Counter[str] = Counter()
    for label in labels:
        stem = normalize("NFC", label.name.removesuffix(".gz").rsplit(".", 1)[0])
        named = next((stem[:end] for end in range(len(stem), 0, -1) if stem[:end] in stems and _ends(stem, end)), None)
        inside = label.parent.relative_to(folder).as_posix()
        place = "" if inside == "." or _is_of_images(inside, images) else f"{inside}/"
        counts["?" if named is None else place + stem.removeprefix(named)] += 1
    return dict(counts)


def _ends(stem: str, end: int) -> bool:
    """Tell whether a name may end there, and not within a number: img10 is no label of img1."""
    return not (stem[end - 1].isdigit() and stem[end : end + 1].isdigit())


def _is_of_images(inside: str, images: Sequence[Path]) -> bool:
    """Tell whether the folder of a label is that of images, too, as where both are sorted by patient."""
    return any(image.parent.as_posix().endswith(f"/{inside}") for image in images)
