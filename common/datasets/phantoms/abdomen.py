"""Procedural abdomens: organs in plausible places, sampled by CT and MR alike at any point of the body.

Lengths are in millimetres, axes are DICOM's: x to the patient's left, y to the back, z to the head. Nothing is
symmetric in any axis: liver right and spleen left, kidneys at the back, lower than both and the right one lowest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from common.datasets.phantoms.scenes import smooth_noise

LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4
_AIR, _FAT, _MUSCLE, _BONE, _STOMACH, _AORTA = 0, 5, 6, 7, 8, 9
# By tissue: air, liver, right kidney, left kidney, spleen, fat, muscle, bone, stomach, aorta.
_BRIGHTNESS = {
    "ct": (-1000, 115, 175, 175, 130, -100, 60, 450, 15, 165),  # Hounsfield units, portal venous phase
    "t1_in": (8, 520, 340, 340, 290, 900, 360, 480, 190, 140),
    "t1_out": (8, 470, 330, 330, 280, 640, 350, 260, 190, 140),
    "t2": (6, 210, 640, 640, 460, 110, 130, 150, 560, 50),  # fat-suppressed
}
_TEXTURE = {"ct": 6, "t1_in": 25, "t1_out": 25, "t2": 25}
_NOISE = {"ct": 12, "t1_in": 15, "t1_out": 15, "t2": 15}


class _Blob(NamedTuple):
    """An ellipsoid with a bumpy surface; ``turn`` rotates it about the z axis, in radians."""

    tissue: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float = 0.0


# What comes later lies on top.
_ANATOMY = (
    _Blob(_FAT, (0, 0, 0), (165, 118, 900)),
    _Blob(_MUSCLE, (0, 4, 0), (150, 103, 900)),
    _Blob(_FAT, (0, -8, 0), (135, 80, 900)),
    _Blob(_BONE, (0, 62, 0), (24, 24, 900)),
    _Blob(_AORTA, (12, 30, 0), (10, 10, 900)),
    _Blob(_STOMACH, (62, -38, 35), (42, 30, 40), 0.5),
    _Blob(SPLEEN, (104, 34, 42), (24, 38, 44), -0.5),
    _Blob(RIGHT_KIDNEY, (-66, 42, -42), (26, 27, 46), 0.4),
    _Blob(LEFT_KIDNEY, (70, 40, -22), (24, 28, 44), -0.4),
    _Blob(LIVER, (-70, -8, 28), (60, 62, 56), 0.3),
    _Blob(LIVER, (-8, -42, 44), (58, 26, 34), 0.2),
)


class Abdomen:
    """One patient.

    Args:
        rng: source of everything that differs between patients.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        stature = rng.uniform(0.93, 1.05)
        self._blobs = [
            blob._replace(
                centre=tuple(np.multiply(blob.centre, stature) + rng.normal(0, 2, 3)),
                radii=tuple(np.multiply(blob.radii, stature * rng.uniform(0.94, 1.06, 3))),
                turn=blob.turn + rng.normal(0, 0.08),
            )
            for blob in _ANATOMY
        ]
        self._waves = rng.normal(0, 0.035, (len(_ANATOMY), 3, 3))  # radians per millimetre
        self._phases = rng.uniform(0, 2 * np.pi, (len(_ANATOMY), 3))

    def tissues(self, points: np.ndarray) -> np.ndarray:
        """Return the tissue at points ``(..., 3)``, uint8 of shape ``(...)``; 1 to 4 are the labelled organs."""
        tissues = np.full(points.shape[:-1], _AIR, np.uint8)
        for blob, waves, phases in zip(self._blobs, self._waves, self._phases, strict=True):
            x, y, z = np.moveaxis(points - blob.centre, -1, 0)
            cos, sin = np.cos(blob.turn), np.sin(blob.turn)
            radius = np.sqrt(
                ((cos * x + sin * y) / blob.radii[0]) ** 2
                + ((cos * y - sin * x) / blob.radii[1]) ** 2
                + (z / blob.radii[2]) ** 2
            )
            bumps = 0.03 * np.sin(points @ waves.T + phases).sum(axis=-1)
            tissues[radius < 1 + bumps] = blob.tissue
        return tissues


def paint(rng: np.random.Generator, tissues: np.ndarray, modality: str) -> np.ndarray:
    """Return one slice as a scanner would show it.

    Args:
        rng: source of texture and noise.
        tissues: from :meth:`Abdomen.tissues`, of shape ``(rows, columns)``.
        modality: "ct", "t1_in", "t1_out" or "t2".

    Returns:
        Hounsfield units in CT, arbitrary units from 0 on in MR, float of shape ``(rows, columns)``.
    """
    rows, columns = tissues.shape
    size = max(rows, columns)
    inside = tissues != _AIR
    image = np.asarray(_BRIGHTNESS[modality], float)[tissues]
    image += _TEXTURE[modality] * inside * smooth_noise(rng, size, size / 4)[:rows, :columns]
    if modality == "ct":
        return image + rng.normal(0, _NOISE[modality], image.shape)
    image *= 1 + 0.15 * smooth_noise(rng, size, 2)[:rows, :columns]  # uneven sensitivity of the coils
    real, imaginary = rng.normal(0, _NOISE[modality], (2, rows, columns))
    return np.hypot(image + real, imaginary)  # MR shows magnitudes
