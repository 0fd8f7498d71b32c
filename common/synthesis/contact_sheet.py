"""Samples beside the training images that they resemble most."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.synthesis.orientations import orient_back
from common.synthesis.pictures import to_pictures
from common.synthesis.sample_selection import Judgement
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set import image_name

_PAIRS, _PAIRS_IN_ROW = 32, 4
_TILE, _LINE, _GAP = 128, 16, 8  # pixels: side of a picture, height of a line of text, space between pairs


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
    columns = min(_PAIRS_IN_ROW, len(shown))
    width, height = 2 * _TILE + _GAP, _TILE + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(shown) // columns) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (number, judgement) in enumerate(shown):
        left, top = _GAP + index % columns * width, _GAP + index // columns * height
        with Image.open(Path(folder) / image_name(number)) as picture:
            pair = [picture.convert("RGB"), _draw_match(training.images[judgement.nearest], judgement).convert("RGB")]
        for place, each in enumerate(pair):
            sheet.paste(each.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left + place * _TILE, top))
        state = f"dropped: {judgement.dropped}" if judgement.dropped else "kept"
        captions = (f"{number:06d}, {state}, distance {judgement.distance:.3f}", training.names[judgement.nearest])
        for line, caption in enumerate(captions):
            where = (left, top + _TILE + line * _LINE + _LINE // 2)
            draw.text(where, _shorten(caption, draw, font), "firebrick" if judgement.dropped else "black", font, "lm")
    return sheet


def _draw_match(image: Tensor, judgement: Judgement) -> Image.Image:
    """Return the part of a training image ``(C, W, H)`` that a sample resembles, turned as the sample is."""
    top, left, height, width = judgement.box
    first, last = (max(0, round(top)), max(0, round(left))), (round(top + height), round(left + width))
    part = image[:, first[0] : last[0], first[1] : last[1]]
    return to_pictures(orient_back(part, judgement.orientation)[None])[0]


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> str:
    """Return the text, or as much of its end as fits below a pair."""
    if draw.textlength(text, font) <= 2 * _TILE:
        return text
    while draw.textlength(f"…{text}", font) > 2 * _TILE:
        text = text[1:]
    return f"…{text}"
