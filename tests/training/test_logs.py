"""A stage logs to its own file, has its folder to itself, and shows a user's errors without a traceback."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from integration import contained

from common.errors import InputError
from common.training import logs

OTHER_RUN = "import sys; from common.training import logs; logs.start(sys.argv[1], 'distill')"


@pytest.fixture(autouse=True)
def as_in_a_process_of_its_own() -> Iterator[None]:
    with contained():
        yield


def test_a_stage_logs_to_a_file_of_its_own_until_it_stops(tmp_path):
    logs.start(tmp_path, "train")
    logging.getLogger("common").info("one")
    logs.stop(tmp_path)
    logging.getLogger("common").info("other")
    text = (tmp_path / "logs/train.log").read_text(encoding="utf-8")
    assert "INFO common: one" in text
    assert "other" not in text


def test_the_last_line_says_what_memory_of_a_gpu_was_needed_and_nothing_where_none_was_used(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3_456_000_000)
    for number, used in enumerate((True, False)):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda used=used: used)
        logs.start(tmp_path / str(number), "train")
        logs.stop(tmp_path / str(number))
    said = (tmp_path / "0/logs/train.log").read_text(encoding="utf-8")
    assert said.endswith("this process took at most 3.46 GB of the GPU's memory at once\n")
    assert (tmp_path / "1/logs/train.log").read_text(encoding="utf-8") == ""


def test_stages_in_other_folders_go_on_logging(tmp_path):
    for name in ("one", "other"):
        logs.start(tmp_path / name, "train")
    logs.stop(tmp_path / "one")
    logging.getLogger("common").info("news")
    assert (tmp_path / "one/logs/train.log").read_text() == ""
    assert "news" in (tmp_path / "other/logs/train.log").read_text()


def run_elsewhere(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", OTHER_RUN, str(folder)], capture_output=True, text=True, check=False)


def test_a_second_run_in_the_folder_is_refused_with_one_line_and_logs_nothing(tmp_path):
    logs.start(tmp_path, "train")
    logs.start(tmp_path, "train")  # in the same process, such as a notebook, it may
    second = run_elsewhere(tmp_path)
    assert second.returncode == 1
    expected = f"another run is writing to {tmp_path}; wait until it has ended, or choose another output_dir"
    assert second.stderr == f"error: output_dir: {expected}\n"
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["train.log"]
    logs.stop(tmp_path)
    assert run_elsewhere(tmp_path).returncode == 0


def test_a_stage_that_only_adds_files_does_not_lock(tmp_path):
    logs.start(tmp_path, "inference", lock=False)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_other_ranks_log_warnings_only_and_to_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    logs.start(tmp_path / "run", "train")
    assert not (tmp_path / "run").exists()
    assert logging.getLogger().level == logging.WARNING


def test_a_path_that_monai_has_changed_is_refused(tmp_path):
    with pytest.raises(InputError, match="run::2 has ::, which is what MONAI makes of #"):
        logs.start(tmp_path / "run::2", "train")


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_the_first_cause_of_a_failure_is_one_line_and_its_traceback_is_in_the_log_alone(tmp_path, capsys):
    logs.start(tmp_path, "train")
    wrapped = raised(RuntimeError("Failed to evaluate"), raised(KeyError("modality")))
    logs.report(RuntimeError, wrapped, wrapped.__traceback__)
    log = tmp_path / "logs/train.log"
    assert capsys.readouterr().err == f"error: KeyError: 'modality' (the traceback is in {log})\n"
    assert log.read_text(encoding="utf-8").count("Traceback (most recent call last)") == 2
