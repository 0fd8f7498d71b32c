"""``python -m common study``: every run of a grid of methods, label budgets and transfer sets, with one command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from common.configs.earlier_names import with_current_names
from common.datasets import build_dataset, dataset_class, dataset_keys
from common.distillation.methods import METHODS
from common.errors import InputError, StageError
from common.files.locks import lock_folder, unlock_folder
from common.pipeline.configs import stage_config
from common.pipeline.data import MANIFEST, find_data, write_missing_phantoms
from common.pipeline.overrides import check_overrides, check_paths, check_values, takes
from common.pipeline.stages import STAGES
from common.study import record as records
from common.study.arguments import as_values, check_reserved, choose_methods, make_grid, read_preset
from common.study.job_run import Context
from common.study.launchers import run_locally, run_on_ray
from common.study.plan import Grid, Job, jobs_left, make_plan
from common.study.progress import Outcome, Progress


def run_study(
    bundle: str,
    output_dir: str,
    dataset_dir: str | None = None,
    methods: str | Sequence[str] | None = None,
    labels: int | Sequence[int] | None = None,
    transfer_sizes: int | Sequence[int] | None = None,
    lora_ranks: int | Sequence[int] | None = None,
    seeds: int | Sequence[int] | None = None,
    overlay: str | Sequence[str] | None = None,
    demo: bool = False,
    preset: str | None = None,
    launcher: Literal["local", "ray"] = "local",
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    dry_run: bool = False,
    **overrides: Any,
) -> None:
    """Make every run of a grid: a student prepared by one method, fine-tuned and evaluated with one budget and seed.

    What is finished is skipped, and a stage that was cut off goes on from its last epoch, so that the same command
    always goes on. A larger grid adds to the study; other settings are refused.

    Args:
        bundle: folder of the bundle.
        output_dir: the study: ``study.json``, ``runs/`` and what they share in ``shared/``.
        dataset_dir: the dataset in its official layout.
        methods: what prepares students before they are fine-tuned; by default those that the paper compares, and
            the U-Net.
        labels: label budgets.
        transfer_sizes: sizes of the transfer set; by default the bundle's ``num_images``.
        lora_ranks: ranks of the teacher's adapter; by default the bundle's.
        seeds: each of the split and of all training; by default 0.
        overlay: names of overlays to lay on each stage, such as ``cpu``.
        demo: lay the ``demo`` overlay on each stage and run on phantoms written to ``<output_dir>/phantoms``.
        preset: ``quick``, ``cpu``, ``few_labels`` or ``paper``, or a YAML file; what it has is the default of all that
            is given.
        launcher: ``local``, one job after the other, or ``ray``.
        num_cpus: with ``ray``: cores for each job, by default one.
        num_gpus: with ``ray``: GPUs for each job, by default one where the cluster has any.
        dry_run: show the plan, run nothing and write nothing.
        overrides: keys to override, with their values, wherever a stage has them. ``num_images`` draws more synthetic
            images than the largest of ``transfer_sizes``, so that a larger one can be added later.

    Raises:
        InputError: if an argument, the dataset or the folder is not as expected, before anything is run; or if jobs
            failed, after all others have been run.
        StageError: if the study is interrupted.
    """
    check_paths(bundle=bundle, output_dir=output_dir, dataset_dir=dataset_dir)
    given = {"methods": methods, "labels": labels, "transfer_sizes": transfer_sizes, "lora_ranks": lora_ranks}
    given |= {"seeds": seeds, "overlay": overlay}
    values = read_preset(preset, dataset_class(stage_config(bundle, "train")).name)
    values |= {key: value for key, value in given.items() if value is not None}
    values |= overrides  # in which None counts as a value
    lists = {key: values.pop(key, None) for key in records.GRID}
    overlays = as_values("overlay", values.pop("overlay", None) or [])
    if demo and "demo" not in overlays:
        overlays.append("demo")
    check_reserved(values)
    launch = _choose_launcher(launcher, num_cpus, num_gpus)
    study_dir = Path(output_dir).resolve()
    records.check_folder(study_dir)
    data = find_data(dataset_dir, demo, study_dir)

    configs = _read_configs(bundle, overlays, choose_methods(lists["methods"]))
    num_images = values.pop("num_images", None)
    values = with_current_names(values, configs.values())
    check_overrides(configs.values(), values, inspect.signature(run_study).parameters, bundle)
    check_values(configs.values(), values, on_this_machine=launcher == "local")
    record = records.describe(Path(bundle).resolve().name, data, demo, overlays, values)
    records.check_same(study_dir, record, configs)
    grid = make_grid(lists, num_images, configs, values, records.read_record(study_dir), study_dir)
    jobs = [_with_overrides(job, configs, values) for job in make_plan(grid)]

    if dry_run:
        if data.exists():
            _check_data(data, configs["train"], values, grid)
        _show_plan(jobs, study_dir, record)
        return
    lock_folder(study_dir)
    try:
        if demo:
            write_missing_phantoms(data, configs["train"])
        _check_data(data, configs["train"], values, grid, manifest=study_dir / MANIFEST)
        records.check_same(study_dir, record, configs)  # again: another run may have begun it since
        records.write_record(study_dir, record, grid, configs)
        context = Context(study_dir, Path(bundle).resolve(), data, tuple(overlays))
        left = jobs_left(jobs, study_dir)
        progress = Progress(study_dir, jobs, left)
        print(f"{_summarise(jobs, study_dir, record)}; left: {progress.describe_left()}", flush=True)
        outcomes = launch(context, left, progress)
    except KeyboardInterrupt:
        raise StageError("interrupted; the same command goes on from there") from None
    finally:
        unlock_folder(study_dir)
    _report(outcomes, study_dir)


def _choose_launcher(launcher: str, num_cpus: float | None, num_gpus: float | None) -> Callable[..., list[Outcome]]:
    if launcher == "ray":
        if num_cpus is not None and not num_cpus > 0:
            raise InputError(f"--num_cpus: expected a number above 0, got {num_cpus}")
        return partial(run_on_ray, num_cpus=1 if num_cpus is None else num_cpus, num_gpus=num_gpus)
    if launcher != "local":
        raise InputError(f"--launcher: expected local or ray, got '{launcher}'")
    if num_cpus is not None or num_gpus is not None:
        raise InputError("--num_cpus and --num_gpus are of --launcher ray; locally one job runs at a time")
    return run_locally


def _read_configs(bundle: str, overlays: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the config of each stage, and of stage distill for each method that has one."""
    configs = {stage: stage_config(bundle, stage, overlays) for stage in STAGES if stage != "distill"}
    distilled = [name for name in methods if METHODS[name].config is not None]
    return configs | {_distill(name): stage_config(bundle, "distill", overlays, name) for name in distilled}


