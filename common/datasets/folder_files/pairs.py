"""Images and labels of folders, which pair by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.datasets.folder_files.names import match_names, name_below, name_with, stem_of
from common.datasets.issues import DatasetIssues


class Files(NamedTuple):
    """Files by name; a name has several where a label is in several files that are united."""

    by_name: dict[str, list[Path]]
    others: list[Path]  # that have not the suffix
    repeated: list[Path]  # further labels of an image, which are an issue


def index_images(
    paths: Sequence[Path], folder: Path, suffix: str, issues: DatasetIssues, show: Callable[[Path], str]
) -> tuple[dict[str, Path], list[Path]]:
    """Return images by name, and those that have not the suffix; two of one name are an issue.

    Args:
        paths: all images.
        folder: names start below it.
        suffix: what the stem, or the path, has beyond the name, see :func:`name_with`.
        issues: gets what is wrong.
        show: names a file for a message.
    """
    images: dict[str, Path] = {}
    others = []
    for path in paths:
        name = name_with(path, folder, suffix)
        if name is None:
            others.append(path)
            continue
        if name in images:
            issues.add(f"{show(path)}: there is {show(images[name])} of the same name; keep one, or rename it")
        images.setdefault(name, path)
    return images, others


def index_labels(
    paths: Sequence[Path], folder: Path, suffix: str, issues: DatasetIssues, show: Callable[[Path], str]
) -> Files:
    """Return labels by name: ``<name><suffix>``, and where there is a suffix also ``<name><suffix>_1`` and so on.

    Args:
        paths: all labels.
        folder: names start below it.
        suffix: what the stem, or the path, has beyond the name, see :func:`name_with`.
        issues: gets two files of one stem.
        show: names a file for a message.
    """
    found = Files({}, [], [])
    stems: dict[tuple[str, str], Path] = {}
    for path in paths:
        name = name_with(path, folder, suffix, numbered=True)
        if name is None:
            found.others.append(path)
            continue
        whole = (name, name_below(path, folder, stem_of(path)).casefold())
        if whole in stems:
            issues.add(f"{show(path)}: there is {show(stems[whole])}, two labels for one image; keep one")
            found.repeated.append(path)
            continue
        stems[whole] = path
        found.by_name.setdefault(name, []).append(path)
    return found


def pair(images: Mapping[str, Path], labels: Files) -> dict[str, tuple[str, Any]]:
    """Return the label's name and its file, or the list of its files, of each image that has one."""
    matched = match_names(list(images), list(labels.by_name))
    return {name: (other, one_or_several(labels.by_name[other])) for name, other in matched.items()}


def one_or_several(paths: Sequence[Path]) -> Path | list[Path]:
    """Return the path alone where there is one."""
    return paths[0] if len(paths) == 1 else list(paths)
