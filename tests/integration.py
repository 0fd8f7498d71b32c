"""What the tests of whole stages share: tiny settings, stages run in this process, and inputs made without training."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import numpy as np
import psutil
import pytest
import torch
from diffusers import UNet2DModel
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

import common
from common.configs.known_keys import has_key
from common.errors import InputError
from common.files.locks import unlock_all
from common.students.vit import ViTSegmenter
from common.training.bar import clear_for
from common.training.screen import on_screen
from common.training.stage_log import is_for_screen

BUNDLES = Path(__file__).parents[1] / "bundles"
BUNDLE = BUNDLES / "drive_segmentation"  # where it does not matter which
CONFIGS = BUNDLE / "configs"
METHOD_CONFIGS = Path(common.__file__).parent / "distillation" / "methods"
IMAGE_SIZE = (96, 80)  # height and width of the phantoms

TINY: dict[str, Any] = {  # of that bundle; tiny() has those of any
    "crop_size": 32,
    "sample_size": 32,
    "epochs": 2,
    "val_interval": 1,
    "sample_interval": 99,
    "batch_size": 2,
    "samples_per_epoch": 4,
    "lora_rank": 2,
    "diffusion_channels": [8, 8, 8, 8],
    "num_images": 4,
    "num_inference_steps": 2,
}
STUDENT = {  # that of the configs
    "_target_": "common.students.vit.ViTSegmenter",
    "in_channels": "@in_channels",
    "num_classes": "@num_classes",
}
TINY_STUDENT = {
    **STUDENT,
    "hidden_size": 24,
    "depth": 1,
    "num_heads": 2,
    "conv_channels": [4, 4],
    "dropout": 0.1,
}
_WITH_STUDENT = ("distill", "train", "evaluate", "inference")


# Height and width; none is square, and no two axes or directions of the content look alike.
PICTURE_SIZES = {"wide": (40, 70), "tall.v2": (66, 34), "small": (20, 23), "many": (96, 150)}


def lopsided_image(height: int, width: int) -> np.ndarray:
    """Return an RGB image that is yellow in two corners that no flip or transposition maps to each other."""
    pixels = np.random.default_rng(height).integers(0, 60, (height, width, 3), np.uint8)
    pixels[: height // 2, : width // 3, :2] = 255
    pixels[-height // 4 :, -width // 2 :, :2] = 255
    return pixels


def tiny_student(**changes: int) -> ViTSegmenter:
    """Return the student of the tiny settings, for RGB images and two classes."""
    sizes = {key: value for key, value in TINY_STUDENT.items() if not str(value).startswith("@") and key != "_target_"}
    return ViTSegmenter(**{**sizes, **changes})


def tiny_unet(channels: int = 1, seed: int = 0) -> UNet2DModel:
    """Return an untrained diffusion model of images of 16 pixels a side."""
    torch.manual_seed(seed)
    return UNet2DModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )


def size_key(bundle: Path) -> str:
    """Return the key that has the size of what the networks of a bundle see."""
    config = ConfigParser.load_config_file(str(bundle / "configs" / "train.yaml"))
    return "crop_size" if "crop_size" in config else "image_size"


def tiny(bundle: Path) -> dict[str, Any]:
    """Return tiny settings for the stages of a bundle."""
    return {size_key(bundle) if key == "crop_size" else key: value for key, value in TINY.items()}


def config_files(stage: str, overlays: Sequence[str | Path] = ("demo",), bundle: Path = BUNDLE) -> list[str]:
    """Return the config of a stage and its overlays, given by name or by path."""
    configs = bundle / "configs"
    return [str(configs / f"{name}.yaml" if isinstance(name, str) else name) for name in (stage, *overlays)]


def with_method(method: str, overlays: Sequence[str | Path] = ("demo",)) -> tuple[str | Path, ...]:
    """Return overlays of stage distill with that of a method as the last one."""
    return (*overlays, METHOD_CONFIGS / f"{method}.yaml")


def settings(stage: str, bundle: Path = BUNDLE, **overrides: Any) -> dict[str, Any]:
    """Return tiny settings for a stage."""
    student = {"student_def": TINY_STUDENT} if stage in _WITH_STUDENT else {}
    values = {**tiny(bundle), **student, "bundle_root": str(bundle), **overrides}
    if stage == "inference":  # where there is but one network
        values["network_def"] = values.pop("student_def")
    # A copy: MONAI writes overrides such as student_def::depth into the values it is given.
    return copy.deepcopy(values)


def load_stage(
    stage: str, overlays: Sequence[str | Path] = ("demo",), bundle: Path = BUNDLE, **overrides: Any
) -> ConfigWorkflow:
    """Return a stage that is ready to be initialized in this process."""
    kind = "infer" if stage in ("evaluate", "inference") else "train"
    values = {key: str(value) if isinstance(value, Path) else value for key, value in overrides.items()}
    return ConfigWorkflow(
        config_file=config_files(stage, overlays, bundle),
        logging_file=False,
        workflow_type=kind,
        **settings(stage, bundle, **values),
    )


def run_stage(
    stage: str, overlays: Sequence[str | Path] = ("demo",), bundle: Path = BUNDLE, **overrides: Any
) -> ConfigWorkflow:
    """Run a stage in this process and return it."""
    workflow = load_stage(stage, overlays, bundle, **overrides)
    with contained():
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    return workflow


def trainer_of(workflow: ConfigWorkflow) -> Engine:
    """Return the trainer that an initialized stage will run, or has run."""
    return workflow.parser.get_parsed_content("train::trainer")


class PowerCutError(Exception):
    """Ends a run in the middle of an epoch."""


def cut_off(stage: str, at_iteration: int, **overrides: Any) -> None:
    """Run a stage in this process until it is cut off in the middle of an epoch."""
    workflow = load_stage(stage, **overrides)

    def interrupt(engine: Engine) -> None:
        raise PowerCutError

    with contained():
        workflow.initialize()
        trainer_of(workflow).add_event_handler(Events.ITERATION_COMPLETED(once=at_iteration), interrupt)
        with pytest.raises(RuntimeError) as caught:
            workflow.run()
    assert isinstance(innermost(caught.value), PowerCutError)


@contextmanager
def contained() -> Iterator[None]:
    """Undo what a stage does to the process it runs in: log files, locks, log level, exception hook, import path."""
    root = logging.getLogger()
    before = (sys.excepthook, list(sys.path), list(root.handlers), root.level)
    root.setLevel(logging.INFO)  # as the bundle's logging.conf does
    try:
        yield
    finally:
        sys.excepthook, sys.path[:], handlers, level = before
        root.setLevel(level)
        unlock_all()
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
            handler.close()
        for handler in on_screen():
            handler.removeFilter(is_for_screen)
            handler.removeFilter(clear_for)


@contextmanager
def refused(*patterns: str) -> Iterator[None]:
    """Expect an ``InputError``, possibly wrapped by MONAI, whose message matches all the patterns."""
    with contained(), pytest.raises(Exception) as caught:  # noqa: PT011 MONAI wraps it in errors of its own
        yield
    error = innermost(caught.value)
    assert isinstance(error, InputError), repr(error)
    for pattern in patterns:
        assert re.search(pattern, str(error)), f"{pattern!r} is not in: {error}"


def innermost(error: BaseException) -> BaseException:
    """Return the first ``InputError`` in a chain of causes, or else its last link."""
    while not isinstance(error, InputError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def stage_command(stage: str, overlays: Sequence[str | Path] = ("demo",), **overrides: Any) -> list[str]:
    """Return the arguments of ``python -m`` that run a stage, with those tiny settings that it has."""
    files = config_files(stage, overlays)
    config = ConfigParser.load_config_files(files)
    command = ["monai.bundle", "run", "--config_file", str(files)]
    for key, value in settings(stage, **overrides).items():
        if key in TINY and not has_key(config, key):
            continue
        command += [f"--{key}", "$None" if value is None else str(value)]
    return command


def environment() -> dict[str, str]:
    """Return an environment whose processes compute as this one does, bit for bit."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONWARNINGS": "ignore"}


