"""What a user gets from ``predict``: masks, and the truth about what has none."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
from integration import refused
from PIL import Image
from tiny_onnx import FACTS, write_onnx

from common.pictures.palette import mask_palette
from common.prediction.colours import is_coloured, is_grey
from common.prediction.predict import predict
from common.students.references import Reference

RED, BLUE, GREY = (250, 20, 20), (20, 20, 250), (60, 60, 60)


def scene(width: int = 70, height: int = 46) -> np.ndarray:
    """Return a grey picture with a red square at the upper left and a blue one at the lower right."""
    pixels = np.full((height, width, 3), GREY, np.uint8)
    pixels[4:20, 6:26], pixels[-14:-4, -30:-10] = RED, BLUE
    return pixels


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three pictures, one of them in a folder of its own with a name of spaces and umlauts."""
    folder = tmp_path / "photos"
    (folder / "Fuß 2").mkdir(parents=True)
    Image.fromarray(scene()).save(folder / "a.png")
    Image.fromarray(scene(40, 90)).save(folder / "Fuß 2" / "ä b.png")
    Image.fromarray(np.full((30, 30, 3), GREY, np.uint8)).save(folder / "empty.bmp")
    return folder


@pytest.fixture
def weights(tmp_path) -> Path:
    return write_onnx(tmp_path / "model.onnx")


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder(photos, weights, tmp_path, capsys):
    predict(photos, weights, tmp_path / "out")
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    masks = {"Fuß 2/ä b_mask.png", "a_mask.png", "empty_mask.png"}
    assert written == {*masks, "logs/predict.log", "logs/predict.jsonl", ".lock"}
    mask = read(tmp_path / "out" / "a_mask.png")
    assert (mask.shape, mask.dtype) == ((46, 70), np.uint8)
    truth = np.zeros((46, 70), np.uint8)
    truth[4:20, 6:26], truth[-14:-4, -30:-10] = 1, 2
    assert (mask == truth).mean() > 0.95
    assert not read(tmp_path / "out" / "empty_mask.png").any()
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == f"3 masks written to {tmp_path / 'out'}"
    assert "images a second" in output.out
    assert "\r" not in output.err, "a bar where there is no terminal"


