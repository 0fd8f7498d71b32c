"""Colours that the colour-blind can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color)."""

from __future__ import annotations

Colour = tuple[int, int, int]

BACKGROUND: Colour = (0, 0, 0)
_OKABE_ITO: tuple[Colour, ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
)

# What a comparison marks: that of one structure, and that of several, which are shown in their own colours beside it.
# White, orange and blue differ for every kind of colour vision.
AGREEMENT: dict[str, Colour] = {
    "both": (255, 255, 255),
    "prediction only": _OKABE_ITO[1],
    "label only": _OKABE_ITO[0],
}
DIFFERENCE: dict[str, Colour] = {"same": (255, 255, 255), "different": _OKABE_ITO[5]}


def class_colours(num_classes: int) -> list[Colour]:
    """Return a colour ``(r, g, b)`` in 0 to 255 for each class: black for the background, which comes first.

    After seven structures the same hues come again lighter, then darker; from the 22nd on they are the same again.

    Raises:
        ValueError: if there are more classes than the 256 of a picture, or none.
    """
    if not 1 <= num_classes <= 256:
        raise ValueError(f"num_classes must be from 1 to 256, got {num_classes}")
    return [BACKGROUND, *(_structure_colour(index) for index in range(num_classes - 1))]


def mask_palette(num_classes: int) -> list[int]:
    """Return what ``Image.putpalette`` takes to show a mask of class ids in colours: 256 times red, green and blue.

    Ids that are no class are grey.
    """
    colours = class_colours(num_classes)
    return [channel for colour in [*colours, *[(128, 128, 128)] * (256 - num_classes)] for channel in colour]


def _structure_colour(index: int) -> Colour:
    red, green, blue = _OKABE_ITO[index % len(_OKABE_ITO)]
    towards = (None, 255, 0)[index // len(_OKABE_ITO) % 3]
    if towards is None:
        return red, green, blue
    return (red + towards) // 2, (green + towards) // 2, (blue + towards) // 2
