"""Feature hooks: what hidden layers put out, of any network and by module name, always as a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.files.weights import unwrap
from common.teachers.base import FeatureLayout


class FeatureHooks:
    """Keeps what chosen layers put out in the latest forward pass.

    Args:
        network: any network; what it declares as ``feature_layers``, a layout by layer, is believed. Of one that says
            that it is ``upright``, grids are turned as its logits are.
        layers: module names, as in ``dict(network.named_modules())``.
        layouts: the layout of further layers, a :class:`FeatureLayout` or its fields; it goes before what the network
            declares. Other layers are taken for ``channels_first`` if their output has four axes, and for ``tokens``
            without a prefix if it has three.

    Raises:
        ValueError: if the network has no such layer; the message lists names that come close.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Iterable[str],
        layouts: Mapping[str, FeatureLayout | Mapping[str, Any]] | None = None,
    ) -> None:
        self.network = network
        self.layers = list(layers)
        inner = unwrap(network)
        declared = {**getattr(inner, "feature_layers", {}), **(layouts or {})}
        self._upright = getattr(inner, "upright", False)
        self._layouts = {layer: _as_layout(declared[layer]) for layer in self.layers if layer in declared}
        self._outputs: dict[str, Tensor] = {}
        self._handles = []
        modules = dict(inner.named_modules())
        for layer in self.layers:
            if layer not in modules:
                near = get_close_matches(layer, modules, n=12, cutoff=0)
                raise ValueError(f"the {type(inner).__name__} has no layer '{layer}'; it has {near}")
            self._handles.append(modules[layer].register_forward_hook(self._keep(layer)))

    def _keep(self, layer: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            self._outputs[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    def pop(self, image_size: Sequence[int]) -> dict[str, Tensor]:
        """Return the outputs as grids ``(B, C, h, w)`` by layer name, and forget them.

        Args:
            image_size: height and width of the images of that forward pass.

        Raises:
            ValueError: if an output does not have the layout of its layer.
        """
        outputs, self._outputs = self._outputs, {}
        seen = image_size[::-1] if self._upright else image_size
        grids = {
            layer: as_grid(outputs[layer], seen, self._layouts.get(layer)) for layer in self.layers if layer in outputs
        }
        return {layer: grid.transpose(2, 3) for layer, grid in grids.items()} if self._upright else grids

    @torch.no_grad()
    def shapes(self, image_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shape ``(C, h, w)`` of each layer's grid, seen on a blank image of ``image_shape`` ``(C, H, W)``.

        The network's mode and weights do not change.
        """
        was_training = self.network.training
        device = next(self.network.parameters()).device
        self.network.eval()(torch.zeros(1, *image_shape, device=device))
        self.network.train(was_training)
        return {layer: tuple(grid.shape[1:]) for layer, grid in self.pop(image_shape[1:]).items()}

    def close(self) -> None:
        """Remove the hooks from the network."""
        for handle in self._handles:
            handle.remove()


def as_grid(feature: Tensor, image_size: Sequence[int], layout: FeatureLayout | None = None) -> Tensor:
    """Bring a layer's output into the shape ``(B, C, h, w)``.

    Args:
        feature: ``(B, C, h, w)``, ``(B, h, w, C)`` or tokens ``(B, prefix + h * w, C)``.
        image_size: height and width of the images; the grid has the same proportions.
        layout: which of these it is; None for the first if it has four axes, and the last, without a prefix, if three.

    Raises:
        ValueError: if the feature, read by its layout, does not have the image's proportions.
    """
    height, width = image_size
    if layout is None:
        layout = FeatureLayout("tokens" if feature.ndim == 3 else "channels_first")
    if layout.kind == "tokens" and feature.ndim == 3:
        count = feature.shape[1] - layout.prefix_tokens
        rows = round((max(count, 0) * height / width) ** 0.5)
        if rows and count % rows == 0 and rows * width == count // rows * height:
            return feature[:, layout.prefix_tokens :].transpose(1, 2).unflatten(2, (rows, count // rows))
    elif layout.kind != "tokens" and feature.ndim == 4:
        grid = feature if layout.kind == "channels_first" else feature.permute(0, 3, 1, 2)
        if grid.shape[2] * width == grid.shape[3] * height:
            return grid
    raise ValueError(
        f"features of shape {tuple(feature.shape)}, read as {layout.kind} with {layout.prefix_tokens} prefix tokens, "
        f"are not a grid over images of {height}x{width}; give the layer's kind and prefix_tokens in feature_layouts"
    )


def _as_layout(layout: FeatureLayout | Mapping[str, Any]) -> FeatureLayout:
    return FeatureLayout(**layout) if isinstance(layout, Mapping) else layout


def resample(feature: Tensor, grid: Sequence[int]) -> Tensor:
    """Return a feature ``(B, C, h, w)`` on another grid of the same field of view."""
    if tuple(feature.shape[2:]) == tuple(grid):
        return feature
    return F.interpolate(feature, size=tuple(grid), mode="bilinear", antialias=True)
