"""``python -m common study``: every cell of a grid of methods, label budgets and transfer sets, with one command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from common.datasets import find_dataset, phantom_writer
from common.datasets.report import split_keys
from common.errors import InputError, StageError
from common.pipeline.configs import check_overrides, check_paths, stage_config, takes
from common.pipeline.stages import STAGES
from common.study import record as records
from common.study.launchers import Job, run_locally, run_on_ray
from common.study.plan import METHODS, Grid, Part, make_plan, parts_left
from common.study.progress import Outcome, Progress

_PRESETS = Path(__file__).parent / "presets"
# Keys of the stages that the study sets, and what to give instead.
_RESERVED = {
    "num_labels": "--labels",
    "num_transfer": "--transfer_sizes",
    "transfer_length": "nothing: each size is repeated to the length of the largest, so that all take as many steps",
    "lora_rank": "--lora_ranks",
    "seed": "--seeds",
    "split_seed": "--seeds, of the split as well",
    "method": "--methods",
    "stages": "--methods: each has its stages",
    "subject": "nothing: teacher and student are both evaluated",
    "teacher": "nothing: a transfer set is drawn without a teacher, since every method gets the same one",
    "min_confidence": "nothing: a transfer set is drawn without a teacher, since every method gets the same one",
    "teacher_cache": "nothing: each cell has its own while it runs",
    "initial_weights": "nothing: each method has its own",
    "ckpt_path": "nothing: each cell has its own",
    "bundle_root": "the bundle as the first argument",
}


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
    launcher: str = "local",
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    dry_run: bool = False,
    **overrides: Any,
) -> None:
    """Run every cell of a grid: a student prepared by one method, fine-tuned and evaluated with one budget and seed.

    What is finished is skipped, and a stage that was cut off goes on from its last epoch, so that the same command
    always goes on. A larger grid adds to the study; other settings are refused.

    Args:
        bundle: folder of the bundle.
        output_dir: the study: ``study.json``, ``cells/`` and what they share in ``shared/``.
        dataset_dir: the dataset in its official layout.
        methods: some of ``common.study.plan.METHODS``; by default all of them.
        labels: label budgets.
        transfer_sizes: sizes of the transfer set; by default the bundle's ``num_images``.
        lora_ranks: ranks of the teacher's adapter; by default the bundle's.
        seeds: each of the split and of all training; by default 0.
        overlay: names of overlays to lay on each stage, such as ``cpu``.
        demo: lay the ``demo`` overlay on each stage and run on phantoms written to ``<output_dir>/phantoms``.
        preset: ``quick``, ``cpu`` or ``paper``, or a YAML file; what it has is the default of all that is given.
        launcher: ``local``, one part after the other, or ``ray``.
        num_cpus: with ``ray``: cores for each task, by default one.
        num_gpus: with ``ray``: GPUs for each task, by default one where the cluster has any.
        dry_run: show the plan, run nothing and write nothing.
        overrides: keys to override, with their values, wherever a stage has them. ``num_images`` draws more synthetic
            images than the largest of ``transfer_sizes``, so that a larger one can be added later.

    Raises:
        InputError: if an argument, the dataset or the folder is not as expected, before anything is run; or if parts
            failed, after all others have been run.
        StageError: if the study is interrupted.
    """
    check_paths(bundle=bundle, output_dir=output_dir, dataset_dir=dataset_dir)
    given = {"methods": methods, "labels": labels, "transfer_sizes": transfer_sizes, "lora_ranks": lora_ranks}
    given |= {"seeds": seeds, "overlay": overlay}
    values = {**_read_preset(preset, bundle), **{key: value for key, value in given.items() if value is not None}}
    values |= overrides  # of which None is a value
    lists = {key: values.pop(key, None) for key in records.GRID}
    overlays = _as_values("overlay", values.pop("overlay", None) or [])
    if demo and "demo" not in overlays:
        overlays.append("demo")
    for key in values:
        if key.split("::")[0] in _RESERVED:
            raise InputError(f"--{key}: the study sets this key; give {_RESERVED[key.split('::')[0]]}")
    launch = _choose_launcher(launcher, num_cpus, num_gpus)
    study_dir = Path(output_dir).resolve()
    records.check_folder(study_dir)
    data = _find_data(dataset_dir, demo, study_dir)

    methods = _choose_methods(lists["methods"])
    configs = {stage: stage_config(bundle, stage, overlays) for stage in STAGES if stage != "distill"}
    configs |= {_distill(name): stage_config(bundle, "distill", overlays, name) for name in methods if name != "unet"}
    num_images = values.pop("num_images", None)
    check_overrides([(name.split()[0], config) for name, config in configs.items()], values)
    record = records.describe(Path(bundle).resolve().name, data, demo, overlays, values)
    records.check_same(study_dir, record, configs)
    grid = _make_grid({**lists, "methods": methods}, num_images, configs, records.read_record(study_dir), study_dir)
    parts = [_with_overrides(part, configs, values) for part in make_plan(grid)]

    if dry_run:
        if data.exists():
            _check_data(bundle, data, configs["train"], values, grid)
        _show_plan(parts, study_dir, record)
        return
    with records.locked(study_dir):
        if demo and not data.exists():
            phantom_writer(record["bundle"])(str(data))
        _check_data(bundle, data, configs["train"], values, grid)
        records.check_same(study_dir, record, configs)  # again: another run may have begun it since
        records.write_record(study_dir, record, grid, configs)
        job = Job(study_dir, Path(bundle).resolve(), data, tuple(overlays))
        left = parts_left(parts, study_dir)
        progress = Progress(study_dir, parts, left)
        print(f"{_summarise(parts, study_dir, record)}; left: {progress.describe_left()}", flush=True)
        try:
            outcomes = launch(job, left, progress)
        except KeyboardInterrupt:
            raise StageError("interrupted; the same command goes on from there") from None
    _report(outcomes, study_dir)


# Arguments


def _read_preset(preset: str | None, bundle: str) -> dict[str, Any]:
    """Return the arguments that a preset gives; where it has values by bundle, that of this one or of ``others``."""
    if preset is None:
        return {}
    path = Path(preset) if Path(preset).suffix in (".yaml", ".yml") else _PRESETS / f"{preset}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in _PRESETS.glob("*.yaml"))
        raise InputError(f"--preset: there is no {path}; the presets are {', '.join(known)}, or name a YAML file")
    name = Path(bundle).resolve().name
    values = dict(ConfigParser.load_config_file(str(path)))
    for key, value in values.items():
        if isinstance(value, Mapping) and (key in records.GRID or {name, "others"} & set(value)):
            values[key] = value.get(name, value.get("others"))
    return {key: value for key, value in values.items() if value is not None}


def _as_values(name: str, value: Any) -> list[Any]:
    """Return the values of an argument: several, one, or text with commas between them."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        value = [value]
    if not value and name != "overlay":
        raise InputError(f"--{name}: is empty; expected one value or several, such as --{name} {_EXAMPLES[name]}")
    return list(dict.fromkeys(value))


