"""Every method is an entry of one registry, and another one is one file and one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from common.distillation import methods
from common.distillation.methods import COMPARED, METHODS, PROPOSED, Method, find_method
from common.errors import InputError

OVERLAYS = Path(methods.__file__).parent


def test_the_papers_comparison_in_the_order_of_its_tables():
    needs = {name: (method.teacher, method.transfer_set, method.prepares) for name, method in METHODS.items()}
    assert list(needs.items()) == [
        ("task_specific_kd", ("fine_tuned", True, "student")),
        ("task_agnostic_kd", ("published", True, "encoder")),
        ("mocov3", (None, True, "encoder")),
        ("mae", (None, True, "encoder")),
        ("scratch", (None, False, None)),
        ("real_images", ("fine_tuned", False, "student")),
        ("labelled_images", ("fine_tuned", False, "student")),
        ("synthetic_images", ("fine_tuned", True, "student")),
        ("drawn_labels", ("fine_tuned", True, "student")),
        ("unet_kd", ("fine_tuned", True, "student")),
        ("unet", (None, False, None)),
    ]
    assert next(iter(METHODS)) == PROPOSED
    assert COMPARED == ("task_specific_kd", "task_agnostic_kd", "mocov3", "mae", "scratch", "unet")


def test_real_images_alone_are_those_beyond_the_budget():
    assert [name for name, method in METHODS.items() if method.beyond_budget] == ["real_images"]
    others = [name for name, method in METHODS.items() if not method.learns_from_unlabelled]
    assert others == ["scratch", "labelled_images", "unet"]
    shares = {name: method.labelled_share for name, method in METHODS.items() if method.labelled_share != 0.5}
    assert shares == {"labelled_images": 1, "synthetic_images": 0}


def test_one_method_alone_has_images_drawn_with_their_labels():
    assert [name for name, method in METHODS.items() if method.with_labels] == ["drawn_labels"]


def test_titles_are_all_different():
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


def test_every_overlay_is_that_of_a_method():
    configs = {method.config for method in METHODS.values() if method.config}
    assert configs == set(OVERLAYS.glob("*.yaml"))
    assert METHODS["unet"].config is None, "there is no such stage"


def test_another_student_is_a_reference_line():
    assert [name for name, method in METHODS.items() if method.is_reference] == ["unet_kd", "unet"]


def test_overlays_name_handlers_and_never_count_them():
    for path in OVERLAYS.glob("*.yaml"):
        keys = ConfigParser.load_config_file(path)
        assert not [key for key in keys if any(part.isdigit() for part in key.split("::"))], path.name


def test_an_unknown_method_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match=r"there is no method moco; the methods are task_specific_kd, .*unet"):
        find_method("moco")


@pytest.mark.parametrize("needed", ["transfer_set", "beyond_budget"])
def test_a_method_without_a_config_can_use_nothing(needed):
    with pytest.raises(ValueError, match="method x has no config, so it cannot use a teacher or images without labels"):
        Method(name="x", title="X", config=None, **{needed: True})


def test_another_method_is_one_file_and_one_line(tmp_path, monkeypatch):
    """Distillation of logits alone, by config."""
    path = tmp_path / "logits_only.yaml"
    path.write_text("loss::terms::features: null\nloss::terms::supervised: null\n")
    another = Method(
        name="logits_only", title="logits", config=path, teacher="fine_tuned", transfer_set=True, prepares="student"
    )
    monkeypatch.setitem(METHODS, another.name, another)
    assert list(METHODS)[-1] == "logits_only"
    assert find_method("logits_only") is another
    distill = tmp_path / "distill.yaml"
    distill.write_text("loss: {terms: {features: {weight: 1}, logits: {weight: 1}, supervised: {weight: 2}}}\n")
    laid = ConfigParser.load_config_files([str(distill), str(find_method("logits_only").config)])
    assert laid["loss"]["terms"] == {"features": None, "logits": {"weight": 1}, "supervised": None}
