"""TODO"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.files.fingerprints import unwrap


class FeatureTaps:
    """Keeps what chosen layers put out in the latest forward pass.

    Args:
        network: any network.
        layers: module names, as in ``dict(network.named_modules())``.

    Raises:
        ValueError: if the network has no such layer; the message lists names that come close.
    """

    def __init__(self, network: nn.Module, layers: Iterable[str]) -> None:
        self._outputs: dict[str, Tensor] = {}
        self._hooks = []
        modules = dict(unwrap(network).named_modules())
        for layer in layers:
            if layer not in modules:
                near = get_close_matches(layer, modules, n=12, cutoff=0)
                raise ValueError(f"the {type(unwrap(network)).__name__} has no layer '{layer}'; it has {near}")
            self._hooks.append(modules[layer].register_forward_hook(self._keep(layer)))

    def _keep(self, layer: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            self._outputs[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    def pop(self, image_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the outputs as grids ``(B, C, h, w)`` by layer name, and forget them.

        Args:
            image_size: height and width of the images just seen.
        """
        grids = {layer: as_grid(output, image_size) for layer, output in self._outputs.items()}
        self._outputs.clear()
        return grids

    def close(self) -> None:
        """Remove the taps from the network."""
        for hook in self._hooks:
            hook.remove()


def as_grid(feature: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Bring a layer's output into the shape ``(B, C, h, w)``.

    Args:
        feature: ``(B, C, h, w)``, ``(B, h, w, C)`` or tokens ``(B, h * w, C)``, with at most one class token before.
        image_size: height and width of the images; the grid has the same proportions.

    Raises:
        ValueError: if no reading of the shape has the image's proportions.
    """
    height, width = image_size
    if feature.ndim == 4:
        if feature.shape[2] * width == feature.shape[3] * height:
            return feature
        if feature.shape[1] * width == feature.shape[2] * height:
            return feature.permute(0, 3, 1, 2)
    if feature.ndim == 3:
        for extra in (0, 1):
            count = feature.shape[1] - extra
            rows = round((count * height / width) ** 0.5)
            if rows and count % rows == 0 and rows * width == count // rows * height:
                return feature[:, extra:].transpose(1, 2).unflatten(2, (rows, count // rows))
    raise ValueError(f"features of shape {tuple(feature.shape)} are no grid over images of {height}x{width}")


def resample(feature: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return a feature ``(B, C, h, w)`` on another grid of the same field of view."""
    if tuple(feature.shape[2:]) == tuple(grid):
        return feature
    return F.interpolate(feature, size=tuple(grid), mode="bilinear", antialias=True)


@torch.no_grad()
def feature_shapes(
    network: nn.Module, layers: Iterable[str], image_shape: tuple[int, int, int]
) -> list[tuple[int, int, int]]:
    """Return the shape ``(C, h, w)`` of what each layer puts out for an image of ``image_shape`` ``(C, H, W)``."""
    layers = list(layers)
    taps = FeatureTaps(network, layers)
    was_training = network.training
    device = next(network.parameters()).device
    network.eval()(torch.zeros(1, *image_shape, device=device))
    network.train(was_training)
    grids = taps.pop(image_shape[1:])
    taps.close()
    return [tuple(grids[layer].shape[1:]) for layer in layers]


def feature_widths(network: nn.Module, layers: Iterable[str], image_shape: tuple[int, int, int]) -> list[int]:
    """Return the channels that each layer puts out for images of ``image_shape`` ``(C, H, W)``."""
    return [shape[0] for shape in feature_shapes(network, layers, image_shape)]
