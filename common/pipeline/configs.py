"""The configs of the stages, with overlays and overrides."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from common.errors import InputError
from common.pipeline.stages import _METHOD_CONFIGS, _STUDENT, _TRAINING


def check_paths(**paths: str | os.PathLike | None) -> None:
    """Refuse paths that MONAI would change: it reads ``#`` in any value of a config as ``::``.

    Raises:
        InputError: naming the first of them.
    """
    for key, path in paths.items():
        if path is not None and "#" in os.path.abspath(path):
            raise InputError(f"--{key}: {os.path.abspath(path)} has a #, which MONAI takes for ::; choose another path")


def find_configs(bundle: str | os.PathLike) -> Path:
    """Return the folder of a bundle's configs.

    Raises:
        InputError: if there is none.
    """
    configs = Path(bundle) / "configs"
    if not configs.is_dir():
        raise InputError(f"{bundle} is no bundle: expected a folder with configs/, such as bundles/drive_segmentation")
    return configs


def stage_config(
    bundle: str | os.PathLike, stage: str, overlay: str | Sequence[str] | None = None, method: str = "task_specific_kd"
) -> dict[str, Any]:
    """Return the config of a stage of a bundle as it is run: with overlays on it, and with that of the method.

    Raises:
        InputError: if the bundle or an overlay does not exist.
    """
    return _load(_stage_files(find_configs(bundle), stage, _as_list(overlay), method))


def takes(stage: str, config: dict[str, Any], key: str) -> bool:
    """Say whether a stage takes an override of this key, given its config."""
    key = key.replace("#", "::")
    if key.split("::")[0] == "network_def" and stage not in _STUDENT:
        return False  # there it is the teacher or the diffusion model
    if key == "learning_rate" and "base_learning_rate" in config:
        return False  # there it follows from the base rate by its paper's rule, whatever the other stages train with
    return key in ConfigParser(config)


def check_overrides(configs: Iterable[tuple[str, dict[str, Any]]], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that none of these stages takes.

    Args:
        configs: stages, each with its config.
        overrides: values by key.

    Raises:
        InputError: naming one, and the keys that there are.
    """
    configs = list(configs)
    unknown = [key for key in overrides if not any(takes(*each, key) for each in configs)]
    if unknown:
        known = sorted({key for _, config in configs for key in config if not key.startswith("_")})
        raise InputError(f"--{unknown[0]}: none of the stages has this key; they have {', '.join(known)}")


def _as_list(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else [str(part) for part in value]


def _load(files: Sequence[Path]) -> dict[str, Any]:
    return ConfigParser.load_config_files([str(file) for file in files])


def _stage_files(configs: Path, stage: str, overlays: list[str], method: str) -> list[Path]:
    if "multi_gpu" in overlays and stage not in _TRAINING:
        overlays = [name for name in overlays if name != "multi_gpu"]  # one process is enough to sample and evaluate
    names = ["evaluate" if stage == "evaluate_teacher" else stage, *overlays]
    files = [configs / f"{name}.yaml" for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"there is no config {missing[0]}; {configs} has {sorted(f.stem for f in configs.glob('*.yaml'))}"
        )
    return [*files, _METHOD_CONFIGS / f"{method}.yaml"] if stage == "distill" else files
