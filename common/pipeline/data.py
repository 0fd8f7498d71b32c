"""The dataset that stages are run on: the user's, or phantoms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.datasets import build_dataset
from common.datasets.source import Source
from common.errors import InputError

MANIFEST = "dataset_manifest.json"  # in <output_dir>, by the bundles' configs: what of the dataset has been checked


def find_data(
    dataset_dir: str | os.PathLike | None, demo: bool, output_dir: Path, config: Mapping[str, Any] | None = None
) -> Path:
    """Return the folder of the dataset; that of phantoms need not exist yet.

    Args:
        dataset_dir: what the user gave.
        demo: whether the dataset is phantoms in ``<output_dir>/phantoms``.
        output_dir: of the pipeline or study.
        config: of a stage, whose own ``dataset_dir`` is taken where the user gave none.

    Raises:
        InputError: if there is no dataset, or one and phantoms as well.
    """
    if demo:
        if dataset_dir is not None:
            raise InputError("--demo writes its own dataset: leave out --dataset_dir, or take --overlay demo")
        return output_dir / "phantoms"
    if dataset_dir is None:
        own = configured_data(config or {})
        if own is not None:
            return own.resolve()
        said = (config or {}).get("dataset_dir")
        moved = isinstance(said, str) and os.path.isabs(said)
        raise InputError(
            f"--dataset_dir is missing: give {root_is(config or {})}, or --demo to run on phantoms"
            + (f"; {said}, which the bundle has in its configs, does not exist" if moved else "")
        )
    if not Path(dataset_dir).is_dir():
        raise InputError(f"--dataset_dir: {dataset_dir} does not exist; expected the folder of the dataset")
    return Path(dataset_dir).resolve()


def configured_data(config: Mapping[str, Any]) -> Path | None:
    """Return the folder that a config has as its ``dataset_dir``, as bundles of one's own data do; None without one.

    Args:
        config: of a stage.
    """
    folder = config.get("dataset_dir")
    return Path(folder) if isinstance(folder, str) and os.path.isabs(folder) and os.path.isdir(folder) else None


def root_is(config: Mapping[str, Any]) -> str:
    """Return what the folder of a dataset is, in words: of images of one's own, what it holds.

    Args:
        config: of a stage.
    """
    source = config.get("source")
    return Source.from_config(source).root_is if isinstance(source, Mapping) else "the folder of the dataset"


def check_beyond_budget(config: Mapping[str, Any], folder: Path) -> None:
    """Check that the label budget leaves images for a stage that takes those beyond it.

    Args:
        config: of stage distill, with overrides.
        folder: of the dataset, which exists.

    Raises:
        InputError: if it leaves none, or the config is of an earlier version, which would take none.
    """
    if config.get("beyond_budget") is not True:
        return
    if "beyond" not in config["train"]:
        raise InputError(
            "beyond_budget: configs/distill.yaml of the bundle is of an earlier version, which does not know this key; "
            "write the bundle anew with task-distill create and --overwrite"
        )
    build_dataset(config, folder).beyond_budget()


def write_missing_phantoms(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the phantoms of a demo, unless they are there.

    Args:
        folder: where they belong.
        config: of a stage, which names the dataset.
    """
    if not folder.exists():
        build_dataset(config, folder).write_own_phantoms(folder)
