"""A user's own images: what is found, what is left out, and what viewers show otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from integration import refused
from PIL import Image

from common.datasets.readers.image_files import ImageFiles, unlabelled_images


def save(path: Path, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> None:
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).convert(mode).save(path)


def test_images_that_viewers_turn_are_named(tmp_path, caplog):
    exif = Image.Exif()
    for name, orientation in {"upright": 1, "turned": 6}.items():
        exif[0x0112] = orientation
        Image.new("RGB", (40, 20)).save(tmp_path / f"{name}.jpg", exif=exif)
    Image.new("RGB", (40, 20)).save(tmp_path / "damaged.png", exif=b"Exif\0\0no tags")
    files = ImageFiles(tmp_path)
    files.report()
    [record] = caplog.records
    assert record.getMessage().startswith("1 images have an EXIF orientation, first turned.jpg")
    assert len(files.readable) == 3


def test_images_without_labels_are_all_readable_or_named(tmp_path):
    assert unlabelled_images(None) == []
    save(tmp_path / "plain.png")
    assert unlabelled_images(tmp_path) == [{"image": str(tmp_path / "plain.png")}]
    (tmp_path / "half.png").write_bytes((tmp_path / "plain.png").read_bytes()[:40])
    (tmp_path / "empty.png").touch()
    with refused("unlabelled images in .*: 2 issues\n  - .*empty.png: the file is empty.*\n  - .*half.png: cannot be"):
        unlabelled_images(tmp_path)
    with refused("unlabelled_dir: .*missing does not exist"):
        unlabelled_images(tmp_path / "missing")
