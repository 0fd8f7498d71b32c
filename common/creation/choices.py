"""What a bundle does with a user's images, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.creation.options import SAME, Options
from common.creation.structures import Structures
from common.errors import InputError

USUAL_SIZE = 256  # pixels a side that networks see, on a GPU
CPU_SIZE = 128
THIN = 4.0  # pixels; structures that are thinner at the usual size would be lost
_STEP = 16  # sizes are multiples of the stride of the student
_SMALLEST = 64
_MAGNIFIES = 1.25  # crops show structures so much wider, or they are not worth it


@dataclass(frozen=True)
class Choice:
    """A row of the table.

    Attributes:
        what: such as "image size".
        value: such as "256 x 256".
        why: in a few words.
        option: what changes it.
    """

    what: str
    value: str
    why: str = ""
    option: str = ""


PERCENTILES = ("percentiles", (1.0, 99.0), "of a slice, from black to white")


@dataclass
class Choices:
    """What was chosen.

    Attributes:
        sees: "images", "crops" or "slices".
        size: pixels a side that networks see.
        cpu_size: the same without a GPU.
        mirrors: whether training mirrors images left to right.
        turns: whether training turns images by quarter turns.
        intensity: of volumes, what becomes 0 and 1: the key, "window" or "percentiles", two numbers, and what they are.
        rows: of the table.
    """

    sees: str
    size: int
    cpu_size: int
    mirrors: bool
    turns: bool
    intensity: Sequence[Any] = PERCENTILES
    rows: list[Choice] = field(default_factory=list)

    @property
    def orientations(self) -> int:
        """The flips and turns of an image that a teacher is averaged over."""
        if self.mirrors and self.turns:
            return 8
        return 2 if self.mirrors else 1


def choose(options: Options, structures: Structures, volumes: bool = False) -> Choices:
    """Return what networks see and how images are varied in training.

    Args:
        options: what the user said, which counts more than what was measured.
        structures: what was measured.
        volumes: whether images are slices of volumes.

    Raises:
        InputError: if images are too small for what the user wants.
    """
    sees, why = _choose_view(options, structures, volumes)
    size = _choose_size(options, structures, sees)
    cpu_size = min(options.size or CPU_SIZE, size) if sees != "crops" else min(96, size)
    choices = Choices(sees, size, cpu_size, options.left_right == SAME, options.upside_down == SAME)
    shown = {"images": "whole images", "crops": "crops of images", "slices": "whole slices"}[sees]
    option = "" if volumes else "--see images" if sees == "crops" else "--see crops"
    choices.rows += [
        Choice("networks see", shown, why, option),
        Choice(
            "size",
            f"{size} x {size} pixels" + (f", {cpu_size} x {cpu_size} without a GPU" if cpu_size != size else ""),
            "as --size says" if options.size else _why_size(size, structures),
            "" if options.size else "--size",
        ),
        *_describe_motion(options),
    ]
    return choices


def _choose_view(options: Options, structures: Structures, volumes: bool) -> tuple[str, str]:
    if volumes:
        return "slices", "a student segments volumes slice by slice"
    if options.see is not None:
        return options.see, f"as --see {options.see} says"
    thinnest = structures.thinnest()
    if thinnest is None:
        return "images", "no label of the sample has any structure"
    name, width = thinnest
    across = f"{name} is about {width * USUAL_SIZE:.1f} pixels wide in an image of {USUAL_SIZE}"
    if width * USUAL_SIZE >= THIN:
        return "images", across
    sides = structures.size
    if (sides[0] * sides[1]) ** 0.5 < _MAGNIFIES * USUAL_SIZE or structures.smallest_side < _SMALLEST:
        return "images", f"{across}, but images are too small for crops"
    return "crops", f"{across}: too thin to be made smaller"


def _choose_size(options: Options, structures: Structures, sees: str) -> int:
    if sees == "crops":
        limit = structures.smallest_side // _STEP * _STEP
        if limit < max(_STEP, options.size or _STEP):
            raise InputError(
                f"--size {options.size or _STEP}: the smallest image has {structures.smallest_side} pixels a side, "
                "and crops must fit into every image: give a smaller --size, or --see images"
            )
        return options.size or min(USUAL_SIZE, limit)
    if options.size:
        return options.size
    longest = max(structures.size)
    return min(USUAL_SIZE, max(CPU_SIZE, -(-longest // _STEP) * _STEP))


def _why_size(size: int, structures: Structures) -> str:
    width, height = structures.size
    images = f"images have {width} x {height} pixels"
    return f"the usual size; {images}" if size == USUAL_SIZE else f"as large as they allow: {images}"


def _describe_motion(options: Options) -> list[Choice]:
    told = {"left_right": options.left_right, "upside_down": options.upside_down}
    texts = {
        "left_right": ("mirrored", "a mirrored image is as likely"),
        "upside_down": ("turned", "an image in any other position is as likely"),
    }
    rows = []
    for key, (what, meaning) in texts.items():
        if told[key] == SAME:
            value = "yes" if key == "left_right" else "by quarter turns, and a little"
            rows.append(Choice(what, value, f"as --{key} same says: {meaning}", f"--{key} different"))
        else:
            value = "no" if key == "left_right" else "a little (up to 9 degrees)"
            why = f"as --{key} different says" if told[key] else f"safe: nobody has said that {meaning}"
            rows.append(Choice(what, value, why, f"--{key} same"))
    return rows


def usual_validation(count: int) -> int:
    """Return how many images, or volumes, are held back for validation, of so many."""
    return max(1, min(20, round(0.05 * count)))


def batch_sizes(size: int) -> dict[str, int]:
    """Return the images per step of every stage, fewer of larger ones, so that they fit into memory."""
    usual = {"finetune_teacher": 4, "train_diffusion": 32, "synthesize": 64, "distill": 8, "train": 8}
    share = min(1.0, (USUAL_SIZE / size) ** 2)
    return {
        stage: count if stage in ("train_diffusion", "synthesize") else max(1, round(count * share))
        for stage, count in usual.items()
    }
