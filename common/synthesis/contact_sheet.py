"""Samples beside the training images that they resemble most."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from common.pictures.sheets import draw_sheet
from common.synthesis.drawn_labels import mark_label
from common.synthesis.orientations import orient_back
from common.synthesis.pictures import to_pictures
from common.synthesis.sample_selection import Judgement
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set import image_name, label_name

_IN_ROW = 4
_NEAREST, _REAL = 4 * _IN_ROW, _IN_ROW  # pairs: of the nearest, and of the most, middling and least real each
_TILE = 128  # pixels: side of a picture
_KEPT, _DROPPED = (20, 20, 20), (213, 94, 0)


def draw_contact_sheet(
    folder: str | os.PathLike, judgements: Sequence[Judgement], training: TrainingImages
) -> Image.Image:
    """Draw samples, each with the part of a training image that it resembles most to its right.

    That part is turned or mirrored as the sample is. Those that are nearest to a training image come first, then the
    most, middling and least real ones.

    Args:
        folder: has the ``images`` of all samples, and ``labels`` where these were drawn with them, which are marked.
        judgements: of all samples, in the order of their numbers, which start at 1.
        training: the training images.
    """
    pictures, captions, colours = [], [], []
    for number, why in _choose(judgements):
        judgement = judgements[number - 1]
        with Image.open(Path(folder) / image_name(number)) as picture:
            pair = [picture.convert("RGB"), _draw_match(training.images[judgement.nearest], judgement).convert("RGB")]
        both = Image.new("RGB", (2 * _TILE, _TILE))
        pair = [each.resize((_TILE, _TILE), Image.Resampling.BICUBIC) for each in pair]
        label = Path(folder) / label_name(number)
        if label.is_file():
            with Image.open(label) as ids:
                pair[0] = mark_label(pair[0], ids)
        for place, each in enumerate(pair):
            both.paste(each, (place * _TILE, 0))
        pictures.append(both)
        dropped = f"{judgement.dropped}, " if judgement.dropped else ""
        captions.append(f"{number}: {dropped}{why}; {training.names[judgement.nearest]}")
        colours.append(_DROPPED if judgement.dropped else _KEPT)
    title = f"{len(pictures)} of {len(judgements)} samples: in each pair the sample is on the left, the training image "
    title += "nearest to it on the right; dropped ones have their reason, in orange"
    return draw_sheet(pictures, captions, title, columns=_IN_ROW, caption_colours=colours)


def _choose(judgements: Sequence[Judgement]) -> list[tuple[int, str]]:
    """Return the numbers of the samples to show, each once, and why each is shown."""
    numbers = range(1, len(judgements) + 1)
    nearest = sorted(numbers, key=lambda number: judgements[number - 1].distance)[:_NEAREST]
    chosen = {number: f"{judgements[number - 1].distance:.2f} away" for number in nearest}
    known = {
        number: each.strangeness for number, each in enumerate(judgements, start=1) if each.strangeness is not None
    }
    rest = sorted((number for number in known if number not in chosen), key=lambda number: known[number])
    middle = max(len(rest) - _REAL, 0) // 2
    for why, some in (
        ("most real", rest[:_REAL]),
        ("middling", rest[middle : middle + _REAL]),
        ("least real", rest[-_REAL:]),
    ):
        for number in some:
            chosen.setdefault(number, f"{why}, {known[number]:.1f}")
    return list(chosen.items())


def _draw_match(image: Tensor, judgement: Judgement) -> Image.Image:
    """Return the part of a training image ``(C, W, H)`` that a sample resembles, turned as the sample is."""
    top, left, height, width = judgement.box
    first, last = (max(0, round(top)), max(0, round(left))), (round(top + height), round(left + width))
    part = image[:, first[0] : last[0], first[1] : last[1]]
    return to_pictures(orient_back(part, judgement.orientation)[None])[0]
