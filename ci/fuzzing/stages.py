"""What stages leave for one another: a finished run with a file changed, and the stage that reads it run again."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from killing.comparison import same_state

from common.pipeline import stage_process
from common.pipeline.configs import stage_config
from common.pipeline.overrides import takes
from fuzzing import damage
from fuzzing.commands import BUNDLES, STUDENT, run_module
from fuzzing.targets import RIGHT, Target, Verdict, silent
from fuzzing.trap import write_trap

TINY = {
    "crop_size": "32",
    "sample_size": "32",
    "epochs": "1",
    "val_interval": "1",
    "sample_interval": "9",
    "batch_size": "2",
    "samples_per_epoch": "4",
    "lora_rank": "2",
    "diffusion_channels": "[8, 8, 8, 8]",
    "num_images": "4",
    "num_inference_steps": "2",
    "student_def": STUDENT,
}
BUNDLE = BUNDLES / "drive_segmentation"
# What is read by which stage, and what is removed first, so that the stage has something to do.
_READ = {
    "teacher/teacher.json": ("distill", ("distilled.pt", "checkpoints/distill.pt")),
    "teacher/adapter_config.json": ("distill", ("distilled.pt", "checkpoints/distill.pt")),
    "teacher/adapter_model.safetensors": ("distill", ("distilled.pt", "checkpoints/distill.pt")),
    "teacher_outputs/teacher_logits.npy": ("distill", ("distilled.pt", "checkpoints/distill.pt")),
    "teacher_outputs/teacher_outputs.json": ("distill", ("distilled.pt", "checkpoints/distill.pt")),
    "transfer/datalist.json": ("distill", ("distilled.pt", "checkpoints/distill.pt")),
    "transfer/images/000001.png": ("distill", ("distilled.pt", "checkpoints/distill.pt", "teacher_outputs")),
    "diffusion/model_index.json": ("synthesize", ("transfer",)),
    "diffusion/unet/config.json": ("synthesize", ("transfer",)),
    "diffusion/unet/diffusion_pytorch_model.safetensors": ("synthesize", ("transfer",)),
    "diffusion/scheduler/scheduler_config.json": ("synthesize", ("transfer",)),
    "checkpoints/finetune_teacher.pt": ("finetune_teacher", ("teacher",)),
    "checkpoints/distill.pt": ("distill", ("distilled.pt",)),
    "checkpoints/train.pt": ("train", ("model.pt",)),
    "distilled.pt": ("train", ("model.pt", "checkpoints/train.pt")),
    "distilled.provenance.json": ("train", ("model.pt", "checkpoints/train.pt")),
    "dataset_manifest.json": ("train", ("model.pt", "checkpoints/train.pt")),
    "method.json": ("train", ("model.pt", "checkpoints/train.pt")),
    "seconds.json": ("train", ("model.pt", "checkpoints/train.pt")),
    ".lock": ("train", ("model.pt", "checkpoints/train.pt")),
    "model.pt": ("evaluate", ("evaluation/student",)),
    "model.provenance.json": ("evaluate", ("evaluation/student",)),
    "evaluation/teacher/summary.json": ("evaluate", ("evaluation/student",)),
}
RESULTS = {
    "finetune_teacher": "teacher/adapter_model.safetensors",
    "synthesize": "transfer",
    "distill": "distilled.pt",
    "train": "model.pt",
    "evaluate": "evaluation/student/metrics.csv",
}
_JSON = st.sampled_from(
    ["[]", "{}", "null", "7", "{", "\ufeff{}", '{"training": 7}', '{"method": 7}', '{"weights": []}']
)
_PLANS = st.fixed_dictionaries(
    {
        "file": st.sampled_from(sorted(_READ)),
        "change": st.sampled_from([None, "damage", "damage", "gone", "folder", "text", "trap", "edit", "edit"]),
        "damage": damage.ANY,
        "text": _JSON,
        "edit": st.tuples(st.integers(0, 99), st.sampled_from([None, -1, 0, 1e30, "x", "../../x.png", [], {}, True])),
        "keys": st.just([]),
    }
)


def make_run(place: Path, data: Path) -> None:
    """Run all stages, tiny, in this process."""
    for stage in (*list(RESULTS)[:1], "train_diffusion", *list(RESULTS)[1:-1], "evaluate_teacher", "evaluate"):
        run_stage(stage, place, data)


def run_stage(stage: str, output_dir: Path, data: Path) -> None:
    """Run a stage as ``python -m common pipeline`` does, in this process."""
    stage_process.run_stage = _run_stage
    config = stage_config(BUNDLE, "evaluate" if stage == "evaluate_teacher" else stage, "demo")
    tiny = {key: value for key, value in TINY.items() if takes(config, key)}
    options = {"stages": stage, "dataset_dir": str(data), "output_dir": str(output_dir), "overlay": "demo", **tiny}
    run_module("common", "pipeline", str(BUNDLE), *(f"--{key}={value}" for key, value in options.items()))


def _run_stage(arguments: list[str], distributed: bool = False) -> int:
    run_module("monai.bundle", "run", *arguments)
    return 0


def _make(plan: dict[str, Any], place: Path, sources: Path) -> None:
    out = place / "out"
    shutil.copytree(sources / "run", out)
    shutil.copytree(sources / "drive", place / "in" / "data")
    _, removed = _READ[plan["file"]]
    shutil.copytree(sources / "run", place / "home" / "sound")
    for name in removed:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    path = out / plan["file"]
    _change(path, plan, place)


def _change(path: Path, plan: dict[str, Any], place: Path) -> None:
    """Do to one file what a plan says."""
    match plan["change"]:
        case "damage":
            damage.apply(plan["damage"], path)
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "text":
            path.write_text(plan["text"])
        case "trap":
            write_trap(path, place)
        case "edit":
            _edit(path, *plan["edit"])


def _edit(path: Path, number: int, value: Any) -> None:
    """Change one value of a JSON file, or one tensor of a checkpoint."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        holders = _holders(content)
        holder, key = holders[number % len(holders)]
        holder[key] = value
        path.write_text(json.dumps(content))
    elif path.suffix == ".pt":
        content = torch.load(path, weights_only=True)
        holders = _holders(content)
        holder, key = holders[number % len(holders)]
        holder[key] = value if isinstance(value, (int, float, str)) else torch.zeros(3)
        torch.save(content, path)
    else:
        damage.apply({"how": "flip", "at": [number / 100], "by": 77}, path)


