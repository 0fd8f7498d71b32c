"""Which files of a folder dataset belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.datasets.folder_files.datalists import read_datalist
from common.datasets.folder_files.facts import add_facts
from common.datasets.folder_files.items import Found, Item
from common.datasets.folder_files.labelling import (
    add_fields_of_view,
    add_label_files,
    add_polygons,
    index_label_files,
)
from common.datasets.folder_files.listing import describe_nothing, list_pictures, list_volumes
from common.datasets.folder_files.names import name_with
from common.datasets.folder_files.pairs import index_images
from common.datasets.folder_files.places import Place, leave_out, places_of, shown_from
from common.datasets.folder_files.spellings import unite_spellings
from common.datasets.folder_files.unpaired import name_unlabelled
from common.datasets.issues import DatasetIssues
from common.datasets.source import Source


def find_items(root: Path, source: Source, issues: DatasetIssues) -> Found:
    """Return the images of a dataset with what belongs to each.

    Args:
        root: folder of the dataset.
        source: where its files are.
        issues: gets what is missing, ambiguous, or does not pair.

    Raises:
        OSError: if a folder or file cannot be opened.
    """
    found, show = Found(), shown_from(root)
    if source.is_datalist:
        with issues.collect(root):
            found = read_datalist(root / source.images, source, root, issues)
            _add_labels_of_folder(found, source, root, issues, show)
    else:
        places = places_of(source, root)
        for place in places:
            found.add(_find_in(place, source, root, issues, show), f"{place.split}/" if len(places) > 1 else "")
    name_unlabelled(found, source, root, issues)
    add_facts(found, source, root, issues)
    unite_spellings(found, "patient")
    unite_spellings(found, "stratum")
    return found


def _find_in(place: Place, source: Source, root: Path, issues: DatasetIssues, show: Callable[[Path], str]) -> Found:
    """Return the images of a folder with what belongs to each."""
    aside = leave_out(place, source, root)
    list_images = list_volumes if source.kind == "volumes" else list_pictures
    paths, labels = list_images(place.images, aside), {}
    if source.label_format != "polygons":
        labels = index_label_files(place, source, paths, issues, show)
        taken = {path for files in labels.values() for each in files.by_name.values() for path in each}
        taken |= {path for files in labels.values() for path in files.repeated}
        paths = [path for path in paths if path not in taken]
    images, others = index_images(paths, place.images, source.image_suffix, issues, show)
    if not images:
        state = describe_nothing(place.images, source.kind)
        if others:
            ending = source.image_suffix
            state = f"no name ends in '{ending}' (source::image_suffix), the first image is {others[0].name}"
        issues.add(f"{show(place.images)}: {state}")
        return Found()
    for path in others:
        name = name_with(path, place.images, source.image_suffix, numbered=True)
        if name in images:  # labels that count on would all be those of the first
            issues.add(
                f"{show(path)}: is a further image beside {show(images[name])}, and labels alone may count on (_1): "
                "give it a folder of its own, or list images and labels in a CSV with the columns image and label"
            )
    found = Found({name: Item(path, split=place.split) for name, path in images.items()})
    if source.label_format == "polygons":
        add_polygons(found, place, source, root, issues)
    else:
        add_label_files(found, labels, issues, show)
    if place.fov is not None:
        add_fields_of_view(found, place.fov, source, issues, show)
    return found


def _add_labels_of_folder(
    found: Found, source: Source, root: Path, issues: DatasetIssues, show: Callable[[Path], str]
) -> None:
    """Give the images of a datalist that has no labels those of a folder."""
    if source.labels is None or any(item.label is not None for item in found.items.values()):
        return
    place = Place(root, root / source.labels, None)
    if source.label_format == "polygons":
        add_polygons(found, place, source, root, issues)
    else:
        add_label_files(found, index_label_files(place, source, [], issues, show), issues, show)
    labelled = {item.image for item in found.items.values() if item.label is not None}
    found.unlabelled = [path for path in found.unlabelled if path not in labelled]
