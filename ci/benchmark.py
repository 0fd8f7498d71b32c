"""What the method costs, as ratios measured side by side in one run: python ci/benchmark.py --output benchmark.json

Absolute times depend on the machine and on what else it does; so every section runs its variants in turn, round after
round, and reports medians and the ratios of each round. Weights are random, since they do not change how long anything
takes, and images are phantoms. The teacher is a SAM of ViT-B size.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.losses import DiceCELoss
from PIL import Image
from torch import nn
from transformers import SamConfig

from common.datasets.ph2 import PH2Dataset
from common.students.vit import ViTSegmenter
from common.synthesis.sampling import sample
from common.teachers.lora import add_lora
from common.teachers.sam import SamTeacher

CONFIGS = Path(__file__).resolve().parents[1] / "bundles/ph2_segmentation/configs"
SEED = 0
PATCH_SIZE = 128
BATCH_SIZE = 4
TRANSFER_IMAGES = 12
OVERHEAD_IMAGES = 128
IMAGE_SIZES = (256, 512)
TEACHER = {  # of ViT-B size, at the input_scale of a bundle without an overlay
    "_target_": "common.teachers.sam.SamTeacher",
    "pretrained": {"_target_": "transformers.SamConfig"},
    "num_classes": 2,
    "input_scale": 4,
}


def side_by_side(
    variants: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Run each variant once to warm up, then all of them in turn, and return the seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            _wait_for(device)
            started = time.perf_counter()
            run()
            _wait_for(device)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """Return the median, lowest and highest ratio of two variants, round by round."""
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def _medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


def distillation_epochs(device: torch.device, rounds: int) -> dict[str, Any]:
    """Epochs of distill.yaml, from the teacher cache and live, and of train.yaml on as many images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, TRANSFER_IMAGES)
        distill = {"teacher": TEACHER, "teacher_orientations": 1}  # more would cost the live epochs most
        cached = {**distill, "teacher_cache": str(folder / "cache")}
        plain = {"initial_weights": None, "patches_per_epoch": 2 * TRANSFER_IMAGES}
        variants = {
            "cached": lambda: _epoch_seconds("distill", folder, device, cached),
            "live": lambda: _epoch_seconds("distill", folder, device, {**distill, "teacher_cache": None}),
            "plain": lambda: _epoch_seconds("train", folder, device, plain),
        }
        seconds = _take_turns(variants, rounds)
    return {
        "images_in_an_epoch": 2 * TRANSFER_IMAGES,
        "median_seconds": _medians(seconds),
        "cached_to_plain": ratio(seconds["cached"], seconds["plain"]),
        "live_to_plain": ratio(seconds["live"], seconds["plain"]),
        "live_to_cached": ratio(seconds["live"], seconds["cached"]),
    }


