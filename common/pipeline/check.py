"""``python -m common check``: the dataset of a bundle, checked before any training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from common.configs.checks import check
from common.datasets import build_dataset
from common.datasets.check_report import check_dataset
from common.pipeline.configs import stage_config
from common.pipeline.data import MANIFEST


def check_bundle(
    bundle: str | os.PathLike, dataset_dir: str | os.PathLike, output_dir: str | os.PathLike | None = None, **keys: Any
) -> dict[str, Any]:
    """Check the dataset that a bundle's ``train.yaml`` names; see :func:`check_dataset`.

    Args:
        bundle: folder of the bundle; keys that are not given have the values of its ``train.yaml``.
        dataset_dir: the dataset in its official layout.
        output_dir: where to write; by default ``eval`` in the bundle, as for its stages.
        keys: what the split depends on, such as ``num_validation``, ``num_labels`` or ``split_seed``.

    Returns:
        What ``check.json`` holds.

    Raises:
        InputError: if the bundle does not exist or a value is not allowed, and as :func:`check_dataset` does.
    """
    check(**keys)
    output_dir = Path(output_dir or Path(bundle) / "eval")
    manifest = output_dir / MANIFEST
    return check_dataset(build_dataset(stage_config(bundle, "train"), dataset_dir, manifest, **keys), output_dir)
