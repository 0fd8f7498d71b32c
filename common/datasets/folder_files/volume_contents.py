"""What is wrong with the contents of a folder dataset's volumes, and what they look like."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets.findings import Findings
from common.datasets.issues import DatasetIssues
from common.datasets.outlines import Outlined
from common.datasets.readers.affines import voxel_sizes
from common.datasets.readers.dicom import list_slices
from common.datasets.readers.folder_labels import LoadFolderLabeld
from common.datasets.readers.slice_labels import list_label_pictures
from common.datasets.readers.volumes import LoadVolumed
from common.datasets.source import Source

_SAME_SPACING = 0.1  # relative difference of millimetres below which nobody needs to be told


def files_of_volume(path: Path) -> list[Path]:
    """Return the files that a path stands for: the slices of a folder, or their labels, or the file itself."""
    return [path] if not path.is_dir() else list_slices(path) or list_label_pictures(path)


def check_volumes(
    files: Mapping[str, Mapping[str, Any]], source: Source, root: Path, issues: DatasetIssues, findings: Findings
) -> None:
    """Read every volume and its label to the last voxel.

    Args:
        files: entries of slices by name.
        source: what labels mean.
        root: files are named relative to it.
        issues: gets what is wrong.
        findings: gets what is not wrong, but worth knowing.
    """
    volumes = {entry["image"]: entry for entry in files.values()}
    spacings: dict[Path, np.ndarray] = {}
    used: Counter[int] = Counter()
    outlined = Outlined(source.classes)
    read_image, read_label = LoadVolumed("image"), LoadFolderLabeld("label", source=source.to_config())
    for path, entry in volumes.items():
        with issues.collect(root):
            loaded = read_image({"image": str(path)})
            spacings[path] = voxel_sizes(loaded["image"].affine.numpy())
            shown = Path(os.path.relpath(path, root)).as_posix()
            findings.add_pixels(shown, loaded["image"][0].numpy())
            if "label" in entry:
                ids = read_label({**loaded, "label": _as_text(entry["label"])})["label"].numpy().astype(np.uint8)
                used.update(np.flatnonzero(np.bincount(ids.ravel(), minlength=len(source.classes))).tolist())
                outlined.add(shown, ids[0, ..., np.count_nonzero(ids[0], axis=(0, 1)).argmax()])
    if used and not any(index in used for index in range(1, len(source.classes))):
        issues.add(f"every label is empty; expected {', '.join(source.classes[1:])}")
    findings.others += [*_describe_spacings(spacings), *outlined.remarks()]


def _describe_spacings(spacings: Mapping[Path, np.ndarray]) -> list[str]:
    """Return a line about volumes whose voxels differ in size."""
    if len(spacings) < 2:
        return []
    sizes = np.array(list(spacings.values()))
    lowest, highest = sizes.min(axis=0), sizes.max(axis=0)
    if (highest <= (1 + _SAME_SPACING) * lowest).all():
        return []
    ranges = [
        f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for low, high in zip(lowest, highest, strict=True)
    ]
    return [
        f"voxels measure {' x '.join(ranges)} mm: slices are resized to one number of pixels, so that a structure of "
        "one size is seen in several; where that matters, resample the volumes and labels to one spacing"
    ]


def _as_text(label: Any) -> Any:
    if isinstance(label, Mapping):
        return {name: _as_text(paths) for name, paths in label.items()}
    return [str(path) for path in label] if isinstance(label, list) else str(label)
