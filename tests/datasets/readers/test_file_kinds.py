"""What a file is called after is what nibabel, pydicom and Pillow make of it."""

from __future__ import annotations

import os

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.datasets.readers.file_kinds import DICOM, NIFTI, PICTURE, kind_of
from common.datasets.readers.picture_formats import FORMATS, SUFFIXES

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_pillow_opens_every_suffix_of_a_picture_as_one_of_the_formats(suffix, tmp_path):
    picture = Image.fromarray(PIXELS)
    path = tmp_path / f"a{suffix}"
    if suffix == ".pbm":
        picture = picture.convert("1")
    elif suffix in (".pgm", ".pfm"):
        picture = picture.convert({".pgm": "L", ".pfm": "F"}[suffix])
    picture.save(path)
    with Image.open(path, formats=FORMATS) as again:
        again.load()
        assert again.size == (32, 24)
    assert kind_of(path) == kind_of(path.with_suffix(suffix.upper())) == PICTURE


def test_what_cameras_and_browsers_write_is_a_picture():
    assert {".jfif", ".jpe", ".jpg", ".jpeg", ".webp", ".jp2", ".png", ".tif", ".tiff", ".bmp", ".gif"} <= SUFFIXES


def test_nothing_that_starts_ghostscript_is_a_picture(tmp_path):
    assert {".eps", ".ps", ".pdf", ".wmf"}.isdisjoint(SUFFIXES)
    (tmp_path / "drawing").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    assert kind_of(tmp_path / "drawing") is None


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("name", ["scan", "photo.jpg~", "photo.2024-11-03"])
def test_a_picture_under_another_name_is_known_by_its_first_bytes(format_name, name, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / name, format_name)
    assert kind_of(tmp_path / name) == PICTURE


def test_volumes_are_known_by_name_and_by_content(tmp_path, tiny_phantoms):
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "volume")
    slice_file = next((tiny_phantoms("chaos") / "Test_Sets/CT/3/DICOM_anon").iterdir())
    (tmp_path / "IM0001").write_bytes(slice_file.read_bytes())
    (tmp_path / "IM0002").write_bytes(slice_file.read_bytes()[132:])  # as older files begin
    (tmp_path / "DICOMDIR").write_bytes(slice_file.read_bytes())
    (tmp_path / "nrrd").write_bytes(b"NRRD0004\ntype: short\n")
    names = ("volume", "IM0001", "IM0002", "DICOMDIR", "nrrd", "b.nii.gz", "b.NII", "c.nrrd", "d.mha")
    found = {name: kind_of(tmp_path / name) for name in names}
    assert found == {
        "volume": NIFTI,
        "IM0001": DICOM,
        "IM0002": DICOM,
        "DICOMDIR": None,
        "nrrd": "NRRD volume",
        "b.nii.gz": NIFTI,
        "b.NII": NIFTI,
        "c.nrrd": "NRRD volume",
        "d.mha": "MetaImage volume",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"P1 has a cough\n"),
        ("table.csv", b"BM,1\n"),
        ("data.json", b"{}"),
        ("empty", b""),
        ("Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)),
        ("archive.gz", b"\x1f\x8b" + bytes(40)),
        ("weights.pt", bytes(range(256)) * 4),
    ],
)
def test_other_files_are_no_images(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name) is None


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert kind_of(tmp_path / "pipe") is kind_of(tmp_path / "link") is None


def test_a_dead_link_whose_name_does_not_tell_is_an_error(tmp_path):
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        kind_of(tmp_path / "dead")
