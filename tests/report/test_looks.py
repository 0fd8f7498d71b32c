"""How methods are drawn, and that a report takes any number of them from the one table."""

from __future__ import annotations

import pytest

from common.distillation.methods import METHODS, Method, base
from common.report import write_report
from common.report.figures import draw_against_labels, draw_against_transfer_size
from common.report.looks import look_of
from common.report.runs import read_study
from common.report.settings import TEACHER, Setting
from common.report.statistics import find_reference
from common.report.tables import metric_table, size_table


@pytest.fixture
def add_method(monkeypatch):
    """Return what adds a method to the table: one entry, and nothing else."""

    def add(name: str, **changes) -> Method:
        method = Method(**{"name": name, "title": name.upper(), "config": base.overlay("mae"), **changes})
        monkeypatch.setitem(METHODS, name, method)
        return method

    return add


def test_a_method_that_is_added_to_the_table_is_in_the_report(add_method, write_study, tmp_path):
    add_method("dino", title="DINO", transfer_set=True, prepares="encoder")
    folder = write_study(tmp_path / "study", ("task_specific_kd", "dino", "unet"), seeds=(0,))
    write_report(folder)
    assert ">DINO</text>" in (folder / "report.html").read_text()
    study = read_study(folder)
    assert study.missing == []
    assert [row[2] for row in metric_table(study, "dice").rows][:2] == ["task-specific KD", "DINO"]


def test_another_reference_network_is_drawn_as_one(add_method, write_study, tmp_path):
    add_method("segresnet", title="SegResNet", config=None, student_def={"_target_": "SegResNet"})
    look, unet = look_of("segresnet"), look_of("unet")
    assert (look.colour, look.line) == (unet.colour, unet.line)
    assert look.marker != unet.marker
    study = read_study(write_study(tmp_path / "study", ("task_specific_kd", "segresnet"), (5,), (100,), seeds=(0,)))
    assert Setting("segresnet", 5, None, None) in study.by_setting()


def test_what_learns_from_real_images_is_a_student_and_a_distilled_unet_a_reference_line(write_study, tmp_path):
    folder = write_study(
        tmp_path / "study", ("task_specific_kd", "real_images", "unet_kd", "unet"), (5,), (200,), seeds=(0,)
    )
    study = read_study(folder)
    assert study.missing == []
    real, distilled = Setting("real_images", 5, None, 16), Setting("unet_kd", 5, 200, 16)
    assert {real, distilled} <= study.by_setting().keys()
    lines = {name: look_of(name).line for name in METHODS}
    assert [name for name in METHODS if lines[name] == "--"] == ["unet_kd", "unet"]
    for setting in (real, distilled):
        assert find_reference(study, setting) == Setting("task_specific_kd", 5, 200, 16)
    networks = [row[0] for row in size_table(study).rows]
    assert networks == ["fine-tuned teacher", "student", "task-specific KD into a U-Net", "U-Net"]


def test_looks_do_not_run_out(add_method, write_study, tmp_path):
    names = [add_method(f"method{number}", transfer_set=True).name for number in range(20)]
    study = read_study(write_study(tmp_path / "study", ("task_specific_kd", *names), seeds=(0,)))
    looks = {look_of(name)[:2] for name in (*METHODS, TEACHER)}
    assert len(looks) == len(METHODS) + 1, "each differs from all others by its colour or its marker"
    for drawing in (draw_against_labels(study, "dice"), draw_against_transfer_size(study, 5)):
        assert all(f">{name.upper()}</text>" in drawing.svg for name in names)
        assert "#0102" not in drawing.svg


def test_the_methods_of_the_paper_can_be_told_apart_without_colours():
    assert len({look_of(name).marker for name in (*METHODS, TEACHER)}) == len(METHODS) + 1


def test_a_method_that_is_no_longer_in_the_table_is_shown_by_its_name(write_study, tmp_path):
    folder = write_study(tmp_path / "study", ("task_specific_kd", "forgotten"), (5,), (100,), seeds=(0,))
    write_report(folder)
    assert ">forgotten</text>" in (folder / "report.html").read_text()
