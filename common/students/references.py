"""Features of the images that a student was trained on, which say whether another image is like them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import InputError

_NINE_OF_TEN = 90  # percent
_NO_SLASHES = b"-_"  # in base64: nothing in it looks like a path


@dataclass(frozen=True)
class Reference:
    """Features of images that a student was trained on.

    Args:
        features: ``(N, F)``, one row for each image; at least two different ones.
        reach: the distance within which nine of ten of them have their nearest one.
    """

    features: np.ndarray
    reach: float

    @classmethod
    def of(cls, features: np.ndarray) -> Reference | None:
        """Return the reference that features ``(N, F)`` make; None if they are not at least two different ones."""
        features = np.asarray(features, np.float32)
        if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
            return None
        distances = np.linalg.norm(features[:, None] - features[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        reach = float(np.percentile(distances.min(1), _NINE_OF_TEN))
        return cls(features, reach) if 0 < reach < np.inf else None

    def to_json(self) -> dict[str, Any]:
        """Return the features as JSON can hold them: the bytes of float32 numbers in base64."""
        data = np.ascontiguousarray(self.features, "<f4")
        return {"shape": list(data.shape), "float32": base64.urlsafe_b64encode(data.tobytes()).decode()}

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
            reference = cls.of(data.reshape(int(rows), int(columns)))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise InputError(f"{weights}: the reference in the provenance is damaged ({error}); train again") from error
        if reference is None:
            raise InputError(f"{weights}: the reference in the provenance is damaged; train again")
        return reference
