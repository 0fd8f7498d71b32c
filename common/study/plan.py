"""What a study consists of: the cells of its grid, and what they share.

The protocol decides what can be shared. A label budget of N is N training images for every stage, the diffusion
model included, though it takes no labels: as for a laboratory that has no more images. So each label budget and seed
has a diffusion model and a transfer set of its own, which all methods and LoRA ranks share, and which is drawn without
a teacher, since a student that has none must get the same images. A smaller transfer set is the beginning of the
largest one, repeated to its length, so that students of all sizes take as many steps. A fine-tuned teacher is shared by
all sizes. The other four methods learn from the transfer set and from the labelled images, so that their pre-training
belongs to one cell and is not shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.pipeline import stages
from common.pipeline.stages import STAGES

# What a student of each method learns from before it is fine-tuned on the labelled images.
_MADE_BY = {"transfer": "synthesize", "teacher": "finetune_teacher"}
METHODS: dict[str, tuple[str, ...]] = {
    method: tuple(name for name, stage in _MADE_BY.items() if stage not in needless)
    for method, needless in stages.METHODS.items()
} | {"unet": ()}

# The reference line, of 1.6 million parameters: an ordinary network, trained like the students' fine-tuning.
UNET = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": "@in_channels",
    "out_channels": "@num_classes",
    "channels": [16, 32, 64, 128, 256],
    "strides": [2, 2, 2, 2],
    "num_res_units": 2,
}


@dataclass(frozen=True)
class Grid:
    """The values that are combined into cells.

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
class Part:
    """Some stages of the pipeline in a folder of their own: a cell of the grid, or what cells share.

    Attributes:
        name: its folder in the study.
        stages: the pipeline's stages, in order.
        results: those whose artefacts make it finished; the others' may be deleted after that.
        record: name of the file that says what it is.
        about: what that file says.
        overrides: keys of the stages, with their values.
        inputs: part by the name of what is taken from it, which is a folder of either.
        method: how the student is prepared; None where no student is.
    """

    name: str
    stages: tuple[str, ...]
    results: tuple[str, ...]
    record: str
    about: Mapping[str, Any]
    overrides: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    method: str | None = None

    @property
    def is_cell(self) -> bool:
        """Whether it is a cell of the grid."""
        return self.name.startswith("cells/")

    def finished(self, study_dir: Path) -> bool:
        """Say whether it has all its results."""
        return all((study_dir / self.name / STAGES[stage]).exists() for stage in self.results)

    def stages_left(self, study_dir: Path) -> list[str]:
        """Return the stages that still have to run."""
        if self.finished(study_dir):
            return []
        return [stage for stage in self.stages if not (study_dir / self.name / STAGES[stage]).exists()]


def make_plan(grid: Grid) -> list[Part]:
    """Return the parts of a study in an order in which each comes after what it takes from others.

    All methods of one seed and label budget follow each other, so that a study that is stopped early can be compared.
    """
    parts: dict[str, Part] = {}
    for seed in grid.seeds:
        for num_labels in grid.labels:
            for cell in _cells(grid, num_labels, seed):
                for shared in _shared_parts(cell, grid.num_images):
                    parts.setdefault(shared.name, shared)
                parts[cell.name] = cell
    return list(parts.values())


def parts_left(parts: Sequence[Part], study_dir: Path) -> list[Part]:
    """Return the parts that still have to run; a transfer set only if some cell still needs it."""
    unfinished = [part for part in parts if not part.finished(study_dir)]
    needed = {name for part in unfinished for name in part.inputs.values()}
    # A teacher is a result of its own: the report compares the student with it.
    return [part for part in unfinished if part.is_cell or part.name in needed or "evaluate_teacher" in part.stages]


def _cells(grid: Grid, num_labels: int, seed: int) -> list[Part]:
    cells = []
    for method in grid.methods:
        for size in grid.transfer_sizes if "transfer" in METHODS[method] else (None,):
            for rank in grid.lora_ranks if "teacher" in METHODS[method] else (None,):
                cells.append(_cell(method, num_labels, size, rank, seed, grid.num_images))
    return cells


def _cell(method: str, num_labels: int, size: int | None, rank: int | None, seed: int, num_images: int) -> Part:
    overrides = _budget(num_labels, seed)
    if size is not None:
        # Equal steps: a smaller transfer set is repeated to the length of all that is drawn.
        overrides |= {"num_transfer": size, "transfer_length": num_images}
    stages: tuple[str, ...] = ("distill", "train", "evaluate")
    if method == "unet":
        stages = ("train", "evaluate")
        overrides |= {"network_def": UNET, "initial_weights": None}
    inputs = {}
    if "transfer" in METHODS[method]:
        inputs["transfer"] = f"shared/diffusion_{num_labels}labels_seed{seed}"
    if "teacher" in METHODS[method]:
        inputs["teacher"] = f"shared/teacher_{num_labels}labels_rank{rank}_seed{seed}"
    labelled = [method, f"{num_labels}labels", size and f"{size}images", rank and f"rank{rank}", f"seed{seed}"]
    return Part(
        name="cells/" + "_".join(word for word in labelled if word),
        stages=stages,
        results=("evaluate",),
        record="cell.json",
        about={
            "method": method,
            "num_labels": num_labels,
            "transfer_size": size,
            "lora_rank": rank,
            "seed": seed,
        },
        overrides=overrides,
        inputs=inputs,
        method=method,
    )


def _shared_parts(cell: Part, num_images: int) -> list[Part]:
    """Return what a cell takes from elsewhere."""
    num_labels, rank, seed = (cell.about[key] for key in ("num_labels", "lora_rank", "seed"))
    budget = _budget(num_labels, seed)
    known = {
        "transfer": {
            "stages": ("train_diffusion", "synthesize"),
            "results": ("synthesize",),
            "record": "transfer.cell.json",
            "about": {"num_labels": num_labels, "num_images": num_images, "seed": seed},
            "overrides": {**budget, "num_images": num_images, "teacher": None},
        },
        "teacher": {
            "stages": ("finetune_teacher", "evaluate_teacher"),
            "results": ("finetune_teacher", "evaluate_teacher"),
            "record": "teacher.cell.json",
            "about": {"num_labels": num_labels, "lora_rank": rank, "seed": seed},
            "overrides": {**budget, "lora_rank": rank},
        },
    }
    return [Part(name=name, **known[kind]) for kind, name in cell.inputs.items()]


def _budget(num_labels: int, seed: int) -> dict[str, Any]:
    return {"num_labels": num_labels, "seed": seed, "split_seed": seed}
