"""TODO"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.datasets import phantom_writer
from common.errors import InputError, StageError
from common.files.atomic import replace_file
from common.files.provenance import are_phantoms, mark_phantoms
from common.pipeline.configs import _as_list, _load, _stage_files, check_overrides, check_paths, find_configs, takes
from common.pipeline.results import results_table
from common.pipeline.stage_process import run_stage
from common.pipeline.stages import _METHOD_RECORD, _TRAINING, METHODS, STAGES


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
