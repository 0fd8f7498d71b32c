"""How a process ends that fails or is told to end: in one line, its traceback in a file, and nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.training import failures

HEAD = """
import os, signal, sys
from pathlib import Path
from common.errors import InputError
from common.files.atomic import atomic_file
from common.training import logs
from common.training.failures import show_failures
show_failures()
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
"""


def run(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + code, *map(str, arguments)],
        env={**os.environ, **environment}, capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


def test_a_failure_without_a_log_file_has_its_traceback_in_a_temporary_one(tmp_path):
    done = run("{}['modality']", TMPDIR=str(tmp_path))
    (file,) = tmp_path.iterdir()
    assert (done.returncode, done.stderr) == (1, f"error: KeyError: 'modality' (the traceback is in {file})\n")
    assert "Traceback (most recent call last)" in file.read_text(encoding="utf-8")


def test_what_a_user_can_mend_is_said_alone(tmp_path):
    done = run("raise InputError('no images in X')", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "error: no images in X\n")
    assert not any(tmp_path.iterdir())


def test_tracebacks_that_are_logged_are_in_the_log_file_alone(tmp_path):
    code = """
import logging
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
logs.start(sys.argv[1], "train")
logging.info("one")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("Exception")
logging.error("Engine run is terminating due to exception: division by zero")
"""
    done = run(code, tmp_path)
    assert (done.stdout, done.stderr) == ("INFO:root:one\n", "")
    log = (tmp_path / "logs/train.log").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in log
    assert "terminating" in log


HALF = """
with atomic_file(sys.argv[1] + "/model.pt") as fresh:
    fresh.write_text("half")
    os.kill(os.getpid(), signal.{name})
    signal.pause()
"""


@pytest.mark.parametrize(
    ("name", "codes", "said"),
    [
        ("SIGINT", {130, -signal.SIGINT}, "interrupted; the same command goes on from there"),
        ("SIGTERM", {143}, "ended by SIGTERM; the same command goes on from there"),
    ],
)
def test_a_signal_ends_the_process_with_one_line_and_leaves_nothing_half_written(name, codes, said, tmp_path):
    done = run(HALF.format(name=name), tmp_path)
    assert done.returncode in codes
    assert done.stderr == f"error: {said}\n"
    assert not any(tmp_path.iterdir())


def test_a_pipe_that_nobody_reads_is_one_line():
    done = subprocess.run(
        f"{sys.executable} -c '{HEAD}for number in range(100000): print(number)' | true",
        shell=True, capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.stderr == "error: nobody reads what is printed any more (broken pipe)\n"


def test_a_terminal_that_has_ascii_alone_gets_the_rest_escaped():
    done = run("print('\\u80be', '\\udcff')\nraise InputError('Ni\\u00e8re')", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr) == ("\\u80be \\udcff\n", "error: Ni\\xe8re\n")


def test_of_several_processes_the_first_that_fails_has_the_word():
    with failures.collected() as said:
        assert run("raise InputError('first')").stderr == ""
        assert run("raise InputError('since the first is gone')").stderr == ""
        assert said.read_text(encoding="utf-8") == "first"
    assert run("raise InputError('later')").stderr == "error: later\n"
