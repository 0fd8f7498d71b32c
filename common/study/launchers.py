"""Where the jobs of a study run: one after the other on this machine, or as tasks on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from common.errors import InputError
from common.study.job_run import Context, run_job
from common.study.plan import Job
from common.study.progress import Outcome, Progress

logger = logging.getLogger(__name__)

_MAX_RETRIES = 5  # of a task whose process or node is lost; a stage that fails is not repeated


def run_locally(context: Context, jobs: Sequence[Job], progress: Progress) -> list[Outcome]:
    """Run jobs one after the other on this machine; one that fails stops only those that need it."""
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        progress.start(job)
        failed = _failed_input(job, outcomes)
        outcomes[job.name] = Outcome.not_run(job.name, failed) if failed else run_job(context, job)
        progress.end(outcomes[job.name])
    return list(outcomes.values())


def run_on_ray(
    context: Context, jobs: Sequence[Job], progress: Progress, num_cpus: float = 1, num_gpus: float | None = None
) -> list[Outcome]:
    """Run jobs as tasks on a Ray cluster, each as soon as what it needs is there.

    The cluster is the one that ``RAY_ADDRESS`` names or that runs on this machine; without one, this machine becomes
    one. A task whose node is lost continues on another one, from what it left in the shared study folder.

    Args:
        context: what the jobs have in common.
        jobs: in an order in which each comes after what it needs.
        progress: reports what has ended.
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
        for job in jobs:
            needed = [references[name] for name in job.inputs.values() if name in references]
            references[job.name] = task.options(name=job.name).remote(context, job, *needed)
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


def _run_task(context: Context, job: Job, *needed: Outcome) -> Outcome:
    failed = _failed_input(job, {outcome.job: outcome for outcome in needed})
    return Outcome.not_run(job.name, failed) if failed else run_job(context, job)


def _slots(resources: Mapping[str, float], num_cpus: float, num_gpus: float) -> int:
    """Return how many tasks a cluster or node has room for."""
    wanted = {"CPU": num_cpus, "GPU": num_gpus}
    return int(min(resources.get(name, 0) / number for name, number in wanted.items() if number > 0))


def _failed_input(job: Job, outcomes: Mapping[str, Outcome]) -> str | None:
    return next((name for name in job.inputs.values() if name in outcomes and outcomes[name].failure), None)
