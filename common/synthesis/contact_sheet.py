"""Samples beside the training images that they resemble most."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from common.pictures.sheets import draw_sheet
from common.synthesis.orientations import orient_back
from common.synthesis.pictures import to_pictures
from common.synthesis.sample_selection import Judgement
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set import image_name

_PAIRS, _PAIRS_IN_ROW = 32, 4
_TILE = 128  # pixels: side of a picture
_KEPT, _DROPPED = (20, 20, 20), (213, 94, 0)


def draw_contact_sheet(
    folder: str | os.PathLike, judgements: Sequence[Judgement], training: TrainingImages
) -> Image.Image:
    """Draw the samples that are nearest to a training image, each with the part of it that it resembles to its right.

    That part is turned or mirrored as the sample is. The most similar pairs come first.

    Args:
        folder: has the ``images`` of all samples.
        judgements: of all samples, in the order of their numbers, which start at 1.
        training: the training images.
    """
    shown = sorted(enumerate(judgements, start=1), key=lambda each: each[1].distance)[:_PAIRS]
    pictures, captions = [], []
    for number, judgement in shown:
        with Image.open(Path(folder) / image_name(number)) as picture:
            pair = [picture.convert("RGB"), _draw_match(training.images[judgement.nearest], judgement).convert("RGB")]
        both = Image.new("RGB", (2 * _TILE, _TILE))
        for place, each in enumerate(pair):
            both.paste(each.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (place * _TILE, 0))
        pictures.append(both)
        state = f"dropped ({judgement.dropped})" if judgement.dropped else "kept"
        captions.append(f"{number}: {judgement.distance:.2f}, {state}; {training.names[judgement.nearest]}")
    title = f"{len(shown)} of {len(judgements)} samples, each with the training image nearest to it on its right; the "
    title += "nearest pairs first, with their distance"
    colours = [_DROPPED if judgement.dropped else _KEPT for _, judgement in shown]
    return draw_sheet(pictures, captions, title, columns=_PAIRS_IN_ROW, caption_colours=colours)


def _draw_match(image: Tensor, judgement: Judgement) -> Image.Image:
    """Return the part of a training image ``(C, W, H)`` that a sample resembles, turned as the sample is."""
    top, left, height, width = judgement.box
    first, last = (max(0, round(top)), max(0, round(left))), (round(top + height), round(left + width))
    part = image[:, first[0] : last[0], first[1] : last[1]]
    return to_pictures(orient_back(part, judgement.orientation)[None])[0]
