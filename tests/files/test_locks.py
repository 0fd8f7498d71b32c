"""One run at a time in an output folder, whatever ends it; with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import InputError
from common.files.locks import lock_folder, one_process, unlock_all, unlock_folder

# A run that is in the middle of writing a file, with a worker process that outlives it.
RUN = """
import os, sys, time
from common.files.atomic import atomic_file
from common.files.locks import lock_folder

lock_folder(sys.argv[1])
with atomic_file(sys.argv[1] + "/model.pt") as fresh:
    fresh.write_text("half")
    if not os.fork():
        print(os.getpid(), flush=True)  # by the worker itself: it has let go of the lock by then
    time.sleep(600)  # until the test ends it
"""

LOCK = """
import sys
from common.errors import InputError
from common.files.locks import lock_folder
try:
    lock_folder(sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def release() -> Iterator[None]:
    yield
    unlock_all()


def lock_elsewhere(folder: Path) -> str:
    """Lock a folder in another process, and return what that says."""
    command = [sys.executable, "-c", LOCK, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_second_run_is_refused_until_the_first_is_gone_however_it_ends(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True) as run:
        worker = int(run.stdout.readline())
        with pytest.raises(InputError, match="output_dir: another run is writing to") as caught:
            lock_folder(folder)
        assert f"{folder};" in str(caught.value)
        (half,) = folder.glob(".model.pt.*")
        run.send_signal(signal.SIGKILL)
        run.wait()
        try:
            lock_folder(folder)
        finally:
            os.kill(worker, signal.SIGKILL)
    assert not half.exists(), "what the first run left half-written"
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_what_another_run_is_writing_in_a_folder_inside_stays(tmp_path):
    """As where a study was killed and is started again, and a job of it still runs."""
    job = tmp_path / "study" / "job"
    with subprocess.Popen([sys.executable, "-c", RUN, str(job)], stdout=subprocess.PIPE, text=True) as run:
        worker = int(run.stdout.readline())
        (half,) = job.glob(".model.pt.*")
        for name in (".lock", ".results.csv.12-0a1b2c3d.partial"):
            (tmp_path / "study" / name).touch()
        try:
            lock_folder(tmp_path / "study")
        finally:
            run.kill()
            os.kill(worker, signal.SIGKILL)
    assert half.exists()
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == [".lock", "job"]
    lock_folder(job)
    assert not half.exists()


def test_what_a_run_of_a_folder_above_is_writing_stays(tmp_path):
    """As where one predict writes the folders of its input, and another one starts in one of them."""
    half = tmp_path / "out" / "more" / ".c_mask.png.12-0a1b2c3d.partial"
    half.parent.mkdir(parents=True)
    half.touch()
    lock_folder(half.parent)
    assert half.exists()


def test_one_process_may_lock_a_folder_twice_and_others_may_when_it_gives_it_back(tmp_path, monkeypatch):
    lock_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    lock_folder(".")
    assert "another run is writing" in lock_elsewhere(tmp_path)
    unlock_folder(tmp_path)
    assert lock_elsewhere(tmp_path) == ""
    unlock_folder(tmp_path)  # which this process no longer has


def test_a_run_that_is_just_ending_is_waited_for(tmp_path):
    """As the stage of a pipeline that was killed is, on a busy machine."""
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        worker = int(run.stdout.readline())
        ending = threading.Timer(0.5, run.kill)
        ending.start()
        try:
            lock_folder(tmp_path)
        finally:
            ending.join()
            os.kill(worker, signal.SIGKILL)


def test_one_process_at_a_time_waits_for_the_other_and_says_so(tmp_path, caplog):
    given = {
        "path": tmp_path / "new" / ".file.lock",
        "key": "--cache_dir",
        "busy": "it takes too long",
        "waiting": "wait",
    }
    caplog.set_level("INFO")
    with one_process(**given, patience=0.1):
        assert caplog.messages == []
        with pytest.raises(InputError, match=r"^it takes too long$"), one_process(**given, patience=0.1):
            pytest.fail("two processes at once")
    assert caplog.messages == ["wait"]
    with one_process(**given, patience=0):  # which has been given back
        assert given["path"].is_file()


def test_only_the_first_rank_locks(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    lock_folder(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output_dir .*file is a file; name a folder"):
        lock_folder(tmp_path / "file")
