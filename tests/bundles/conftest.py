"""One run of the whole pipeline, which the tests of the bundle look at from all sides."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from integration import BUNDLE, IMAGE_SIZE, TINY, environment

from common.datasets.drive import write_phantoms
from common.pipeline import run_pipeline


class PipelineRun(NamedTuple):
    """Where a run read and wrote, and what it printed the first and the second time."""

    dataset_dir: Path
    output_dir: Path
    first: str
    second: str


@pytest.fixture(scope="session")
def pipeline_run(tmp_path_factory: pytest.TempPathFactory) -> PipelineRun:
    """All stages through ``run_pipeline``, each in a process of its own, and then the same call again."""
    folder = tmp_path_factory.mktemp("pipeline")
    dataset_dir = write_phantoms(folder / "DRIVE", num_training=4, num_test=2, image_size=IMAGE_SIZE)
    output_dir = folder / "run"
    settings = {**TINY, "sample_interval": 2}
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        for _ in range(2):
            capture = _Lines()
            patch.setattr("builtins.print", capture)
            run_pipeline(str(BUNDLE), str(output_dir), str(dataset_dir), overlay="demo", **settings)
            printed.append("\n".join(capture))
    return PipelineRun(dataset_dir, output_dir, *printed)


class _Lines(list):
    """Keeps what is printed; pytest's own fixture for it does not outlive a test."""

    def __call__(self, *values: object, **kwargs: object) -> None:
        self.append(" ".join(map(str, values)))
