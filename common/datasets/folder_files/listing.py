"""Pictures and volumes in a folder and below it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from common.datasets.folder_files.names import VOLUME_SUFFIXES
from common.datasets.readers.file_kinds import NIFTI, PICTURE, kind_of
from common.datasets.readers.folder_walk import FolderWalk
from common.datasets.readers.nifti import is_nifti
from common.datasets.readers.picture_formats import EXAMPLES, SUFFIXES
from common.datasets.roots import describe_folder
from common.datasets.unread import folders_of_stages

MANIFEST = "dataset_manifest.json"  # in folders that stages have written into, which hold no images of the dataset
_OWN_PICTURE = "check.png"  # of an earlier check


def list_pictures(folder: Path, leave_out: Collection[Path] = ()) -> list[Path]:
    """Return the pictures in a folder and below it, by their suffixes, sorted; none if there is no such folder.

    Args:
        folder: where to look.
        leave_out: folders that hold something else.
    """
    files = [path for _, found in _walk(folder, leave_out) for path in found]
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES and path.name != _OWN_PICTURE)


def list_volumes(folder: Path, leave_out: Collection[Path] = ()) -> list[Path]:
    """Return the volumes in a folder and below it, sorted: NIfTI files, and folders of DICOM slices.

    Raises:
        OSError: if a file whose name does not tell what it is cannot be opened.
    """
    volumes = []
    for place, found in _walk(folder, leave_out):
        volumes += [path for path in found if is_nifti(path)]
        if place != folder and any(not is_nifti(path) for path in found) and _has_slices(place):
            volumes.append(place)
    return sorted(volumes)


def list_volume_labels(folder: Path, leave_out: Collection[Path] = ()) -> list[Path]:
    """Return the labels of volumes in a folder and below it, sorted: NIfTI, NRRD, DICOM SEG, folders of pictures."""
    labels = []
    for place, found in _walk(folder, leave_out):
        labels += [path for path in found if path.name.lower().endswith(VOLUME_SUFFIXES)]
        if place != folder and any(path.suffix.lower() in SUFFIXES and path.name != _OWN_PICTURE for path in found):
            labels.append(place)
        labels += _segmentations(found)
    return sorted(labels)


def _has_slices(folder: Path) -> bool:
    from common.datasets.readers.dicom import list_slices  # here because pictures need no pydicom

    return bool(slices := list_slices(folder)) and not _segmentations(slices)


def _segmentations(files: Sequence[Path]) -> list[Path]:
    """Return the files that are DICOM SEG; none where the first DICOM file is not, as in a folder of many slices."""
    files = sorted(path for path in files if path.suffix.lower() == ".dcm")
    if not files:
        return []
    from common.datasets.readers.dicom_segmentation import is_segmentation

    return [path for path in files if is_segmentation(path)] if is_segmentation(files[0]) else []


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files with one of the suffixes in a folder and below it, sorted."""
    files = [path for _, found in _walk(folder, ()) for path in found]
    return sorted(path for path in files if path.name.lower().endswith(tuple(suffixes)) and path.name != MANIFEST)


def describe_nothing(folder: Path, kind: str) -> str:
    """Say why a folder has no images of a kind: it is not there, empty, or has something else.

    Args:
        folder: where they should be.
        kind: "pictures" or "volumes".
    """
    expected = f"pictures ({EXAMPLES})" if kind == "pictures" else "NIfTI files (.nii, .nii.gz) or folders of DICOM"
    if not os.path.isdir(folder):
        return "no such folder"
    kinds = Counter(kind_of(path) for _, found in _walk(folder, ()) for path in found)
    others = [f"{count} of the kind '{each}'" for each, count in kinds.most_common() if each not in (None, PICTURE)]
    if kind == "volumes":
        others = [f"{kinds[PICTURE]} pictures"] if kinds[PICTURE] and not kinds[NIFTI] else []
    if others:
        return f"has {' and '.join(others)}; expected {expected}, convert them"
    return f"{describe_folder(folder, kind)}; expected {expected}"


def _walk(folder: Path, leave_out: Collection[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """Yield folders and their visible files, but those that are left out, bundles, and what stages have written."""
    walk = FolderWalk(folder)
    closed = {*leave_out, *(folders_of_stages(walk, MANIFEST) - {folder})}
    for place, files in walk.folders.items():
        between = [each for each in (place, *place.parents) if each != folder and each.is_relative_to(folder)]
        if not closed.intersection(between):
            yield place, files
