"""Configs that are read once, for tests that run many short pipelines."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser


@pytest.fixture
def configs_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each of many short pipelines the second that YAML takes."""
    monkeypatch.setattr(ConfigParser, "load_config_files", lambda files: copy.deepcopy(_read(*_versions(files))))


def _versions(files: Sequence[str]) -> list[tuple[str, int]]:
    return [(file, Path(file).stat().st_mtime_ns) for file in files]


_load_config_files = ConfigParser.load_config_files


@cache
def _read(*versions: tuple[str, int]) -> dict[str, Any]:
    return _load_config_files([file for file, _ in versions])
