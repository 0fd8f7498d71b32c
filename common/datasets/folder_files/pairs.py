"""Images and labels of folders, which pair by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.datasets.folder_files.names import match_names, name_below, stem_of
from common.datasets.issues import DatasetIssues


class Files(NamedTuple):
    """Files by name; a name has several where a label is in several files that are united."""

    by_name: dict[str, list[Path]]
    others: list[Path]  # that have not the suffix


def index_images(
    paths: Sequence[Path], folder: Path, suffix: str, issues: DatasetIssues, show: Callable[[Path], str]
) -> tuple[dict[str, Path], list[Path]]:
    """Return images by name, and those that have not the suffix; two of one name are an issue.

    Args:
        paths: all images.
        folder: names start below it.
        suffix: what the stem has beyond the name.
        issues: gets what is wrong.
        show: names a file for a message.
    """
    images: dict[str, Path] = {}
    others = []
    for path in paths:
        stem = stem_of(path)
        if not stem.endswith(suffix) or stem == suffix:
            others.append(path)
            continue
        name = name_below(path, folder, stem.removesuffix(suffix))
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
        suffix: what the stem has beyond the name.
        issues: gets two files of one stem.
        show: names a file for a message.
    """
    pattern = re.compile(rf"(.+?){re.escape(suffix)}(?:_\d+)?" if suffix else "(.+)", re.DOTALL)
    found = Files({}, [])
    stems: dict[str, Path] = {}
    for path in paths:
        stem = stem_of(path)
        match = pattern.fullmatch(stem)
        if match is None:
            found.others.append(path)
            continue
        whole = name_below(path, folder, stem)
        if whole in stems:
            issues.add(f"{show(path)}: there is {show(stems[whole])}, two labels for one image; keep one")
            continue
        stems[whole] = path
        found.by_name.setdefault(name_below(path, folder, match[1]), []).append(path)
    return found


def pair(images: Mapping[str, Path], labels: Files) -> dict[str, tuple[str, Any]]:
    """Return the label's name and its file, or the list of its files, of each image that has one."""
    matched = match_names(list(images), list(labels.by_name))
    return {name: (other, one_or_several(labels.by_name[other])) for name, other in matched.items()}


def one_or_several(paths: Sequence[Path]) -> Path | list[Path]:
    """Return the path alone where there is one."""
    return paths[0] if len(paths) == 1 else list(paths)
