"""Files of tensors, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from common.errors import InputError


def read_checkpoint(path: str | os.PathLike, made_by: str | None = None) -> Any:
    """Read a file of tensors, numbers and strings onto the CPU without executing anything in it.

    Args:
        path: the file.
        made_by: the stage that writes it, for the message when it is missing.

    Raises:
        InputError: if the file is missing, damaged, or holds anything that would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        hint = f": run {made_by} first" if made_by else ""
        raise InputError(f"the checkpoint {path} does not exist{hint}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose text advises to switch the protection off
        raise InputError(
            f"{path} was refused: it holds more than tensors and could run code, or it is not a PyTorch checkpoint"
        ) from error
    except (RuntimeError, EOFError, KeyError, OSError) as error:
        raise InputError(f"{path} is damaged or not a PyTorch checkpoint ({error})") from error
