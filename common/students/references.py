"""Features of the images that a student was trained on, which say whether another image is like them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import InputError

_NO_SLASHES = b"-_"  # in base64: nothing in it looks like a path


@dataclass(frozen=True)
class Reference:
    """Features of images that a student was trained on.

    Args:
        features: ``(N, F)``, one row for each image; at least two different ones.
        typical: the median of the distances of each of them from its nearest one.
    """

    features: np.ndarray
    typical: float

    @classmethod
    def of(cls, features: np.ndarray) -> Reference | None:
        """Return the reference that features ``(N, F)`` make; None if they are not at least two different ones."""
        features = np.asarray(features, np.float32)
        if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
            return None
        distances = np.linalg.norm(features[:, None] - features[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        typical = float(np.median(distances.min(1)))
        return cls(features, typical) if typical > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON can hold it, the features as the bytes of float32 numbers in base64."""
        data = np.ascontiguousarray(self.features, "<f4")
        return {
            "shape": list(data.shape),
            "float32": base64.urlsafe_b64encode(data.tobytes()).decode(),
            "typical": self.typical,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None, weights: str = "the weights") -> Reference | None:
        """Return what :meth:`to_json` made; None for None.

        Args:
            content: what a provenance has under ``reference``.
            weights: what to call the weights in a message.

        Raises:
            InputError: if it is damaged.
        """
        if content is None:
            return None
        try:
            rows, columns = content["shape"]
            data = np.frombuffer(base64.b64decode(content["float32"], _NO_SLASHES, validate=True), "<f4")
            features, typical = data.reshape(int(rows), int(columns)).astype(np.float32), float(content["typical"])
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise InputError(f"{weights}: the reference in the provenance is damaged ({error}); train again") from error
        if not features.size or not np.isfinite(features).all() or not 0 < typical < np.inf:
            raise InputError(f"{weights}: the reference in the provenance is damaged; train again")
        return cls(features, typical)
