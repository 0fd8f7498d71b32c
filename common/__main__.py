"""``python -m common <command>``: the commands of this project, in the manner of ``python -m monai.bundle``."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fire

from common.errors import InputError
from common.training import logs


def pipeline(*arguments, **options) -> None:
    """Run the stages of a bundle: ``pipeline BUNDLE --dataset_dir DIR --output_dir DIR``; see run_pipeline."""
    from common.pipeline.run import run_pipeline

    _call(run_pipeline, arguments, options)


def study(*arguments, **options) -> None:
    """Compare methods on a grid of budgets: ``study BUNDLE --dataset_dir DIR --output_dir DIR``; see run_study."""
    from common.study.run import run_study

    _call(run_study, arguments, options)


def check(bundle: str, dataset_dir: str, output_dir: str | None = None, **keys) -> None:
    """Check a dataset before any training: ``check BUNDLE --dataset_dir DIR``; see check_bundle."""
    from common.pipeline.check import check_bundle

    check_bundle(str(bundle), str(dataset_dir), output_dir, **keys)


def phantoms(dataset: str, output_dir: str) -> None:
    """Write phantoms of a dataset, in its official layout: ``phantoms drive DIR``."""
    from common.datasets import find_dataset

    print(find_dataset(dataset).write_phantoms(str(output_dir)))


def create(facts: str, output_dir: str, overwrite: bool = False) -> None:
    """Write a bundle from a page of facts about its dataset: ``create drive DIR``, or ``create my_facts.yaml DIR``."""
    from common.templates import create_bundle

    print(create_bundle(str(facts), str(output_dir), overwrite))


def report(study_dir: str) -> None:
    """Write the tables, figures and pictures of a study, finished or partial: ``report runs/study``."""
    from common.report import write_report

    write_report(str(study_dir))


def release(*arguments, **options) -> None:
    """Write a student as a bundle of its own: ``release BUNDLE --weights FILE --output_dir DIR``."""
    from common.release import release_bundle

    print(f"released: {_call(release_bundle, arguments, options)}")


def pretrain_teacher(output_dir: str, **options) -> None:
    """Pre-train the stand-in teacher on procedural scenes: ``pretrain_teacher DIR``."""
    from common.teachers.stand_in.pretraining import pretrain_teacher as run

    _call(run, (output_dir,), options)


def _call(function: Callable, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a function with what the command line gave, which is an :class:`InputError` where it does not fit."""
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise InputError(f"{error}; see the README and the docstring of {function.__module__}") from None
    return function(*arguments, **options)


def main() -> None:
    """Run the command that the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    sys.excepthook = logs.report
    commands = {
        "pipeline": pipeline,
        "study": study,
        "report": report,
        "check": check,
        "phantoms": phantoms,
        "create": create,
        "release": release,
        "pretrain_teacher": pretrain_teacher,
    }
    fire.Fire(commands, name="python -m common")


if __name__ == "__main__":
    main()
