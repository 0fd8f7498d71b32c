"""What is said of images without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Found
from common.datasets.folder_files.names import join_suffixes, name_with, stem_of, with_suffix
from common.datasets.folder_files.places import is_of_monai_label, shown_from
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source


def name_unlabelled(found: Found, source: Source, root: Path, issues: DatasetIssues) -> None:
    """Note images without a label: each as an issue, or all of them as one where no label has an image's name.

    Args:
        found: where none is expected, images go to ``unlabelled``.
        source: where labels are expected.
        root: folder of the dataset.
        issues: gets what is missing.
    """
    known = set(found.unlabelled)
    without = [item.image for item in found.items.values() if item.label is None and item.image not in known]
    if source.label_format == "polygons" or not without:
        return  # pairing polygons has named them
    if is_of_monai_label(source):
        found.unlabelled += without
        return
    show = shown_from(root)
    labels = root / (source.labels if source.labels is not None else source.images)
    if len(without) + len(known) < len(found.items):
        derived = _find_derived(found, without)
        for ending, paths in derived.items():
            issues.add(_describe_derived(ending, paths, show))
        known_as_derived = {path for paths in derived.values() for path in paths}
        for number, path in enumerate(each for each in without if each not in known_as_derived):
            what_else = "" if number else "; an image without one can be moved elsewhere, or left out by a datalist"
            issues.add(f"{show(path)}: no label, expected {expected_label(path, source, root)}{what_else}")
    elif not labels.exists():
        issues.add(
            f"{show(labels)}: no such folder; expected labels such as {expected_label(without[0], source, root)}"
        )
    elif found.orphans:
        issues.add(_describe_other_names(without[0], found.orphans[0], show))
    else:
        example = expected_label(without[0], source, root)
        issues.add(f"{show(labels)}: no label of an image in it; expected files such as {example}")


def _find_derived(found: Found, without: Sequence[Path]) -> dict[str, list[Path]]:
    """Return pictures that are called as a labelled image and something more, such as ``_overlay``, by that."""
    labelled = {item.image.with_name(stem_of(item.image)) for item in found.items.values() if item.label is not None}
    derived: dict[str, list[Path]] = {}
    for path in without:
        stem = stem_of(path)
        cuts = [cut for cut in range(1, len(stem)) if not stem[cut].isalnum() and not stem[cut + 1 :].isdigit()]
        cut = next((cut for cut in cuts if path.with_name(stem[:cut]) in labelled), None)
        if cut is not None:
            derived.setdefault(stem[cut:], []).append(path)
    return derived


def _describe_derived(ending: str, paths: Sequence[Path], show: Callable[[Path], str]) -> str:
    names = name_some([show(path) for path in paths])
    return (
        f"{count(paths, 'picture')} without a label, called as an image and '{ending}' ({names}): if they are derived "
        "from images, move them out of the folder, or list the images and labels in a CSV with the columns image and "
        "label, and give it as the images"
    )


def _describe_other_names(image: Path, label: Path, show: Callable[[Path], str]) -> str:
    text = f"{show(image)}: no label has its name, nor that of any other image; the first label is {show(label)}"
    stem, other = stem_of(image), stem_of(label)
    if other != stem and other.startswith(stem) and not other[len(stem)].isdigit():  # img000 is none of img0
        return f"{text}: is label_suffix {other.removeprefix(stem)} missing?"
    return f"{text}; rename them, or give label_suffix, what labels have beyond the name of their image"


def expected_label(image: Path, source: Source, root: Path) -> str:
    """Return where the label of an image is expected, for a message; from the root, with the suffix of the usual kind.

    Args:
        image: the image.
        source: where labels are.
        root: folder of the dataset.
    """
    part = next(iter((source.class_files or {"": ""}).values()))
    folder, ending = (part, "") if part.endswith("/") else ("", part)
    suffix = ".nii.gz" if source.kind == "volumes" else ".png"
    labels = source.labels if source.labels is not None else source.images
    below, stem = root / source.images, stem_of(image)
    is_below = image.is_relative_to(below)
    name = name_with(image, below, source.image_suffix) if is_below else stem
    if is_below and source.image_suffix.casefold() == stem.casefold():  # P1/image.jpg and P1/mask.png
        name = f"{name}/"
    path = f"{labels}/{folder}{with_suffix(name or stem, join_suffixes(ending, source.label_suffix))}{suffix}"
    return path.removeprefix("./")
