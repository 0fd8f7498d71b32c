"""Stage 3: what is drawn, what is dropped, and what the reports say of it."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from integration import tiny_unet
from monai.data import Dataset
from monai.transforms import Compose, EnsureTyped, LoadImaged, RandSpatialCropSamplesd, Resize, ScaleIntensityRanged
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

from common.errors import InputError
from common.synthesis import drawing, training_images
from common.synthesis.confidence import measure_confidence
from common.synthesis.drawing import synthesize
from common.synthesis.folder import load_pipeline, save_pipeline
from common.synthesis.pictures import to_pictures
from common.synthesis.sampling import sample
from common.synthesis.training_images import TrainingImages, distances_between_training_images, read_training_images

SIZE = 16


def textures(count: int, channels: int = 1, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Return smooth random images ``(count, C, size, size)`` whose grey values files can hold."""
    noise = np.random.default_rng(seed).normal(size=(count, channels, size, size))
    smooth = gaussian_filter(noise, (0, 0, 1.5, 1.5), mode="wrap")
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.tensor(smooth, dtype=torch.float32).mul(255).round() / 255


def training_of(images: torch.Tensor, groups: list[str] | None = None) -> TrainingImages:
    """Return whole images, each of a patient of its own unless groups are given."""
    names = [f"{index}.png" for index in range(len(images))]
    return TrainingImages(names, groups or names, list(images), images, torch.arange(len(images)))


def save_model(folder: Path, channels: int = 1, seed: int = 0) -> Path:
    """Write an untrained diffusion model."""
    save_pipeline(tiny_unet(channels, seed), DDPMScheduler(), folder)
    return folder


@pytest.fixture
def pipeline(tmp_path):
    return load_pipeline(save_model(tmp_path / "diffusion"))


@pytest.fixture
def draw(monkeypatch):
    """Make the sampler give certain images, one after the other, whatever the sizes of the batches."""

    def give(images: torch.Tensor) -> list[int]:
        sizes: list[int] = []

        def fake_sample(unet, scheduler, count, *args, **kwargs):
            start = sum(sizes)
            sizes.append(count)
            return images[start : start + count].clone()

        monkeypatch.setattr(drawing, "sample", fake_sample)
        return sizes

    return give


@pytest.fixture
def interruption(monkeypatch):
    """Make the sampler fail at its second batch, as if the machine went down."""
    calls = []

    def failing_sample(*args, **kwargs):
        calls.append(kwargs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(drawing, "sample", failing_sample)
        yield calls


class Brightness(nn.Module):
    """A teacher for which bright pixels are a structure, the surer the farther from mid-grey."""

    def __init__(self, slope: float = 20.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        assert not self.training
        logit = self.slope * (images[:, :1] - 0.5)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def listed(folder: Path) -> list[str]:
    return [each["image"] for each in json.loads((folder / "datalist.json").read_text(encoding="utf-8"))["training"]]


TINY = {"num_inference_steps": 2, "batch_size": 2}


class TestTransferSet:
    @pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
    def test_it_is_complete(self, tmp_path, channels, mode):
        model, out = load_pipeline(save_model(tmp_path / "model", channels)), tmp_path / "transfer"
        synthesize(model, out, 5, training_of(textures(4, channels)), **TINY)
        assert listed(out) == [f"images/{index:06d}.png" for index in range(1, 6)]
        for name in listed(out):
            with Image.open(out / name) as picture:
                assert (picture.mode, picture.size) == (mode, (SIZE, SIZE))
        assert len({(out / name).read_bytes() for name in listed(out)}) == 5  # every batch has noise of its own
        assert {path.name for path in out.iterdir()} == {
            *("images", "datalist.json", "report.json", "samples.csv", "contact_sheet.png"),
        }
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "transfer"]

    def test_a_resumed_run_equals_an_uninterrupted_one(self, tmp_path, pipeline, interruption):
        def run(output_dir: Path) -> None:
            """As a process of its own would: with objects that are equal, and not the same."""
            model = load_pipeline(tmp_path / "diffusion")
            view = Resize((32, 32), mode="bilinear")
            synthesize(model, output_dir, 5, training_of(textures(4)), Brightness(), view, **TINY)

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "resumed")
        assert not (tmp_path / "resumed").exists()
        half_done = tmp_path / "resumed.partial/images"
        assert sorted(path.name for path in half_done.iterdir()) == ["000001.png", "000002.png"]
        (half_done / "000003.png").write_bytes(b"first image of a batch that was cut off")

        run(tmp_path / "resumed")
        assert len(interruption) == 4  # one batch before the interruption, one that failed, and the two that missed
        run(tmp_path / "whole")
        assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")

    @pytest.mark.parametrize("change", ["seed", "number", "model", "training", "teacher", "copy_threshold"])
    def test_images_of_another_run_are_not_mixed_in(self, tmp_path, pipeline, interruption, caplog, change):
        arguments = {"number": 5, "seed": 0, "copy_threshold": 0.1, "training": training_of(textures(4)), **TINY}
        with pytest.raises(KeyboardInterrupt):
            synthesize(pipeline, tmp_path / "transfer", **arguments)
        if change == "model":
            pipeline = load_pipeline(save_model(tmp_path / "other", seed=1))
        else:
            other = {"training": training_of(textures(4, seed=1)), "teacher": Brightness()}
            step = 0.1 if change == "copy_threshold" else 1
            arguments[change] = other[change] if change in other else arguments[change] + step
        with caplog.at_level(logging.WARNING):
            synthesize(pipeline, tmp_path / "transfer", **arguments)
        assert "starting over" in caplog.text
        synthesize(pipeline, tmp_path / "fresh", **arguments)
        assert contents(tmp_path / "transfer") == contents(tmp_path / "fresh")

    def test_an_earlier_one_is_replaced_and_a_folder_of_the_user_never(self, tmp_path, pipeline):
        training = training_of(textures(4))
        for number in (3, 2):
            synthesize(pipeline, tmp_path / "transfer", number, training, **TINY)
        assert len(list((tmp_path / "transfer/images").iterdir())) == 2
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/me.png").write_bytes(b"precious")
        with pytest.raises(InputError, match="photos"):
            synthesize(pipeline, tmp_path / "photos", 1, training)
        assert (tmp_path / "photos/me.png").read_bytes() == b"precious"

    @pytest.mark.parametrize(
        "bad",
        [
            {"number": 0},
            {"num_inference_steps": 0},
            {"batch_size": 0},
            {"seed": -1},
            {"copy_threshold": -0.1},
            {"copy_threshold": 1.1},
            {"min_confidence": 80, "teacher": Brightness()},
            {"min_confidence": 0.8},  # and nobody to ask
        ],
    )
    def test_numbers_out_of_range_are_refused(self, tmp_path, pipeline, bad):
        with pytest.raises(InputError, match=next(iter(bad))):
            synthesize(pipeline, tmp_path / "transfer", **{"number": 2, "training": training_of(textures(2)), **bad})
        assert not (tmp_path / "transfer.partial").exists()


