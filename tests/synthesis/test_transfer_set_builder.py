"""What is drawn, dropped and kept."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from monai.transforms import Resize
from PIL import Image
from textures import small_textures
from transfer_sets import Brightness, build, listed, make_training_images, read_report, read_rows, save_model

from common.errors import InputError
from common.synthesis.diffusion_folder import load_pipeline
from common.synthesis.pictures import to_pictures

SIZE = 16


class TestFiles:
    @pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
    def test_a_transfer_set_is_complete(self, tmp_path, channels, mode):
        model, out = load_pipeline(save_model(tmp_path / "model", channels)), tmp_path / "transfer"
        build(model, out, make_training_images(small_textures(4, channels)), num_images=5, batch_size=2)
        assert listed(out) == [f"images/{index:06d}.png" for index in range(1, 6)]
        for name in listed(out):
            with Image.open(out / name) as picture:
                assert (picture.mode, picture.size) == (mode, (SIZE, SIZE))
        assert len({(out / name).read_bytes() for name in listed(out)}) == 5  # every batch has noise of its own
        assert {path.name for path in out.iterdir()} == {
            *("images", "datalist.json", "report.json", "samples.csv", "contact_sheet.png"),
        }
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "transfer"]

    def test_an_earlier_one_is_replaced_and_a_folder_of_the_user_never(self, tmp_path, pipeline):
        training = make_training_images(small_textures(4))
        for number in (3, 2):
            build(pipeline, tmp_path / "transfer", training, num_images=number)
        assert len(list((tmp_path / "transfer/images").iterdir())) == 2
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/me.png").write_bytes(b"precious")
        with pytest.raises(InputError, match="photos"):
            build(pipeline, tmp_path / "photos", training, num_images=1)
        assert (tmp_path / "photos/me.png").read_bytes() == b"precious"

    def test_a_least_confidence_without_a_teacher_is_refused(self, tmp_path, pipeline):
        with pytest.raises(InputError, match="min_confidence needs a teacher"):
            build(
                pipeline,
                tmp_path / "transfer",
                make_training_images(small_textures(2)),
                num_images=2,
                min_confidence=0.8,
            )
        assert not (tmp_path / "transfer.partial").exists()


class TestCopies:
    def test_they_are_dropped_counted_and_replaced(self, tmp_path, pipeline, draw):
        known, new = small_textures(6), small_textures(4, seed=1)
        altered = torch.stack([known[2].flip(-1), 0.8 * known[4].rot90(1, (-2, -1)) + 0.1])
        sizes = draw(torch.cat([new[:1], altered[:1], new[1:2], altered[1:], new[2:]]))
        build(pipeline, tmp_path / "transfer", make_training_images(known), num_images=4, batch_size=3)
        assert sizes == [3, 1, 2]  # four, and two in the place of the copies
        rows = read_rows(tmp_path / "transfer")
        assert [row["dropped"] for row in rows] == ["", "copy", "", "copy", "", ""]
        assert [row["nearest"] for row in rows if row["dropped"]] == ["2.png", "4.png"]
        assert [row["file"] for row in rows if row["file"]] == listed(tmp_path / "transfer")
        report = read_report(tmp_path / "transfer")
        assert (report["drawn"], report["kept"]) == (6, 4)
        assert report["dropped"] == {"copy": 2, "unrealistic": 0, "low confidence": 0}
        assert len(list((tmp_path / "transfer/images").iterdir())) == 4
        kept = [np.asarray(Image.open(tmp_path / "transfer" / name)) for name in listed(tmp_path / "transfer")]
        np.testing.assert_array_equal(np.stack(kept), [np.asarray(picture) for picture in to_pictures(new)])

    def test_replacing_ends_at_twice_the_number_with_a_warning(self, tmp_path, pipeline, draw, caplog):
        known = small_textures(3)
        sizes = draw(torch.cat([small_textures(1, seed=1), known.repeat(3, 1, 1, 1)]))
        with caplog.at_level(logging.WARNING):
            build(pipeline, tmp_path / "transfer", make_training_images(known), num_images=4, batch_size=4)
        assert sum(sizes) == 8
        assert "only 1 of 4 images: of 8 samples 7 are copies of training images" in caplog.text
        assert listed(tmp_path / "transfer") == ["images/000001.png"]

    def test_nothing_but_copies_is_an_error(self, tmp_path, pipeline, draw):
        known = small_textures(3)
        draw(known.repeat(2, 1, 1, 1))
        with pytest.raises(InputError, match=r"none of the 6 samples is left: 6 are copies .* lower copy_threshold"):
            build(pipeline, tmp_path / "transfer", make_training_images(known), num_images=3)
        assert not (tmp_path / "transfer").exists()

    def test_a_threshold_of_zero_keeps_them(self, tmp_path, pipeline, draw):
        known = small_textures(3)
        draw(known)
        build(pipeline, tmp_path / "transfer", make_training_images(known), num_images=3, copy_threshold=0)
        assert read_report(tmp_path / "transfer")["kept"] == 3

    def test_with_one_patient_only_any_likeness_is_held_against_a_sample(self, tmp_path, pipeline, draw, caplog):
        known = small_textures(2)
        noise = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        draw(torch.cat([known[:1] + 0.2 * (noise - 0.5), noise]).clamp(0, 1))
        with caplog.at_level(logging.WARNING):
            build(pipeline, tmp_path / "transfer", make_training_images(known, ["A", "A"]), num_images=1, batch_size=1)
        assert "all training images are of one patient" in caplog.text
        report = read_report(tmp_path / "transfer")
        assert report["distance"]["training_images"] is None
        assert report["dropped"]["copy"] == 1


class TestRealism:
    NOISE = torch.rand(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    def test_noise_is_dropped_counted_and_replaced(self, tmp_path, pipeline, draw):
        known, new = small_textures(8), small_textures(4, seed=1)
        draw(torch.cat([new[:2], self.NOISE[:1], new[2:]]))
        arguments = {"num_images": 4, "batch_size": 4, "max_strangeness": 1.5}
        build(pipeline, tmp_path / "transfer", make_training_images(known), **arguments)
        rows = read_rows(tmp_path / "transfer")
        assert [row["dropped"] for row in rows] == ["", "", "unrealistic", "", ""]
        assert [float(row["strangeness"]) > 1.5 for row in rows] == [False, False, True, False, False]
        report = read_report(tmp_path / "transfer")
        assert report["dropped"] == {"copy": 0, "unrealistic": 1, "low confidence": 0}
        assert report["realism"]["kept"]["precision"] > report["realism"]["all_samples"]["precision"]

    def test_where_most_is_noise_it_stops_before_more_is_drawn(self, tmp_path, pipeline, draw):
        sizes = draw(torch.cat([small_textures(1, seed=1), self.NOISE]))
        training = make_training_images(small_textures(8))
        with pytest.raises(InputError, match=r"3 of 4 samples are no images of the kind .* --allow_unrealistic true"):
            build(pipeline, tmp_path / "transfer", training, num_images=4, max_strangeness=1.5)
        assert sum(sizes) == 4
        assert not (tmp_path / "transfer").exists()

    def test_half_is_not_most(self, tmp_path, pipeline, draw):
        draw(torch.cat([small_textures(2, seed=1), self.NOISE[:2], small_textures(2, seed=2)]))
        training = make_training_images(small_textures(8))
        build(pipeline, tmp_path / "transfer", training, num_images=4, max_strangeness=1.5)
        assert read_report(tmp_path / "transfer")["kept"] == 4

    def test_it_goes_on_with_a_warning_where_that_is_allowed(self, tmp_path, pipeline, draw, caplog):
        draw(self.NOISE)
        arguments = {"num_images": 8, "max_strangeness": 1.5, "allow_unrealistic": True}
        with caplog.at_level(logging.WARNING):
            build(pipeline, tmp_path / "transfer", make_training_images(small_textures(8)), **arguments)
        assert "8 of 8 samples are no images of the kind" in caplog.text
        assert "they are kept, since allow_unrealistic is set" in caplog.text
        report = read_report(tmp_path / "transfer")
        assert (report["kept"], report["realism"]["kept"]["precision"]) == (8, 0)

    def test_of_two_training_images_of_which_nothing_is_usual_it_drops_nothing(self, tmp_path, pipeline, draw, caplog):
        draw(self.NOISE)
        alike = small_textures(1).repeat(2, 1, 1, 1)
        with caplog.at_level(logging.INFO):
            build(pipeline, tmp_path / "transfer", make_training_images(alike), num_images=2, max_strangeness=1.5)
        assert "what is no image of this kind cannot be told" in caplog.text
        assert "how real all samples" not in caplog.text
        report = read_report(tmp_path / "transfer")
        assert report["strangeness"] is None
        assert report["realism"] == {"all_samples": None, "kept": None, "training_images": None}
        assert {row["strangeness"] for row in read_rows(tmp_path / "transfer")} == {""}


class TestConfidence:
    def test_samples_below_the_threshold_are_dropped_and_replaced(self, tmp_path, pipeline, draw):
        clear = (small_textures(3, seed=1) > 0.5).float()
        grey = 0.5 + 0.02 * (small_textures(2, seed=2) - 0.5)
        draw(torch.cat([clear[:1], grey, clear[1:]]))
        teacher, transform = Brightness(), Resize((32, 32), mode="bilinear")
        training = make_training_images(small_textures(4))
        arguments = {"teacher": teacher, "teacher_transform": transform, "min_confidence": 0.8}
        build(pipeline, tmp_path / "transfer", training, num_images=3, **arguments)
        assert {shape[1:] for shape in teacher.shapes} == {(1, 32, 32)}
        rows = read_rows(tmp_path / "transfer")
        assert [row["dropped"] for row in rows] == ["", "low confidence", "low confidence", "", ""]
        assert [float(row["confidence"]) >= 0.8 for row in rows] == [True, False, False, True, True]
        assert float(rows[0]["foreground"]) == pytest.approx(float(clear[0].mean()), abs=0.05)
        assert read_report(tmp_path / "transfer")["dropped"] == {"copy": 0, "unrealistic": 0, "low confidence": 2}


class TestStructures:
    """The teacher takes bright pixels for structures."""

    def build(self, samples, tmp_path, pipeline, draw, caplog):
        draw(samples)
        known = torch.zeros(4, 1, SIZE, SIZE)
        known[:, :, :8] = 0.9  # half of every training image
        known += 0.05 * small_textures(4)
        with caplog.at_level(logging.WARNING):
            build(
                pipeline, tmp_path / "transfer", make_training_images(known), num_images=4, teacher=Brightness(),
                copy_threshold=0,
            )  # fmt: skip
        return read_report(tmp_path / "transfer")

    def test_where_they_are_missing_a_warning_says_so(self, tmp_path, pipeline, draw, caplog):
        report = self.build(0.3 * small_textures(4, seed=1), tmp_path, pipeline, draw, caplog)
        assert "structures on 0.0% of the samples' pixels, and on 50.0% of those of the training images" in caplog.text
        assert report["foreground_of_training_images"]["median"] == 0.5

    def test_where_they_are_there_nothing_is_said(self, tmp_path, pipeline, draw, caplog):
        samples = 0.3 * small_textures(4, seed=1)
        samples[:, :, :5] = 0.9  # five of sixteen rows, more than half of the eight
        self.build(samples, tmp_path, pipeline, draw, caplog)
        assert "structures on" not in caplog.text
