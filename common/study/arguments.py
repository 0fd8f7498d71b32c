"""The arguments of a study: presets, lists of values, and the grid that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from common.datasets import DATASETS
from common.distillation.methods import COMPARED, METHODS
from common.errors import InputError
from common.study.plan import Grid
from common.study.record import GRID, transfer_sets_drawn

_PRESETS = Path(__file__).parent / "presets"
_OTHERS = "others"  # in a preset: all datasets that it does not name
_EXAMPLES = {
    "methods": "mae,task_specific_kd",
    "labels": "5,10",
    "transfer_sizes": "250,500",
    "lora_ranks": "8,16",
    "seeds": "0,1,2",
}
# Keys of the stages that the study sets, and what to give instead.
_RESERVED = {
    "num_labels": "--labels",
    "num_transfer": "--transfer_sizes",
    "transfer_length": "nothing: each size is repeated to the length of the largest, so that all take as many steps",
    "unlabelled_length": "nothing: real images are repeated to the length of a transfer set",
    "labelled_length": "nothing: labelled images are repeated to twice the length of a transfer set",
    "with_labels": "--methods drawn_labels",
    "drawn_labels": "--methods drawn_labels",
    "lora_rank": "--lora_ranks",
    "seed": "--seeds",
    "split_seed": "--seeds, of the split as well",
    "method": "--methods",
    "stages": "--methods: each has its stages",
    "subject": "nothing: teacher and student are both evaluated",
    "teacher": "nothing: a transfer set is drawn without a teacher, since every method gets the same one",
    "min_confidence": "nothing: a transfer set is drawn without a teacher, since every method gets the same one",
    "teacher_outputs": "nothing: each run has its own while it lasts",
    "initial_weights": "nothing: each method has its own",
    "ckpt_path": "nothing: each run has its own",
    "checkpoint_path": "nothing: each run has its own",
    "bundle_root": "the bundle as the first argument",
}


def read_preset(preset: str | None, dataset: str) -> dict[str, Any]:
    """Return the arguments that a preset gives; where it has values by dataset, that of this one or of ``others``.

    Args:
        preset: a name, a YAML file, or None.
        dataset: name of the dataset, such as ``drive``.

    Raises:
        InputError: if there is no such preset.
    """
    if preset is None:
        return {}
    path = Path(preset) if Path(preset).suffix in (".yaml", ".yml") else _PRESETS / f"{preset}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in _PRESETS.glob("*.yaml"))
        raise InputError(f"--preset: there is no {path}; the presets are {', '.join(known)}, or name a YAML file")
    values = dict(ConfigParser.load_config_file(str(path)))
    for key, value in values.items():
        if isinstance(value, Mapping) and not {*DATASETS, dataset, _OTHERS}.isdisjoint(value):
            values[key] = value.get(dataset, value.get(_OTHERS))
    return {key: value for key, value in values.items() if value is not None}


def check_reserved(overrides: Mapping[str, Any]) -> None:
    """Refuse keys that the study sets itself.

    Raises:
        InputError: naming the first of them, and what to give instead.
    """
    for key in overrides:
        if key.split("::")[0] in _RESERVED:
            raise InputError(f"--{key}: the study sets this key; give {_RESERVED[key.split('::')[0]]}")


def as_values(name: str, value: Any) -> list[Any]:
    """Return the values of an argument: several, one, or text with commas between them.

    Raises:
        InputError: if there is none, or one is no name or number.
    """
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, (list, tuple)):
        value = [value]
    if not value and name in _EXAMPLES:
        raise InputError(f"--{name}: is empty; expected one value or several, such as --{name} {_EXAMPLES[name]}")
    wrong = [each for each in value if not isinstance(each, (str, int, float))]
    if wrong:
        raise InputError(f"--{name}: expected one value or several, got {wrong[0]!r}")
    return list(dict.fromkeys(value))


def choose_methods(methods: Any) -> list[str]:
    """Return the names of methods, by default of those that the paper compares, and of the U-Net.

    Raises:
        InputError: if one is unknown.
    """
    chosen = as_values("methods", list(COMPARED) if methods is None else methods)
    unknown = [method for method in chosen if method not in METHODS]
    if unknown:
        raise InputError(f"--methods: there is no method '{unknown[0]}'; the methods are {', '.join(METHODS)}")
    return chosen


def make_grid(
    lists: Mapping[str, Any],
    num_images: Any,
    configs: Mapping[str, dict[str, Any]],
    overrides: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    study_dir: Path,
) -> Grid:
    """Return the grid, with the values of the bundle's configs where none are given.

    Args:
        lists: the values of each of ``GRID``, None where none are given.
        num_images: synthetic images to draw, None for the largest of the transfer sizes.
        configs: by stage.
        overrides: of keys of the stages, on which values of the configs may depend.
        before: the record of the study so far, None if there is none.
        study_dir: the study.

    Raises:
        InputError: if a value is not as expected.
    """

    def configured(stage: str, key: str) -> Any:
        known = {name: value for name, value in overrides.items() if name in configs[stage]}
        return ConfigParser({**configs[stage], **known}).get_parsed_content(key)

    if lists["labels"] is None:
        raise InputError("--labels is missing: give label budgets, such as --labels 5,10, or --preset quick")
    given = {key: value for key, value in lists.items() if value is not None}
    if "transfer_sizes" not in given:
        given["transfer_sizes"] = configured("synthesize", "num_images") if num_images is None else num_images
    if "lora_ranks" not in given:
        given["lora_ranks"] = configured("finetune_teacher", "lora_rank")
    given.setdefault("seeds", 0)
    numbers = {key: _numbers(key, given[key], least=0 if key == "seeds" else 1) for key in GRID if key != "methods"}
    drawn = _choose_num_images(num_images, max(numbers["transfer_sizes"]), before, study_dir)
    return Grid(methods=choose_methods(lists["methods"]), **numbers, num_images=drawn)


def _numbers(name: str, value: Any, least: int = 1) -> list[int]:
    numbers = [int(each) if isinstance(each, str) and each.isdecimal() else each for each in as_values(name, value)]
    wrong = [each for each in numbers if type(each) is not int or each < least]
    if wrong:
        raise InputError(f"--{name}: expected whole numbers of at least {least}, got {wrong[0]!r}")
    return numbers


def _choose_num_images(num_images: Any, largest: int, before: Mapping[str, Any] | None, study_dir: Path) -> int:
    """Return how many synthetic images are drawn; once they are, a larger set would not begin with the same ones."""
    if num_images is not None:
        num_images, *others = _numbers("num_images", num_images)
        if others:
            raise InputError(f"--num_images: expected one number, got {1 + len(others)}")
    if num_images is not None and num_images < largest:
        raise InputError(f"--num_images {num_images}: is less than the largest of --transfer_sizes, {largest}")
    if before is None or not transfer_sets_drawn(study_dir):
        return num_images or max(largest, before["num_images"] if before else 0)
    drawn: int = before["num_images"]
    if largest > drawn or (num_images is not None and num_images != drawn):
        raise InputError(
            f"--transfer_sizes: the transfer sets in {study_dir} were drawn with {drawn} images, and one of "
            f"{max(largest, num_images or 0)} would not begin with the same ones: name another --output_dir"
        )
    return drawn
