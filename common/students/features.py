"""Features of whole images beside a student's logits: what its encoder makes of them, averaged over all places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WithFeatures(nn.Module):
    """A network that returns features beside its logits.

    Args:
        network: of images ``(B, C, H, W)``.
        layer: name of the module whose output ``(B, F, h, w)`` is averaged, see :func:`find_layer`.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network
        self.layer = layer

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, classes, H, W)`` and features ``(B, F)`` of images ``(B, C, H, W)`` in [0, 1]."""
        outputs: list[Tensor] = []
        with _noting(self.network.get_submodule(self.layer), lambda module, inputs, output: outputs.append(output)):
            logits = self.network(images)
        return logits, outputs[-1].flatten(2).mean(2)


@torch.no_grad()
def find_layer(network: nn.Module, in_channels: int, size: int) -> str | None:
    """Return the name of the layer that features are taken from: the encoder or, without one, the deepest layer.

    Args:
        network: in whatever mode, which does not change.
        in_channels: channels of its images.
        size: a height and width that it takes.

    Returns:
        The name of a module with an output ``(B, F, h, w)``; None where no output is smaller than the image.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                shapes[name] = tuple(output.shape)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, in_channels, size, size, device=next(network.parameters()).device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    areas = {name: shape[2] * shape[3] for name, shape in shapes.items() if shape[2] * shape[3] < size * size}
    if "encoder" in areas:
        return "encoder"
    # Of several with the smallest output the last one, which has seen the most.
    return min(reversed(areas), key=areas.__getitem__) if areas else None


@contextmanager
def _noting(module: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