def _distill(method: str | None) -> str:
    """Return under what name the config of stage distill is kept, which is another one for each method."""
    return f"distill {method}"


def _with_overrides(job: Job, configs: Mapping[str, dict[str, Any]], overrides: Mapping[str, Any]) -> Job:
    """Return a job with the user's overrides as well, as far as its stages take them."""
    own = [configs[_distill(job.method) if stage == "distill" else stage] for stage in job.stages]
    chosen = {key: value for key, value in overrides.items() if any(takes(config, key) for config in own)}
    return replace(job, overrides={**chosen, **job.overrides})


def _check_data(
    folder: Path, config: dict[str, Any], overrides: Mapping[str, Any], grid: Grid, manifest: Path | None = None
) -> None:
    """Check every file of the dataset, and that the largest label budget leaves the training images that runs need."""
    keys = {key: value for key, value in overrides.items() if key in dataset_keys(config)} | {"num_labels": None}
    for number, seed in enumerate(grid.seeds):
        dataset = build_dataset(config, folder, manifest, **{**keys, "split_seed": seed})
        if number == 0:
            dataset.check()
        available = len(dataset.entries("training"))
        if max(grid.labels) > available:
            raise InputError(
                f"--labels: {max(grid.labels)} is more than the {available} training images that there are with seed "
                f"{seed}"
            )
        greedy = [name for name in grid.methods if METHODS[name].beyond_budget]
        if greedy and max(grid.labels) == available:
            raise InputError(
                f"--labels: {available} are all training images that there are with seed {seed}, which leaves none for "
                f"{', '.join(greedy)}; give that method smaller --labels in a command of its own"
            )


def _summarise(jobs: Sequence[Job], study_dir: Path, record: Mapping[str, Any]) -> str:
    runs = [job for job in jobs if job.is_run]
    finished = sum(run.finished(study_dir) for run in runs)
    return f"study of {record['bundle']} in {study_dir}: {finished} of {len(runs)} runs finished"


def _show_plan(jobs: Sequence[Job], study_dir: Path, record: Mapping[str, Any]) -> None:
    left = jobs_left(jobs, study_dir)
    width = max(len(job.name) for job in jobs)
    for job in jobs:
        state = ", ".join(job.stages_left(study_dir)) if job in left else "finished"
        print(f"{job.name:{width}}  {state}")
    print(f"{_summarise(jobs, study_dir, record)}; left: {Progress(study_dir, jobs, left).describe_left()}")


def _report(outcomes: Sequence[Outcome], study_dir: Path) -> None:
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed:
        lines = [f"  {outcome.job}: {outcome.failure}" for outcome in failed]
        count = "1 job is" if len(failed) == 1 else f"{len(failed)} jobs are"
        raise InputError("\n".join([f"{count} not finished; the same command tries again", *lines]))
    print(f"finished: {study_dir}", flush=True)
