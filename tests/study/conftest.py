"""What the tests of studies share."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser
from stub_stages import StubStages

from common.pipeline import run


@pytest.fixture
def _configs_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each of many short studies the second that YAML takes."""
    monkeypatch.setattr(ConfigParser, "load_config_files", lambda files: copy.deepcopy(_read(*_versions(files))))


def _versions(files: Sequence[str]) -> list[tuple[str, int]]:
    return [(file, Path(file).stat().st_mtime_ns) for file in files]


_load_config_files = ConfigParser.load_config_files


@cache
def _read(*versions: tuple[str, int]) -> dict[str, Any]:
    return _load_config_files([file for file, _ in versions])


@pytest.fixture
def stub(tmp_path: Path) -> StubStages:
    """Stub stages for commands in processes of their own."""
    return StubStages(tmp_path)


@pytest.fixture
def stages(stub: StubStages, _configs_are_read_once: None, monkeypatch: pytest.MonkeyPatch) -> StubStages:
    """Stub stages for pipelines in this process."""
    monkeypatch.setattr(run, "run_stage", stub.run)
    monkeypatch.setenv("STUB_STAGES", "")
    return stub
