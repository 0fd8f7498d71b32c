"""Labels and fields of view for images that were found, by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.datasets.findings import count, name_some
from common.datasets.folder_files.items import Found
from common.datasets.folder_files.listing import list_files, list_pictures, list_volume_labels
from common.datasets.folder_files.names import differ_in_capitals, join_suffixes, match_names
from common.datasets.folder_files.pairs import Files, index_labels, pair
from common.datasets.folder_files.places import Place
from common.datasets.issues import DatasetIssues
from common.datasets.readers.folder_labels import polygon_names
from common.datasets.readers.polygons.pairing import pair_polygons
from common.datasets.source import Source

_ALL = ""  # the key of label files that have all classes


def index_label_files(
    place: Place, source: Source, images: Sequence[Path], issues: DatasetIssues, show: Callable[[Path], str]
) -> dict[str, Files]:
    """Return the label files by name: by class where each class has its own files, else under an empty text.

    Args:
        place: where they are.
        source: how they are called.
        images: what was found in the folder of the images, which labels may be among.
        issues: gets two labels for one image.
        show: names a file for a message.
    """
    suffixes, folders = {_ALL: source.label_suffix}, {}
    if source.label_format == "file_per_class":
        texts = source.class_files or {}
        folders = {name: place.labels / text for name, text in texts.items() if text.endswith("/")}
        suffixes = {
            name: join_suffixes(text, source.label_suffix) for name, text in texts.items() if name not in folders
        }
    aside = set() if place.fov is None else {place.fov}
    are_images = place.labels == place.images and source.kind == "pictures"
    listed = images if are_images else list_labels(place.labels, source, aside) if suffixes else []
    found = {name: index_labels(listed, place.labels, suffix, issues, show) for name, suffix in suffixes.items()}
    for name, folder in folders.items():
        found[name] = index_labels(list_labels(folder, source), folder, source.label_suffix, issues, show)
    return found


def list_labels(folder: Path, source: Source, leave_out: Collection[Path] = ()) -> list[Path]:
    """Return the label files in a folder and below it; of volumes also folders of pictures."""
    return (list_volume_labels if source.kind == "volumes" else list_pictures)(folder, leave_out)


def add_label_files(
    found: Found, labels: Mapping[str, Files], issues: DatasetIssues, show: Callable[[Path], str]
) -> None:
    """Give each image its label files.

    An image that has files of some classes lacks the others, which is noted.

    Args:
        found: gets labels, those without an image, and notes.
        labels: as :func:`index_label_files` returns them.
        issues: gets files that are labels of two images, as where the name of a class ends that of another one.
        show: names a file for a message.
    """
    images = {name: item.image for name, item in found.items.items()}
    by_class: dict[str, dict[str, Any]] = {}
    orphans: list[Path] = []
    owners: dict[Path, str] = {}
    for each, files in labels.items():
        pairs = pair(images, files)
        by_class[each] = {name: paths for name, (_, paths) in pairs.items()}
        matched = {name: other for name, (other, _) in pairs.items()}
        _note_capitals(found, matched)
        image_of = {other: name for name, other in matched.items()}
        orphans += [paths[0] for other, paths in files.by_name.items() if other not in image_of]
        for path, image in ((path, image) for other, image in image_of.items() for path in files.by_name[other]):
            if owners.setdefault(path, image) != image:
                both = f"{show(images[owners[path]])} and of {show(images[image])}"
                issues.add(f"{show(path)}: is by its name a label of {both}; give each class a folder of its own")
    found.orphans += [path for path in dict.fromkeys(orphans) if path not in owners]
    for name, item in found.items.items():
        label = {each: paths[name] for each, paths in by_class.items() if name in paths}
        if label:
            found.items[name] = item._replace(label=label.get(_ALL, label))
    labelled = [name for name, item in found.items.items() if item.label is not None]
    for each, paths in by_class.items():
        without = [name for name in labelled if name not in paths]
        if without and each != _ALL and paths:
            found.notes.append(
                f"{count(without, 'image')} without a file of {each} ({name_some(without)}): {each} counts as absent "
                "there"
            )


def add_polygons(found: Found, place: Place, source: Source, root: Path, issues: DatasetIssues) -> None:
    """Give each image the file that lists its polygons."""
    files = [place.labels] if place.labels.is_file() else list_files(place.labels, (".csv", ".json"))
    if not files:
        issues.add(f"{place.labels}: no files of polygons (.csv, .json) in it")
        return
    names = {item.image: name for name, item in found.items.items()}
    for image, file in pair_polygons(list(names), files, polygon_names(source), issues, root, found.notes).items():
        label = {"polygons": file, "image": image}
        found.items[names[image]] = found.items[names[image]]._replace(label=label)


def add_fields_of_view(
    found: Found, folder: Path, source: Source, issues: DatasetIssues, show: Callable[[Path], str]
) -> None:
    """Give each image the mask of its field of view, which has its name."""
    masks = index_labels(list_labels(folder, source), folder, "", issues, show).by_name
    matched = match_names(list(found.items), list(masks))
    if not matched:
        issues.add(f"{show(folder)}: no field of view in it; expected one for each image, of its name")
        return
    suffix = next(iter(masks.values()))[0].suffix
    for name, item in found.items.items():
        if name in matched:
            found.items[name] = item._replace(fov=masks[matched[name]][0])
        else:
            issues.add(f"{show(item.image)}: no field of view, expected {show(folder)}/{name}{suffix}")


def _note_capitals(found: Found, matched: Mapping[str, str]) -> None:
    names = differ_in_capitals(matched)
    if names:
        found.notes.append(
            f"{count(names, 'image')} called otherwise than the label, but for capitals ({name_some(names)}): taken to "
            "belong together"
        )
