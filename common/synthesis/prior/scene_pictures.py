"""Procedural pictures of every dataset's kind: what the prior is pre-trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from common.datasets.phantoms.abdomen import Abdomen, paint
from common.datasets.phantoms.breast import draw_breast
from common.datasets.phantoms.dermoscopy import DIAGNOSES, draw_dermoscopy
from common.datasets.phantoms.fundus import draw_fundus
from common.datasets.phantoms.mouth import draw_mouth
from common.datasets.phantoms.scenes import draw_scene
from common.datasets.phantoms.ultrasound import draw_kidney

_PHOTOGRAPH = (180, 240)  # height and width in pixels, before a picture is made square
_FUNDUS = (584, 565)  # DRIVE's, of which the bundle takes crops
_ABDOMEN = (290.0, 370.0)  # height and width in millimetres
_SPREAD = 90.0  # millimetres above and below the middle that slices are taken from
_CT_WINDOW = (-160, 240)


def _dermoscopy(rng: np.random.Generator, size: int) -> Image.Image:
    return draw_dermoscopy(rng, _PHOTOGRAPH, str(rng.choice(DIAGNOSES)))[0]


def _mouth(rng: np.random.Generator, size: int) -> Image.Image:
    return draw_mouth(rng, _PHOTOGRAPH)[0]


def _kidney(rng: np.random.Generator, size: int) -> Image.Image:
    return draw_kidney(rng, _PHOTOGRAPH, longitudinal=bool(rng.integers(2)))[0]


def _breast(rng: np.random.Generator, size: int) -> Image.Image:
    kind = str(rng.choice(["benign", "malignant", "normal"], p=[0.5, 0.35, 0.15]))
    return draw_breast(rng, _PHOTOGRAPH, kind)[0]


def _abdomen(rng: np.random.Generator, size: int) -> Image.Image:
    modality = str(rng.choice(["ct", "t1_in", "t1_out", "t2"]))
    rows, columns = (np.linspace(-0.5, 0.5, 160) * side for side in _ABDOMEN)
    height = np.full((160, 160), rng.uniform(-_SPREAD, _SPREAD))
    points = np.stack([*np.meshgrid(columns, rows + 5), height], axis=-1)
    values = paint(rng, Abdomen(rng).tissues(points), modality)
    low, high = _CT_WINDOW if modality == "ct" else np.percentile(values, [1, 99])
    grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return Image.fromarray((grey * 255).astype(np.uint8))


def _fundus(rng: np.random.Generator, size: int) -> Image.Image:
    return draw_fundus(rng, _PHOTOGRAPH)[0]


def _fundus_crop(rng: np.random.Generator, size: int) -> Image.Image:
    """Return a crop at the pixels of the camera, in which vessels are as wide as the bundle sees them."""
    image = draw_fundus(rng, _FUNDUS)[0]
    top, left = (int(rng.uniform(0.2 * side, 0.8 * side - size)) for side in _FUNDUS)  # the field is round
    return image.crop((left, top, left + size, top + size))


def _scene(rng: np.random.Generator, size: int) -> Image.Image:
    return Image.fromarray(draw_scene(rng, size)[0].transpose(1, 2, 0))


_KINDS: dict[str, Callable[[np.random.Generator, int], Image.Image]] = {
    "dermoscopy": _dermoscopy,
    "mouth": _mouth,
    "kidney": _kidney,
    "breast": _breast,
    "abdomen": _abdomen,
    "fundus": _fundus,
    "fundus_crop": _fundus_crop,
    "scene": _scene,
}


class ScenePictures(Dataset):
    """Pictures by number, each always the same for the same seed: all kinds in turn.

    Args:
        length: number of pictures.
        size: height and width in pixels, 192 at most.
        seed: of all pictures.
    """

    kinds = tuple(_KINDS)

    def __init__(self, length: int, size: int, seed: int = 0) -> None:
        self.length, self.size, self.seed = length, size, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a picture, uint8 of shape ``(3, W, H)``: columns by rows, as the bundles' readers give images."""
        draw = _KINDS[self.kinds[index % len(self.kinds)]]
        picture = draw(np.random.default_rng((self.seed, index)), self.size)
        square = picture.convert("RGB").resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(square).transpose(2, 1, 0).copy()
