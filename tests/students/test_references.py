"""The reference of a student: features of images of its training, kept with its weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from integration import refused, tiny_student

from common.students.reference_images import reference_of, with_reference
from common.students.references import Reference

FEATURES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


class TestFeatures:
    def test_its_reach_is_what_nine_of_ten_do_not_exceed(self):
        reference = Reference.of(np.array([[0.0, 0], [0, 1], [0, 4], [9, 4]]))
        assert reference.reach == pytest.approx(np.percentile([1, 1, 3, 9], 90))

    @pytest.mark.parametrize(
        "features", [FEATURES[:1], FEATURES[:0], np.ones((5, 4)), np.full((3, 4), np.nan), np.ones(4)]
    )
    def test_there_is_none_of_images_that_show_nothing_typical(self, features):
        assert Reference.of(features) is None

    def test_it_goes_to_json_and_back_unchanged(self):
        reference = Reference.of(FEATURES)
        again = Reference.from_json(json.loads(json.dumps(reference.to_json())))
        np.testing.assert_array_equal(again.features, FEATURES)
        assert again.reach == reference.reach

    def test_nothing_in_its_json_looks_like_a_path(self):
        features = np.frombuffer(b"\xff" * 4000, "<f4").reshape(10, 100)
        assert "/" not in json.dumps(Reference(features, 1.0).to_json())

    def test_none_stays_none(self):
        assert Reference.from_json(None) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"shape": [6, 5]},
            {"shape": None},
            {"shape": [0, 0], "float32": ""},
            {"float32": "no base64!"},
            {"float32": 3},
        ],
    )
    def test_what_is_damaged_is_refused(self, changes):
        with refused("model.pt: the reference in the provenance is damaged"):
            Reference.from_json(Reference.of(FEATURES).to_json() | changes, "model.pt")

    @pytest.mark.parametrize("content", [[], "text", {}, {"shape": [6, 4]}])
    def test_what_is_none_is_refused(self, content):
        with refused("is damaged"):
            Reference.from_json(content)


def entries(count: int) -> list[dict[str, str]]:
    return [{"image": str(number)} for number in range(count)]


def picture(entry: dict[str, str], width: int = 32, height: int = 32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(int(entry["image"]))
    return {"image": torch.rand(3, width, height, generator=generator)}


class TestImages:
    def test_each_image_counts_once_however_often_it_was_repeated(self, randomise):
        student = randomise(tiny_student())
        once = reference_of(student, entries(5), picture, 32, 3)
        assert once["shape"] == [5, 24]
        assert reference_of(student, entries(5) * 3, picture, 32, 3) == once

    def test_at_most_64_are_taken_from_all_over_the_training(self, randomise):
        seen = []

        def note(entry):
            seen.append(int(entry["image"]))
            return picture(entry)

        assert reference_of(randomise(tiny_student()), entries(200), note, 32, 3)["shape"] == [64, 24]
        assert (min(seen), max(seen)) == (0, 199)
        assert len(set(seen)) == 64

    def test_of_an_image_larger_than_what_is_seen_its_tiles_are_averaged(self, randomise):
        student = randomise(tiny_student())
        found = Reference.from_json(reference_of(student, entries(2), lambda e: picture(e, 64, 48), 32, 3)).features[1]
        image = picture(entries(2)[1], 64, 48)["image"]
        tiles = torch.stack([image[:, x : x + 32, y : y + 32] for x in (0, 32) for y in (0, 16)])
        with torch.no_grad():
            expected = student.encoder((tiles - 0.5) / 0.25).mean((0, 2, 3))
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_it_is_what_the_network_makes_of_images_in_use(self, randomise):
        """Without dropout, and the network is left in the mode that it had."""
        student = randomise(tiny_student(dropout=0.5)).train()
        assert reference_of(student, entries(3), picture, 32, 3) == reference_of(student, entries(3), picture, 32, 3)
        assert student.training

    def test_one_image_makes_none(self, randomise):
        assert reference_of(randomise(tiny_student()), entries(1), picture, 32, 3) is None
        assert reference_of(randomise(tiny_student()), [], picture, 32, 3) is None

    def test_it_joins_what_else_is_known(self, randomise):
        student = randomise(tiny_student())
        known = with_reference({"method": "scratch"}, student, entries(4), [picture], 32, 3)
        assert known == {"method": "scratch", "reference": reference_of(student, entries(4), picture, 32, 3)}

    def test_other_ranks_than_the_first_need_none(self, monkeypatch):
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("RANK", "1")
        assert with_reference({"method": "scratch"}, tiny_student(), entries(4), [picture], 32, 3) == {
            "method": "scratch"
        }
