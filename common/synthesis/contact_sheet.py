"""Samples beside the training images that they resemble most."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common.synthesis.pictures import to_pictures
from common.synthesis.similarity import orient_back
from common.synthesis.training_images import TrainingImages
from common.synthesis.transfer_set import _file_of

_PAIRS, _PAIRS_IN_ROW, _TILE, _LINE, _GAP = 32, 4, 128, 16, 8  # of the contact sheet; the last three in pixels


def draw_contact_sheet(
    folder: str | os.PathLike, rows: Sequence[Mapping[str, Any]], training: TrainingImages
) -> Image.Image:
    """Draw the samples that are nearest to a training image, each with the part of it that it resembles to its right.

    That part is turned or mirrored as the sample is. The most similar pairs come first.

    Args:
        folder: has ``images``.
        rows: of all samples, with ``sample``, ``nearest``, ``distance``, ``box``, ``orientation`` and ``dropped``.
        training: the training images.
    """
    shown = sorted(rows, key=lambda row: row["distance"])[:_PAIRS]
    columns = min(_PAIRS_IN_ROW, len(shown))
    width, height = 2 * _TILE + _GAP, _TILE + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(shown) // columns) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, row in enumerate(shown):
        left, top = _GAP + index % columns * width, _GAP + index // columns * height
        with Image.open(Path(folder) / _file_of(row["sample"])) as picture:
            pair = [picture.convert("RGB"), _draw_match(training.images[row["nearest"]], row).convert("RGB")]
        for place, each in enumerate(pair):
            sheet.paste(each.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (left + place * _TILE, top))
        state = f"dropped: {row['dropped']}" if row["dropped"] else "kept"
        captions = [f"{row['sample']:06d}, {state}, distance {row['distance']:.3f}", training.names[row["nearest"]]]
        for line, caption in enumerate(captions):
            where = (left, top + _TILE + line * _LINE + _LINE // 2)
            draw.text(where, _shorten(caption, draw, font), "firebrick" if row["dropped"] else "black", font, "lm")
    return sheet


def _draw_match(image: Tensor, row: Mapping[str, Any]) -> Image.Image:
    """Return the part of a training image ``(C, W, H)`` that a sample resembles, lying as the sample does."""
    top, left, height, width = row["box"]
    first, last = (max(0, round(top)), max(0, round(left))), (round(top + height), round(left + width))
    part = image[:, first[0] : last[0], first[1] : last[1]]
    return to_pictures(orient_back(part, row["orientation"])[None])[0]


def _shorten(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont) -> str:
    """Return the text, or as much of its end as fits below a pair."""
    if draw.textlength(text, font) <= 2 * _TILE:
        return text
    while draw.textlength(f"…{text}", font) > 2 * _TILE:
        text = text[1:]
    return f"…{text}"
