"""All stages of a bundle in order: each a ``monai.bundle run`` of its own, joined by nothing but files."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from common.checkpoints import replace_file
from common.datasets import phantom_writer
from common.datasets.checks import are_phantoms, mark_phantoms
from common.errors import InputError, StageError
from common.stage_process import run_stage

logger = logging.getLogger(__name__)

# What each stage leaves behind when it is done, in <output_dir>.
STAGES = {
    "finetune_teacher": "teacher/teacher.json",
    "train_diffusion": "diffusion/model_index.json",
    "synthesize": "transfer/datalist.json",
    "distill": "distilled.pt",
    "train": "model.pt",
    "evaluate_teacher": "evaluation/teacher/summary.json",
    "evaluate": "evaluation/student/summary.json",
}
# What prepares the student, each a config that is laid on stage distill, and the stages that it can do without.
_WITHOUT_TEACHER = ("finetune_teacher", "evaluate_teacher")
METHODS = {
    "task_specific_kd": (),
    "task_agnostic_kd": _WITHOUT_TEACHER,
    "mae": _WITHOUT_TEACHER,
    "mocov3": _WITHOUT_TEACHER,
    "scratch": (*_WITHOUT_TEACHER, "train_diffusion", "synthesize"),
}
_METHOD_CONFIGS = Path(__file__).parent / "configs"
_METHOD_RECORD = "method.json"  # in <output_dir>: whose student it has
_STUDENT = ("distill", "train", "evaluate")  # the stages whose network_def is the student
_TRAINING = ("finetune_teacher", "train_diffusion", "distill", "train")


def run_pipeline(
    bundle: str,
    output_dir: str,
    dataset_dir: str | None = None,
    stages: str | Sequence[str] | None = None,
    overlay: str | Sequence[str] | None = None,
    demo: bool = False,
    method: str = "task_specific_kd",
    **overrides: Any,
) -> None:
    """Run a bundle's stages in order, skip those that are done, and go on where one was cut off.

    Args:
        bundle: folder of the bundle.
        output_dir: folder for everything the stages write.
        dataset_dir: the dataset in its official layout.
        stages: the stages to run, as a list or separated by commas; by default all that the method needs.
        overlay: names of overlays to lay on each stage, such as ``cpu``.
        demo: lay the ``demo`` overlay on each stage and run on phantoms written to ``<output_dir>/phantoms``.
        method: what prepares the student before it is fine-tuned, one of ``METHODS``.
        overrides: keys to override, with their values, wherever a stage has them; ``network_def`` is the student's.

    Raises:
        InputError: if a folder, stage, overlay, method or key does not exist, ``output_dir`` has the student of another
            method, or a stage failed.
    """
    check_paths(bundle=bundle, output_dir=output_dir, dataset_dir=dataset_dir)
    configs = find_configs(bundle)
    chosen = _choose_stages(stages, method)
    overlays = _as_list(overlay) + (["demo"] if demo else [])
    files = {stage: _stage_files(configs, stage, overlays, method) for stage in chosen}
    keys = {stage: _load(files[stage]) for stage in chosen}
    check_overrides(keys.items(), overrides)
    output_path = Path(output_dir).resolve()
    if "distill" in chosen:
        _check_method(output_path, method)
    if demo:
        if dataset_dir is not None:
            raise InputError("--demo writes its own dataset: leave out --dataset_dir, or take --overlay demo")
        dataset_dir = str(output_path / "phantoms")
        if not Path(dataset_dir).exists():
            phantom_writer(Path(bundle).resolve().name)(dataset_dir)
        elif not are_phantoms(dataset_dir):
            mark_phantoms(dataset_dir)  # older ones are not
    if dataset_dir is None:
        raise InputError("--dataset_dir is missing: give the folder of the dataset, or --demo to run on phantoms")
    if not Path(dataset_dir).is_dir():
        raise InputError(f"--dataset_dir: {dataset_dir} does not exist; expected the folder of the dataset")
    fixed = {"dataset_dir": str(Path(dataset_dir).resolve()), "output_dir": str(output_path)}
    fixed["bundle_root"] = str(Path(bundle).resolve())
    for number, stage in enumerate(chosen, start=1):
        done = output_path / STAGES[stage]
        print(f"[{number}/{len(chosen)}] {stage}", flush=True)
        if done.exists():
            print(f"    skipped: {done} exists; delete it to run this stage again", flush=True)
            continue
        known = {key: value for key, value in {**fixed, **overrides}.items() if takes(stage, keys[stage], key)}
        if stage == "evaluate_teacher":
            known |= {"subject": "teacher", "stage": stage}
        if stage == "synthesize" and "finetune_teacher" in METHODS[method]:
            known = {"teacher": None, **known}
        if stage == "distill":
            _note_method(output_path, method)
        _run_stage(stage, files[stage], known, distributed="multi_gpu" in overlays and stage in _TRAINING)
        if not done.exists():
            raise InputError(f"stage {stage} ended without writing {done}; see {output_path / 'logs'}")
    report = results_table(output_path)
    if report:
        print(report, flush=True)


def check_paths(**paths: str | os.PathLike | None) -> None:
    """Refuse paths that MONAI would change: it reads ``#`` in any value of a config as ``::``.

    Raises:
        InputError: naming the first of them.
    """
    for key, path in paths.items():
        if path is not None and "#" in os.path.abspath(path):
            raise InputError(f"--{key}: {os.path.abspath(path)} has a #, which MONAI takes for ::; choose another path")


def find_configs(bundle: str | os.PathLike) -> Path:
    """Return the folder of a bundle's configs.

    Raises:
        InputError: if there is none.
    """
    configs = Path(bundle) / "configs"
    if not configs.is_dir():
        raise InputError(f"{bundle} is no bundle: expected a folder with configs/, such as bundles/drive_segmentation")
    return configs


def stage_config(
    bundle: str | os.PathLike, stage: str, overlay: str | Sequence[str] | None = None, method: str = "task_specific_kd"
) -> dict[str, Any]:
    """Return the config of a stage of a bundle as it is run: with overlays on it, and with that of the method.

    Raises:
        InputError: if the bundle or an overlay does not exist.
    """
    return _load(_stage_files(find_configs(bundle), stage, _as_list(overlay), method))


def takes(stage: str, config: dict[str, Any], key: str) -> bool:
    """Say whether a stage takes an override of this key, given its config."""
    key = key.replace("#", "::")
    if key.split("::")[0] == "network_def" and stage not in _STUDENT:
        return False  # there it is the teacher or the diffusion model
    if key == "learning_rate" and "base_learning_rate" in config:
        return False  # there it follows from the base rate by its paper's rule, whatever the other stages train with
    return key in ConfigParser(config)


def check_overrides(configs: Iterable[tuple[str, dict[str, Any]]], overrides: Mapping[str, Any]) -> None:
    """Refuse overrides that none of these stages takes.

    Args:
        configs: stages, each with its config.
        overrides: values by key.

    Raises:
        InputError: naming one, and the keys that there are.
    """
    configs = list(configs)
    unknown = [key for key in overrides if not any(takes(*each, key) for each in configs)]
    if unknown:
        known = sorted({key for _, config in configs for key in config if not key.startswith("_")})
        raise InputError(f"--{unknown[0]}: none of the stages has this key; they have {', '.join(known)}")


def _as_list(value: str | Sequence[str] | None) -> list[str]:
    if value is None:
        return []
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else [str(part) for part in value]


def _choose_stages(stages: str | Sequence[str] | None, method: str) -> list[str]:
    if method not in METHODS:
        raise InputError(f"--method: there is no method {method}; the methods are {', '.join(METHODS)}")
    needed = [stage for stage in STAGES if stage not in METHODS[method]]
    if stages is None:
        return needed
    chosen = _as_list(stages)
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown or not chosen:
        raise InputError(f"--stages: there is no stage {', '.join(unknown) or '(none given)'}; the stages are "
                         f"{', '.join(STAGES)}")  # fmt: skip
    needless = [stage for stage in chosen if stage not in needed]
    if needless:
        raise InputError(f"--stages: method {method} has no use for {', '.join(needless)}; leave it out, or name the "
                         f"method that needs it")  # fmt: skip
    return [stage for stage in needed if stage in chosen]


def _load(files: Sequence[Path]) -> dict[str, Any]:
    return ConfigParser.load_config_files([str(file) for file in files])


def _stage_files(configs: Path, stage: str, overlays: list[str], method: str) -> list[Path]:
    if "multi_gpu" in overlays and stage not in _TRAINING:
        overlays = [name for name in overlays if name != "multi_gpu"]  # one process is enough to sample and evaluate
    names = ["evaluate" if stage == "evaluate_teacher" else stage, *overlays]
    files = [configs / f"{name}.yaml" for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"there is no config {missing[0]}; {configs} has {sorted(f.stem for f in configs.glob('*.yaml'))}"
        )
    return [*files, _METHOD_CONFIGS / f"{method}.yaml"] if stage == "distill" else files


def _check_method(output_dir: Path, method: str) -> None:
    """Refuse to take the student of another method for one of this, and skip its preparation as done."""
    path = output_dir / _METHOD_RECORD
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))["method"]
    else:
        found = "task_specific_kd" if (output_dir / STAGES["distill"]).exists() else method
    if found != method:
        raise InputError(
            f"output_dir: {output_dir} has the student of method {found}; choose another folder for method {method}"
        )


def _note_method(output_dir: Path, method: str) -> None:
    with replace_file(output_dir / _METHOD_RECORD) as fresh:
        fresh.write_text(json.dumps({"method": method}) + "\n", encoding="utf-8")


def _run_stage(stage: str, files: list[Path], overrides: dict[str, Any], distributed: bool) -> None:
    arguments = ["--config_file", str([str(file.resolve()) for file in files])]
    for key, value in overrides.items():
        arguments += [f"--{key}", _as_argument(value)]
    started = time.time()
    status = run_stage(arguments, distributed)
    if status:
        raise StageError(f"stage {stage} failed (exit code {status}); the same command goes on from there")
    _note_time(Path(overrides["output_dir"]), stage, time.time() - started)


def _as_argument(value: Any) -> str:
    if value is None:
        return "$None"  # monai.bundle leaves out an override that is None itself
    return value if isinstance(value, str) else repr(value)


def _note_time(output_dir: Path, stage: str, seconds: float) -> None:
    """Add to the seconds that each stage has taken, in ``<output_dir>/seconds.json``."""
    path = output_dir / "seconds.json"
    spent = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    spent[stage] = round(spent.get(stage, 0) + seconds, 1)
    with replace_file(path) as fresh:
        fresh.write_text(json.dumps(spent, indent=2) + "\n", encoding="utf-8")


def results_table(output_dir: str | os.PathLike) -> str:
    """Return the teacher's and the student's results as a table, and where their files are; empty if there are none."""
    output_dir = Path(output_dir)
    rows, overlays, unit = [], [], "px"
    for subject in ("teacher", "student"):
        path = output_dir / "evaluation" / subject / "summary.json"
        if not path.is_file():
            continue
        summary = json.loads(path.read_text(encoding="utf-8"))
        unit = summary.get("distance_unit", unit)
        values = [summary["metrics"][name]["mean"]["mean"] for name in ("dice", "iou", "hd95")]
        formats = (".3f", ".3f", ".1f")
        cells = ["-" if value is None else f"{value:{spec}}" for value, spec in zip(values, formats, strict=True)]
        rows.append(
            f"{subject:10}{cells[0]:>8}{cells[1]:>8}{cells[2]:>11}{summary['parameters']:>14,}"
            f"{summary['milliseconds_per_image']:>14.0f}"
        )
        overlays.append(path.parent / "overlays")
    if not overlays:
        return ""
    head = f"{'':10}{'Dice':>8}{'IoU':>8}{f'HD95 ({unit})':>11}{'parameters':>14}{'ms per case':>14}"
    lines = ["", head, *rows, "", *(f"pictures: {folder}" for folder in overlays)]
    if (output_dir / STAGES["train"]).exists():
        lines.append(f"student:  {output_dir / STAGES['train']}")
    return "\n".join(lines)
