"""What the tests of studies share."""

from __future__ import annotations

from pathlib import Path

import cached_configs
import pytest
from stub_stages import StubStages

from common.pipeline import stage_process

_configs_are_read_once = cached_configs.configs_are_read_once


@pytest.fixture
def stub(tmp_path: Path) -> StubStages:
    """Stub stages for commands in processes of their own."""
    return StubStages(tmp_path)


@pytest.fixture
def stages(stub: StubStages, _configs_are_read_once: None, monkeypatch: pytest.MonkeyPatch) -> StubStages:
    """Stub stages for pipelines in this process."""
    monkeypatch.setattr(stage_process, "run_stage", stub.run)
    monkeypatch.setenv("STUB_STAGES", "")
    return stub
