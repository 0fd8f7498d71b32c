"""What the configs of a bundle say of the students that are trained with it, for weights that do not say it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from common.errors import InputError, causes
from common.files.provenance import read_provenance
from common.pipeline.bundle_folder import find_configs
from common.prediction.recipe import missing_facts

logger = logging.getLogger(__name__)

_INFERENCE, _EVALUATE = "configs/inference.yaml", "configs/evaluate.yaml"
_OWN_OF_EVALUATE = ("stage", "imports", "preprocessing", "inferer")


class BundleFacts:
    """The inference config of a bundle, or of a release, with the weights at hand.

    Args:
        bundle: its folder.
        weights: the student's.

    Raises:
        InputError: if the folder has no inference config, or that cannot be read.
    """

    def __init__(self, bundle: Path, weights: Path) -> None:
        self.bundle, self.weights = bundle, weights
        path = find_configs(bundle).parent / _INFERENCE
        if not path.is_file():
            raise InputError(f"--bundle {bundle}: is no complete bundle; expected {_INFERENCE} in it")
        if str(bundle.resolve()) not in sys.path:
            sys.path.append(str(bundle.resolve()))  # where a release has its own code
        config = ConfigParser.load_config_file(str(path))
        own = {"bundle_root": str(bundle.resolve()), "ckpt_path": str(weights), "device": "cpu"}
        self.parser = ConfigParser({**config, **own})
        recorded = read_provenance(weights)
        #: Whether the size is a choice of the bundle's, rather than that of these weights.
        self.size_is_recorded = any(key in recorded for key in ("image_size", "crop_size")) or _is_release(bundle)

    def network(self) -> nn.Module:
        """Return the network of the config, with random weights.

        Raises:
            InputError: if it cannot be built.
        """
        return self._parsed("network_def")

    def complete(self, facts: Mapping[str, Any], size: int | None = None) -> dict[str, Any]:
        """Return a provenance with what the config says and it does not.

        The size is not taken from a config of which weights of any size are used: a student that is shown another size
        than it was trained with loses some points of Dice.

        Args:
            facts: the provenance.
            size: width and height in pixels that the student was trained with, where the provenance does not say it.

        Raises:
            InputError: if the config does not say it either.
        """
        size_key = "crop_size" if "crop_size" in self.parser else "image_size"
        if size is not None and facts.get(size_key) is None and size != self._parsed(size_key):
            logger.warning(
                "--size %s: %s does not say its size, and that of %s is %s: masks are bad if it was trained with that",
                *(size, self.weights, self.bundle, self._parsed(size_key)),
            )
        facts = {size_key: size, **facts}
        if facts[size_key] is None and not self.size_is_recorded:
            raise InputError(
                f"the weights do not say their {size_key}; give --size, in pixels, as they were trained with"
            )
        known = {
            size_key: lambda: self._parsed(size_key),
            "in_channels": lambda: self._parsed("in_channels"),
            "classes": self._classes,
            "intensity": self._intensity,
        }
        completed = {**facts, "sees": facts.get("sees") or self._sees()}
        for key in missing_facts(completed):
            completed[key] = known[key]()
        return completed

    def check_agrees(self, facts: Mapping[str, Any]) -> None:
        """Refuse a bundle of other students than these weights.

        Args:
            facts: the provenance, whatever it has.

        Raises:
            InputError: naming what the two say.
        """
        known = {"sees": self._sees, "in_channels": lambda: self._parsed("in_channels"), "classes": self._classes}
        for key, read in known.items():
            if facts.get(key) is not None and facts[key] != read():
                raise InputError(
                    f"--bundle {self.bundle}: its {key} is {read()}, and {self.weights} was trained with {facts[key]}: "
                    "it is another bundle's; leave --bundle out, or name the one that the weights were trained with"
                )

    def _sees(self) -> str:
        if "crop_size" in self.parser:
            return "crops"
        return "slices" if str(self.parser["inferer"].get("_target_")).endswith("SliceInferer") else "images"

    def _classes(self) -> list[str]:
        """Return the names of the classes, which the config of the evaluation has."""
        path = self.bundle / _EVALUATE
        if not path.is_file():
            raise InputError(f"--bundle {self.bundle}: has no {_EVALUATE}, which names the classes")
        config = ConfigParser.load_config_file(str(path))
        settings = {key: self.parser[key] for key in config if key in self.parser and key not in _OWN_OF_EVALUATE}
        classes = _parse(ConfigParser({**config, **settings}), "classes", path)
        return list(classes.values() if isinstance(classes, Mapping) else classes)

    def _intensity(self) -> dict[str, list[float]] | None:
        """Return which values become 0 and 1, by the transform that does it; None where it is none that is known."""
        for number, transform in enumerate(self.parser["preprocessing"]["transforms"]):
            name = str(transform.get("_target_", "")).rpartition(".")[2] if isinstance(transform, Mapping) else ""

            def argument(key: str, number: int = number) -> Any:
                return self._parsed(f"preprocessing::transforms::{number}::{key}")

            if name == "ScaleIntensityRanged":
                return {"range": [argument("a_min"), argument("a_max")]}
            if name == "ScaleIntensityRangePercentilesd":
                return {"percentiles": [argument("lower"), argument("upper")]}
            if name == "ScaleSlicesd":
                given = {key: argument(key) for key in ("modality", "window", "percentiles") if key in transform}
                modality, window = given.get("modality"), given.get("window")
                key = "window" if modality == "ct" or (modality is None and window is not None) else "percentiles"
                return {key: list(given[key])}
        return None

    def _parsed(self, key: str) -> Any:
        return _parse(self.parser, key, self.bundle / _INFERENCE)


def _parse(parser: ConfigParser, key: str, path: Path) -> Any:
    try:
        return parser.get_parsed_content(key)
    except Exception as error:
        reason = list(causes(error))[-1]
        raise InputError(f"{path}: {key} cannot be used ({reason})") from error


def _is_release(bundle: Path) -> bool:
    """Say whether a bundle is a release, whose configs are those of its own weights."""
    return any(bundle.glob("scripts_*")) and (bundle / "models" / "model.pt").is_file()
