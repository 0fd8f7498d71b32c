"""How long a study will take, from what was timed so far."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.distillation.methods import METHODS
from common.study.plan import Grid, Job, make_plan
from common.study.progress import Estimates, Outcome, Progress, in_words


@pytest.fixture
def jobs() -> dict[str, Job]:
    grid = Grid(list(METHODS), [5], [4, 8], [2], [0, 1], num_images=8)
    return {job.name: job for job in make_plan(grid)}


def note(study_dir: Path, job: str, **seconds: float) -> None:
    (study_dir / job).mkdir(parents=True, exist_ok=True)
    (study_dir / job / "seconds.json").write_text(json.dumps(seconds))


class TestEstimates:
    def test_stages_of_a_kind_take_what_they_took_on_average(self, jobs, tmp_path):
        note(tmp_path, "shared/teacher_5labels_rank2_seed0", finetune_teacher=70.0, evaluate_teacher=9.0)
        note(tmp_path, "runs/scratch_5labels_seed0", distill=1.0, train=20.0, evaluate=3.0)
        note(tmp_path, "runs/mae_5labels_4images_seed0", train=30.0)
        estimates = Estimates(tmp_path, jobs.values())
        teacher = jobs["shared/teacher_5labels_rank2_seed1"]
        assert [estimates.seconds(teacher, stage) for stage in teacher.stages] == [70.0, 9.0]
        assert estimates.seconds(jobs["runs/mocov3_5labels_8images_seed1"], "train") == 25.0
        assert estimates.seconds(jobs["shared/diffusion_5labels_seed0"], "synthesize") is None

    def test_distillation_lasts_as_long_with_any_transfer_set(self, jobs, tmp_path):
        note(tmp_path, "runs/mae_5labels_4images_seed0", distill=40.0)
        estimates = Estimates(tmp_path, jobs.values())
        assert estimates.seconds(jobs["runs/mae_5labels_8images_seed0"], "distill") == 40.0

    def test_a_method_that_was_not_run_takes_as_long_as_others(self, jobs, tmp_path):
        note(tmp_path, "runs/mae_5labels_4images_seed0", distill=40.0)
        note(tmp_path, "runs/mocov3_5labels_4images_seed0", distill=80.0)
        estimates = Estimates(tmp_path, jobs.values())
        assert estimates.seconds(jobs["runs/mocov3_5labels_8images_seed1"], "distill") == 80.0
        assert estimates.seconds(jobs["runs/task_agnostic_kd_5labels_4images_seed0"], "distill") == 60.0
        assert estimates.seconds(jobs["runs/scratch_5labels_seed0"], "distill") is None, "it learns from no image"
        assert estimates.seconds(jobs["runs/real_images_5labels_rank2_seed0"], "distill") == 60.0
        assert estimates.seconds(jobs["runs/labelled_images_5labels_rank2_seed0"], "distill") == 60.0

    def test_the_unet_is_not_a_student(self, jobs, tmp_path):
        note(tmp_path, "runs/unet_5labels_seed0", train=10.0)
        note(tmp_path, "runs/scratch_5labels_seed0", train=50.0)
        estimates = Estimates(tmp_path, jobs.values())
        assert estimates.seconds(jobs["runs/unet_5labels_seed1"], "train") == 10.0
        assert estimates.seconds(jobs["runs/mae_5labels_4images_seed1"], "train") == 50.0


class TestProgress:
    @pytest.fixture
    def runs(self, jobs) -> list[Job]:
        return [jobs[f"runs/scratch_5labels_seed{seed}"] for seed in (0, 1)]

    def test_it_says_what_is_left_and_how_long_that_takes(self, runs, tmp_path, capsys):
        progress = Progress(tmp_path, runs, runs)
        assert progress.describe_left() == "2 runs, no stage of which has been timed yet"
        note(tmp_path, runs[0].name, distill=10.0, train=60.0)
        progress.end(Outcome(runs[0].name, 75.4))
        assert capsys.readouterr().out.splitlines() == [
            "[1/2] runs/scratch_5labels_seed0: finished in 75 s",
            "    left: 1 run, about 70 s without evaluate, not timed yet",
        ]

    def test_what_failed_is_no_longer_left(self, runs, tmp_path, capsys):
        progress = Progress(tmp_path, runs, runs[:1])
        progress.end(Outcome(runs[0].name, 1, "failed: no reason"))
        assert capsys.readouterr().out == f"[1/1] {runs[0].name}: failed: no reason\n    left: nothing\n"

    def test_jobs_that_run_at_once_take_less_time(self, runs, tmp_path):
        note(tmp_path, runs[0].name, distill=10.0, train=60.0, evaluate=10.0)
        assert "about 3 min" in Progress(tmp_path, runs, runs).describe_left()
        assert "about 80 s" in Progress(tmp_path, runs, runs, slots=2).describe_left()
        assert "about 80 s" in Progress(tmp_path, runs, runs, slots=9).describe_left(), "no run is cut in two"

    def test_the_time_of_stages_that_are_done_is_not_left(self, runs, tmp_path):
        note(tmp_path, runs[0].name, distill=10.0, train=60.0, evaluate=10.0)
        (tmp_path / runs[1].name).mkdir(parents=True)
        (tmp_path / runs[1].name / "distilled.pt").touch()
        assert Progress(tmp_path, runs, runs[1:]).describe_left() == "1 run, about 70 s"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(9.6, "10 s"), (99, "99 s"), (120, "2 min"), (5990, "1 h 40 min"), (7260, "2 h 01 min")]
)
def test_durations_in_words(seconds, expected):
    assert in_words(seconds) == expected
