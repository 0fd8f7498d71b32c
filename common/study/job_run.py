"""One job of a study, run where it is called: its folder, its log, and how it ended."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files.atomic import atomic_file, write_json
from common.pipeline.data import MANIFEST
from common.pipeline.run import run_pipeline
from common.study.plan import Job
from common.study.progress import Outcome
from common.study.record import RECORD
from common.training.first_cause import first_cause

_OUTPUT = "output.log"
_OF_NO_FURTHER_USE = ("checkpoints", "teacher_outputs")  # of a finished job, and larger than all the rest


@dataclass(frozen=True)
class Context:
    """What all jobs of a study have in common.

    Attributes:
        study_dir: the study; on a cluster, every node sees it under this path.
        bundle: the bundle.
        dataset_dir: the dataset.
        overlays: names of overlays to lay on each stage.
    """

    study_dir: Path
    bundle: Path
    dataset_dir: Path
    overlays: Sequence[str]


def run_job(context: Context, job: Job) -> Outcome:
    """Run what is left of a job, with all it prints in ``output.log`` in its folder.

    Whatever goes wrong is in the outcome and in the log, since other jobs can do without this one.
    """
    started = time.monotonic()
    folder = context.study_dir / job.name
    log = folder / _OUTPUT
    failure = None
    try:
        _prepare(context, job, folder)
        with _output_to(log):
            _run_stages(context, job, folder)
        for name in _OF_NO_FURTHER_USE:
            shutil.rmtree(folder / name, ignore_errors=True)  # which need not be there
    except Exception as error:
        failure = f"failed: {first_cause(error, folder).text}; see {log}"
    return Outcome(job.name, time.monotonic() - started, failure)


def _prepare(context: Context, job: Job, folder: Path) -> None:
    """Make the folder of a job, with what it takes from others in it."""
    if not (context.study_dir / RECORD).is_file():
        raise InputError(
            f"{platform.node()} does not see the study in {context.study_dir}: all nodes of a cluster must share it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    manifest = context.study_dir / MANIFEST
    if manifest.is_file() and not (folder / MANIFEST).exists():
        with atomic_file(folder / MANIFEST) as fresh:  # so that no stage reads the whole dataset again
            shutil.copyfile(manifest, fresh)
    write_json(folder / job.record, job.about)
    for name, source in job.inputs.items():
        link = folder / name
        if not link.is_symlink():
            # Relative, so that the study can be moved.
            link.symlink_to(os.path.relpath(context.study_dir / source / name, folder), target_is_directory=True)


def _run_stages(context: Context, job: Job, folder: Path) -> None:
    method: dict[str, Any] = {} if job.method is None else {"method": job.method}
    run_pipeline(
        str(context.bundle),
        str(folder),
        str(context.dataset_dir),
        stages=job.stages,
        overlay=context.overlays,
        **method,
        **job.overrides,
    )


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Add to a file what this process and those it starts print."""
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    with path.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            for stream in kept:
                os.dup2(file.fileno(), stream)
            yield
        except Exception as error:
            if isinstance(error, InputError):
                print(f"error: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            raise
        finally:
            for stream, before in kept.items():
                os.dup2(before, stream)
                os.close(before)
