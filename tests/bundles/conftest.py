"""One run of each bundle's pipeline, which its tests look at from all sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from integration import PICTURE_SIZES, environment, lopsided_image, run_in_process, tiny
from PIL import Image

from common.datasets import find_dataset
from common.pipeline import run, stage_process

pytest.register_assert_rewrite("bundle_tests")


class PipelineRun(NamedTuple):
    """A bundle, where its pipeline read and wrote, and what it printed."""

    bundle: Path
    dataset_dir: Path
    output_dir: Path
    printed: str


@pytest.fixture(scope="session")
def call_pipeline() -> Callable[..., str]:
    """Return what runs the stages of a bundle with tiny settings, and returns what is printed."""

    def call(bundle: Path, dataset_dir: Path, output_dir: Path, **settings: Any) -> str:
        lines = _Lines()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment().items():
                patch.setenv(name, value)
            patch.setattr("builtins.print", lines)
            values = {**tiny(bundle), "sample_interval": 2, **settings}
            run.run_pipeline(str(bundle), str(output_dir), str(dataset_dir), overlay="demo", **values)
        return "\n".join(lines)

    return call


@pytest.fixture(scope="session")
def run_bundle(tmp_path_factory: pytest.TempPathFactory, call_pipeline: Callable) -> Callable[..., PipelineRun]:
    """Return what runs all stages of a bundle on phantoms.

    It takes the bundle, what its phantom writer takes, whether each stage gets a process of its own, as it does for a
    user but which costs the start of Python each time, and settings.
    """

    def run(bundle: Path, phantoms: dict[str, Any], processes: bool = False, **settings: Any) -> PipelineRun:
        folder = tmp_path_factory.mktemp(bundle.name)
        dataset = find_dataset(bundle.name.removesuffix("_segmentation"))
        dataset_dir = dataset.write_phantoms(folder / "data", **phantoms)
        with pytest.MonkeyPatch.context() as patch:
            if not processes:
                patch.setattr(stage_process, "run_stage", run_in_process)
            printed = call_pipeline(bundle, dataset_dir, folder / "run", **settings)
        return PipelineRun(bundle, dataset_dir, folder / "run", printed)

    return run


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of images of many shapes."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, size in PICTURE_SIZES.items():
        Image.fromarray(lopsided_image(*size)).save(folder / f"{name}.png")
    return folder


class _Lines(list):
    """Keeps what is printed; pytest's own fixture for it does not outlive a test."""

    def __call__(self, *values: object, **kwargs: object) -> None:
        self.append(" ".join(map(str, values)))
