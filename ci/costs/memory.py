"""Peak memory of fine-tuning the teacher, by LoRA and in full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import SamConfig

from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher
from costs.process_memory import peak_resident
from costs.training import IMAGE_SIZE, INPUT_SCALE, SEED
from costs.turns import medians, ratio

BENCHMARK = Path(__file__).parents[1] / "benchmark.py"
TUNINGS = ("lora", "full")


def memory(device: torch.device, rounds: int) -> dict[str, Any]:
    """Peak memory of two training steps of the teacher, by LoRA and in full, each in a process of its own."""
    peaks: dict[str, list[float]] = {tuning: [] for tuning in TUNINGS}
    for _ in range(rounds):
        for tuning, values in peaks.items():
            command = [sys.executable, str(BENCHMARK), "--device", str(device), "--peak_memory_of", tuning]
            values.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))
    return {"median_mebibytes": medians(peaks), "full_to_lora": ratio(peaks["full"], peaks["lora"])}


def peak_memory_of(tuning: str, device: torch.device) -> float:
    """Train a teacher for two steps and return the peak in MiB: of the process on a CPU, of tensors on a GPU."""
    torch.manual_seed(SEED)
    teacher: nn.Module = SamTeacher(SamConfig(), num_classes=2, input_scale=INPUT_SCALE)
    if tuning == "lora":
        teacher = add_lora(teacher)
    teacher.to(device).train()
    optimizer = torch.optim.AdamW([p for p in teacher.parameters() if p.requires_grad])
    images = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
    for _ in range(2):  # the optimizer's state is there from the first step on
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            teacher(images).float().square().mean().backward()
        optimizer.step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident()
