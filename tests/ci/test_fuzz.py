"""The fuzzer tells what came of an input: what is right, what is refused in one line, and each kind of fault."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from fuzzing import damage, nifti
from fuzzing.drawing import draw
from fuzzing.outcomes import Kind, Outcome, table
from fuzzing.pictures import png_is_sound
from fuzzing.runner import run_input
from fuzzing.targets import RIGHT, Target, Verdict, silent
from fuzzing.trap import NAME
from hypothesis import strategies as st
from PIL import Image

from common.errors import InputError


def make(plan, place: Path, sources: Path) -> None:
    (place / "in" / "image.png").write_text(str(plan))


def judge(plan, place: Path, result, printed: str) -> Verdict:
    return RIGHT if result == "sound" else silent(f"got {result}")


@pytest.fixture
def outcome_of(tmp_path):
    """Return what runs a function on an input and returns the kind of its outcome."""

    def outcome_of(run, accepts: bool = False) -> Kind:
        target = Target("target", st.just({}), make, run, judge, lambda plan, place: accepts, limit=2)
        return run_input(target, "target/0/0", tmp_path / "sources", tmp_path / "work").kind

    return outcome_of


def raises(error: Exception):
    def run(plan, place: Path) -> None:
        raise error

    return run


class TestOutcomes:
    def test_a_result_is_judged_against_the_oracle(self, outcome_of):
        assert outcome_of(lambda plan, place: "sound") is Kind.RIGHT

    def test_a_wrong_result_without_a_word_is_a_fault(self, outcome_of):
        assert outcome_of(lambda plan, place: "another") is Kind.SILENT

    def test_one_line_that_names_the_file_is_a_refusal(self, outcome_of):
        assert outcome_of(raises(InputError("image.png: is empty"))) is Kind.REFUSED

    def test_a_line_that_names_nothing_is_a_fault(self, outcome_of):
        assert outcome_of(raises(InputError("something is wrong"))) is Kind.TRACEBACK

    def test_a_traceback_is_a_fault(self, outcome_of):
        assert outcome_of(raises(ZeroDivisionError("image.png"))) is Kind.TRACEBACK

    def test_a_sound_input_must_not_be_refused(self, outcome_of):
        assert outcome_of(raises(InputError("image.png: is empty")), accepts=True) is Kind.NEEDLESS

    def test_an_end_by_a_signal_is_a_fault(self, outcome_of):
        assert outcome_of(lambda plan, place: os.kill(os.getpid(), signal.SIGKILL)) is Kind.TRACEBACK

    def test_no_end_is_a_hang(self, outcome_of):
        assert outcome_of(lambda plan, place: time.sleep(60)) is Kind.HANG

    def test_code_that_ran_is_seen_even_where_the_input_was_refused(self, outcome_of):
        def run(plan, place: Path) -> None:
            (place / NAME).mkdir()
            raise InputError("image.png: is no picture")

        assert outcome_of(run) is Kind.EXECUTED

    @pytest.mark.parametrize("name", ["in/image.png", "in/more.txt", "tmp/more", "out/.mask.png.7-ab.partial"])
    def test_what_is_written_elsewhere_or_half_is_a_fault(self, outcome_of, name):
        def run(plan, place: Path) -> str:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text("more")
            return "sound"

        assert outcome_of(run) is Kind.STRAY

    def test_results_may_be_written(self, outcome_of):
        def run(plan, place: Path) -> str:
            (place / "out").mkdir()
            (place / "out" / "mask.png").write_text("more")
            return "sound"

        assert outcome_of(run) is Kind.RIGHT

    def test_the_table_counts_by_target(self):
        rows = table([Outcome("a/0/0", "a", Kind.RIGHT), Outcome("b/0/0", "b", Kind.SILENT)]).splitlines()
        assert [row.split()[:3] for row in rows[1:]] == [["a", "1", "1"], ["b", "1", "0"], ["all", "2", "1"]]


class TestInputs:
    def test_a_name_draws_the_same_plan_again(self):
        plans = [draw(nifti.header(), f"nifti/0/{number}") for number in range(8)]
        assert plans == [draw(nifti.header(), f"nifti/0/{number}") for number in range(8)]
        assert len({str(plan) for plan in plans}) == 8

    def test_the_header_that_is_written_byte_by_byte_is_read_by_nibabel(self, tmp_path):
        plan = draw(nifti.header(odd=False), "sound/0/3")
        nifti.write(plan, tmp_path / "image.nii.gz")
        assert nifti.is_sound(tmp_path / "image.nii.gz")
        read = nifti.nibabel.load(tmp_path / "image.nii.gz")
        np.testing.assert_array_equal(np.asarray(read.dataobj), nifti.voxels_of(plan))
        np.testing.assert_allclose(read.affine[:3], nifti.matrix_of(plan), atol=1e-4)

    def test_checksums_tell_a_png_that_was_changed(self, tmp_path):
        path = tmp_path / "image.png"
        Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(path)
        assert png_is_sound(path)
        damage.apply({"how": "flip", "at": [0.6], "by": 1}, path)
        assert not png_is_sound(path)
