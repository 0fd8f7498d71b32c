"""The process of a stage: what it prints, how it ends, and that nothing outlives anything."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from integration import alive

from common.pipeline import stage_process
from common.pipeline.stage_process import run_stage

IMPORTS = list(stage_process._IMPORTS)  # before any test spares itself some


@pytest.fixture(autouse=True)
def _light_server(monkeypatch):
    """Spare the server what these stages do not import."""
    monkeypatch.setattr(stage_process, "_IMPORTS", [stage_process.__name__])


def config(folder: Path, *expressions: str) -> list[str]:
    """Return the arguments that run these expressions as a stage."""
    path = folder / "stage.yaml"
    lines = [f"- {json.dumps('$' + expression)}" for expression in expressions]
    imports = "imports: [$import multiprocessing, $import os, $import time]"
    path.write_text("\n".join([imports, "value: 1", "folder: .", "run:", *lines]))
    return ["--config_file", str(path), "--folder", str(folder)]


def starter(arguments: list[str], distributed: bool = False) -> list[str]:
    """Return the command of a process that runs a stage and ends with its exit code."""
    lines = [
        "import signal, sys",
        "from common.pipeline import stage_process",
        "stage_process._IMPORTS = [stage_process.__name__]",  # what stages import besides would take seconds
        "signal.signal(signal.SIGINT, signal.default_int_handler)",  # ignored if tests run in the background
        f"sys.exit(stage_process.run_stage({arguments!r}, {distributed}))",
    ]
    return [sys.executable, "-c", "\n".join(lines)]


@contextlib.contextmanager
def started(arguments: list[str], distributed: bool = False, **options: Any) -> Iterator[subprocess.Popen]:
    """Start such a process, which ends with the test: where the test fails, nobody waits for its stage."""
    with subprocess.Popen(starter(arguments, distributed), **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition, seconds: float = 300) -> bool:
    """Say whether something comes true that soon will, unless something is wrong or the machine is busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def launchers(pid: int) -> list[psutil.Process]:
    """Return those that a process has started, which may start others for a moment, such as matplotlib's fc-list."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "common.pipeline.distributed_launcher" in child.cmdline():
                found.append(child)
    return found


def is_kept(number: signal.Signals, status: str) -> bool:
    """Say whether a process that has this status lets a signal wait."""
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_files_of_the_current_folder_are_not_taken_for_modules_of_python(tmp_path, monkeypatch):
    (tmp_path / "copy.py").write_text("from shutil import copy\n")
    monkeypatch.chdir(tmp_path)
    with stage_process._settings_of_server():
        where = subprocess.check_output([sys.executable, "-c", "import copy; print(copy.__file__)"], text=True)
    assert str(tmp_path) not in where


def test_imports_of_the_server_leave_a_gpu_to_the_stages_that_are_forked_from_it():
    """PyTorch refuses a GPU to processes forked from one that has asked its driver for anything."""
    pretended = """
