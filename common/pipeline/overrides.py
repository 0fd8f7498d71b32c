"""Keys of the stages that the command line overrides."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from typing import Any

from monai.bundle import ConfigParser

from common.configs.checks import check_configs
from common.configs.known_keys import describe_unknown, has_key, unknown_references
from common.errors import InputError


def check_paths(**paths: str | os.PathLike | None) -> None:
    """Refuse paths that MONAI would change: it reads ``#`` in any value of a config as ``::``.

    Raises:
        InputError: naming the first of them.
    """
    for key, path in paths.items():
        if path is not None and "#" in os.path.abspath(path):
            raise InputError(f"--{key}: {os.path.abspath(path)} has a #, which MONAI takes for ::; choose another path")


def takes(config: Mapping[str, Any], key: str) -> bool:
    """Say whether a stage takes an override of this key, given its config."""
    if key == "learning_rate" and "base_learning_rate" in config:
        return False  # there it follows from the base rate by its paper's rule, whatever the other stages train with
    return has_key(config, key)


def check_overrides(
    configs: Iterable[Mapping[str, Any]],
    overrides: Mapping[str, Any],
    options: Iterable[str] = (),
    bundle: str | os.PathLike = "BUNDLE",
) -> None:
    """Refuse overrides that none of these stages takes.

    Args:
        configs: the config of each stage.
        overrides: values by key.
        options: of the command, one of which may have been meant.
        bundle: the folder that the configs are of.

    Raises:
        InputError: naming each, what may have been meant, and the command that lists all; or if ``network_def`` would
            replace the student in some of the stages alone.
    """
    configs = list(configs)
    for key in overrides:
        top, *rest = key.replace("#", "::").split("::")
        if top == "network_def" and any("student_def" in config and top not in config for config in configs):
            raise InputError(
                f"--{key}: stage distill has no network_def, so distill and train would have different students; give "
                f"--{'::'.join(['student_def', *rest])}"
            )
    unknown = [key for key in overrides if not any(takes(config, key) for config in configs)]
    if unknown:
        options = list(options)
        lines = [
            f"--{key}: none of the stages has this key; {describe_unknown(key, configs, options, str(bundle))}"
            for key in unknown
        ]
        raise InputError("\n".join(lines))


def check_values(
    configs: Iterable[Mapping[str, Any]], overrides: Mapping[str, Any], on_this_machine: bool = True
) -> None:
    """Refuse values that a stage cannot work with, before the first one starts.

    Args:
        configs: the config of each stage.
        overrides: values by key; each stage gets those that it takes.
        on_this_machine: whether it is this machine that must have their devices.

    Raises:
        InputError: see :func:`common.configs.checks.check_configs`; also if a value refers to a key that there is not.
    """
    changed = [overridden(config, overrides) for config in configs]
    missing = [line for config in changed for line in unknown_references(config)]
    if missing:
        raise InputError("\n".join(dict.fromkeys(missing)))
    check_configs(changed, on_this_machine)


def overridden(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of a stage with those of the values, by key, that it takes."""
    parser = ConfigParser(copy.deepcopy(dict(config)))
    parser.update({key: copy.deepcopy(value) for key, value in overrides.items() if takes(config, key)})
    return parser.get()
