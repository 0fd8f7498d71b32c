"""Names that keys had in earlier versions: a command line that gives one still means the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from common.errors import InputError

logger = logging.getLogger(__name__)

_NAMES = {
    "patch_size": ("crop_size", "image_size", "sample_size"),
    "patches_per_epoch": ("samples_per_epoch",),
    "patches_per_image": ("crops_per_image",),
    "resized": ("whole_images",),
}


def with_current_names(overrides: Mapping[str, Any], configs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return overrides by the names that keys have now; one that has become several is given to each.

    Args:
        overrides: values by key.
        configs: those that they are for. A name that one of them has is left alone.

    Raises:
        InputError: if a key is given by both names.
    """
    configs = list(configs)
    renamed: dict[str, Any] = {}
    for key, value in overrides.items():
        known = any(key in config for config in configs)
        names = [] if known else [name for name in _NAMES.get(key, ()) if any(name in each for each in configs)]
        twice = [name for name in names if name in overrides]
        if twice:
            raise InputError(f"--{key}: is called --{twice[0]} now, which is given too; leave out --{key}")
        if names:
            logger.warning(f"--{key}: is called {' and '.join(f'--{name}' for name in names)} now")
        renamed |= dict.fromkeys(names or [key], value)
    return renamed
