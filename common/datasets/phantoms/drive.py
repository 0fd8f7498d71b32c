"""Phantoms of DRIVE: procedural fundus photographs in the official layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from common.datasets.phantoms.folder import phantom_folder
from common.datasets.phantoms.fundus import draw_fundus


def write_phantoms(
    folder: str | os.PathLike,
    num_training: int = 8,
    num_test: int = 4,
    image_size: tuple[int, int] = (584, 565),
    seed: int = 0,
    test_labels: bool = True,
) -> Path:
    """Write procedural fundus photographs with exact vessel labels, in the layout and formats of DRIVE.

    Args:
        folder: new folder to write, which appears only when it is complete.
        num_training: images from ``21_training.tif`` on.
        num_test: images from ``01_test.tif`` on.
        image_size: height and width in pixels.
        seed: the same seed writes the same bytes.
        test_labels: whether to write ``test/1st_manual``, as the older releases of DRIVE have it.

    Returns:
        The folder.

    Raises:
        InputError: if the folder exists and is not empty.
    """
    with phantom_folder(folder) as partial:
        for part, first, count in (("training", 21, num_training), ("test", 1, num_test)):
            labelled = part == "training" or test_labels
            for name in ("images", "mask", *(["1st_manual"] if labelled else [])):
                (partial / part / name).mkdir(parents=True)
            for number in range(first, first + count):
                image, label, fov = draw_fundus(np.random.default_rng((seed, part == "test", number)), image_size)
                image.save(partial / part / "images" / f"{number:02d}_{part}.tif", compression="tiff_lzw")
                # Unoptimized, Pillow keeps 255 for the foreground, as in the original, instead of a palette of 0 and 1.
                fov.save(partial / part / "mask" / f"{number:02d}_{part}_mask.gif", optimize=False)
                if labelled:
                    label.save(partial / part / "1st_manual" / f"{number:02d}_manual1.gif", optimize=False)
    return Path(folder)
