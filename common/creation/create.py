"""``task-distill create``: a bundle from a page of facts, or from a folder of one's own images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, Literal

from common.creation.options import as_options, read_options
from common.errors import InputError
from common.files.writing import check_writable
from common.templates import FACTS, bundle_folder
from common.templates import create_bundle as create_from_facts

_WIDEST = 120  # characters of a line of the table


def create_bundle(
    name: str | os.PathLike,
    output_dir: str | os.PathLike = ".",
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | Sequence[str] | None = None,
    label_suffix: str | None = None,
    image_suffix: str | None = None,
    label_format: Literal["ids", "black_white", "colours", "file_per_class", "polygons"] | None = None,
    colours: str | Mapping[str, Any] | None = None,
    class_files: str | Mapping[str, str] | None = None,
    polygons: str | Mapping[str, str] | None = None,
    values: str | Mapping[int, int] | None = None,
    channels: Literal[1, 3] | None = None,
    patient: str | None = None,
    split: str | None = None,
    stratum: str | None = None,
    field_of_view: str | None = None,
    left_right: Literal["same", "different"] | None = None,
    upside_down: Literal["same", "different"] | None = None,
    size: int | None = None,
    see: Literal["images", "crops"] | None = None,
    pretrained: str | None = None,
    num_validation: int | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a bundle for your own images, or one of a dataset of this project.

    With --images it looks at the images and labels, chooses what suits them, prints what it chose and why, and draws
    some labelled images into docs/labels.png. What it cannot know it asks, in one line.

    Example: task-distill create wounds --images photos/ --labels masks/ --classes background,wound --output_dir .

    Args:
        name: of the bundle, in lower-case letters, digits and _; without --images a dataset of this project, such as
            drive, or the path of a page of facts.
        output_dir: the folder that the bundle NAME_segmentation is written into.
        images: a folder of images, with or without subfolders, or a datalist (.csv, .json) of images and labels.
        labels: a folder of labels, or a file of polygons; leave it out where labels lie among the images.
        classes: names of the classes by id, background first, such as background,wound.
        label_suffix: what the names of labels have beyond those of images, such as _mask.
        image_suffix: what the names of images have beyond those of labels, such as _0000.
        label_format: how labels are drawn - pixels are class ids, black and white, or one colour for each class; one
            file for each class; or polygons in a file.
        colours: the colour of each class, such as wound=#ff0000,skin=#00ff00.
        class_files: what the names of each class's files end in, such as wound=_wound, or its folder, such as
            wound=wound/.
        polygons: what each class is called in a file of polygons, such as wound=Ulcer.
        values: the class id of each grey value, such as 85=1,170=2.
        channels: 1 to read images as grey ones, 3 as colour.
        patient: a regular expression whose group is the patient in an image's name, such as '^(P[0-9]+)_', or a
            column of the datalist. A patient is never split.
        split: folder where folders are called train, val and test; a column of the datalist; or seed, to draw the
            splits whatever folders are called.
        stratum: a column of the datalist, or folder, of which every split gets its share, such as the diagnosis.
        field_of_view: a folder of masks of what the camera sees, or a column of the datalist.
        left_right: same if a mirrored image is as likely as the image, so that training may mirror it; different if
            not.
        upside_down: same if an image may as well lie on its head or on its side, so that training may turn it;
            different if not.
        size: pixels a side of what the networks see, a multiple of 16.
        see: images for whole images, made smaller; crops for crops of images as they are, which thin structures need.
        pretrained: the teacher's weights, a hub id, a folder, a file or embedded; by default lite_medsam, a small
            foundation model of medical images.
        num_validation: images held back from training to choose the best weights, one or more.
        title: of the bundle, for people; by default made of its name.
        overwrite: write the files of a bundle that is there anew; other files stay.

    Returns:
        The folder of the bundle.

    Raises:
        InputError: if an option is of no use, images and labels do not fit together, or something is a question.
    """
    given = {key: value for key, value in locals().items() if key not in ("name", "output_dir", "overwrite")}
    given = {key: value for key, value in given.items() if value is not None}
    check_writable(output_dir)
    if "images" not in given:
        if given:
            key = next(iter(given))
            raise InputError(f"--images is missing: --{key} is about images of your own; give their folder")
        if not (str(name) in FACTS or os.path.exists(name) or str(name).endswith((".yaml", ".yml"))):
            raise InputError(
                f"--images is missing: give the folder of the images that {name} is for; without it, name a dataset of "
                f"this project ({', '.join(FACTS)}) or a page of facts"
            )
        folder = create_from_facts(name, output_dir, overwrite)
        print(folder)
        return folder
    options = read_options(str(name), given)
    folder = bundle_folder(options.name, output_dir, overwrite)
    from common.creation.own import write_own_bundle  # here because a page of facts needs no networks' libraries

    try:
        said = write_own_bundle(options, folder, min(_WIDEST, get_terminal_size((120, 40)).columns))
    except InputError as error:
        raise InputError(as_options(str(error))) from error
    print(said)
    return folder
