"""What is evaluated: the student or the teacher."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from common.errors import InputError
from common.evaluation.student_or_teacher import load_subject
from common.files.weights import save_weights
from common.teachers import build_teacher
from common.teachers.folder import save_teacher
from common.teachers.lora import add_lora


def test_student_is_loaded_from_its_checkpoint(tmp_path):
    trained = nn.Linear(2, 3)
    trained.weight.data += 3
    save_weights(trained, tmp_path / "model.pt")
    loaded = load_subject("student", nn.Linear(2, 3), tmp_path / "model.pt", tmp_path / "teacher", "embedded")
    assert torch.equal(loaded.weight, trained.weight)


def test_missing_student_is_named_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"model\.pt does not exist: run train first"):
        load_subject("student", nn.Linear(2, 3), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_missing_teacher_is_named_with_the_stage_that_makes_it(tmp_path):
    with pytest.raises(InputError, match="run finetune_teacher first"):
        load_subject("teacher", nn.Linear(2, 3), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_unknown_subject_is_named(tmp_path):
    with pytest.raises(InputError, match="subject: expected student or teacher, got 'pupil'"):
        load_subject("pupil", nn.Linear(2, 3), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_a_teacher_where_there_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="subject: there is no teacher here; take the student"):
        load_subject("teacher", nn.Linear(2, 3), tmp_path / "model.pt")


def test_a_teacher_where_its_packages_are_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "common.teachers.folder", None)
    with pytest.raises(InputError, match=r"subject: a teacher cannot be evaluated here \(.*common\.teachers\.folder"):
        load_subject("teacher", nn.Linear(2, 3), tmp_path / "model.pt", tmp_path / "teacher", "embedded")


def test_teacher_that_is_a_network_is_told_which(tmp_path):
    torch.save(nn.Conv2d(3, 2, 1).state_dict(), tmp_path / "base.pt")
    teacher = build_teacher(tmp_path / "base.pt", 2, network=nn.Conv2d(3, 2, 1))
    save_teacher(add_lora(teacher, rank=1), tmp_path / "teacher")
    arguments = ("teacher", nn.Linear(2, 3), tmp_path / "model.pt", tmp_path / "teacher", tmp_path / "base.pt")
    with pytest.raises(InputError, match="give teacher_network_def"):
        load_subject(*arguments)
    loaded = load_subject(*arguments, nn.Conv2d(3, 2, 1))
    images = torch.rand(1, 3, 8, 8)
    assert_close(loaded(images), teacher.eval()(images))
