"""What has to be done to an image before a student sees it, as the student's weights say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import InputError

SEES = ("images", "crops", "slices")
_SIZE_KEYS = {"images": "image_size", "crops": "crop_size", "slices": "image_size"}
_OF_CHAOS = {"ct": "CT", "t1_in": "MR", "t1_out": "MR", "t2": "MR"}
_AIR = -50.0  # Hounsfield units: windows that start below are of CT, since MR has no such values, normalised or not
_INTENSITIES = ("range", "window", "percentiles")


@dataclass(frozen=True)
class Recipe:
    """What a student was trained on, and what its outputs mean.

    Args:
        sees: ``images`` resized whole, ``crops`` of images as they are, or ``slices`` of volumes, resized.
        size: width and height in pixels of what it sees.
        in_channels: 1 for grey images, 3 for colour.
        classes: names by class id, background first.
        intensity: which values become 0 and 1: ``{"range": [low, high]}`` and ``{"window": [low, high]}`` in the values
            of the file, ``{"percentiles": [low, high]}`` of the image or slice.
        dicom_modality: what DICOM slices say that they were taken with, such as "CT"; None where that is not known.
    """

    sees: str
    size: int
    in_channels: int
    classes: tuple[str, ...]
    intensity: Mapping[str, tuple[float, float]]
    dicom_modality: str | None = None

    @property
    def size_key(self) -> str:
        """The name that the configs of a bundle have for the size."""
        return _SIZE_KEYS[self.sees]

    @classmethod
    def from_provenance(cls, facts: Mapping[str, Any], weights: str = "the weights") -> Recipe:
        """Return the recipe that the provenance of weights has.

        Args:
            facts: the provenance; keys that do not matter here may be among them.
            weights: what to call the weights in a message.

        Raises:
            InputError: naming what is missing or cannot be true.
        """
        sees = _get(facts, "sees", weights)
        if sees not in SEES:
            raise InputError(f"{weights}: sees is {sees!r}, expected one of {', '.join(SEES)}; give --bundle")
        size, channels = (
            _whole(_get(facts, key, weights), key, least, weights)
            for key, least in ((_SIZE_KEYS[sees], 1), ("in_channels", 1))
        )
        classes = _get(facts, "classes", weights)
        if not isinstance(classes, (list, tuple)) or len(classes) < 2 or not all(isinstance(c, str) for c in classes):
            raise InputError(f"{weights}: classes is {classes!r}, expected the names of at least two; give --bundle")
        intensity = _intensity(_get(facts, "intensity", weights), weights)
        return cls(sees, size, channels, tuple(classes), intensity, _dicom_modality(facts, intensity))

    def facts(self) -> dict[str, Any]:
        """Return the same as JSON can hold it, by the names that a provenance has for it."""
        known = {"dicom_modality": self.dicom_modality} if self.dicom_modality else {}
        return known | {
            "sees": self.sees,
            self.size_key: self.size,
            "in_channels": self.in_channels,
            "classes": list(self.classes),
            "intensity": {name: list(values) for name, values in self.intensity.items()},
        }


def missing_facts(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of what a recipe needs and a provenance does not say."""
    size = _SIZE_KEYS.get(str(facts.get("sees")), "image_size")
    return [key for key in ("sees", size, "in_channels", "classes", "intensity") if facts.get(key) is None]


def _dicom_modality(facts: Mapping[str, Any], intensity: Mapping[str, Any]) -> str | None:
    """Return the modality by the headers of the training, by the name that CHAOS has for it, or by Hounsfield units."""
    stated = facts.get("dicom_modality")
    if isinstance(stated, str) and stated:
        return stated
    of_chaos = _OF_CHAOS.get(str(facts.get("modality")))
    is_hounsfield = "window" in intensity and intensity["window"][0] <= _AIR
    return of_chaos or ("CT" if is_hounsfield else None)


def _get(facts: Mapping[str, Any], key: str, weights: str) -> Any:
    if facts.get(key) is None:
        raise InputError(
            f"{weights}: the provenance does not say {', '.join(missing_facts(facts))}, so how images were "
            "prepared is not known; give --bundle, the bundle that the weights were trained with"
        )
    return facts[key]


def _whole(value: Any, key: str, least: int, weights: str) -> int:
    if type(value) is not int or value < least:
        raise InputError(f"{weights}: {key} is {value!r}, expected a whole number of at least {least}; give --bundle")
    return value


def _intensity(value: Any, weights: str) -> dict[str, tuple[float, float]]:
    """Return which values become 0 and 1, checked: two increasing numbers under one known name."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, pair),) = value.items()
        numbers = isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(n) in (int, float) for n in pair)
        if name in _INTENSITIES and numbers and pair[0] < pair[1]:
            return {name: (float(pair[0]), float(pair[1]))}
    raise InputError(
        f"{weights}: intensity is {value!r}, expected {' or '.join(_INTENSITIES)} with two increasing numbers, such as "
        "{'range': [0, 255]}; give --bundle"
    )
