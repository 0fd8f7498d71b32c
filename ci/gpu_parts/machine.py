"""What a machine is, and how fast it multiplies bf16 matrices: ``python -m gpu_parts.machine --device cuda``.

The last line that is printed is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from gpu_parts.peaks import stated_peak

_WARM_UP = 3  # steps
_LEAST = 3  # steps that are timed


def main() -> None:
    """Print the figures of the machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--seconds", type=float, default=3.0, help="that products are timed for, at least")
    parser.add_argument("--quick", action="store_true", help="small matrices")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    print(json.dumps(machine(arguments.device, 256 if arguments.quick else 8192, arguments.seconds)))


def machine(device: torch.device, side: int, seconds: float) -> dict[str, Any]:
    """Return what this machine is, and how fast it multiplies two square bf16 matrices.

    Args:
        device: to compute on.
        side: rows and columns of the matrices.
        seconds: see :func:`seconds_of`.
    """
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    taken = seconds_of(lambda: one @ other, device, seconds)
    on_gpu = device.type == "cuda"
    return {
        "device": device_name(device),
        "memory_gb": torch.cuda.get_device_properties(device).total_memory / 1e9 if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "peak_tflops": stated_peak(device_name(device)),
        "matmul_tflops": 2 * side**3 / taken / 1e12,
    }


def seconds_of(step: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the median seconds of a step, after some to warm up.

    Args:
        step: is done as often as fits into ``seconds``, and three times at least.
        device: that is waited for after each.
        seconds: see there.
    """
    taken: list[float] = []
    for _ in range(_WARM_UP):
        step()
    _wait_for(device)
    while len(taken) < _LEAST or sum(taken) < seconds:
        started = time.perf_counter()
        step()
        _wait_for(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the kind of processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
