"""Whether a network takes images of a size: known before training starts, not after an hour."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from common.errors import InputError


@torch.no_grad()
def check_patch_size(network: nn.Module, patch_size: int, in_channels: int = 3, *inputs: Any) -> None:
    """Pass one empty patch through a network.

    Args:
        network: any network of images ``(B, in_channels, H, W)``; its mode and weights do not change.
        patch_size: height and width of the patch.
        in_channels: channels of the patch.
        inputs: what else the network is called with, such as a timestep.

    Raises:
        InputError: if the network refuses it.
    """
    was_training = network.training
    device = next(network.parameters()).device
    try:
        network.eval()(torch.zeros(1, in_channels, patch_size, patch_size, device=device), *inputs)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"patch_size: the {type(network).__name__} takes no patches of {patch_size} x {patch_size} pixels "
            f"({error}); a multiple of 32 suits most networks"
        ) from error
    finally:
        network.train(was_training)
