"""Where in a pipeline a stage is, and which settings are taken where there is no GPU."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
import torch

from common.pipeline.hardware import choose_overlays
from common.pipeline.position import position_of, told
from common.pipeline.stages import STAGES
from common.training.bar import POSITION_VARIABLE, Position


def test_stages_share_a_pipeline_among_them():
    positions = [position_of(stage, list(STAGES), {}) for stage in STAGES]
    assert sum(position.own for position in positions) == pytest.approx(1)
    for earlier, later in pairwise(positions):
        assert later.before == pytest.approx(earlier.before + earlier.own)
    assert positions[1].title == "[2/7] train_diffusion"


def test_only_what_was_run_is_measured():
    position = position_of("evaluate", ["distill", "train", "evaluate"], {"train": 30.0})
    assert position.spent == 30
    assert 0 < position.measured < position.before


def test_processes_are_told_while_a_stage_runs_and_not_afterwards():
    position = position_of("train", ["train"], {})
    with told(position):
        assert Position.of_this_process() == position
    assert POSITION_VARIABLE not in os.environ


class TestOverlays:
    @pytest.fixture
    def configs(self, tmp_path):
        (tmp_path / "cpu.yaml").touch()
        return tmp_path

    @pytest.fixture(params=[False, True], ids=["no GPU", "GPU"])
    def gpu(self, request, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
        return request.param

    def test_without_a_gpu_the_overlay_for_it_is_taken_and_said(self, configs, gpu, capsys):
        assert choose_overlays(None, False, configs) == ([] if gpu else ["cpu"])
        assert ("no GPU was found" in capsys.readouterr().out) == (not gpu)

    @pytest.mark.parametrize(
        ("overlay", "demo", "expected"),
        [("none", False, []), ("multi_gpu", False, ["multi_gpu"]), ((), False, []), (None, True, ["demo"])],
    )
    def test_what_is_asked_for_is_taken_as_it_is(self, overlay, demo, expected, configs, gpu, capsys):
        assert choose_overlays(overlay, demo, configs) == expected
        assert capsys.readouterr().out == ""

    def test_a_bundle_without_that_overlay_goes_without(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert choose_overlays(None, False, tmp_path) == []
