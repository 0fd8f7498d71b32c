"""Surface distances in millimetres."""

from __future__ import annotations

from collections.abc import Sequence

from ignite.metrics.metric import reinit__is_reduced
from monai.data import MetaTensor
from monai.handlers import HausdorffDistance
from torch import Tensor


class SpacedHausdorffDistance(HausdorffDistance):
    """MONAI's HausdorffDistance in millimetres instead of voxels: the labels' affine tells how far apart voxels are.

    Args:
        kwargs: what ``HausdorffDistance`` takes; ``output_transform`` gives lists of predictions and of labels, each
            one-hot ``(C, W, H[, D])``, the labels as MetaTensors.
    """

    @reinit__is_reduced
    def update(self, output: tuple[Sequence[Tensor], Sequence[MetaTensor]]) -> None:
        """Measure one batch, each case with its own spacing."""
        for prediction, label in zip(*output, strict=True):
            self.metric_fn([prediction], [label], spacing=label.pixdim.tolist())