import torch
asked = []
torch._C._cuda_getDeviceCount = lambda: asked.append("the number of devices") or 1
torch._C._cuda_getCurrentRawStream = None  # as in builds for GPUs
torch.cuda._lazy_init = lambda: asked.append("to begin")
torch.cuda._is_compiled = lambda: True
torch.cuda._device_count_nvml = lambda: 1
torch.accelerator.current_accelerator = lambda *given: torch.device("cuda")
"""
    imports = "\n".join(f"import {name}" for name in IMPORTS)
    code = f"{pretended}\n{imports}\nassert torch.cuda.is_available()\nprint(asked)"
    environment = {**os.environ, **stage_process._SERVER}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).strip() == "[]"


class TestRun:
    def test_a_stage_sees_its_overrides_and_the_environment_of_now(self, tmp_path, monkeypatch):
        monkeypatch.setenv("NEW_ON_THE_DAY", "yes")
        write = "open(@folder + '/seen', 'w').write(str([@value, os.environ['NEW_ON_THE_DAY']]))"
        assert run_stage([*config(tmp_path, write), "--value", "7"]) == 0
        assert (tmp_path / "seen").read_text() == "[7, 'yes']"

    def test_it_is_another_process_each_time(self, tmp_path):
        arguments = config(tmp_path, "open(@folder + '/pids', 'a').write(str(os.getpid()) + ' ')")
        assert [run_stage(arguments), run_stage(arguments)] == [0, 0]
        assert len({*(tmp_path / "pids").read_text().split(), str(os.getpid())}) == 3

    def test_settings_for_glibc_reach_the_stage_and_stay_out_of_this_process(self, tmp_path):
        note = "open(@folder + '/server', 'w').write(str(os.getppid()))"
        assert run_stage(config(tmp_path, note)) == 0
        server = psutil.Process(int((tmp_path / "server").read_text()))
        assert server.environ()["MALLOC_MMAP_MAX_"] == "0"
        assert "MALLOC_MMAP_MAX_" not in os.environ

    def test_it_starts_workers_as_a_process_of_its_own_does(self, tmp_path):
        note = "open(@folder + '/method', 'w').write(multiprocessing.get_start_method())"
        assert run_stage(config(tmp_path, note)) == 0
        assert (tmp_path / "method").read_text() == multiprocessing.get_start_method()


class TestEnd:
    def test_an_error_is_shown_and_told_by_the_exit_code(self, tmp_path, capfd):
        assert run_stage(config(tmp_path, "1 / 0")) == 1
        assert "ZeroDivisionError" in capfd.readouterr().err

    def test_a_signal_is_told_by_the_exit_code(self, tmp_path):
        kill = "os.kill(os.getpid(), 9)"
        assert run_stage(config(tmp_path, kill)) == -signal.SIGKILL

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    def test_a_stage_does_not_outlive_who_started_it(self, number, tmp_path):
        note = "open(@folder + '/pid', 'w').write(str(os.getpid()))"
        arguments = config(tmp_path, note, "time.sleep(600)")
        with started(arguments, stderr=subprocess.DEVNULL) as process:
            assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
            pid = int((tmp_path / "pid").read_text())
            assert alive(pid)
            process.send_signal(number)
            process.wait(timeout=300)
        assert wait_for(lambda: not alive(pid), seconds=60)

    def test_ctrl_c_finds_the_stage_and_not_the_server_in_its_imports(self, tmp_path):
        """A terminal sends it to all processes at once."""
        copied = "open(@folder + '/' + pid, 'w').write(open(f'/proc/{pid}/status').read())"
        note = f"[{copied} for pid in ('self', str(os.getppid()))]"
        assert run_stage(config(tmp_path, note)) == 0
        kept = {file.name: is_kept(signal.SIGINT, file.read_text()) for file in tmp_path.iterdir() if not file.suffix}
        assert kept.pop("self") is False
        assert list(kept.values()) == [True]
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def test_ctrl_c_before_a_stage_listens_ends_it_without_a_word(self, monkeypatch, capfd):
        monkeypatch.setattr(stage_process, "run_by_monai", lambda *given: pytest.fail("it was run"))
        monkeypatch.setattr(stage_process, "_end_with", lambda starter: None)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with stage_process._interrupts_wait():
                signal.raise_signal(signal.SIGINT)  # to this thread: others that earlier tests left do not wait
                with pytest.raises(SystemExit) as end:
                    stage_process._run([], {}, None, None)
        finally:  # a failing test is not to have the next ones ignore Ctrl-C
            signal.signal(signal.SIGINT, before)
        assert end.value.code == 128 + signal.SIGINT
        assert capfd.readouterr().err == ""

    def test_a_stage_that_is_begun_after_the_interruption_does_nothing(self, tmp_path, monkeypatch):
        """The server forks it when it is done with its imports, while the process that asked for it may be ending."""
        started = []

        def interrupted(process) -> None:
            begin(process)
            started.append((process, process._popen))
            process._popen = None
            raise KeyboardInterrupt

        kind = multiprocessing.get_context("forkserver").Process
        begin = kind.start
        monkeypatch.setattr(kind, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stage(config(tmp_path, "time.sleep(600)"))
        process, process._popen = started[0]
        process.join(timeout=20)
        assert process.exitcode == 1


class TestDistributed:
    """One process for each GPU, by ``torchrun``, which says a lot where one fails or is ended."""

    @pytest.fixture
    def launch(self):
        """Start the launcher with a line for a shell as its only process."""
        module = ["-m", "common.pipeline.distributed_launcher", "--standalone", "--nnodes=1", "--nproc_per_node=1"]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started = []

        def start(line: str) -> subprocess.Popen[str]:
            started.append(
                subprocess.Popen([sys.executable, *module, "--no-python", "sh", "-c", line], text=True, **pipes)
            )
            return started[-1]

        yield start
        for process in started:
            with process:
                process.kill()

    def test_how_a_process_ended_is_told_by_the_exit_code_alone(self, launch):
        process = launch("kill -9 0")
        assert process.wait(timeout=300) == 128 + signal.SIGKILL
        assert process.stderr.read() == ""

    def test_the_launcher_ends_with_who_started_it_without_a_word(self, launch):
        process = launch("exit 0")
        process.stdin.close()
        assert process.wait(timeout=300) in (-signal.SIGTERM, 128 + signal.SIGTERM)
        assert process.stderr.read() == ""

    def test_a_stage_does_not_outlive_who_was_killed(self, tmp_path):
        arguments = config(tmp_path, "open(@folder + '/pid', 'w').write(str(os.getpid()))", "time.sleep(600)")
        with started(arguments, distributed=True, stderr=subprocess.PIPE, text=True) as process:
            assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
            pid = int((tmp_path / "pid").read_text())
            process.kill()
            assert wait_for(lambda: not alive(pid), seconds=60)
            assert "Traceback" not in process.stderr.read()

    def test_ctrl_c_is_for_who_started_it_even_while_it_begins(self, tmp_path):
        """A terminal sends it to all processes at once."""
        begun = config(tmp_path, "open(@folder + '/begun', 'w').close()", "time.sleep(600)")
        options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        with started(begun, distributed=True, **options) as process:
            assert wait_for(lambda: launchers(process.pid))
            (launcher,) = launchers(process.pid)
            os.killpg(process.pid, signal.SIGINT)
            said = process.stderr.read()
            process.wait(timeout=300)
        assert said.count("Traceback") == 1, "that of who started it, which shows its own in one line elsewhere"
        assert "distributed_launcher" not in said
        assert wait_for(lambda: not alive(launcher.pid), seconds=60)
        assert not (tmp_path / "begun").exists()

    @pytest.mark.parametrize(("code", "status"), [(0, 0), (3, 3), (128 + signal.SIGKILL, -signal.SIGKILL)])
    def test_a_stage_that_was_killed_has_the_exit_code_of_a_signal(self, monkeypatch, code, status):
        begin = subprocess.Popen
        exiting = [sys.executable, "-c", f"import sys; sys.exit({code})"]
        monkeypatch.setattr(subprocess, "Popen", lambda command, **options: begin(exiting, **options))
        assert run_stage([], distributed=True) == status
