"""What is public about each family's weights: licence, size, and what they were trained on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from common.teachers.base_names import STAND_IN

DATASETS = {
    "autooral": "Autooral",
    "busi": "BUSI",
    "chaos": "CHAOS",
    "drive": "DRIVE",
    "kidneyus": "KidneyUS",
    "ph2": "PH2",
}
"""The public datasets that a teacher may have seen, by their names in the registry: what they are called."""


@dataclass(frozen=True)
class Card:
    """What a user must know of weights before results with them are believed or shared.

    Args:
        name: what they are called.
        licence: of the weights, by its SPDX identifier if it has one.
        parameters: how many the whole model has.
        trained_on: as far as that is public.
        overlap: whether it may have seen the images at hand.
        source: page or paper that says so.
        datasets: those of ``DATASETS`` that are known to be in what it was trained on.
        is_complete: whether it is known that no other of them is in it.
        dataset: the one at hand, where :meth:`about` was told.
        seen: whether that one is in it: ``yes``, ``no`` or ``not known``; None where nobody was told which it is.
    """

    name: str
    licence: str
    parameters: str
    trained_on: str
    overlap: str
    source: str
    datasets: tuple[str, ...] = ()
    is_complete: bool = False
    dataset: str | None = None
    seen: str | None = None

    def about(self, dataset: str | None) -> Card:
        """Return the card with what is known of the dataset at hand; as it is for images of one's own."""
        if dataset not in DATASETS:
            return self
        title = DATASETS[dataset]
        if dataset in self.datasets:
            seen, overlap = "yes", f"{title} is in it: results on images of {title} may be too good"
        elif self.is_complete:
            seen, overlap = "no", f"{title} is not in it"
        else:
            seen, overlap = "not known", f"{self.overlap}; whether {title} is in it is not known"
        return replace(self, dataset=dataset, seen=seen, overlap=overlap)

    def __str__(self) -> str:
        size = f"{self.parameters} parameters"
        return f"{self.name} ({self.licence}, {size}) was trained on {self.trained_on}; {self.overlap}"

    def describe(self) -> dict[str, Any]:
        """Return the card as JSON has it."""
        return {**asdict(self), "datasets": list(self.datasets)}


_NO_MEDICAL_IMAGES = "no image of the medical datasets of this project is among them"
_OF_THE_WEB = "no list of them is public: medical images that are on the web may be among them"
_NOT_PUBLISHED = (
    "which images is not published in full: it may have seen those of any public dataset, PH2, BUSI, DRIVE and CHAOS "
    "included, and then does better on them than on a clinic's own"
)

