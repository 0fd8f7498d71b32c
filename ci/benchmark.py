"""What the method costs, as ratios measured side by side in one run: python ci/benchmark.py --output benchmark.json

Absolute times depend on the machine and on what else it does; so every section runs its variants in turn, round after
round, and reports medians and the ratios of each round. Weights are random, since they do not change how long anything
takes, and images are phantoms. The teacher is a SAM of ViT-B size.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from costs.memory import TUNINGS, memory, peak_memory_of
from costs.networks import inference, sampling
from costs.training import SEED, distillation_epochs, trainer_overhead

SECTIONS: dict[str, Callable[[torch.device, int], dict[str, Any]]] = {
    "distillation_epochs": distillation_epochs,
    "trainer_overhead": trainer_overhead,
    "inference": inference,
    "sampling": sampling,
    "memory": memory,
}


def main() -> None:
    """Run the chosen sections, print each ratio and write everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmark.json"), help="where the figures go")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--rounds", type=int, default=5, help="times that the variants of a section take turns")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peak_memory_of", choices=TUNINGS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory_of:
        print(peak_memory_of(arguments.peak_memory_of, arguments.device))
        return
    if arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {arguments.rounds}")
    report: dict[str, Any] = {"machine": _machine(arguments.device), "rounds": arguments.rounds}
    for name in arguments.sections:
        torch.manual_seed(SEED)
        report[name] = SECTIONS[name](arguments.device, arguments.rounds)
        print(name)
        for line in _lines(report[name]):
            print("   ", line, flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


def _machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _lines(figures: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict) and value.keys() == {"median", "min", "max"}:
            yield f"{prefix}{name}: {value['median']:.2f} ({value['min']:.2f} to {value['max']:.2f})"
        elif isinstance(value, dict):
            yield from _lines(value, f"{prefix}{name}, ")
        else:
            yield f"{prefix}{name}: {value:.4g}"


if __name__ == "__main__":
    main()
