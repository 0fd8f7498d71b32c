"""A stage that was killed and started again has the results of one that nobody killed."""

from __future__ import annotations

import json
from pathlib import Path

import kill
import pytest
import torch
from killing.comparison import compare_folders
from killing.runs import Demo


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Two folders with the same content."""
    pair = tmp_path / "one", tmp_path / "other"
    for folder in pair:
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / "train.log").write_text(folder.name)  # each start adds to it
        torch.save({"weight": torch.tensor([1.0, torch.nan])}, folder / "model.pt")
        (folder / "summary.json").write_text(json.dumps({"dice": 0.5, "milliseconds": len(folder.name)}))
    return pair


class TestComparison:
    def test_equal_folders_differ_in_nothing(self, folders):
        assert compare_folders(*folders) == ([], [])

    def test_one_bit_of_a_weight_is_seen(self, folders):
        torch.save({"weight": torch.tensor([1.0000001, torch.nan])}, folders[0] / "model.pt")
        assert compare_folders(*folders).different == ["model.pt differs"]

    def test_a_figure_is_seen_and_what_a_clock_says_is_not(self, folders):
        (folders[0] / "summary.json").write_text(json.dumps({"dice": 0.6, "milliseconds": 7}))
        assert compare_folders(*folders).different == ["summary.json differs"]

    def test_a_missing_file_is_seen(self, folders):
        (folders[0] / "model.pt").unlink()
        assert compare_folders(*folders).different == ["model.pt is missing"]

    @pytest.mark.parametrize("name", ["more.txt", ".model.pt.7-ab.partial", "logs/other.log"])
    def test_what_is_left_behind_is_seen(self, folders, name):
        (folders[0] / name).touch()
        assert compare_folders(*folders).left_behind == [name]


class TestKills:
    def test_each_stage_is_killed_in_all_ways(self):
        kinds = [each.kind for each in kill.plan(["train"], 10, 2)]
        assert kinds == ["once"] * 7 + ["twice"] * 2 + ["pipeline"] + ["at an operation"] * 2

    def test_a_cheap_stage_is_killed_by_the_clock_and_at_a_file_and_ends_as_if_it_had_not_been(self, tmp_path):
        stage = "train"
        settings = {**kill.QUICK, "epochs": 1, "samples_per_epoch": 4, "crop_size": 32, "initial_weights": None}
        work = tmp_path / "work"
        demo = Demo(kill.BUNDLE, work / "run", work / "output.log", settings, limit=120)
        references = kill.run_uninterrupted(demo, work, kill.QUICK_PHANTOMS, [stage])
        for each in kill.plan([stage], 1, 1):
            outcome = kill.kill_and_repeat(demo, work, each, 0, references[stage])
            assert (outcome.different, outcome.left_behind) == ([], []), outcome.moment
