"""Which samples stay out of a transfer set."""

from __future__ import annotations

import pytest
import torch
from textures import small_textures
from transfer_sets import Brightness, judge, make_training_images

from common.synthesis.sample_selection import count_dropped, count_kept, describe_dropped
from common.synthesis.settings import TransferSetSettings


def test_an_altered_copy_is_dropped_and_a_new_image_kept():
    known, new = small_textures(6), small_textures(1, seed=1)
    samples = torch.cat([new, 0.8 * known[4:5].rot90(1, (-2, -1)) + 0.1])
    judgements = judge(samples, make_training_images(known), TransferSetSettings(1))
    assert [each.dropped for each in judgements] == ["", "copy"]
    assert judgements[1].nearest == 4
    assert judgements[1].distance < 0.5 * judgements[1].rival
    assert [(each.confidence, each.foreground) for each in judgements] == [(None, None)] * 2


def test_neighbouring_slices_of_one_patient_hide_no_copy():
    slices = small_textures(4)
    slices[1] = (slices[0] + 0.02 * small_textures(1, seed=1)[0]).clamp(0, 1)
    training = make_training_images(slices, ["A", "A", "B", "C"])
    [judgement] = judge(slices[:1].flip(-1), training, TransferSetSettings(1))
    assert (judgement.nearest, judgement.dropped) == (0, "copy")
    [by_image] = judge(slices[:1].flip(-1), make_training_images(slices), TransferSetSettings(1))
    assert by_image.rival < judgement.rival


def test_a_threshold_of_zero_drops_no_copy():
    known = small_textures(3)
    judgements = judge(known, make_training_images(known), TransferSetSettings(3, copy_threshold=0))
    assert [each.dropped for each in judgements] == [""] * 3
    assert max(each.distance for each in judgements) < 0.01


def test_a_sample_that_the_teacher_is_unsure_of_is_dropped():
    clear = (small_textures(1, seed=1) > 0.5).float()
    grey = 0.5 + 0.02 * (small_textures(1, seed=2) - 0.5)
    settings = TransferSetSettings(1, min_confidence=0.8)
    judgements = judge(torch.cat([clear, grey]), make_training_images(small_textures(4)), settings, Brightness())
    assert [each.dropped for each in judgements] == ["", "low confidence"]
    assert judgements[0].confidence >= 0.8 > judgements[1].confidence


def test_a_copy_that_the_teacher_is_unsure_of_counts_as_a_copy():
    known = small_textures(2)
    settings = TransferSetSettings(1, min_confidence=0.8)
    judgements = judge(known, make_training_images(known), settings, Brightness(0.1))
    assert max(each.confidence for each in judgements) < 0.8
    assert count_dropped(judgements) == {"copy": 2, "unrealistic": 0, "low confidence": 0}
    assert count_kept(judgements) == 0
    assert describe_dropped(judgements).startswith("2 are copies of training images")


class TestRealism:
    @pytest.fixture(scope="class")
    def judged(self):
        """Return why each of four new textures and four images of noise is dropped."""

        def judge_with(**settings):
            known, noise = small_textures(12), torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
            samples = torch.cat([small_textures(4, seed=1), noise])
            return judge(
                samples, make_training_images(known), TransferSetSettings(1, **{"max_strangeness": 1.5, **settings})
            )

        return judge_with

    def test_noise_is_dropped_and_new_images_are_kept(self, judged):
        judgements = judged()
        assert [each.dropped for each in judgements] == [""] * 4 + ["unrealistic"] * 4
        assert max(each.strangeness for each in judgements[:4]) < 1.5 < min(each.strangeness for each in judgements[4:])
        assert count_dropped(judgements) == {"copy": 0, "unrealistic": 4, "low confidence": 0}
        assert "4 are no images of this kind" in describe_dropped(judgements)

    def test_it_is_kept_where_that_is_wanted(self, judged):
        assert count_kept(judged(max_strangeness=None)) == 8
        assert count_kept(judged(allow_unrealistic=True)) == 8
