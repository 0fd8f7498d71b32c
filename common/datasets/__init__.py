"""One module per dataset. What each provides:

- ``IN_CHANNELS``: channels of an image.
- ``CLASSES``: names of the classes by id, background 0 first; in CHAOS for each modality.
- ``GROUP``: what is never split between sections, in the singular: "patient", "exam", or "image".
- ``find_root(dataset_dir)``: the folder that its official layout starts from.
- ``datalist(dataset_dir, section, seed, num_validation, num_labels)``: the entries of a section, as dictionaries that
  MONAI's transforms take.
- ``check(dataset_dir, num_validation, num_labels, seed)``: reads everything, lists every fault at once, and returns the
  number of images in each section.
- ``load(entry)``: an image ``(H, W, C)`` to look at and its class ids ``(H, W)``, both uint8.
- ``classes_of(entry)``: names of the classes that its label may have.
- ``group_of(entry)``: the patient, exam or image that it belongs to, None where it is unknown.
- ``write_phantoms(folder)``: procedural images in the official layout and file formats, with every class; through
  ``checks.written_whole``, which marks them as phantoms.

Where two people have drawn labels of the same images, a module may also provide
``agreement(dataset_dir, section, seed, num_validation)``: the Dice coefficient between them by class, or None.

``datalist`` and ``check`` may take further keys of the dataset's own, such as the task of KidneyUS or the modality of
CHAOS; both name them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from common.errors import InputError

NAMES = ("drive", "kidneyus", "autooral", "chaos", "ph2")


def find_dataset(bundle: str) -> ModuleType:
    """Return the module of the dataset that a bundle, such as ``drive_segmentation``, is for.

    Raises:
        InputError: if there is no dataset of that name.
    """
    name = bundle.removesuffix("_segmentation")
    if name not in NAMES:
        raise InputError(f"there is no dataset '{name}'; the datasets are {', '.join(NAMES)}")
    return import_module(f"common.datasets.{name}")


def phantom_writer(bundle: str) -> Callable[[str], Path]:
    """Return the function that writes phantoms for a bundle, such as ``drive_segmentation``, into a new folder.

    Raises:
        InputError: if there is no dataset of that name.
    """
    return find_dataset(bundle).write_phantoms
