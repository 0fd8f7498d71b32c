"""What a network does to the size of images, found by showing it one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import InputError
from common.teachers.base import FeatureLayout, LayoutKind

_SIZES = (256, 224, 192, 128, 96, 64, 512)  # some networks take one size alone
_CHANNELS = (3, 1)


@dataclass(frozen=True)
class NetworkLayers:
    """What is seen of a network of images ``(B, in_channels, H, W)``.

    Args:
        in_channels: one or three.
        out_channels: of what it puts out.
        stride: side in pixels of what one place of its coarsest map covers.
        deepest: the layer with that map; None where no map is smaller than the image.
        layouts: of every layer that puts out a map, by its name in the network.
        used: names of the layers that its output depends on; a network with deep supervision has others.
    """

    in_channels: int
    out_channels: int
    stride: int
    deepest: str | None
    layouts: dict[str, FeatureLayout]
    used: frozenset[str]


def look_into(network: nn.Module) -> NetworkLayers:
    """Show a network empty images, of the first size and the first channels that it takes.

    Args:
        network: on the CPU; its mode and weights do not change.

    Raises:
        InputError: if it takes none of them, or does not put out logits ``(B, classes, H, W)``.
    """
    reason = ""
    with _every_weight_counts(network):
        for size in _SIZES:
            for channels in _CHANNELS:
                try:
                    output, outputs = _run(network, torch.zeros(1, channels, size, size))
                except Exception as error:  # whatever a network raises at an image that it does not take
                    reason = " ".join(str(error).split())
                else:
                    return _describe(network, output, outputs, channels, size)
    raise InputError(
        f"teacher_network_def: the {type(network).__name__} takes no images (B, 3, H, W) or (B, 1, H, W), of "
        f"{', '.join(map(str, sorted(_SIZES)))} pixels a side ({reason})"
    )


@contextmanager
def _every_weight_counts(network: nn.Module) -> Iterator[None]:
    """Have a network in eval mode, in which gradients would reach each of its weights, for a while."""
    was_training = [(module, module.training) for module in network.modules()]
    frozen = [each for each in network.parameters() if not each.requires_grad]
    network.eval()
    try:
        with torch.enable_grad():
            for each in frozen:
                each.requires_grad_(True)
            yield
    finally:
        for each in frozen:
            each.requires_grad_(False)
        for module, mode in was_training:
            module.training = mode


def first_of(output: Any) -> Any:
    """Return a network's main output, of those that put out several, as with deep supervision."""
    return output[0] if isinstance(output, (list, tuple)) and output else output


def _run(network: nn.Module, image: Tensor) -> tuple[Any, dict[str, Tensor]]:
    outputs: dict[str, Tensor] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and len(output) == 1:
                outputs[name] = output

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        return first_of(network(image)), outputs
    finally:
        for handle in handles:
            handle.remove()


def _describe(network: nn.Module, output: Any, outputs: dict[str, Tensor], channels: int, size: int) -> NetworkLayers:
    if not isinstance(output, Tensor) or output.ndim != 4:
        shape = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"teacher_network_def: the {type(network).__name__} puts out {shape} for an image, expected logits "
            "(B, classes, H, W)"
        )
    sides, layouts = {}, {}
    for name, shape in ((name, tuple(each.shape[1:])) for name, each in outputs.items()):
        kind: LayoutKind | None
        kind = "channels_first" if shape[1] == shape[2] else "channels_last" if shape[0] == shape[1] else None
        side = shape[1]
        if kind and 1 < side <= size and size % side == 0:  # one place alone is an average, not a map
            sides[name], layouts[name] = side, FeatureLayout(kind)
    coarser = {name: side for name, side in sides.items() if side < size}
    # Of several with the coarsest map the last one, which has seen the most; an encoder that is called so before it.
    deepest = min(reversed(coarser), key=coarser.__getitem__) if coarser else None
    deepest = "encoder" if "encoder" in coarser else deepest
    stride = size // min(coarser.values(), default=size)
    return NetworkLayers(channels, output.shape[1], stride, deepest, layouts, _used_layers(network, output))


def _used_layers(network: nn.Module, output: Tensor) -> frozenset[str]:
    """Return the names of the layers whose weights a gradient of the output would reach."""
    reached, waiting, seen = set(), [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            reached.add(id(getattr(node, "variable", None)))
            waiting += [following for following, _ in node.next_functions]
    return frozenset(
        name
        for name, module in network.named_modules()
        if any(id(each) in reached for each in module.parameters(recurse=False))
    )
