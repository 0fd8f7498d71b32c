"""A training set whose images are changed at random, but each of them the same way in every epoch."""

from __future__ import annotations

from typing import Any

from monai.data import CacheDataset
from monai.data.utils import set_rnd

from common.training.seeds import mix_seeds


class TrainingViews(CacheDataset):
    """MONAI's ``CacheDataset``, whose random transforms may give each entry the same result in every epoch.

    A network that keeps what it makes of images which come again then trains at a fraction of the time.

    Args:
        fixed: whether they do.
        seed: of what is drawn then.
        options: of ``CacheDataset``.
    """

    def __init__(self, *, fixed: bool, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.fixed = fixed
        self.seed = seed

    def _transform(self, index: int) -> Any:
        if self.fixed:
            set_rnd(self.transform, seed=mix_seeds(self.seed, index))
        return super()._transform(index)