class TestCopies:
    def test_they_are_dropped_counted_and_replaced(self, tmp_path, pipeline, draw):
        known, new = textures(6), textures(4, seed=1)
        altered = torch.stack([known[2].flip(-1), 0.8 * known[4].rot90(1, (-2, -1)) + 0.1])
        sizes = draw(torch.cat([new[:1], altered[:1], new[1:2], altered[1:], new[2:]]))
        synthesize(pipeline, tmp_path / "transfer", 4, training_of(known), batch_size=3)
        assert sizes == [3, 1, 2]  # four, and two in the place of the copies
        rows = read_rows(tmp_path / "transfer")
        assert [row["dropped"] for row in rows] == ["", "copy", "", "copy", "", ""]
        assert [row["nearest"] for row in rows if row["dropped"]] == ["2.png", "4.png"]
        assert [row["file"] for row in rows if row["file"]] == listed(tmp_path / "transfer")
        report = read_report(tmp_path / "transfer")
        assert (report["drawn"], report["kept"]) == (6, 4)
        assert report["dropped"] == {"copy": 2, "low confidence": 0}
        assert len(list((tmp_path / "transfer/images").iterdir())) == 4
        kept = [np.asarray(Image.open(tmp_path / "transfer" / name)) for name in listed(tmp_path / "transfer")]
        np.testing.assert_array_equal(np.stack(kept), [np.asarray(picture) for picture in to_pictures(new)])

    def test_replacing_ends_at_twice_the_number_with_a_warning(self, tmp_path, pipeline, draw, caplog):
        known = textures(3)
        sizes = draw(torch.cat([textures(1, seed=1), known.repeat(3, 1, 1, 1)]))
        with caplog.at_level(logging.WARNING):
            synthesize(pipeline, tmp_path / "transfer", 4, training_of(known), batch_size=4)
        assert sum(sizes) == 8
        assert "only 1 of 4 images: of 8 samples 7 are copies of training images" in caplog.text
        assert listed(tmp_path / "transfer") == ["images/000001.png"]

    def test_nothing_but_copies_is_an_error(self, tmp_path, pipeline, draw):
        known = textures(3)
        draw(known.repeat(2, 1, 1, 1))
        with pytest.raises(InputError, match=r"none of the 6 samples is left: 6 are copies .* lower copy_threshold"):
            synthesize(pipeline, tmp_path / "transfer", 3, training_of(known))
        assert not (tmp_path / "transfer").exists()

    def test_a_threshold_of_zero_keeps_them(self, tmp_path, pipeline, draw):
        known = textures(3)
        draw(known)
        synthesize(pipeline, tmp_path / "transfer", 3, training_of(known), copy_threshold=0)
        report = read_report(tmp_path / "transfer")
        assert report["kept"] == 3
        assert report["distance"]["samples"]["most"] < 0.01

    def test_neighbouring_slices_of_one_patient_hide_no_copy(self, tmp_path, pipeline, draw):
        slices = textures(4)
        slices[1] = (slices[0] + 0.02 * textures(1, seed=1)[0]).clamp(0, 1)
        draw(torch.cat([slices[:1].flip(-1), textures(3, seed=2)]))
        training = training_of(slices, ["A", "A", "B", "C"])
        synthesize(pipeline, tmp_path / "transfer", 1, training, batch_size=1)
        first = read_rows(tmp_path / "transfer")[0]
        assert (first["nearest"], first["dropped"]) == ("0.png", "copy")

    def test_training_images_are_compared_with_those_of_other_patients(self):
        first, second = textures(2)
        images = torch.stack([first, first + 0.01 * textures(1, seed=1)[0], second])
        one_each = distances_between_training_images(training_of(images))
        by_patient = distances_between_training_images(training_of(images, ["A", "A", "B"]))
        assert one_each[:2].max() < 0.02
        assert by_patient.min() > 0.1
        assert len(distances_between_training_images(training_of(images, ["A"] * 3))) == 0

    def test_with_one_patient_only_any_likeness_is_held_against_a_sample(self, tmp_path, pipeline, draw, caplog):
        known = textures(2)
        noise = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        draw(torch.cat([known[:1] + 0.2 * (noise - 0.5), noise]).clamp(0, 1))
        with caplog.at_level(logging.WARNING):
            synthesize(pipeline, tmp_path / "transfer", 1, training_of(known, ["A", "A"]), batch_size=1)
        assert "all training images are of one patient" in caplog.text
        report = read_report(tmp_path / "transfer")
        assert report["distance"]["training_images"] is None
        assert report["dropped"]["copy"] == 1


