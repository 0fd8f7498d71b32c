"""Write docs/keys.md, the table of the keys of all stages, from the bundles' configs: python ci/keys_page.py

A key's meaning is the comment behind it in the configs, or what is said here of keys that need none there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from common.commands.config_keys import read_keys  # noqa: E402 the package may not be installed

PAGE = ROOT / "docs" / "keys.md"
STAGES = ("finetune_teacher", "train_diffusion", "synthesize", "distill", "train", "evaluate", "inference")
FIRST = "ph2_segmentation"  # whose values are shown where a bundle has a key
MEANINGS = {
    "bundle_root": "the folder of the bundle",
    "dataset_dir": "the dataset, or for inference a folder of images",
    "output_dir": "the folder of the run",
    "device": "`cuda`, `cuda:1` or `cpu`",
    "amp": "train in bfloat16 on a GPU",
    "channels_last": "keep channels last in memory, which is faster on a GPU",
    "seed": "of weights, augmentation and noise",
    "split_seed": "of the split of the images",
    "pretrained": "the foundation model: a hub id, a folder, a file, `lite_medsam` or `embedded`",
    "in_channels": "channels of an image: 3 for colour, 1 for grey",
    "num_classes": "classes, the background included",
    "lora_rank": "rank of the matrices that LoRA adds",
    "batch_size": "images in a step",
    "samples_per_epoch": "images in an epoch, by repeating those that there are",
    "epochs": "how often that many are seen",
    "val_interval": "epochs from one validation to the next",
    "learning_rate": "the highest, reached after a warm-up and followed by a cosine",
    "num_workers": "processes that load images; 0 loads them in the process that trains",
    "sampler": "of the data loader; several GPUs set it",
    "diffusion_channels": "widths of the diffusion model, from the full size to an eighth of it",
    "diffusion_layers": "blocks at each of these sizes",
    "ema_momentum": "share that each step has in the averaged weights, which are kept",
    "num_images": "synthetic images to keep",
    "num_inference_steps": "network evaluations for each of them",
    "initial_weights": "what fine-tuning starts from; null starts from scratch",
    "ckpt_path": "the student's weights",
    "overlap": "of neighbouring windows, as a share of their side",
    "feature_pairs": "teacher layer to student layer, by module name",
    "student_def": "the student: any network of MONAI",
    "network_def": "the student: any network of MONAI",
    "classes": "their names, in the order of their ids",
    "image_shape": "channels, height and width that the student sees",
    "data": "the dataset, with its split",
    "teacher_def": "the teacher with its adapters",
    "network": "what is trained or run",
    "loss": "of the training",
    "optimizer": "of the training",
    "lr_scheduler": "of the learning rate",
    "settings": "what has to be the same for a run to be gone on with",
    "train": "data, trainer and handlers, each a key below it, such as `train::trainer::max_epochs`",
    "validate": "data, metrics and handlers of the validation",
    "training": "the training images that samples are compared with",
    "transfer": "what draws the transfer set",
    "diffusion_def": "the diffusion model",
    "noise_scheduler": "its noise",
    "ema": "the averaged weights",
    "pipeline": "the diffusion model, as it is loaded",
    "teacher": "the fine-tuned teacher, as it is loaded; null where none is needed",
    "teacher_transform": "what a sample goes through before the teacher sees it",
    "teacher_hooks": "on the layers that are compared",
    "student_hooks": "on the layers that are compared",
    "frozen_teacher": "the teacher as distillation sees it",
    "provenance": "what the weights were made of, for the record",
    "recipe": "what the weights need to be used, for the record",
    "student": "the network with its first weights",
    "images": "the files to segment",
    "preprocessing": "transforms before the network",
    "dataset": "of the files",
    "dataloader": "of the files",
    "inferer": "how the network is run on an image",
    "postprocessing": "transforms after the network",
    "handlers": "what is done in passing",
    "outcome": "what was written and left out, said at the end",
    "evaluator": "what runs it all",
    "checkpoint_path": "where the state of the training is kept; null neither saves nor resumes",
}
HEAD = """\
# Keys

Every key of every stage, with its value in the bundle of PH2 (or of those that have it) and what it means. Each can be
set from the command line, for all stages that have it or for one:

```
task-distill pipeline bundles/ph2_segmentation --dataset_dir /data/PH2 --output_dir runs/ph2 \\
    --learning_rate 0.001 --epochs_by_stage '{train: 40}'
```

A key below another is given with `::`, such as `--loss::terms::logits::weight 0`. Overlays (`cpu`, `demo`,
`multi_gpu`) set some of them. This page is written by `python ci/keys_page.py` from the configs.

## Values

"""
COMPONENTS = """
## Components

What is built from the values. An override takes their place as a whole, or changes one argument by `::`.

"""


class Row(NamedTuple):
    """What the page says of a key."""

    name: str
    value: str
    stages: list[str]
    meaning: str
    is_component: bool


def read_rows() -> list[Row]:
    """Return the keys in the order in which stages have them."""
    bundles = sorted((ROOT / "bundles").glob("*_segmentation"), key=lambda path: (path.name != FIRST, path.name))
    found: dict[str, tuple[str, dict[str, None], str]] = {}
    for bundle in bundles:
        for stage in STAGES:
            for key in read_keys(bundle / "configs" / f"{stage}.yaml"):
                value, stages, meaning = found.setdefault(key.name, (key.value, {}, ""))
                stages[stage] = None
                if not meaning and not key.comment.startswith("as in"):
                    found[key.name] = (value, stages, key.comment)
    rows = []
    for name, (value, stages, comment) in found.items():
        ordered = [stage for stage in STAGES if stage in stages]
        is_component = value.startswith(("{_target_", "{files", "{preprocessing", "{entries", "{transfer", "- {"))
        is_component |= name in ("network", "settings", "provenance", "recipe", "student", "pipeline", "teacher")
        rows.append(Row(name, value, ordered, comment or MEANINGS.get(name, ""), is_component))
    return rows


def make_page() -> str:
    """Return the page."""
    rows = read_rows()
    values = [(f"`{row.name}`", _shown(row), row.meaning, _stages(row)) for row in rows if not row.is_component]
    components = [(f"`{row.name}`", row.meaning, _stages(row)) for row in rows if row.is_component]
    return (
        HEAD
        + _table(["key", "value", "what it means", "stages"], values)
        + COMPONENTS
        + _table(["key", "what it is", "stages"], components)
    )


def _shown(row: Row) -> str:
    return "computed" if row.value.lstrip('"').startswith("$") else f"`{row.value}`"


def _stages(row: Row) -> str:
    return "all" if len(row.stages) == len(STAGES) else ", ".join(row.stages)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
