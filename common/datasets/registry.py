"""The registry of datasets: by name, and by the ``data`` of a stage's config."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError

if TYPE_CHECKING:
    from common.datasets.base import SegmentationDataset

# Strings, so that a dataset is imported when it is used: those of volumes alone need pydicom.
DATASETS = {
    "drive": "common.datasets.drive:DriveDataset",
    "kidneyus": "common.datasets.kidneyus:KidneyUSDataset",
    "autooral": "common.datasets.autooral:AutooralDataset",
    "chaos": "common.datasets.chaos:ChaosDataset",
    "ph2": "common.datasets.ph2:PH2Dataset",
    "busi": "common.datasets.busi:BusiDataset",
    "folder": "common.datasets.folder:FolderDataset",
    "folder_volumes": "common.datasets.folder_volumes:FolderVolumeDataset",
}


def find_dataset(name: str) -> type[SegmentationDataset]:
    """Return the class of a dataset by its name, such as ``drive``.

    Raises:
        InputError: if there is no dataset of that name.
    """
    if name not in DATASETS:
        raise InputError(f"there is no dataset '{name}'; the datasets are {', '.join(DATASETS)}")
    return _import_class(*DATASETS[name].split(":"))


def write_phantoms(dataset: str, output_dir: str | os.PathLike) -> Path:
    """Write procedural images of a dataset, in its official layout and file formats.

    Args:
        dataset: its name, such as ``drive``.
        output_dir: a new folder.

    Returns:
        The folder.

    Raises:
        InputError: if there is no such dataset, or the folder exists and is not empty.
    """
    return find_dataset(dataset).write_phantoms(output_dir)


def dataset_class(config: Mapping[str, Any]) -> type[SegmentationDataset]:
    """Return the class of the dataset that a stage's config names as ``data::_target_``, a third party's too.

    Raises:
        InputError: if the config names none, or it cannot be imported or is not a dataset.
    """
    from common.datasets.base import SegmentationDataset  # here because a registry of names needs none of it

    target = _data_of(config).get("_target_")
    if not isinstance(target, str) or "." not in target:
        raise InputError(f"data::_target_ must be the class of a dataset, as in {_EXAMPLE}, got {target!r}")
    found = _import_class(*target.rsplit(".", 1))
    if not (isinstance(found, type) and issubclass(found, SegmentationDataset)):
        raise InputError(f"data::_target_: {target} is not a SegmentationDataset; expected a class such as {_EXAMPLE}")
    return found


def dataset_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a stage's config that its ``data`` takes its settings from, such as ``num_labels``.

    Raises:
        InputError: if the config has no ``data``.
    """
    settings = [str(value) for argument, value in _data_of(config).items() if argument not in _PLACES]
    references = [key for value in settings for key in re.findall(r"@(\w+)", value)]
    return tuple(dict.fromkeys(key for key in references if key in config))


def build_dataset(
    config: Mapping[str, Any], root: str | os.PathLike, manifest: str | os.PathLike | None = None, **keys: Any
) -> SegmentationDataset:
    """Return the dataset of a stage's config, in a folder of your own.

    Args:
        config: the config as it is loaded, with references.
        root: folder of the dataset, see :class:`SegmentationDataset`.
        manifest: file to keep what a check has read, see there.
        keys: values in place of those that :func:`dataset_keys` has in the config.

    Raises:
        InputError: if a key is unknown, and as the class does.
    """
    from monai.bundle import ConfigParser  # here because a registry of names needs none of it

    known = dataset_keys(config)
    unknown = [f"--{key}: there is no such key" for key in keys if key not in known]
    if unknown:
        raise InputError(f"{'; '.join(unknown)}; the split of this dataset depends on {', '.join(known)}")
    parser = ConfigParser({**config, **keys})
    arguments = [argument for argument in _data_of(config) if argument not in _PLACES]
    settings = {argument: parser.get_parsed_content(f"data::{argument}") for argument in arguments}
    return dataset_class(config)(root=root, manifest=manifest, **settings)


_EXAMPLE = "common.datasets.drive.DriveDataset"
_PLACES = ("_target_", "root", "manifest")  # what a config's data has beside settings


def _data_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    data = config.get("data")
    if not isinstance(data, Mapping):
        raise InputError(f"data: expected the dataset of the config, as in {{_target_: {_EXAMPLE}, ...}}, got {data!r}")
    return data


def _import_class(module: str, name: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the dataset {module}.{name} cannot be imported ({error})") from error