def trainer_overhead(device: torch.device, rounds: int) -> dict[str, Any]:
    """The median step of train.yaml with all its handlers, and that of a bare loop over the same images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_inputs(folder, 4)
        settings = {"initial_weights": None, "patches_per_epoch": OVERHEAD_IMAGES}
        variants = {
            "trainer": lambda: _median_step(_train("train", folder, device, settings, Events.ITERATION_COMPLETED)),
            "bare": lambda: _median_step(_train_bare(_parser("train", folder, device, settings), device)),
        }
        seconds = _take_turns(variants, rounds)
    return {"median_seconds": _medians(seconds), "trainer_to_bare": ratio(seconds["trainer"], seconds["bare"])}


def _take_turns(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Like :func:`side_by_side`, for variants that measure themselves."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            seconds[name].append(run())
    return seconds


def _write_inputs(folder: Path, num_images: int) -> None:
    """Write a dataset and, in the form that synthesize.yaml leaves it, a transfer set."""
    PH2Dataset.write_phantoms(folder / "dataset", num_images=16)
    PH2Dataset.write_phantoms(folder / "more", num_images=num_images)
    (folder / "transfer/images").mkdir(parents=True)
    names = []
    for number, image in enumerate(sorted((folder / "more").rglob("*_Dermoscopic_Image/*.bmp"))):
        names.append(f"images/{number:06d}.png")
        Image.open(image).resize((256, 256)).save(folder / "transfer" / names[-1])
    listing = {"training": [{"image": name} for name in names]}
    (folder / "transfer/datalist.json").write_text(json.dumps(listing))


def _parser(stage: str, folder: Path, device: torch.device, settings: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{stage}.yaml")])
    common = {
        "dataset_dir": str(folder / "dataset"),
        "output_dir": str(folder),
        "device": f"$torch.device('{device}')",
        "num_workers": 0,
        "num_validation": 1,
        "patch_size": PATCH_SIZE,
        "batch_size": BATCH_SIZE,
        "epochs": 2,
        "val_interval": 99,
    }
    for key, value in {**common, **settings}.items():
        parser[key] = value
    return parser


def _epoch_seconds(stage: str, folder: Path, device: torch.device, settings: dict[str, Any]) -> float:
    """Train for two epochs and return the seconds of the second."""
    first, second = _train(stage, folder, device, settings, Events.EPOCH_COMPLETED)
    return second - first


def _median_step(moments: list[float]) -> float:
    """Return the median seconds of a step in the second of two epochs, given the moments at which steps ended."""
    second = moments[len(moments) // 2 :]
    return statistics.median(after - before for before, after in pairwise(second))


def _train(stage: str, folder: Path, device: torch.device, settings: dict[str, Any], event: Events) -> list[float]:
    """Train for two epochs and return the moments of an event, after all that handlers have done at it."""
    torch.manual_seed(SEED)
    trainer = _parser(stage, folder, device, settings).get_parsed_content("train::trainer")
    moments: list[float] = []

    def note() -> None:
        _wait_for(device)
        moments.append(time.perf_counter())

    trainer.add_event_handler(event, note)
    trainer.run()
    (folder / "checkpoints" / f"{stage}.pt").unlink()  # the next round starts afresh
    return moments


def _train_bare(parser: ConfigParser, device: torch.device) -> list[float]:
    """Train for two epochs and return the moments at which steps ended."""
    torch.manual_seed(SEED)
    network, optimizer, schedule, loader = (
        parser.get_parsed_content(name) for name in ("network", "optimizer", "lr_scheduler", "train::dataloader")
    )
    loss = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False)
    amp = device.type == "cuda"
    network.train()
    moments = []
    for _ in range(2):
        for batch in loader:
            image, label = batch["image"].to(device), batch["label"].to(device)
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
                value = loss(network(image), label)
            value.backward()
            optimizer.step()
            schedule.step()
            _wait_for(device)
            moments.append(time.perf_counter())
    return moments


def inference(device: torch.device, rounds: int) -> dict[str, Any]:
    """One image through teacher and student at the same input, and on a CPU through ONNX Runtime.

    Also through the student's encoder alone, which no decoder can make faster, and at the smaller size through the
    teacher of a bundle without an overlay, which enlarges its input first.
    """
    teacher = SamTeacher(SamConfig(), num_classes=2).to(device).eval()
    enlarging = SamTeacher(SamConfig(), num_classes=2, input_scale=TEACHER["input_scale"]).to(device).eval()
    student = ViTSegmenter().to(device).eval()
    report = {}
    for size in IMAGE_SIZES:
        image = torch.rand(1, 3, size, size, device=device)
        networks = {"student": student, "encoder of the student": student.encoder, "teacher": teacher}
        if size == IMAGE_SIZES[0]:
            networks[f"teacher, input_scale {TEACHER['input_scale']}"] = enlarging
        variants = {name: partial(network, image) for name, network in networks.items()}
        if device.type == "cpu":
            variants["student, ONNX Runtime"] = _onnx_runner(student, image)
        with torch.inference_mode():
            seconds = side_by_side(variants, rounds, device)
        slow = [name for name in seconds if name.startswith("teacher")]
        fast = [name for name in seconds if name not in slow]
        report[f"{size}x{size}"] = {
            "median_seconds": _medians(seconds),
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
                "SDE-DPM-Solver++, 25 steps": lambda: sample(unet, solver, 2, 64, num_inference_steps=25),
            },
            rounds,
            device,
        )
    slower, faster = seconds.values()
    return {"median_seconds": _medians(seconds), "ddpm_to_dpm_solver": ratio(slower, faster)}


def memory(device: torch.device, rounds: int) -> dict[str, Any]:
    """Peak memory of two training steps of the teacher, by LoRA and in full, each in a process of its own."""
    peaks: dict[str, list[float]] = {"lora": [], "full": []}
    for _ in range(rounds):
        for tuning, values in peaks.items():
            command = [sys.executable, __file__, "--device", str(device), "--peak_memory_of", tuning]
            values.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]))
    return {"median_mebibytes": _medians(peaks), "full_to_lora": ratio(peaks["full"], peaks["lora"])}


def peak_memory_of(tuning: str, device: torch.device) -> float:
    """Train a teacher for two steps and return the peak in MiB: of the process on a CPU, of tensors on a GPU."""
    torch.manual_seed(SEED)
    teacher = SamTeacher(SamConfig(), num_classes=2, input_scale=TEACHER["input_scale"])
    if tuning == "lora":
        add_lora(teacher)
    teacher.to(device).train()
    optimizer = torch.optim.AdamW([p for p in teacher.parameters() if p.requires_grad])
    images = torch.rand(1, 3, PATCH_SIZE, PATCH_SIZE, device=device)
    for _ in range(2):  # the optimizer's state is there from the first step on
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            teacher(images).float().square().mean().backward()
        optimizer.step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident()


def peak_resident() -> float:
    """Return the most memory in MiB that this process has held so far (Linux).

    Not by ``getrusage``, whose figure a process inherits from the one that started it.
    """
    return float(re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) / 2**10


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
    parser.add_argument("--peak_memory_of", choices=("lora", "full"), help=argparse.SUPPRESS)
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
