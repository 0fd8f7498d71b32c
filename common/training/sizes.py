"""Whether a network takes images of a size: known before training starts, not after an hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from common.configs.checks import check
from common.errors import InputError


@torch.no_grad()
def check_image_size(
    network: nn.Module, size: int, in_channels: int = 3, *, inputs: Sequence[Any] = (), key: str = "image_size"
) -> None:
    """Pass one empty image through a network.

    Args:
        network: any network of images ``(B, in_channels, H, W)``; its mode and weights do not change.
        size: height and width of the image in pixels.
        in_channels: channels of the image.
        inputs: what else the network is called with, such as a timestep.
        key: the config's name for the size, for the message.

    Raises:
        InputError: if a number is not whole and positive, or the network refuses the image.
    """
    check(**{key: size, "in_channels": in_channels})
    was_training = network.training
    device = next(network.parameters()).device
    try:
        network.eval()(torch.zeros(1, in_channels, size, size, device=device), *inputs)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{key}: the {type(network).__name__} does not take images of {size} x {size} pixels ({error}); a size "
            "that is divisible by 32 suits most networks"
        ) from error
    finally:
        network.train(was_training)
