"""A stage in a pipeline shows its own lines in one form, and nothing of libraries; its log has everything."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from common.training.said_once import is_news, remembered
from common.training.screen import PlainLines

SETUP = """
import logging, sys, warnings
from common.training import logs
from common.training.screen import show_own_lines
monai = logging.getLogger("monai.bundle.scripts")  # as MONAI makes it
monai.addHandler(logging.StreamHandler(sys.stdout))
monai.propagate = False
show_own_lines()
logs.start(sys.argv[1], "train")
"""


def run(tmp_path: Path, code: str) -> tuple[str, str]:
    """Run code in a process of a stage; return what is on its screen and in its log."""
    command = [sys.executable, "-c", SETUP + textwrap.dedent(code) + "\nlogs.stop(sys.argv[1])", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    return done.stdout + done.stderr, log


def test_own_lines_are_plain_and_those_of_libraries_are_in_the_log_alone(tmp_path):
    screen, log = run(
        tmp_path,
        """
        logging.getLogger("common.training.progress").info("train: epoch 1/2")
        logging.getLogger("common.datasets.ph2").warning("two images are alike")
        logging.getLogger("ignite.engine.engine.SupervisedTrainer").info("Engine run resuming")
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").warning("nvImageCodec is not available")
        logging.getLogger("monai.bundle.scripts").info("--- input summary")
        logging.getLogger("monai.transforms").error("this cannot be")
        warnings.warn("a kernel is slow")
        """,
    )
    assert screen.splitlines() == [
        "    train: epoch 1/2",
        "    warning: two images are alike",
        "    error: this cannot be",
    ]
    for part in ("epoch 1/2", "alike", "Engine run", "nvImageCodec", "input summary", "cannot be", "a kernel is slow"):
        assert log.count(part) == 1, part


def test_what_several_stages_say_of_the_data_is_shown_once_and_logged_by_each(tmp_path):
    code = """
        logging.getLogger("common.datasets.ph2").info("the split is stratified")
        logging.getLogger("common.training.x").warning("two images are alike")
        logging.getLogger("common.training.x").info("epoch 1/2")
        """
    with remembered():
        runs = [run(tmp_path / name, code) for name in ("first", "second")]
    assert ["stratified" in screen for screen, _ in runs] == [True, False]
    assert ["alike" in screen for screen, _ in runs] == [True, False]
    assert all("epoch 1/2" in screen for screen, _ in runs)
    assert all("stratified" in log and "alike" in log for _, log in runs)


@pytest.mark.parametrize(
    ("is_terminal", "shown"),
    [
        (True, ["    warning: the patients", "      are not known:", "      /a/path/with-hyphens/x", "    and on"]),
        (False, ["    warning: the patients are not known: /a/path/with-hyphens/x", "    and on"]),
    ],
)
def test_a_terminal_gets_no_line_that_it_would_break_in_a_word(is_terminal, shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", "28")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    text = "the patients are not known: /a/path/with-hyphens/x\nand on"
    record = logging.makeLogRecord({"msg": text, "levelno": logging.WARNING, "levelname": "WARNING"})
    assert PlainLines(stream, "    ").format(record).split("\n") == shown


def test_what_is_told_of_the_teacher_is_shown_once():
    record = logging.makeLogRecord({"name": "common.teachers.registry", "msg": "the teacher", "levelno": logging.INFO})
    with remembered():
        assert [is_news(record), is_news(record)] == [True, False]


def test_paths_in_the_current_folder_are_shown_as_they_would_be_given(tmp_path):
    code = """
        import os
        logging.getLogger("common.training.x").info(f"see {os.getcwd()}/runs/one and /elsewhere/runs")
        """
    assert run(tmp_path, code)[0] == "    see runs/one and /elsewhere/runs\n"


def test_weights_are_read_without_bars(tmp_path):
    screen, _ = run(
        tmp_path,
        """
        import transformers
        from common.training.screen import hide_loading_bars
        hide_loading_bars()
        for _ in transformers.utils.logging.tqdm(range(3), desc="Loading weights"):
            pass
        """,
    )
    assert screen == ""


def test_a_command_shows_its_own_lines_as_they_are():
    code = """
    import logging, warnings
    from common.training.screen import show_plain_lines
    show_plain_lines()
    logging.getLogger("common.datasets.ph2").info("two\\nlines")
    logging.getLogger("common.datasets.ph2").warning("two images are alike")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").warning("nvImageCodec is not available")
    warnings.warn("a kernel is slow")
    print("a result")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == "a result\n"
    assert done.stderr == "two\nlines\nwarning: two images are alike\n"