class TestConfidence:
    def test_it_is_the_dice_of_probabilities_and_prediction_over_the_classes_found(self):
        probabilities = torch.tensor([[0.1, 0.7, 0.2], [0.3, 0.6, 0.1], [0.9, 0.1, 0.0], [0.2, 0.2, 0.6]])
        logits = probabilities.clamp(min=1e-12).log().T.view(1, 3, 2, 2)
        first = 2 * (0.7 + 0.6) / (0.7 + 0.6 + 0.1 + 0.2 + 2)
        second = 2 * 0.6 / (0.2 + 0.1 + 0.6 + 1)
        confidence, share = measure_confidence(logits)
        assert confidence.tolist() == pytest.approx([(first + second) / 2], abs=1e-6)
        assert share.tolist() == pytest.approx([0.75])

    def test_more_background_changes_nothing_and_doubt_much(self):
        structure = torch.full((1, 1, 8, 8), -9.0)
        structure[..., 2:5, 2:5] = 9.0
        doubtful = structure / 9
        wide = nn.functional.pad(structure, [24] * 4, value=-20.0)
        values = [
            float(measure_confidence(torch.cat([torch.zeros_like(each), each], dim=1))[0])
            for each in (structure, wide, doubtful)
        ]
        assert values[0] == pytest.approx(values[1], abs=1e-3)
        assert values[0] > 0.99
        assert values[2] < 0.6

    def test_an_empty_segmentation_has_none(self):
        logits = torch.zeros(2, 3, 4, 4)
        logits[:, 0] = 5
        assert [each.tolist() for each in measure_confidence(logits)] == [[0, 0], [0, 0]]

    def test_samples_below_the_threshold_are_dropped_and_counted(self, tmp_path, pipeline, draw):
        clear = (textures(3, seed=1) > 0.5).float()
        grey = 0.5 + 0.02 * (textures(2, seed=2) - 0.5)
        draw(torch.cat([clear[:1], grey, clear[1:]]))
        teacher = Brightness()
        view = Resize((32, 32), mode="bilinear")
        synthesize(
            *(pipeline, tmp_path / "transfer", 3, training_of(textures(4)), teacher, view),
            min_confidence=0.8,
        )
        assert {shape[1:] for shape in teacher.shapes} == {(1, 32, 32)}
        rows = read_rows(tmp_path / "transfer")
        assert [row["dropped"] for row in rows] == ["", "low confidence", "low confidence", "", ""]
        assert [float(row["confidence"]) >= 0.8 for row in rows] == [True, False, False, True, True]
        assert float(rows[0]["foreground"]) == pytest.approx(float(clear[0].mean()), abs=0.05)
        assert read_report(tmp_path / "transfer")["dropped"] == {"copy": 0, "low confidence": 2}

    def test_without_a_teacher_nothing_is_said_of_it(self, tmp_path, pipeline):
        synthesize(pipeline, tmp_path / "transfer", 2, training_of(textures(3)), **TINY)
        assert read_report(tmp_path / "transfer")["confidence"] is None
        assert {(row["confidence"], row["foreground"]) for row in read_rows(tmp_path / "transfer")} == {("", "")}


