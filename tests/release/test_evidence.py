"""What a release knows of its student, by the provenance of its weights; never more than that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration import refused
from students import write_student

from common.distillation.methods import METHODS, Method
from common.files.provenance import provenance_path
from common.release.evidence import NO_TEACHER, UNKNOWN, gather
from common.teachers.base_names import STAND_IN

SAM = "facebook/sam-vit-base"
FINE_TUNED = {"teacher": SAM, "fine_tuned": True, "method": "task_specific_kd"}


@pytest.fixture
def made(tmp_path):
    """Return what writes a student of this provenance."""
    return lambda **provenance: write_student("drive", tmp_path / "run", provenance=provenance)


def others() -> list[str]:
    return [name for name, method in METHODS.items() if method.teacher is None]


@pytest.mark.parametrize(
    ("provenance", "teacher", "method"),
    [
        (FINE_TUNED, SAM, "task_specific_kd"),
        ({**FINE_TUNED, "fine_tuned": False, "method": "task_agnostic_kd"}, SAM, "task_agnostic_kd"),
        ({**FINE_TUNED, "method": "real_images"}, SAM, "real_images"),
        ({**FINE_TUNED, "method": "labelled_images"}, SAM, "labelled_images"),
        ({**FINE_TUNED, "method": "unet_kd"}, SAM, "unet_kd"),
        ({**FINE_TUNED, "teacher": "embedded"}, STAND_IN, "task_specific_kd"),
        *(({"teacher": None, "fine_tuned": False, "method": name}, NO_TEACHER, name) for name in others()),
        ({"teacher": None, "fine_tuned": False, "method": None, "initial": None}, NO_TEACHER, None),
        ({"teacher": SAM}, SAM, None),
        ({"teacher": SAM, "method": "of a package that is not installed"}, SAM, None),
        ({"initial": "of weights from elsewhere"}, UNKNOWN, None),
        ({}, UNKNOWN, None),
    ],
)
def test_teacher_and_method_are_what_the_provenance_says(provenance, teacher, method, made):
    found = gather(made(**provenance), {}, None)
    assert found.teacher == teacher
    assert found.method == METHODS.get(method)


def test_a_method_that_is_added_is_known(made, monkeypatch):
    added = Method(name="mean_teacher", title="mean teacher", config=Path("mean_teacher.yaml"), teacher="published")
    monkeypatch.setitem(METHODS, "mean_teacher", added)
    assert gather(made(teacher=SAM, method="mean_teacher"), {}, None).method is added


def test_the_provenance_of_other_weights_says_nothing(made):
    weights = made(**FINE_TUNED)
    write_student("drive", weights.parent / "later", seed=1)
    weights.write_bytes((weights.parent / "later" / "model.pt").read_bytes())
    assert gather(weights, {}, None).teacher == UNKNOWN


def test_what_lies_in_the_folder_is_not_taken_for_its_own(made):
    """As of one that was trained from random weights where a teacher and a distilled student are as well."""
    weights = made()
    (weights.parent / "teacher").mkdir()
    (weights.parent / "teacher" / "teacher.json").write_text(json.dumps({"base_name": SAM}))
    write_student("drive", weights.parent / "other", provenance=FINE_TUNED)
    (weights.parent / "other" / "model.pt").rename(weights.parent / "distilled.pt")
    assert gather(weights, {}, None).teacher == UNKNOWN


def test_a_damaged_provenance_is_refused(made):
    weights = made(**FINE_TUNED)
    provenance_path(weights).write_text("{")
    with refused("model.provenance.json is damaged"):
        gather(weights, {}, None)


class TestStated:
    """What the user says of the teacher."""

    def test_it_counts_where_nothing_is_recorded(self, made):
        assert gather(made(), {}, "facebook/sam-vit-huge").teacher == "facebook/sam-vit-huge"
        assert gather(made(), {}, "none").teacher == NO_TEACHER

    @pytest.mark.parametrize(
        ("provenance", "said"),
        [({**FINE_TUNED, "teacher": "embedded"}, "'embedded'"), ({"teacher": None}, "'none'")],
    )
    def test_it_may_not_contradict_the_provenance(self, provenance, said, made):
        with refused(f"--teacher {SAM}: the provenance of", said, "leave it out"):
            gather(made(**provenance), {}, SAM)

    def test_it_may_repeat_the_provenance(self, made):
        assert gather(made(**FINE_TUNED), {}, SAM).teacher == SAM

    @pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.teacher])
    @pytest.mark.parametrize("stated", [None, "none"])
    def test_it_must_be_said_where_there_was_a_teacher_of_unknown_name(self, method, stated, made):
        weights = made(method=method, fine_tuned=METHODS[method].teacher == "fine_tuned")
        with refused("--teacher: .* was distilled .*, but what its teacher was is not recorded"):
            gather(weights, {}, stated)
        assert gather(weights, {}, "embedded").teacher == STAND_IN


@pytest.mark.parametrize("phantoms", [True, False, None])
def test_what_it_was_trained_on_and_what_it_was_measured_on_are_two_things(phantoms, made):
    def known(value: bool | None) -> dict[str, Any]:
        return {} if value is None else {"phantoms": value}

    found = gather(made(**known(phantoms)), known(False), None)
    assert (found.trained_on_phantoms, found.phantoms) == (phantoms, False)
    found = gather(made(), known(phantoms), None)
    assert (found.trained_on_phantoms, found.phantoms) == (None, phantoms)


def test_settings_are_those_of_the_training(made):
    assert gather(made(settings={"num_labels": 5, "seed": 7}), {}, None).training == {"num_labels": 5, "seed": 7}
    assert gather(made(), {}, None).training is None