CARDS = {
    "sam": Card(
        name="Segment Anything",
        licence="Apache-2.0",
        parameters="94 to 641 million",
        trained_on="SA-1B, 11 million photographs",
        overlap=_NO_MEDICAL_IMAGES,
        source="https://arxiv.org/abs/2304.02643",
        is_complete=True,
    ),
    "sam_hq": Card(
        name="SAM-HQ",
        licence="Apache-2.0",
        parameters="95 to 643 million",
        trained_on="SA-1B, 11 million photographs, then HQSeg-44K, 44 thousand images with fine masks",
        overlap="none of them is said to be medical",
        source="https://arxiv.org/abs/2306.01567",
    ),
    "sam2": Card(
        name="SAM 2",
        licence="Apache-2.0",
        parameters="39 to 224 million",
        trained_on="SA-V, 51 thousand videos, SA-1B, 11 million photographs, and videos that are not public",
        overlap="none of them is said to be medical",
        source="https://arxiv.org/abs/2408.00714",
    ),
    "medsam": Card(
        name="MedSAM",
        licence="Apache-2.0",
        parameters="94 million",
        trained_on="SA-1B, then 1.57 million medical images with masks from public datasets",
        overlap="the supplement of its paper lists them: results on images of one of them may be too good",
        source="https://doi.org/10.1038/s41467-024-44824-z",
    ),
    "mobile_sam": Card(
        name="MobileSAM",
        licence="Apache-2.0",
        parameters="9.8 million",
        trained_on="SAM's outputs for a hundredth of SA-1B's photographs",
        overlap=_NO_MEDICAL_IMAGES,
        source="https://arxiv.org/abs/2306.14289",
        is_complete=True,
    ),
    "efficient_sam": Card(
        name="EfficientSAM",
        licence="Apache-2.0",
        parameters="10 or 26 million",
        trained_on="ImageNet-1K's photographs, as SAM's encoder sees them, then SA-1B, 11 million photographs",
        overlap=_NO_MEDICAL_IMAGES,
        source="https://arxiv.org/abs/2312.00863",
        is_complete=True,
    ),
    "lite_medsam": Card(
        name="LiteMedSAM",
        licence="Apache-2.0",
        parameters="9.8 million",
        trained_on="medical images of the challenge Segment Anything in Medical Images on Laptop",
        overlap=_NOT_PUBLISHED,
        source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
    ),
    "dinov2": Card(
        name="DINOv2",
        licence="Apache-2.0",
        parameters="22 million to 1.1 billion",
        trained_on="LVD-142M, 142 million images of the web, without labels",
        overlap=_OF_THE_WEB,
        source="https://arxiv.org/abs/2304.07193",
    ),
    "dinov3": Card(
        name="DINOv3",
        licence="DINOv3 License",
        parameters="21 million to 6.7 billion",
        trained_on="LVD-1689M, 1.7 billion images of the web, without labels",
        overlap=_OF_THE_WEB,
        source="https://arxiv.org/abs/2508.10104",
    ),
    "stand_in": Card(
        name="the stand-in teacher",
        licence="Apache-2.0",
        parameters="3.6 million",
        trained_on="procedural scenes of shapes",
        overlap="it has never seen a photograph or a medical image",
        source="common/teachers/stand_in/README.md",
        is_complete=True,
    ),
}


def sam_card(base_name: str | None) -> Card | None:
    """Return the card of a base in SAM's format if it has a published name; None for others, which may be tuned."""
    name = (base_name or "").lower()
    if name == STAND_IN:
        return CARDS["stand_in"]
    if "medsam" in name:
        return CARDS["medsam"]
    known = r"(facebook/)?sam-vit-(base|large|huge)|sam_vit_(b_01ec64|l_0b3195|h_4b8939)\.pth"
    return CARDS["sam"] if re.fullmatch(known, name) else None


def mobile_sam_card(base_name: str | None) -> Card:
    """Return the card of a base with MobileSAM's layers; under a name that is not the published one it may be tuned."""
    card = CARDS["mobile_sam"]
    if base_name == "mobile_sam.pt":
        return card
    overlap = "its file does not have the published name, mobile_sam.pt, and may have been trained further"
    return replace(card, overlap=overlap, is_complete=False)


def sam_hq_card(base_name: str | None) -> Card | None:
    """Return the card of a base in SAM-HQ's format if it has a published name; None for others, which may be tuned."""
    known = r"(syscv-community/)?sam[-_]hq[-_]vit[-_](base|large|huge|[blh]\.pth)"
    return CARDS["sam_hq"] if re.fullmatch(known, base_name or "") else None


def sam2_card(base_name: str | None) -> Card | None:
    """Return the card of a base in SAM 2's format if it has a published name; None for others, which may be tuned."""
    known = r"(facebook/)?sam2(\.1)?[-_]hiera[-_](tiny|small|base[-_]plus|large)(\.pt)?"
    return CARDS["sam2"] if re.fullmatch(known, base_name or "") else None


def backbone_card(base_name: str | None) -> Card | None:
    """Return the card of a backbone of the hub; None for others, whose names tell nothing."""
    known = {"facebook/dinov2-": "dinov2", "facebook/dinov3-": "dinov3"}
    return next((CARDS[card] for prefix, card in known.items() if (base_name or "").startswith(prefix)), None)