def test_one_picture(photos, weights, tmp_path, capsys):
    predict(photos / "a.png", weights, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a_mask.png"]
    assert capsys.readouterr().out.splitlines()[-1] == f"1 mask written to {tmp_path / 'out'}"


def test_a_picture_that_cannot_be_read_stops_no_other_and_is_named(photos, weights, tmp_path):
    (photos / "cut off.png").write_bytes((photos / "a.png").read_bytes()[:100])
    Image.new("I;16", (20, 20)).save(photos / "deep.png")
    (photos / "volume.nii.gz").touch()
    (photos / "notes.txt").touch()
    with refused(
        rf"^3 masks written to {tmp_path}/out, 3 left out: volume.nii.gz \(is a NIfTI volume; expected .*",
        r"cut off.png \(cannot be read as an image",
        r"deep.png \(has more than 8 bits a channel",
    ):
        predict(photos, weights, tmp_path / "out", table=True)
    assert len(list((tmp_path / "out").rglob("*_mask.png"))) == 3
    assert len(table(tmp_path / "out")) == 3


def test_all_that_is_left_out_is_in_the_log(photos, weights, tmp_path):
    for number in range(7):
        (photos / f"bad {number}.png").write_bytes(b"no picture")
    with refused("and 2 more, see .*out/logs/predict.log"):
        predict(photos, weights, tmp_path / "out")
    log = (tmp_path / "out" / "logs" / "predict.log").read_text(encoding="utf-8")
    assert all(f"bad {number}.png: cannot be read" in log for number in range(7))


def test_the_same_command_again_does_not_segment_its_own_results(photos, weights, tmp_path, capsys):
    for _ in range(2):
        predict(photos, weights, photos / "masks", overlays=True, palette=True)
        assert capsys.readouterr().out.splitlines()[-1].startswith("3 masks written")


def test_a_read_only_folder_of_images(photos, weights, tmp_path):
    photos.chmod(0o500)
    predict(photos, weights, tmp_path / "out")
    photos.chmod(0o700)
    assert (tmp_path / "out" / "a_mask.png").is_file()


class TestFormats:
    def test_a_palette_makes_masks_visible_and_leaves_ids_alone(self, photos, weights, tmp_path):
        predict(photos, weights, tmp_path / "grey")
        predict(photos, weights, tmp_path / "coloured", palette=True)
        mask = Image.open(tmp_path / "coloured" / "a_mask.png")
        assert mask.mode == "P"
        assert mask.getpalette()[:9] == mask_palette(3)[:9]
        np.testing.assert_array_equal(np.asarray(mask), read(tmp_path / "grey" / "a_mask.png"))
        assert np.asarray(mask).max() == 2

    def test_nifti_of_a_picture_lies_on_it(self, photos, weights, tmp_path):
        predict(photos, weights, tmp_path / "png")
        predict(photos, weights, tmp_path / "out", format="nifti")
        mask = nibabel.load(tmp_path / "out" / "a_mask.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj)[..., 0].T, read(tmp_path / "png" / "a_mask.png"))
        assert nibabel.aff2axcodes(mask.affine) == ("L", "P", "S")
        assert mask.header.get_data_dtype() == np.uint8

    def test_probabilities(self, photos, weights, tmp_path):
        predict(photos, weights, tmp_path / "out", probabilities=True)
        with np.load(tmp_path / "out" / "a_probabilities.npz") as found:
            probabilities, classes = found["probabilities"], found["classes"]
        assert (probabilities.shape, probabilities.dtype) == ((3, 46, 70), np.float16)
        assert classes.tolist() == FACTS["classes"]
        np.testing.assert_allclose(probabilities.sum(0, dtype=np.float32), 1, atol=2e-3)
        np.testing.assert_array_equal(probabilities.argmax(0), read(tmp_path / "out" / "a_mask.png"))

    def test_overlays(self, photos, weights, tmp_path):
        predict(photos, weights, tmp_path / "out", overlays=True)
        for name in ("a", "Fuß 2/ä b", "empty"):
            overlay = read(tmp_path / "out" / f"{name}_overlay.png")
            assert overlay.ndim == 3
            assert min(overlay.shape[:2]) > 100

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"format": "dicom-seg"}, "--format dicom-seg: .* of DICOM series alone"),
            ({"format": "tiff"}, "--format: expected one of auto, png, nifti, dicom-seg, got 'tiff'"),
            ({"format": "nifti", "palette": True}, "--palette: .* only PNG has a palette"),
            ({"overlap": 0.5}, "--overlap: is of crops, and the student sees whole images; leave it out"),
            ({"device": "cuda:1"}, "--device cuda:1: .*model.onnx runs on the CPU alone"),
            ({"overlap": 1}, "--overlap: expected a share from 0 to below 1, got 1"),
            ({"size": 64}, "--size 64: .* was trained with 32"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_written(self, photos, weights, tmp_path, options, message):
        with refused(message):
            predict(photos, weights, tmp_path / "out", **options)
        assert not list((tmp_path / "out").rglob("*_mask*"))

    def test_a_bundle_that_is_not_needed_is_said_to_have_no_effect(self, photos, weights, tmp_path, caplog):
        predict(photos, weights, tmp_path / "out", bundle=tmp_path, device="cpu")
        assert f"--bundle {tmp_path} has no effect: {weights} says all of it itself" in caplog.messages


class TestTable:
    def test_it_has_the_size_of_each_structure(self, photos, weights, tmp_path):
        predict(photos, weights, tmp_path / "out", table=True)
        rows = {row["image"]: row for row in table(tmp_path / "out")}
        assert set(rows) == {"a.png", "Fuß 2/ä b.png", "empty.bmp"}
        mask = read(tmp_path / "out" / rows["a.png"]["mask"])
        assert rows["a.png"]["wound pixels"] == str((mask == 1).sum())
        assert rows["a.png"]["bandage pixels"] == str((mask == 2).sum())
        assert rows["empty.bmp"]["wound pixels"] == "0"
        assert not any("mm2" in column for column in rows["a.png"]), "nothing says how large a pixel is"

    def test_the_most_doubtful_images_come_first(self, photos, tmp_path, capsys):
        features = np.array([[0.23, 0.23, 0.23], [0.24, 0.24, 0.24]])  # as of grey pictures
        facts = {**FACTS, "reference": Reference.of(features).to_json()}
        unsure = np.full((30, 30, 3), (129, 20, 20), np.uint8)
        Image.fromarray(unsure).save(photos / "unsure.png")
        predict(photos, write_onnx(tmp_path / "model.onnx", facts), tmp_path / "out", table=True)
        rows = table(tmp_path / "out")
        doubts = [float(row["doubt"]) for row in rows]
        assert doubts == sorted(doubts, reverse=True)
        assert [rows[0]["image"], rows[-1]["image"]] == ["unsure.png", "empty.bmp"]
        assert float(rows[0]["distance"]) > 1
        assert float(rows[-1]["confidence"]) > float(rows[0]["confidence"])
        assert "look at these first, by their doubt from 0 to 1: unsure.png (" in capsys.readouterr().out

    def test_where_no_reference_is_known_there_is_no_distance(self, photos, weights, tmp_path):
        predict(photos, weights, tmp_path / "out", table=True)
        assert {row["distance"] for row in table(tmp_path / "out")} == {""}


def test_grey_pictures_for_a_student_of_grey_ones(tmp_path):
    facts = {**FACTS, "in_channels": 1, "classes": ["background", "bright"]}
    pixels = np.zeros((40, 50), np.uint8)
    pixels[10:30, 5:25] = 255
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "in" / "colour.png")
    Image.fromarray(pixels).save(tmp_path / "in" / "grey.png")
    predict(tmp_path / "in", write_onnx(tmp_path / "model.onnx", facts), tmp_path / "out")
    masks = [read(tmp_path / "out" / f"{name}_mask.png") for name in ("colour", "grey")]
    np.testing.assert_array_equal(*masks)
    assert (masks[0] == (pixels > 0)).mean() > 0.95


