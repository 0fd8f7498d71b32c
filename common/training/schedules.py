"""Learning rates over the steps of a training."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int) -> OneCycleLR:
    """Return PyTorch's one-cycle schedule that rises over the first tenth of the steps (Smith, arXiv 1708.07120).

    ``OneCycleLR(pct_start=0.1)`` itself divides by zero at ten steps, since its rise would be over at the first one,
    and has next to no learning rate at fewer. Here the rise takes at least one step.

    Args:
        optimizer: whose learning rates are set.
        max_lr: the peak, or one for each parameter group.
        total_steps: number of optimizer steps, at least 1.

    Raises:
        ValueError: if ``total_steps`` is less than 1.
    """
    if total_steps < 1:
        raise ValueError(f"total_steps must be at least 1, got {total_steps}: there is nothing to train on")
    steps = max(3, total_steps)  # to the peak, and down from it
    peaks = max_lr if isinstance(max_lr, (int, float)) else list(max_lr)
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=steps, pct_start=max(0.1, 2 / steps))
