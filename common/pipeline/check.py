"""Check the dataset of a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from common.datasets import find_dataset
from common.datasets.report import check_dataset, split_keys
from common.errors import InputError
from common.pipeline.configs import find_configs


def check_bundle(
    bundle: str | os.PathLike, dataset_dir: str | os.PathLike, output_dir: str | os.PathLike | None = None, **keys: Any
) -> dict[str, Any]:
    """Look over the dataset of a bundle; see :func:`check_dataset`.

    Args:
        bundle: folder of the bundle; keys that are not given have the values of its ``train.yaml``.
        dataset_dir: the dataset in its official layout.
        output_dir: where to write; by default ``eval`` in the bundle, as for its stages.
        keys: what the split depends on, such as ``num_validation``, ``num_labels`` or ``split_seed``.

    Returns:
        What ``check.json`` holds.

    Raises:
        InputError: if the bundle does not exist, and as :func:`check_dataset` does.
    """
    config_file = find_configs(bundle) / "train.yaml"
    if not config_file.is_file():
        raise InputError(f"{config_file}: no such file; the values of the split are read from it")
    dataset = Path(bundle).resolve().name
    config = ConfigParser(ConfigParser.load_config_file(str(config_file)))
    known = split_keys(find_dataset(dataset))
    configured = {key: config.get_parsed_content(key) for key in known if key in config}
    return check_dataset(dataset, dataset_dir, output_dir or Path(bundle) / "eval", **{**configured, **keys})
