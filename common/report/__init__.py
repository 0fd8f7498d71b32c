"""A report on a study: every measurement, a table with intervals and tests, figures and pictures."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from pathlib import Path

from common.files.atomic import atomic_file
from common.report.page import write_page
from common.report.runs import read_study, write_results
from common.report.text import count_missing, write_text

logger = logging.getLogger(__name__)


def write_report(study_dir: str | os.PathLike) -> None:
    """Write ``results.csv``, ``table.md`` and ``report.html`` into the folder of a study.

    A study may be partial: the report says which runs are missing.

    Args:
        study_dir: output_dir of a study.

    Raises:
        InputError: if there is no study, none of its runs is finished, or a file of it is damaged.
    """
    study_dir = Path(study_dir)
    study = read_study(study_dir)
    outputs = {"results.csv": write_results, "table.md": write_text, "report.html": write_page}
    with ExitStack() as files:  # all of them, or none
        for name, write in outputs.items():
            write(study, files.enter_context(atomic_file(study_dir / name)))
    if study.missing:
        logger.warning(f"{study_dir}: {count_missing(study)}")
    print(f"written: {', '.join(str(study_dir / name) for name in outputs)}", flush=True)
