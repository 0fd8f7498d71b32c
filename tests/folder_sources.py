"""Sources of folder datasets for tests."""

from __future__ import annotations

from typing import Any

from common.datasets.source import Source

_PLAIN = {"images": "images", "labels": "labels", "classes": ["background", "shape"], "label_format": "black_white"}

# Of the phantoms that the two classes write where they are told nothing else.
OWN_SOURCES: dict[str, dict[str, Any]] = {
    "folder": {"source": Source.from_config(_PLAIN).to_config()},
    "folder_volumes": {"source": Source.from_config({**_PLAIN, "kind": "volumes", "channels": 1}).to_config()},
}
