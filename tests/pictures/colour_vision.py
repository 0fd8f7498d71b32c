"""How colours look to people with other colour vision (Machado, Oliveira and Fernandes, 2009, severity 1)."""

from __future__ import annotations

import itertools

import numpy as np

VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_D65 = np.array([0.9505, 1, 1.089])


def seen(colour, vision: str) -> np.ndarray:
    """Return a colour in sRGB, 0 to 255, in CIELAB as it is seen."""
    channels = np.asarray(colour, float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    xyz = _XYZ @ np.clip(VISIONS[vision] @ linear, 0, 1) / _D65
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(first, second, vision: str = "normal") -> float:
    """Return how different two colours look; 2.3 can just be noticed."""
    return float(np.linalg.norm(seen(first, vision) - seen(second, vision)))


def least_distance(colours, vision: str) -> float:
    """Return the distance of the two colours that look most alike."""
    return min(distance(one, other, vision) for one, other in itertools.combinations(colours, 2))
