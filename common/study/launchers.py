"""Where the parts of a study run: one after the other on this machine, or as tasks on a Ray cluster."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files.atomic import replace_file
from common.pipeline.run import run_pipeline
from common.study.plan import Part
from common.study.progress import Outcome, Progress
from common.study.record import RECORD

logger = logging.getLogger(__name__)

_OUTPUT = "output.log"
_MAX_RETRIES = 5  # of a task whose process or node is lost; a stage that fails is not repeated
_OF_NO_FURTHER_USE = ("checkpoints", "teacher_cache")  # of a finished part, and larger than all the rest


@dataclass(frozen=True)
class Job:
    """What all parts of a study have in common.

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


def run_part(job: Job, part: Part) -> Outcome:
    """Run what is left of a part, with all it prints in ``output.log`` in its folder.

    Whatever goes wrong is in the outcome and in the log, since other parts can do without this one.
    """
    started = time.monotonic()
    folder = job.study_dir / part.name
    log = folder / _OUTPUT
    read = log.stat().st_size if log.exists() else 0
    failure = None
    try:
        _prepare(job, part, folder)
        with _output_to(log):
            _run_stages(job, part, folder)
        for name in _OF_NO_FURTHER_USE:
            shutil.rmtree(folder / name, ignore_errors=True)
    except Exception as error:
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        failure = f"failed: {_cause(log, read) or said}; see {log}"
    return Outcome(part.name, time.monotonic() - started, failure)


def run_locally(job: Job, parts: Sequence[Part], progress: Progress) -> list[Outcome]:
    """Run parts one after the other on this machine; one that fails stops only those that need it."""
    outcomes: dict[str, Outcome] = {}
    for part in parts:
        progress.start(part)
        failed = _failed_input(part, outcomes)
        outcomes[part.name] = Outcome.not_run(part.name, failed) if failed else run_part(job, part)
        progress.end(outcomes[part.name])
    return list(outcomes.values())


def run_on_ray(
    job: Job, parts: Sequence[Part], progress: Progress, num_cpus: float = 1, num_gpus: float | None = None
) -> list[Outcome]:
    """Run parts as tasks on a Ray cluster, each as soon as what it needs is there.

    The cluster is the one that ``RAY_ADDRESS`` names or that runs on this machine; without one, this machine becomes
    one. A task whose node is lost goes on elsewhere from what it left in the study's folder, which all nodes share.

    Args:
        job: what the parts have in common.
        parts: in an order in which each comes after what it needs.
        progress: is told of what ends.
        num_cpus: cores for each task.
        num_gpus: GPUs for each task, or a fraction of one; by default one where the cluster has any.

    Raises:
        InputError: if Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("--launcher ray needs Ray: pip install 'task-specific-distillation[ray]'") from error
    connected = ray.is_initialized()
    if not connected:
        try:
            ray.init(include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise InputError(f"--launcher ray: the cluster does not answer ({error}); see RAY_ADDRESS") from error
    try:
        resources = ray.cluster_resources()
        if num_gpus is None:
            num_gpus = 1 if resources.get("GPU", 0) >= 1 else 0
        progress.slots = _slots(resources, num_cpus, num_gpus)
        if not any(node["Alive"] and _slots(node["Resources"], num_cpus, num_gpus) for node in ray.nodes()):
            logger.warning(f"no node has {num_cpus:g} cores and {num_gpus:g} GPUs yet: waiting until one joins")
        task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=_MAX_RETRIES)(_run_task)
        references: dict[str, ray.ObjectRef] = {}
        for part in parts:
            needed = [references[name] for name in part.inputs.values() if name in references]
            references[part.name] = task.options(name=part.name).remote(job, part, *needed)
        names = {reference: name for name, reference in references.items()}
        outcomes = []
        while names:
            [ready], _ = ray.wait(list(names), num_returns=1)
            name = names.pop(ready)
            try:
                outcome = ray.get(ready)
            except ray.exceptions.RayError as error:  # its process or node was lost too often
                outcome = Outcome(name, 0, f"failed: {str(error).splitlines()[0]}")
            outcomes.append(outcome)
            progress.end(outcome)
        return outcomes
    finally:
        if not connected:
            ray.shutdown()


def _run_task(job: Job, part: Part, *needed: Outcome) -> Outcome:
    failed = _failed_input(part, {outcome.part: outcome for outcome in needed})
    return Outcome.not_run(part.name, failed) if failed else run_part(job, part)


def _slots(resources: Mapping[str, float], num_cpus: float, num_gpus: float) -> int:
    """Return how many tasks a cluster or node has room for."""
    wanted = {"CPU": num_cpus, "GPU": num_gpus}
    return int(min(resources.get(name, 0) / number for name, number in wanted.items() if number > 0))


def _failed_input(part: Part, outcomes: Mapping[str, Outcome]) -> str | None:
    return next((name for name in part.inputs.values() if name in outcomes and outcomes[name].failure), None)


def _prepare(job: Job, part: Part, folder: Path) -> None:
    """Make the folder of a part, with what it takes from others in it."""
    if not (job.study_dir / RECORD).is_file():
        raise InputError(
            f"{platform.node()} does not see the study in {job.study_dir}: all nodes of a cluster must share it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / part.record) as fresh:
        fresh.write_text(json.dumps(part.about, indent=2) + "\n", encoding="utf-8")
    for name, source in part.inputs.items():
        link = folder / name
        if not link.is_symlink():
            # Relative, so that the study can be moved.
            link.symlink_to(os.path.relpath(job.study_dir / source / name, folder), target_is_directory=True)


def _run_stages(job: Job, part: Part, folder: Path) -> None:
    method = {"method": part.method} if "distill" in part.stages else {}
    run_pipeline(
        str(job.bundle),
        str(folder),
        str(job.dataset_dir),
        stages=part.stages,
        overlay=job.overlays,
        **method,
        **part.overrides,
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
            if not isinstance(error, InputError):  # which says all there is to say
                traceback.print_exc()
            raise
        finally:
            for stream, before in kept.items():
                os.dup2(before, stream)
                os.close(before)


def _cause(log: Path, start: int) -> str | None:
    """Return the last error that a log shows from a byte on, if it shows any."""
    if not log.is_file():
        return None
    lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else None
