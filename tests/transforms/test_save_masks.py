"""A mask is written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from PIL import Image

from common.errors import InputError
from common.transforms.save_masks import SaveMaskd


def mask_of(image: Path, fill: int = 1) -> MetaTensor:
    """A mask ``(1, W, H)`` that is no square and that no turn or flip maps to itself."""
    ids = torch.zeros(1, 6, 4, dtype=torch.uint8)
    ids[0, :2, :1] = fill
    return MetaTensor(ids, meta={"filename_or_obj": str(image)})


@pytest.fixture
def save(tmp_path):
    return SaveMaskd(
        "pred",
        output_dir=tmp_path / "out",
        output_postfix="mask",
        output_ext=".png",
        separate_folder=False,
        data_root_dir=tmp_path / "in",
    )


def test_it_writes_what_monai_writes_to_where_monai_does(save, tmp_path):
    theirs = SaveImaged(
        "pred",
        output_dir=tmp_path / "theirs",
        output_postfix="mask",
        output_ext=".png",
        output_dtype=np.uint8,
        resample=False,
        separate_folder=False,
        data_root_dir=tmp_path / "in",
        print_log=False,
    )
    mask = mask_of(tmp_path / "in" / "day.1" / "tall.v2.png")
    written = save({"pred": mask})["pred"]
    theirs({"pred": mask})
    path = tmp_path / "out" / "day.1" / "tall.v2_mask.png"
    assert written.meta["saved_to"] == str(path)
    expected = np.asarray(Image.open(tmp_path / "theirs" / "day.1" / "tall.v2_mask.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    assert expected.shape == (4, 6)


def test_monai_label_leaves_it_out_as_it_does_with_monais_own(save):
    assert isinstance(save, SaveImaged)


def test_a_full_disk_leaves_the_earlier_mask_and_nothing_half_written(save, tmp_path, monkeypatch):
    save({"pred": mask_of(tmp_path / "in" / "a.png", fill=3)})

    def fill_up(image, path, **options):
        Path(path).write_bytes(b"half a ma")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill_up)
    with pytest.raises(InputError, match=r"a_mask\.png could not be written, no space left in"):
        save({"pred": mask_of(tmp_path / "in" / "a.png", fill=4)})
    [path] = (path for path in (tmp_path / "out").iterdir() if path.is_file())
    assert np.asarray(Image.open(path)).max() == 3


def test_what_somebody_else_wrote_is_not_replaced(save, tmp_path):
    mask = mask_of(tmp_path / "in" / "a.png")
    path = tmp_path / "out" / "a_mask.png"
    path.parent.mkdir()
    path.write_bytes(b"a label")
    with pytest.raises(InputError, match=r"output_dir .*: a_mask\.png is there already, and not as inference wrote it"):
        save({"pred": mask})
    assert path.read_bytes() == b"a label"
    assert not (tmp_path / "out" / "logs").exists()


def test_its_own_masks_are_replaced_also_by_a_later_run_unless_they_were_corrected(save, tmp_path):
    path = tmp_path / "out" / "a_mask.png"
    for fill in (1, 2):
        again = SaveMaskd("pred", output_dir=tmp_path / "out", output_postfix="mask", separate_folder=False)
        for saver in (save, again):
            saver.saver.folder_layout.ext = ".png"
            saver({"pred": mask_of(tmp_path / "in" / "a.png", fill)})
            assert np.asarray(Image.open(path)).max() == fill
    Image.new("L", (6, 4), 1).save(path)
    with pytest.raises(InputError, match="a mask that was corrected; it stays"):
        save({"pred": mask_of(tmp_path / "in" / "a.png", 2)})


def test_what_another_run_writes_meanwhile_is_known_as_its_own(save, tmp_path):
    other = SaveMaskd("pred", output_dir=tmp_path / "out", output_postfix="mask", separate_folder=False)
    other.saver.folder_layout.ext = ".png"
    for saver, name, fill in ((save, "a", 1), (other, "b", 1), (save, "b", 2), (other, "b", 3)):
        saver({"pred": mask_of(tmp_path / "in" / f"{name}.png", fill)})
    assert np.asarray(Image.open(tmp_path / "out" / "b_mask.png")).max() == 3
