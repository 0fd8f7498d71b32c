"""What ``list`` says of bundles: which there are, and the stages, keys and overlays of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from common.commands.config_keys import WIDTH, ConfigKey, head_of, read_keys
from common.errors import InputError

_EXAMPLE = "ph2"  # by which the stages of no bundle in particular are described


def describe_bundles(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the bundles in a folder and in its ``bundles``, and those that ``create`` writes.

    Args:
        folder: where the user is.
    """
    from common.templates.facts_pages import FACTS, read_facts  # since rendering takes a moment to import

    for path in sorted([*folder.glob("*/configs/metadata.json"), *folder.glob("bundles/*/configs/metadata.json")]):
        metadata = json.loads(path.read_text(encoding="utf-8"))
        yield str(path.parents[1]), str(metadata.get("task") or metadata.get("name", ""))
    for name in FACTS:
        yield f"create {name} FOLDER", f"writes {name}_segmentation: {read_facts(name)['task']}"


def describe_stages(configs: Path | None) -> Iterator[tuple[str, str, str]]:
    """Yield each stage, what it leaves behind in ``output_dir``, and what it does.

    Args:
        configs: of a bundle; None describes the stages of any.
    """
    from common.pipeline.stages import STAGES

    texts = _texts(configs)
    for stage, written in STAGES.items():
        config = "evaluate" if stage == "evaluate_teacher" else stage
        who = "the teacher" if stage == "evaluate_teacher" else "the student"
        yield stage, written, head_of(texts.get(config, "")).replace("the student, or the teacher,", who)


def describe_overlays(configs: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the overlays of a bundle: every config that says it is one; None describes those of any bundle."""
    heads = {name: head_of(text) for name, text in _texts(configs).items()}
    yield from ((name, head) for name, head in heads.items() if head.startswith("Overlay"))


def describe_keys(configs: Path, stage: str | None) -> Iterator[tuple[str, str, str]]:
    """Yield the keys of a stage with value and comment; without a stage those of all, with the stages that have them.

    Raises:
        InputError: if there is no such stage.
    """
    stages = _stage_names(configs)
    if stage is not None:
        if not (configs / f"{stage}.yaml").is_file():
            raise InputError(f"{configs.parent} has no stage {stage}; it has {', '.join(stages)}")
        yield from read_keys(configs / f"{stage}.yaml")
        return
    found: dict[str, dict[str, ConfigKey]] = {}
    for name in stages:
        for key in read_keys(configs / f"{name}.yaml"):
            found.setdefault(key.name, {})[name] = key
    for name, by_stage in found.items():
        values = " or ".join(dict.fromkeys(key.value for key in by_stage.values()))
        value = values if len(values) <= WIDTH else "differs by stage"
        where = "all stages" if len(by_stage) == len(stages) else ", ".join(by_stage)
        comment = next((key.comment for key in by_stage.values() if key.comment), "")
        yield name, value, f"{comment} ({where})" if comment else where


def _stage_names(configs: Path) -> list[str]:
    """Return the configs of stages in the order in which they are run; inference is the last."""
    from common.pipeline.stages import STAGES

    return [name for name in (*STAGES, "inference") if (configs / f"{name}.yaml").is_file()]


def _texts(configs: Path | None) -> dict[str, str]:
    """Return the configs of a bundle by name; without a bundle, those of one that this project can write."""
    if configs is not None:
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted(configs.glob("*.yaml"))}
    from common.templates import read_facts, render_bundle

    rendered = {Path(name): text for name, text in render_bundle(read_facts(_EXAMPLE)).items()}
    return {path.stem: text for path, text in rendered.items() if path.suffix == ".yaml"}
