"""The model card of a release, ``docs/README.md``: what the student is, what it learned from, and how to run it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from torch import nn

from common.release.configs import rename
from common.release.evidence import NO_TEACHER, STAND_IN, UNKNOWN, Evidence
from common.release.metadata import describe_network, origin

_WIDTH = 120
_KEPT_SECTIONS = ("Data", "Preprocessing", "Intended use", "References", "License")
# Sentences of the source's page about what stays behind.
_ELSEWHERE = re.compile(
    r"python -m common|`cpu\.yaml`|for distillation they|the teacher need be|every stage", re.IGNORECASE
)
_TRAINING_KEYS = {
    "num_labels": "labelled training images",
    "num_validation": "images that chose the best weights",
    "split_seed": "seed of the split",
    "seed": "seed of the training",
    "patch_size": "pixels a side of what it saw",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "epochs": "epochs of fine-tuning",
    "task": "task",
    "annotator": "annotator",
    "modality": "modality",
}


def model_card(
    page: str,
    metadata: Mapping[str, Any],
    evidence: Evidence,
    network: nn.Module,
    settings: Mapping[str, Any],
    name: str,
    trained_on: str | None = None,
) -> str:
    """Return the text of the card.

    Args:
        page: the page of the source bundle.
        metadata: of the release.
        evidence: what is known of the student.
        network: the student.
        settings: keys that the release sets in its configs.
        name: of the release's folder.
        trained_on: what the user says that the student was trained on.
    """
    sections = _sections(page)
    parts = [f"# {metadata['name']}", "## Description", _fill(_description(metadata, evidence, network))]
    parts += ["## Training", _training(metadata, evidence, settings, trained_on)]
    parts += ["## Performance", _performance(evidence)]
    parts += [f"## Data\n{_here(sections['Data'])}", f"## Preprocessing\n{_here(sections['Preprocessing'])}"]
    parts += ["## Network", _fill(_network(metadata, network)), "## How to run it", _usage(metadata, name)]
    parts += [f"## {title}\n{_here(sections[title])}" for title in _KEPT_SECTIONS[2:] if title in sections]
    return "\n".join(parts).rstrip() + "\n"


def missing_sections(page: str) -> list[str]:
    """Return the sections that a source's page lacks for a card to be made of it."""
    return [title for title in _KEPT_SECTIONS if title not in _sections(page)]


