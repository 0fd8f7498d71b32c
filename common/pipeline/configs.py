"""The configs of a bundle's stages, with overlays and that of the method laid on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser

from common.configs.name_lists import as_list
from common.distillation.methods import PROPOSED, Method, find_method
from common.errors import InputError
from common.pipeline.bundle_folder import find_configs
from common.pipeline.stages import TRAINING_STAGES


def stage_config(
    bundle: str | os.PathLike, stage: str, overlay: str | Sequence[str] | None = None, method: str = PROPOSED
) -> dict[str, Any]:
    """Return the config of a stage of a bundle as it is run: with overlays on it, and with that of the method.

    Raises:
        InputError: if the bundle, the method or an overlay does not exist.
    """
    return load_config(stage_files(find_configs(bundle), stage, as_list(overlay), find_method(method)))


def stage_files(configs: Path, stage: str, overlays: Sequence[str], method: Method) -> list[Path]:
    """Return the files that make the config of a stage.

    Args:
        configs: the bundle's.
        stage: the stage.
        overlays: their names; ``multi_gpu`` is for training alone, since one process is enough to sample and evaluate.
        method: what prepares the student.

    Raises:
        InputError: if one does not exist.
    """
    if stage not in TRAINING_STAGES:
        overlays = [name for name in overlays if name != "multi_gpu"]
    files = [configs / f"{name}.yaml" for name in ("evaluate" if stage == "evaluate_teacher" else stage, *overlays)]
    missing = [file for file in files if not file.is_file()]
    if missing and missing[0] != files[0]:
        known = overlays_in(configs)
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise InputError(f"--overlay: {configs.parent} has no overlay {missing[0].stem}; {there}")
    if missing:
        there = ", ".join(sorted(file.stem for file in configs.glob("*.yaml")))
        raise InputError(f"there is no config {missing[0]}; {configs} has {there}")
    return [*files, method.config] if stage == "distill" and method.config else files


def overlays_in(configs: Path) -> list[str]:
    """Return the names of a bundle's overlays, which are the configs whose first line says that they are one."""
    return sorted(path.stem for path in configs.glob("*.yaml") if path.read_bytes().startswith(b"# Overlay"))


def load_config(files: Sequence[Path]) -> dict[str, Any]:
    """Return what MONAI reads from a config and its overlays.

    Raises:
        InputError: if a file is not YAML, or has no keys.
    """
    for file in files:
        try:
            found = ConfigParser.load_config_file(str(file))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read as YAML ({' '.join(str(error).split())})") from error
        numbers = [key for key in found if not isinstance(key, str)] if isinstance(found, dict) else []
        if numbers:
            raise InputError(f"{file}: expected names as keys, got {numbers[0]!r}; put it in quotes if it is meant so")
        if not isinstance(found, dict):
            raise InputError(f"{file}: expected keys with values, as in epochs: 3, got {found!r}")
    return ConfigParser.load_config_files([str(file) for file in files])
