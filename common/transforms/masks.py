"""From logits to the mask that is written."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Invertd, MapTransform, Transform


class ClassIdsd(Invertd):
    """Turns one-hot classes ``(C, ...)`` into class ids ``(1, ...)``, uint8: the mask that is written.

    It is an ``Invertd``, of the one-hot encoding, because MONAI Label leaves out each ``Invertd`` when it scores the
    uncertainty of a student with dropout: it averages one-hot classes over several passes, and ids cannot be averaged.

    Args:
        keys: of the one-hot classes.
    """

    def __init__(self, keys: KeysCollection) -> None:
        MapTransform.__init__(self, keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with class ids."""
        written = dict(data)
        for key in self.key_iterator(written):
            written[key] = written[key].argmax(dim=0, keepdim=True).to(torch.uint8)
        return written


class LosslessLabeld(Transform):
    """Lets MONAI Label write the label of a JPEG as PNG: JPEG alters class ids.

    Its writer takes the extension that a client asks for, or else that of the image. Without a server this does
    nothing.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data, with ``result_extension`` where the server's image is a JPEG and the client named none."""
        written = dict(data)
        suffix = Path(written.get("image_path") or "").suffix.lower()
        if suffix in (".jpg", ".jpeg") and not written.get("result_extension"):
            written["result_extension"] = ".png"
        return written
