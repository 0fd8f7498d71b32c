"""The source of a dataset, as far as files and options tell it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.creation.case_folders import find_case_folders, labels_in, patient_of
from common.creation.choices import Choice
from common.creation.datalists import check_classes, check_splits, own_patients
from common.creation.labels import choose_labels
from common.creation.options import Options
from common.creation.places import Places
from common.creation.stems import Endings, read_endings, split_one_folder
from common.creation.swapped import ask_if_swapped
from common.datasets.findings import count
from common.datasets.folder_files.finding import find_items
from common.datasets.folder_files.listing import (
    describe_nothing,
    list_files,
    list_pictures,
    list_volume_labels,
    list_volumes,
)
from common.datasets.folder_files.names import stem_of
from common.datasets.folder_files.places import split_named
from common.datasets.issues import DatasetIssues
from common.datasets.readers.label_stems import describe_stems
from common.datasets.readers.label_survey import describe_label_files
from common.datasets.readers.slice_labels import list_label_pictures
from common.datasets.source import FOLDER, Source
from common.errors import InputError

_NNUNET = "_0000"  # what nnU-Net has in the names of images, and not of labels
_POLYGONS = (".json", ".csv")
_VOLUMES = (".nii", ".nii.gz", ".nrrd")
BY_SEED = "seed"  # as --split: drawn, whatever folders are called


class Draft(NamedTuple):
    """What is known before any image is read.

    Attributes:
        source: its channels are a guess.
        labels: how they are read, a row of the table.
    """

    source: Source
    labels: Choice


def draft_source(options: Options, places: Places) -> Draft:
    """Return where the files are and how labels are drawn.

    Raises:
        InputError: if there are no images or no labels, or something is a question.
    """
    config: dict[str, Any] = {"images": places.images, "labels": places.labels, "classes": list(options.classes)}
    for key in ("patient", "stratum", "image_suffix"):
        if getattr(options, key) is not None:
            config[key] = getattr(options, key)
    config["field_of_view"] = places.field_of_view
    if options.images.is_file():
        return _from_datalist(options, places, config)
    images, config["kind"] = _list_images(options, places)
    config["channels"] = 1 if config["kind"] == "volumes" else 3
    _choose_split(options, places, images, config)
    if config.get("image_suffix") is None and all(stem_of(path).endswith(_NNUNET) for path in images):
        config["image_suffix"] = _NNUNET
    if places.labels is None and _are_outlined(options, images, places):
        config["labels"] = places.images
        places = places._replace(labels=places.images)
        endings, labels = Endings(""), list_files(places.root / places.images, (".json",))
    elif places.labels is None:
        endings, labels = _among_images(options, images, places), images
        if config["kind"] == "volumes":
            labels = sorted({*images, *list_volume_labels(places.root / places.images)})
    else:
        labels = _list_labels(places.root / places.labels, config["kind"])
        endings = _beside_images(options, images, labels, places, config)
    if endings.label_suffix:
        config["label_suffix"] = endings.label_suffix
    if endings.image_suffix:
        config["image_suffix"] = endings.image_suffix
        config.setdefault("patient", patient_of(images, places.root / places.images, endings))
    alone = _labels_alone(images, labels, endings, places)
    if not alone:
        named = options.label_suffix or ", ".join((options.class_files or {}).values())
        raise InputError(f"--images: {options.images} has no labels, no file is called as an image with {named}")
    survey = describe_label_files([file for path in alone for file in list_label_pictures(path) or [path]])
    if places.labels not in (None, places.images):
        ask_if_swapped(images, survey, "are --images and --labels swapped?")
    chosen = choose_labels(options, survey, endings.class_files)
    source = Source.from_config({**config, **chosen.settings})
    return Draft(source, Choice("labels", chosen.shown, chosen.why, _FORMAT))


_FORMAT = "--label_format"


def _from_datalist(options: Options, places: Places, config: dict[str, Any]) -> Draft:
    """Return the source of a datalist, whose labels are known by its rows."""
    check_classes(options.images, options.classes)
    check_splits(options)
    config["split"] = None if options.split == BY_SEED else options.split
    config["patient"] = own_patients(options)
    config["label_suffix"] = options.label_suffix
    issues = DatasetIssues(options.name, places.root)
    draft = Source.from_config({**config, "label_format": "ids"})
    found = find_items(places.root, draft, issues)
    issues.raise_if_any()
    kind = "volumes" if found.items and all(_is_volume(item.image) for item in found.items.values()) else "pictures"
    config |= {"kind": kind, "channels": 1 if kind == "volumes" else 3}
    labels = [path for item in found.items.values() for path in _paths(item.label)]
    survey = describe_label_files(sorted(set(labels)))
    ask_if_swapped([item.image for item in found.items.values()], survey, "are image and label swapped in the list?")
    chosen = choose_labels(options, survey)
    source = Source.from_config({**config, **chosen.settings})
    return Draft(source, Choice("labels", chosen.shown, chosen.why, _FORMAT))


def _is_volume(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(_VOLUMES)


def _paths(label: Any) -> list[Path]:
    if label is None:
        return []
    if isinstance(label, dict):
        return [path for key, each in label.items() if key != "image" for path in _paths(each)]
    return [path for each in label for path in _paths(each)] if isinstance(label, list) else [Path(label)]


def _list_images(options: Options, places: Places) -> tuple[list[Path], str]:
    folder = places.root / places.images
    aside = {places.root / each for each in (places.labels, places.field_of_view) if each is not None}
    aside -= {folder}
    pictures, volumes = list_pictures(folder, aside), list_volumes(folder, aside)
    beside = {path.parent for path in pictures}  # of DICOM slices, folders of their labels
    if places.labels is None and volumes and all(path.is_dir() for path in volumes) and not beside & {folder, *volumes}:
        return sorted({*volumes, *beside}), "volumes"
    if pictures and volumes:
        raise InputError(
            f"--images: {folder} has {count(pictures, 'picture')} and {count(volumes, 'volume')}: which are the "
            "images? Move the others elsewhere"
        )
    if not pictures and not volumes:
        raise InputError(f"--images: {folder}: {describe_nothing(folder, 'pictures')}")
    return (volumes, "volumes") if volumes else (pictures, "pictures")


def _list_labels(place: Path, kind: str) -> list[Path]:
    if place.is_file():
        return [place]
    labels = (list_volume_labels if kind == "volumes" else list_pictures)(place)
    labels = labels or list_files(place, _POLYGONS)
    if not labels:
        what = (
            "NIfTI or DICOM SEG files, or folders of pictures, one for each volume"
            if kind == "volumes"
            else "one picture for each image, or polygons"
        )
        raise InputError(f"--labels: {place}: no labels in it; expected {what}")
    return labels


def _choose_split(options: Options, places: Places, images: Sequence[Path], config: dict[str, Any]) -> None:
    """Ask whether folders called like splits are those, and keep them if so."""
    if options.split not in (None, FOLDER, BY_SEED):
        raise InputError(f"--split: expected folder or seed, got {options.split!r}; only a datalist has columns")
    if options.split == FOLDER:
        config["split"] = FOLDER
    if options.split is not None:
        return
    folder = places.root / places.images
    tops = sorted({path.relative_to(folder).parts[0] for path in images if len(path.relative_to(folder).parts) > 1})
    named = [top for top in tops if split_named(top)]
    if named:
        raise InputError(
            f"--split is missing: {folder} has folders called {', '.join(named)}: give --split folder to keep these "
            "splits, or --split seed to draw others"
        )


def _are_outlined(options: Options, images: Sequence[Path], places: Places) -> bool:
    """Tell whether labelme's files lie among the images, which is where it writes them."""
    if options.class_files is not None or options.label_suffix is not None:
        return False
    stems = {path.with_name(stem_of(path)) for path in images}
    return any(path.with_suffix("") in stems for path in list_files(places.root / places.images, (".json",)))


