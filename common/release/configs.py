"""The configs of a release: those of the stages that a student has use for, naming nothing of this repository."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ReferenceResolver

from common.errors import InputError
from common.pipeline.overrides import check_overrides
from common.release.config_text import ConfigText, rename_modules, strings_in
from common.release.rendering import render

STAGES = ("inference", "train", "evaluate")
JSON_STAGES = ("inference", "train")  # monai.bundle.load reads configs/<workflow_type>.json and nothing else
GPU_OVERLAYS = ("multi_gpu.yaml", "multi_gpu_train.yaml")  # the second one for MONAI Label
SIZES = ("image_size", "crop_size")  # what a student sees, by the key that a bundle has

_FIXED = (
    "bundle_root", "dataset_dir", "output_dir", "ckpt_path", "stage", "device", "subject", "pretrained",
    "teacher_network_def",
)  # fmt: skip
# A release knows where it is.
_ROOT_IMPORTS = ("$import pathlib", "$import sys", "$import common")
_ROOT = "$str(pathlib.Path(common.__file__).parents[1])"
# MONAI puts the folder above configs/ on the path for modules as it runs, so that a release runs from anywhere. Where a
# config was copied to another folder, this says so instead of MONAI's traceback.
_FIND_CODE = "$'common.errors' in sys.modules or sys.exit('error: run the config that is in the release itself')"
_OF_A_MACHINE = ("device", "bfloat16_on_cpu")  # what the overlay of a release finds out where it is used
_RECORDED = "$provenance.recorded("  # how a source reads what the weights at hand were trained with
_TRAIN = {  # it goes on from a student, and there is no stage that makes one
    "initial_weights": "$weights.first_existing(@output_dir + '/model.pt', @bundle_root + '/models/model.pt')",
    "student": "$weights.load_weights(@network_def, @initial_weights)",
}


def read_settings(configs: Path, overrides: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a release sets in its configs: what the student was measured with, and overrides.

    Args:
        configs: the folder of the source's configs.
        overrides: values by key, as for a pipeline.
        measured: settings of the evaluation.

    Raises:
        InputError: if an override is of no use here, or contradicts the evaluation.
    """
    for key in overrides:
        if key.replace("#", "::").split("::")[0] in _FIXED:
            raise InputError(f"--{key}: a release has its own; leave it out")
    check_overrides([ConfigParser.load_config_file(str(configs / f"{stage}.yaml")) for stage in STAGES], overrides)
    for key, value in overrides.items():
        if key in measured and measured[key] != value:
            raise InputError(
                f"--{key} {value}: the student was evaluated with {measured[key]}; leave it out, or evaluate again"
            )
    return {**measured, **overrides}


def source_config(configs: Path, stage: str, settings: Mapping[str, Any]) -> ConfigParser:
    """Return a stage of the source with these settings, as far as it has such keys, ready to be parsed."""
    parser = ConfigParser(ConfigParser.load_config_file(str(configs / f"{stage}.yaml")))
    for key, value in _fitting(settings, parser):
        parser[key] = value
    return parser


def _fitting(settings: Mapping[str, Any], parser: ConfigParser) -> list[tuple[str, Any]]:
    """Return the settings that a stage has; one without a ``student_def`` has the student as its ``network_def``."""
    if "student_def" not in parser:
        settings = {re.sub(r"^student_def\b", "network_def", key): value for key, value in settings.items()}
    return [(key, value) for key, value in settings.items() if key in parser]