def _holders(content: Any) -> list[tuple[Any, Any]]:
    keys = content.keys() if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    return [pair for key in keys for pair in [(content, key), *_holders(content[key])]]


def _run(plan: dict[str, Any], place: Path) -> str:
    stage, _ = _READ[plan["file"]]
    run_stage(stage, place / "out", place / "in" / "data")
    return stage


def _judge(plan: dict[str, Any], place: Path, stage: str, printed: str) -> Verdict:
    found, expected = (folder / RESULTS[stage] for folder in (place / "out", place / "home" / "sound"))
    if same_result(found, expected):
        return RIGHT
    return silent(f"another {RESULTS[stage]} than with the sound {plan['file']} ({plan['change']})")


def same_result(found: Path, expected: Path) -> bool:
    """Say whether two results are equal: weights bit for bit, tables and pictures."""
    if expected.is_dir():
        one, other = ({path.name: path.read_bytes() for path in each.glob("images/*")} for each in (found, expected))
        return one == other
    if expected.suffix == ".pt":
        return same_state(*(torch.load(path, weights_only=True) for path in (found, expected)))
    if expected.suffix == ".csv":
        return list(csv.reader(found.open())) == list(csv.reader(expected.open()))
    return found.read_bytes() == expected.read_bytes()


def _accepts(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] is None


CACHES = Target("caches", _PLANS, _make, _run, _judge, _accepts, share=1.5)

_RELEASED = ("model.pt", "model.provenance.json", "evaluation/student/summary.json", "evaluation/student/metrics.csv",
             "method.json", "teacher/teacher.json")  # fmt: skip
_RELEASE = st.fixed_dictionaries(
    {
        "file": st.sampled_from(_RELEASED),
        "change": st.sampled_from(
            [None, "damage", "gone", "folder", "text", "trap", "edit", "version", "url", "changes"]
        ),
        "damage": damage.ANY,
        "text": _JSON,
        "edit": st.tuples(st.integers(0, 99), st.sampled_from([None, -1, 0, 1e30, "x", [], {}, True])),
        "value": st.sampled_from(["1.2.3", "x", "", "2", "1.0.0\n# a head", "../..", "${HOME}"]),
        "keys": st.just(["version", "url", "changes"]),
    }
)


def _make_release(plan: dict[str, Any], place: Path, sources: Path) -> None:
    folder = place / "in" / "run"
    shutil.copytree(sources / "run", folder)
    shutil.copy(folder / "model.pt", place / "home" / "sound.pt")
    path = folder / plan["file"]
    if plan["change"] != "edit" or path.suffix != ".csv":
        _change(path, plan, place)


def _run_release(plan: dict[str, Any], place: Path) -> str:
    options = {"weights": "in/run/model.pt", "output_dir": "out", "student_def": STUDENT}
    if plan["change"] in ("version", "url", "changes"):
        options[plan["change"]] = plan["value"]
    command = [sys.executable, "-m", "common", "release", str(BUNDLE)]  # exports start threads, which no fork may
    status = subprocess.run([*command, *(f"--{key}={value}" for key, value in options.items())], check=False).returncode
    if status:
        sys.exit(status)
    return str(next((place / "out").rglob("model.pt")))


def _judge_release(plan: dict[str, Any], place: Path, result: str, printed: str) -> Verdict:
    if not same_state(*(torch.load(path, weights_only=True) for path in (Path(result), place / "home" / "sound.pt"))):
        return silent("other weights were released than trained")
    metadata = json.loads((Path(result).parents[1] / "configs" / "metadata.json").read_text())
    if plan["change"] == "version" and metadata["version"] != plan["value"]:
        return silent(f"version {metadata['version']} for {plan['value']!r}")
    return RIGHT


def _accepts_release(plan: dict[str, Any], place: Path) -> bool:
    return plan["change"] is None


RELEASE = Target(
    "release", _RELEASE, _make_release, _run_release, _judge_release, _accepts_release, share=0.1, limit=300
)
