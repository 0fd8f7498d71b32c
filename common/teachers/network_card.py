"""What the record of a training says of a network that becomes a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from common.teachers.cards import DATASETS, Card


def network_card(network: nn.Module, record: Mapping[str, Any]) -> Card | None:
    """Return the card of a network that was trained here, by the provenance of its weights; None where it has none.

    What its own teacher was trained on counts as well, as far as that is known.
    """
    dataset, phantoms = record.get("dataset"), record.get("phantoms")
    if dataset is None or phantoms is None:
        return None
    title = DATASETS.get(dataset, "one's own")
    trained_on = f"phantoms, drawn in the layout of {title} images" if phantoms else f"{title} images"
    teacher, before = record.get("teacher"), record.get("teacher_card") or {}
    if teacher:
        trained_on += f", by a teacher made of {teacher}"
        trained_on += f", which was trained on {before['trained_on']}" if before.get("trained_on") else ""
    own = () if phantoms or dataset not in DATASETS else (dataset,)
    alone = "teacher" in record and not teacher and record.get("initial") is None
    count = sum(parameter.numel() for parameter in network.parameters())
    return Card(
        name=f"the {type(network).__name__} of an earlier training",
        licence="of whoever trained it, and of its data",
        parameters=f"{count / 1e6:.1f} million" if count > 1e5 else f"{count:,}",
        trained_on=trained_on,
        overlap="the record of that training says nothing of other images",
        source="the provenance of its weights",
        datasets=tuple(dict.fromkeys((*own, *before.get("datasets", ())))),
        is_complete=dataset in DATASETS and (alone or bool(before.get("is_complete"))),
    )
