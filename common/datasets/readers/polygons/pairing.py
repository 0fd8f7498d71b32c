"""Which annotation file belongs to which image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.datasets.issues import DatasetIssues
from common.datasets.readers.polygons.annotations import LABELME, Annotations, common_parts
from common.datasets.readers.polygons.drawing import understand
from common.datasets.readers.polygons.files import read_annotations
from common.files.shown import seen_from


def pair_polygons(
    images: Sequence[Path],
    files: Sequence[Path],
    classes: Mapping[str, int],
    issues: DatasetIssues,
    folder: Path,
    notes: list[str],
) -> dict[Path, Path]:
    """Return the annotation file of each image.

    Args:
        images: all of the dataset.
        files: all that may be annotation files.
        classes: ids by what the classes are called in the files.
        issues: gets files that cannot be read, have faults, or list an image that another one has, and images that no
            file lists.
        folder: paths are named relative to it.
        notes: gets listed names that are no image, and regions that are there more than once, which count once.
    """
    found: dict[Path, Path] = {}
    num_read = 0
    for path in files:
        annotations = None
        with issues.collect(folder):
            annotations = read_annotations(path)
        if annotations is None:
            continue
        num_read += 1
        for fault in understand(annotations, tuple(classes.items())).faults:
            issues.add(seen_from(folder, fault))
        own = _images_of(annotations, images, issues, folder)
        for image in own:
            if image in found:
                names = f"{_short(found[image], folder)} and {_short(path, folder)}"
                issues.add(f"{_short(image, folder)}: is listed in {names}; remove one of the two")
            found[image] = path
        listed = {annotations.listed_name(image) for image in own}
        strangers = [name for name in annotations.regions if name not in listed]
        if strangers:
            are = f"{len(strangers)} images that are" if len(strangers) > 1 else "an image that is"
            notes.append(f"{_short(path, folder)}: lists {are} not there (first: {strangers[0]}): not used")
        if annotations.repeats:
            first, count = annotations.repeats[0], len(annotations.repeats)
            notes.append(f"{_short(path, folder)}: regions that repeat another count once: {count} (first: {first})")
    if num_read or not files:
        for image in images:
            if image not in found:
                issues.add(
                    f"{_short(image, folder)}: no label, no annotation file lists it; list it there without a region "
                    "if it has no structure"
                )
    return found


def _images_of(annotations: Annotations, images: Sequence[Path], issues: DatasetIssues, folder: Path) -> list[Path]:
    """Return the images that a file lists; several with one name are told apart by the folders that they are in."""
    claims: dict[str, list[Path]] = {}
    for image in images:
        name = annotations.listed_name(image)
        if name is not None:
            claims.setdefault(name, []).append(image)
    own = []
    for name, claimants in claims.items():
        # Labelme may give the name alone, but has a file for each image, in folders of the same names.
        place = annotations.path.with_suffix(Path(name).suffix) if annotations.tool == LABELME else Path(name)
        shared = [common_parts(place, image) for image in claimants]
        best = [image for image, length in zip(claimants, shared, strict=True) if length == max(shared)]
        if len(best) > 1:
            names = " and ".join(_short(image, folder) for image in best[:2])
            issues.add(f"{_short(annotations.path, folder)}: {name} may be {names}; give images names of their own")
        own += best
    return own


def _short(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