_EXAMPLES = {
    "methods": "mae,task_specific_kd",
    "labels": "5,10",
    "transfer_sizes": "250,500",
    "lora_ranks": "8,16",
    "seeds": "0,1,2",
}


def _numbers(name: str, value: Any, least: int = 1) -> list[int]:
    numbers = [int(each) if isinstance(each, str) and each.isdigit() else each for each in _as_values(name, value)]
    wrong = [each for each in numbers if type(each) is not int or each < least]
    if wrong:
        raise InputError(f"--{name}: expected whole numbers of at least {least}, got {wrong[0]!r}")
    return numbers


def _choose_methods(methods: Any) -> list[str]:
    chosen = _as_values("methods", list(METHODS) if methods is None else methods)
    unknown = [method for method in chosen if method not in METHODS]
    if unknown:
        raise InputError(f"--methods: there is no method '{unknown[0]}'; the methods are {', '.join(METHODS)}")
    return chosen


def _distill(method: str | None) -> str:
    """Return under what name the config of stage distill is kept, which is another one for each method."""
    return f"distill {method}"


def _make_grid(
    lists: Mapping[str, Any],
    num_images: Any,
    configs: Mapping[str, dict[str, Any]],
    before: Mapping[str, Any] | None,
    study_dir: Path,
) -> Grid:
    """Return the grid, with the values of the bundle's configs where none are given."""

    def configured(stage: str, key: str) -> Any:
        return ConfigParser(configs[stage]).get_parsed_content(key)

    if lists["labels"] is None:
        raise InputError("--labels is missing: give label budgets, such as --labels 5,10, or --preset quick")
    default = num_images if num_images is not None else configured("synthesize", "num_images")
    sizes = _numbers("transfer_sizes", default if lists["transfer_sizes"] is None else lists["transfer_sizes"])
    ranks = configured("finetune_teacher", "lora_rank") if lists["lora_ranks"] is None else lists["lora_ranks"]
    return Grid(
        methods=lists["methods"],
        labels=_numbers("labels", lists["labels"]),
        transfer_sizes=sizes,
        lora_ranks=_numbers("lora_ranks", ranks),
        seeds=_numbers("seeds", 0 if lists["seeds"] is None else lists["seeds"], least=0),
        num_images=_choose_num_images(num_images, max(sizes), before, study_dir),
    )


