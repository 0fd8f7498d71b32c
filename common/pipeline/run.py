"""``python -m common pipeline``: a bundle's stages in order."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.configs.earlier_names import with_current_names
from common.distillation.methods import PROPOSED, Method, find_method
from common.files.locks import one_pipeline
from common.pipeline.bundle_folder import find_configs
from common.pipeline.configs import load_config, stage_config, stage_files
from common.pipeline.data import check_beyond_budget, find_data, write_missing_phantoms
from common.pipeline.hardware import choose_overlays
from common.pipeline.method_record import check_method, note_method, prepares_student
from common.pipeline.overrides import check_overrides, check_paths, check_values, overridden
from common.pipeline.position import position_of, told
from common.pipeline.results import as_given, results_table
from common.pipeline.settings_record import describe_changes, noted_settings
from common.pipeline.stage_run import choose_overrides, run_one
from common.pipeline.stages import STAGES, TRAINING_STAGES, choose_stages
from common.training.said_once import remembered


def run_pipeline(
    bundle: str,
    output_dir: str,
    dataset_dir: str | None = None,
    stages: str | Sequence[str] | None = None,
    overlay: str | Sequence[str] | None = None,
    demo: bool = False,
    method: str = PROPOSED,
    **overrides: Any,
) -> None:
    """Run a bundle's stages in order, skip those that are done, and go on where one was cut off.

    Args:
        bundle: folder of the bundle.
        output_dir: folder for everything the stages write.
        dataset_dir: folder of the dataset, in its official layout; by default the one that the bundle's configs have,
            as those of your own images do.
        stages: the stages to run, as a list or separated by commas; by default all that the method needs.
        overlay: other settings for each stage (overlays), by name, such as ``cpu``, or ``none``; by default ``cpu``
            where there is no GPU.
        demo: try it out in minutes, without data: on procedural images (phantoms) written to
            ``<output_dir>/phantoms``, with the settings of the ``demo`` overlay.
        method: what prepares the student before it is fine-tuned.
        overrides: keys to override, with their values, wherever a stage has them.

    Raises:
        InputError: if a folder, stage, overlay, method or key does not exist, a value is not allowed, ``output_dir``
            has the student of another method or another run is writing to it, ``num_labels`` leaves no image for a
            method that needs more, or a stage failed.
    """
    check_paths(bundle=bundle, output_dir=output_dir, dataset_dir=dataset_dir)
    configs, chosen_method = find_configs(bundle), find_method(method)
    chosen = choose_stages(stages, chosen_method)
    overlays = choose_overlays(overlay, demo, configs)
    files = {stage: stage_files(configs, stage, overlays, chosen_method) for stage in chosen}
    loaded = {stage: load_config(files[stage]) for stage in chosen}
    overrides = with_current_names(overrides, loaded.values())
    check_overrides(loaded.values(), overrides, inspect.signature(run_pipeline).parameters, bundle)
    check_values(loaded.values(), overrides)
    output_path = Path(output_dir).resolve()
    check_method(output_path, chosen, chosen_method)
    data = find_data(dataset_dir, demo, output_path, loaded[chosen[0]])
    with one_pipeline(output_path), remembered():
        if demo:
            write_missing_phantoms(data, stage_config(bundle, "train"))
        if "distill" in chosen and not (output_path / STAGES["distill"]).exists():
            check_beyond_budget(overridden(loaded["distill"], overrides), data)
        values = _student_of(chosen_method, overrides)
        values |= {"dataset_dir": str(data), "output_dir": str(output_path), "bundle_root": str(Path(bundle).resolve())}
        seconds: dict[str, float] = {}
        for number, stage in enumerate(chosen, start=1):
            done = output_path / STAGES[stage]
            print(f"[{number}/{len(chosen)}] {stage}", flush=True)
            own = choose_overrides(stage, loaded[stage], chosen_method, values)
            config = overridden(loaded[stage], own)
            if done.exists():
                print(f"    {_skipped(done, describe_changes(output_path, stage, config))}", flush=True)
                continue
            if prepares_student(stage, chosen_method):
                note_method(output_path, chosen_method)
            distributed = "multi_gpu" in overlays and stage in TRAINING_STAGES
            with noted_settings(output_path, stage, config), told(position_of(stage, chosen, seconds)):
                seconds[stage] = run_one(stage, files[stage], own, output_path, distributed)
    report = results_table(output_path)
    if report:
        print(report, flush=True)


def _skipped(done: Path, changes: str) -> str:
    """Return why a stage is skipped, and what to do if that is not wanted."""
    if not changes:
        return f"skipped: {as_given(done)} exists; delete it to run this stage again"
    return (
        f"skipped: {as_given(done)} exists, made with other settings ({changes}): delete it to run this stage again, "
        "choose another output_dir, or give the same options as then, such as --overlay"
    )


def _student_of(method: Method, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides with the method's own student in place of the bundle's, if it has one."""
    if method.student_def is None:
        return dict(overrides)
    start = {"initial_weights": None} if method.config is None else {}
    others = {
        key: value for key, value in overrides.items() if key.split("::")[0] not in ("student_def", "network_def")
    }
    return {**others, "student_def": dict(method.student_def), **start}
