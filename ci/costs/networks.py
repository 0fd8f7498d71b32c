"""Teacher and student side by side at inference, and two samplers of one diffusion model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from torch import nn
from transformers import SamConfig

from common.students.vit import ViTSegmenter
from common.synthesis.sampling import sample
from common.teachers.sam import SamTeacher
from costs.training import INPUT_SCALE
from costs.turns import medians, ratio, side_by_side

IMAGE_SIZES = (256, 512)


def inference(device: torch.device, rounds: int) -> dict[str, Any]:
    """One image through teacher and student at the same input, and on a CPU through ONNX Runtime.

    Also through the student's encoder alone, which no decoder can make faster, and at the smaller size through the
    teacher of a bundle without an overlay, which enlarges its input first.
    """
    teacher = SamTeacher(SamConfig(), num_classes=2).to(device).eval()
    enlarging = SamTeacher(SamConfig(), num_classes=2, input_scale=INPUT_SCALE).to(device).eval()
    student = ViTSegmenter().to(device).eval()
    report = {}
    for size in IMAGE_SIZES:
        image = torch.rand(1, 3, size, size, device=device)
        networks = {"student": student, "encoder of the student": student.encoder, "teacher": teacher}
        if size == IMAGE_SIZES[0]:
            networks[f"teacher, input_scale {INPUT_SCALE}"] = enlarging
        variants = {name: partial(network, image) for name, network in networks.items()}
        if device.type == "cpu":
            variants["student, ONNX Runtime"] = _onnx_runner(student, image)
        with torch.inference_mode():
            seconds = side_by_side(variants, rounds, device)
        slow = [name for name in seconds if name.startswith("teacher")]
        fast = [name for name in seconds if name not in slow]
        report[f"{size}x{size}"] = {
            "median_seconds": medians(seconds),
            **{f"{one} to {other}": ratio(seconds[one], seconds[other]) for one in slow for other in fast},
        }
    return report


def _onnx_runner(network: nn.Module, image: torch.Tensor) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # its waiting threads would slow the rest
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        torch.onnx.export(network, (image,), path, dynamo=True, external_data=False, verbose=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image.numpy()}
    difference = abs(session.run(None, feed)[0] - network(image).detach().numpy()).max()
    if difference > 1e-3:
        raise RuntimeError(f"ONNX Runtime differs from PyTorch by {difference}")
    return lambda: session.run(None, feed)


def sampling(device: torch.device, rounds: int) -> dict[str, Any]:
    """The same diffusion model, sampled by DDPM in 1000 steps and by SDE-DPM-Solver++ in the 25 of synthesize.yaml."""
    unet = UNet2DModel(
        sample_size=64,
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
    ).to(device)
    ddpm = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    solver = DPMSolverMultistepScheduler.from_config(ddpm.config, algorithm_type="sde-dpmsolver++")
    with torch.inference_mode():
        seconds = side_by_side(
            {
                "DDPM, 1000 steps": lambda: sample(unet, ddpm, 2, 64, num_inference_steps=1000),
                "SDE-DPM-Solver++, 20 steps": lambda: sample(unet, solver, 2, 64, num_inference_steps=20),
            },
            rounds,
            device,
        )
    slower, faster = seconds.values()
    return {"median_seconds": medians(seconds), "ddpm_to_dpm_solver": ratio(slower, faster)}
