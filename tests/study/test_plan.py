"""Which parts a study has, what they share, and in what order they run."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from common.pipeline.stages import STAGES
from common.study.plan import METHODS, UNET, Grid, Part, make_plan, parts_left


def grid(**changes) -> Grid:
    values = {"methods": list(METHODS), "labels": [5], "transfer_sizes": [8], "lora_ranks": [4], "seeds": [0]}
    return Grid(**{**values, "num_images": 8, **changes})


def names(parts: list[Part]) -> list[str]:
    return [part.name for part in parts]


def plan(**changes) -> dict[str, Part]:
    return {part.name: part for part in make_plan(grid(**changes))}


def finish(part: Part, study_dir: Path, stages: tuple[str, ...] | None = None) -> None:
    for stage in part.stages if stages is None else stages:
        path = study_dir / part.name / STAGES[stage]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_each_method_has_a_cell_with_the_values_that_matter_to_it():
    cells = plan(labels=[5, 10], transfer_sizes=[4, 8], lora_ranks=[2, 4], seeds=[0, 1])
    count = {method: sum(part.method == method for part in cells.values()) for method in METHODS}
    by_budget = {"scratch": 1, "unet": 1, "mae": 2, "mocov3": 2, "task_agnostic_kd": 2, "task_specific_kd": 4}
    assert count == {method: 4 * number for method, number in by_budget.items()}
    assert cells["cells/task_specific_kd_10labels_4images_rank2_seed1"].about == {
        "method": "task_specific_kd",
        "num_labels": 10,
        "transfer_size": 4,
        "lora_rank": 2,
        "seed": 1,
    }
    assert cells["cells/mae_5labels_8images_seed0"].about["lora_rank"] is None
    assert cells["cells/scratch_5labels_seed0"].about["transfer_size"] is None


def test_cells_share_a_transfer_set_by_budget_and_seed_and_a_teacher_by_rank_too():
    shared = [part for part in plan(labels=[5, 10], lora_ranks=[2, 4], seeds=[0, 1]).values() if not part.is_cell]
    assert sorted(names(shared)) == sorted(
        [f"shared/diffusion_{count}labels_seed{seed}" for count in (5, 10) for seed in (0, 1)]
        + [f"shared/teacher_{count}labels_rank{r}_seed{seed}" for count in (5, 10) for r in (2, 4) for seed in (0, 1)]
    )


def test_every_part_comes_after_what_it_takes():
    parts = make_plan(grid(labels=[5, 10], transfer_sizes=[4, 8], lora_ranks=[2, 4], seeds=[0, 1]))
    order = names(parts)
    assert len(set(order)) == len(order)
    taken = [(source, part.name) for part in parts for source in part.inputs.values()]
    assert len(taken) == 4 * (3 * 2 + 2 * 4)
    assert all(order.index(source) < order.index(name) for source, name in taken)


def test_a_budget_is_complete_before_the_next_begins():
    parts = make_plan(grid(labels=[5, 10], seeds=[0, 1]))
    budgets = [budget for budget, _ in groupby((part.about["seed"], part.about["num_labels"]) for part in parts)]
    assert budgets == [(0, 5), (0, 10), (1, 5), (1, 10)]


def test_the_largest_transfer_set_is_drawn_without_a_teacher_and_smaller_ones_are_its_beginning():
    parts = plan(transfer_sizes=[4, 8], num_images=8)
    drawn = parts["shared/diffusion_5labels_seed0"].overrides
    assert (drawn["num_images"], drawn["teacher"]) == (8, None)
    cells = [part for part in parts.values() if part.method == "mae"]
    assert [part.overrides["num_transfer"] for part in cells] == [4, 8]
    assert [part.overrides["transfer_length"] for part in cells] == [8, 8], "as many steps with each"
    assert {part.inputs["transfer"] for part in cells} == {"shared/diffusion_5labels_seed0"}


def test_the_seed_of_a_cell_is_that_of_its_split():
    assert all(part.overrides["seed"] == part.overrides["split_seed"] == 3 for part in plan(seeds=[3]).values())


def test_methods_without_a_transfer_set_need_nothing_from_others():
    parts = make_plan(grid(methods=["scratch", "unet"]))
    assert names(parts) == ["cells/scratch_5labels_seed0", "cells/unet_5labels_seed0"]
    assert parts[1].stages == ("train", "evaluate")
    assert (parts[1].overrides["network_def"], parts[1].overrides["initial_weights"]) == (UNET, None)


@pytest.mark.parametrize("method", ["mae", "mocov3", "task_agnostic_kd"])
def test_methods_without_a_fine_tuned_teacher_do_not_wait_for_one(method):
    assert plan(methods=[method])[f"cells/{method}_5labels_8images_seed0"].inputs.keys() == {"transfer"}


class TestLeft:
    def test_a_cell_with_its_evaluation_is_finished_whatever_else_was_deleted(self, tmp_path):
        [cell] = make_plan(grid(methods=["scratch"]))
        finish(cell, tmp_path, stages=("evaluate",))
        assert cell.stages_left(tmp_path) == []
        assert parts_left([cell], tmp_path) == []

    def test_a_cell_that_was_cut_off_has_the_other_stages_left(self, tmp_path):
        [cell] = make_plan(grid(methods=["scratch"]))
        finish(cell, tmp_path, stages=("distill",))
        assert cell.stages_left(tmp_path) == ["train", "evaluate"]

    def test_a_transfer_set_that_no_cell_needs_any_more_is_not_made_again(self, tmp_path):
        parts = make_plan(grid(methods=["mae"], labels=[5, 10]))
        finish(plan(methods=["mae"])["cells/mae_5labels_8images_seed0"], tmp_path)
        assert names(parts_left(parts, tmp_path)) == [
            "shared/diffusion_10labels_seed0",
            "cells/mae_10labels_8images_seed0",
        ]

    def test_a_teacher_without_its_evaluation_is_left_though_all_cells_are_finished(self, tmp_path):
        parts = make_plan(grid(methods=["task_specific_kd"]))
        for part in parts:
            finish(part, tmp_path)
        teacher = tmp_path / "shared/teacher_5labels_rank4_seed0"
        (teacher / STAGES["evaluate_teacher"]).unlink()
        assert [(part.name, part.stages_left(tmp_path)) for part in parts_left(parts, tmp_path)] == [
            ("shared/teacher_5labels_rank4_seed0", ["evaluate_teacher"])
        ]