def _choose_num_images(num_images: Any, largest: int, before: Mapping[str, Any] | None, study_dir: Path) -> int:
    """Return how many synthetic images are drawn; once they are, a larger set would not begin with the same ones."""
    if num_images is not None and _numbers("num_images", num_images)[0] < largest:
        raise InputError(f"--num_images {num_images}: is less than the largest of --transfer_sizes, {largest}")
    if before is None or not records.transfer_sets_drawn(study_dir):
        return num_images or max(largest, before["num_images"] if before else 0)
    drawn = before["num_images"]
    if largest > drawn or (num_images is not None and num_images != drawn):
        raise InputError(
            f"--transfer_sizes: the transfer sets in {study_dir} were drawn with {drawn} images, and one of "
            f"{max(largest, num_images or 0)} would not begin with the same ones: name another --output_dir"
        )
    return drawn


def _choose_launcher(launcher: str, num_cpus: float | None, num_gpus: float | None) -> Callable[..., list[Outcome]]:
    if launcher == "ray":
        if num_cpus is not None and not num_cpus > 0:
            raise InputError(f"--num_cpus: expected a number above 0, got {num_cpus}")
        return partial(run_on_ray, num_cpus=1 if num_cpus is None else num_cpus, num_gpus=num_gpus)
    if launcher != "local":
        raise InputError(f"--launcher: expected local or ray, got '{launcher}'")
    if num_cpus is not None or num_gpus is not None:
        raise InputError("--num_cpus and --num_gpus are of --launcher ray; locally one part runs at a time")
    return run_locally


def _with_overrides(part: Part, configs: Mapping[str, dict[str, Any]], overrides: Mapping[str, Any]) -> Part:
    """Return a part with the user's overrides as well, as far as its stages take them."""
    names = {stage: _distill(part.method) if stage == "distill" else stage for stage in part.stages}
    chosen = {
        key: value
        for key, value in overrides.items()
        if any(takes(stage, configs[name], key) for stage, name in names.items())
    }
    if part.method == "unet":
        chosen = {key: value for key, value in chosen.items() if key.split("::")[0] != "network_def"}
    return replace(part, overrides={**chosen, **part.overrides})


# Data


def _find_data(dataset_dir: str | None, demo: bool, study_dir: Path) -> Path:
    if demo:
        if dataset_dir is not None:
            raise InputError("--demo writes its own dataset: leave out --dataset_dir, or take --overlay demo")
        return study_dir / "phantoms"
    if dataset_dir is None:
        raise InputError("--dataset_dir is missing: give the folder of the dataset, or --demo to run on phantoms")
    if not Path(dataset_dir).is_dir():
        raise InputError(f"--dataset_dir: {dataset_dir} does not exist; expected the folder of the dataset")
    return Path(dataset_dir).resolve()


def _check_data(
    bundle: str, dataset_dir: Path, config: dict[str, Any], overrides: Mapping[str, Any], grid: Grid
) -> None:
    """Check every file of the dataset, and that there are as many training images as the largest label budget."""
    module = find_dataset(Path(bundle).resolve().name)
    parser = ConfigParser({**config, **{key: value for key, value in overrides.items() if key in config}})
    keys = [key for key in split_keys(module) if key in parser and key not in ("split_seed", "num_labels")]
    arguments = {key: parser.get_parsed_content(key) for key in keys}
    module.check(dataset_dir, seed=grid.seeds[0], **arguments)
    for seed in grid.seeds:
        available = len(module.datalist(dataset_dir, "training", seed=seed, **arguments))
        if max(grid.labels) > available:
            raise InputError(
                f"--labels: {max(grid.labels)} is more than the {available} training images that there are with seed "
                f"{seed}"
            )


# Output


def _summarise(parts: Sequence[Part], study_dir: Path, record: Mapping[str, Any]) -> str:
    cells = [part for part in parts if part.is_cell]
    finished = sum(part.finished(study_dir) for part in cells)
    return f"study of {record['bundle']} in {study_dir}: {finished} of {len(cells)} cells finished"


def _show_plan(parts: Sequence[Part], study_dir: Path, record: Mapping[str, Any]) -> None:
    left = parts_left(parts, study_dir)
    width = max(len(part.name) for part in parts)
    for part in parts:
        state = ", ".join(part.stages_left(study_dir)) if part in left else "finished"
        print(f"{part.name:{width}}  {state}")
    print(f"{_summarise(parts, study_dir, record)}; left: {Progress(study_dir, parts, left).describe_left()}")


def _report(outcomes: Sequence[Outcome], study_dir: Path) -> None:
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed:
        lines = [f"  {outcome.part}: {outcome.failure}" for outcome in failed]
        parts = "1 part is" if len(failed) == 1 else f"{len(failed)} parts are"
        raise InputError("\n".join([f"{parts} not finished; the same command tries again", *lines]))
    print(f"finished: {study_dir}", flush=True)