def test_crops_are_seen_as_they_are(tmp_path):
    """Every pixel is judged in its own resolution: single ones are found."""
    facts = {**{key: value for key, value in FACTS.items() if key != "image_size"}, "sees": "crops", "crop_size": 32}
    pixels = np.full((77, 90, 3), GREY, np.uint8)
    pixels[::9, ::7] = RED
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "dots.png")
    predict(tmp_path / "in", write_onnx(tmp_path / "model.onnx", facts), tmp_path / "out", probabilities=True)
    mask = read(tmp_path / "out" / "dots_mask.png")
    np.testing.assert_array_equal(mask, (pixels[..., 0] == 250).astype(np.uint8))
    with np.load(tmp_path / "out" / "dots_probabilities.npz") as found:
        np.testing.assert_array_equal(found["probabilities"].argmax(0), mask)


def test_a_student_of_pictures_gets_no_volumes(weights, tmp_path):
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "in" / "a.nii.gz")
    with refused("holds no readable image", "is a NIfTI volume"):
        predict(tmp_path / "in", weights, tmp_path / "out")


class TestColours:
    def test_grey_pictures_for_a_student_of_coloured_ones_are_counted(self, photos, weights, tmp_path, caplog):
        predict(photos, weights, tmp_path / "out")
        (said,) = [each for each in caplog.messages if "grey" in each]
        assert said.startswith("1 of 3 images is grey, and the student has learned colour images")
        assert said.endswith("first empty.bmp")

    def test_coloured_pictures_for_a_student_of_grey_ones_are_counted(self, photos, tmp_path, caplog):
        facts = {**FACTS, "in_channels": 1, "classes": ["background", "bright"]}
        predict(photos, write_onnx(tmp_path / "model.onnx", facts), tmp_path / "out")
        (said,) = [each for each in caplog.messages if "coloured" in each]
        assert said.startswith("2 of 3 images are coloured, and the student has learned grey images")

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    def test_masks_are_asked_about(self, weights, tmp_path, caplog, suffix):
        (tmp_path / "masks").mkdir()
        pixels = np.zeros((40, 60), np.uint8)
        pixels[10:30, 20:50] = 255
        Image.fromarray(pixels).save(tmp_path / "masks" / f"a{suffix}")
        predict(tmp_path / "masks", weights, tmp_path / "out")
        assert caplog.messages == [
            f"1 of 1 images is grey with two values, as masks are: are these masks? First a{suffix}"
        ]

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA", "YCbCr"])
    def test_a_grey_picture_is_grey_however_it_is_stored(self, mode):
        grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90), np.uint8))
        assert is_grey(grey.convert(mode))
        assert not is_coloured(grey.convert(mode))

    def test_a_small_mark_in_colour_makes_no_coloured_picture(self):
        pixels = np.full((200, 200, 3), 90, np.uint8)
        pixels[:50, :40] = (250, 0, 0)
        assert not is_coloured(Image.fromarray(pixels))
        assert not is_grey(Image.fromarray(pixels))
        pixels[:, :40] = (250, 0, 0)
        assert is_coloured(Image.fromarray(pixels))
