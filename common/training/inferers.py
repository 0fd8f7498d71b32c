"""How networks are called in training where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor


class Bfloat16OnCpuInferer(SimpleInferer):
    """Calls a network in bfloat16 where its images are on a CPU, for which MONAI's trainer has no ``amp``.

    Args:
        enabled: whether it does; otherwise the network is called as it is.
    """

    def __init__(self, enabled: bool = False) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the network makes of ``inputs``; a tensor in float32, so that the loss has no less.

        Args:
            inputs: ``(B, C, H, W)``.
            network: called with ``inputs`` and the rest.
            args: for the network.
            kwargs: for the network.
        """
        if not self.applies_to(inputs):
            return super().__call__(inputs, network, *args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            outputs: Any = super().__call__(inputs, network, *args, **kwargs)
        return outputs.float() if isinstance(outputs, Tensor) else outputs

    def applies_to(self, inputs: Tensor) -> bool:
        """Say whether a network computes in bfloat16 on these images."""
        return self.enabled and inputs.device.type == "cpu"