def released_configs(
    configs: Path, settings: Mapping[str, Any], provenance: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Return the texts of a release's configs in YAML by file name; its modules still have the names of their sources.

    Args:
        configs: the folder of the source's configs.
        settings: see :func:`read_settings`.
        provenance: of the weights.

    Raises:
        InputError: if a config lacks a key that a release sets.
    """
    texts = {f"{stage}.yaml": str(_stage_text(configs, stage, settings, provenance or {})) for stage in STAGES}
    if (configs / "cpu.yaml").is_file():
        texts["cpu.yaml"] = _cpu_text(configs, settings)
    for name in GPU_OVERLAYS:
        if (configs / name).is_file():
            texts[name] = str(_read(configs / name))
    return texts


def name_package(texts: Mapping[str, str], package: str) -> dict[str, str]:
    """Return the texts of configs in which modules are those of a release's package, and JSON that says the same.

    Args:
        texts: what :func:`released_configs` returned.
        package: the release's own.
    """
    named = {}
    for name, source in texts.items():
        text = ConfigText(source)
        text.change_strings(lambda value: rename_modules(value, package))
        text.wrap()
        named[name] = str(text)
    for stage in JSON_STAGES:
        named[f"{stage}.json"] = json.dumps(yaml.safe_load(named[f"{stage}.yaml"]), indent=2, ensure_ascii=False) + "\n"
    return named


def _read(path: Path) -> ConfigText:
    return ConfigText(path.read_text(encoding="utf-8"))


def _stage_text(configs: Path, stage: str, settings: Mapping[str, Any], provenance: Mapping[str, Any]) -> ConfigText:
    text = _read(configs / f"{stage}.yaml")
    text.set_head(render(f"heads/{stage}.txt"))
    known = ConfigParser(text.config())
    for key, value in _fitting(settings, known):
        if str(known[key]).startswith(_RECORDED) and provenance.get(key, value) == value:
            text.set(key, f"{_RECORDED}@ckpt_path, {key!r}, {value!r})")  # weights that are trained further know theirs
        elif known[key] != value:
            text.set(key, value)
    imports = list(text.config().get("imports", []))
    own = {"bundle_root": _ROOT}
    if "source" in text.config():  # of a folder of the user's own, which a release does not tell
        own["dataset_dir"] = f"/data/{configs.parent.name.removesuffix('_segmentation')}"
    if stage == "train":
        own |= _TRAIN
    if stage == "evaluate":  # the student alone, read as for inference
        inference = _read(configs / "inference.yaml").config()
        imports += [line for line in inference.get("imports", []) if line not in imports]
        own |= {"subject": "student", "network": inference["network"]}
        text.drop("pretrained")
        text.drop("teacher_network_def")
    try:
        for key, value in own.items():
            text.set(key, value)
        _touch_nothing_before_run(text)
        text.set("imports", [*_ROOT_IMPORTS, *_used(imports, text.config())])
        text.set("run", [_FIND_CODE, *text.config()["run"]])
    except KeyError as error:
        raise InputError(f"{configs / stage}.yaml has no key {error.args[0]}, which a release sets") from error
    return text


def _used(imports: list[str], config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the imports whose names something in a config uses."""
    texts = [value for key, value in config.items() if key != "imports"]
    for line in imports:
        (statement,) = ast.parse(line.removeprefix("$")).body
        assert isinstance(statement, ast.Import | ast.ImportFrom)  # it is a line of "imports"
        names = [alias.asname or alias.name.split(".")[0] for alias in statement.names]
        if any(re.search(rf"\b{name}\b\.", each) for name in names for each in strings_in(texts)):
            yield line


def _touch_nothing_before_run(text: ConfigText) -> None:
    """Move to ``run`` what ``initialize`` does from its own code on, or from a line on that has to do with data.

    monai.bundle.load initializes, where there are no data, and should neither lock a folder nor write into it. And only
    when it runs, monai.bundle looks for code in the folder of the release.
    """
    config = text.config()
    parser, lines = ConfigParser(config), config.get("initialize", [])
    touching = [
        index
        for index, line in enumerate(lines)
        if "command_line." in line or _reached(line, parser) & {"dataset_dir", "output_dir"}
    ]
    if touching:
        text.set("initialize", lines[: touching[0]])
        text.set("run", [*lines[touching[0] :], *config["run"]])


def _reached(value: Any, parser: ConfigParser) -> set[str]:
    """Return the keys that a value refers to, by way of others too."""
    reached: set[str] = set()
    waiting = list(strings_in(value))
    while waiting:
        for key in ReferenceResolver.match_refs_pattern(waiting.pop()):
            if key in parser and key not in reached:
                reached.add(key)
                waiting += strings_in(parser[key])
    return reached


def _cpu_text(configs: Path, settings: Mapping[str, Any]) -> str:
    """Return the overlay as it acts on train.yaml, without what the student was trained with."""
    train = source_config(configs, "train", settings)
    overlay = ConfigParser.load_config_file(str(configs / "cpu.yaml"))
    parser = ConfigParser({**overlay, "stage": "train"})
    values = {
        key: value if key in _OF_A_MACHINE else parser.get_parsed_content(key)
        for key, value in overlay.items()
        if key in train and key not in settings
    }
    return render("heads/cpu.txt") + "\n" + yaml.safe_dump(values, sort_keys=False)
