"""The image and the prediction are described in the words of the MONAI Bundle Specification."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from monai.bundle import ConfigParser

from verify.bundle import METADATA, Bundle, Issue

_TYPES = ("image", "series", "tuples", "probabilities")
_FORMATS = (
    *("magnitude", "hounsfield", "kspace", "raw", "labels", "classes", "segmentation", "points", "normals"),
    *("indices", "sequence", "latent", "gradient"),
)


def tensor_formats(bundle: Bundle) -> Iterator[Issue]:
    for way, name in (("inputs", "image"), ("outputs", "pred")):
        tensor = ConfigParser(bundle.metadata).get(f"network_data_format::{way}::{name}")
        if not isinstance(tensor, dict):
            yield Issue(METADATA, f"no {way} {name}", "a tensor of this name, which MONAI's own check looks for")
            continue
        for key, expected, holds in _RULES:
            value = tensor.get(key)
            if not holds(value, tensor):
                yield Issue(METADATA, f"{way} {name}: {key} {value!r}", expected)
        if way == "inputs" and not tensor.get("modality"):
            yield Issue(METADATA, "inputs image: no modality", "how the images were taken, such as MR, CT or US")


def _is_range(value: Any, _: dict) -> bool:
    numbers = value if isinstance(value, list) and all(isinstance(item, (int, float)) for item in value) else [0]
    return not numbers or (len(numbers) == 2 and numbers[0] < numbers[1])


def _is_shape(value: Any, _: dict) -> bool:
    if not (isinstance(value, list) and 1 <= len(value) <= 3):
        return False
    return all(size > 0 if isinstance(size, int) else size == "*" or _is_term(str(size)) for size in value)


def _is_term(text: str) -> bool:
    if not (re.fullmatch(r"[\d\s()*+/np-]+", text) and re.search("[np]", text)):
        return False
    try:
        return _value_of(text, 1) >= 1
    except (SyntaxError, TypeError, ZeroDivisionError):
        return False


def _value_of(term: str, size: int) -> float:
    """Return the value of a term of numbers, n and p, which both stand for one size."""
    return eval(term, {"__builtins__": {}}, {"n": size, "p": size})


def _is_dtype(value: Any, _: dict) -> bool:
    return isinstance(getattr(torch, str(value), None), torch.dtype)


def _names_channels(value: Any, tensor: dict) -> bool:
    count = tensor.get("num_channels")
    return isinstance(value, dict) and isinstance(count, int) and list(value) == [str(each) for each in range(count)]


_RULES = (
    ("type", f"one of {', '.join(_TYPES)}", lambda value, _: value in _TYPES),
    ("format", f"one of {', '.join(_FORMATS)}", lambda value, _: value in _FORMATS),
    ("num_channels", "a positive number", lambda value, _: isinstance(value, int) and value > 0),
    ("spatial_shape", "one to three sizes: numbers, '*', or terms in n and p such as '16*n'", _is_shape),
    ("dtype", "a type of torch, such as float32", _is_dtype),
    ("value_range", "[lowest, highest], or [] where it is not known", _is_range),
    ("is_patch_data", "true or false", lambda value, _: isinstance(value, bool)),
    ("channel_def", "what each channel is, by '0', '1', … num_channels - 1", _names_channels),
)


def example(bundle: Bundle, size: int = 2) -> tuple[torch.Tensor, list[int]]:
    """Return images of the shape, type and range that the metadata give, and the size that a prediction should have."""
    formats = bundle.metadata["network_data_format"]
    image, prediction = formats["inputs"]["image"], formats["outputs"]["pred"]

    def sizes(tensor: dict[str, Any]) -> list[int]:
        shape = (16 * size if value == "*" else value for value in tensor["spatial_shape"])
        return [value if isinstance(value, int) else int(_value_of(value, size)) for value in shape]

    low, high = image["value_range"] or (0, 1)
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, image["num_channels"], *sizes(image), generator=generator)
    return (low + (high - low) * values).to(getattr(torch, image["dtype"])), sizes(prediction)