def _among_images(options: Options, images: Sequence[Path], places: Places) -> Endings:
    if options.class_files is not None or options.label_suffix is not None:
        return Endings(
            options.label_suffix or "",
            dict(options.class_files) if options.class_files else None,
            image_suffix=options.image_suffix or "",
        )
    own = find_case_folders(images, places.root / places.images) if options.image_suffix is None else None
    if own is not None:
        return own
    return split_one_folder([str(path.with_name(stem_of(path))) for path in images], options.classes)


def _beside_images(
    options: Options, images: Sequence[Path], labels: Sequence[Path], places: Places, config: dict[str, Any]
) -> Endings:
    if options.class_files is not None:
        return Endings(options.label_suffix or "", dict(options.class_files))
    if options.label_suffix is not None:
        return Endings(options.label_suffix)
    if all(path.name.lower().endswith(_POLYGONS) for path in labels):
        return Endings("")
    assert places.labels is not None  # or they would be among the images
    suffix = config.get("image_suffix") or ""
    named = [path.with_name(stem_of(path).removesuffix(suffix) + path.suffix) for path in images] if suffix else images
    return read_endings(describe_stems(named, labels, places.root / places.labels), options.classes)


def _labels_alone(images: Sequence[Path], labels: Sequence[Path], endings: Endings, places: Places) -> list[Path]:
    """Return the labels among files that may be images as well."""
    if places.labels is not None:
        return list(labels)
    if endings.image_suffix and endings.class_files is None:
        return labels_in(labels, places.root / places.images, endings)
    stems = {str(path.with_name(stem_of(path))) for path in images}
    kept = []
    for path in labels:
        stem = str(path.with_name(stem_of(path)))
        for ending in endings.class_files.values() if endings.class_files else [endings.label_suffix]:
            head, found, tail = stem.rpartition(ending)
            if found and head in stems and (not tail or (tail[0] == "_" and tail[1:].isdigit())):
                kept.append(path)
    return kept
