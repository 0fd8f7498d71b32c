"""What a bundle of one's own says of itself: its title, its metadata, and the sections of its page."""

from __future__ import annotations

from typing import Any

from common.creation.options import Options
from common.datasets.source import Source

_UNKNOWN = "not stated: fill in"
_MODALITIES = {1: ("grey", ["brightness"]), 3: ("RGB", ["R", "G", "B"])}


def make_words(options: Options, source: Source) -> dict[str, Any]:
    """Return the facts that are texts for people.

    Args:
        options: what the user said.
        source: of the dataset.
    """
    name = options.name
    title = options.title or f"{name.replace('_', ' ').capitalize()} segmentation"
    structures = list(source.classes[1:])
    listed = " and ".join([", ".join(structures[:-1]), structures[-1]] if len(structures) > 1 else structures)
    modality, channels = _MODALITIES[source.channels]
    kind = "volumes, slice by slice" if source.kind == "volumes" else "images"
    return {
        "title": title,
        "task": f"Segmentation of {listed} in {kind}",
        "segments": f"segments {listed} in {kind}",
        "dataset_title": f"{name} {'volumes' if source.kind == 'volumes' else 'images'}",
        "data_source": _UNKNOWN,
        "data_type": "nifti" if source.kind == "volumes" else "png",
        "image_classes": f"{modality} {'slice' if source.kind == 'volumes' else 'image'}, intensities scaled to [0, 1]",
        "image_modality": modality,
        "channels": channels,
        "reference": None,
        "authors": _UNKNOWN,
        "copyright": _UNKNOWN,
        "commands_section": _commands(name, source.kind == "volumes"),
        "data_section": _data_section(source),
        "preprocessing_section": _PREPROCESSING,
        "performance_section": (
            "Dice, IoU and the 95th percentile of the Hausdorff distance (pixels) are measured per class, in the "
            "image's own size."
        ),
        "data_license": (
            f"The images and labels of {name} are not part of this bundle.\n\n"
            "Owner and licence: not stated, fill in. Whoever is given a student that was trained on them must be\n"
            "allowed to have it.\n\n"
            "Any work that uses them cites: not stated, fill in.\n"
        ),
    }


def _commands(name: str, volumes: bool) -> str:
    what, folder = ("volume", "new_scans") if volumes else ("image", "new_photos")
    return f"""## Commands
In the folder above this one:

```
task-distill check {name}_segmentation
task-distill pipeline {name}_segmentation --output_dir runs/{name}
task-distill predict {folder}/ --weights runs/{name}/model.pt --output_dir new_masks/
```

`check` reads every image and label and says what is wrong with them. `pipeline` trains: teacher, transfer set, student.
`predict` writes a mask for each new {what}, and needs the weights alone.
"""


def _data_section(source: Source) -> str:
    names = ", ".join(f"{index} {name}" for index, name in enumerate(source.classes))
    where = f"`{source.images}`" + (f" and `{source.labels}`" if source.labels else "")
    split = "as `source::split` says" if source.split else "by seed (`split_seed`): a quarter for the test"
    patients = (
        "No patient is in two splits (`source::patient`)."
        if source.patient
        else "Patients are not known: images of one patient may be in two splits, which makes results look better than "
        "they are. `source::patient` would say them."
    )
    return f"""Images and labels of one's own: {where} in `dataset_dir`, read as `source` says.

Owner, licence and how to cite them are not stated: fill in `docs/data_license.txt`, and `data_source`, `authors` and
`copyright` in `configs/metadata.json`.

- **Classes.** {names}.
- **Split.** {split.capitalize()}; `num_validation` of the others choose the best weights.
  {patients}
- **Label budget.** `num_labels` keeps that many labelled training images.
"""


_PREPROCESSING = """Intensities are scaled to [0, 1]. Training varies images as far as it was said that they may vary:
`train::random_transforms` in `configs/train.yaml`.
"""
