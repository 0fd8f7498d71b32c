"""What is public about each family's weights: licence, size, and what they were trained on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from common.teachers.base_names import STAND_IN


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
    """

    name: str
    licence: str
    parameters: str
    trained_on: str
    overlap: str
    source: str

    def __str__(self) -> str:
        size = f"{self.parameters} parameters"
        return f"{self.name} ({self.licence}, {size}) was trained on {self.trained_on}; {self.overlap}"

    def describe(self) -> dict[str, str]:
        """Return the card as JSON has it."""
        return asdict(self)


_NO_MEDICAL_IMAGES = "no image of the medical datasets of this project is known to be among them"
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
        overlap="its paper lists these datasets: results on one of them, or on other images of it, may be too good",
        source="https://arxiv.org/abs/2304.12306",
    ),
    "mobile_sam": Card(
        name="MobileSAM",
        licence="Apache-2.0",
        parameters="9.8 million",
        trained_on="SAM's outputs for a hundredth of SA-1B's photographs",
        overlap=_NO_MEDICAL_IMAGES,
        source="https://arxiv.org/abs/2306.14289",
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
        overlap=_NO_MEDICAL_IMAGES,
        source="https://arxiv.org/abs/2304.07193",
    ),
    "dinov3": Card(
        name="DINOv3",
        licence="DINOv3 License",
        parameters="21 million to 6.7 billion",
        trained_on="LVD-1689M, 1.7 billion images of the web, without labels",
        overlap=_NO_MEDICAL_IMAGES,
        source="https://arxiv.org/abs/2508.10104",
    ),
    "stand_in": Card(
        name="the stand-in teacher",
        licence="Apache-2.0",
        parameters="3.6 million",
        trained_on="procedural scenes of shapes",
        overlap="it has never seen a photograph or a medical image",
        source="common/teachers/stand_in/README.md",
    ),
}


def sam_card(base_name: str | None) -> Card | None:
    """Return the card of a base in SAM's format, which nothing but its name tells; None where that tells nothing."""
    name = (base_name or "").lower()
    if name == STAND_IN:
        return CARDS["stand_in"]
    if "medsam" in name:
        return CARDS["medsam"]
    return CARDS["sam"] if name.startswith(("facebook/sam-vit-", "sam_vit_", "sam-vit-")) else None


def sam2_card(base_name: str | None) -> Card | None:
    """Return the card of a base in SAM 2's format if it has a published name; None for others, which may be tuned."""
    known = r"(facebook/)?sam2(\.1)?[-_]hiera[-_](tiny|small|base[-_]plus|large)(\.pt)?"
    return CARDS["sam2"] if re.fullmatch(known, base_name or "") else None


def backbone_card(base_name: str | None) -> Card | None:
    """Return the card of a backbone of the hub; None for others, whose names tell nothing."""
    known = {"facebook/dinov2-": "dinov2", "facebook/dinov3-": "dinov3"}
    return next((CARDS[card] for prefix, card in known.items() if (base_name or "").startswith(prefix)), None)