def run_in_process(arguments: Sequence[str], distributed: bool = False) -> int:
    """Take the place of ``common.pipeline.stage_process.run_stage``, without a process."""
    with contained(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fire.Fire(monai.bundle.run, command=[*arguments, "--logging_file", "False"])
    return 0


def alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody waits for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_python(*arguments: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` with these arguments and return how it ended."""
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout, check=False)


def write_teacher(output_dir: Path, seed: int = 0, num_classes: int = 2) -> None:
    """Write the stand-in teacher as if finetune_teacher had been run for no time at all; a seed above 0 changes it."""
    from common.teachers import build_teacher
    from common.teachers.folder import save_teacher
    from common.teachers.lora import add_lora

    torch.manual_seed(seed)
    teacher = build_teacher("embedded", num_classes=num_classes)
    if seed:
        torch.nn.init.normal_(next(teacher.decoder.parameters()))
    save_teacher(add_lora(teacher, rank=2), output_dir / "teacher")


def write_transfer(output_dir: Path, count: int = 4, size: int = 32, channels: int = 3, seed: int = 0) -> None:
    """Write a transfer set of noise."""
    rng = np.random.default_rng(seed)
    folder = output_dir / "transfer"
    (folder / "images").mkdir(parents=True)
    names = [f"images/{index:06d}.png" for index in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (size, size, channels), np.uint8).squeeze()).save(folder / name)
    (folder / "datalist.json").write_text(json.dumps({"training": [{"image": name} for name in names]}))


def assert_same(first: Any, second: Any) -> None:
    """Compare nested states bit for bit."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True)
