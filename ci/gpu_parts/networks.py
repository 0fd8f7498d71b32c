"""Speed and memory of one network in bf16: ``python -m gpu_parts.networks sam_vit_b --device cuda``.

The last line that is printed is a JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import SamConfig, SamVisionConfig

from common.students.vit import ViTSegmenter
from common.teachers import build_teacher
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher
from common.training.processes import memory_format
from gpu_parts.machine import device_name, seconds_of
from gpu_parts.peaks import stated_peak

SEED = 0
CLASSES = 2


class Subject(NamedTuple):
    """A network, and what it is shown."""

    network: nn.Module  # images (B, 3, S, S) in [0, 1] -> logits (B, CLASSES, S, S)
    image_size: int  # S, pixels a side
    batch_size: int


def sam_vit_b(quick: bool, pretrained: str) -> Subject:
    """SAM of ViT-B size with random weights, at its own 1024 pixels; where it is to be quick, a SAM in miniature."""
    if quick:
        vision = SamVisionConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=64,
            global_attn_indexes=[1],
            mlp_dim=64,
        )
        return Subject(SamTeacher(SamConfig(vision_config=vision), num_classes=CLASSES), 64, 2)
    return Subject(SamTeacher(SamConfig(), num_classes=CLASSES), 1024, 8)


def teacher(quick: bool, pretrained: str) -> Subject:
    """The teacher that the stages have."""
    return Subject(build_teacher(pretrained, num_classes=CLASSES), 64 if quick else 256, 2 if quick else 16)


def student(quick: bool, pretrained: str) -> Subject:
    """The student of the bundles."""
    return Subject(ViTSegmenter(num_classes=CLASSES), 64 if quick else 256, 2 if quick else 64)


SUBJECTS: dict[str, Callable[[bool, str], Subject]] = {"sam_vit_b": sam_vit_b, "teacher": teacher, "student": student}


def main() -> None:
    """Print the figures of a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=SUBJECTS)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--pretrained", default="embedded", help="of the teacher")
    parser.add_argument("--seconds", type=float, default=5.0, help="that steps are timed for, at least")
    parser.add_argument("--quick", action="store_true", help="small networks")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    subject = SUBJECTS[arguments.network](arguments.quick, arguments.pretrained)
    print(json.dumps(measure(subject, arguments.device, arguments.seconds)))


def measure(subject: Subject, device: torch.device, seconds: float) -> dict[str, Any]:
    """Return what inference and a step of training cost in bf16, by the settings of the bundles on a GPU.

    Teachers train as the bundles train them, by LoRA with their decoders; the student trains whole.
    """
    network, size, batch = subject
    channels_last = memory_format(device.type == "cuda")
    images = torch.rand(batch, 3, size, size, device=device).to(memory_format=channels_last)
    labels = torch.randint(CLASSES, (batch, size, size), device=device)

    network = network.to(device, memory_format=channels_last).eval()

    @torch.inference_mode()
    def infer() -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return network(images)

    figures: dict[str, Any] = {
        "image_size": size,
        "parameters": sum(each.numel() for each in network.parameters()),
        "inference": figures_of(infer, count_flops(network, size, training=False), batch, device, seconds),
    }
    if not isinstance(network, ViTSegmenter):
        network = add_lora(network).to(device, memory_format=channels_last)
    network.train()
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=1e-4)

    def train() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = F.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimizer.step()
        return loss

    flops = count_flops(network, size, training=True)
    return {**figures, "training": figures_of(train, flops, batch, device, seconds)}


def figures_of(
    step: Callable[[], Tensor], flops: float, batch: int, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Return speed and memory of one step on a batch.

    Args:
        step: returns something that must be finite.
        flops: of one image.
        batch: images in a step.
        device: that it runs on.
        seconds: see :func:`seconds_of`.

    Raises:
        RuntimeError: if what the step returns is no number any more.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    rate = batch / seconds_of(step, device, seconds)
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else None
    if not math.isfinite(step().detach().float().mean().item()):
        raise RuntimeError("in bf16 the result is no number")
    peak = stated_peak(device_name(device))
    return {
        "batch_size": batch,
        "images_per_second": rate,
        "gflop_per_image": flops / 1e9,
        "tflops": flops * rate / 1e12,
        "share_of_peak": flops * rate / 1e12 / peak if peak else None,
        "memory_gb": memory,
    }


def count_flops(network: nn.Module, size: int, training: bool) -> int:
    """Return the FLOPs of matrix products and convolutions for one image, two for each multiplication and addition.

    They are counted on the "meta" device, where nothing is computed and where attention is matrix products: the same on
    every device, whatever kernels that one takes.

    Args:
        network: is left as it is.
        size: of the image, pixels a side.
        training: forward and backward pass, in which gradients of frozen weights are not computed.
    """
    counted = copy.deepcopy(network).to("meta").train(training)
    image = torch.rand(1, 3, size, size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        logits = counted(image)
        if training:
            logits.float().mean().backward()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
