"""Which jobs a study has, what they share, and in what order they run."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from common.distillation.methods import METHODS, Method
from common.distillation.methods.base import overlay
from common.pipeline.stages import STAGES
from common.study.plan import Grid, Job, jobs_left, make_plan


def grid(**changes) -> Grid:
    values = {"methods": list(METHODS), "labels": [5], "transfer_sizes": [8], "lora_ranks": [4], "seeds": [0]}
    return Grid(**{**values, "num_images": 8, **changes})


def names(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs]


def plan(**changes) -> dict[str, Job]:
    return {job.name: job for job in make_plan(grid(**changes))}


def finish(job: Job, study_dir: Path, stages: tuple[str, ...] | None = None) -> None:
    for stage in job.stages if stages is None else stages:
        path = study_dir / job.name / STAGES[stage]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_each_method_has_a_run_with_the_values_that_matter_to_it():
    runs = plan(labels=[5, 10], transfer_sizes=[4, 8], lora_ranks=[2, 4], seeds=[0, 1])
    count = {method: sum(job.method == method for job in runs.values()) for method in METHODS}
    by_budget = {"scratch": 1, "unet": 1, "mae": 2, "mocov3": 2, "task_agnostic_kd": 2, "task_specific_kd": 4}
    by_budget |= {"real_images": 2, "labelled_images": 2, "synthetic_images": 4, "drawn_labels": 4, "unet_kd": 4}
    assert count == {method: 4 * number for method, number in by_budget.items()}
    assert runs["runs/task_specific_kd_10labels_4images_rank2_seed1"].about == {
        "method": "task_specific_kd",
        "num_labels": 10,
        "transfer_size": 4,
        "lora_rank": 2,
        "seed": 1,
    }
    assert runs["runs/mae_5labels_8images_seed0"].about["lora_rank"] is None
    assert runs["runs/scratch_5labels_seed0"].about["transfer_size"] is None


def test_runs_share_a_transfer_set_by_budget_and_seed_and_a_teacher_by_rank_too():
    shared = [job for job in plan(labels=[5, 10], lora_ranks=[2, 4], seeds=[0, 1]).values() if not job.is_run]
    assert sorted(names(shared)) == sorted(
        [
            f"shared/{kind}_{count}labels_seed{seed}"
            for kind in ("diffusion", "pairs")
            for count in (5, 10)
            for seed in (0, 1)
        ]
        + [f"shared/teacher_{count}labels_rank{r}_seed{seed}" for count in (5, 10) for r in (2, 4) for seed in (0, 1)]
    )


def test_every_job_comes_after_what_it_takes():
    jobs = make_plan(grid(labels=[5, 10], transfer_sizes=[4, 8], lora_ranks=[2, 4], seeds=[0, 1]))
    order = names(jobs)
    assert len(set(order)) == len(order)
    taken = [(source, job.name) for job in jobs for source in job.inputs.values()]
    assert len(taken) == 4 * (3 * 2 + 4 * 2 * 4 + 2 * 2), "by transfer sets; by both; by teachers alone"
    assert all(order.index(source) < order.index(name) for source, name in taken)


def test_a_budget_is_complete_before_the_next_begins():
    jobs = make_plan(grid(labels=[5, 10], seeds=[0, 1]))
    budgets = [budget for budget, _ in groupby((job.about["seed"], job.about["num_labels"]) for job in jobs)]
    assert budgets == [(0, 5), (0, 10), (1, 5), (1, 10)]


def test_the_largest_transfer_set_is_drawn_without_a_teacher_and_smaller_ones_are_its_beginning():
    jobs = plan(transfer_sizes=[4, 8], num_images=8)
    drawn = jobs["shared/diffusion_5labels_seed0"].overrides
    assert (drawn["num_images"], drawn["teacher"]) == (8, None)
    runs = [job for job in jobs.values() if job.method == "mae"]
    assert [job.overrides["num_transfer"] for job in runs] == [4, None], "all that there are, if fewer were kept than 8"
    assert [job.overrides["transfer_length"] for job in runs] == [8, 8], "as many steps with each"
    assert {job.inputs["transfer"] for job in runs} == {"shared/diffusion_5labels_seed0"}


def test_real_images_take_the_place_of_a_transfer_set_in_as_many_steps():
    run = plan(methods=["real_images"], transfer_sizes=[4, 8])["runs/real_images_5labels_rank4_seed0"]
    assert run.inputs == {"teacher": "shared/teacher_5labels_rank4_seed0"}
    assert run.stages == ("distill", "train", "evaluate")
    assert run.overrides["unlabelled_length"] == 8
    assert "num_transfer" not in run.overrides


def test_labelled_and_synthetic_images_alone_make_as_many_steps_as_both():
    jobs = plan(methods=["labelled_images", "synthetic_images"], transfer_sizes=[4, 8])
    labelled = jobs["runs/labelled_images_5labels_rank4_seed0"]
    assert labelled.inputs == {"teacher": "shared/teacher_5labels_rank4_seed0"}
    assert labelled.overrides["labelled_length"] == 16
    runs = [job for job in jobs.values() if job.method == "synthetic_images"]
    assert [(job.overrides["num_transfer"], job.overrides["transfer_length"]) for job in runs] == [(4, 16), (None, 16)]


def test_images_drawn_with_their_labels_are_a_transfer_set_of_their_own():
    jobs = plan(methods=["task_specific_kd", "drawn_labels"])
    kd, pairs = (jobs[f"runs/{method}_5labels_8images_rank4_seed0"] for method in ("task_specific_kd", "drawn_labels"))
    assert kd.inputs["transfer"] != pairs.inputs["transfer"] == "shared/pairs_5labels_seed0"
    assert jobs["shared/pairs_5labels_seed0"].overrides["with_labels"] is True
    assert "with_labels" not in jobs["shared/diffusion_5labels_seed0"].overrides
    assert kd.inputs["teacher"] == pairs.inputs["teacher"]
    assert kd.overrides == pairs.overrides, "as many steps"


def test_the_seed_of_a_run_is_that_of_its_split():
    assert all(job.overrides["seed"] == job.overrides["split_seed"] == 3 for job in plan(seeds=[3]).values())


def test_methods_without_a_transfer_set_need_nothing_from_others():
    jobs = make_plan(grid(methods=["scratch", "unet"]))
    assert names(jobs) == ["runs/scratch_5labels_seed0", "runs/unet_5labels_seed0"]
    assert jobs[1].stages == ("train", "evaluate")


def test_a_method_that_is_added_to_the_table_has_runs(monkeypatch):
    added = Method(name="dino", title="DINO", config=overlay("mae"), transfer_set=True, prepares="encoder")
    monkeypatch.setitem(METHODS, "dino", added)
    run = plan(methods=["dino"])["runs/dino_5labels_8images_seed0"]
    assert run.stages == ("distill", "train", "evaluate")
    assert run.inputs == {"transfer": "shared/diffusion_5labels_seed0"}


@pytest.mark.parametrize("method", ["mae", "mocov3", "task_agnostic_kd"])
def test_methods_without_a_fine_tuned_teacher_do_not_wait_for_one(method):
    assert plan(methods=[method])[f"runs/{method}_5labels_8images_seed0"].inputs.keys() == {"transfer"}


class TestLeft:
    def test_a_run_with_its_evaluation_is_finished_whatever_else_was_deleted(self, tmp_path):
        [run] = make_plan(grid(methods=["scratch"]))
        finish(run, tmp_path, stages=("evaluate",))
        assert run.stages_left(tmp_path) == []
        assert jobs_left([run], tmp_path) == []

    def test_a_run_that_was_cut_off_has_the_other_stages_left(self, tmp_path):
        [run] = make_plan(grid(methods=["scratch"]))
        finish(run, tmp_path, stages=("distill",))
        assert run.stages_left(tmp_path) == ["train", "evaluate"]

    def test_a_transfer_set_that_no_run_needs_any_more_is_not_made_again(self, tmp_path):
        jobs = make_plan(grid(methods=["mae"], labels=[5, 10]))
        finish(plan(methods=["mae"])["runs/mae_5labels_8images_seed0"], tmp_path)
        assert names(jobs_left(jobs, tmp_path)) == [
            "shared/diffusion_10labels_seed0",
            "runs/mae_10labels_8images_seed0",
        ]

    def test_a_teacher_without_its_evaluation_is_left_though_all_runs_are_finished(self, tmp_path):
        jobs = make_plan(grid(methods=["task_specific_kd"]))
        for job in jobs:
            finish(job, tmp_path)
        teacher = tmp_path / "shared/teacher_5labels_rank4_seed0"
        (teacher / STAGES["evaluate_teacher"]).unlink()
        assert [(job.name, job.stages_left(tmp_path)) for job in jobs_left(jobs, tmp_path)] == [
            ("shared/teacher_5labels_rank4_seed0", ["evaluate_teacher"])
        ]