class TestReports:
    def test_report_and_table_agree(self, tmp_path, pipeline, draw, caplog):
        known, new = textures(6), textures(5, seed=1)
        draw(torch.cat([known[:1], new]))
        with caplog.at_level(logging.INFO):
            synthesize(pipeline, tmp_path / "transfer", 5, training_of(known), Brightness())
        report, rows = read_report(tmp_path / "transfer"), read_rows(tmp_path / "transfer")
        assert len(rows) == report["drawn"] == 6
        for key, section in (("distance", report["distance"]["samples"]), ("confidence", report["confidence"])):
            values = [float(row[key]) for row in rows]
            assert section["median"] == pytest.approx(np.median(values), abs=1e-4)
            assert (section["least"], section["most"]) == pytest.approx((min(values), max(values)), abs=1e-4)
        between = distances_between_training_images(training_of(known))
        assert report["distance"]["training_images"]["median"] == pytest.approx(np.median(between), abs=1e-5)
        for row in rows:
            assert (row["dropped"] == "copy") == (float(row["distance"]) < 0.5 * float(row["rival"]))
        assert report["settings"]["number"] == 5
        assert report["diversity"]["images"] == 5
        assert 1 < report["diversity"]["samples"] <= 5
        assert "5 of 6 samples kept; dropped 1 copies" in caplog.text
        assert f"between training images {report['distance']['training_images']['median']:.3f}" in caplog.text
        assert f"of 5 samples {report['diversity']['samples']:.1f}" in caplog.text

    def test_the_most_similar_pairs_come_first_on_the_contact_sheet(self, tmp_path, pipeline, draw):
        known, new = textures(4), textures(2, seed=1)
        lopsided = known[1].clone()
        draw(torch.cat([new[:1], lopsided[None].transpose(-2, -1), new[1:]]))
        synthesize(pipeline, tmp_path / "transfer", 2, training_of(known), batch_size=2)
        sheet = np.asarray(Image.open(tmp_path / "transfer/contact_sheet.png").convert("L"), float)
        left, right = sheet[8:136, 8:136], sheet[8:136, 136:264]
        seen = to_pictures(lopsided[None].transpose(-2, -1))[0].resize((128, 128), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(left, np.asarray(seen, float), atol=1)
        # The training image is turned as its copy is, so that the two can be compared.
        assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.95


class TestTrainingImages:
    def test_they_are_read_with_what_the_model_was_shown_of_them(self, tmp_path):
        entries = []
        for index, size in enumerate([(40, 30), (36, 50)]):
            pixels = np.random.default_rng(index).integers(0, 256, size, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{index}.png")
            entries.append({"image": str(tmp_path / f"{index}.png")})
        load = Compose(
            [
                LoadImaged(keys="image", reader="PILReader", ensure_channel_first=True),
                ScaleIntensityRanged(keys="image", a_min=0, a_max=255, b_min=0, b_max=1),
                EnsureTyped(keys="image", track_meta=False),
            ]
        )
        images = Dataset(entries, load)
        patches = Dataset(images, RandSpatialCropSamplesd(keys="image", roi_size=(16, 16), num_samples=3))
        training = read_training_images(entries, ["A", None], images, patches, seed=3)
        assert training.names == ["0.png", "1.png"]
        assert training.groups[0] == "A"
        assert len(set(training.groups)) == 2
        assert [tuple(image.shape) for image in training.images] == [(1, 30, 40), (1, 50, 36)]  # columns, then rows
        assert training.views.shape == (6, 1, 16, 16)
        assert training.owners.tolist() == [0, 0, 0, 1, 1, 1]
        for view, owner in zip(training.views, training.owners, strict=True):
            windows = training.images[owner].unfold(1, 16, 1).unfold(2, 16, 1)
            assert (windows == view[:, None, None]).all((0, 3, 4)).any()
        again = read_training_images(entries, ["A", None], images, patches, seed=3)
        assert torch.equal(again.views, training.views)

    def test_files_of_one_name_are_told_apart_by_their_folders(self):
        paths = ["/data/MR/1/i01.dcm", "/data/MR/2/i01.dcm"]
        assert training_images._short_names(paths) == ["1/i01.dcm", "2/i01.dcm"]
