"""Inference goes on after an input that fails, and ends by saying what has no mask."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from integration import contained, innermost, refused
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, Lambdad
from PIL import Image
from torch import nn

from common.datasets.readers.image_files import ImageFiles
from common.datasets.readers.images import LoadPictured, to_grey
from common.errors import InputError
from common.evaluation.inference import InferenceDataset, InferenceOutcome
from common.transforms.save_masks import SaveMaskd

NAMES = ("a.png", "b.png", "c.png", "d.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four grey pictures, each of its own width."""
    (tmp_path / "in").mkdir()
    for index, name in enumerate(NAMES):
        Image.fromarray(np.full((8, 10 + index), 200, np.uint8)).save(tmp_path / "in" / name)
    return tmp_path / "in"


class Threshold(nn.Module):
    """A network that runs out of memory on pictures 11 pixels wide, where it is told to."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.fails = fails

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if self.fails and image.shape[2] == 11:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return (image > 100).to(torch.uint8)


@pytest.fixture
def segment(folder: Path) -> Callable[..., InferenceOutcome]:
    """Return what segments the folder with MONAI's evaluator, as the bundles' configs do."""

    def run(
        network: nn.Module | None = None, before: Callable[[dict], Any] = dict, files: Any = None
    ) -> InferenceOutcome:
        files, output_dir = files or ImageFiles(folder), folder.parent / "masks"
        outcome = InferenceOutcome(files, output_dir)
        save = SaveMaskd(
            "pred",
            output_dir=output_dir,
            output_postfix="mask",
            output_ext=".png",
            separate_folder=False,
            data_root_dir=files.root,
        )
        preprocessing = Compose([LoadPictured("image", to_grey)])
        SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=DataLoader(InferenceDataset(files.entries, preprocessing), batch_size=1),
            network=network or Threshold(),
            iteration_update=outcome.segment,
            postprocessing=Compose([before, save, Lambdad("pred", lambda ids: ids[0])]),
        ).run()
        return outcome

    return run


def masks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder.parent / "masks").rglob("*_mask.png") if path.is_file())


def test_all_inputs_have_masks(folder, segment, caplog):
    outcome = segment()
    with caplog.at_level(logging.INFO):
        outcome.report()
    outcome.raise_if_incomplete()
    assert masks(folder) == ["a_mask.png", "b_mask.png", "c_mask.png", "d_mask.png"]
    assert np.asarray(Image.open(folder.parent / "masks" / "c_mask.png")).shape == (8, 12)
    assert caplog.messages[-1] == f"4 masks written to {folder.parent / 'masks'}"


def test_an_input_that_changes_after_it_was_found_stops_no_other(folder, segment):
    files = ImageFiles(folder)
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:50])
    (folder / "c.png").unlink()
    outcome = segment(files=files)
    assert masks(folder) == ["a_mask.png", "d_mask.png"]
    with refused(
        rf"^2 masks written to {folder.parent}/masks, 2 left out: b\.png \(cannot be read as an image.*\), "
        r"c\.png \(no such file\)$"
    ):
        outcome.raise_if_incomplete()


def test_memory_that_runs_out_for_one_input_stops_no_other(folder, segment):
    outcome = segment(Threshold(fails=True))
    assert masks(folder) == ["a_mask.png", "c_mask.png", "d_mask.png"]
    with refused(r"3 masks written to .*, 1 left out: b\.png \(OutOfMemoryError: CUDA out of memory"):
        outcome.raise_if_incomplete()


def test_a_mask_that_cannot_be_written_stops_no_other(folder, segment):
    (folder.parent / "masks" / "b_mask.png").mkdir(parents=True)
    outcome = segment()
    assert masks(folder) == ["a_mask.png", "c_mask.png", "d_mask.png"]
    with refused(r"3 masks written to .*, 1 left out: b\.png \(b_mask\.png is there already, and"):
        outcome.raise_if_incomplete()


def test_a_transform_that_fails_stops_no_other(folder, segment):
    def fail(data: dict) -> dict:
        if data["pred"].shape[1] == 12:
            raise ValueError("no\nsuch axis")
        return data

    outcome = segment(before=fail)
    assert masks(folder) == ["a_mask.png", "b_mask.png", "d_mask.png"]
    assert outcome.left_out == {folder / "c.png": "ValueError: no such axis"}


def test_a_full_disk_ends_the_run_in_one_line(folder, segment, monkeypatch):
    save = Image.Image.save

    def fill_up(image, path, **options):
        if image.width == 12:
            Path(path).write_bytes(b"half a ma")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fill_up)
    with contained(), pytest.raises(InputError) as caught:
        segment()
    place = folder.parent / "masks"
    assert str(innermost(caught.value)) == (
        f"no space left in {place}: free some space there, or choose another output_dir "
        f"(2 masks written to {place}, 2 inputs have none)"
    )
    assert masks(folder) == ["a_mask.png", "b_mask.png"]


def test_what_was_left_out_from_the_start_and_pages_are_named_too(folder, segment, caplog):
    pages = [Image.new("L", (9, 9), value) for value in (0, 200)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    (folder / "scan.nii.gz").write_bytes(b"any")
    outcome = segment()
    outcome.report()
    assert f"5 masks written to {folder.parent / 'masks'}, 2 left out:\n" in caplog.text
    with refused(
        r"5 masks written to .*, 2 left out: scan\.nii\.gz \(is a NIfTI volume; expected .*\), "
        r"pages\.tif \(only the first of its 2 pages is segmented.*\)$"
    ):
        outcome.raise_if_incomplete()


def test_the_last_line_names_some_and_the_log_all(folder, segment, caplog):
    for number in range(9):
        (folder / f"{number}.nii").write_bytes(b"any")
    outcome = segment()
    outcome.left_out[folder / "0.nii"] = "long " * 100
    outcome.report()
    assert f"  0.nii: {'long ' * 100}\n" in caplog.text
    assert all(f"  {number}.nii: is a NIfTI volume" in caplog.text for number in range(1, 9))
    with refused(r"9 left out: 0\.nii \([long ]{117}\.\.\.\), 1\.nii .*, and 4 more, see .*/logs/inference\.log$"):
        outcome.raise_if_incomplete()


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (InputError("scan: is\ndamaged"), "scan: is damaged"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x.png"), "File name too long: x.png"),
        (ValueError("no\n such axis"), "ValueError: no such axis"),
    ],
)
def test_the_first_cause_is_told_whatever_has_wrapped_it(folder, segment, cause, told):
    def fail(data: dict) -> dict:
        raise RuntimeError("of something else") from cause

    assert set(segment(before=fail).left_out.values()) == {told}


def test_the_traceback_is_logged_for_each_input(folder, segment, caplog):
    def fail(data: dict) -> dict:
        raise ValueError("no such axis")

    segment(before=fail)
    records = [record for record in caplog.records if record.exc_info and record.name == "common.evaluation.outcome"]
    assert [record.getMessage() for record in records] == [f"{folder / name} is left out" for name in NAMES]
