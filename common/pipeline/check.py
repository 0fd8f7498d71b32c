"""``python -m common check``: the dataset of a bundle, checked before any training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.configs.checks import check
from common.datasets import build_dataset
from common.datasets.check_report import check_dataset
from common.errors import InputError
from common.pipeline.configs import stage_config
from common.pipeline.data import MANIFEST, configured_data, root_is


def check_bundle(
    bundle: str | os.PathLike,
    dataset_dir: str | os.PathLike | None = None,
    output_dir: str | os.PathLike | None = None,
    **keys: Any,
) -> dict[str, Any]:
    """Check the dataset that a bundle's ``train.yaml`` names, print what is in it, and draw a contact sheet.

    Every image and label is read. All that is wrong is listed at once.

    Args:
        bundle: folder of the bundle.
        dataset_dir: folder of the dataset; by default that of the bundle's ``train.yaml``, if it exists.
        output_dir: where to write ``check.json`` and ``check.png``; by default ``eval`` in the bundle.
        keys: what the split depends on, such as ``num_validation``, ``num_labels`` or ``split_seed``; by default as in
            ``train.yaml``.

    Returns:
        What ``check.json`` holds.

    Raises:
        InputError: if the bundle or the dataset does not exist or a value is not allowed, and as
            :func:`check_dataset` does.
    """
    check(**keys)
    config = stage_config(bundle, "train")
    output_dir = Path(output_dir or Path(bundle) / "eval")
    data = build_dataset(config, dataset_dir or _configured(bundle, config), output_dir / MANIFEST, **keys)
    return check_dataset(data, output_dir)


def _configured(bundle: str | os.PathLike, config: Mapping[str, Any]) -> Path:
    folder = configured_data(config)
    if folder is None:
        said = config.get("dataset_dir")
        raise InputError(
            f"--dataset_dir is missing: give {root_is(config)}, since {said}, which {bundle} has in its "
            "configs, does not exist"
        )
    return folder
