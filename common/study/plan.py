"""What a study consists of: the runs of its grid, and the jobs whose results they share.

The protocol decides what can be shared. A label budget of N is N training images for every stage, the diffusion
model included, though it takes no labels: as for a laboratory that has no more images. So each label budget and seed
has a diffusion model and a transfer set of its own, which all methods and LoRA ranks share, and which is drawn without
a teacher, since a student that has none must get the same images. Images that are drawn with their labels are a
transfer set of their own. A smaller transfer set is the beginning of the largest one, repeated to its length, so that
students of all sizes take as many steps. A fine-tuned teacher is shared by all sizes. What other methods learn from the
transfer set and the labelled images belongs to one run and is not shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.distillation.methods import METHODS, Method
from common.pipeline.stages import STAGES, stages_of

_STUDENT_STAGES = ("distill", "train", "evaluate")


@dataclass(frozen=True)
class Grid:
    """The values that are combined into runs.

    Attributes:
        methods: some of ``METHODS``.
        labels: numbers of labelled training images.
        transfer_sizes: numbers of synthetic images; for methods that use them.
        lora_ranks: ranks of the teacher's adapter; for methods with a fine-tuned teacher.
        seeds: each of the split and of all training.
        num_images: synthetic images to draw, no fewer than the largest of ``transfer_sizes``.
    """

    methods: Sequence[str]
    labels: Sequence[int]
    transfer_sizes: Sequence[int]
    lora_ranks: Sequence[int]
    seeds: Sequence[int]
    num_images: int


@dataclass(frozen=True)
class Job:
    """Some stages of the pipeline in a folder of their own: a run of the grid, or what runs share.

    Attributes:
        name: its folder in the study.
        stages: the pipeline's stages, in order.
        results: those whose artefacts make it finished; the others' may be deleted after that.
        about: what the record in its folder says of it.
        overrides: keys of the stages, with their values.
        inputs: job by the name of what is taken from it, which is a folder of either.
        method: how the student is prepared; None where no student is.
    """

    name: str
    stages: tuple[str, ...]
    results: tuple[str, ...]
    about: Mapping[str, Any]
    overrides: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    method: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is a run of the grid."""
        return self.method is not None

    @property
    def record(self) -> str:
        """Name of the file in its folder that says what it is."""
        return "run.json" if self.is_run else "shared.json"

    def finished(self, study_dir: Path) -> bool:
        """Say whether it has all its results."""
        return all((study_dir / self.name / STAGES[stage]).exists() for stage in self.results)

    def stages_left(self, study_dir: Path) -> list[str]:
        """Return the stages that still have to run."""
        if self.finished(study_dir):
            return []
        return [stage for stage in self.stages if not (study_dir / self.name / STAGES[stage]).exists()]


def make_plan(grid: Grid) -> list[Job]:
    """Return the jobs of a study in an order in which each comes after what it takes from others.

    All methods of one seed and label budget follow each other, so that a study that is stopped early can be compared.
    """
    jobs: dict[str, Job] = {}
    for seed in grid.seeds:
        for num_labels in grid.labels:
            for run in _runs(grid, num_labels, seed):
                for shared in _shared_jobs(run, grid.num_images):
                    jobs.setdefault(shared.name, shared)
                jobs[run.name] = run
    return list(jobs.values())


def jobs_left(jobs: Sequence[Job], study_dir: Path) -> list[Job]:
    """Return the jobs that still have to run; a transfer set only if some run still needs it."""
    unfinished = [job for job in jobs if not job.finished(study_dir)]
    needed = {name for job in unfinished for name in job.inputs.values()}
    # A teacher is a result of its own: the report compares the student with it.
    return [job for job in unfinished if job.is_run or job.name in needed or "evaluate_teacher" in job.stages]


def _runs(grid: Grid, num_labels: int, seed: int) -> list[Job]:
    return [
        _run(method, num_labels, size, rank, seed, grid.num_images)
        for method in (METHODS[name] for name in grid.methods)
        for size in (grid.transfer_sizes if method.transfer_set else (None,))
        for rank in (grid.lora_ranks if method.teacher == "fine_tuned" else (None,))
    ]


def _run(method: Method, num_labels: int, size: int | None, rank: int | None, seed: int, num_images: int) -> Job:
    overrides = _budget(num_labels, seed)
    inputs = {}
    if size is not None:
        # Equal steps: a smaller transfer set is repeated to the length of all that is drawn. The largest one is all
        # there is, which is less where too many samples were dropped, as with a handful of training images.
        length = num_images if method.labelled_share else 2 * num_images  # as many as with labelled images beside
        overrides |= {"num_transfer": size if size < num_images else None, "transfer_length": length}
        drawn = "pairs" if method.with_labels else "diffusion"
        inputs["transfer"] = f"shared/{drawn}_{num_labels}labels_seed{seed}"
    if method.beyond_budget:
        overrides["unlabelled_length"] = num_images  # as many steps again
    if method.labelled_share == 1:
        overrides["labelled_length"] = 2 * num_images  # and again
    if rank is not None:
        inputs["teacher"] = f"shared/teacher_{num_labels}labels_rank{rank}_seed{seed}"
    words = [method.name, f"{num_labels}labels", size and f"{size}images", rank and f"rank{rank}", f"seed{seed}"]
    return Job(
        name="runs/" + "_".join(word for word in words if word),
        stages=tuple(stage for stage in stages_of(method) if stage in _STUDENT_STAGES),
        results=("evaluate",),
        about={
            "method": method.name,
            "num_labels": num_labels,
            "transfer_size": size,
            "lora_rank": rank,
            "seed": seed,
        },
        overrides=overrides,
        inputs=inputs,
        method=method.name,
    )


def _shared_jobs(run: Job, num_images: int) -> list[Job]:
    """Return the jobs that a run takes something from."""
    num_labels, rank, seed = (run.about[key] for key in ("num_labels", "lora_rank", "seed"))
    budget = _budget(num_labels, seed)
    known: dict[str, dict[str, Any]] = {
        "transfer": {
            "stages": ("train_diffusion", "synthesize"),
            "results": ("synthesize",),
            "about": {"num_labels": num_labels, "num_images": num_images, "seed": seed},
            "overrides": {**budget, **_drawn_with(run), "num_images": num_images, "teacher": None},
        },
        "teacher": {
            "stages": ("finetune_teacher", "evaluate_teacher"),
            "results": ("finetune_teacher", "evaluate_teacher"),
            "about": {"num_labels": num_labels, "lora_rank": rank, "seed": seed},
            "overrides": {**budget, "lora_rank": rank},
        },
    }
    return [Job(name=name, **known[kind]) for kind, name in run.inputs.items()]


def _drawn_with(run: Job) -> dict[str, Any]:
    """Return what the diffusion model of a run draws beside images."""
    return {"with_labels": True} if METHODS[run.about["method"]].with_labels else {}


def _budget(num_labels: int, seed: int) -> dict[str, Any]:
    return {"num_labels": num_labels, "seed": seed, "split_seed": seed}