def _sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$\n", page, flags=re.MULTILINE)
    return {title: text.strip("\n") + "\n" for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def _here(text: str) -> str:
    """Return a section without sentences about what stays behind."""
    kept = []
    for block in re.split(r"\n\n", text.strip("\n")):
        if block.startswith("```") or not _ELSEWHERE.search(block):
            kept.append(block)
            continue
        items = [item for part in re.split(r"\n(?=- )", block) if (item := _without_elsewhere(part))]
        if items:
            kept.append("\n".join(items))
    return rename("\n\n".join(kept)) + "\n"


def _without_elsewhere(paragraph: str) -> str:
    if not _ELSEWHERE.search(paragraph):
        return paragraph
    sentences = re.split(r"(?<=[.;:])\s+(?=[A-Z`])", " ".join(paragraph.split()))
    rest = " ".join(sentence for sentence in sentences if not _ELSEWHERE.search(sentence))
    bullet = "- " if paragraph.startswith("- ") else ""
    if rest.strip(" -*.") == "" or re.fullmatch(r"- \*\*[^*]*\*\*", rest):
        return ""
    return textwrap.fill(rest, _WIDTH, subsequent_indent="  " if bullet else "")


def _fill(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _description(metadata: Mapping[str, Any], evidence: Evidence, network: nn.Module) -> str:
    what = f"{describe_network(network)}, {origin(evidence)}, and fine-tuned on labelled images. {metadata['task']}."
    if evidence.teacher not in (NO_TEACHER, UNKNOWN) and evidence.method == "task_specific_kd":
        what += (
            ' It was made by the method of "Task-Specific Knowledge Distillation from the Vision Foundation Model for '
            'Enhanced Medical Image Segmentation" (arXiv 2503.06976): a teacher that was fine-tuned on few labelled '
            "images taught the student on images drawn by a diffusion model."
        )
    return what


def _training(
    metadata: Mapping[str, Any], evidence: Evidence, settings: Mapping[str, Any], trained_on: str | None
) -> str:
    data = {
        True: f"**phantoms**: images drawn by a program in the layout of {metadata['data_source']}, none of a patient. "
        "The student is of no use on real images",
        False: f"{metadata['data_source']}: which of its images is in the table, as far as it was recorded",
        None: f"images in the layout of {metadata['data_source']}; whether they were real, or **phantoms** drawn by a "
        "program, was not recorded",
    }[evidence.trained_on_phantoms]
    if trained_on:
        data = f"{trained_on} (as stated by whoever released it)" + (
            f"; {data}" if evidence.trained_on_phantoms else ""
        )
    teachers = {
        STAND_IN: (
            "**a stand-in**: the miniature of a Segment Anything Model that ships with the project this student was "
            "made by. It was pre-trained on procedural shapes alone. No published foundation model was involved, so "
            "that this student does not show what one would be worth"
        ),
        NO_TEACHER: "none",
        UNKNOWN: "unknown: it was not recorded where the student was trained",
    }
    lines = [
        _fill(f"- **Data**: {data}."),
        _fill(f"- **Teacher**: {teachers.get(evidence.teacher, evidence.teacher)}."),
    ]
    known = {**settings, **evidence.training}
    rows = [(label, known[key]) for key, label in _TRAINING_KEYS.items() if key in known]
    if not evidence.training:
        lines.append("- The settings of the fine-tuning were not recorded; the table has those of the evaluation.\n")
    shown = [f"| {label} | {'all' if value is None else value} |" for label, value in rows]
    return "".join(lines) + "\n| setting | value |\n| --- | --- |\n" + "\n".join(shown) + "\n"


def _performance(evidence: Evidence) -> str:
    summary = evidence.summary
    unit = summary.get("distance_unit", "px")
    measured = summary["metrics"]
    kind = {
        True: "phantoms, which are drawn by a program and no patient's",
        False: "held-out cases",
        None: "held-out cases (whether real ones or phantoms, drawn by a program, was not recorded)",
    }[evidence.phantoms]
    lines = [
        _fill(
            f"Measured on {summary['cases']} {kind}: mean ± standard deviation over cases, with the 95 % bootstrap "
            "interval of the mean."
        ),
        f"| | Dice | IoU | HD95 ({'pixels' if unit == 'px' else unit}) |\n| --- | --- | --- | --- |",
    ]
    for label in measured["dice"]:
        cells = [_cell(measured[name][label], digits) for name, digits in (("dice", 3), ("iou", 3), ("hd95", 1))]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    note = [f"{label} ({entry['undefined']})" for label, entry in measured["hd95"].items() if entry.get("undefined")]
    if note:
        lines += [
            "",
            _fill(f"Cases without a distance, since prediction or label is empty: {', '.join(note)}.").rstrip(),
        ]
    return "\n".join(lines) + "\n"


def _cell(entry: Mapping[str, Any], digits: int) -> str:
    if entry["mean"] is None:
        return "undefined"
    low, high = entry["ci95"]
    return f"{entry['mean']:.{digits}f} ± {entry['sd']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _network(metadata: Mapping[str, Any], network: nn.Module) -> str:
    image = metadata["network_data_format"]["inputs"]["image"]
    pred = metadata["network_data_format"]["outputs"]["pred"]
    height, width = image["spatial_shape"]
    if isinstance(height, int):
        sizes, agree = f"of {height} x {width} pixels", "batches of any size"
    else:
        sizes = f"of {height} x {width} pixels for any n"
        agree = "batches and images of any size that the network takes"
    classes = ", ".join(f"{index} {name}" for index, name in pred["channel_def"].items())
    return (
        f"Input `(B, {image['num_channels']}, W, H)` in [0, 1] {sizes}; output logits "
        f"`(B, {pred['num_channels']}, W, H)`, one channel for each class: {classes}. `models/model.pt` is a PyTorch "
        "state dict, `models/model.ts` TorchScript and `models/model.onnx` ONNX of the same network: they agree to "
        f"1e-4, for {agree}."
    )


def _usage(metadata: Mapping[str, Any], name: str) -> str:
    packages = {"monai": metadata["monai_version"], "torch": metadata["pytorch_version"]}
    packages |= metadata["required_packages_version"]
    pinned = " ".join(f"{package}=={version}" for package, version in packages.items())
    return f"""With MONAI alone, in this folder:

```
pip install {pinned}
python -m monai.bundle run --config_file configs/inference.yaml --dataset_dir images --output_dir masks
python -m monai.bundle run --config_file configs/train.yaml --dataset_dir /data/mine --output_dir runs/mine
python -m monai.bundle run --config_file configs/evaluate.yaml --dataset_dir /data/mine --output_dir runs/mine
```

The second command writes a mask for each image, the third one goes on from `models/model.pt` with your own labelled
images in the layout of the dataset, and needs no teacher; lay `configs/cpu.yaml` on it where there is no GPU. The last
one needs SciPy as well. Where tqdm or TensorBoard is missing, progress bars or its files are left out.

In Python, with this folder on the path for modules (`PYTHONPATH`), since its code is in `scripts/`:

```
network = monai.bundle.load("{name}", bundle_dir="<the folder that this one is in>")
```

In MONAI Label, copy this folder into `model/` of its `monaibundle` app:

```
mkdir -p apps/monaibundle/model
cp -r {name} apps/monaibundle/model/
MONAI_LABEL_RELOAD_APP_LIB=false monailabel start_server --app apps/monaibundle --studies images \\
    --conf models {name} --conf zoo_source github --conf sam2 false
```

The variable in front lets it serve several requests at once; a server of several releases has to go without it.

`configs/train.json` and `configs/inference.json` say the same as the YAML files, for tools that read JSON alone or
first, as `monai.bundle.load` and MONAI Label do. Whoever changes the YAML should delete them, or change them alike.
"""
