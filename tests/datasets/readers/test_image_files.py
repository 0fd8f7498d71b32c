"""A user's own images: what is found, what is left out or passed over, and what viewers show otherwise."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from integration import refused
from PIL import Image

from common.datasets.readers.image_files import ImageFiles, unlabelled_images


def save(path: Path, size: tuple[int, int] = (32, 24), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size[::-1], 3), 80, np.uint8)).save(path, **options)
    return path


def names(files: ImageFiles, paths: object) -> list[str]:
    return [files.short(path) for path in paths]


class TestNothingIsOverlooked:
    def test_pictures_of_every_suffix_are_inputs(self, tmp_path):
        expected = ["five.webp", "four.jpe", "one.jpg", "six.jp2", "three.jfif", "two.PNG"]
        formats = {".jfif": "JPEG", ".jpe": "JPEG"}
        for name in expected:
            save(tmp_path / name, format=formats.get(Path(name).suffix))
        save(tmp_path / "seven", format="PNG")
        files = ImageFiles(tmp_path)
        assert sorted(names(files, files.found)) == sorted([*expected, "seven"])
        assert not files.left_out

    def test_pictures_are_found_at_any_depth(self, tmp_path):
        for name in ("a.png", "day 1/a.png", "day 1/left/a.png"):
            save(tmp_path / name)
        files = ImageFiles(tmp_path)
        assert names(files, files.found) == ["a.png", "day 1/a.png", "day 1/left/a.png"]

    def test_other_images_are_left_out_with_the_reason(self, tmp_path):
        save(tmp_path / "a.png")
        nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
        for name in ("slice.dcm", "photo.heic", "volume.nrrd", "clip.mp4"):
            (tmp_path / name).write_bytes(b"any")
        files = ImageFiles(tmp_path)
        assert names(files, files.left_out) == ["clip.mp4", "photo.heic", "scan.nii.gz", "slice.dcm", "volume.nrrd"]
        path = tmp_path / "scan.nii.gz"
        assert files.left_out[path] == f"{path}: is a NIfTI volume; expected .png, .jpg, .tif or the like"

    def test_what_is_no_image_is_counted(self, tmp_path, caplog):
        save(tmp_path / "a.png")
        for name in ("notes.txt", "table.csv", ".hidden.png", "Thumbs.db"):
            (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0")
        files = ImageFiles(tmp_path)
        with caplog.at_level(logging.INFO):
            files.log_passed_over()
        assert f"passed over in {tmp_path}: 4 files not to be segmented, such as .hidden.png" in caplog.text
        assert not files.left_out

    def test_masks_of_an_earlier_inference_are_no_inputs(self, tmp_path):
        for name in ("a.png", "b/c.jpg", "a_mask.png", "out/a_mask.png", "out/b/c_mask.png", "b/other_mask.png"):
            save(tmp_path / name)
        (tmp_path / "out/logs").mkdir()
        (tmp_path / "out/logs/inference.log").touch()
        files = ImageFiles(tmp_path)
        assert names(files, files.found) == ["a.png", "b/c.jpg", "b/other_mask.png"]
        assert names(files, files.earlier_masks) == ["a_mask.png", "out/a_mask.png", "out/b/c_mask.png"]

    def test_nor_is_anything_else_that_a_prediction_wrote(self, tmp_path):
        for name in ("a.png", "out/a_mask.png", "out/a_overlay.png", "shown_overlay.png"):
            save(tmp_path / name)
        for name in ("out/a_mask.nii.gz", "out/a_mask.dcm", "out/predictions.csv", "out/logs/predict.log"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        files = ImageFiles(tmp_path)
        assert names(files, files.found) == ["a.png", "shown_overlay.png"]
        assert names(files, files.earlier_masks) == [
            "out/a_mask.dcm",
            "out/a_mask.nii.gz",
            "out/a_mask.png",
            "out/a_overlay.png",
        ]
        assert not files.left_out

    def test_the_folder_itself_may_be_the_output_folder(self, tmp_path):
        save(tmp_path / "a.png")
        save(tmp_path / "gone_mask.png")
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs/inference.log").touch()
        assert ImageFiles(tmp_path).found == [tmp_path / "a.png"]

    def test_what_cannot_be_opened_is_left_out(self, tmp_path):
        save(tmp_path / "a.png")
        (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere.png")
        (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "pipe.png")
        files = ImageFiles(tmp_path)
        files.check_all()
        assert files.found == [tmp_path / "a.png"]
        assert names(files, files.left_out) == ["dead", "dead.png", "pipe.png"]

    def test_a_folder_that_cannot_be_opened_is_left_out(self, tmp_path, monkeypatch):
        save(tmp_path / "a.png")
        save(tmp_path / "locked" / "b.png")
        list_folder = Path.iterdir

        def refuse(folder):
            if folder.name == "locked":
                raise PermissionError(13, "Permission denied", str(folder))
            return list_folder(folder)

        monkeypatch.setattr(Path, "iterdir", refuse)
        assert list(ImageFiles(tmp_path).left_out) == [tmp_path / "locked"]


class TestPages:
    @pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp"])
    def test_pages_after_the_first_are_named(self, suffix, tmp_path):
        pages = [Image.fromarray(np.full((9, 9, 3), 90 * value, np.uint8)) for value in range(3)]
        path = tmp_path / f"a{suffix}"
        pages[0].save(path, save_all=True, append_images=pages[1:])
        part = ImageFiles(tmp_path).unread_parts(path)
        assert part == f"{path}: only the first of its 3 pages is segmented, save each as an image of its own"

    def test_previews_in_a_photograph_are_no_pages(self, tmp_path):
        pages = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
        pages[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=pages[1:])
        assert Image.open(tmp_path / "a.jpg").n_frames == 2
        assert ImageFiles(tmp_path).unread_parts(tmp_path / "a.jpg") is None

    def test_one_page_is_a_whole_image(self, tmp_path):
        path = save(tmp_path / "a.tif")
        assert ImageFiles(tmp_path).unread_parts(path) is None


class TestRefusals:
    def test_images_whose_masks_would_overwrite_each_other(self, tmp_path):
        for name in ("a/x.png", "b/x.png", "b/X.jpg"):
            save(tmp_path / name)
        with refused(f"dataset_dir: {tmp_path} holds several images named b/X; rename them"):
            ImageFiles(tmp_path)

    def test_a_damaged_namesake_is_left_out(self, tmp_path):
        save(tmp_path / "x.png")
        (tmp_path / "x.jpg").write_bytes(b"damaged")
        files = ImageFiles(tmp_path)
        assert files.found == [tmp_path / "x.png"]
        assert list(files.left_out) == [tmp_path / "x.jpg"]

    def test_a_folder_where_nothing_can_be_read(self, tmp_path):
        with refused(f"dataset_dir: {tmp_path} holds no readable image; expected a folder of images"):
            ImageFiles(tmp_path)
        (tmp_path / "a.png").write_bytes(b"damaged")
        (tmp_path / "b.nii").write_bytes(b"any")
        with refused(rf"holds no readable image \(2 left out, first {tmp_path}/b.nii: is a NIfTI volume"):
            ImageFiles(tmp_path)

    def test_one_file_that_cannot_be_read(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"damaged")
        with refused(f"^dataset_dir: {tmp_path}/a.png: cannot be read as an image"):
            ImageFiles(tmp_path / "a.png")

    def test_a_path_that_is_not_there_and_one_that_is_no_file(self, tmp_path):
        with refused("dataset_dir: .*nowhere does not exist; expected a folder of images, or one image"):
            ImageFiles(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "pipe")
        with refused("dataset_dir: .*pipe is neither a file nor a folder"):
            ImageFiles(tmp_path / "pipe")


def test_listing_reads_images_only_until_one_can_be(tmp_path):
    for name in "abc":
        save(tmp_path / f"{name}.png")
    (tmp_path / "a.png").write_bytes(b"damaged")
    (tmp_path / "c.png").write_bytes(b"damaged")
    files = ImageFiles(tmp_path)
    assert files.found == [tmp_path / "b.png", tmp_path / "c.png"]
    assert list(files.left_out) == [tmp_path / "a.png"]


def test_images_that_viewers_turn_are_named(tmp_path):
    exif = Image.Exif()
    for name, orientation in {"upright.jpg": 1, "turned.jpg": 6, "turned.tif": 8}.items():
        exif[0x0112] = orientation
        save(tmp_path / "day" / name.replace(".tif", "2.tif"), exif=exif)
    save(tmp_path / "damaged.png", exif=b"Exif\0\0no tags")
    files = ImageFiles(tmp_path)
    [remark] = files.remarks(files.found)
    assert remark.startswith("2 images have an EXIF orientation, first day/turned.jpg")
    assert len(files.found) == 4


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
